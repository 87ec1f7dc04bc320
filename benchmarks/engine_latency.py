"""How fast does the engine answer with a million texts loaded, and what does loading them cost?

    python benchmarks/engine_latency.py [--texts 1000000] [--calls 100000] [--folder DIR] [--json]

Makes a bundle as the mining job writes one: texts of which three in ten are known to work, one in ten has a learned
rewrite, and one user for ten texts, each with requests and a correction of their own. Then measures, each in fresh
processes and on one thread: importing the package; loading the bundle, with the memory that it takes; the latency of
each kind of answer, in random order. Beside it a plain dict of the same table, to show what mapping costs and buys.
With --folder the bundle is kept and used again by the next run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
from logs import Requests  # benchmarks/logs.py
from measure import MB, machine, percentiles, resident, spread, table, told  # benchmarks/measure.py

from dialogue.canonical import Canonicaliser
from rewrite import Decision, Reason, RewriteEngine

TEXTS, CALLS = 1_000_000, 100_000
QUICK_TEXTS, QUICK_CALLS = 3_000, 300
HISTORY = 20  # requests of each user's own
OVERRIDDEN = 1 / 200  # share of the texts that is pinned, and as much blocked
#: The marks: seconds to import, and microseconds at the median of the kinds that a table answers for everyone.
MOST_IMPORT_S, MOST_MICROSECONDS = 0.3, 50.0
MARKED = ("known good", "known good for this user", "precomputed")
HEAVY = ("torch", "transformers", "pyarrow", "duckdb", "scipy", "pydantic")

#: Each kind of question, with the answer that it must get.
KINDS = {
    "known good": Reason.KNOWN_GOOD,
    "known good for this user": Reason.KNOWN_GOOD,
    "precomputed": Reason.LEARNED,
    "precomputed, user with history": None,  # learned, or a request of the user's own if that is near
    "own correction": Reason.OWN_CORRECTION,
    "pinned": Reason.PINNED,
    "blocked": Reason.BLOCKED,
    "no table answer": None,
}
Question = tuple[str, str | None]


@dataclass(frozen=True)
class Figures:
    """What was measured. Seconds, bytes, and microseconds by kind and percentile."""

    texts: int
    imports: dict[str, list[float]]  # statement -> seconds in each interpreter
    heavy: list[str]  # of HEAVY, what serving had loaded
    load_s: float
    memory: dict[str, dict[str, int]]  # moment -> resident bytes
    latency: dict[str, dict[str, float]]
    reasons: dict[str, dict[str, int]]  # kind -> reason -> answers
    dict_load_s: float
    dict_memory: dict[str, dict[str, int]]
    dict_latency: dict[str, float]


# The bundle


@dataclass(frozen=True)
class _World:
    """What the bundle holds, by row of the sorted texts."""

    texts: list[str]
    good: np.ndarray[Any, np.dtype[np.int64]]
    source: np.ndarray[Any, np.dtype[np.int64]]  # of the learned rewrites
    target: np.ndarray[Any, np.dtype[np.int64]]
    other: np.ndarray[Any, np.dtype[np.int64]]  # neither known to work nor rewritten
    own: np.ndarray[Any, np.dtype[np.int64]]  # [users, HISTORY] ascending: each user's own requests
    corrected: np.ndarray[Any, np.dtype[np.int64]]  # [users]: what each user corrects, to the first of their own

    @classmethod
    def drawn(cls, texts: int, seed: int) -> _World:
        """A tenth of the texts are misheard forms of a third of the good ones."""
        requests = Requests(texts * 3 // 2, seed)
        right = list(dict.fromkeys(map(requests.text, range(requests.count))))
        tenth = texts // 10
        pairs: dict[str, str] = {}
        known = set(right)
        for request in range(requests.count):
            heard = requests.misheard(request)
            if heard not in known and len(pairs) < tenth:
                pairs.setdefault(heard, requests.text(request))
        chosen = sorted([*right[: texts - len(pairs)], *pairs])
        row = {text: number for number, text in enumerate(chosen)}
        source = np.array([row[text] for text in pairs], np.int64)
        target = np.array([row[text] for text in pairs.values()], np.int64)
        draw = np.random.default_rng(seed)
        rest = np.setdiff1d(np.arange(texts), np.concatenate([source, target]))
        more = draw.choice(rest, max(3 * tenth - len(np.unique(target)), 0), replace=False)
        good = np.unique(np.concatenate([target, more]))
        other = np.setdiff1d(rest, good)
        own = np.sort(np.stack([draw.choice(other, HISTORY, replace=False) for _ in range(tenth)]), axis=1)
        return cls(chosen, good, source, target, other, own, draw.choice(other, tenth))


def write_bundle(folder: Path, texts: int, calls: int, seed: int) -> None:
    """The bundle, the questions of each kind, and the same table for the dict."""
    import pyarrow as pa  # heavy: kept out of the processes that are measured

    from retrieval import HistoryEntry
    from rewrite.bundle import write_manifest
    from rewrite.config import LearnConfig
    from rewrite.overrides import Overrides
    from rewrite.serving import FAILING, GOOD, PUBLIC, Correction, TableEntry, build_serving

    told(f"making a bundle of {texts:,} texts")
    world = _World.drawn(texts, seed)
    status = np.zeros(texts, np.uint8)
    status[world.good], status[world.source] = PUBLIC + GOOD, PUBLIC + FAILING
    success = np.where(status & GOOD, 9_500_000, 2_000_000)
    population = pa.table(
        {
            "said": world.texts,
            "surface": world.texts,
            "weight": np.full(texts, 10_000_000),
            "success": success,
            "status": status,
        }
    )
    pairs = zip(world.source.tolist(), world.target.tolist(), strict=True)
    entries = [TableEntry(source, target, 0.9, 0.5, 20) for source, target in sorted(pairs)]
    histories = (
        HistoryEntry(f"u{user:07d}", row, 3, 1.7e9) for user, rows in enumerate(world.own.tolist()) for row in rows
    )
    firsts = zip(world.corrected.tolist(), world.own[:, 0].tolist(), strict=True)
    corrections = [Correction(f"u{user:07d}", said, meant, 3) for user, (said, meant) in enumerate(firsts)]
    bundle = folder / "bundle"
    build_serving(bundle / "index", population, entries, histories, corrections)
    write_manifest(bundle, created="", parameters=LearnConfig().as_dict(), log={}, span={}, counts={"requests": texts})
    overridden = [world.texts[row] for row in world.other[: int(2 * OVERRIDDEN * texts)].tolist()]
    pinned = dict.fromkeys(overridden[::2], "play something else")
    Overrides(pinned, frozenset(overridden[1::2])).save(bundle)
    questions = _questions(world, overridden, calls, seed)
    (folder / "questions.json").write_text(json.dumps(questions), encoding="utf-8")
    with open(folder / "table.jsonl", "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in _plain(world, status, success))


def _questions(world: _World, overridden: Sequence[str], calls: int, seed: int) -> dict[str, list[Question]]:
    draw = np.random.default_rng(seed + 1)
    spoken = set(overridden)
    users = draw.permutation(len(world.own))
    asked: dict[str, Iterator[Question]] = {
        "known good": ((world.texts[row], None) for row in draw.permutation(world.good)),
        "known good for this user": (
            (world.texts[row], f"u{user:07d}") for user in users for row in draw.permutation(world.own[user])
        ),
        "precomputed": ((world.texts[row], None) for row in draw.permutation(world.source)),
        "precomputed, user with history": (
            (world.texts[row], f"u{draw.choice(users):07d}") for row in draw.permutation(world.source)
        ),
        "own correction": ((world.texts[world.corrected[user]], f"u{user:07d}") for user in users),
        "pinned": ((text, None) for text in overridden[::2]),
        "blocked": ((text, None) for text in overridden[1::2]),
        "no table answer": ((f"{text[:-1]}x", None) for text in (world.texts[row] for row in world.good)),
    }
    made: dict[str, list[Question]] = {}
    for kind, stream in asked.items():
        left_alone = (each for each in stream if kind in ("pinned", "blocked") or each[0] not in spoken)
        some = [each for each, _ in zip(left_alone, range(calls), strict=False)]
        made[kind] = [some[place] for place in draw.permutation(np.resize(np.arange(len(some)), calls))]
    return made


def _plain(world: _World, status: Any, success: Any) -> Iterator[list[Any]]:
    target = dict(zip(world.source.tolist(), world.target.tolist(), strict=True))
    for row, text in enumerate(world.texts):
        yield [text, int(status[row]), success[row] / 1e7, world.texts[target[row]] if row in target else None]


# The processes that are measured


def serve(folder: Path, slow_calls: int) -> None:
    """Loads the bundle and answers; tells what it took on the standard output."""
    memory = {"before": resident()}
    begun = perf_counter()
    engine = RewriteEngine.load(folder / "bundle")
    load_s = perf_counter() - begun
    memory["loaded"] = resident()
    questions = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    memory["questions"] = resident()
    latency: dict[str, dict[str, float]] = {}
    reasons: dict[str, dict[str, int]] = {}
    for kind, asked in questions.items():
        slow = kind in ("no table answer", "precomputed, user with history")
        spent, given = _timed(
            lambda text, user: engine.rewrite(text, user).reason, asked[: slow_calls if slow else len(asked)]
        )
        latency[kind] = percentiles(spent)
        reasons[kind] = {reason.value: given.count(reason) for reason in Reason if reason in given}
    memory["served"] = resident()
    heavy = [name for name in HEAVY if name in sys.modules]
    told_of = {"load_s": load_s, "memory": memory, "latency": latency, "reasons": reasons, "heavy": heavy}
    print(json.dumps(told_of))


def serve_from_dict(folder: Path) -> None:
    """The peer: the same table in a dict, looked up by the same canonical text."""
    memory = {"before": resident()}
    begun = perf_counter()
    with open(folder / "table.jsonl", encoding="utf-8") as lines:
        stored = {text: (status, success, target) for text, status, success, target in map(json.loads, lines)}
    load_s = perf_counter() - begun
    memory["loaded"] = resident()
    canonical = Canonicaliser()
    questions = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    asked = questions["known good"] + questions["precomputed"]
    spent, _ = _timed(lambda text, user: stored.get(canonical(text)), asked)
    print(json.dumps({"load_s": load_s, "memory": memory, "latency": percentiles(spent)}))


def _timed(answer: Callable[[str, str | None], Any], asked: Sequence[Question]) -> tuple[Any, list[Any]]:
    """Nanoseconds of each call [calls] int64, and the answers; the first hundred warm up and are asked again."""
    for text, user in asked[:100]:
        answer(text, user)
    spent = np.empty(len(asked), np.int64)
    answers: list[Decision | Any] = []
    for place, (text, user) in enumerate(asked):
        begun = perf_counter_ns()
        given = answer(text, user)
        spent[place] = perf_counter_ns() - begun
        answers.append(given)
    return spent, answers


def import_seconds(statement: str, times: int) -> list[float]:
    """Of the statement in each of so many fresh interpreters."""
    program = f"from time import perf_counter as now; t = now(); {statement}; print(now() - t)"
    command = [sys.executable, "-c", program]
    runs = (subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(times))
    return [float(run.stdout) for run in runs]


def _child(*words: object) -> Any:
    command = [sys.executable, __file__, *map(str, words)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(run.stdout)


def measured(folder: Path, texts: int, slow_calls: int, times: int) -> Figures:
    """Everything, on the bundle in the folder."""
    told("importing")
    statements = ("import rewrite", "from rewrite import RewriteEngine")
    imports = {statement: import_seconds(statement, times) for statement in statements}
    told("serving")
    served = _child("--serve", folder, "--slow-calls", slow_calls)
    told("serving from a dict")
    peer = _child("--dict", folder)
    return Figures(
        texts,
        imports,
        served["heavy"],
        served["load_s"],
        served["memory"],
        served["latency"],
        served["reasons"],
        peer["load_s"],
        peer["memory"],
        peer["latency"],
    )


def report(figures: Figures) -> str:
    """Tables and verdicts, for people."""
    latency = [(kind, *each.values(), _told(figures.reasons[kind])) for kind, each in figures.latency.items()]
    latency.append(("a dict: canonical text and one look-up", *figures.dict_latency.values(), ""))
    engine, peer = figures.memory, figures.dict_memory
    memory = [
        ("engine, loaded", figures.load_s, *_grown(engine, "loaded")),
        ("engine, after all questions", "", *_grown(engine, "served", "questions")),
        ("dict, loaded", figures.dict_load_s, *_grown(peer, "loaded")),
    ]
    imports = [(statement, spread([1e3 * each for each in taken])) for statement, taken in figures.imports.items()]
    head = ("microseconds", "p50", "p90", "p99", "p99.9", "answers")
    return "\n".join(
        [
            table(("import, ms", "median (middle half)"), imports),
            "",
            table((f"{figures.texts:,} texts", "load s", "MB more", "of that mapped"), memory),
            "",
            table(head, latency),
            "",
            *verdicts(figures),
        ]
    )


def _grown(memory: Mapping[str, Mapping[str, int]], after: str, since: str = "before") -> tuple[float, float]:
    """MB resident beyond an earlier moment, in all and of that mapped from files, which processes share."""
    return tuple((memory[after][part] - memory[since][part]) / MB for part in ("rss", "file"))  # type: ignore[return-value]


def _told(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(reasons.items(), key=lambda item: -item[1]))


def verdicts(figures: Figures) -> list[str]:
    """The marks, each with whether it is met."""
    slowest = max(median(taken) for taken in figures.imports.values())
    lines = [
        f"{_met(slowest < MOST_IMPORT_S)}: importing takes {slowest:.3f} s, less than {MOST_IMPORT_S} s is wanted",
        f"{_met(not figures.heavy)}: of {', '.join(HEAVY)} serving loads {', '.join(figures.heavy) or 'none'}",
    ]
    for kind in MARKED:
        took = figures.latency[kind]["p50"]
        lines.append(
            f"{_met(took < MOST_MICROSECONDS)}: {kind} takes {took:.1f} us at the median, less than"
            f" {MOST_MICROSECONDS:.0f} us is wanted"
        )
    return lines


def _met(holds: bool) -> str:
    return "met" if holds else "MISSED"


def main(arguments: Sequence[str] | None = None) -> Figures | None:
    """Makes the bundle, measures, prints, and returns the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=TEXTS, help="in the bundle")
    parser.add_argument("--calls", type=int, default=CALLS, help="of each kind")
    parser.add_argument("--slow-calls", type=int, default=5_000, help="of the two kinds that search vectors")
    parser.add_argument("--imports", type=int, default=10, help="fresh interpreters for each import")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_TEXTS:,} texts, some seconds")
    parser.add_argument("--json", action="store_true", help="figures as JSON, instead of tables")
    parser.add_argument("--folder", type=Path, help="where the bundle is kept (default: made anew, and removed)")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dict", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.serve or given.dict:
        if given.serve:
            serve(given.serve, given.slow_calls)
        else:
            serve_from_dict(given.dict)
        return None
    if given.quick:
        given.texts, given.calls, given.slow_calls = QUICK_TEXTS, QUICK_CALLS, QUICK_CALLS
    with _folder(given.folder, f"{given.texts}-{given.calls}-{given.seed}") as folder:
        if not (folder / "table.jsonl").exists():  # the last to be written
            write_bundle(folder, given.texts, given.calls, given.seed)
        figures = measured(folder, given.texts, given.slow_calls, given.imports)
    if given.json:
        print(json.dumps(asdict(figures), indent=1))
    else:
        print(machine("numpy", "rapidfuzz"), "", report(figures), sep="\n")
    return figures


@contextmanager
def _folder(kept: Path | None, name: str) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    else:
        (kept / name).mkdir(parents=True, exist_ok=True)
        yield kept / name


if __name__ == "__main__":
    main()
