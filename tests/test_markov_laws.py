"""What must hold for every chain, and agreement between the solvers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markov import AbsorbingChain, Counts, Edges, End, Method, fundamental_dense, solve_dense, solve_sparse

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


@FEW
@given(all_counts())
def test_absorption_sums_to_one(counts: Counts) -> None:
    chain = AbsorbingChain.from_counts(counts, min_absorption=1e-3)
    np.testing.assert_allclose(chain.solution.absorption.sum(axis=1), 1.0, atol=1e-12)
    assert chain.solution.absorption.min() >= 0.0
    assert chain.R.sum(axis=1).min() >= 1e-3 - 1e-15


@FEW
@given(all_counts())
def test_dense_equals_sparse(counts: Counts) -> None:
    chain = AbsorbingChain.from_counts(counts, min_absorption=1e-3)
    plain, sparse = solve_dense(chain.Q, chain.R), solve_sparse(chain.Q, chain.R)
    np.testing.assert_allclose(sparse.absorption, plain.absorption, atol=1e-12)
    np.testing.assert_allclose(sparse.steps, plain.steps, rtol=1e-11)
    assert (plain.method, sparse.method) == (Method.DENSE, Method.SPARSE)


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


@FEW
@given(all_counts(), st.randoms(use_true_random=False))
def test_the_order_of_states_does_not_matter(counts: Counts, random: object) -> None:
    order = list(range(len(counts.states)))
    random.shuffle(order)
    place = np.argsort(order)
    edges = replace(counts.edges, source=place[counts.edges.source], target=place[counts.edges.target])
    names = tuple(counts.states[i] for i in order)
    shuffled = Counts(
        names, edges, counts.success[order], counts.failure[order], counts.turns[order], counts.users[order]
    )
    before = AbsorbingChain.from_counts(counts, min_absorption=1e-3)
    after = AbsorbingChain.from_counts(shuffled, min_absorption=1e-3)
    np.testing.assert_allclose(after.solution.absorption, before.solution.absorption[order], atol=1e-12)


@FEW
@given(all_counts(), st.data())
def test_more_success_never_lowers_success(counts: Counts, data: st.DataObject) -> None:
    more = counts.success.copy()
    more[data.draw(st.integers(0, len(more) - 1))] += data.draw(st.floats(0.01, 100.0))
    before = AbsorbingChain.from_counts(counts).solution.success
    after = AbsorbingChain.from_counts(replace(counts, success=more)).solution.success
    assert (after - before).min() > -1e-9


@pytest.mark.parametrize(("n", "degree"), [(400, 0.6), (400, 1.5), (300, 4.0)])
def test_large_components_agree_with_dense(n: int, degree: float) -> None:
    chain = AbsorbingChain.from_counts(random_counts(1, n, degree))
    plain, sparse = solve_dense(chain.Q, chain.R), solve_sparse(chain.Q, chain.R)
    np.testing.assert_allclose(sparse.absorption, plain.absorption, atol=1e-13)
    np.testing.assert_allclose(chain.visits(7).toarray()[0], fundamental_dense(chain.Q)[7], atol=1e-12)


def test_same_counts_give_the_same_bits() -> None:
    first = AbsorbingChain.from_counts(random_counts(2, 3000, 1.2))
    second = AbsorbingChain.from_counts(random_counts(2, 3000, 1.2))
    assert first.solution.absorption.tobytes() == second.solution.absorption.tobytes()
    assert first.solution.steps.tobytes() == second.solution.steps.tobytes()
    assert first.reformulations(k=3) == second.reformulations(k=3)


def test_monte_carlo_agrees() -> None:
    chain = AbsorbingChain.from_counts(random_counts(3, 6, 3.0))
    walks, rng = 20_000, np.random.default_rng(4)
    rows = np.cumsum(np.hstack([chain.Q.toarray(), chain.R]), axis=1)  # [6, 8]: six states, success, failure
    at, steps = np.zeros(walks, dtype=int), np.zeros(walks)
    while (at < 6).any():
        moving = np.flatnonzero(at < 6)
        steps[moving] += 1
        at[moving] = (rng.random(len(moving))[:, np.newaxis] > rows[at[moving]]).sum(axis=1)
    five_sigma = 5 * 0.5 / np.sqrt(walks)
    assert (at == 6).mean() == pytest.approx(chain.solution.success[0], abs=five_sigma)
    assert steps.mean() == pytest.approx(chain.solution.steps[0], abs=5 * steps.std() / np.sqrt(walks))
