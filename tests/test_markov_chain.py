"""How counts become a chain: the floor under absorption, what is refused, and size."""

from __future__ import annotations

import doctest
import time

import numpy as np
import pytest
import scipy.sparse as sp

import markov
from markov import (
    AbsorbingChain,
    ChainError,
    Counts,
    Edges,
    MarkovError,
    OptionError,
    Path,
    SolveError,
    UnknownStateError,
)


def ring(success: float = 0.0) -> Counts:
    """a -> b -> a, with the given weight of success at b."""
    ones = np.ones(2, dtype=int)
    edges = Edges(np.array([0, 1]), np.array([1, 0]), np.ones(2), ones, ones)
    return Counts(("a", "b"), edges, np.array([0.0, success]), np.zeros(2), ones, ones)


def test_states_that_only_lead_to_each_other_end_in_failure() -> None:
    chain = AbsorbingChain.from_counts(ring())
    np.testing.assert_allclose(chain.R, [[0.0, 1e-6], [0.0, 1e-6]], atol=1e-20)
    np.testing.assert_allclose(chain.Q.toarray(), [[0.0, 1 - 1e-6], [1 - 1e-6, 0.0]], atol=1e-15)
    np.testing.assert_allclose(chain.solution.absorption, [[0.0, 1.0], [0.0, 1.0]], atol=1e-9)
    np.testing.assert_allclose(chain.solution.steps, 1e6, rtol=1e-9)


def test_without_a_floor_every_state_must_have_a_way_to_an_end() -> None:
    with pytest.raises(ChainError, match="2 states came from which no path ends, the first is 'a'"):
        AbsorbingChain.from_counts(ring(), min_absorption=0.0)
    assert AbsorbingChain.from_counts(ring(success=1.0), min_absorption=0.0).success("a") == pytest.approx(
        1.0
    )


def test_the_floor_leaves_rows_above_it_alone() -> None:
    chain = AbsorbingChain.from_counts(ring(success=3.0), min_absorption=0.1)
    np.testing.assert_allclose(chain.R, [[0.0, 0.1], [0.75, 0.0]], atol=1e-15)
    np.testing.assert_allclose(chain.Q.toarray(), [[0.0, 0.9], [0.25, 0.0]], atol=1e-15)


def test_a_state_where_nothing_was_seen_is_a_failure() -> None:
    ones = np.ones(2, dtype=int)
    empty = np.array([], dtype=int)
    counts = Counts(
        ("a", "b"), Edges(empty, empty, [], empty, empty), np.array([1.0, 0.0]), np.zeros(2), ones, ones
    )
    chain = AbsorbingChain.from_counts(counts)
    np.testing.assert_array_equal(chain.solution.absorption, [[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(chain.solution.steps, [1.0, 1.0])


def test_a_state_that_only_repeats_itself() -> None:
    chain = AbsorbingChain.from_paths([Path(("again",) * 5, success=1.0)])
    # Four of five times it is said again, and the fifth succeeds.
    assert chain.success("again") == pytest.approx(1.0, abs=1e-14)
    assert chain.solution.steps[0] == pytest.approx(5.0)
    assert chain.reformulations() == []


def test_lookup() -> None:
    chain = AbsorbingChain.from_counts(ring(success=1.0))
    assert (chain.index("b"), "b" in chain, "z" in chain, len(chain)) == (1, True, False, 2)
    with pytest.raises(UnknownStateError, match=r"^'z' is not among the 2 states") as caught:
        chain.success("z")
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, MarkovError)


@pytest.mark.parametrize(
    ("q", "r", "message"),
    [
        ([1.0, 0.5], [[0.0, 0.0], [0.6, 0.0]], "the row of 'b' came with sum 1.1"),
        ([1.5, 0.5], [[-0.5, 0.0], [0.5, 0.0]], "a probability came below 0"),
        ([np.nan, 0.5], [[0.0, 0.0], [0.5, 0.0]], "a probability came as NaN"),
        ([1.0, 0.5], [[0.0], [0.5]], r"R as \(2, 1\)"),
    ],
)
def test_rows_that_are_refused(q: list[float], r: list[list[float]], message: str) -> None:
    Q = sp.csr_array((q, [1, 0], [0, 1, 2]), shape=(2, 2))
    with pytest.raises(ChainError, match=message):
        AbsorbingChain(ring(), Q, np.array(r))


def test_weights_that_overflow_are_refused() -> None:
    with pytest.raises(ChainError, match="too large to add up"):
        AbsorbingChain.from_paths(
            [Path(("a",), success=0.5, weight=1.7e308), Path(("a", "b"), 1.0, weight=1.7e308)]
        )


@pytest.mark.parametrize("share", [-0.1, 1.0, np.nan])
def test_a_floor_out_of_range(share: float) -> None:
    with pytest.raises(OptionError, match="min_absorption came as"):
        AbsorbingChain.from_counts(ring(), min_absorption=share)


def test_an_answer_that_cannot_be_exact_is_refused() -> None:
    with pytest.raises(SolveError, match="raise min_absorption"):
        _ = AbsorbingChain.from_counts(ring(), min_absorption=1e-17).solution


def test_a_hundred_thousand_single_states() -> None:
    n = 100_000
    ones, empty = np.ones(n, dtype=int), np.array([], dtype=int)
    good = np.arange(n) / n
    chain = AbsorbingChain.from_counts(
        Counts(tuple(range(n)), Edges(empty, empty, [], empty, empty), good, 1.0 - good, ones, ones)
    )
    start = time.perf_counter()
    np.testing.assert_allclose(chain.solution.success, good, atol=1e-15)
    np.testing.assert_array_equal(chain.solution.steps, ones)
    assert chain.reformulations() == []
    assert time.perf_counter() - start < 2.0


def test_the_face_names_all_that_it_exports() -> None:
    public = {
        name for name, value in vars(markov).items() if getattr(value, "__module__", "").startswith("markov.")
    }
    assert public | {"Targets"} == set(markov.__all__)


@pytest.mark.parametrize("name", ["paths", "chain"])
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(__import__(f"markov.{name}", fromlist=[name]))
    assert (result.attempted > 0, result.failed) == (True, 0)
