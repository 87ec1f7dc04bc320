"""The best targets of all sources, scores pushed from one and pulled to one: right to within the bound that is told."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from markov import BestTargets, OptionError, Reach, Succeeding, best_targets, fundamental_dense, push, solve
from markov.pull import Backward, plain_pull

COMPILED = pytest.param(
    True, id="compiled", marks=pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
)
BOTH = pytest.mark.parametrize("compiled", [pytest.param(False, id="plain"), COMPILED])
FEW = settings(max_examples=40, deadline=None, derandomize=True)


def chain(n: int, seed: int, degree: float = 2.0, floor: float = 0.05) -> tuple[sp.csr_array, np.ndarray]:
    """Random, with loops, cycles, hubs, and states from which nothing succeeds; of 90 states one part is large."""
    draw = np.random.default_rng(seed)
    m = int(n * degree)
    weight, target = draw.random(m) + 0.01, (n * draw.random(m) ** 2).astype(int)
    Q = sp.csr_array((weight, (draw.integers(0, n, m), target)), shape=(n, n))
    Q.sum_duplicates()
    total, end = Q.sum(axis=1), draw.uniform(floor, 0.9, n)
    Q.data *= np.repeat((1.0 - end) / np.where(total > 0.0, total, 1.0), np.diff(Q.indptr))
    end = 1.0 - Q.sum(axis=1)
    well = draw.random(n) * (draw.random(n) < 0.7)
    return Q, np.column_stack([end * well, end * (1.0 - well)])


def scores_of(Q: sp.csr_array, R: np.ndarray) -> np.ndarray:
    """N[u, j] R[j, success], [states, states], by the dense inverse."""
    return fundamental_dense(Q) * R[:, 0]


CYCLE = sp.csr_array([[0.0, 0.5, 0.25], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]), np.array([[0.25, 0], [0.5, 0], [1.0, 0]])


@BOTH
def test_three_states_by_hand(compiled: bool) -> None:
    # From 0 the visits are v0 = 1 + v1/2, v1 = v0/2: 4/3 and 2/3, and v2 = v0/4 = 1/3.
    # From 1: v1 = 1 + v0/2, v0 = v1/2: 4/3 and 2/3, and v2 = 1/6. Each times its direct success of 1/4, 1/2 and 1.
    Q, R = CYCLE
    best = best_targets(Q, R, k=2, compiled=compiled)
    assert best.targets.tolist() == [[1, 2], [0, 2], [-1, -1]]  # from 0 and from 1 both targets are tied: states decide
    np.testing.assert_allclose(best.scores, [[1 / 3, 1 / 3], [1 / 6, 1 / 6], [0, 0]], atol=1e-15)
    assert best.states_by == {Reach.INVERSE: 3, Reach.PULL: 0}


@BOTH
def test_a_push_by_hand(compiled: bool) -> None:
    # Everything succeeds, so shares of success are probabilities. 0 scores 1/4 at once and 3/4 waits: it is pushed,
    # and 1/2 comes to 1, where half of it scores, and 1/4 to 2, where all of it does. 1/4 waits at 1: more than 0.2.
    # It comes back to 0, where a fourth of it scores and 3/16 waits.
    succeeding = Succeeding.of(*CYCLE, solve(*CYCLE))
    pushed = push(succeeding, np.array([0]), tolerance=0.3, compiled=compiled)
    np.testing.assert_allclose(pushed.scores.toarray(), [[1 / 4, 1 / 4, 1 / 4]], atol=1e-15)
    assert (pushed.dropped[0], pushed.pushes[0]) == (pytest.approx(1 / 4), 1)
    pushed = push(succeeding, np.array([0]), tolerance=0.2, compiled=compiled)
    np.testing.assert_allclose(pushed.scores.toarray(), [[5 / 16, 1 / 4, 1 / 4]], atol=1e-15)
    assert (pushed.dropped[0], pushed.pushes[0]) == (pytest.approx(3 / 16), 2)


def test_a_pull_by_hand() -> None:
    # t0 = 1 + t1/2 + 1/4 and t1 = 1 + t0/2 give t0 = 7/3, the most, so w = a/2 + 3/14. Of target 2, 1 waits there, is
    # counted and passed on: 1/4 at 0, which is counted and passed on: 1/8 at 1, which is 0.27 times its w.
    Q, R = CYCLE
    backward = Backward.of(Q, R, solve(Q, R), np.arange(3))
    place = np.argsort(backward.states)
    np.testing.assert_allclose(backward.weight[place], [1 / 8 + 3 / 14, 1 / 4 + 3 / 14, 1 / 2 + 3 / 14], atol=1e-9)
    scores, worst = plain_pull(backward, place[[2]], 0.3, 10)
    np.testing.assert_allclose(scores.toarray()[0][place], [1 / 4, 0, 1], atol=1e-15)
    assert worst == pytest.approx(1 / 8 / (1 / 4 + 3 / 14))


@BOTH
@FEW
@given(st.integers(0, 10**6), st.sampled_from([3, 20, 90]), st.sampled_from([1e-2, 1e-5]))
def test_best_targets_are_best_to_within_the_bound(compiled: bool, seed: int, n: int, tolerance: float) -> None:
    Q, R = chain(n, seed)
    best, exact = best_targets(Q, R, k=4, tolerance=tolerance, compiled=compiled), scores_of(Q, R)
    np.fill_diagonal(exact, 0.0)
    assert best.bound.max() <= tolerance
    _check(best, exact)


def _check(best: BestTargets, exact: np.ndarray) -> None:
    rounding = 1e-11
    for u, (targets, scores, bound) in enumerate(zip(best.targets, best.scores, best.bound, strict=True)):
        found = targets >= 0
        assert u not in targets
        assert len(set(targets[found])) == found.sum()
        lacking = exact[u, targets[found]] - scores[found]
        assert lacking.min(initial=0.0) >= -rounding
        assert lacking.max(initial=0.0) <= bound + rounding
        assert (np.diff(scores) <= rounding).all()
        left = np.delete(exact[u], targets[found])
        last = scores[-1] if found.all() else 0.0
        assert left.max(initial=0.0) <= last + bound + rounding


@BOTH
@FEW
@given(st.integers(0, 10**6), st.sampled_from([1, 5, 90]), st.sampled_from([1e-1, 1e-4, 1e-9]))
def test_a_push_lacks_just_what_it_says(compiled: bool, seed: int, n: int, tolerance: float) -> None:
    Q, R = chain(n, seed)
    exact, solution = scores_of(Q, R), solve(Q, R)
    pushed = push(Succeeding.of(Q, R, solution), np.arange(n), tolerance=tolerance, compiled=compiled)
    lacking = exact - pushed.scores.toarray()
    assert lacking.min() >= -1e-12
    np.testing.assert_allclose(lacking.sum(axis=1), pushed.dropped, rtol=0.0, atol=1e-10)
    assert pushed.dropped.max() <= tolerance + solution.error_bound


@BOTH
def test_a_push_may_be_cut_short_and_says_what_it_dropped(compiled: bool) -> None:
    Q, R = chain(90, 1)
    succeeding = Succeeding.of(Q, R, solve(Q, R))
    pushed = push(succeeding, np.arange(90), tolerance=1e-12, max_pushes=2, compiled=compiled)
    assert pushed.dropped.max() > 1e-3
    lacking = scores_of(Q, R) - pushed.scores.toarray()
    np.testing.assert_allclose(lacking.sum(axis=1), pushed.dropped, rtol=0.0, atol=1e-10)


@BOTH
def test_pulls_that_are_cut_short_raise_the_bound(compiled: bool) -> None:
    Q, R = chain(90, 1, floor=1e-5)
    best, exact = best_targets(Q, R, tolerance=1e-12, max_passes=1, compiled=compiled), scores_of(Q, R)
    np.fill_diagonal(exact, 0.0)
    assert best.bound.max() > 1e-10
    _check(best, exact)


@pytest.mark.parametrize("compiled", [COMPILED])
@FEW
@given(st.integers(0, 10**6), st.sampled_from([30, 90]))
def test_compiled_and_plain_give_the_same(compiled: bool, seed: int, n: int) -> None:
    Q, R = chain(n, seed)
    plain, fast = (best_targets(Q, R, k=3, compiled=each) for each in (False, compiled))
    np.testing.assert_array_equal(fast.targets, plain.targets)
    np.testing.assert_allclose(fast.scores, plain.scores, rtol=0.0, atol=1e-12)
    np.testing.assert_allclose(fast.bound, plain.bound, rtol=0.0, atol=1e-12)
    succeeding, asked = Succeeding.of(Q, R, plain.solution), np.array([7, 3])
    pushed, twin = (push(succeeding, asked, tolerance=1e-3, compiled=each) for each in (compiled, False))
    np.testing.assert_allclose(pushed.scores.toarray(), twin.scores.toarray(), rtol=0.0, atol=1e-12)
    np.testing.assert_array_equal(pushed.pushes, twin.pushes)


@pytest.mark.parametrize("compiled", [COMPILED])
def test_the_number_of_threads_changes_no_bit(compiled: bool) -> None:
    import numba

    Q, R = chain(3_000, 2)
    answers = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        answers.append(best_targets(Q, R, compiled=compiled))
    assert answers[0].targets.tobytes() == answers[1].targets.tobytes()
    assert answers[0].scores.tobytes() == answers[1].scores.tobytes()


@BOTH
def test_the_order_of_states_does_not_matter(compiled: bool) -> None:
    Q, R = chain(90, 4)
    order = np.random.default_rng(0).permutation(90)
    before = best_targets(Q, R, k=5, tolerance=1e-10, compiled=compiled)
    after = best_targets(Q[order][:, order], R[order], k=5, tolerance=1e-10, compiled=compiled)
    np.testing.assert_allclose(after.scores, before.scores[order], atol=1e-8)


@pytest.mark.parametrize(
    "options", [{"k": 0}, {"tolerance": 0.0}, {"tolerance": 1.0}, {"tolerance": float("nan")}, {"max_passes": 0}]
)
def test_settings_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="are wanted"):
        best_targets(*CYCLE, **options)
    with pytest.raises(OptionError, match="0 < tolerance < 1 and 1 push or more are wanted"):
        push(Succeeding.of(*CYCLE, solve(*CYCLE)), np.array([0]), max_pushes=0)
