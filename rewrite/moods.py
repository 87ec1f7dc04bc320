"""Whether a text asks or commands, and who is spoken of: a question is no command, and "i owe you" is not "you owe me".

Texts are bare words (`rewrite.spoken.bare_words`). The words are English.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

#: Persons, each with one name for all its forms; and what stands before or after them as they are asked or told.
_PERSONS = {
    word: words[0]
    for words in (("i", "me"), ("you",), ("he", "him"), ("she", "her"), ("we", "us"), ("they", "them"))
    for word in words
}
_BEING = frozenset("is are am".split())
#: The first words of questions; and two first words that ask as well.
_QUESTIONS = frozenset(
    "is are am was were did does has had should how why when where who what which whose"
    " isnt arent wasnt werent didnt doesnt hasnt havent shouldnt"
    " whats whos wheres hows whens whys howd whatd whatre whore".split()
)
_ASKING = frozenset(
    (one, other)
    for one, others in (
        ("can", "i we he she they it the my"), ("could", "i we he she they it the my"), ("will", "i it the my there"),
        ("would", "i it the my there"),
        ("do", "i you we they my the"), ("have", "i you we they my the"), ("may", "i we he she they"),
    )
    for other in others.split()
)  # fmt: skip
_TELL_ME = frozenset({("tell", "me"), ("give", "me"), ("show", "me"), ("let", "me")})
_SUBJECTS = frozenset("i im ive we he she they it its my our".split())
#: These ask about what was, may or should be done.
_ABOUT_ACTS = frozenset("did didnt should shouldnt can could may how why".split())
_BEFORE_QUESTIONS, _WH = frozenset("in at on for from by to".split()), frozenset("what which how who whose".split())
_OPENERS = frozenset("please hey hi hello ok okay so um uh olly alexa siri google cortana mycroft kindly".split())
_POLITE = frozenset((one, "you") for one in "can could would will".split())


def turns_persons(source: Sequence[str], target: Sequence[str]) -> bool:
    """Whether the persons that both bare texts name, or "is" and "are" beside them, change places.

    "i owe you" / "you owe me", "are you coming" / "you are coming".
    """
    one, other = _persons(source), _persons(target)
    shared = set(one) & set(other)
    mine, theirs = ([word for word in words if word in shared] for words in (one, other))
    return mine != theirs and Counter(mine) == Counter(theirs)


def _persons(words: Sequence[str]) -> list[str]:
    """The persons that the words name, each in one form, and the forms of "be" beside them."""
    found = []
    for place, word in enumerate(words):
        if word in _PERSONS:
            found.append(_PERSONS[word])
        elif word in _BEING and not _PERSONS.keys().isdisjoint((*words[max(place - 1, 0) : place + 2],)):
            found.append(word)
    return found


def asks(words: Sequence[str]) -> bool:
    """Whether bare words, without polite openers (`opened`), begin a question."""
    if tuple(words[1:3]) in _TELL_ME:
        return False  # "how tell me the news": the first word is noise
    return bool(words) and (words[0] in _QUESTIONS or tuple(words[:2]) in _ASKING)


def may_ask(question: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a text that is no question may ask the same ("tell me the time"), or states something ("i need to")."""
    if tuple(other[:2]) in _TELL_ME:
        return question[0] not in _ABOUT_ACTS
    return bool(other) and other[0] in _SUBJECTS and question[0] not in _ABOUT_ACTS


def opened(words: Sequence[str]) -> list[str]:
    """Bare words without the polite openers before a request ("hey olly could you please")."""
    place = 0
    while place < len(words):
        if words[place] in _OPENERS:
            place += 1
        elif tuple(words[place : place + 2]) in _POLITE:
            place += 2
        elif words[place] in _BEFORE_QUESTIONS and words[place + 1 : place + 2] and words[place + 1] in _WH:
            place += 1
        else:
            break
    return list(words[place:])
