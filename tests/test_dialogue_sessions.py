"""Where sessions end: cuts by hand, boundaries of known mixtures, and the fallbacks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.sessions import (
    BINS,
    FALLBACK_SECONDS,
    BoundaryMethod,
    GapHistogram,
    SessionBoundary,
    cut_sessions,
    estimate_boundary,
    gap,
)
from dialogue.turn import Turn


def turn(turn_id, timestamp, user="u", session=None, end=None):
    return Turn(turn_id, user, float(timestamp), "text", session_id=session, end_timestamp=end)


def names(sessions):
    return [(session.session_id, [each.turn_id for each in session.turns]) for session in sessions]


def test_a_silence_longer_than_the_boundary_cuts():
    turns = [turn("a", 0), turn("b", 100), turn("c", 201), turn("d", 0, user="v")]
    assert names(cut_sessions(turns, 100)) == [("u/1", ["a", "b"]), ("u/2", ["c"]), ("v/1", ["d"])]
    assert names(cut_sessions(turns, SessionBoundary(101.0)))[0] == ("u/1", ["a", "b", "c"])


def test_a_given_session_decides_and_the_others_are_cut_among_themselves():
    turns = [
        turn("a", 0),
        turn("b", 10, session="call"),
        turn("c", 20),
        turn("d", 9_999, session="call"),
        turn("e", 30, session=""),
    ]
    assert names(cut_sessions(turns, 60)) == [("u/1", ["a", "c", "e"]), ("call", ["b", "d"])]


def test_silence_runs_from_the_end_of_the_turn_before():
    long_turn = turn("a", 0, end=90.0)
    assert gap(long_turn, turn("b", 100)) == 10
    assert names(cut_sessions([long_turn, turn("b", 100)], 60)) == [("u/1", ["a", "b"])]
    assert gap(turn("a", 50, end=10.0), turn("b", 60)) == 10  # an end before its start is no end


def test_clocks_that_run_backwards_never_cut():
    assert gap(turn("a", 0, end=500.0), turn("b", 100)) == -400
    assert names(cut_sessions([turn("a", 0, end=500.0), turn("b", 100)], 1)) == [("u/1", ["a", "b"])]


def test_equal_times_are_ordered_by_turn_id():
    assert names(cut_sessions([turn("b", 0), turn("a", 0)], 1)) == [("u/1", ["a", "b"])]


def test_a_stream_must_be_in_order():
    with pytest.raises(ValueError, match=r"must be in order .*'a'\) came after .*'b'\)"):
        list(cut_sessions(iter([turn("b", 0), turn("a", 0)]), 1))


@given(st.lists(st.tuples(st.sampled_from("uv"), st.integers(0, 50), st.sampled_from([None, "s"]))))
def test_every_turn_is_in_one_session_and_order_of_input_is_no_matter(drawn):
    turns = [turn(f"{i:03}", at, user, session) for i, (user, at, session) in enumerate(drawn)]
    sessions = list(cut_sessions(turns, 5))
    assert sorted(each.turn_id for s in sessions for each in s.turns) == [each.turn_id for each in turns]
    assert list(cut_sessions(turns[::-1], 5)) == sessions
    for session in sessions:
        assert {each.user_id for each in session.turns} == {session.user_id}


def test_bins_by_hand():
    counts = GapHistogram.from_gaps(np.array([1.0, np.exp(1 / 16) + 1e-9, 1e-9, 1e12, 0.0, -3.0]))
    assert (counts.counts[96], counts.counts[97]) == (1, 1)  # ln 1 = 0 is 6 * 16 bins above the lowest
    assert (counts.counts[0], counts.counts[BINS - 1], counts.not_positive, counts.total) == (1, 1, 2, 6)


def test_histograms_of_parts_add_up():
    gaps = np.random.default_rng(1).lognormal(3, 2, 1000)
    whole = GapHistogram.from_gaps(gaps)
    assert GapHistogram.from_gaps(gaps[:300]) + GapHistogram.from_gaps(gaps[300:]) == whole
    assert GapHistogram.from_turns([turn("a", 0), turn("b", 7), turn("c", 9, user="v")]).total == 1


def lognormal(*parts):
    draw = np.random.default_rng(0)
    return np.concatenate([draw.lognormal(np.log(median), spread, size) for median, spread, size in parts])


def test_the_boundary_between_two_heaps_is_where_both_are_as_likely():
    # Equal shares and spreads: halfway between the medians on the log scale, sqrt(10 * 10,000) = 316 seconds.
    boundary = estimate_boundary(GapHistogram.from_gaps(lognormal((10, 1, 20_000), (10_000, 1, 20_000))))
    assert boundary.method is BoundaryMethod.TWO_GAUSSIANS
    assert boundary.seconds == pytest.approx(316, rel=0.05)
    assert boundary.share_below == pytest.approx(0.5, abs=0.01)
    assert boundary.mixture.medians_s == pytest.approx((10, 10_000), rel=0.05)


def test_of_three_heaps_the_first_boundary_ends_the_exchange():
    gaps = lognormal((10, 0.8, 6_000), (1_200, 1.0, 2_000), (80_000, 0.8, 2_000))
    boundary = estimate_boundary(GapHistogram.from_gaps(gaps))
    assert boundary.method is BoundaryMethod.THREE_GAUSSIANS
    assert boundary.seconds == pytest.approx(107, rel=0.1)


@pytest.mark.parametrize(
    ("gaps", "method"),
    [
        (np.array([]), BoundaryMethod.TOO_FEW_GAPS),
        (lognormal((10, 1, 50), (10_000, 1, 50)), BoundaryMethod.TOO_FEW_GAPS),
        (lognormal((20, 1, 5_000)), BoundaryMethod.ONE_GAUSSIAN),
        (np.full(5_000, 1.0), BoundaryMethod.ONE_GAUSSIAN),
        (lognormal((15, 0.5, 6_000), (60, 2.5, 4_000)), BoundaryMethod.NO_VALLEY),
        (lognormal((0.5, 0.5, 5_000), (10, 0.5, 5_000)), BoundaryMethod.OUT_OF_RANGE),
    ],
)
def test_without_a_believable_boundary_it_falls_back_and_says_why(gaps, method):
    boundary = estimate_boundary(GapHistogram.from_gaps(gaps))
    assert (boundary.method, boundary.seconds) == (method, FALLBACK_SECONDS)


def test_a_boundary_is_positive():
    with pytest.raises(ValueError, match="more than 0"):
        SessionBoundary(0.0)
