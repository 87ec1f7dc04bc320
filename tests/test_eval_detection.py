import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from eval.detection import (
    Credit,
    Detections,
    average_precision,
    exact_turn,
    f1,
    pointing,
    precision,
    recall,
    recall_at_precision,
    sweep,
)
from eval.measures import Share

# Five sources by hand, at a threshold of 0.5:
#
#   source  probability  named  gold   flagged  there is one  the turn
#   1       0.9          t2     t2     yes      right         right
#   2       0.8          t5     t6     yes      right         wrong
#   3       0.6          t8     none   yes      wrong         wrong
#   4       0.3          t9     t9     no       missed        missed
#   5       0.1          none   none   no       right         right
#
# By turn: 1 of 3 flagged is right, 1 of 3 positives found. By source: 2 of 3, and 2 of 3.
# Average precision by turn: recall rises by 1/3 at 0.9 (precision 1) and at 0.3 (precision 2/4): 1/3 + 1/6 = 1/2.
# By source: at 0.9 (1), at 0.8 (1) and at 0.3 (3/4): 1/3 + 1/3 + 1/4 = 11/12.
ROWS = [(0.9, "t2", "t2"), (0.8, "t5", "t6"), (0.6, "t8", None), (0.3, "t9", "t9"), (0.1, None, None)]
FIVE = Detections.from_rows(ROWS)

turn = st.sampled_from([None, "a", "b"])
rows = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), turn, turn), max_size=30)
named_rows = st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.3, 0.8]), st.just("a"), turn), min_size=1, max_size=30)


def test_five_sources_by_hand():
    assert precision(FIVE, 0.5) == Share(1, 3)
    assert recall(FIVE, 0.5) == Share(1, 3)
    assert f1(FIVE, 0.5) == pytest.approx(1 / 3)
    assert precision(FIVE, 0.5, Credit.SOURCE) == Share(2, 3)
    assert recall(FIVE, 0.5, Credit.SOURCE) == Share(2, 3)
    assert f1(FIVE, 0.5, Credit.SOURCE) == pytest.approx(2 / 3)
    assert exact_turn(FIVE, 0.5) == Share(2, 5)
    assert pointing(FIVE, 0.5) == Share(1, 2)
    assert average_precision(FIVE) == pytest.approx(1 / 2)
    assert average_precision(FIVE, Credit.SOURCE) == pytest.approx(11 / 12)


def test_the_sweep_by_hand():
    points = sweep(FIVE)
    assert points.threshold.tolist() == [0.9, 0.8, 0.6, 0.3]
    assert points.right.tolist() == [1, 1, 1, 2]
    assert points.flagged.tolist() == [1, 2, 3, 4]
    assert points.positives == 3


def test_recall_at_precision_by_hand():
    point = recall_at_precision(FIVE, 0.5)
    assert (point.threshold, point.precision, point.recall) == (0.3, 0.5, pytest.approx(2 / 3))
    assert recall_at_precision(FIVE, 0.6).threshold == 0.9
    assert recall_at_precision(FIVE, 0.75, Credit.SOURCE).recall == 1.0


def test_where_no_threshold_is_precise_enough_nothing_is_flagged():
    point = recall_at_precision(Detections.from_rows([(0.9, "a", None), (0.5, "a", "b")]), 0.9)
    assert (point.threshold, point.precision, point.recall) == (math.inf, None, 0.0)


def test_sources_of_equal_probability_are_flagged_together():
    tied = Detections.from_rows([(0.5, "a", "a"), (0.5, "a", None), (0.5, "a", None), (0.5, "a", "a")])
    assert len(sweep(tied)) == 1
    assert average_precision(tied) == 0.5


def test_what_cannot_be_measured_is_none():
    for nothing in (Detections.from_rows([]), Detections.from_rows([(0.4, None, None)])):
        assert precision(nothing, 0.0).value is None
        assert recall(nothing, 0.0).value is None
        assert pointing(nothing, 0.0).value is None
        assert f1(nothing, 0.0) is None
        assert average_precision(nothing) is None
        assert recall_at_precision(nothing, 0.9) is None
        assert len(sweep(nothing)) == 0
    assert exact_turn(Detections.from_rows([]), 0.5).value is None
    assert exact_turn(Detections.from_rows([(0.4, None, None)]), 0.5).value == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1.5, -0.1])
def test_probabilities_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match=r"probability\[1\]"):
        Detections.from_rows([(0.5, "a", "a"), (bad, "a", "a")])


def test_other_misuse_is_refused():
    with pytest.raises(ValueError, match="lengths"):
        Detections(np.array([0.5]), np.array([True, True]), np.array([True]), np.array([True]))
    with pytest.raises(ValueError, match="exact"):
        Detections(np.array([0.5]), np.array([False]), np.array([True]), np.array([True]))
    with pytest.raises(ValueError, match="wished"):
        recall_at_precision(FIVE, math.nan)
    with pytest.raises(ValueError, match="threshold"):
        f1(FIVE, math.nan)


@given(named_rows)
def test_by_source_it_agrees_with_scikit_learn(rows):
    detections = Detections.from_rows(rows)
    scores, truth = [row[0] for row in rows], [row[2] is not None for row in rows]
    if not any(truth):
        return
    expected = average_precision_score(truth, scores)
    assert average_precision(detections, Credit.SOURCE) == pytest.approx(expected, abs=1e-12)
    expected = f1_score(truth, np.array(scores) >= 0.3, zero_division=0.0)
    assert f1(detections, 0.3, Credit.SOURCE) == pytest.approx(expected, abs=1e-12)
    points = sweep(detections, Credit.SOURCE)
    precisions, recalls, thresholds = precision_recall_curve(truth, scores)
    np.testing.assert_allclose(points.threshold, thresholds[::-1], atol=1e-12)
    np.testing.assert_allclose(points.precision, precisions[-2::-1], atol=1e-12)
    np.testing.assert_allclose(points.recall, recalls[-2::-1], atol=1e-12)


@given(rows, st.sampled_from([0.0, 0.2, 0.4, 0.7, 1.0, math.inf]))
def test_a_turn_is_harder_than_a_source(rows, threshold):
    detections = Detections.from_rows(rows)
    for measure in (precision, recall):
        strict, lenient = measure(detections, threshold), measure(detections, threshold, Credit.SOURCE)
        assert strict.whole == lenient.whole
        assert strict.part <= lenient.part
    strict, lenient = average_precision(detections), average_precision(detections, Credit.SOURCE)
    assert (strict is None) == (lenient is None)
    assert strict is None or 0 <= strict <= lenient + 1e-12 <= 1 + 2e-12


@given(rows, st.sampled_from(Credit))
def test_the_sweep_is_what_each_threshold_gives(rows, credit):
    detections = Detections.from_rows(rows)
    points = sweep(detections, credit)
    for threshold, right, flagged in zip(points.threshold, points.right, points.flagged, strict=True):
        assert precision(detections, threshold, credit) == Share(right, flagged)
        assert recall(detections, threshold, credit) == Share(right, points.positives)


@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_sources_makes_no_difference(rows, order):
    mixed = list(rows)
    order.shuffle(mixed)
    assert average_precision(Detections.from_rows(mixed)) == average_precision(Detections.from_rows(rows))
