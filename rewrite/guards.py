"""Deterministic guards: a rewrite must never flip or exchange a meaning, whatever the statistics say.

All texts are canonical. The words are English (`dialogue.contrasts`, `rewrite.spoken`); a team adds its own
language's by passing other `Contrasts`.

* `exchanges_meaning`: one word of a set of contrasts gives way to another (on / off, monday / tuesday), or a
  negation appears or disappears.
* `turns_round`: a word gave way to itself with an opposing beginning (salted / unsalted).
* `reorders`: words that both hold stand in another order (from boston to denver / from denver to boston).
* `widens`: more is asked for: "and", "all", or an amount of money.
* `loses_value`: a value from a closed set (a day, a direction, a room) was said and is gone.
* `changes_numbers`: a number that was said is missing or another one.
* `changes_words`: a word that was understood is replaced or dropped, or a word with content is added.

`strays` is no guard but a question to the gate: such a pair may be a second wish instead of a second try.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from rapidfuzz.distance import Indel, Levenshtein

from dialogue.contrasts import ENGLISH, Contrasts, Stance
from dialogue.similarity import sound_key
from rewrite.decision import Reason
from rewrite.spoken import is_letter, numbers, spoken_words

#: Words without content of their own: they may come and go between two forms of one request.
FILLERS = frozenset(
    "a an the uh um er oh please now just some me my for of i i'd i'm like want would could can you to is it's it"
    " hey ok okay and so then well that this".split()
)

#: The same as `rewrite.spoken.bare_words` writes them.
BARE_FILLERS = frozenset(word.replace("'", "") for word in FILLERS)

#: Least likeness, in letters or in sounds, of an unknown word and the known one that takes its place. High, because an
#: unknown word may be a name that nobody said before: "silk" and "milk" are 0.75 alike, "imagin" and "imagine" 0.92.
LEAST_ALIKE = 0.8

#: Least likeness, the mean of both, of whatever two texts do not share: stricter, as here every word may be known.
LEAST_ALIKE_APART = 0.5


#: Beginnings that turn a word into its opposite, and those that exchange one opposite for the other.
OPPOSING = frozenset("un in im il ir dis non de mis anti under over counter".split())
OPPOSING_PAIRS = (
    ("hyper", "hypo"), ("pre", "post"), ("inter", "intra"), ("en", "de"), ("over", "under"), ("up", "down"),
    ("in", "out"), ("in", "ex"), ("im", "ex"), ("macro", "micro"), ("max", "min"), ("semi", "bi"), ("in", "de"),
)  # fmt: skip
#: Shorter stems carry such beginnings by chance ("to", "into").
STEM = 4
#: Those of "un" may be shorter ("zip", "tag"), but for these ("until", "under").
SHORT_STEM, NO_STEMS = 3, frozenset("til der ion ity".split())
PARTICLES = frozenset("on off up down in out away back".split())
POINTING = frozenset("this that these those".split())
#: Words that widen a request.
WIDENING = frozenset("and also plus all every everything everyone everybody both entire whole".split())
MONEY = frozenset("$ € £ ¥ dollar dollars euro euros pound pounds cent cents buck bucks yen".split())


def exchanges_meaning(source: Sequence[str], target: Sequence[str], contrasts: Contrasts = ENGLISH) -> bool:
    """Whether the target says, in some set of contrasts, another side than the source; or negates what it does not."""
    said, proposed = (Stance(contrasts.negated(words), contrasts.sides(words)) for words in (source, target))
    return said.reverses(proposed)


def turns_round(source: Sequence[str], target: Sequence[str]) -> bool:
    """Whether a word gave way to itself with an opposing beginning ("salted", "unsalted"; "hyper-", "hypo-")."""
    gone, came = _apart(source, target)
    return any(
        _opposed(one, other)
        for one in gone
        for other in came
        if one[-1:] == other[-1:] or (one, other) in _OPPOSING_WORDS
    )


def _apart(source: Sequence[str], target: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that only one of two texts holds, in order."""
    return [word for word in source if word not in target], [word for word in target if word not in source]


#: What opposing beginnings are as words of their own. Other opposed words end alike.
_OPPOSING_WORDS = frozenset(OPPOSING_PAIRS) | {(other, one) for one, other in OPPOSING_PAIRS}


@lru_cache(maxsize=16_384)
def _opposed(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if len(short) >= STEM and long.endswith(short) and long[: -len(short)] in OPPOSING:
        return True
    if long == f"un{short}" and (len(short) >= SHORT_STEM or short == "do") and short not in NO_STEMS:
        return True
    for first, second in OPPOSING_PAIRS:
        for mine, theirs in ((first, second), (second, first)):
            if one.startswith(mine) and other.startswith(theirs) and one[len(mine) :] == other[len(theirs) :]:
                return True
    return False


def reorders(source: Sequence[str], target: Sequence[str]) -> bool:
    """Whether words of content that both texts hold stand in another order: who to whom, from where to where.

    "from boston to denver", "from denver to boston". Particles may move alone ("turn the lights off", "turn off the
    lights"), but not change places with one another; nor may "this" and "that".
    """
    shared = set(source) & set(target)
    one, other = ([word for word in words if word in shared] for words in (source, target))
    return one != other and any(
        Counter(mine) == Counter(theirs) and mine != theirs
        for mine, theirs in (
            (_content(one), _content(other)),
            ([word for word in one if word in PARTICLES], [word for word in other if word in PARTICLES]),
            ([word for word in one if word in POINTING], [word for word in other if word in POINTING]),
        )
    )


def bare_content(words: Sequence[str]) -> list[str]:
    """Those of bare words (`rewrite.spoken.bare_words`) that have content of their own."""
    return [word for word in words if word not in BARE_FILLERS]


def _content(words: Sequence[str]) -> list[str]:
    return [word for word in words if word not in FILLERS and word not in PARTICLES]


def widens(source: Sequence[str], target: Sequence[str]) -> bool:
    """Whether the target asks for more: a conjunction, a quantifier or an amount of money that was not said."""
    return any(word in WIDENING and word not in source for word in target) or (
        any(word.strip("0123456789.,") in MONEY for word in target)
        and not any(word.strip("0123456789.,") in MONEY for word in source)
    )


def loses_value(source: Sequence[str], target: Sequence[str], contrasts: Contrasts = ENGLISH) -> bool:
    """Whether a value from a closed set was said and is gone: what is left is a broader request.

    Not where it went into another word ("west life", "westlife").
    """
    kept = contrasts.said_values(target)
    lost = {term for side, term in contrasts.said_values(source).items() if side not in kept}
    return any(not any(part in word for word in target for part in term.split("_")) for term in lost)


def strays(source: str, target: str) -> bool:
    """Whether content came or went that cannot have been misheard for one another: unlike, or of another length.

    "play maj and dragons" -> "play imagine dragons" does not stray. "turn on the lamp" -> "turn on the light" does, and
    so do "a thai place" -> "a greek place" and "play" -> "play jazz". Words alone cannot tell a second try from a
    second wish there: evidence must.
    """
    gone, came = _apart(source.split(), target.split())
    if all(word in FILLERS for word in gone + came):
        return False
    one, other = "".join(gone), "".join(came)
    sounds = Indel.normalized_similarity(sound_key(" ".join(gone)), sound_key(" ".join(came)))
    alike = (Indel.normalized_similarity(one, other) + sounds) / 2
    return alike < LEAST_ALIKE_APART or 2 * min(len(one), len(other)) < max(len(one), len(other))


def changes_numbers(source: Sequence[str], target: Sequence[str], *, may_add: bool) -> bool:
    """Whether a number or a spelled letter that was said is missing or another one.

    With `may_add`, a number may come where none was, and letters may go where none come.
    """
    spelled, letters = _letters(source), _letters(target)
    if spelled != letters and (letters or not may_add):
        return True
    said, proposed = numbers(source), numbers(target)
    if may_add and not said:
        return False
    return sorted(said) != sorted(proposed)


def _letters(words: Sequence[str]) -> list[str]:
    return sorted(filter(is_letter, words))


def changes_words(
    source: Sequence[str], target: Sequence[str], known: Callable[[str], bool], *, may_add: bool
) -> bool:
    """Whether the target replaces or drops words that were understood, or (unless `may_add`) adds words of content.

    A known word, one that some working request holds, was understood: its neighbour in sound is another request.
    So only unknown words and fillers give way, and words of content come only where an unknown word like them stood.
    Where nothing of the kind happened ("okay thank you" -> "thank you") there was nothing to repair.
    """
    repaired = False
    for change in Levenshtein.opcodes(source, target):
        said = source[change.src_start : change.src_end]
        proposed = target[change.dest_start : change.dest_end]
        if change.tag == "equal":
            continue
        if any(known(word) and word not in FILLERS for word in said):
            return True
        misheard = any(word not in FILLERS for word in said)
        adds = any(word not in FILLERS for word in proposed)
        if adds and not misheard and not (may_add and change.tag == "insert"):
            return True
        if adds and misheard and _unlike("".join(said), "".join(proposed)):
            return True
        repaired |= adds
    return not repaired and list(source) != list(target)


def _unlike(said: str, meant: str) -> bool:
    """Whether neither letters nor sounds are near enough for one to be misheard as the other ("tacoma", "seattle")."""
    letters = Indel.normalized_similarity(said, meant)
    return max(letters, Indel.normalized_similarity(sound_key(said), sound_key(meant))) < LEAST_ALIKE


def table_guard(source: str, target: str) -> Reason | None:
    """The guard of a pair that many users' corrections support: None, or why it is refused all the same."""
    said, proposed = spoken_words(source), spoken_words(target)
    if exchanges_meaning(said, proposed) or turns_round(said, proposed):
        return Reason.GUARD_POLARITY
    if changes_numbers(said, proposed, may_add=True):
        return Reason.GUARD_NUMBER
    if loses_value(said, proposed) or reorders(said, proposed) or widens(said, proposed):
        return Reason.GUARD_WORD
    return None


def layer_guard(source: str, target: str, known: Callable[[str], bool], *, may_add: bool) -> Reason | None:
    """The guard of a candidate that is merely near: None, or why it is refused."""
    said, proposed = spoken_words(source), spoken_words(target)
    if (
        exchanges_meaning(said, proposed)
        or turns_round(said, proposed)
        or ENGLISH.opposites(proposed) - ENGLISH.opposites(said)
    ):
        return Reason.GUARD_POLARITY  # nothing near is so sure that a side may come in that was not said
    if changes_numbers(said, proposed, may_add=False):
        return Reason.GUARD_NUMBER
    if reorders(said, proposed) or widens(said, proposed):
        return Reason.GUARD_WORD
    if changes_words(source.split(), target.split(), known, may_add=may_add):
        return Reason.GUARD_WORD
    return None


def sounds_the_same(source: str, target: str) -> bool:
    """Whether two texts sound alike word for word, fillers aside: then what was heard is what was said."""
    keys = (sound_key(" ".join(w for w in text.split() if w not in FILLERS)) for text in (source, target))
    return len(set(keys)) == 1
