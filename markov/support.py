"""How well a route is backed: the widest path, a route being as wide as its narrowest hop in distinct users.

A target stitched together from different users' steps is thus backed at every hop, or not at all.
Widths come level by level, level h being the best over routes of at most h hops: Bellman-Ford with (max, min)
for (min, +) (Pollack, "The maximum capacity through a network", Operations Research 8(5), 1960).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from markov.components import Block
from markov.counts import Edges
from markov.sparse import Rows

Ints = NDArray[np.int64]

_ENDLESS = np.iinfo(np.int64).max


def widest(rows: Rows, users: Ints, max_hops: int) -> Ints:
    """Width of the widest route from each source to each state of its component, [max_hops + 1, s, k] int64.

    `users` is [edges of Q] int64; the sources are those of `rows`.
    0 where there is no route of at most h hops; a source reaches itself with a width that no edge has.
    """
    levels = np.zeros((max_hops + 1, *rows.visits.shape), dtype=np.int64)
    levels[0, np.arange(len(rows.place)), rows.place] = _ENDLESS
    widen = _over_full(rows.block, users, rows.batch) if rows.block.small else _over_edges(rows.block, users)
    for before, after in pairwise(levels):
        after[:] = before
        widen(before, after)
    return levels


# Widens routes by one hop: reads the level before, [s, k] int64, and raises the level after in place.
Widen = Callable[[Ints, Ints], None]


def _over_full(block: Block, users: Ints, batch: Ints) -> Widen:
    full = block.spread(users)  # [b, k, k] int64

    def widen(before: Ints, after: Ints) -> None:
        for via in range(before.shape[1]):
            np.maximum(after, np.minimum(before[:, via, np.newaxis], full[batch, via]), out=after)

    return widen


def _over_edges(block: Block, users: Ints) -> Widen:
    by_target = np.argsort(block.col, kind="stable")
    row, width = block.row[by_target], users[block.edge[by_target]]  # [e] int64
    target, first = np.unique(block.col[by_target], return_index=True)

    def widen(before: Ints, after: Ints) -> None:
        arriving = np.minimum(np.ascontiguousarray(before.T)[row], width[:, np.newaxis])  # [e, s] int64
        after[:, target] = np.maximum(after[:, target], np.maximum.reduceat(arriving, first, axis=0).T)

    return widen


@dataclass(frozen=True, slots=True, eq=False)
class Routes:
    """The shortest of the widest routes, one for each pick."""

    trail: Ints  # [picks, max_hops + 1] int64, states from source to target, then -1
    users: Ints  # [picks] int64, distinct users at the narrowest hop
    turns: Ints  # [picks] int64, turns at the hop with the fewest


@dataclass(frozen=True, slots=True, eq=False)
class Incoming:
    """The edges of Q sorted by target, to walk routes backwards."""

    edges: Edges
    place: Ints  # [states] int64, place of each state in its component
    order: Ints  # [edges] int64, positions in `edges` by target, then by source
    start: Ints  # [states + 1] int64, where each target's edges begin in `order`

    @classmethod
    def of(cls, edges: Edges, place: Ints) -> Incoming:
        """Index `edges`, which are sorted by source."""
        heads = np.bincount(edges.target, minlength=len(place))
        start = np.concatenate([[0], np.cumsum(heads)])
        return cls(edges, place, np.argsort(edges.target, kind="stable"), start)

    def routes(self, levels: Ints, row: Ints, target: Ints) -> Routes:
        """Trace the route to state `target[i]` from the source of row `row[i]` of `levels` (see `widest`).

        Every target must be reachable. Of several routes of equal width and length, the earliest states win.
        """
        place = self.place[target]
        users = levels[-1, row, place]  # [picks] int64
        hops = np.argmax(levels[:, row, place] == users, axis=0)  # [picks] int64, first level that wide
        trail = np.full((len(row), len(levels)), -1, dtype=np.int64)
        trail[np.arange(len(row)), hops] = target
        turns = np.full(len(row), _ENDLESS)
        for h in range(len(levels) - 1, 0, -1):
            active = np.flatnonzero(hops >= h)
            edge = self._last_hop(levels[h - 1], row[active], trail[active, h], users[active])
            trail[active, h - 1] = self.edges.source[edge]
            turns[active] = np.minimum(turns[active], self.edges.turns[edge])
        return Routes(trail, users, turns)

    def _last_hop(self, before: Ints, row: Ints, target: Ints, width: Ints) -> Ints:
        """First edge into each target that keeps the width, [picks] int64."""
        count = self.start[target + 1] - self.start[target]
        pick = np.repeat(np.arange(len(target)), count)  # [edges into the targets] int64
        offset = np.arange(len(pick)) - np.repeat(np.cumsum(count) - count, count)
        edge = self.order[self.start[target][pick] + offset]
        reached = before[row[pick], self.place[self.edges.source[edge]]]
        wide = np.flatnonzero(np.minimum(reached, self.edges.users[edge]) >= width[pick])
        _, first = np.unique(pick[wide], return_index=True)
        found: Ints = edge[wide[first]]
        return found
