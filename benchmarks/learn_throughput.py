"""How long and how large is the mining job, from half a million turns to five million?

    python benchmarks/learn_throughput.py [--turns 500000 1000000 2500000 5000000] [--workers 2] [--json]

For each size, makes a log (benchmarks/logs.py), learns from it in a process of its own, some times over, and prints
the median of the wall seconds, by stage too, turns a second, the peak memory of the job with all its worker processes,
and the size of the bundle. Then the slope of log(CPU seconds) on log(turns): 1 is linear. The log and the bundle go
to --folder and are removed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from types import TracebackType
from typing import Any

import numpy as np
from logs import REQUESTS, write_log  # benchmarks/logs.py
from measure import MB, MemoryWatch, machine, most_resident, spread, table, told  # benchmarks/measure.py

from rewrite.config import GateConfig, LearnConfig, ResourceConfig
from rewrite.job import learn
from rewrite.progress import Progress, Stage

SIZES = (500_000, 1_000_000, 2_500_000, 5_000_000)
QUICK = (5_000, 10_000, 20_000)
#: The marks: peak memory and growth.
MOST_BYTES, MOST_SLOPE = 3_000_000_000, 1.0
#: A slope over four sizes is no surer than this.
SLOPE_NOISE = 0.05


@dataclass(frozen=True)
class Figures:
    """The mining job at one size: the run of median length, and of all runs the seconds and the largest peak."""

    turns: int
    runs: list[float]  # seconds of each
    seconds: float
    cpu_s: float  # of all processes
    stages: dict[str, float]  # seconds
    peaks: dict[str, int]  # bytes of all processes, by stage
    peak: int  # bytes of all processes
    main_peak: int  # bytes of the main process, by the kernel's own account
    bundle: int  # bytes
    counts: dict[str, int]

    @property
    def rate(self) -> float:
        return self.turns / self.seconds


class _Clock(Progress):
    """Keeps when each stage began and ended."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, float, float]] = []

    def stage(self, name: str, total: float | None = None) -> Stage:
        return _Timed(name, self.spans)


class _Timed(Stage):
    def __init__(self, name: str, spans: list[tuple[str, float, float]]) -> None:
        super().__init__(name)
        self.begun, self.spans = time.time(), spans

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.spans.append((self.name, self.begun, time.time()))


def learn_once(log: Path, out: Path, workers: int, min_users: int, memory_limit: str) -> None:
    """The job, in the process that is measured; tells its stages on the standard output."""
    clock = _Clock()
    resources = ResourceConfig(threads=2, workers=workers, memory_limit=memory_limit)
    config = LearnConfig(gate=GateConfig(min_users=min_users), resources=resources)
    summary = learn(log, out, config=config, progress=clock)
    told_of = {"spans": clock.spans, "counts": dict(summary.counts), "main_peak": most_resident()}
    print(json.dumps(told_of))


@dataclass(frozen=True)
class _RunOnce:
    """One run: seconds, what the job told, and its memory over time."""

    seconds: float
    cpu_s: float
    told: dict[str, Any]
    watch: MemoryWatch
    bundle: int


def measured(turns: int, folder: Path, given: argparse.Namespace) -> Figures:
    """One size: the log made, the job run and watched, all removed."""
    log, out = folder / f"log-{turns}.jsonl", folder / f"bundle-{turns}"
    write_log(log, turns, given.seed, given.requests)
    runs = sorted((_run(log, out, given) for _ in range(given.repeat)), key=lambda run: run.seconds)
    log.unlink()
    run = runs[len(runs) // 2]
    stages: dict[str, float] = {"other": run.seconds}
    peaks: dict[str, int] = {}
    for name, begin, end in run.told["spans"]:
        stages[name] = stages.get(name, 0.0) + end - begin
        stages["other"] -= end - begin
        peaks[name] = max(peaks.get(name, 0), run.watch.peak(begin, end))
    seconds, peak = [each.seconds for each in runs], max(each.watch.peak() for each in runs)
    main_peak = max(each.told["main_peak"] for each in runs)
    counts = run.told["counts"]
    return Figures(turns, seconds, run.seconds, run.cpu_s, stages, peaks, peak, main_peak, run.bundle, counts)


def _run(log: Path, out: Path, given: argparse.Namespace) -> _RunOnce:
    words = ["--workers", given.workers, "--min-users", given.min_users, "--memory-limit", given.memory_limit]
    command = [sys.executable, __file__, "--once", log, out, *words]
    begun, before = time.time(), _cpu_seconds()
    job = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)
    with MemoryWatch(job.pid) as watch:
        answer, _ = job.communicate()
    seconds = time.time() - begun
    if job.returncode:
        raise SystemExit(f"the job ended with {job.returncode}; its error stands above")
    bundle = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    shutil.rmtree(out)
    cpu_s = _cpu_seconds() - before
    told(f"  {seconds:.1f} s, {cpu_s:.1f} CPU s, peak {watch.peak() / MB:,.0f} MB")
    return _RunOnce(seconds, cpu_s, json.loads(answer), watch, bundle)


def _cpu_seconds() -> float:
    """Of all processes that this one started and that have ended, with what they started."""
    spent = getrusage(RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def slope(figures: Sequence[Figures]) -> float:
    """Of log(CPU seconds) on log(turns), by least squares: other work on the machine hardly touches CPU seconds."""
    turns, seconds = np.log([[each.turns, each.cpu_s] for each in figures]).T
    return float(np.polyfit(turns, seconds, 1)[0])


def report(figures: Sequence[Figures]) -> str:
    """Tables and verdicts, for people."""
    last = figures[-1]
    head = ("turns", "seconds", "CPU s", "turns/s", "peak MB", "main MB", "bundle MB", "requests", "rewrites")
    rows = [
        (
            f"{each.turns:,}", spread(each.runs), each.cpu_s, each.rate, each.peak / MB, each.main_peak / MB,
            each.bundle / MB, each.counts["requests"], each.counts["rewrites"],
        )
        for each in figures
    ]  # fmt: skip
    names = sorted(last.stages, key=lambda name: -last.stages[name])
    by_stage = [
        (name, *(each.stages.get(name, 0.0) for each in figures), last.peaks.get(name, 0) / MB) for name in names
    ]
    stage_head = ("seconds by stage", *(f"{each.turns:,}" for each in figures), "peak MB")
    return "\n".join([table(head, rows), "", table(stage_head, by_stage), "", *verdicts(figures)])


def verdicts(figures: Sequence[Figures]) -> list[str]:
    """The marks, each with whether it is met; growth is not judged where starting up is most of the time."""
    last = figures[-1]
    lines = [
        f"{_met(last.peak < MOST_BYTES)}: peak memory {last.peak / 1e9:.2f} GB at {last.turns:,} turns, less than"
        f" {MOST_BYTES / 1e9:.0f} GB is wanted"
    ]
    if len(figures) > 1 and figures[0].turns >= SIZES[0]:
        growth = slope(figures)
        lines.append(
            f"{_met(growth <= MOST_SLOPE + SLOPE_NOISE)}: CPU seconds grow with turns to the power of {growth:.2f},"
            f" at most {MOST_SLOPE:.0f} is wanted (give or take {SLOPE_NOISE})"
        )
    lines.append(
        f"README: {last.turns:,} turns are learned in {last.seconds:.0f} s ({last.rate:,.0f} turns/s) with"
        f" {last.peak / 1e9:.2f} GB of memory in all processes."
    )
    return lines


def _met(holds: bool) -> str:
    return "met" if holds else "MISSED"


def main(arguments: Sequence[str] | None = None) -> list[Figures]:
    """Runs the sizes that the arguments name, prints, and returns the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, nargs="+", default=SIZES, help="sizes of the logs")
    parser.add_argument("--workers", type=int, default=2, help="processes that parse and judge (default 2)")
    parser.add_argument("--min-users", type=int, default=GateConfig().min_users, help="as in the configuration")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="that users can make; more: more texts")
    parser.add_argument("--memory-limit", default=ResourceConfig().memory_limit, help="DuckDB's")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, some seconds")
    parser.add_argument("--json", action="store_true", help="figures as JSON, instead of tables")
    parser.add_argument("--folder", type=Path, help="where logs and bundles go for a while (default: a temporary one)")
    parser.add_argument("--once", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.quick:
        given.turns, given.repeat = QUICK, 1
    if given.once:
        log, out = given.once
        learn_once(log, out, given.workers, given.min_users, given.memory_limit)
        return []
    told(machine("duckdb", "pyarrow", "numpy"))
    figures = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for turns in sorted(given.turns):
            told(f"{turns:,} turns")
            figures.append(measured(turns, Path(folder), given))
    if given.json:
        print(json.dumps([asdict(each) for each in figures], indent=1))
    else:
        print(machine("duckdb", "pyarrow", "numpy"), f"{given.workers} workers", "", sep="\n")
        print(report(figures))
    return figures


if __name__ == "__main__":
    main()
