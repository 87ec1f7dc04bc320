"""Which target is chosen, by which route, with what behind it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from markov import AbsorbingChain, Counts, Edges, End, OptionError, Path, UnknownStateError, fundamental_dense


def chain_of(
    moves: dict[tuple[str, str], tuple[float, int, int]], success: dict[str, float]
) -> AbsorbingChain:
    """From (weight, turns, users) of transitions and weights of success; each state also fails with 1."""
    states = tuple(dict.fromkeys(state for pair in moves for state in pair))
    pairs = np.array([[states.index(s), states.index(t)] for s, t in moves])
    weight, turns, users = (np.array(column) for column in zip(*moves.values(), strict=True))
    ones = np.ones(len(states), dtype=int)
    good = np.array([success.get(state, 0.0) for state in states])
    return AbsorbingChain.from_counts(
        Counts(states, Edges(pairs[:, 0], pairs[:, 1], weight, turns, users), good, ones, ones, ones)
    )


def test_the_wider_route_wins_over_the_shorter() -> None:
    chain = chain_of(
        {("u", "j"): (1.0, 50, 2), ("u", "w"): (1.0, 9, 7), ("w", "j"): (1.0, 8, 5)},
        success={"j": 9.0},
    )
    (best,) = chain.reformulations(["u"])
    assert (best.route, best.support_users, best.support_turns) == (("u", "w", "j"), 5, 8)
    (direct,) = chain.reformulations(["u"], max_hops=1)
    assert (direct.route, direct.support_users, direct.support_turns) == (("u", "j"), 2, 50)
    assert direct.score == best.score


def test_the_shorter_route_wins_at_equal_width() -> None:
    chain = chain_of(
        {("u", "w"): (1.0, 4, 3), ("w", "j"): (1.0, 4, 3), ("u", "j"): (1.0, 3, 3)},
        success={"j": 9.0},
    )
    assert chain.reformulations(["u"])[0].route == ("u", "j")


def test_support_is_the_narrowest_hop_although_each_hop_has_other_users() -> None:
    paths = [Path(("u", "v"), success=0.0, user=i) for i in range(9)]
    paths += [Path(("v", "j"), success=1.0, user=i) for i in range(100, 102)]
    chain = AbsorbingChain.from_paths(paths)
    (best,) = chain.reformulations(["u"])
    assert (best.target, best.route, best.support_users) == ("j", ("u", "v", "j"), 2)
    assert chain.reformulations(["u"], min_users=3) == []
    assert chain.reformulations(["u"], max_hops=1) == []


def test_ties_go_to_users_then_to_the_order_of_states() -> None:
    # From u, p, q and r are alike but for users; p is met before r.
    moves = {("u", "p"): (1.0, 9, 2), ("u", "q"): (1.0, 9, 3), ("u", "r"): (1.0, 9, 2)}
    chain = chain_of(moves, success={"p": 1.0, "q": 1.0, "r": 1.0})
    assert [best.target for best in chain.reformulations(["u"], k=3)] == ["q", "p", "r"]
    assert [best.target for best in chain.reformulations(["u"], k=2)] == ["q", "p"]


def test_a_target_without_success_of_its_own_is_none() -> None:
    chain = chain_of({("u", "w"): (9.0, 9, 9), ("w", "j"): (9.0, 9, 9)}, success={"j": 9.0, "u": 5.0})
    assert [best.target for best in chain.reformulations(["u"], k=5)] == ["j"]


def test_targets_may_be_a_set_or_a_predicate() -> None:
    chain = chain_of({("u", "p"): (2.0, 9, 9), ("u", "q"): (1.0, 9, 9)}, success={"p": 1.0, "q": 1.0})
    assert chain.reformulations(["u"])[0].target == "p"
    assert chain.reformulations(["u"], targets={"q", "never heard"})[0].target == "q"
    assert chain.reformulations(["u"], targets=lambda state: state == "q")[0].target == "q"
    assert chain.reformulations(["u"], targets=set()) == []


def test_answers_keep_the_order_asked_for() -> None:
    chain = chain_of({("a", "b"): (1.0, 1, 1), ("c", "d"): (1.0, 1, 1)}, success={"b": 1.0, "d": 1.0})
    assert [best.source for best in chain.reformulations(["c", "a", "c"])] == ["c", "a"]
    assert [best.source for best in chain.reformulations()] == ["a", "c"]


def test_a_cycle_and_a_self_loop_lead_to_no_rewrite_of_a_state_into_itself() -> None:
    chain = chain_of(
        {("a", "b"): (1.0, 1, 1), ("b", "a"): (1.0, 1, 1), ("a", "a"): (5.0, 5, 5)}, success={"a": 5.0}
    )
    assert [(best.source, best.target) for best in chain.reformulations(k=5)] == [("b", "a")]


# Up to 64 states a component is solved by full matrices, above by sparse LU: both are held to brute force.
@pytest.mark.parametrize(("seed", "n", "degree"), [(0, 12, 2.0), (1, 40, 1.2), (2, 60, 2.0), (3, 90, 2.0)])
@pytest.mark.parametrize(("k", "min_users", "max_hops"), [(1, 1, 4), (5, 2, 3), (3, 1, 1)])
def test_agreement_with_brute_force(
    seed: int, n: int, degree: float, k: int, min_users: int, max_hops: int
) -> None:
    rng = np.random.default_rng(seed)
    pair = np.unique(rng.integers(0, n * n, int(n * degree)))
    users = rng.integers(1, 5, len(pair))
    turns = users + rng.integers(0, 4, len(pair))
    edges = Edges(pair // n, pair % n, turns.astype(float), turns, users)
    said = np.ones(n, dtype=int)
    counts = Counts(tuple(range(n)), edges, rng.integers(0, 3, n), rng.integers(1, 4, n), said, said)
    chain = AbsorbingChain.from_counts(counts)
    scores = fundamental_dense(chain.Q) * chain.R[:, End.SUCCESS]
    hop = {divmod(int(p), n): (int(u), int(t)) for p, u, t in zip(pair, users, turns, strict=True)}
    for source in range(n):
        widest = widest_routes(hop, source, max_hops)
        good = [(round(-scores[source, j], 12), -w, j) for j, (w, _) in widest.items() if w >= min_users]
        expected = sorted(row for row in good if row[0] < 0)[:k]
        found = chain.reformulations([source], k=k, min_users=min_users, max_hops=max_hops)
        assert [(round(-best.score, 12), -best.support_users, best.target) for best in found] == expected
        for best in found:
            hops = [hop[step] for step in pairwise(best.route)]
            assert (best.route[0], best.route[-1]) == (source, best.target)
            assert (min(w for w, _ in hops), len(hops)) == widest[best.target]
            assert best.support_turns == min(t for _, t in hops)


def widest_routes(
    hop: dict[tuple[int, int], tuple[int, int]], source: int, max_hops: int
) -> dict[int, tuple[int, int]]:
    """target -> (width, hops of the shortest route that wide), over every simple route."""
    best: dict[int, tuple[int, int]] = {}
    routes = [((source,), 10**9)]
    for length in range(1, max_hops + 1):
        routes = [
            ((*route, t), min(width, users))
            for route, width in routes
            for (s, t), (users, _) in hop.items()
            if s == route[-1] and t not in route
        ]
        for route, width in routes:
            if width > best.get(route[-1], (0, 0))[0]:
                best[route[-1]] = (width, length)
    return best


def test_what_is_asked_wrongly() -> None:
    chain = chain_of({("a", "b"): (1.0, 1, 1)}, success={"b": 1.0})
    with pytest.raises(UnknownStateError, match="'z' is not among the 2 states"):
        chain.reformulations(["z"])
    with pytest.raises(OptionError, match=r"write \[text\]"):
        chain.reformulations("a")
    with pytest.raises(OptionError, match="k=0, min_users=1, max_hops=4 came"):
        chain.reformulations(k=0)
