"""Answers that can be checked by hand, in closed form, or in exact fractions."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import sympy

from markov import (
    AbsorbingChain,
    Counts,
    Edges,
    End,
    Path,
    SelfLoops,
    fundamental_dense,
    solve,
    solve_dense,
    solve_fixed_point,
    solve_sparse,
)

SOLVERS = [solve_dense, solve_sparse, solve, partial(solve_fixed_point, precision=1e-15, compiled=False)]


def chain_of(
    moves: dict[tuple[int, int], float], ends: list[tuple[float, float]], **options: object
) -> AbsorbingChain:
    """A chain over 0, 1, 2, ... from weights of transitions and of (success, failure)."""
    source, target = np.array(list(moves), dtype=int).reshape(-1, 2).T
    ones = np.ones(len(moves), dtype=int)
    edges = Edges(source, target, np.array(list(moves.values()), dtype=float), ones, ones)
    said = np.ones(len(ends), dtype=int)
    success, failure = np.array(ends, dtype=float).T
    counts = Counts(tuple(range(len(ends))), edges, success, failure, said, said)
    return AbsorbingChain.from_counts(counts, min_absorption=0.0, **options)


def test_three_users_teach_what_to_say_instead() -> None:
    garbled, meant = "play maj and dragons", "play imagine dragons"
    chain = AbsorbingChain.from_paths(
        [
            Path((garbled, meant), success=1.0, user="ann"),
            Path((garbled, meant), success=0.5, user="bob"),
            Path((garbled,), success=0.0, user="cem"),
        ]
    )
    # Two of three go on to what they meant, and 1.5 of these 2 succeed: 2/3 * 3/4 = 1/2.
    assert chain.success(garbled) == pytest.approx(1 / 2, abs=1e-12)
    assert chain.success(meant) == pytest.approx(3 / 4, abs=1e-12)
    (best,) = chain.reformulations([garbled])
    assert (best.source, best.target, best.route) == (garbled, meant, (garbled, meant))
    assert best.score == pytest.approx(1 / 2, abs=1e-12)
    assert (best.source_success, best.source_direct) == (pytest.approx(1 / 2, abs=1e-12), 0.0)
    assert (best.target_success, best.target_direct) == (pytest.approx(3 / 4, abs=1e-12), 0.75)
    assert (best.support_users, best.support_turns) == (2, 2)
    assert chain.reformulations([meant]) == []


# 0 -> 1 or failure, half each       s0 = s1/2               t0 = 1 + t1/2
# 1 -> 2 or 3, half each             s1 = s2/2 + s3/2        t1 = 1 + t2/2 + t3/2
# 2 -> 1 or success, half each       s2 = 1/2 + s1/2         t2 = 1 + t1/2
# 3 -> 4 or failure, half each       s3 = s4/2               t3 = 1 + t4/2
# 4 -> success                       s4 = 1                  t4 = 1
# From below: s3 = 1/2, then s1 = 1/4 + s1/4 + 1/4 gives s1 = 2/3, s2 = 5/6, s0 = 1/3;
#             t3 = 3/2, then t1 = 1 + 1/2 + t1/4 + 3/4 gives t1 = 3, t2 = 5/2, t0 = 5/2.
FIVE_MOVES = {(0, 1): 1.0, (1, 2): 1.0, (1, 3): 1.0, (2, 1): 1.0, (3, 4): 1.0}
FIVE_ENDS = [(0.0, 1.0), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 0.0)]


@pytest.mark.parametrize("solve", SOLVERS)
def test_five_states_by_hand(solve: object) -> None:
    chain = chain_of(FIVE_MOVES, FIVE_ENDS)
    solution = solve(chain.Q, chain.R)
    np.testing.assert_allclose(solution.success, [1 / 3, 2 / 3, 5 / 6, 1 / 2, 1], atol=1e-14)
    np.testing.assert_allclose(
        solution.absorption[:, End.FAILURE], [2 / 3, 1 / 3, 1 / 6, 1 / 2, 0], atol=1e-14
    )
    np.testing.assert_allclose(solution.steps, [5 / 2, 3, 5 / 2, 3 / 2, 1], atol=1e-14)
    assert solution.error_bound < 1e-14


def test_visits_from_the_first_of_five_states_by_hand() -> None:
    # v1 = 1/2 + v2/2 and v2 = v1/2 give v1 = 2/3, v2 = 1/3; then v3 = v1/2 and v4 = v3/2.
    chain = chain_of(FIVE_MOVES, FIVE_ENDS)
    by_hand = [1, 2 / 3, 1 / 3, 1 / 3, 1 / 6]
    np.testing.assert_allclose(chain.visits(0).toarray()[0], by_hand, atol=1e-14)
    np.testing.assert_allclose(fundamental_dense(chain.Q)[0], by_hand, atol=1e-14)
    np.testing.assert_array_equal(chain.visits(3).indices, [3, 4])


@pytest.mark.parametrize("solve", SOLVERS)
@pytest.mark.parametrize("p", [0.5, 0.6, 0.25])
def test_gamblers_ruin_in_closed_form(solve: object, p: float) -> None:
    """Feller, An Introduction to Probability Theory I, XIV.2-3: state i holds i + 1 of `goal` coins."""
    goal, q = 10, 1 - p
    moves = {(i, i + 1): p for i in range(goal - 2)} | {(i, i - 1): q for i in range(1, goal - 1)}
    ends = [(0.0, q)] + [(0.0, 0.0)] * (goal - 3) + [(p, 0.0)]
    chain = chain_of(moves, ends)
    coins = np.arange(1, goal)
    if p == q:
        wins, duration = coins / goal, coins * (goal - coins)
    else:
        wins = (1 - (q / p) ** coins) / (1 - (q / p) ** goal)
        duration = (coins - goal * wins) / (q - p)
    solution = solve(chain.Q, chain.R)
    np.testing.assert_allclose(solution.success, wins, atol=1e-13)
    np.testing.assert_allclose(solution.steps, duration, rtol=1e-12)


@pytest.mark.parametrize("n", range(1, 11))
def test_exact_fractions(n: int) -> None:
    draw = random.Random(n)
    moves = {(i, j): draw.randint(1, 9) for i in range(n) for j in range(n) if draw.random() < 0.4}
    ends = [(draw.randint(0, 5), draw.randint(1, 5)) for _ in range(n)]
    total = [sum(w for (i, _), w in moves.items() if i == u) + sum(ends[u]) for u in range(n)]
    Q = sympy.Matrix(n, n, lambda i, j: sympy.Rational(moves.get((i, j), 0), total[i]))
    R = sympy.Matrix(n, 2, lambda i, j: sympy.Rational(ends[i][j], total[i]))
    N = (sympy.eye(n) - Q).inv()
    chain = chain_of({pair: float(w) for pair, w in moves.items()}, [(float(s), float(f)) for s, f in ends])
    np.testing.assert_allclose(chain.solution.absorption, floats(N * R), atol=1e-12)
    np.testing.assert_allclose(chain.solution.steps, floats(N * sympy.ones(n, 1))[:, 0], rtol=1e-12)
    for u in range(n):
        np.testing.assert_allclose(chain.visits(u).toarray()[0], floats(N[u, :])[0], atol=1e-12)


def floats(matrix: sympy.Matrix) -> np.ndarray:
    return np.array([[float(Fraction(int(x.p), int(x.q))) for x in row] for row in matrix.tolist()])


def test_saying_it_again_changes_steps_and_direct_success_but_no_score() -> None:
    # 0 says itself again 3 times of 8, goes to 1 twice, succeeds once and fails twice; 1 again once of 3.
    moves, ends = {(0, 0): 3.0, (0, 1): 2.0, (1, 1): 1.0}, [(1.0, 2.0), (1.0, 1.0)]
    keep = chain_of(moves, ends, self_loops=SelfLoops.KEEP)
    drop = chain_of(moves, ends, self_loops=SelfLoops.DROP)
    # Without the loops: 0 succeeds directly with 1/5 and goes on with 2/5, 1 succeeds with 1/2;
    # 1/5 + 2/5 * 1/2 = 2/5.
    np.testing.assert_allclose(keep.solution.success, [2 / 5, 1 / 2], atol=1e-15)
    np.testing.assert_allclose(drop.solution.success, [2 / 5, 1 / 2], atol=1e-15)
    np.testing.assert_allclose(drop.solution.steps, [7 / 5, 1], atol=1e-15)
    np.testing.assert_allclose(keep.solution.steps, [8 / 5 + 2 / 5 * 3 / 2, 3 / 2], atol=1e-15)
    (kept,), (dropped,) = keep.reformulations([0]), drop.reformulations([0])
    assert kept.score == pytest.approx(1 / 5, abs=1e-15)
    assert dropped.score == pytest.approx(1 / 5, abs=1e-15)
    assert (kept.target_direct, dropped.target_direct) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
