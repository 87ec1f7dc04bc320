import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from dialogue.turn import FailurePoint
from eval.outcomes import Binning, Confusion, brier, calibration_error, f1_by_class, log_loss, macro_f1, reliability

ASR, NLU, CORRECT, RESULT = FailurePoint.ASR, FailurePoint.NLU, FailurePoint.CORRECT, FailurePoint.RESULT

# Four turns by hand:
#
#   gold       asr  asr  nlu      correct
#   predicted  asr  nlu  nlu      correct
#
#   F1: asr 2 * 1 / (2 + 1) = 2/3, nlu 2 * 1 / (1 + 2) = 2/3, correct 1, the others not measured; macro 7/9
FOUR = Confusion.from_labels([ASR, NLU, NLU, CORRECT], [ASR, ASR, NLU, CORRECT], list(FailurePoint))

turns = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)
labels = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=40)


def test_four_turns_by_hand():
    found = f1_by_class(FOUR)
    assert (found[ASR], found[NLU], found[CORRECT]) == pytest.approx((2 / 3, 2 / 3, 1.0))
    assert found[RESULT] is None
    assert macro_f1(FOUR) == pytest.approx(7 / 9)
    assert FOUR.table[FOUR.classes.index(ASR), FOUR.classes.index(NLU)] == 1
    assert FOUR.table.sum() == 4


def test_probabilities_by_hand():
    # squared distances 0.01, 0.04, 0.25; the right outcome was given 0.9, 0.8, 0.5
    said, came = [0.9, 0.2, 0.5], [1, 0, 1]
    assert brier(said, came) == pytest.approx(0.1)
    assert log_loss(said, came) == pytest.approx(-math.log(0.9 * 0.8 * 0.5) / 3)


def test_calibration_by_hand():
    # two bins: up to 0.5 said 0.2 and 0.4, came 0 and 1; above said 0.9 and 0.9, came 1 and 1
    said, came = [0.2, 0.4, 0.9, 0.9], [0, 1, 1, 1]
    curve = reliability(said, came, bins=2)
    assert curve.said.tolist() == pytest.approx([0.3, 0.9])
    assert curve.came_true.tolist() == [0.5, 1.0]
    assert curve.turns.tolist() == [2, 2]
    assert calibration_error(said, came, bins=2) == pytest.approx(0.5 * 0.2 + 0.5 * 0.1)


def test_bins_of_equal_mass_keep_equal_probabilities_together():
    curve = reliability([0.3] * 6 + [0.8] * 2, [0, 0, 1, 0, 0, 1, 1, 1], bins=4, binning=Binning.EQUAL_MASS)
    assert curve.turns.tolist() == [6, 2]
    assert curve.said.tolist() == pytest.approx([0.3, 0.8])
    assert calibration_error([0.5] * 4, [1, 0, 1, 0], binning=Binning.EQUAL_MASS) == 0.0


def test_nothing_is_not_measured():
    assert brier([], []) is None
    assert log_loss([], []) is None
    for binning in Binning:
        assert calibration_error([], [], binning=binning) is None
        assert len(reliability([], [], binning=binning).turns) == 0
    nothing = Confusion.from_labels([], [], list(FailurePoint))
    assert macro_f1(nothing) is None
    assert set(f1_by_class(nothing).values()) == {None}


def test_one_sure_mistake_is_costly_but_finite():
    assert 30 < log_loss([0.0], [1]) < 40
    assert log_loss([1.0], [1]) == pytest.approx(0.0, abs=1e-12)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match=r"probability\[0\] came as nan"):
        brier([math.nan], [1])
    with pytest.raises(ValueError, match=r"outcome\[1\] came as 2"):
        log_loss([0.5, 0.5], [1, 2])
    with pytest.raises(ValueError, match="lengths"):
        calibration_error([0.5], [1, 0])
    with pytest.raises(ValueError, match="bins"):
        reliability([0.5], [1], bins=0)
    with pytest.raises(ValueError, match="the label None"):
        Confusion.from_labels([None], [ASR], list(FailurePoint))


@given(labels)
def test_f1_agrees_with_scikit_learn(labels):
    predicted, gold = zip(*labels, strict=True)
    confusion = Confusion.from_labels(predicted, gold, "abcd")
    np.testing.assert_array_equal(confusion.table, metrics.confusion_matrix(gold, predicted, labels=list("abcd")))
    wanted = metrics.f1_score(gold, predicted, average=None, labels=list("abcd"), zero_division=0.0)
    for each, value in zip("abcd", wanted, strict=True):
        assert (f1_by_class(confusion)[each] or 0.0) == pytest.approx(value, abs=1e-12)
    wanted = metrics.f1_score(gold, predicted, average="macro", zero_division=0.0)
    assert macro_f1(confusion) == pytest.approx(wanted, abs=1e-12)


@given(turns)
def test_scores_agree_with_scikit_learn(turns):
    said, came = (np.array(column, float) for column in zip(*turns, strict=True))
    assert brier(said, came) == pytest.approx(metrics.brier_score_loss(came, said, pos_label=1), abs=1e-12)
    assert log_loss(said, came) == pytest.approx(metrics.log_loss(came, said, labels=[0, 1]), rel=1e-12, abs=1e-12)


@given(turns, st.integers(1, 12))
def test_the_curve_agrees_with_scikit_learn(turns, bins):
    said, came = (np.array(column, float) for column in zip(*turns, strict=True))
    for binning, strategy in ((Binning.EQUAL_WIDTH, "uniform"), (Binning.EQUAL_MASS, "quantile")):
        true, mean = calibration_curve([0.0, 1.0, *came], [0.0, 1.0, *said], n_bins=bins, strategy=strategy)
        curve = reliability([0.0, 1.0, *said], [0.0, 1.0, *came], bins, binning)
        np.testing.assert_allclose(curve.said, mean, atol=1e-12)
        np.testing.assert_allclose(curve.came_true, true, atol=1e-12)
        assert curve.turns.sum() == len(turns) + 2
        assert 0 <= calibration_error(said, came, bins, binning) <= 1
