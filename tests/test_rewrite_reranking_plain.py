"""The features as they are served against the same written out plainly: to the last bit, on texts at random."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz
from rapidfuzz.distance import Indel, JaroWinkler, Levenshtein

from dialogue.similarity import sound_key
from rewrite.guards import FILLERS
from rewrite.reranking import NAMES, PAIR, Asked, Interpretation, Knowledge, Proposal, Said, features
from rewrite.spoken import numbers, numbers_of, says_number, spoken_words

WORDS = (
    "play plays imagine dragons maj and jazz the a light lights off of on kitchen two to too seven thirty half past"
    " quarter 7 7:30 7pm second twentieth café don't o'clock s p m"
).split()
KNOWN = frozenset(WORDS[::2])
Known = Callable[[str], bool]

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(" ".join)
shares = st.one_of(st.just(math.nan), st.sampled_from([0.0, 0.25, 0.5]), st.floats(-1, 1, width=32))
slots = st.dictionaries(st.sampled_from(["song", "room"]), st.sampled_from(["jazz", "the kitchen", "two"]), max_size=2)
frames = st.one_of(
    st.none(),
    st.builds(
        Interpretation,
        st.sampled_from([None, "music", "home"]),
        st.sampled_from([None, "play", "on"]),
        slots.map(lambda told: tuple(sorted(told.items()))),
    ),
)
FRAMES: list[Interpretation] = []  # by their number


def numbered(frame: Interpretation | None) -> int:
    if frame is None:
        return -1
    if frame not in FRAMES:
        FRAMES.append(frame)
    return FRAMES.index(frame)


proposals = st.builds(
    Proposal, texts.map(Said), st.floats(-1, 1, width=32), shares, shares, shares, st.integers(0, 300), shares,
    st.integers(0, 5), shares, frames.map(numbered), shares, shares,
)  # fmt: skip
requests = st.builds(Asked, texts.map(Said), frames, shares, shares, st.floats(0, 5), shares, shares)


def fluency(words: Sequence[str]) -> tuple[float, float]:
    return -len(words) / 3, -0.3


@settings(max_examples=80, deadline=None)
@given(requests, st.lists(proposals, min_size=1, max_size=9))
def test_the_same_to_the_last_bit(asked: Asked, found: list[Proposal]):
    served = features(asked, found, Knowledge(KNOWN.__contains__, fluency, FRAMES.__getitem__))
    assert served.dtype == np.float32
    np.testing.assert_array_equal(served, plain(asked, found, KNOWN.__contains__))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text("a1 :é½②", max_size=4)), max_size=7).map(" ".join))
def test_numbers_at_a_glance_are_those_that_are_read(text: str):
    assert numbers_of(text) == numbers(spoken_words(text))


def test_what_says_a_number():
    said = ["two", "thirty", "hundred", "third", "eighties", "7", "7pm", "b2", "٣"]
    assert [word for word in [*said, "second", "half", "dozen", "to", "play", ""] if says_number(word)] == said


# The plain way


def plain(asked: Asked, found: Sequence[Proposal], known: Known) -> np.ndarray:
    pair = np.array([_pair(asked, each, known) for each in found], np.float32)
    request = np.array(_request(asked, pair, known), np.float32)
    return np.hstack([pair, _rank(pair, found), np.broadcast_to(request, (len(pair), len(request)))])


def _pair(asked: Asked, each: Proposal, known: Known) -> list[float]:
    said, text = asked.said.text, each.said.text
    mine, theirs = said.split(), text.split()
    return [
        each.cosine, each.meaning, each.sound,
        Indel.normalized_similarity(said, text),
        Indel.normalized_similarity(sound_key(said), sound_key(text)),
        fuzz.token_sort_ratio(said, text) / 100,
        fuzz.partial_ratio(said, text) / 100,
        len(set(mine) & set(theirs)) / max(len(set(mine) | set(theirs)), 1),
        JaroWinkler.normalized_similarity(said, text),
        *_changes(mine, theirs, known),
        float(numbers(spoken_words(said)) != numbers(spoken_words(text))),
        len(said) / max(len(text), 1),
        len(mine) - len(theirs),
        float(mine[:1] == theirs[:1]),
        float(mine[-1:] == theirs[-1:]),
        each.success, math.log1p(each.users), each.chain, math.log1p(each.own_times), each.own_age,
        *_agreement(asked.interpretation, each),
        each.nbest, each.context,
        float(not known(theirs[0])),
    ]  # fmt: skip


def _sounds(one: Sequence[str], other: Sequence[str]) -> float:
    return Indel.normalized_similarity(sound_key(" ".join(one)), sound_key(" ".join(other)))


def _changes(mine: list[str], theirs: list[str], known: Known) -> list[float]:
    steps = [step for step in Levenshtein.opcodes(mine, theirs) if step.tag != "equal"]
    sides = [
        (step.tag, mine[step.src_start : step.src_end], theirs[step.dest_start : step.dest_end]) for step in steps
    ]
    gone = [word for _, old, _ in sides for word in old]
    came = [word for _, _, new in sides for word in new]
    exchanged = [(old, new) for tag, old, new in sides if tag == "replace"]
    dropped = [word for tag, old, _ in sides if tag == "delete" for word in old if word not in FILLERS]
    added = [word for tag, _, new in sides if tag == "insert" for word in new if word not in FILLERS]
    return [
        _sounds(gone, came) if gone and came else 0.0,
        min((Indel.normalized_similarity("".join(old), "".join(new)) for old, new in exchanged), default=1.0),
        min((_sounds(old, new) for old, new in exchanged), default=1.0),
        sum(len(new) for _, new in exchanged),
        len(dropped),
        len(added),
        sum(map(known, dropped)),
        sum(word not in FILLERS and known(word) for old, _ in exchanged for word in old),
    ]


def _agreement(asked: Interpretation | None, each: Proposal) -> list[float]:
    if asked is None:
        return [math.nan] * 5
    kept = sum(f" {value} " in f" {each.said.text} " for _, value in asked.slots)
    share = kept / len(asked.slots) if asked.slots else math.nan
    other = FRAMES[each.frame] if each.frame >= 0 else None
    if other is None:
        return [math.nan] * 3 + [share, len(asked.slots) - kept]
    mine, theirs = {name for name, _ in asked.slots}, {name for name, _ in other.slots}
    same = len(mine & theirs) / len(mine | theirs) if mine or theirs else 1.0
    both = (asked.domain, asked.intent) == (other.domain, other.intent)
    return [float(asked.domain == other.domain), float(both), same, share, len(asked.slots) - kept]


def _rank(pair: np.ndarray, found: Sequence[Proposal]) -> np.ndarray:
    columns = [np.argsort(np.argsort(-pair[:, 0], kind="stable"), kind="stable")]
    for name in ("cosine", "sound", "letters"):
        values = pair[:, PAIR.index(name)]
        rest = [np.delete(values, place) for place in range(len(values))]
        columns.append(values - np.array([each.max() if len(each) else 0.0 for each in rest], np.float32))
    frames = [each.frame for each in found]
    columns.append(np.array([sum(one >= 0 and one == other for other in frames) - 1 for one in frames]))
    return np.stack([each.astype(np.float32) for each in columns], axis=1)


def _request(asked: Asked, pair: np.ndarray, known: Known) -> list[float]:
    words = asked.said.text.split()
    unknown = [word for word in words if not known(word)]
    frame = asked.interpretation
    in_slots = {word for _, value in frame.slots for word in value.split()} if frame else set()
    return [
        len(words), len(unknown), len(unknown) / len(words), *fluency(words), len(pair),
        pair[:, 0].max(), pair[:, PAIR.index("sound")].max(),
        float(bool(frame.slots)) if frame else math.nan,
        float(any(word in in_slots for word in unknown)) if frame else math.nan,
        asked.nlu_confidence, asked.asr_confidence, asked.said_before, asked.said_success, asked.previous_success,
    ]  # fmt: skip


def test_the_plain_way_has_all_names():
    one = Proposal(Said("play jazz"), 0.5)
    assert plain(Asked(Said("play jass")), [one], KNOWN.__contains__).shape == (1, len(NAMES))
