"""Where the time of a call goes, stage by stage; and what many calls took, in a few kilobytes.

`Timings` belongs to one call, in one thread. `StageSummary` adds up the calls of a process: it keeps a histogram a
stage, no single time, and summaries of several processes add up to the one that a single process would have made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import IntEnum
from threading import Lock
from time import perf_counter
from typing import Any


class Stage(IntEnum):
    """The stages of a call, in their order; a closed set."""

    CANONICALISE = 0
    TABLES = 1  # pins and blocks, what is known of this very text
    ENCODE = 2
    PERSONAL = 3  # search of this user's own requests
    GLOBAL = 4  # search of everyone's
    RERANK = 5
    GUARD = 6
    DECIDE = 7

    @property
    def label(self) -> str:
        """Its name in figures and logs."""
        return self.name.lower()


STAGES = tuple(Stage)
TOTAL = "total"


class Timings:
    """The stages of one call, filled by the engine as it goes.

    `mark(stage)` credits the time since the last mark, or since the object was made, to a stage; a stage that is
    marked twice has the sum. A mark costs a fraction of a microsecond.

    >>> timings = Timings()
    >>> timings.mark(Stage.ENCODE)
    >>> list(timings.as_dict())
    ['encode', 'total']
    """

    __slots__ = ("_last", "_seconds")

    def __init__(self) -> None:
        self._seconds = [0.0] * len(STAGES)
        self._last = perf_counter()

    def mark(self, stage: Stage) -> None:
        """The time since the last mark was spent on `stage`."""
        now = perf_counter()
        self._seconds[stage] += now - self._last
        self._last = now

    def seconds(self, stage: Stage) -> float:
        """Seconds spent on a stage; 0 where the call did not come there."""
        return self._seconds[stage]

    def by_stage(self) -> tuple[float, ...]:
        """Seconds spent on each stage, in order."""
        return tuple(self._seconds)

    @property
    def total(self) -> float:
        """Seconds from the beginning to the last mark."""
        return sum(self._seconds)

    def as_dict(self) -> dict[str, float]:
        """Microseconds of each stage that the call came to, in order, and their `total`; plain values, for JSON."""
        spent = {stage.label: _micro(self._seconds[stage]) for stage in STAGES if self._seconds[stage] > 0}
        return {**spent, TOTAL: _micro(self.total)}


#: The histograms: equal steps of the logarithm from the first edge on, so that a quantile is off by 3 % at most.
STEPS_PER_DECADE = 40
FIRST_EDGE = 1e-7  # seconds; whatever is shorter is in the first bucket
BUCKETS = 9 * STEPS_PER_DECADE  # up to 100 seconds; whatever is longer is in the last
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


class Histogram:
    """Seconds, counted by their logarithm; `sum` and `longest` are exact."""

    __slots__ = ("buckets", "longest", "sum")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.sum = 0.0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Counts one time."""
        place = int(math.log10(seconds / FIRST_EDGE) * STEPS_PER_DECADE) if seconds > FIRST_EDGE else 0
        self.buckets[place if place < BUCKETS else -1] += 1
        self.sum += seconds
        if seconds > self.longest:
            self.longest = seconds

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def quantile(self, share: float) -> float:
        """Seconds that a `share` of the times do not exceed: the middle of its bucket; nan where there are none."""
        rank, seen = max(math.ceil(share * self.count), 1), 0
        for place, count in enumerate(self.buckets):
            seen += count
            if seen >= rank:
                return min(FIRST_EDGE * 10 ** ((place + 0.5) / STEPS_PER_DECADE), self.longest)
        return math.nan

    def as_dict(self) -> dict[str, float]:
        """`count`, and mean, quantiles and longest in microseconds."""
        count = self.count
        quantiles = {name: _micro(self.quantile(share)) for name, share in QUANTILES.items()}
        return {"count": count, "mean": _micro(self.sum / count), **quantiles, "max": _micro(self.longest)}


class StageSummary:
    """What the calls took, by stage and in total. Threads may share one.

    A call counts for the stages that it came to, so that the count of a stage says how often it was needed.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._of = {name: Histogram() for name in [*(stage.label for stage in STAGES), TOTAL]}
        self._add = tuple(each.add for each in self._of.values())  # in the order of the stages, and the total

    def add(self, timings: Timings) -> None:
        """Counts one call."""
        with self._lock:
            for add, seconds in zip(self._add, (*timings.by_stage(), timings.total), strict=True):
                if seconds > 0:
                    add(seconds)

    def merge(self, other: StageSummary) -> None:
        """Adds the calls of another summary to this one."""
        counted = other.counts()
        with self._lock:
            for name, theirs in counted.items():
                _add(self._of[name], theirs)

    def as_dict(self) -> dict[str, dict[str, float]]:
        """The figures of each stage that any call came to, and of `total`; times in microseconds."""
        with self._lock:
            return {name: each.as_dict() for name, each in self._of.items() if each.count}

    def counts(self) -> dict[str, dict[str, Any]]:
        """All that was counted as plain values, to be sent to another process as JSON: see `from_counts`."""
        with self._lock:
            return {name: _counted(each) for name, each in self._of.items() if each.count}

    @classmethod
    def from_counts(cls, counts: Mapping[str, Mapping[str, Any]]) -> StageSummary:
        """The summary of which `counts` came. Raises ValueError where it did not come of one."""
        summary = cls()
        for name, counted in counts.items():
            try:
                _add(summary._of[name], counted)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise ValueError(
                    f"{name!r}: {counted!r:.80} came, what StageSummary.counts() gave is wanted: send that unchanged"
                ) from error
        return summary


def _counted(histogram: Histogram) -> dict[str, Any]:
    held = {str(place): count for place, count in enumerate(histogram.buckets) if count}
    return {"sum": histogram.sum, "longest": histogram.longest, "buckets": held}


def _add(histogram: Histogram, counted: Mapping[str, Any]) -> None:
    for place, count in counted["buckets"].items():
        histogram.buckets[int(place)] += count
    histogram.sum += counted["sum"]
    histogram.longest = max(histogram.longest, counted["longest"])


def _micro(seconds: float) -> float:
    return round(seconds * 1e6, 3)
