"""Adding up paths: users, turns and the cap; and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markov import AbsorbingChain, Counts, CountsError, Edges, OptionError, Path, PathError


def table(counts: Counts) -> dict[tuple[object, object], tuple[float, int, int]]:
    """(source, target) -> (weight, turns, users)."""
    edges = counts.edges
    rows = zip(
        *(getattr(edges, f).tolist() for f in ("source", "target", "weight", "turns", "users")), strict=True
    )
    return {(counts.states[s], counts.states[t]): (w, n, u) for s, t, w, n, u in rows}


def test_weights_turns_and_distinct_users_by_hand() -> None:
    counts = Counts.from_paths(
        [
            Path(("a", "b"), success=1.0, user="ann"),
            Path(("a", "b", "a", "c"), success=0.25, weight=2.0, user="ann"),
            Path(("a", "c"), success=0.0, user="bob"),
        ]
    )
    assert counts.states == ("a", "b", "c")
    assert table(counts) == {
        ("a", "b"): (3.0, 2, 1),
        ("b", "a"): (2.0, 1, 1),
        ("a", "c"): (3.0, 2, 2),
    }
    np.testing.assert_array_equal(counts.success, [0.0, 1.0, 0.5])
    np.testing.assert_array_equal(counts.failure, [0.0, 0.0, 2.5])
    np.testing.assert_array_equal(counts.turns, [4, 2, 2])
    np.testing.assert_array_equal(counts.users, [2, 1, 2])


def test_the_cap_scales_all_that_one_user_does_from_a_state() -> None:
    # Ann sends 3 to b and ends 1 in success: 4 in all, scaled by a half to the cap of 2. Bob stays as he is.
    paths = [Path(("a", "b"), success=0.0, user="ann")] * 3 + [Path(("a",), success=1.0, user="ann")]
    counts = Counts.from_paths([*paths, Path(("a", "b"), success=0.0, user="bob")], user_cap=2.0)
    assert table(counts) == {("a", "b"): (2.5, 4, 2)}
    np.testing.assert_array_equal(counts.success, [0.5, 0.0])
    np.testing.assert_array_equal(counts.failure, [0.0, 3.0])


@given(st.integers(1, 1000), st.floats(0.5, 20.0))
def test_a_thousand_repetitions_weigh_no_more_than_the_cap(times: int, cap: float) -> None:
    once = Path(("x", "y"), success=1.0, user="one")
    others = [Path(("x",), success=0.0, user=i) for i in range(5)]
    counts = Counts.from_paths([replace(once, weight=float(times)), *others], user_cap=cap)
    weight, turns, users = table(counts)["x", "y"]
    assert weight == pytest.approx(min(times, cap))
    assert (turns, users) == (1, 1)


def test_a_thousand_paths_of_one_user_weigh_no_more_than_the_cap() -> None:
    paths = [Path(("x", "y"), success=1.0, user="one")] * 1000 + [Path(("x",), success=0.0, user="two")] * 3
    chain = AbsorbingChain.from_paths(paths, user_cap=3.0)
    assert chain.success("x") == pytest.approx(1 / 2, abs=1e-12)
    (best,) = chain.reformulations(["x"])
    assert (best.support_turns, best.support_users) == (1000, 1)


def test_unknown_users_are_not_capped_and_count_as_one() -> None:
    counts = Counts.from_paths([Path(("a", "b"), success=1.0)] * 10, user_cap=1.0)
    assert table(counts) == {("a", "b"): (10.0, 10, 1)}


def test_arrays_are_copied_and_read_only() -> None:
    weight = np.array([1.0])
    edges = Edges(np.array([0]), np.array([1]), weight, np.array([1]), np.array([1]))
    weight[0] = 9.0
    assert edges.weight[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        edges.weight[0] = 2.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"states": ()}, "states came empty, at least one attempt"),
        ({"states": "play"}, "states came as str, a tuple is wanted"),
        ({"states": (["a"],)}, "unhashable type: 'list'"),
        ({"success": math.nan}, "success came as nan"),
        ({"success": 1.5}, "success came as 1.5, a probability"),
        ({"weight": -1.0}, "weight came as -1.0"),
        ({"weight": math.inf}, "weight came as inf"),
        ({"weight": math.nan}, "weight came as nan"),
    ],
)
def test_a_path_that_cannot_be_counted(fields: dict[str, object], message: str) -> None:
    with pytest.raises(PathError, match=message):
        Path(**({"states": ("a",), "success": 1.0} | fields))


GOOD = {"source": [0, 1], "target": [1, 0], "weight": [1.0, 2.0], "turns": [1, 2], "users": [1, 1]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": [1.0, math.nan]}, r"weight\[1\] came as nan"),
        ({"weight": [-1.0, 1.0]}, r"weight\[0\] came as -1.0"),
        ({"users": [1, -1]}, r"users\[1\] came as -1"),
        ({"turns": [1.5, 1.0]}, "turns came as float64 .* int64 is wanted"),
        ({"users": [1]}, "one length is wanted"),
        ({"source": [0, 2]}, "an edge came with state 2, indices below 2"),
        ({"source": [0, 0], "target": [1, 1]}, "the edge 'a' -> 'b' came twice"),
    ],
)
def test_edges_that_are_refused(fields: dict[str, list[float]], message: str) -> None:
    with pytest.raises(CountsError, match=message):
        Counts(("a", "b"), Edges(**(GOOD | fields)), [1.0, 1.0], [0.0, 0.0], [1, 1], [1, 1])


@pytest.mark.parametrize(
    ("states", "success", "message"),
    [
        (("a", "b"), [1.0, math.nan], r"success\[1\] came as nan"),
        (("a", "a"), [1.0, 1.0], "a state came twice"),
        (("a", "b", "c"), [1.0, 1.0], "3 states came with 2 rows"),
    ],
)
def test_states_that_are_refused(states: tuple[str, ...], success: list[float], message: str) -> None:
    with pytest.raises(CountsError, match=message):
        Counts(states, Edges(**GOOD), success, [0.0, 0.0], [1, 1], [1, 1])


def test_no_paths_make_no_counts() -> None:
    with pytest.raises(CountsError, match="an empty log makes no chain"):
        Counts.from_paths([])


@pytest.mark.parametrize("cap", [0.0, -1.0, math.nan])
def test_a_cap_that_caps_nothing_sensible(cap: float) -> None:
    with pytest.raises(OptionError, match="user_cap came as"):
        Counts.from_paths([Path(("a",), success=1.0)], user_cap=cap)
