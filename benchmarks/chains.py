"""Two families of absorbing chains made from a seed: (Q, R) of any size.

`rephrases`  what a log makes: most states alone or in small groups; one giant component of requests whose popularity
             falls with a power law, and of many garbled forms that lead to them; requests mostly succeed, garbled
             forms seldom
`expander`   what is hard: every state leads to 4 random ones, so nothing is near and elimination fills up
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Chain = tuple[sp.csr_array, Floats]


def expander(states: int, seed: int = 0, degree: int = 4, reach: int | None = None) -> Chain:
    """Random targets and exponential weights; each state ends with a probability from 0.3 to 0.8.

    With `reach`, targets lie at most so many states away: no expander then, but the same edges, near in memory.
    """
    draw = np.random.default_rng(seed)
    source = np.repeat(np.arange(states), degree)
    target, weight = draw.integers(0, states, len(source)), draw.exponential(1.0, len(source))
    if reach is not None:
        target = (source + target % (2 * reach + 1) - reach) % states
    return _chain(source, target, weight, draw.uniform(0.3, 0.8, states), draw.random(states))


def rephrases(states: int, edges: int, seed: int = 0) -> Chain:
    """A giant of an eighteenth of the states with two edges a state, and groups of power-law sizes up to 30.

    Of `edges` some are drawn twice and count once.
    """
    draw = np.random.default_rng(seed)
    giant = states // 18
    source, target, requests = _giant(draw, giant, 2 * giant)
    sizes = np.minimum(draw.zipf(2.0, states - giant), 30)
    sizes = sizes[: np.searchsorted(np.cumsum(sizes), states - giant)]
    first = giant + np.cumsum(sizes) - sizes  # the request of each group
    many = np.flatnonzero(sizes > 1)
    share = np.cumsum(sizes[many]) / sizes[many].sum()
    group = many[np.searchsorted(share, draw.random(edges - 2 * giant), side="right").clip(max=len(many) - 1)]
    size = sizes[group]
    near = (draw.random(len(group)) * size).astype(np.int64), (draw.random(len(group)) ** 2 * size).astype(np.int64)
    source, target = np.concatenate([source, first[group] + near[0]]), np.concatenate([target, first[group] + near[1]])

    good = np.zeros(states, dtype=bool)
    good[:requests] = True
    good[first] = True
    ends = np.where(good, draw.uniform(0.85, 0.98, states), draw.uniform(0.1, 0.6, states))
    well = np.where(good, draw.uniform(0.8, 1.0, states), draw.uniform(0.0, 0.4, states))
    name = draw.permutation(states)  # what belongs together does not lie together
    place = np.argsort(name)
    return _chain(name[source], name[target], draw.pareto(1.5, len(source)) + 1.0, ends[place], well[place])


def _giant(draw: np.random.Generator, states: int, edges: int) -> tuple[Ints, Ints, int]:
    """Source and target of each edge, and the number of requests, which come first: a fourth of the states.

    Three of four edges leave a garbled form: mostly to its own request, else to a popular one or to another form.
    """
    requests = max(1, states // 4)
    popularity = np.cumsum(1.0 / (np.arange(requests) + 10.0))
    popularity /= popularity[-1]

    def popular(count: int) -> Ints:
        found: Ints = np.searchsorted(popularity, draw.random(count)).clip(max=requests - 1)
        return found

    of = np.concatenate([np.arange(requests), popular(states - requests)])
    garbled = edges * 3 // 4
    source = np.concatenate([draw.integers(requests, states, garbled), popular(edges - garbled)])
    kind, other, form = draw.random(edges), popular(edges), draw.integers(requests, states, edges)
    own = np.where(source >= requests, of[source], np.where(kind < 0.4, other, form))
    return source, np.where(kind < 0.75, own, np.where(kind < 0.9, other, form)), requests


def _chain(source: Ints, target: Ints, weight: Floats, ends: Floats, well: Floats) -> Chain:
    """Q and R where each state [states] ends with `ends`, `well` of it in success; without edges it ends for sure."""
    n = len(ends)
    Q = sp.csr_array((weight, (source, target)), shape=(n, n))
    Q.sum_duplicates()
    total = Q.sum(axis=1)
    Q.data *= np.repeat((1.0 - ends) / np.where(total > 0.0, total, 1.0), np.diff(Q.indptr))
    ends = 1.0 - Q.sum(axis=1)
    return Q, np.column_stack([ends * well, ends * (1.0 - well)])
