"""What evidence means for a text: an answer by hand, the truth found again from a seed, then laws."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewrite.execution import MICRO
from rewrite.refining import REFINED_SCHEMA, Refiner, refine


def rate(weight: list[float], success: list[float], base: float) -> float:
    """The success rate of one text, read anew; weights in turns."""
    w, s = np.array(weight) * MICRO, np.array(success) * MICRO
    return float((s * refine(np.zeros(len(w), np.int64), w, s, base)).sum() / w.sum())


def test_turns_that_say_nothing_go_by_the_others():
    # Base 0.8. Of 1,000 turns 200 surely fail, 50 surely succeed, 750 are as likely to succeed as any turn. Those say
    # nothing: of the 250 that do, a fifth succeeds, and so a fifth of the others is taken to.
    assert rate([200, 50, 750], [0.002, 49.999, 600], 0.8) == pytest.approx(0.2, abs=0.002)


def test_what_is_as_usual_stays_as_it_is():
    assert rate([100.0], [80.0], 0.8) == pytest.approx(0.8)


def test_the_true_rates_are_found_again():
    # Turns show nothing half of the time; otherwise they show how they went, wrongly now and then: judged one by one.
    rng = np.random.default_rng(3)
    base, wrong, shown = 0.7, 0.1, 0.5
    said = base * (1 - wrong) / (base * (1 - wrong) + (1 - base) * wrong)  # P(success | shown as success)
    denied = base * wrong / (base * wrong + (1 - base) * (1 - wrong))
    for truth in (0.05, 0.3, 0.7, 0.95):
        turns = 40_000
        went = rng.random(turns) < truth
        told = np.where(rng.random(turns) < wrong, ~went, went)
        judged = np.where(rng.random(turns) < shown, np.where(told, said, denied), base)
        weight = [float((judged == p).sum()) for p in (said, denied, base)]
        success = [w * p for w, p in zip(weight, (said, denied, base), strict=True)]
        assert abs(sum(success) / turns - truth) > abs(rate(weight, success, base) - truth) or truth == base
        assert rate(weight, success, base) == pytest.approx(truth, abs=0.02)


graded = st.lists(st.tuples(st.floats(0.01, 1e4), st.floats(0.001, 0.999)), min_size=1, max_size=8)


@given(graded, st.floats(0.05, 0.95))
def test_successes_stay_within_the_turns(grades: list[tuple[float, float]], base: float):
    weight = np.array([w for w, _ in grades]) * MICRO
    p = np.array([p for _, p in grades])
    read = p * refine(np.zeros(len(p), np.int64), weight, weight * p, base)
    assert np.all((read > 0) & (read < 1 + 1e-9))
    order = np.argsort(p, kind="stable")
    assert np.all(np.diff(read[order]) >= -1e-9)  # stronger evidence stays stronger


@given(graded, graded, st.floats(0.05, 0.95))
def test_texts_are_read_apart(one: list[tuple[float, float]], other: list[tuple[float, float]], base: float):
    def columns(grades: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
        weight = np.array([w for w, _ in grades]) * MICRO
        return weight, weight * np.array([p for _, p in grades])

    (w, s), (v, r) = columns(one), columns(other)
    text = np.repeat([0, 1], [len(w), len(v)])
    both = refine(text, np.concatenate([w, v]), np.concatenate([s, r]), base)
    np.testing.assert_allclose(both[: len(w)], refine(np.zeros(len(w), np.int64), w, s, base), rtol=1e-9)


def test_over_arrow_batches():
    batch = pa.RecordBatch.from_pydict(
        {
            "name": ["maj", "maj", "rock"], "grade": pa.array([0, 4, 4], pa.int64()),
            "weight": pa.array([9 * MICRO, MICRO, 10 * MICRO], pa.int64()),
            "success": pa.array([90_000, 800_000, 8 * MICRO], pa.int64()),
            "ended_well": pa.array([0, 800_000, 8 * MICRO], pa.int64()),
        }
    )  # fmt: skip
    found = Refiner(0.8)(batch)
    assert found.schema == REFINED_SCHEMA
    factor = found["factor"].to_pylist()
    assert factor[1] < 0.4  # one success in the face of nine failures
    assert factor[2] == pytest.approx(1.0)
    assert Refiner(0.8)(batch.slice(0, 0)).num_rows == 0
