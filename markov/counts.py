"""Paths added up: all that the chain needs, and all that is held when there are millions of paths.

A mining job makes these arrays in its own engine (one GROUP BY for the edges, one for the states) and hands
them to `Counts`; `Counts.from_paths` does the same in plain Python and is the definition of what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from markov.errors import CountsError, OptionError
from markov.paths import End, Path

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Transitions between states, one row for each ordered pair; read-only copies of what is given."""

    source: Ints  # [edges] int64, index of a state
    target: Ints  # [edges] int64, index of a state
    weight: Floats  # [edges] float64, capped by user
    turns: Ints  # [edges] int64, times that it was seen
    users: Ints  # [edges] int64, distinct users who did it

    def __post_init__(self) -> None:
        _freeze(self, ints=("source", "target", "turns", "users"), floats=("weight",))

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: NDArray[Any]) -> Edges:
        """The edges at `rows` (indices or a mask), in that order."""
        return Edges(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """The aggregated graph: transitions, and for each state where its paths ended.

    The order of `states` breaks ties. Raises CountsError on arrays that do not fit together.
    """

    states: tuple[Hashable, ...]
    edges: Edges
    success: Floats  # [states] float64, weight absorbed in success
    failure: Floats  # [states] float64, weight absorbed in failure
    turns: Ints  # [states] int64, times that the state was said
    users: Ints  # [states] int64, distinct users who said it

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", tuple(self.states))
        _freeze(self, ints=("turns", "users"), floats=("success", "failure"))
        _check_states(self.states, len(self.success))
        _check_edges(self.edges, self.states)

    @classmethod
    def from_paths(cls, paths: Iterable[Path], *, user_cap: float = math.inf) -> Counts:
        """Add up paths; states keep the order in which they are first met.

        What one user sends out of one state weighs `user_cap` at most: above it, all that this user does from
        that state is scaled down alike. Turns are not capped: they say what the log holds.
        Paths whose user is None are not capped, and count as one user all together, since nobody can tell
        whether they are many.
        """
        if not user_cap > 0.0:
            raise OptionError(
                f"user_cap came as {user_cap!r}, a weight above 0 is wanted: math.inf for no cap"
            )
        index: dict[Hashable, int] = {}
        leaving: Leaving = {}
        for path in paths:
            for source, target, weight, turns in _steps(path, index):
                tally = leaving.setdefault((path.user, source), {}).setdefault(target, [0.0, 0])
                tally[0] += weight
                tally[1] += turns
        return _add_users(tuple(index), leaving, user_cap)


# While paths are added up: (user, source) -> target -> [weight, turns]; targets below zero are the two ends.
Leaving: TypeAlias = dict[tuple[Hashable | None, int], dict[int, list[float]]]
_END = {End.SUCCESS: -1, End.FAILURE: -2}


def _steps(path: Path, index: dict[Hashable, int]) -> Iterator[tuple[int, int, float, int]]:
    """(source, target, weight, turns) of each step; the last attempt's one turn goes with its success."""
    ids = [index.setdefault(state, len(index)) for state in path.states]
    for source, target in pairwise(ids):
        yield source, target, path.weight, 1
    yield ids[-1], _END[End.SUCCESS], path.weight * path.success, 1
    yield ids[-1], _END[End.FAILURE], path.weight * (1.0 - path.success), 0


def _add_users(states: tuple[Hashable, ...], leaving: Leaving, cap: float) -> Counts:
    ends = np.zeros((len(states), 2))  # [states, 2] float64
    said = np.zeros((len(states), 2), dtype=np.int64)  # [states, 2] int64: turns, users
    edges: dict[tuple[int, int], list[float]] = {}
    for (user, source), out in leaving.items():
        total = sum(weight for weight, _ in out.values())
        scale = 1.0 if user is None else min(1.0, cap / total)
        said[source] += (int(sum(turns for _, turns in out.values())), 1)
        for target, (weight, turns) in out.items():
            if target < 0:
                ends[source, -1 - target] += weight * scale
                continue
            row = edges.setdefault((source, target), [0.0, 0, 0])
            row[0] += weight * scale
            row[1] += turns
            row[2] += 1
    pairs = np.array(sorted(edges), dtype=np.int64).reshape(-1, 2)  # [edges, 2] int64
    tally = np.array([edges[pair] for pair in sorted(edges)]).reshape(-1, 3)  # [edges, 3] float64
    turns_users = tally[:, 1:].astype(np.int64)
    return Counts(
        states=states,
        edges=Edges(pairs[:, 0], pairs[:, 1], tally[:, 0], turns_users[:, 0], turns_users[:, 1]),
        success=ends[:, End.SUCCESS],
        failure=ends[:, End.FAILURE],
        turns=said[:, 0],
        users=said[:, 1],
    )


def _freeze(record: Edges | Counts, ints: tuple[str, ...], floats: tuple[str, ...]) -> None:
    """Replace each named field by a checked, read-only copy; all must have one length."""
    lengths = {}
    for name in ints + floats:
        given = np.asarray(getattr(record, name))
        wanted: type[np.number[Any]] = np.int64 if name in ints else np.float64
        if given.ndim != 1 or (given.size and given.dtype.kind not in ("iu" if name in ints else "iuf")):
            raise CountsError(
                f"{name} came as {given.dtype} {given.shape}, a flat array of {wanted.__name__} is wanted"
            )
        column = given.astype(wanted)
        bad = np.flatnonzero(~(np.isfinite(column) & (column >= 0)))
        if bad.size:
            raise CountsError(f"{name}[{bad[0]}] came as {column[bad[0]]}, a finite number >= 0 is wanted")
        column.setflags(write=False)
        object.__setattr__(record, name, column)
        lengths[name] = len(column)
    if len(set(lengths.values())) > 1:
        raise CountsError(f"arrays came with lengths {lengths}, one length is wanted")


def _check_states(states: tuple[Hashable, ...], rows: int) -> None:
    if not states:
        raise CountsError("no states came, at least one is wanted: an empty log makes no chain")
    if len(states) != rows:
        raise CountsError(f"{len(states)} states came with {rows} rows, one row for each state is wanted")
    if len(set(states)) != len(states):
        raise CountsError("a state came twice, distinct states are wanted: add up by state first")


def _check_edges(edges: Edges, states: tuple[Hashable, ...]) -> None:
    if not len(edges):
        return
    last = max(int(edges.source.max()), int(edges.target.max()))
    if last >= len(states):
        raise CountsError(f"an edge came with state {last}, indices below {len(states)} are wanted")
    pair = np.sort(edges.source * len(states) + edges.target)  # [edges] int64
    twice = pair[1:][pair[1:] == pair[:-1]]
    if twice.size:
        source, target = divmod(int(twice[0]), len(states))
        raise CountsError(
            f"the edge {states[source]!r} -> {states[target]!r} came twice, one row for each pair is wanted: "
            "add up by source and target first"
        )
