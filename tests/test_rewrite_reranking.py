"""What the reranker sees, by hand: a request, candidates, and what is known of both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewrite.reranking import (
    LIKENESSES,
    NAMES,
    PAIR,
    RANK,
    REQUEST,
    Asked,
    Interpretation,
    Knowledge,
    Proposal,
    Said,
    features,
    features_of,
    likenesses,
)

KNOWN = frozenset("play imagine dragons jazz some call mom in the kitchen".split())


def known(word: str) -> bool:
    return word in KNOWN


def fluency(words: Sequence[str]) -> tuple[float, float]:
    return -float(len(words)), -0.5


FRAMES = [
    Interpretation("music", "play", (("artist", "imagine dragons"),)),
    Interpretation("phone", "play"),
    Interpretation("a", "x", (("s", "jazz"),)),
    Interpretation("b", None, (("s", "mom"), ("t", "kitchen"))),
]
GROUND = Knowledge(known, fluency, FRAMES.__getitem__)


def table(asked: Asked, *proposals: Proposal) -> list[dict[str, float]]:
    """The features by name, of each proposal."""
    found = features(asked, proposals, GROUND)
    assert found.dtype == np.float32
    assert found.shape == (len(proposals), len(NAMES))
    return [dict(zip(NAMES, row.tolist(), strict=True)) for row in found]


ASKED = Asked(Said("play maj and dragons"))
IMAGINE = Proposal(Said("play imagine dragons"), 0.8, 0.7, 0.9, 0.95, 12.0, 0.93)
JAZZ = Proposal(Said("play some jazz"), 0.5, 0.4, 0.6)


def test_names_are_those_of_the_three_groups():
    assert (*PAIR, *RANK, *REQUEST) == NAMES
    assert len(set(NAMES)) == len(NAMES)


def test_likeness_and_change_by_hand():
    (one,) = table(ASKED, IMAGINE)
    assert (one["cosine"], one["meaning"], one["sound_cosine"]) == pytest.approx((0.8, 0.7, 0.9))
    assert one["shared_words"] == pytest.approx(2 / 5)  # play, dragons; of play maj and dragons imagine
    assert (one["first_word"], one["last_word"]) == (1.0, 1.0)
    assert one["word_difference"] == 1.0
    assert one["length_ratio"] == 1.0  # twenty letters each
    assert one["letters"] == pytest.approx(32 / 40)  # "play ", "m", "a", "n" and " dragons" are in both
    assert (one["replaced"], one["dropped"], one["added"]) == (1.0, 0.0, 0.0)  # "and" is a filler
    assert one["dropped_known"] == one["replaced_known"] == 0.0
    assert one["success"] == pytest.approx(0.95)
    assert one["log_users"] == pytest.approx(math.log(13))
    assert one["chain"] == pytest.approx(0.93)
    assert one["own_times"] == 0.0
    assert one["lead_unknown"] == 0.0


def test_the_words_that_come_and_go_are_counted_without_fillers():
    (one,) = table(Asked(Said("call mom in the kitchen")), Proposal(Said("call mom please"), 0.9))
    assert one["dropped"] + one["replaced"] >= 2.0
    (same,) = table(Asked(Said("call mom")), Proposal(Said("call mom"), 1.0))
    assert [same[name] for name in ("replaced", "dropped", "added", "differing_sound")] == [0.0] * 4
    assert same["worst_chunk"] == same["worst_chunk_sound"] == same["letters"] == same["shared_words"] == 1.0
    (more,) = table(Asked(Said("call mom")), Proposal(Said("call mom now the kitchen"), 1.0))
    assert more["added"] == 1.0  # "now" and "the" are fillers
    (less,) = table(Asked(Said("play some jazz in dudes")), Proposal(Said("play some jazz"), 1.0))
    assert (less["dropped"], less["dropped_known"]) == (2.0, 1.0)  # "in" is known, "dudes" is not


def test_a_known_word_that_gives_way_is_told():
    (one,) = table(Asked(Said("play jazz")), Proposal(Said("play dragons"), 0.5))
    assert (one["replaced"], one["replaced_known"]) == (1.0, 1.0)
    (other,) = table(Asked(Said("play jass")), Proposal(Said("play jazz"), 0.5))
    assert (other["replaced"], other["replaced_known"]) == (1.0, 0.0)
    assert other["worst_chunk"] == pytest.approx(0.5)  # "ja" of "jass" and "jazz"
    assert other["worst_chunk_sound"] == other["differing_sound"] == 1.0


def test_numbers_that_differ_are_told():
    said = Asked(Said("set a timer for five minutes"))
    same, other = table(
        said, Proposal(Said("set timer for 5 minutes"), 0.9), Proposal(Said("set timer for 9 minutes"), 0.9)
    )
    assert (same["numbers_differ"], other["numbers_differ"]) == (0.0, 1.0)


def test_interpretations_are_compared():
    mine = Interpretation("music", "play", (("artist", "imagine dragons"), ("room", "kitchen")))
    asked = Asked(Said("play imagine dragons in the kitchen"), mine, 0.7, 0.6)
    one, other, bare = table(
        asked,
        Proposal(Said("play imagine dragons"), 0.9, frame=0),
        Proposal(Said("call mom"), 0.1, frame=1),
        Proposal(Said("play imagine dragons in the kitchen now"), 0.8),
    )
    assert [one[name] for name in ("same_domain", "same_intent", "same_slots")] == [1.0, 1.0, 0.5]
    assert (one["slots_kept"], one["slots_missing"]) == (0.5, 1.0)
    assert [other[name] for name in ("same_domain", "same_intent", "same_slots")] == [0.0, 0.0, 0.0]
    assert (other["slots_kept"], other["slots_missing"]) == (0.0, 2.0)
    assert math.isnan(bare["same_domain"])
    assert (bare["slots_kept"], bare["slots_missing"]) == (1.0, 0.0)
    assert one["has_slots"] == 1.0
    assert one["slot_unknown"] == 0.0
    assert (one["nlu_confidence"], one["asr_confidence"]) == pytest.approx((0.7, 0.6))


def test_what_is_not_known_is_nan_and_what_is_is_not():
    (one,) = table(ASKED, JAZZ)
    unknown = {name for name, value in one.items() if math.isnan(value)}
    assert unknown == {
        "success", "log_users", "chain", "own_age", "same_domain", "same_intent", "same_slots", "slots_kept",
        "slots_missing", "nbest", "context", "has_slots", "slot_unknown", "nlu_confidence", "asr_confidence",
        "said_success", "previous_success",
    }  # fmt: skip


def test_places_and_leads_by_hand():
    first, second, third = table(ASKED, JAZZ, IMAGINE, Proposal(Said("play jazz"), 0.4))
    assert [each["rank"] for each in (first, second, third)] == [1.0, 0.0, 2.0]
    leads = [each["cosine_lead"] for each in (first, second, third)]
    assert leads == pytest.approx([-0.3, 0.3, -0.4])
    assert second["letters_lead"] == pytest.approx(second["letters"] - max(first["letters"], third["letters"]))
    (alone,) = table(ASKED, JAZZ)
    assert (alone["cosine_lead"], alone["rank"]) == (0.5, 0.0)  # of nothing it is ahead by all that it has
    assert (alone["sound_lead"], alone["letters_lead"]) == (alone["sound"], alone["letters"])
    tied = table(ASKED, JAZZ, JAZZ)
    assert [each["cosine_lead"] for each in tied] == [0.0, 0.0]


def test_candidates_of_one_interpretation_vote_for_each_other():
    found = table(
        ASKED,
        Proposal(Said("play jazz"), 0.5, frame=0),
        Proposal(Said("play some jazz"), 0.5, frame=0),
        Proposal(Said("call mom"), 0.5, frame=1),
    )
    assert [each["same_frame_near"] for each in found] == [1.0, 1.0, 0.0]
    assert [each["same_frame_near"] for each in table(ASKED, IMAGINE, JAZZ)] == [-1.0, -1.0]  # not known


def test_the_request_is_told_of_by_itself():
    asked = Asked(Said("play maj and dragons"), said_before=math.log1p(3), said_success=0.25, previous_success=0.1)
    one, other = table(asked, IMAGINE, JAZZ)
    assert all(one[name] == other[name] or math.isnan(one[name]) for name in REQUEST)
    assert (one["length"], one["unknown_words"], one["unknown_share"]) == (4.0, 2.0, 0.5)
    assert (one["least_fluent"], one["mean_fluent"]) == (-4.0, -0.5)
    assert one["candidates"] == 2.0
    assert one["best_cosine"] == pytest.approx(0.8)
    assert one["said_before"] == pytest.approx(math.log(4))
    assert (one["said_success"], one["previous_success"]) == pytest.approx((0.25, 0.1))


def test_no_candidates_have_no_features():
    assert features(ASKED, [], GROUND).shape == (0, len(NAMES))


text = st.lists(st.sampled_from([*sorted(KNOWN), "maj", "and", "five", "7", "not", "off"]), max_size=5).map(" ".join)
share = st.one_of(st.just(math.nan), st.floats(0, 1))
frame = st.one_of(
    st.none(),
    st.builds(
        Interpretation,
        st.sampled_from([None, "a", "b"]),
        st.sampled_from([None, "x", "y"]),
        st.sampled_from([(), (("s", "jazz"),), (("s", "mom"), ("t", "kitchen"))]),
    ),
)
proposal = st.builds(Proposal, text.map(Said), st.floats(-1, 1), share, share, share, share, frame=st.integers(-1, 3))


@settings(max_examples=60)
@given(asked=st.builds(Asked, text.map(Said), frame), proposals=st.lists(proposal, min_size=1, max_size=5))
def test_one_candidate_is_looked_at_as_all_are(asked: Asked, proposals: list[Proposal]):
    found, likeness = features(asked, proposals, GROUND), likenesses(asked, proposals)
    assert np.array_equal(found[:, [NAMES.index(name) for name in LIKENESSES]], likeness, equal_nan=True)
    for place, row in enumerate(found):
        one = np.array(features_of(asked, proposals, likeness, place, GROUND), np.float32)
        assert np.array_equal(one, row, equal_nan=True)


@settings(max_examples=60)
@given(asked=st.builds(Asked, text.map(Said), frame), proposals=st.lists(proposal, min_size=1, max_size=5))
def test_the_order_of_the_candidates_changes_nothing_but_ties(asked: Asked, proposals: list[Proposal]):
    found = features(asked, proposals, GROUND)
    turned = features(asked, proposals[::-1], GROUND)[::-1]
    kept = [place for place, name in enumerate(NAMES) if name != "rank"]
    assert np.array_equal(found[:, kept], turned[:, kept], equal_nan=True)
    finite = found[~np.isnan(found)]
    assert np.isfinite(finite).all()
    shares = [NAMES.index(name) for name in ("letters", "sound", "words", "part", "shared_words", "winkler")]
    assert ((found[:, shares] >= 0) & (found[:, shares] <= 1)).all()
