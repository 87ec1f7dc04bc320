"""What must hold for every chain, and agreement between the solvers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from markov import (
    AbsorbingChain,
    Counts,
    Edges,
    End,
    Method,
    Solution,
    fundamental_dense,
    solve,
    solve_dense,
    solve_fixed_point,
    solve_sparse,
)

COMPILED = pytest.param(
    partial(solve, compiled=True),
    id="compiled",
    marks=pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed"),
)
SOLVERS = [
    pytest.param(solve_dense, id="dense"),
    pytest.param(solve_sparse, id="sparse"),
    pytest.param(partial(solve_fixed_point, max_sweeps=100_000, compiled=False), id="fixed point"),
    pytest.param(partial(solve, compiled=False), id="picked"),
    COMPILED,
]
Solver = Callable[[sp.csr_array, np.ndarray], Solution]
FEW = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def all_counts(draw: st.DrawFn) -> Counts:
    """Up to 9 states, any edges, loops and cycles included; some states may have no end of their own."""
    n = draw(st.integers(1, 9))
    state = st.integers(0, n - 1)
    moves = draw(st.dictionaries(st.tuples(state, state), st.floats(0.01, 50.0), max_size=3 * n))
    end = st.lists(st.just(0.0) | st.floats(0.01, 50.0), min_size=n, max_size=n)
    source, target = np.array(list(moves), dtype=int).reshape(-1, 2).T
    seen = np.arange(1, len(moves) + 1)
    edges = Edges(source, target, np.array(list(moves.values())), seen, seen)
    said = np.ones(n, dtype=int)
    return Counts(
        tuple(f"s{i}" for i in range(n)), edges, np.array(draw(end)), np.array(draw(end)), said, said
    )


def random_counts(seed: int, n: int, degree: float) -> Counts:
    rng = np.random.default_rng(seed)
    pair = np.unique(rng.integers(0, n * n, int(n * degree)))
    users = rng.integers(1, 6, len(pair))
    edges = Edges(pair // n, pair % n, rng.random(len(pair)), users + rng.integers(0, 3, len(pair)), users)
    said = np.ones(n, dtype=int)
    return Counts(tuple(range(n)), edges, rng.random(n), rng.random(n), said, said)


@pytest.mark.parametrize("solver", SOLVERS)
def test_two_states_by_hand(solver: Solver) -> None:
    # a goes to b three times of four and else fails; b goes to a, or succeeds, half each.
    # s_a = 3/4 s_b and s_b = 1/2 + s_a/2 give s_b = 4/5, s_a = 3/5;
    # t_a = 1 + 3/4 t_b and t_b = 1 + t_a/2 give t_a = 14/5, t_b = 12/5.
    Q, R = sp.csr_array([[0.0, 0.75], [0.5, 0.0]]), np.array([[0.0, 0.25], [0.5, 0.0]])
    solution = solver(Q, R)
    np.testing.assert_allclose(solution.absorption, [[3 / 5, 2 / 5], [4 / 5, 1 / 5]], atol=1e-10)
    np.testing.assert_allclose(solution.steps, [14 / 5, 12 / 5], atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@FEW
@given(all_counts())
def test_absorption_sums_to_one(solver: Solver, counts: Counts) -> None:
    chain = AbsorbingChain.from_counts(counts, min_absorption=0.05)
    absorption = solver(chain.Q, chain.R).absorption
    np.testing.assert_allclose(absorption.sum(axis=1), 1.0, atol=1e-9)
    assert absorption.min() >= 0.0
    assert chain.R.sum(axis=1).min() >= 0.05 - 1e-15


@pytest.mark.parametrize("solver", SOLVERS)
@FEW
@given(all_counts())
def test_every_answer_is_within_its_own_bound_of_exact_fractions(solver: Solver, counts: Counts) -> None:
    chain = AbsorbingChain.from_counts(counts, min_absorption=0.05)
    success, steps = in_fractions(chain.Q.toarray(), chain.R)
    solution = solver(chain.Q, chain.R)
    np.testing.assert_allclose(solution.success, success, rtol=0.0, atol=solution.error_bound)
    np.testing.assert_allclose(solution.steps, steps, rtol=0.0, atol=solution.steps_bound)
    assert solution.error_bound < 1e-9


def in_fractions(Q: np.ndarray, R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(success) and steps [states] by Gauss-Jordan elimination in fractions: exact for these very floats."""
    n = len(R)
    rows = [[Fraction(int(i == j)) - Fraction(float(Q[i, j])) for j in range(n)] for i in range(n)]
    rows = [[*row, Fraction(float(R[i, End.SUCCESS])), Fraction(1)] for i, row in enumerate(rows)]
    for v in range(n):
        rows[v] = [cell / rows[v][v] for cell in rows[v]]
        for i in range(n):
            if i != v and rows[i][v]:
                rows[i] = [cell - rows[i][v] * own for cell, own in zip(rows[i], rows[v], strict=True)]
    return np.array([float(row[n]) for row in rows]), np.array([float(row[n + 1]) for row in rows])


@pytest.mark.parametrize("solver", SOLVERS)
@FEW
@given(all_counts())
def test_agreement_with_the_dense_inverse(solver: Solver, counts: Counts) -> None:
    chain = AbsorbingChain.from_counts(counts, min_absorption=1e-2)
    N, solution = fundamental_dense(chain.Q), solver(chain.Q, chain.R)
    np.testing.assert_allclose(solution.absorption, N @ chain.R, atol=1e-9)
    np.testing.assert_allclose(solution.steps, N.sum(axis=1), rtol=1e-9)


@FEW
@given(all_counts())
def test_visits_add_up_to_steps_and_scores_to_success(counts: Counts) -> None:
    chain = AbsorbingChain.from_counts(counts, min_absorption=1e-3)
    N = fundamental_dense(chain.Q)
    for u, state in enumerate(chain.states):
        visits = chain.visits(state).toarray()[0]
        np.testing.assert_allclose(visits, N[u], rtol=1e-10, atol=1e-12)
        assert visits.sum() == pytest.approx(chain.solution.steps[u], rel=1e-11)
        assert visits @ chain.R[:, End.SUCCESS] == pytest.approx(chain.solution.success[u], abs=1e-11)


@pytest.mark.parametrize("solver", SOLVERS)
@FEW
@given(all_counts(), st.randoms(use_true_random=False))
def test_the_order_of_states_does_not_matter(solver: Solver, counts: Counts, random: object) -> None:
    order = list(range(len(counts.states)))
    random.shuffle(order)
    place = np.argsort(order)
    edges = replace(counts.edges, source=place[counts.edges.source], target=place[counts.edges.target])
    names = tuple(counts.states[i] for i in order)
    shuffled = Counts(
        names, edges, counts.success[order], counts.failure[order], counts.turns[order], counts.users[order]
    )
    before, after = (AbsorbingChain.from_counts(each, min_absorption=1e-2) for each in (counts, shuffled))
    absorption = solver(after.Q, after.R).absorption
    np.testing.assert_allclose(absorption, solver(before.Q, before.R).absorption[order], atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@FEW
@given(all_counts(), st.data())
def test_more_success_never_lowers_success(solver: Solver, counts: Counts, data: st.DataObject) -> None:
    more = counts.success.copy()
    more[data.draw(st.integers(0, len(more) - 1))] += data.draw(st.floats(0.01, 100.0))
    before, after = (
        AbsorbingChain.from_counts(each, min_absorption=1e-2) for each in (counts, replace(counts, success=more))
    )
    gain = solver(after.Q, after.R).success - solver(before.Q, before.R).success
    assert gain.min() > -1e-9


@pytest.mark.parametrize("solver", SOLVERS)
def test_monte_carlo_agrees(solver: Solver) -> None:
    chain = AbsorbingChain.from_counts(random_counts(3, 6, 3.0))
    solution = solver(chain.Q, chain.R)
    walks, rng = 20_000, np.random.default_rng(4)
    rows = np.cumsum(np.hstack([chain.Q.toarray(), chain.R]), axis=1)  # [6, 8]: six states, success, failure
    at, steps = np.zeros(walks, dtype=int), np.zeros(walks)
    while (at < 6).any():
        moving = np.flatnonzero(at < 6)
        steps[moving] += 1
        at[moving] = (rng.random(len(moving))[:, np.newaxis] > rows[at[moving]]).sum(axis=1)
    five_sigma = 5 * 0.5 / np.sqrt(walks)
    assert (at == 6).mean() == pytest.approx(solution.success[0], abs=five_sigma)
    assert steps.mean() == pytest.approx(solution.steps[0], abs=5 * steps.std() / np.sqrt(walks))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("n", "degree"), [(400, 0.6), (400, 1.5), (300, 4.0)])
def test_large_components_agree_with_dense(solver: Solver, n: int, degree: float) -> None:
    chain = AbsorbingChain.from_counts(random_counts(1, n, degree))
    plain, solution = solve_dense(chain.Q, chain.R), solver(chain.Q, chain.R)
    np.testing.assert_allclose(solution.absorption, plain.absorption, atol=1e-9)
    np.testing.assert_allclose(solution.steps, plain.steps, rtol=1e-9)
    np.testing.assert_allclose(chain.visits(7).toarray()[0], fundamental_dense(chain.Q)[7], atol=1e-12)


def test_same_counts_give_the_same_bits() -> None:
    first = AbsorbingChain.from_counts(random_counts(2, 3000, 1.2))
    second = AbsorbingChain.from_counts(random_counts(2, 3000, 1.2))
    assert first.solution.absorption.tobytes() == second.solution.absorption.tobytes()
    assert first.solution.steps.tobytes() == second.solution.steps.tobytes()
    assert first.reformulations(k=3) == second.reformulations(k=3)


def test_each_solver_says_how_it_solved() -> None:
    chain = AbsorbingChain.from_counts(random_counts(1, 400, 1.5))
    methods = {name: solver(chain.Q, chain.R).states_by for name, solver in (("dense", solve_dense), ("picked", solve))}
    assert methods["dense"] == {Method.DENSE: 400}
    assert set(methods["picked"]) == {Method.ELIMINATION, Method.FIXED_POINT}
    assert sum(methods["picked"].values()) == 400
    assert set(solve_sparse(chain.Q, chain.R).states_by) == {Method.ELIMINATION, Method.LU}
