"""Routes found around one source are those that the search over full arrays finds, and components of any size agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from markov import AbsorbingChain, Counts, Edges, Reformulation
from markov.components import Partition
from markov.reformulation import Limits, Search
from markov.routes import Hops, Route
from markov.sparse import fundamental_rows
from markov.support import Incoming, widest


def edges_of(hops: dict[tuple[int, int], tuple[int, int]]) -> Edges:
    """From (turns, users) of hops, sorted by source and target."""
    pairs = sorted(hops)
    source, target = np.array(pairs).T
    turns, users = np.array([hops[pair] for pair in pairs]).T
    return Edges(source, target, np.ones(len(pairs)), turns, users)


def hops_of(edges: Edges, states: int, least: int = 1, max_hops: int = 4) -> Hops:
    return Hops(edges, np.searchsorted(edges.source, np.arange(states + 1)), least, max_hops)


def test_the_widest_route_then_the_shortest_then_the_earliest_states() -> None:
    # 0 -> 3 straight on is 2 users wide; by 1 or by 2 it is 5, and 1 is earlier; by 1, 2 it would be 5 as well.
    edges = edges_of({(0, 3): (9, 2), (0, 1): (8, 7), (0, 2): (7, 7), (1, 3): (6, 5), (2, 3): (9, 5), (1, 2): (9, 9)})
    (found,) = hops_of(edges, 4).best(0, [3], [1.0], 1)
    assert found == (0, Route((0, 1, 3), users=5, turns=6))
    (found,) = hops_of(edges, 4, max_hops=1).best(0, [3], [1.0], 1)
    assert found == (0, Route((0, 3), users=2, turns=9))
    assert hops_of(edges, 4, least=6).best(0, [3], [1.0], 1) == []


def test_equal_keys_go_by_width_and_then_by_state() -> None:
    edges = edges_of({(0, 1): (9, 2), (0, 2): (9, 3), (0, 3): (9, 2), (0, 4): (9, 9)})
    found = hops_of(edges, 5).best(0, [1, 2, 3, 4], [0.5, 0.5, 0.5, 0.1], 2)
    assert [(place, route.users) for place, route in found] == [(1, 3), (0, 2)]


def random_counts(seed: int, n: int, degree: float) -> Counts:
    """Users with a heavy tail; the few weights make many scores equal."""
    draw = np.random.default_rng(seed)
    pair = np.unique(draw.integers(0, n * n, int(n * degree)))
    users = np.minimum(draw.zipf(1.7, len(pair)), 60)
    edges = Edges(pair // n, pair % n, users.astype(float), users + draw.integers(0, 4, len(pair)), users)
    said = np.ones(n, dtype=int)
    return Counts(tuple(range(n)), edges, draw.integers(0, 3, n), draw.integers(1, 4, n), said, said)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("least", "max_hops", "k"), [(1, 4, 3), (2, 3, 1), (3, 4, 50), (1, 1, 5)])
def test_agreement_with_the_search_over_full_arrays(seed: int, least: int, max_hops: int, k: int) -> None:
    n = 40
    chain = AbsorbingChain.from_counts(random_counts(seed, n, 2.5))
    draw, edges = np.random.default_rng(seed), chain.counts.edges
    key = np.round(draw.random(n), 1)  # many ties
    partition = Partition.of(chain.Q)
    incoming = Incoming.of(edges, partition.place)
    for block in partition.blocks():
        for rows in fundamental_rows(block, chain.Q.data, chain.R, np.ones(block.members.shape, dtype=bool)):
            levels = widest(rows, edges.users, max_hops)
            for row, u in enumerate(rows.source.tolist()):
                targets = [j for j in rows.members[row].tolist() if j != u]
                width = {j: int(levels[-1, row, partition.place[j]]) for j in targets}
                ranked = sorted(targets, key=lambda j: (-key[j], j))
                order = sorted((j for j in targets if width[j] >= least), key=lambda j: (-key[j], -width[j], j))[:k]
                found = hops_of(edges, n, least, max_hops).best(u, ranked, key[ranked].tolist(), k)
                assert [ranked[place] for place, _ in found] == order
                if not order:
                    continue
                routes = incoming.routes(levels, np.full(len(order), row), np.array(order))
                expected = zip(routes.trail.tolist(), routes.users.tolist(), routes.turns.tolist(), strict=True)
                for (_, route), (trail, users, turns) in zip(found, expected, strict=True):
                    assert route == Route(tuple(j for j in trail if j >= 0), users, turns)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("k", "min_users"), [(1, 1), (4, 2)])
def test_pushed_and_solved_components_give_the_same(seed: int, k: int, min_users: int) -> None:
    chain = AbsorbingChain.from_counts(random_counts(seed, 150, 2.0))
    everything = np.ones(len(chain), dtype=bool)

    def found(exact: int) -> list[Reformulation]:
        limits = Limits(k, min_users, max_hops=4, exact=exact, dropped=1e-13)
        search = Search(chain.counts, chain.Q, chain.R, chain.solution, everything, limits)
        return [each for _, each in sorted(search.run(everything), key=lambda pair: pair[0])]

    solved, pushed = found(exact=1_000), found(exact=10)
    assert len(solved) > 50
    assert [replace(each, score=0.0) for each in pushed] == [replace(each, score=0.0) for each in solved]
    np.testing.assert_allclose([each.score for each in pushed], [each.score for each in solved], rtol=0.0, atol=1e-11)


def test_some_sources_of_a_component_of_twenty_thousand_states() -> None:
    n = 20_000
    chain = AbsorbingChain.from_counts(random_counts(5, n, 1.5))
    asked = list(range(0, n, 100))
    found = chain.reformulations(asked, k=3)
    assert len(found) > 300
    for each in found[::60]:
        visits = chain.visits(each.source)
        exact = visits[0, each.target] * each.target_direct
        assert exact - 1e-6 <= each.score <= exact + 1e-9
        assert 0.0 < each.score <= each.source_success + 1e-9
