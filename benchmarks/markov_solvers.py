"""How fast is the chain solved, and how does that grow?

    python benchmarks/markov_solvers.py [--edges 100000 1000000 10000000] [--repeat 3] [--json]

One run: ours from counts to probabilities, against numpy.linalg.inv, SuperLU and PyDTMC (in an environment of its own
under build/, which pip makes) on small chains; the compiled kernels against plain numpy; and ours alone on large chains
of two families (`benchmarks/chains.py`), with all probabilities and the best ten targets of every source. Kernels are
compiled before anything is timed; what that takes is told apart. Floors: the bytes that the sweeps must move at the
least, each array once, over the bandwidth of the machine at that moment.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy.sparse as sp
from chains import Chain, expander, rephrases  # benchmarks/chains.py
from measure import MB, MemoryWatch, machine, spread, table, told  # benchmarks/measure.py
from scipy.sparse.linalg import splu

from markov import AbsorbingChain, Counts, Edges, Succeeding, best_targets, push, solve
from markov.pull import Backward, plain_pull

SIZES = (100, 500, 2_000)
EDGES = (100_000, 1_000_000, 10_000_000)
MARKS = {"rephrases": (1_700_000, 1_500_000, 1e-6), "expander": (1_000_000, 4_000_000, 1e-3)}
TWIN_STATES = 30_000
SMALL_REPEATS = 5  # times --repeat
PYDTMC, PYDTMC_SECONDS = "pydtmc==8.7.0", 900
FAMILIES: dict[str, Callable[[int, int], Chain]] = {
    # Drawn edges that coincide count once: the factor makes up for them.
    "rephrases": lambda states, edges: rephrases(states, int(edges * 1.145)),
    "expander": lambda states, edges: expander(states, degree=max(1, round(edges / states))),
}


@dataclass
class Large:
    """One large chain: seconds of each repeat, and what the answers guarantee."""

    family: str
    states: int
    edges: int
    tolerance: float
    solve_s: list[float]
    solve_cpu_s: float
    best_s: list[float]
    best_cpu_s: float
    sweeps: int
    floor_s: float
    error_bound: float
    bound: float
    gap: float  # largest difference of scores to those of a push, beyond what both may be off: 0 where all is right
    peak: int  # bytes, the chain included


@dataclass
class Figures:
    """Seconds of everything."""

    small: list[tuple[str, int, dict[str, list[float]]]] = field(default_factory=list)  # family, states, by solver
    off: float = 0.0  # largest difference of a probability to numpy's, over all solvers
    missing: dict[str, str] = field(default_factory=dict)  # solver -> why it was not measured
    twins: list[tuple[str, str, float, float]] = field(default_factory=list)  # task, family, plain, compiled
    twins_off: float = 0.0
    compile_s: float = 0.0
    bandwidth: float = 0.0  # bytes a second
    large: list[Large] = field(default_factory=list)
    # of expanders: states, CPU ns for each edge in a sweep with far and with near targets, rows pulled for a target
    reads: list[tuple[int, float, float, float]] = field(default_factory=list)


def counts_of(Q: sp.csr_array, R: Any) -> Counts:
    """Counts that make this chain."""
    n = Q.shape[0]
    source, ones = np.repeat(np.arange(n), np.diff(Q.indptr)), np.ones(Q.nnz, dtype=np.int64)
    said = np.ones(n, dtype=np.int64)
    return Counts(tuple(range(n)), Edges(source, Q.indices, Q.data, ones, ones), R[:, 0], R[:, 1], said, said)


def ours(Q: sp.csr_array, R: Any) -> Any:
    """Probabilities and steps, from counts: building included."""
    return AbsorbingChain.from_counts(counts_of(Q, R)).solution.absorption


def inverse(Q: sp.csr_array, R: Any) -> Any:
    """The textbook: N, then N R and N 1."""
    N = np.linalg.inv(np.eye(Q.shape[0]) - Q.toarray())
    N.sum(axis=1)
    return N @ R


def superlu(Q: sp.csr_array, R: Any) -> Any:
    """One factorisation, three right sides."""
    factors = splu(sp.csc_array(sp.eye_array(Q.shape[0]) - Q))
    return factors.solve(np.column_stack([R, np.ones(len(R))]))[:, :2]


SOLVERS = {"ours": ours, "inv": inverse, "splu": superlu}

PYDTMC_PROGRAM = """
import sys, time, json, numpy as np, pydtmc
P = np.load(sys.argv[1])
begun = time.perf_counter()
chain = pydtmc.MarkovChain(P, [str(i) for i in range(len(P))])
built = time.perf_counter()
absorption = np.asarray(chain.absorption_probabilities())
times = chain.mean_absorption_times()
done = time.perf_counter()
np.save(sys.argv[2], absorption)
print(json.dumps([built - begun, done - built]))
"""


def pydtmc_python() -> Path | str:
    """The interpreter of an environment with PyDTMC, made when there is none; or why there cannot be."""
    folder = Path("build/pydtmc")
    python = folder / "bin/python"
    if not (folder / "installed").exists():
        told(f"installing {PYDTMC} under {folder}")
        venv.create(folder, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PYDTMC]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return f"pip cannot install {PYDTMC}: {done.stderr.strip().splitlines()[-1:]}"
        (folder / "installed").touch()
    return python


def pydtmc(python: Path, Q: sp.csr_array, R: Any, folder: Path) -> tuple[float, Any] | str:
    """Seconds, building included, and probabilities [states, 2]; or why not."""
    n = Q.shape[0]
    P = np.zeros((n + 2, n + 2))
    P[:n, :n], P[:n, n:], P[[n, n + 1], [n, n + 1]] = Q.toarray(), R, 1.0
    np.save(folder / "P.npy", P)
    command = [python, "-c", PYDTMC_PROGRAM, folder / "P.npy", folder / "B.npy"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PYDTMC_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{n} states take it more than {PYDTMC_SECONDS} s"
    if done.returncode:
        return f"it fails: {done.stderr.strip().splitlines()[-1]}"
    found = np.load(folder / "B.npy")
    return sum(json.loads(done.stdout)), found if found.shape == (n, 2) else found.T


def small(figures: Figures, sizes: Sequence[int], repeat: int, folder: Path, with_pydtmc: bool) -> None:
    """Everyone, on chains of few states."""
    python = pydtmc_python() if with_pydtmc else "not asked for"
    if isinstance(python, str):
        figures.missing["pydtmc"] = python
    for family, states in [(family, states) for family in FAMILIES for states in sizes]:
        told(f"small: {family}, {states:,} states")
        Q, R = FAMILIES[family](states, states if family == "rephrases" else 4 * states)
        exact, seconds = inverse(Q, R), {}
        for name, solver in SOLVERS.items():
            figures.off = max(figures.off, float(np.abs(solver(Q, R) - exact).max()))
            seconds[name] = _timed(lambda solver=solver, Q=Q, R=R: solver(Q, R), repeat * SMALL_REPEATS)[0]
        if isinstance(python, Path):
            answer = pydtmc(python, Q, R, folder)
            if isinstance(answer, str):
                figures.missing[f"pydtmc, {family}"] = answer
            else:
                seconds["pydtmc"] = [answer[0]]
                figures.off = max(figures.off, float(np.abs(answer[1] - exact).max()))
        figures.small.append((family, states, seconds))


def twins(figures: Figures, states: int, repeat: int) -> None:
    """The compiled kernels against plain numpy."""
    for family in FAMILIES:
        told(f"compiled against plain: {family}")
        edges = 4 * states if family == "expander" else states * 15 // 17
        Q, R = FAMILIES[family](states, edges)
        few = np.arange(0, states, max(1, states // 50))
        succeeding = Succeeding.of(Q, R, solve(Q, R))
        tasks: dict[str, Callable[[bool], Any]] = {
            "probabilities": lambda compiled, Q=Q, R=R: solve(Q, R, compiled=compiled).absorption,
            "best ten of all": lambda compiled, Q=Q, R=R: best_targets(
                Q, R, tolerance=1e-4, compiled=compiled
            ).scores,
            "push from fifty": lambda compiled, chain=succeeding, few=few: push(
                chain, few, tolerance=1e-4, compiled=compiled
            ).scores.toarray(),
        }
        for name, task in tasks.items():
            plain, compiled = (_timed(lambda task=task, fast=fast: task(fast), repeat)[0] for fast in (False, True))
            figures.twins.append((name, family, median(plain), median(compiled)))
            figures.twins_off = max(figures.twins_off, float(np.abs(task(True) - task(False)).max()))


def compiling() -> float:
    """Seconds to compile every kernel, in a process of its own with nothing kept from before."""
    program = "import markov_solvers as m; m.warm()"
    with tempfile.TemporaryDirectory() as kept:
        environment = os.environ | {"NUMBA_CACHE_DIR": kept}
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=Path(__file__).parent)
        return time.perf_counter() - begun


def warm() -> None:
    """Every kernel once."""
    for family in FAMILIES:
        Q, R = FAMILIES[family](3_000, 3_000)
        best_targets(Q, R, compiled=True, tolerance=1e-2)
        push(Succeeding.of(Q, R, solve(Q, R, compiled=True)), np.arange(2), tolerance=1e-2, compiled=True)


def bandwidth() -> float:
    """Bytes a second of a = b + s c (STREAM's triad), on all cores: the best of five."""
    cores = len(os.sched_getaffinity(0))
    parts = [[np.ones(8_000_000 // cores) for _ in range(3)] for _ in range(cores)]

    def triad(part: list[Any]) -> None:
        a, b, c = part
        for low in range(0, len(a), 4096):  # the product stays in the cache
            window = slice(low, low + 4096)
            np.add(b[window], 3.0 * c[window], out=a[window])

    def once() -> float:
        begun = time.perf_counter()
        list(pool.map(triad, parts))
        return time.perf_counter() - begun

    with ThreadPoolExecutor(cores) as pool:
        return 3 * 8 * 8_000_000 / min(once() for _ in range(6))


def large(
    figures: Figures, family: str, states: int, edges: int, tolerance: float, repeat: int, watch: MemoryWatch
) -> None:
    """Ours alone: all probabilities, and the best ten targets of every source."""
    told(f"large: {family}, {states:,} states")
    begun = time.time()
    Q, R = FAMILIES[family](states, edges)
    solve_s, solve_cpu, solution = _timed(lambda: solve(Q, R), repeat)
    best_s, best_cpu, best = _timed(lambda: best_targets(Q, R, tolerance=tolerance), repeat)
    peak = watch.peak(begun, time.time())
    swept = int(sum(n for method, n in solution.states_by.items() if method.value == "fixed point"))
    inside = Q.nnz if swept == states else int(np.diff(Q.indptr)[best.bound > 0.0].sum())
    # A sweep reads each edge (8 + 4 bytes), each row's start (4), known and x (16 each), and fetches and writes y (32).
    floor = solution.sweeps * (12 * inside + 68 * swept) / figures.bandwidth
    figures.large.append(
        Large(
            family=family,
            states=states,
            edges=Q.nnz,
            tolerance=tolerance,
            solve_s=solve_s,
            solve_cpu_s=solve_cpu,
            best_s=best_s,
            best_cpu_s=best_cpu,
            sweeps=solution.sweeps,
            floor_s=floor,
            error_bound=solution.error_bound,
            bound=float(best.bound.max()),
            gap=_gap(Q, R, best),
            peak=peak,
        )
    )


def _gap(Q: sp.csr_array, R: Any, best: Any) -> float:
    """Of some sources, by how much the scores lie outside of what a push from the source leaves possible."""
    asked = np.flatnonzero(best.targets[:, 0] >= 0)[:: max(1, len(R) // 50)][:50]
    pushed = push(Succeeding.of(Q, R, best.solution), asked, tolerance=1e-3, max_pushes=20_000)
    gap = 0.0
    for row, u in enumerate(asked.tolist()):
        found = best.targets[u] >= 0
        score = np.asarray(pushed.scores[[row]].todense())[0, best.targets[u][found]]
        least, most = best.scores[u][found], best.scores[u][found] + best.bound[u]
        outside = np.maximum(score - most, least - score - pushed.dropped[row])
        gap = max(gap, float(outside.max(initial=0.0)))
    return gap if gap > 1e-11 else 0.0


def reads(figures: Figures, states: int, tolerance: float) -> None:
    """What grows: the steps, or the price of reading from memory? The same work with targets far off and near."""
    told(f"reads: {states:,} states")
    price, rows = [], 0.0
    for reach in (None, 500):
        Q, R = expander(states, reach=reach)
        solution = solve(Q, R)
        _, cpu, _ = _timed(lambda Q=Q, R=R: solve(Q, R), 1)
        price.append(1e9 * cpu / solution.sweeps / Q.nnz)
        if reach is None:
            some = np.arange(0, states, max(1, states // 200))
            scores, _ = plain_pull(Backward.of(Q, R, solution, np.arange(states)), some, tolerance, states)
            rows = scores.nnz / len(some)
    figures.reads.append((states, price[0], price[1], rows))


def _timed(work: Callable[[], Any], repeat: int) -> tuple[list[float], float, Any]:
    """Seconds of each of `repeat` calls, CPU seconds of the last one, and what it gave."""
    spent: list[float] = []
    for _ in range(repeat):
        begun, cpu = time.perf_counter(), time.process_time()
        answer = work()
        spent.append(time.perf_counter() - begun)
    return spent, time.process_time() - cpu, answer


def slope(runs: Sequence[Large], what: Callable[[Large], list[float]]) -> float:
    """The power of the edges by which seconds grow: the slope of a straight line through the logarithms."""
    if len(runs) < 2:
        return float("nan")
    edges, seconds = np.log([run.edges for run in runs]), np.log([median(what(run)) for run in runs])
    return float(np.polyfit(edges, seconds, 1)[0])


def report(figures: Figures) -> str:
    """Tables, for people."""
    names = [*SOLVERS, "pydtmc"]
    rows = [
        (f"{family}, {states:,} states", *(spread([1e3 * s for s in by.get(name, [])] or [np.nan]) for name in names),
         median(by["pydtmc"]) / median(by["ours"]) if "pydtmc" in by else "-")
        for family, states, by in figures.small
    ]  # fmt: skip
    parts = [table(("milliseconds, building included", *names, "pydtmc / ours"), rows)]
    parts += [f"largest difference of a probability to numpy's: {figures.off:.1e}"]
    parts += [f"not measured: {name}: {why}" for name, why in figures.missing.items()]
    twin = [(f"{name}, {family}", plain, fast, plain / fast) for name, family, plain, fast in figures.twins]
    parts += ["", table(("seconds", "numpy", "numba", "times"), twin)]
    parts += [f"largest difference: {figures.twins_off:.1e}; compiling all kernels: {figures.compile_s:.1f} s, once"]
    head = ("states, edges, tolerance", "solve s", "CPU s", "sweeps", "floor s", "best ten s", "CPU s", "peak MB")
    for family in sorted({run.family for run in figures.large}):
        runs = [run for run in figures.large if run.family == family]
        lines = [
            (f"{run.states:,}, {run.edges:,}, {run.tolerance:.0e}", spread(run.solve_s), run.solve_cpu_s, run.sweeps,
             run.floor_s, spread(run.best_s), run.best_cpu_s, run.peak // MB)
            for run in runs
        ]  # fmt: skip
        growth = [run for run in runs if run.tolerance == MARKS[family][2]]
        parts += ["", f"{family}", "", table(head, lines)]
        parts += [
            f"seconds grow with the edges to the power of {slope(growth, lambda run: run.solve_s):.2f} (solve) and "
            f"{slope(growth, lambda run: run.best_s):.2f} (best ten); error bound of a probability "
            f"{max(run.error_bound for run in runs):.1e}, of a score {max(run.bound for run in runs):.1e}; scores "
            f"outside of what a push leaves possible: by {max(run.gap for run in runs):.1e}"
        ]
    head = ("states of an expander", "ns/edge/sweep, far", "near", "rows pulled for a target")
    parts += ["", table(head, [(f"{states:,}", *rest) for states, *rest in figures.reads])]
    parts += ["", f"triad: {figures.bandwidth / 1e9:.1f} GB/s; best ten s includes solve s"]
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> Figures:
    """Measures, prints, and returns the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="states of small chains")
    parser.add_argument("--edges", type=int, nargs="+", default=EDGES, help="of large chains")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-pydtmc", action="store_true", help="leave PyDTMC out")
    parser.add_argument("--no-marks", action="store_true", help="leave the two chains of 1.5 and 4 million edges out")
    parser.add_argument("--quick", action="store_true", help="tiny chains, without PyDTMC, some seconds")
    parser.add_argument("--json", action="store_true", help="figures as JSON, instead of tables")
    given = parser.parse_args(arguments)
    twin_states = TWIN_STATES
    if given.quick:
        given.sizes, given.edges, given.repeat, twin_states = (100,), (2_000, 8_000), 1, 400
        given.no_pydtmc = given.no_marks = True
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder, MemoryWatch(os.getpid()) as watch:
        told("compiling")
        figures.compile_s = 0.0 if given.quick else compiling()
        warm()
        figures.bandwidth = bandwidth()
        small(figures, given.sizes, given.repeat, Path(folder), not given.no_pydtmc)
        twins(figures, twin_states, given.repeat)
        for family, (states, edges, tolerance) in MARKS.items():
            share = states / edges if family == "rephrases" else 0.25
            runs = [(int(size * share), size) for size in given.edges]
            runs += [] if given.no_marks else [(states, edges)]
            for run in runs:
                if family == "expander":
                    reads(figures, run[0], tolerance)
                large(figures, family, *run, tolerance, given.repeat, watch)
    if given.json:
        print(json.dumps(asdict(figures), indent=1))
    else:
        print(machine("numpy", "scipy", "numba"), "", report(figures), sep="\n")
    return figures


if __name__ == "__main__":
    main()
