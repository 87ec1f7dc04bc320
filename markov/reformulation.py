"""What to say instead: for each state, the other state through which most of its success flows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from markov.best import DECIMALS
from markov.components import Partition
from markov.counts import Counts
from markov.errors import SolveError
from markov.paths import End
from markov.push import Succeeding, push
from markov.routes import Hops
from markov.solution import TOLERANCE, Solution
from markov.sparse import Rows, fundamental_rows
from markov.support import Incoming, Routes, widest

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

Targets: TypeAlias = Callable[[Hashable], bool] | Collection[Hashable] | None

EXACT = 2_000  # states in a component up to which every row of N is solved for; above, scores are pushed
DROPPED = 1e-6  # success of a source that its pushed scores may lack, all together
PUSHES = 100_000  # states pushed from one source, at most
BATCH = 64  # sources pushed together


@dataclass(frozen=True, slots=True)
class Reformulation:
    """One target for one source, with the evidence behind it; whether to use it is the caller's to decide."""

    source: Hashable
    target: Hashable
    score: float  # N[u, j] R[j, success], see `own_terms`
    source_success: float  # P(success) from the source, whatever is said next
    target_success: float  # P(success) from the target, whatever is said next
    source_direct: float  # R[u, success]: the source itself is the last attempt and succeeds
    target_direct: float  # R[j, success]: the target itself is the last attempt and succeeds
    support_users: int  # distinct users at the route's narrowest hop
    support_turns: int  # turns at the hop of the same route that has the fewest
    route: tuple[Hashable, ...]  # the widest route from source to target, both included


def own_terms(visits: Floats, direct: Floats) -> Floats:
    """Score of each target j: its own term of P(success from u) = sum_j N[u, j] R[j, success].

    `visits` is [s, k] float64, rows of N; `direct` is R[j, success] for the same states, [s, k] float64.
    Kemeny & Snell 1960, theorem 3.3.7; as a choice of rewrite: Ponnusamy et al., AAAI 2020.
    """
    return visits * direct


@dataclass(frozen=True, slots=True)
class Limits:
    """Which reformulations are good enough."""

    k: int  # best so many of each source
    min_users: int  # least support, in distinct users
    max_hops: int  # longest route
    exact: int = EXACT
    dropped: float = DROPPED


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """A search over one chain; `counts.edges` must be those of Q, in the order of Q.data."""

    counts: Counts
    Q: sp.csr_array  # [states, states] float64
    R: Floats  # [states, 2] float64
    solution: Solution
    targets: Mask  # [states] bool, which states may be a target
    limits: Limits

    def run(self, sources: Mask) -> Iterator[tuple[int, Reformulation]]:
        """(index of source, reformulation) component by component; best first for each source.

        `sources` is [states] bool.
        """
        edges = self.counts.edges
        backed = (edges.users >= self.limits.min_users) & (edges.source != edges.target)  # [edges] bool
        able = np.zeros(len(self.R), dtype=bool)  # [states] bool, the others have no route to anywhere
        able[edges.source[backed]] = True
        partition = Partition.of(self.Q, sources & able)
        exact, large = partition.split(self.limits.exact)
        incoming = Incoming.of(edges, partition.place)
        for block in exact.blocks():
            for rows in fundamental_rows(block, self.Q.data, self.R, (sources & able)[block.members]):
                yield from self._best(rows, incoming)
        if len(large.order):
            asked = np.zeros(len(self.R), dtype=bool)
            asked[large.order] = (sources & able)[large.order]
            yield from self._pushed(np.flatnonzero(asked))

    def _pushed(self, sources: Ints) -> Iterator[tuple[int, Reformulation]]:
        """The same for `sources` [s] int64 of large components, each by what lies around it."""
        edges, n = self.counts.edges, len(self.R)
        chain = Succeeding.of(self.Q, self.R, self.solution)
        start = np.searchsorted(edges.source, np.arange(n + 1))
        hops = Hops(edges, start, max(self.limits.min_users, 1), self.limits.max_hops)
        for low in range(0, len(sources), BATCH):
            batch = sources[low : low + BATCH]
            pushed = push(chain, batch, tolerance=self.limits.dropped, max_pushes=PUSHES)
            check_cover(pushed.scores.sum(axis=1), pushed.dropped, self.solution.success[batch])
            for row, u in enumerate(batch.tolist()):
                part = slice(pushed.scores.indptr[row], pushed.scores.indptr[row + 1])
                yield from self._routed(u, pushed.scores.indices[part], pushed.scores.data[part], hops)

    def _routed(self, u: int, states: Ints, score: Floats, hops: Hops) -> Iterator[tuple[int, Reformulation]]:
        rounded = np.round(score, DECIMALS)
        eligible = np.flatnonzero(self.targets[states] & (rounded > 0.0) & (states != u))
        eligible = eligible[np.lexsort((states[eligible], -rounded[eligible]))]
        best = hops.best(u, states[eligible].tolist(), rounded[eligible].tolist(), self.limits.k)
        for place, route in best:
            yield u, self._record(u, float(score[eligible[place]]), route.users, route.turns, route.states)

    def _best(self, rows: Rows, incoming: Incoming) -> Iterator[tuple[int, Reformulation]]:
        score = own_terms(rows.visits, self.R[rows.members, End.SUCCESS])  # [s, k] float64
        check_cover(score.sum(axis=1), np.zeros(len(score)), self.solution.success[rows.source])
        levels = widest(rows, self.counts.edges.users, self.limits.max_hops)
        rounded = np.round(score, DECIMALS)
        eligible = (
            (levels[-1] >= max(self.limits.min_users, 1)) & self.targets[rows.members] & (rounded > 0.0)
        )
        eligible[np.arange(len(rows.place)), rows.place] = False  # the source is not a target of its own
        row, col = _top(rounded, levels[-1], eligible, self.limits.k)
        routes = incoming.routes(levels, row, rows.members[row, col])
        return self._records(rows.source[row], score[row, col], routes)

    def _records(self, source: Ints, score: Floats, routes: Routes) -> Iterator[tuple[int, Reformulation]]:
        columns = (source, score, routes.users, routes.turns, routes.trail)
        for u, term, users, turns, trail in zip(*(column.tolist() for column in columns), strict=True):
            yield u, self._record(u, term, users, turns, tuple(state for state in trail if state >= 0))

    def _record(self, u: int, score: float, users: int, turns: int, route: tuple[int, ...]) -> Reformulation:
        states, success, direct = self.counts.states, self.solution.success, self.R[:, End.SUCCESS]
        return Reformulation(
            source=states[u],
            target=states[route[-1]],
            score=score,
            source_success=float(success[u]),
            target_success=float(success[route[-1]]),
            source_direct=float(direct[u]),
            target_direct=float(direct[route[-1]]),
            support_users=users,
            support_turns=turns,
            route=tuple(states[state] for state in route),
        )


def _top(score: Floats, users: Ints, eligible: Mask, k: int) -> tuple[Ints, Ints]:
    """Row and column of the best k of each row, by score, users and order of states; [s, k] to [picks]."""
    row, col = np.nonzero(eligible)
    ranked = np.lexsort((col, -users[row, col], -score[row, col], row))
    row, col = row[ranked], col[ranked]
    place_in_row = np.arange(len(row)) - np.searchsorted(row, row)
    return row[place_in_row < k], col[place_in_row < k]


def check_cover(total: Floats, dropped: Floats, success: Floats) -> None:
    """The terms of each row and what they lack must add up to P(success), which was solved for on its own; [s] each."""
    gap = float(np.abs(total + dropped - success).max(initial=0.0))
    if not gap <= TOLERANCE:
        raise SolveError(
            f"scores miss P(success) by {gap:.1e}, at most {TOLERANCE:.0e} is wanted: raise min_absorption"
        )
