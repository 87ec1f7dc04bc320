"""What the benchmarks measure with: the machine, the memory of processes, and the spread of figures."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Self

import numpy as np
from numpy.typing import NDArray

MB = 1 << 20


def machine(*packages: str) -> str:
    """One line: cores that this process may use, memory, Python and the versions of packages."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{cores} cores, {memory:.0f} GiB, Python {platform.python_version()}, {versions}"


def told(line: str) -> None:
    """Progress, for people; results go to the standard output."""
    print(line, file=sys.stderr, flush=True)


def percentiles(nanoseconds: NDArray[np.int64]) -> dict[str, float]:
    """p50, p90, p99 and p99.9 of durations [calls] in ns, in microseconds."""
    shares = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}
    return {name: float(np.percentile(nanoseconds, share)) / 1e3 for name, share in shares.items()}


def spread(values: Sequence[float]) -> str:
    """The median, with the middle half of the values, or all where they are few."""
    if len(values) == 1:
        return f"{values[0]:.3g}"
    low, high = (min(values), max(values)) if len(values) < 4 else quantiles(values, n=4)[::2]
    return f"{median(values):.3g} ({low:.3g} to {high:.3g})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers right, with thousands parted."""
    lines = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    first, *others = widths
    rule = [f"{'-' * first}", *(f"{'-' * (width - 1)}:" for width in others)]
    return "\n".join(
        f"| {row[0]:<{first}} | " + " | ".join(f"{v:>{w}}" for v, w in zip(row[1:], others, strict=True)) + " |"
        for row in [list(head), rule, *lines]
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def resident(pid: int | str = "self") -> dict[str, int]:
    """Bytes that a process keeps in memory: `rss`, of that `file` mapped from files, and `pss`, its own share."""
    told_of = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    anonymous = told_of.get("Anonymous", 0)
    rss, pss = told_of.get("Rss", 0), told_of.get("Pss", 0)
    return {"rss": rss, "file": rss - anonymous, "pss": pss}


def _fields(path: Path) -> dict[str, int]:
    try:
        pairs = (line.split() for line in path.read_text().splitlines()[1:])
        return {words[0].rstrip(":"): int(words[1]) * 1024 for words in pairs if words[-1:] == ["kB"]}
    except (OSError, ValueError):  # the process has ended
        return {}


def most_resident() -> int:
    """The most bytes that this process ever kept in memory. (ru_maxrss would count what its parent had, too.)"""
    return _fields(Path("/proc/self/status")).get("VmHWM", 0)


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for each in found:
        for tasks in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += map(int, tasks.read_text().split())
            except OSError:
                continue
    return found


class MemoryWatch(threading.Thread):
    """Samples the proportional set size of a process and all that it started, until the block ends.

    `samples` are (time.time(), bytes, processes). Pages that two processes share are counted once.
    """

    def __init__(self, pid: int, every_s: float = 0.2) -> None:
        super().__init__(daemon=True)
        self.pid, self.every_s = pid, every_s
        self.samples: list[tuple[float, int, int]] = []
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(self.every_s):
            sizes = [resident(pid)["pss"] for pid in family(self.pid)]
            self.samples.append((time.time(), sum(sizes), sum(size > 0 for size in sizes)))

    def peak(self, begin: float = 0.0, end: float = float("inf")) -> int:
        """The most bytes between two moments; 0 where none were sampled."""
        return max((size for at, size, _ in self.samples if begin <= at <= end), default=0)
