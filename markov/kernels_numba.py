"""The compiled twins of what is slow in plain numpy; the only file that needs numba (loaded by `compiled.kernels`).

    step          fixed_point.plain_step       rows shared out over the cores
    solve_small   elimination.solve_block      components shared out
    best_small    best.plain_small             the same
    push          push.plain_push              one source after the other
    best_large    best.plain_large             targets shared out

Each state, component or target is worked on by one core alone and in one order, so the bits do not depend on how many
cores there are. Kernels are compiled at first use and kept beside this file; calls are one at a time, since not every
threading layer of numba allows more.
"""

from __future__ import annotations

import threading
from typing import Any

import numba
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from markov.best import DECIMALS, BestTargets
from markov.components import SMALL, Partition
from markov.paths import End
from markov.pull import Backward
from markov.push import Succeeding

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

njit: Any = numba.njit
prange: Any = numba.prange

CHUNK = 1024  # components, rows or sources taken at a time
SHARED = 400_000  # rows and edges from which a sweep is worth waking the other cores for
UNIT = 10.0**DECIMALS
_one_at_a_time = threading.Lock()


def step(moving: sp.csr_array, known: Floats, x: Floats, y: Floats) -> Floats:
    """See `fixed_point.plain_step`."""
    with _one_at_a_time:
        run = _step if len(x) + moving.nnz > SHARED else _step_alone
        changes = run(moving.indptr, moving.indices, moving.data, known, x, y)
    largest: Floats = changes.max(axis=0)
    return largest


def _step_rows(start, to, data, known, x, y):  # type: ignore[no-untyped-def]
    rows = len(x)
    chunks = (rows + CHUNK - 1) // CHUNK
    changes = np.zeros((chunks, 2))
    for chunk in prange(chunks):
        most_a = most_b = 0.0
        for i in range(chunk * CHUNK, min(rows, (chunk + 1) * CHUNK)):
            a = b = 0.0
            for e in range(start[i], start[i + 1]):
                a += data[e] * x[to[e], 0]
                b += data[e] * x[to[e], 1]
            a, b = a + known[i, 0], b + known[i, 1]
            most_a, most_b = max(most_a, abs(a - x[i, 0])), max(most_b, abs(b - x[i, 1]))
            y[i, 0], y[i, 1] = a, b
        changes[chunk, 0], changes[chunk, 1] = most_a, most_b
    return changes


_step = njit(parallel=True, cache=True)(_step_rows)
_step_alone = njit(cache=True)(_step_rows)


def solve_small(Q: sp.csr_array, R: Floats, small: Partition, answer: Floats) -> None:
    """Fill in `answer` [states, 3] for all components of `small`; see `elimination.solve_block`."""
    with _one_at_a_time:
        if not _solve_small(*_graph(Q, small), np.ascontiguousarray(R), answer):
            raise np.linalg.LinAlgError("Singular matrix")


def best_small(Q: sp.csr_array, R: Floats, small: Partition, targets: NDArray[np.int32], scores: Floats) -> None:
    """See `best.plain_small`."""
    with _one_at_a_time:
        if not _best_small(*_graph(Q, small), np.ascontiguousarray(R), int(End.SUCCESS), targets, scores):
            raise np.linalg.LinAlgError("Singular matrix")


def _graph(Q: sp.csr_array, small: Partition) -> tuple[Any, ...]:
    first = np.concatenate([[0], np.cumsum(small.size)])
    return Q.indptr.astype(np.int64), Q.indices.astype(np.int32), Q.data, small.order, first, small.place


@njit(cache=True)
def _load(start, to, data, order, low, k, place, moving):  # type: ignore[no-untyped-def]
    for a in range(k):
        for b in range(k):
            moving[a, b] = 0.0
        i = order[low + a]
        for e in range(start[i], start[i + 1]):
            moving[a, place[to[e]]] += data[e]


@njit(cache=True)
def _eliminate(moving, absorbed, known, k, m, pivot):  # type: ignore[no-untyped-def]
    """See `elimination.eliminate`; False where a state never ends."""
    for v in range(k):
        total = 0.0
        for j in range(v + 1, k):
            total += moving[v, j]
        pivot[v] = absorbed[v] + total
        if not pivot[v] > 0.0:
            return False
        for i in range(v + 1, k):
            share = moving[i, v] / pivot[v]
            if share == 0.0:
                continue
            for j in range(v + 1, k):
                moving[i, j] += share * moving[v, j]
            absorbed[i] += share * absorbed[v]
            for c in range(m):
                known[i, c] += share * known[v, c]
    for v in range(k - 1, -1, -1):
        for j in range(v + 1, k):
            q = moving[v, j]
            if q != 0.0:
                for c in range(m):
                    known[v, c] += q * known[j, c]
        for c in range(m):
            known[v, c] /= pivot[v]
    return True


@njit(parallel=True, cache=True)
def _solve_small(start, to, data, order, first, place, R, answer):  # type: ignore[no-untyped-def]
    count = len(first) - 1
    chunks = (count + CHUNK - 1) // CHUNK
    fine = np.ones(chunks, dtype=np.bool_)
    for chunk in prange(chunks):
        moving, known = np.empty((SMALL, SMALL)), np.empty((SMALL, 3))
        absorbed, pivot = np.empty(SMALL), np.empty(SMALL)
        for component in range(chunk * CHUNK, min(count, (chunk + 1) * CHUNK)):
            low, k = first[component], first[component + 1] - first[component]
            _load(start, to, data, order, low, k, place, moving)
            for a in range(k):
                i = order[low + a]
                absorbed[a] = R[i, 0] + R[i, 1]
                known[a, 0], known[a, 1], known[a, 2] = R[i, 0], R[i, 1], 1.0
            if not _eliminate(moving, absorbed, known, k, 3, pivot):
                fine[chunk] = False
            for a in range(k):
                for c in range(3):
                    answer[order[low + a], c] = known[a, c]
    return fine.all()


@njit(parallel=True, cache=True)
def _best_small(start, to, data, order, first, place, R, success, targets, scores):  # type: ignore[no-untyped-def]
    count = len(first) - 1
    chunks = (count + CHUNK - 1) // CHUNK
    fine = np.ones(chunks, dtype=np.bool_)
    for chunk in prange(chunks):
        moving, known = np.empty((SMALL, SMALL)), np.empty((SMALL, SMALL))
        absorbed, pivot = np.empty(SMALL), np.empty(SMALL)
        keys = np.empty(targets.shape[1])
        for component in range(chunk * CHUNK, min(count, (chunk + 1) * CHUNK)):
            low, k = first[component], first[component + 1] - first[component]
            if k == 1:
                continue
            _load(start, to, data, order, low, k, place, moving)
            for a in range(k):
                i = order[low + a]
                absorbed[a] = R[i, 0] + R[i, 1]
                for b in range(k):
                    known[a, b] = 0.0
                known[a, a] = 1.0
            if not _eliminate(moving, absorbed, known, k, k, pivot):
                fine[chunk] = False
            for a in range(k):
                u, found = order[low + a], 0
                for b in range(k):
                    j = order[low + b]
                    if a != b:
                        found = _insert(j, known[a, b] * R[j, success], keys, targets[u], scores[u], found)
    return fine.all()


@njit(cache=True)
def _insert(state, score, keys, targets, scores, found):  # type: ignore[no-untyped-def]
    """Keep the best of what comes, by score and then by state; the number kept."""
    key = np.rint(score * UNIT)
    if key <= 0.0:
        return found
    at = found
    while at > 0 and (key > keys[at - 1] or (key == keys[at - 1] and state < targets[at - 1])):
        at -= 1
    if at == len(keys):
        return found
    last = min(found, len(keys) - 1)
    for place in range(last, at, -1):
        keys[place], targets[place], scores[place] = keys[place - 1], targets[place - 1], scores[place - 1]
    keys[at], targets[at], scores[at] = key, state, score
    return last + 1


def push(
    chain: Succeeding, sources: Ints, tolerance: float, max_pushes: int
) -> tuple[sp.csr_array, Floats, Ints]:
    """See `push.plain_push`."""
    n = len(chain.success)
    graph = (chain.moving.indptr, chain.moving.indices, chain.moving.data, chain.leave)
    room: Any = (np.zeros(n, np.int32), *(np.empty(n + 1, np.int32) for _ in range(3)), np.empty((n, 3)), np.empty(n))
    slot, state, _, _, mass, _ = room
    waits, pushes = np.zeros(len(sources)), np.zeros(len(sources), dtype=np.int64)
    states, masses = [np.empty(0, np.int64)], [np.empty(0)]
    count = np.zeros(len(sources) + 1, dtype=np.int64)
    for row, u in enumerate(sources.tolist()):
        if chain.success[u] > 0.0:
            enough = tolerance / chain.success[u]
            touched, waits[row], pushes[row] = _push(*graph, u, enough, max_pushes, *room)
            slot[state[:touched]] = 0
            order = np.argsort(state[:touched])
            states.append(state[:touched][order].astype(np.int64))
            masses.append(mass[:touched, 1][order])
            count[row + 1] = touched
    seen = (np.concatenate(masses), np.concatenate(states), np.cumsum(count))
    return sp.csr_array(seen, shape=(len(sources), n)), waits, pushes


@njit(cache=True)
def _push(  # type: ignore[no-untyped-def]
    start, to, share, leave, source, enough, max_pushes, slot, state, front, following, mass, moving
):
    """Push from one state; how many were touched, what still waits, and pushes.

    `state` [touched] are the states, `slot` [states] their places plus 1; `mass` [touched, 3] what waits, what came
    in all, and the share of it that leaves. The caller sets `slot` back to 0.
    """
    slot[source], state[0] = 1, source
    mass[0, 0], mass[0, 1], mass[0, 2] = 1.0, 1.0, leave[source]
    count, pushes, waits = 1, 0, leave[source]
    threshold = waits / 2.0
    front[0], heavy = 0, 1
    while pushes < max_pushes:
        if heavy == 0 or waits <= enough:  # sum up anew, free of rounding, and lower the threshold
            waits, highest = 0.0, 0.0
            for place in range(count):
                weight = mass[place, 0] * mass[place, 2]
                waits += weight
                highest = max(highest, weight)
            if waits <= enough:
                break
            if highest < threshold:
                threshold = min(threshold / 2.0, highest)
            heavy = 0
            for place in range(count):
                front[heavy] = place
                heavy += mass[place, 0] * mass[place, 2] >= threshold
        for f in range(heavy):
            place = front[f]
            moving[f], mass[place, 0] = mass[place, 0], 0.0
            waits -= moving[f] * mass[place, 2]
        pushes += heavy
        arrivals = 0
        for f in range(heavy):
            i = state[front[f]]
            for e in range(start[i], start[i + 1]):
                j, arriving, before = to[e], moving[f] * share[e], 0.0
                place = slot[j] - 1
                if place < 0:
                    place = count
                    count += 1
                    slot[j], state[place] = count, j
                    mass[place, 0], mass[place, 1], mass[place, 2] = arriving, arriving, leave[j]
                else:
                    before = mass[place, 0] * mass[place, 2]
                    mass[place, 0] += arriving
                    mass[place, 1] += arriving
                waits += arriving * mass[place, 2]
                following[arrivals] = place
                arrivals += (before < threshold) & (mass[place, 0] * mass[place, 2] >= threshold)
        front, following, heavy = following, front, arrivals
    return count, waits, pushes


def best_large(chain: Backward, tolerance: float, max_pulls: int, best: BestTargets) -> float:
    """See `best.plain_large`."""
    n, k = len(chain.states), best.targets.shape[1]
    order = np.argsort(-np.diff(chain.arriving.indptr), kind="stable")  # popular targets fill the lists for good
    arriving = (chain.arriving.indptr.astype(np.int64), chain.arriving.indices.astype(np.int32), chain.arriving.data)
    with _one_at_a_time:
        lanes = numba.get_num_threads()
        least = np.zeros((lanes, n))  # the k-th score so far
        rooms = [np.empty((lanes, n + 1), np.int32) for _ in range(3)] + [np.empty((lanes, n))]
        targets, scores = np.full((lanes, n, k), -1, dtype=np.int32), np.zeros((lanes, n, k))
        worst = _pull_all(
            *arriving, chain.direct, chain.weight, chain.states, order, tolerance, max_pulls,
            np.zeros((lanes, n, 2)), least, *rooms, targets, scores,
        )  # fmt: skip
        _merge(targets, scores, chain.states, best.targets, best.scores)
    return float(worst.max())


@njit(parallel=True, cache=True)
def _pull_all(  # type: ignore[no-untyped-def]
    start, source, share, direct, weight, states, order, tolerance, max_pulls,
    cells, least, front, following, touched, moving, targets, scores,
):  # fmt: skip
    """Pull to every target and keep the best of each source, each lane on its own; the largest r / w of each lane."""
    lanes, n, k = targets.shape
    worst = np.zeros(lanes)
    for lane in prange(lanes):
        cell, keys = cells[lane], np.empty(k)
        for at in range(lane, n, lanes):
            target = order[at]
            count, finished = _pull(
                start, source, share, direct[target], target, tolerance, max_pulls,
                cell, front[lane], following[lane], touched[lane], moving[lane],
            )  # fmt: skip
            for place in range(count):
                i = touched[lane, place]
                if not finished:
                    worst[lane] = max(worst[lane], cell[i, 0])
                score = cell[i, 1] * weight[i]
                cell[i, 0], cell[i, 1] = 0.0, 0.0
                if score > 0.0 and score >= least[lane, i] and i != target:
                    found = 0
                    while found < k and targets[lane, i, found] >= 0:
                        keys[found] = np.rint(scores[lane, i, found] * UNIT)
                        found += 1
                    if _insert(states[target], score, keys, targets[lane, i], scores[lane, i], found) == k:
                        least[lane, i] = scores[lane, i, k - 1] - 1.0 / UNIT  # equal but for rounding may come
    return worst


@njit(cache=True)
def _pull(  # type: ignore[no-untyped-def]
    start, source, share, direct, target, tolerance, max_pulls, cell, front, following, touched, moving
):
    """Pull to one target; how many rows were `touched`, and whether all is below the tolerance.

    `cell` [rows, 2] is what waits and what is counted; the caller sets it back to 0.
    """
    cell[target, 0], touched[0], front[0] = direct, target, target
    count, pulls, heavy = 1, 0, 0
    if direct >= tolerance:
        heavy = 1
    while heavy > 0 and pulls < max_pulls:
        for f in range(heavy):
            i = front[f]
            moving[f], cell[i, 0] = cell[i, 0], 0.0
            cell[i, 1] += moving[f]
        pulls += heavy
        arrivals = 0
        for f in range(heavy):
            for e in range(start[front[f]], start[front[f] + 1]):
                i = source[e]
                before = cell[i, 0]
                now = before + moving[f] * share[e]
                touched[count] = i
                count += (before == 0.0) & (cell[i, 1] == 0.0) & (now > 0.0)
                cell[i, 0] = now
                following[arrivals] = i
                arrivals += (before < tolerance) & (now >= tolerance)
        front, following, heavy = following, front, arrivals
    return count, heavy == 0


@njit(parallel=True, cache=True)
def _merge(lane_targets, lane_scores, states, targets, scores):  # type: ignore[no-untyped-def]
    """The best of all lanes."""
    lanes, n, k = lane_targets.shape
    for chunk in prange((n + CHUNK - 1) // CHUNK):
        keys = np.empty(k)
        for i in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
            u, found = states[i], 0
            for lane in range(lanes):
                for place in range(k):
                    j = lane_targets[lane, i, place]
                    if j < 0:
                        break
                    found = _insert(j, lane_scores[lane, i, place], keys, targets[u], scores[u], found)
