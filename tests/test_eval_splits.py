import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.turn import Gold, Served, Turn
from eval.errors import CaseError
from eval.splits import Leak, LeakError, UserSplit, leakage, moment_at, refuse_leaks

ids = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=50)


def turn(turn_id, user_id, text="play jazz", session_id=None, goal_id=None):
    return Turn(turn_id, user_id, 0.0, text, session_id=session_id, gold=Gold(goal_id=goal_id))


# By hand: ann is on both sides in one session, "Play jazz!" and "play jazz" are one text, g1 one goal.
TRAINING = [turn("1", "ann", "play jazz", "s1", "g1"), turn("2", "bob", "stop", "s1")]
JUDGING = [
    turn("3", "ann", "lights on", "s1", "g2"),
    turn("4", "cid", "Play jazz!", "s1", "g1"),
    turn("5", "dot", "", None),
]


def test_three_turns_by_hand():
    found = leakage(TRAINING, JUDGING)
    counts = {kind: (leak.shared, leak.turns, leak.judged) for kind, leak in found.items()}
    assert counts == {Leak.USER: (1, 1, 3), Leak.SESSION: (1, 1, 2), Leak.TEXT: (1, 1, 2), Leak.GOAL: (1, 1, 2)}
    assert found[Leak.TEXT].examples == (("play jazz", "4"),)
    assert found[Leak.SESSION].examples == (("ann / s1", "3"),)
    assert found[Leak.TEXT].share == 0.5


def test_a_leak_is_refused_and_named():
    with pytest.raises(LeakError) as caught:
        refuse_leaks(TRAINING, JUDGING)
    for words in ("same user", "'ann' (turn 3)", "same text", "'play jazz' (turn 4)", "same goal", "split again"):
        assert words in str(caught.value)
    assert isinstance(caught.value, CaseError)


def test_head_traffic_may_repeat_texts_and_their_share_is_told():
    found = refuse_leaks(TRAINING, JUDGING[1:], forbidden=[Leak.USER, Leak.SESSION])
    assert found[Leak.TEXT].share == 1.0
    with pytest.raises(LeakError, match="same text"):
        refuse_leaks(TRAINING, JUDGING[1:], forbidden=[Leak.TEXT])


def test_many_leaks_are_counted_and_three_named():
    with pytest.raises(LeakError, match=r"'u0' \(turn u0\), 'u1' \(turn u1\), 'u2' \(turn u2\) and 7 more"):
        refuse_leaks([turn("x", f"u{n}") for n in range(10)], [turn(f"u{n}", f"u{n}", "other") for n in range(10)])


def test_what_was_said_counts_and_not_what_a_rewriter_made_of_it():
    rewritten = Turn("9", "eve", 0.0, "play jazz", served=Served("play chess", "play jazz"))
    assert leakage(TRAINING, [rewritten])[Leak.TEXT].turns == 0


def test_nothing_to_judge_by_is_not_measured():
    assert [leak.share for leak in refuse_leaks(TRAINING, []).values()] == [None] * 4
    assert leakage([], JUDGING)[Leak.TEXT].share == 0.0


def test_parts_stay_as_they_are():
    # were these to change, every split ever made would
    parts = [UserSplit().part(f"user-{n}") for n in range(40)]
    assert [n for n, part in enumerate(parts) if part == "tune"] == [3, 32]
    assert [n for n, part in enumerate(parts) if part == "test"] == [22, 29]
    assert [UserSplit(seed=1).part(f"user-{n}") for n in range(40)] != parts


def test_parts_have_their_shares():
    split = UserSplit({"train": 0.5, "none": 0.0, "test": 0.5}, seed=-3)
    parts = [split.part(str(n)) for n in range(10_000)]
    assert 0.48 < parts.count("train") / 10_000 < 0.52
    assert parts.count("none") == 0


@pytest.mark.parametrize("shares", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": math.nan}])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="shares"):
        UserSplit(shares)


def test_a_moment_by_hand():
    assert moment_at([40.0, 10.0, 30.0, 20.0], 0.75) == 40.0
    assert moment_at([40.0, 10.0, 30.0, 20.0], 0.0) == 10.0
    assert moment_at([10.0], 1.0) == math.inf
    with pytest.raises(ValueError, match="no timestamps"):
        moment_at([], 0.5)
    with pytest.raises(ValueError, match=r"timestamps\[0\]"):
        moment_at([math.nan], 0.5)


@given(ids, st.integers(0, 2**63))
def test_a_users_part_does_not_depend_on_the_others(ids, seed):
    split = UserSplit(seed=seed)
    parts = {user: split.part(user) for user in ids}
    assert {user: split.part(user) for user in reversed(ids)} == parts
    assert set(parts.values()) <= {"train", "tune", "test"}


@given(ids, st.integers(0, 99))
def test_a_split_by_user_leaks_no_user(ids, seed):
    split = UserSplit(seed=seed)
    turns = [turn(str(place), user, f"text {place}") for place, user in enumerate(ids)]
    training = [each for each in turns if split.part(each.user_id) == "train"]
    refuse_leaks(training, [each for each in turns if split.part(each.user_id) != "train"])
