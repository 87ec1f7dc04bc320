"""What do the parts of retrieval cost at a million rows?

    python benchmarks/retrieval_speed.py [--rows 1000000] [--calls 20000] [--json]

One run, one process, one thread: building, saving and mapping each part; looking a key up; encoding one text; searching
one user's 50 rows; and searching all rows by the least cosine that is wanted, exactly by inverted lists and by brute
force, with the same answers from both. The questions are garbled forms of texts in the table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
from logs import Requests  # benchmarks/logs.py
from measure import MB, machine, percentiles, table, told  # benchmarks/measure.py

from retrieval import (
    BruteForceIndex,
    ExactIndex,
    HistoryEntry,
    KeyTable,
    NgramEncoder,
    PersonalLayer,
    SparseRows,
    SparseVector,
)

ROWS, CALLS = 1_000_000, 20_000
QUICK_ROWS, QUICK_CALLS = 3_000, 200
FLOORS = (0.8, 0.65, 0.5, 0.35)
NEIGHBOURS = 3
OWN_ROWS, USERS = 50, 2_000
SEARCHES, BRUTE_SEARCHES = 1_000, 20  # of all rows, for each floor


@dataclass
class Figures:
    """What was measured: seconds to build and to map, bytes on disk, and microseconds by percentile."""

    rows: int
    build_s: dict[str, float] = field(default_factory=dict)
    load_s: dict[str, float] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)
    latency: dict[str, dict[str, float]] = field(default_factory=dict)
    compared: int = 0  # searches that both indexes did
    differing: int = 0  # of these, with other rows or scores


def measured(rows: int, calls: int, searches: int, brute: int, folder: Path, seed: int) -> Figures:
    """Everything, part by part."""
    figures, draw = Figures(rows), np.random.default_rng(seed)
    requests = Requests(rows * 3 // 2, seed)
    texts = sorted(list(dict.fromkeys(map(requests.text, range(requests.count))))[:rows])
    rows = figures.rows = len(texts)
    garbled = [requests.garbled(request, noise) for request, noise in _asked(requests.count, calls, draw)]

    def made(name: str, build: Callable[[], Any], load: Callable[[Path], Any]) -> Any:
        told(f"building and mapping: {name}")
        begun = perf_counter()
        build().save(folder / name)
        figures.build_s[name] = perf_counter() - begun
        figures.size[name] = sum(file.stat().st_size for file in (folder / name).rglob("*") if file.is_file())
        begun = perf_counter()
        mapped = load(folder / name)
        figures.load_s[name] = perf_counter() - begun
        return mapped

    def timed(name: str, work: Callable[[Any], Any], asked: Sequence[Any]) -> None:
        told(f"timing: {name}")
        figures.latency[name] = percentiles(_nanoseconds(work, asked))

    keys = made("key table", lambda: KeyTable.build(texts), KeyTable.load)
    timed("key table, hit", keys.get, [texts[row] for row in draw.integers(0, rows, calls)])
    timed("key table, miss", keys.get, [f"{text}?" for text in garbled])

    encoder = made("encoder", lambda: NgramEncoder.fit(texts), NgramEncoder.load)
    vectors: SparseRows = made("vectors", lambda: encoder.encode(texts), SparseRows.load)
    timed("encode one text", encoder.encode_one, garbled)

    own = [np.sort(draw.choice(rows, min(OWN_ROWS, rows), replace=False)).tolist() for _ in range(USERS)]
    entries = [HistoryEntry(f"u{user}", row, 1, 0.0) for user, has in enumerate(own) for row in has]
    personal = made(
        "personal layer",
        lambda: PersonalLayer.build(vectors, entries),
        lambda saved: PersonalLayer.load(saved, vectors),
    )
    queries = [encoder.encode_one(text) for text in garbled]
    asked = [(f"u{user}", query) for user, query in zip(draw.integers(0, USERS, calls), queries, strict=True)]
    timed(
        f"personal search, {OWN_ROWS} rows",
        lambda pair: personal.search(pair[0], pair[1], NEIGHBOURS, FLOORS[-1]),
        asked,
    )

    exact = made("exact index", lambda: ExactIndex.build(vectors), lambda saved: ExactIndex.load(saved, vectors))
    plain = BruteForceIndex(vectors)
    for floor in FLOORS:
        timed(f"exact search, cosine from {floor}", _search(exact, floor), queries[:searches])
        timed(f"brute force, cosine from {floor}", _search(plain, floor), queries[:brute])
        for query in queries[:brute]:
            found, wanted = _search(exact, floor)(query), _search(plain, floor)(query)
            figures.compared += 1
            same = np.array_equal(found.rows, wanted.rows) and np.array_equal(found.scores, wanted.scores)
            figures.differing += not same
    return figures


def _asked(count: int, calls: int, draw: np.random.Generator) -> list[tuple[int, int]]:
    pairs = np.stack([draw.integers(0, count, calls), draw.integers(0, 1 << 40, calls)], axis=1)
    return [(request, noise) for request, noise in pairs.tolist()]


def _search(index: Any, floor: float) -> Callable[[SparseVector], Any]:
    return lambda query: index.search(query, NEIGHBOURS, floor)


def _nanoseconds(work: Callable[[Any], Any], asked: Sequence[Any]) -> Any:
    """Of each call [calls] int64; the first few are asked once before, to warm up."""
    for each in asked[:20]:
        work(each)
    spent = np.empty(len(asked), np.int64)
    for place, each in enumerate(asked):
        begun = perf_counter_ns()
        work(each)
        spent[place] = perf_counter_ns() - begun
    return spent


def report(figures: Figures) -> str:
    """Tables, for people."""
    parts = [
        (name, figures.build_s[name], figures.size[name] / MB, 1e3 * figures.load_s[name]) for name in figures.build_s
    ]
    latency = [(name, *each.values()) for name, each in figures.latency.items()]
    return "\n".join(
        [
            table((f"{figures.rows:,} rows", "build s", "MB on disk", "map ms"), parts),
            "",
            table(("microseconds", "p50", "p90", "p99", "p99.9"), latency),
            "",
            f"{figures.differing} of {figures.compared} searches differ between the exact index and brute force",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> Figures:
    """Measures, prints, and returns the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--calls", type=int, default=CALLS, help="of each fast part")
    parser.add_argument("--searches", type=int, default=SEARCHES, help="of all rows, for each floor")
    parser.add_argument("--brute", type=int, default=BRUTE_SEARCHES, help="the same by brute force")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} rows, some seconds")
    parser.add_argument("--json", action="store_true", help="figures as JSON, instead of tables")
    given = parser.parse_args(arguments)
    if given.quick:
        given.rows, given.calls, given.searches = QUICK_ROWS, QUICK_CALLS, QUICK_CALLS
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(given.rows, given.calls, given.searches, given.brute, Path(folder), given.seed)
    if given.json:
        print(json.dumps(asdict(figures), indent=1))
    else:
        print(machine("numpy", "scipy"), "", report(figures), sep="\n")
    return figures


if __name__ == "__main__":
    main()
