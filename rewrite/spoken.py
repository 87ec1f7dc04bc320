"""Numbers and times as they are spoken: one form for "seven thirty", "half past seven" and "7:30"."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNITS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
        " seventeen eighteen nineteen".split()
    )
}
_TENS = {
    word: 10 * (2 + place)
    for place, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())
}
_ORDINALS = {
    word: 1 + place
    for place, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth"
        " fifteenth sixteenth seventeenth eighteenth nineteenth".split()
    )
} | {word[:-1] + "ieth": value for word, value in _TENS.items()}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_QUANTITIES = {
    "half": "1/2", "quarter": "1/4", "double": "x2", "twice": "x2", "once": "x1", "triple": "x3", "dozen": "12",
    "couple": "2",
}  # fmt: skip
_DECADES = {word[:-1] + "ies": f"{value}s" for word, value in _TENS.items()}
_DIGITS = re.compile(r"\d")
_WHOLE = re.compile(r"-?\d+")
_ORDINAL_DIGITS = re.compile(r"(\d+)(?:st|nd|rd|th)")
_NUMERIC = frozenset((*_UNITS, *_TENS, *_ORDINALS, *_SCALES, *_QUANTITIES, *_DECADES))
_NUMBER_WORDS = _NUMERIC - {*_QUANTITIES, "second"}
_DECADE_DIGITS = re.compile(r"(?:19)?(\d0)'?s")
_HALF_DAY = re.compile(r"(\d[\d:.]*)(am|pm)")
#: After these "one" stands for a thing that was named.
_POINTING = frozenset("this that next last previous another other any every no which first new good each".split())
#: After these "second" is a place in a row; elsewhere it may be a length of time.
_BEFORE_ORDINAL = frozenset("the my your his her our their".split()) | frozenset(
    "january february march april may june july august september october november december".split()
)
#: Words that sound like a number, or nearly so, each with the name of its sound.
_HOMOPHONES = {
    word: words[0]
    for words in (("to", "too", "two"), ("for", "fore", "forth", "four", "fourth"), ("won", "one"), ("ate", "eight"))
    for word in words
}
_CLITICS = frozenset("s t d m re ve ll n't".split())
#: A letter after these is spelled: "gate d", "is s d".
_NO_CLITIC = frozenset(
    "a an the is in to of for at from gate route line bus room plan vitamin grade type class".split()
)
#: Beginnings that a recogniser writes apart, and two words that are one.
_BEGINNINGS = frozenset("un dis de".split())
#: Words that say what a number does, right before it.
_BOUNDING = frozenset("under over above below before after until till minus plus point past by".split())
_PARTS_NUMBER = frozenset({"half", "quarter"})
_PARTS_PAST = {"half": "thirty", "quarter": "fifteen"}


def spoken_words(text: str) -> list[str]:
    """The words of a canonical text, with "7pm", "7 p m" and "half past seven" said in one way."""
    words = _HALF_DAY.sub(r"\1 \2", text).split()
    found: list[str] = []
    for word in words:
        before = found[-1] if found else ""
        if word == "m" and (before == "p" or (before == "a" and _is_time(found[-2:-1]))):
            found[-1] += "m"
        elif found[-2:-1] and before == "past" and found[-2] in _PARTS_PAST and _is_time([word]):
            found[-2:] = [word, _PARTS_PAST[found[-2]]]
        else:
            found.append(word)
    return found


def joined_words(words: Sequence[str]) -> list[str]:
    """Words with what a recogniser writes apart in one: "un mute" -> "unmute", "with out" -> "without"."""
    if _BEGINNINGS.isdisjoint(words) and "out" not in words:
        return list(words)
    found: list[str] = []
    begun = ""
    for word in words:
        if word in _BEGINNINGS:
            begun += word
        elif word == "out" and found[-1:] == ["with"] and not begun:
            found[-1] = "without"
        else:
            found.append(begun + word)
            begun = ""
    return [*found, begun] if begun else found


def _is_time(words: Sequence[str]) -> bool:
    """Whether the word, if there is one, may end a time of day."""
    return any(word in _UNITS or word in _TENS or word == "o'clock" or _DIGITS.match(word) for word in words)


def bare_words(words: Sequence[str]) -> tuple[str, ...]:
    """Words without apostrophes and what is said in numbers: "what s", "what's" and "whats" are one.

    What is left is compared as words; numbers are compared as numbers.
    """
    found: list[str] = []
    for place, word in enumerate(words):
        if word in _CLITICS and found and found[-1] not in _NO_CLITIC and not _is_spelled(words, place):
            found[-1] += word.replace("'", "")
        elif not says_number(word):
            found.append(word.replace("'", ""))
    return tuple(found)


def _is_spelled(words: Sequence[str], place: int) -> bool:
    """Whether a letter stands beside another letter: "s d"."""
    beside = (*words[max(place - 1, 0) : place], *words[place + 1 : place + 2])
    return any(map(is_letter, beside))


def is_letter(word: str) -> bool:
    """Whether a word is a letter that is spelled: "s", "d"; "a" and "i" are words."""
    return len(word) == 1 and word.isalpha() and word not in "ai"


def says_number(word: str) -> bool:
    """Whether a word is (part of) a number wherever it stands; "second" may be a length of time."""
    return word in _NUMBER_WORDS or (not word.isalpha() and _DIGITS.search(word) is not None)


def bounding(words: Sequence[str]) -> list[str]:
    """The words right before a number that say what it does, sorted: "ten past seven" -> ["past"].

    "to" is one between two numbers: "ten to seven".
    """
    found = []
    for place, word in enumerate(words[:-1]):
        if word in _BOUNDING or word == "to":
            before, after = words[place - 1] if place else "", words[place + 1]
            if _in_number(after) and (word != "to" or _in_number(before)):
                found.append(word)
    return sorted(found)


def _in_number(word: str) -> bool:
    return says_number(word) or word in _PARTS_NUMBER


def homophones(one: str, other: str) -> bool:
    """Whether two words, just one of them a number, sound the same ("to", "two")."""
    return (
        one in _HOMOPHONES and _HOMOPHONES[one] == _HOMOPHONES.get(other) and says_number(one) != says_number(other)
    )


def numbers(words: Sequence[str]) -> tuple[str, ...]:
    """The numbers that the words say, in order: "twenty five percent at 7:30" -> ("25", "730").

    Numbers that follow each other are one, as times, years, channels and digits are said in pieces: "seven thirty",
    "nineteen eighty four", "seven oh five". So is a letter after a number ("forty one b").
    """
    if _NUMERIC.isdisjoint(words) and not _DIGITS.search(" ".join(words)):
        return ()
    found: list[str] = []
    run: list[str] = []  # words of one spoken number
    joined: list[str] = []  # whole numbers that follow each other

    def close() -> None:
        if joined:
            found.append("".join(joined))
        joined.clear()

    for place, word in enumerate([*words, ""]):
        before = words[place - 1] if place else ""
        if _goes_on(word, before, run):
            run.append(word)
            continue
        joined += _spoken(run)
        ends_tens, run = bool(run) and run[-1] in _TENS, []
        after = words[place + 1] if place + 1 < len(words) else ""
        if word in _ORDINALS and (word != "second" or before in _BEFORE_ORDINAL):
            value = _ORDINALS[word] + (int(joined.pop()) if ends_tens and joined and _ORDINALS[word] < 10 else 0)
            close()
            found.append(f"{value}th")
        elif word in ("oh", "o") and joined and after in _UNITS:
            joined.append("0")
        elif word == "point" and joined and (after in _UNITS or after in _TENS or after.isdigit()):
            joined.append(".")
        elif len(word) == 1 and word.isalpha() and joined and (word not in "ai" or not after):
            joined.append(word)
            close()
        elif _WHOLE.fullmatch(figure := _figure(word)):
            joined.append(figure)
        else:
            close()
            found += _other_number(word, figure)
    close()
    return tuple(found)


def numbers_of(text: str) -> tuple[str, ...]:
    """The numbers that a canonical text says; most say none, which is seen at a glance."""
    if _NUMERIC.isdisjoint(text.split()) and not _DIGITS.search(text):
        return ()
    return numbers(spoken_words(text))


def _goes_on(word: str, before: str, run: Sequence[str]) -> bool:
    """Whether a word is part of a spoken number."""
    if word == "one" and not run:
        return before not in _POINTING
    return word in _UNITS or word in _TENS or word in _SCALES or (word == "and" and run[-1:] == ["hundred"])


def _figure(word: str) -> str:
    """A word without currency, percent and an empty part: "$7.00" -> "7", "7:30" -> "730"."""
    bare = word.strip("$£€¥#+%°").removesuffix(".0").removesuffix(".00").removesuffix(":00")
    return bare.replace(":", "") if re.fullmatch(r"\d{1,2}:\d\d", bare) else bare


def _other_number(word: str, figure: str) -> list[str]:
    if word in _QUANTITIES:
        return [_QUANTITIES[word]]
    if word in _DECADES:
        return [_DECADES[word]]
    if match := _DECADE_DIGITS.fullmatch(word):
        return [f"{match[1]}s"]
    if match := _ORDINAL_DIGITS.fullmatch(word):
        return [f"{match[1]}th"]
    return [figure] if _DIGITS.search(word) else []


def _spoken(run: Sequence[str]) -> list[str]:
    """The numbers in a run of number words; a word that cannot go on the number before it begins a new one."""
    found: list[str] = []
    total, current, room = 0, -1, 0
    for word in run:
        if word == "and":
            continue
        if word in _SCALES:
            scale = _SCALES[word]
            if scale == 100:
                current, room = max(current, 1) * 100, 100
            else:
                total, current, room = total + max(current, 1) * scale, 0, scale
            continue
        value = _UNITS.get(word, _TENS.get(word, 0))
        if current >= 0 and value < room and value > 0:
            current += value
        else:
            if current >= 0:
                found.append(str(total + current))
            total, current = 0, value
        room = 10 if word in _TENS else (0 if word in _UNITS else room)
    if current >= 0:
        found.append(str(total + current))
    return found
