"""The absorbing chain: counts made into probabilities, and the questions that can be asked of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from markov.counts import Counts
from markov.errors import ChainError, OptionError, UnknownStateError
from markov.paths import End, Path
from markov.reformulation import Limits, Reformulation, Search, Targets
from markov.rows import check_rows, divide
from markov.solution import Solution
from markov.solver import solve
from markov.sparse import fundamental_row

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class SelfLoops(Enum):
    """What to do with u -> u, the same words said again.

    Whatever is chosen, where paths end and every score N[u, j] R[j, success] stay the same: dropping a loop
    of probability q multiplies visits by (1 - q) and direct success by 1 / (1 - q). What changes is `steps`
    and direct success.
    """

    KEEP = "keep"  # saying it again is an attempt: it counts in `steps` and lowers direct success
    DROP = "drop"  # saying it again is the same attempt: only other words count


# No slots: cached properties keep their value in the instance.
@dataclass(frozen=True, eq=False)
class AbsorbingChain:
    """A Markov chain over states, every path of which ends in success or failure (Kemeny & Snell, ch. III).

    Departures from the textbook, each for the sake of real logs:
    1. A row that is absorbed with less than `min_absorption` is raised to it, and the missing share goes to
       failure: what was not seen to succeed is not credited. Without this, states that only lead to each
       other make I - Q singular.
    2. A state that nothing leaves and where nothing ended is absorbed in failure, for the same reason.
    3. The two ends are not states: they are the columns of R.

    >>> ann = Path(("play maj and dragons", "play imagine dragons"), success=1.0, user="ann")
    >>> bob = Path(("play maj and dragons",), success=0.0, user="bob")
    >>> chain = AbsorbingChain.from_paths([ann, bob])
    >>> round(chain.success("play maj and dragons"), 4)
    0.5
    >>> chain.reformulations(["play maj and dragons"])[0].target
    'play imagine dragons'
    """

    counts: Counts  # what the chain was made of; its edges are those of Q, in the same order
    Q: sp.csr_array  # [states, states] float64, from state to state
    R: Floats  # [states, 2] float64, from state to End

    def __post_init__(self) -> None:
        n = len(self.counts.states)
        if self.Q.shape != (n, n) or self.R.shape != (n, len(End)) or self.Q.nnz != len(self.counts.edges):
            raise ChainError(
                f"Q came as {self.Q.shape} with {self.Q.nnz} entries and R as {self.R.shape}, "
                f"{(n, n)} with {len(self.counts.edges)} and {(n, len(End))} are wanted: use from_counts"
            )
        check_rows(self.Q, self.R, self.states)

    @classmethod
    def from_paths(
        cls,
        paths: Iterable[Path],
        *,
        user_cap: float = math.inf,
        min_absorption: float = 1e-6,
        self_loops: SelfLoops = SelfLoops.KEEP,
    ) -> AbsorbingChain:
        """Add up paths (see `Counts.from_paths` for `user_cap`) and make a chain of the sums."""
        counts = Counts.from_paths(paths, user_cap=user_cap)
        return cls.from_counts(counts, min_absorption=min_absorption, self_loops=self_loops)

    @classmethod
    def from_counts(
        cls, counts: Counts, *, min_absorption: float = 1e-6, self_loops: SelfLoops = SelfLoops.KEEP
    ) -> AbsorbingChain:
        """Divide each row of counts by its sum.

        With `min_absorption` 0 nothing is added, and ChainError tells of a state from which no path ends.
        """
        if not 0.0 <= min_absorption < 1.0:
            raise OptionError(f"min_absorption came as {min_absorption!r}, 0 <= share < 1 is wanted")
        counts = _tidy(counts, self_loops)
        Q, R = divide(counts, min_absorption)
        return cls(counts, Q, R)

    @property
    def states(self) -> tuple[Hashable, ...]:
        """All states; their order breaks ties."""
        return self.counts.states

    def __len__(self) -> int:
        return len(self.states)

    def __contains__(self, state: Hashable) -> bool:
        return state in self._index

    def index(self, state: Hashable) -> int:
        """Row of `state` in every array; UnknownStateError if the chain has never seen it."""
        try:
            return self._index[state]
        except KeyError:
            raise UnknownStateError(
                f"{state!r} is not among the {len(self)} states of this chain: ask `state in chain` first, "
                "and mind that states are compared as they were given"
            ) from None

    @cached_property
    def solution(self) -> Solution:
        """Probabilities of absorption and expected steps of all states, solved once when first asked for."""
        return solve(self.Q, self.R)

    def success(self, state: Hashable) -> float:
        """P(success) from `state`, whatever is said next."""
        return float(self.solution.success[self.index(state)])

    def visits(self, state: Hashable) -> sp.csr_array:
        """Expected visits to every state from `state`: its row of N, [1, states] float64."""
        return fundamental_row(self.Q, self.index(state))

    def reformulations(
        self,
        sources: Iterable[Hashable] | None = None,
        *,
        k: int = 1,
        min_users: int = 1,
        targets: Targets = None,
        max_hops: int = 4,
    ) -> list[Reformulation]:
        """Best k targets of each source, in the order of `sources` (None for all), best first for each.

        A target is another state with a score above 0 to which a route of at most `max_hops` hops leads, each
        hop made by `min_users` distinct users or more; equal scores go by users, then by the states' order.
        `targets` narrows them: a predicate, or a collection (members that are no states are ignored).
        In components of more than `reformulation.EXACT` states scores are pushed and may be up to 1e-6 too low.
        Raises UnknownStateError on a source that the chain has never seen.
        """
        if min(k, min_users, max_hops) < 1:
            raise OptionError(f"{k=}, {min_users=}, {max_hops=} came, 1 or more is wanted of each")
        if isinstance(sources, str) or isinstance(targets, str):
            raise OptionError(
                "sources or targets came as one string, several states are wanted: write [text]"
            )
        asked = range(len(self)) if sources is None else dict.fromkeys(map(self.index, sources))
        rank = {index: place for place, index in enumerate(asked)}
        wanted = np.zeros(len(self), dtype=bool)
        wanted[list(rank)] = True
        limits = Limits(k, min_users, max_hops)
        search = Search(self.counts, self.Q, self.R, self.solution, self._mask(targets), limits)
        return [best for _, best in sorted(search.run(wanted), key=lambda pair: rank[pair[0]])]

    @cached_property
    def _index(self) -> dict[Hashable, int]:
        return {state: index for index, state in enumerate(self.states)}

    def _mask(self, targets: Targets) -> Mask:
        """[states] bool."""
        if targets is None:
            return np.ones(len(self), dtype=bool)
        if isinstance(targets, Collection):
            mask = np.zeros(len(self), dtype=bool)
            mask[[self._index[state] for state in targets if state in self._index]] = True
            return mask
        return np.fromiter((targets(state) for state in self.states), dtype=bool, count=len(self))


def _tidy(counts: Counts, self_loops: SelfLoops) -> Counts:
    """Edges sorted by source and target, without those that weigh nothing or are to be dropped."""
    edges = counts.edges
    kept = edges.weight > 0.0
    if self_loops is SelfLoops.DROP:
        kept &= edges.source != edges.target
    rows = np.flatnonzero(kept)
    return replace(counts, edges=edges.take(rows[np.lexsort((edges.target[rows], edges.source[rows]))]))
