"""Measures of the system: how long, how many, how much memory. Times are in seconds, memory in bytes.

What a missing case scores
    no observations                               None, "not measured"
    a percentile beyond what the number can show  None in `latency`: the 99.9th of 200 requests is only their maximum
    a system without /proc and getrusage          None

Percentiles are by nearest rank: a time that was really observed. `percentile_linear` is there for comparison with
tools that interpolate, as numpy does.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from eval.arrays import Floats, flat, fraction
from eval.measures import LEVEL, Interval

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Latency:
    """What a stage took, in seconds; None where too few were observed to say."""

    requests: int
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    p999: float | None
    longest: float | None


@dataclass(frozen=True, slots=True)
class Memory:
    """Peaks in bytes: of this process, and of its living descendants added up.

    Each peaks when it peaks, and shared pages count in each, so that the sum is an upper bound.
    """

    own: int | None
    children: int | None


def percentile(values: ArrayLike, share: float) -> float | None:
    """The least value [n] that `share` of all values do not exceed: nearest rank, the inverse of the empirical
    distribution (Hyndman & Fan, "Sample Quantiles in Statistical Packages", 1996, definition 1)."""
    ordered = np.sort(_checked(values, share))
    rank = math.ceil(len(ordered) * share * (1 - 1e-15))  # 0.07 * 100 is a little more than 7
    return float(ordered[max(rank, 1) - 1]) if len(ordered) else None


def percentile_linear(values: ArrayLike, share: float) -> float | None:
    """The same with a line drawn between neighbours [n] (Hyndman & Fan 1996, definition 7)."""
    column = _checked(values, share)
    return float(np.quantile(column, share)) if len(column) else None


def percentile_interval(values: ArrayLike, share: float, level: float = LEVEL) -> Interval | None:
    """Interval of a percentile from two order statistics, whatever the distribution (David & Nagaraja, "Order
    Statistics", 3rd ed., 2003, section 7.1); an end is infinite where the values [n] do not reach so far."""
    from scipy.stats import binom

    ordered = np.sort(flat("values", values))
    if not len(ordered):
        return None
    tail = (1 - fraction("level", level)) / 2
    below, above = (int(binom.ppf(q, len(ordered), fraction("share", share))) for q in (tail, 1 - tail))
    low = float(ordered[below - 1]) if below >= 1 else -math.inf
    high = float(ordered[above]) if above < len(ordered) else math.inf
    return Interval(low, high)


def latency(seconds: ArrayLike) -> Latency:
    """The usual percentiles of one stage [requests]; `1 / (1 - share)` requests are wanted for each."""
    times = flat("seconds", seconds, 0.0)
    if not len(times):
        return Latency(0, None, None, None, None, None, None)

    def shown(share: float) -> float | None:
        return percentile(times, share) if len(times) * (1 - share) >= 1 - 1e-9 else None

    mean, longest = float(times.mean()), float(times.max())
    return Latency(len(times), mean, shown(0.5), shown(0.9), shown(0.99), shown(0.999), longest)


def throughput(requests: int, seconds: float) -> float | None:
    """Requests a second; None where no time passed."""
    if requests < 0 or not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{requests} requests in {seconds} seconds: numbers of 0 or more are wanted")
    return requests / seconds if seconds else None


def peak_memory(proc: Path = PROC) -> Memory:
    """Peak resident memory, from /proc where there is one (VmHWM, proc(5)), else from getrusage(2).

    Without /proc `children` is the largest child that has ended, for that is what getrusage knows.
    """
    status = _status(proc / "self" / "status")
    if "VmHWM" not in status:
        return _from_getrusage()
    known = {each["Pid"]: each for each in map(_status, proc.glob("[0-9]*/status")) if "Pid" in each}
    descendants, found = {status["Pid"]}, True
    while found:
        new = {pid for pid, each in known.items() if each.get("PPid") in descendants} - descendants
        descendants |= new
        found = bool(new)
    peaks = [_bytes(known[pid].get("VmHWM", "0 kB")) for pid in descendants - {status["Pid"]}]
    return Memory(_bytes(status["VmHWM"]), sum(peaks))


def _checked(values: ArrayLike, share: float) -> Floats:
    if not 0 <= share <= 1:
        raise ValueError(f"share came as {share!r}: a number from 0 to 1 is wanted, 0.99 for the 99th percentile")
    return flat("values", values)


def _status(path: Path) -> dict[str, str]:
    """A process's status by name; empty where it has ended, or there is no /proc."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _bytes(text: str) -> int:
    return int(text.removesuffix("kB")) * 1024


def _from_getrusage() -> Memory:
    try:
        from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return Memory(None, None)
    unit = 1 if sys.platform == "darwin" else 1024
    own, children = (getrusage(who).ru_maxrss * unit for who in (RUSAGE_SELF, RUSAGE_CHILDREN))
    return Memory(own, children)
