"""The widest routes from one source, by a search that stays around it: what `support` finds, without its full arrays.

For the targets of a source in a large component. What is wanted are the best k of some states by score that a route
of at most `max_hops` hops leads to, and for these the very route that `support.Incoming.routes` would trace: the
widest, of these the shortest, of these the one with the earliest states.
1. The widest routes are looked for among wide hops first, which are few: those of 8 times the least width, then 4, 2,
   1 times and so on. What a search finds is final, since every narrower hop would make a narrower route.
2. The last search, by hops of the least width, ends at the level where all that is wanted is found: by then nothing
   that is left can be wider, and later levels would be longer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from markov.counts import Edges

Ints = NDArray[np.int64]

_ENDLESS = np.iinfo(np.int64).max
WIDER = (16, 8, 4, 2)  # widths of the first searches, in times the least


@dataclass(frozen=True, slots=True)
class Route:
    """The shortest of the widest routes to one target."""

    states: tuple[int, ...]  # from source to target, both included
    users: int  # distinct users at the narrowest hop
    turns: int  # turns at the hop with the fewest


# For each number of hops, the states that so many hops improve: state -> (width, edge of the last hop) of each way
# there that does, in the order of the states it comes from.
Levels: TypeAlias = list[dict[int, list[tuple[int, int]]]]


@dataclass(frozen=True, slots=True, eq=False)
class Hops:
    """The edges that routes may use."""

    edges: Edges  # sorted by source and target
    start: Ints  # [states + 1] int64, where each state's edges begin
    least: int  # narrowest hop, in distinct users
    max_hops: int

    def best(self, source: int, ranked: Sequence[int], key: Sequence[float], k: int) -> list[tuple[int, Route]]:
        """(place in `ranked`, route) of the best k targets that a route leads to, by key, width and state.

        `ranked` are the targets by falling `key`; the source is none of them.
        """
        found: dict[int, tuple[int, Levels]] = {}  # target -> width, and the levels that it was found in
        widths = {*(self.least * times for times in WIDER), self.least + 1, self.least}
        for width in sorted(widths, reverse=True):
            known = frozenset(found)
            best, levels = self._search(source, width, partial(_settled, ranked, key, k, known))
            found |= {target: (best[target], levels) for target in best.keys() - found.keys()}
            if _settled(ranked, key, k, known, best):
                break
        there = [place for place, target in enumerate(ranked) if target in found]
        there.sort(key=lambda place: (-key[place], -found[ranked[place]][0], ranked[place]))
        return [(place, self._trace(ranked[place], *found[ranked[place]])) for place in there[:k]]

    def _search(
        self, source: int, width: int, settled: Callable[[Collection[int]], bool]
    ) -> tuple[dict[int, int], Levels]:
        """Width of each state that hops of `width` or more lead to."""
        best: dict[int, int] = {source: _ENDLESS}
        levels: Levels = [{source: [(_ENDLESS, -1)]}]
        while levels[-1] and len(levels) <= self.max_hops:
            levels.append(self._widened(levels[-1], best, width))
            best |= {target: max(ways)[0] for target, ways in levels[-1].items()}
            if width == self.least and settled(best):
                break
        return best, levels

    def _widened(
        self, before: dict[int, list[tuple[int, int]]], best: dict[int, int], width: int
    ) -> dict[int, list[tuple[int, int]]]:
        """One hop on from the states that the hop before improved."""
        after: dict[int, list[tuple[int, int]]] = {}
        for state in sorted(before):
            low, high = int(self.start[state]), int(self.start[state + 1])
            users = self.edges.users[low:high]
            wide = np.flatnonzero(users >= width)
            hops = zip(wide.tolist(), self.edges.target[low:high][wide].tolist(), users[wide].tolist(), strict=True)
            for edge, target, hop in hops:
                reached = min(best[state], hop)
                if reached > best.get(target, 0):
                    after.setdefault(target, []).append((reached, low + edge))
        return after

    def _trace(self, target: int, width: int, levels: Levels) -> Route:
        hops = next(h for h, level in enumerate(levels) if any(w >= width for w, _ in level.get(target, ())))
        states, turns = [target], _ENDLESS
        for level in levels[hops:0:-1]:
            edge = next(edge for w, edge in level[states[-1]] if w >= width)
            turns = min(turns, int(self.edges.turns[edge]))
            states.append(int(self.edges.source[edge]))
        return Route(tuple(reversed(states)), width, turns)


def _settled(
    ranked: Sequence[int], key: Sequence[float], k: int, known: Collection[int], found: Collection[int]
) -> bool:
    """Whether every target is found that could be among the best k or tied with the last of them."""
    for place, target in enumerate(ranked):
        if place >= k and key[place] < key[k - 1]:
            return True
        if target not in known and target not in found:
            return False
    return True
