"""Cuts the chain into weakly connected components, so that each can be solved on its own.

No path leaves its component, so I - Q is block diagonal and nothing is lost. Most texts of a log are said
once and end there, or form a handful with their rephrases: components of one size are handed out together
as a `Block`, for one vectorised solution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

Ints = NDArray[np.int64]
Number = TypeVar("Number", np.float64, np.int64)

SMALL = 64  # states in a component up to which a full matrix beats a sparse one
CELLS = 1_000_000  # numbers in one block of full matrices: some 8 MB, and it stays near the cache


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """`b` components of `k` states each, with their edges; a component above SMALL comes alone."""

    members: Ints  # [b, k] int64, states of each component, ascending
    edge: Ints  # [e] int64, position of the edge in Q.data
    batch: Ints  # [e] int64, which component
    row: Ints  # [e] int64, column in `members` of the edge's source
    col: Ints  # [e] int64, column in `members` of the edge's target

    @property
    def small(self) -> bool:
        """Whether full matrices are in order."""
        return bool(self.members.shape[1] <= SMALL)

    def spread(self, values: NDArray[Number]) -> NDArray[Number]:
        """One value for each edge of Q, laid out as full matrices: [edges of Q] -> [b, k, k], same dtype."""
        b, k = self.members.shape
        full = np.zeros((b, k, k), dtype=values.dtype)
        full[self.batch, self.row, self.col] = values[self.edge]
        return full


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """Every state's component and its place in it; components are ordered by size."""

    place: Ints  # [states] int64, column of the state in its block's `members`
    source: Ints  # [edges] int64, source of each edge of Q
    target: Ints  # [edges] int64, target of each edge of Q
    order: Ints  # [states kept] int64, states sorted by component, then by state
    size: Ints  # [components kept] int64, ascending
    edge: Ints  # [edges kept] int64, positions in Q.data sorted by component
    owner: Ints  # [edges kept] int64, component of each of these

    @classmethod
    def of(cls, Q: sp.csr_array, wanted: NDArray[np.bool_] | None = None) -> Partition:
        """Partition Q; only components that hold a `wanted` state are kept ([states] bool; None for all)."""
        n = Q.shape[0]
        source = np.repeat(np.arange(n), np.diff(Q.indptr))
        count, label = connected_components(Q, directed=True, connection="weak")
        size = np.bincount(label, minlength=count)
        kept = np.bincount(label if wanted is None else label[wanted], minlength=count) > 0
        by_size = np.argsort(size, kind="stable")
        by_size = by_size[kept[by_size]]
        rank = np.full(count, count)  # components that are not kept sort last and are cut off
        rank[by_size] = np.arange(len(by_size))
        size = size[by_size]
        order = np.argsort(rank[label], kind="stable")[: size.sum()]
        place = np.zeros(n, dtype=np.int64)
        place[order] = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
        owner = rank[label][source]
        edge = np.argsort(owner, kind="stable")[: np.count_nonzero(owner < len(size))]
        return cls(place, source, Q.indices.astype(np.int64), order, size, edge, owner[edge])

    def split(self, size: int) -> tuple[Partition, Partition]:
        """Components of up to `size` states, and larger ones."""
        count = int(np.searchsorted(self.size, size, side="right"))
        states, edges = int(self.size[:count].sum()), int(np.searchsorted(self.owner, count))
        small = replace(
            self,
            order=self.order[:states],
            size=self.size[:count],
            edge=self.edge[:edges],
            owner=self.owner[:edges],
        )
        large = replace(
            self,
            order=self.order[states:],
            size=self.size[count:],
            edge=self.edge[edges:],
            owner=self.owner[edges:] - count,
        )
        return small, large

    def blocks(self) -> Iterator[Block]:
        """All kept components, smallest first."""
        starts = np.concatenate([[0], np.cumsum(self.size)])  # [components + 1] int64, into `order`
        sizes, firsts = np.unique(self.size, return_index=True)
        bounds = pairwise([*firsts.tolist(), len(self.size)])
        for k, (first, end) in zip(sizes.tolist(), bounds, strict=True):
            stride = max(1, CELLS // k**2) if k <= SMALL else 1
            for low in range(first, end, stride):
                high = min(low + stride, end)
                left, right = np.searchsorted(self.owner, [low, high])
                edge = self.edge[left:right]
                yield Block(
                    members=self.order[starts[low] : starts[high]].reshape(-1, k),
                    edge=edge,
                    batch=self.owner[left:right] - low,
                    row=self.place[self.source[edge]],
                    col=self.place[self.target[edge]],
                )
