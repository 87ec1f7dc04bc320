"""The mining job: a log in, a bundle of learned rewrites out. `learn` reads from top to bottom as the story of it."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dialogue.blocks import log_files
from dialogue.canonical import Canonicaliser
from dialogue.errors import TooManyRejects
from dialogue.outcomes import OutcomeModel
from dialogue.reader import PathLike, ReadReport, read_log
from dialogue.sessions import BINS, BoundaryMethod, GapHistogram, SessionBoundary, estimate_boundary
from dialogue.table import TURN_SCHEMA, turn_batch
from rephrase_detection import LexicalDetector, RephraseDetector
from retrieval import HistoryEntry
from rewrite import stages
from rewrite.attempts import ATTEMPT_SCHEMA, AttemptFinder
from rewrite.bundle import Bundle, is_ours, software_version, write_manifest
from rewrite.config import GateConfig, LearnConfig
from rewrite.duckdb_execution import DuckDBExecution, Workers
from rewrite.errors import BundleError, ForeignBundle, LearnError, TargetError
from rewrite.execution import MICRO, Execution
from rewrite.gate import LIVE_TURNS, lower_bound, upper_bound
from rewrite.guards import table_guard
from rewrite.mining import (
    REWRITE_SCHEMA,
    Candidate,
    candidate_from_record,
    chain_of,
    chosen,
    judge_all,
    records,
)
from rewrite.overrides import Overrides
from rewrite.progress import Progress
from rewrite.publish import DISK_FULL, draft_of, locked, real, restore, swap_in, write_beside
from rewrite.serving import FAILING, GOOD, PUBLIC, Correction, TableEntry, build_serving

#: Turns whose probability of success is below this count as failing in summaries.
FAILING_BELOW = 0.5
#: A text whose upper bound of success is below this fails more often than not.
HALF = 0.5

DUPLICATE = "duplicate_turn_id"


@dataclass(frozen=True)
class LogFacts:
    """What a log holds, after reading and cutting: for the summary, the manifest and `rewrite check`."""

    report: ReadReport
    turns: int
    users: int
    sessions: int
    failing: int
    rephrased: int
    first_seen: float | None
    last_seen: float | None
    boundary: SessionBoundary
    gaps: GapHistogram

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "files": [Path(name).name for name in self.report.files],
            "records": self.report.records,
            "rejected": dict(self.report.rejected),
            "turns": self.turns,
            "users": self.users,
            "sessions": self.sessions,
            "failing": self.failing,
            "rephrased": self.rephrased,
            "first_seen": _iso(self.first_seen),
            "last_seen": _iso(self.last_seen),
            "session_gap_s": self.boundary.seconds,
            "session_gap_method": self.boundary.method.value,
        }


@dataclass(frozen=True)
class Summary:
    """What a run of the mining job made."""

    out: Path
    log: LogFacts
    counts: Mapping[str, int]
    verdicts: Mapping[str, int]  # candidates by the gate's reason


def learn(
    logs: PathLike | Iterable[PathLike],
    out: str | Path,
    *,
    config: LearnConfig | None = None,
    previous: str | Path | None = None,
    detector: RephraseDetector | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Learns from logs and publishes the bundle at `out`, in place of one that is there.

    A person's pins and blocks are kept from the bundle at `out` and from `previous`, whose other rewrites are carried
    over where these logs do not speak of them. A killed job goes on where it was when it is called again.
    """
    out = real(out)
    config, progress = config or LearnConfig(), progress or Progress()
    earlier = Bundle.open(previous) if previous is not None else None
    paths = [logs] if isinstance(logs, str | os.PathLike) else list(logs)
    canonical = Canonicaliser(config.text.wake_words, config.text.politeness)
    _refuse_foreign(out)
    with _disk_space(out), locked(out, "learn"), _working_on(out, paths, config, detector, earlier) as run:
        rejects = _rejects_of(out)
        report = read_turns(run, paths, canonical, config, rejects, progress)
        boundary, gaps = cut(run, config, progress)
        find_attempts(run, boundary, detector or LexicalDetector(), progress)
        facts = log_facts(run, report, boundary, gaps)

        count(run, config.gate, progress)
        candidates = mine(run, config.gate, progress)
        carried = carry(run, earlier, candidates, config.gate)
        table = sorted([*chosen(candidates), *carried], key=lambda each: each.source)
        populate(run, config, table, progress)

        draft = draft_of(out)
        write_bundle(run, draft, config, facts, [*candidates, *carried], table, progress)
        _publish(draft, out, earlier, progress)
        run.finish()
        return _summary(out, facts, candidates)


def check(
    logs: PathLike | Iterable[PathLike],
    work: Path,
    *,
    config: LearnConfig | None = None,
    rejects: Path | None = None,
    progress: Progress | None = None,
) -> LogFacts:
    """What the logs hold, without learning: the first stages of `learn`, in the folder `work`."""
    config, progress = config or LearnConfig(), progress or Progress()
    paths = [logs] if isinstance(logs, str | os.PathLike) else list(logs)
    canonical = Canonicaliser(config.text.wake_words, config.text.politeness)
    with _Run(work, config) as run:
        report = read_turns(run, paths, canonical, config, rejects or work / "rejects.jsonl", progress)
        boundary, gaps = cut(run, config, progress)
        find_attempts(run, boundary, LexicalDetector(), progress)
        return log_facts(run, report, boundary, gaps)


# The stages, in order


def read_turns(
    run: _Run, paths: list[PathLike], canonical: Canonicaliser, config: LearnConfig, rejects: Path, progress: Progress
) -> ReadReport:
    """Stage 1: the logs as a table `turns`; what breaks the format, or comes twice, goes to the rejects file."""
    note = run.folder / "read.json"
    if not run.tables.has("turns"):
        reader = read_log(paths, rejects=rejects, limit=config.log.reject_limit)
        with progress.stage("reading", reader.bytes_total) as stage:
            batches = reader.map(partial(turn_batch, canonical=canonical), imap=run.workers.map)
            run.tables.write("turns", _told(batches, lambda: stage.at(reader.bytes_read)), TURN_SCHEMA)
        write_beside(note, json.dumps(asdict(reader.report)).encode())
    if not note.exists():  # killed between the table and its note
        run.tables.drop("turns")
        return read_turns(run, paths, canonical, config, rejects, progress)
    report = ReadReport(**json.loads(note.read_text(encoding="utf-8")))
    with progress.stage("putting the turns in order"):
        run.tables.query("duplicates", stages.duplicates())
        again = int(str(run.tables.one("SELECT CAST(coalesce(sum(records - 1), 0) AS BIGINT) FROM duplicates")[0]))
        if again:
            report = _without_duplicates(run.tables, report, again, rejects, config.log.reject_limit)
        run.tables.query("ordered", stages.ordered(again > 0))
    return report


def cut(run: _Run, config: LearnConfig, progress: Progress) -> tuple[SessionBoundary, GapHistogram]:
    """Stage 2: the silence that ends a session, from the log's own silences unless it is given."""
    with progress.stage("finding the session boundary"):
        run.tables.query("gaps", stages.gaps())
        counts = dict.fromkeys(range(-1, BINS), 0)
        for batch in run.tables.read("SELECT bin, gaps FROM gaps ORDER BY bin"):
            counts |= dict(zip(batch["bin"].to_pylist(), batch["gaps"].to_pylist(), strict=True))
        histogram = GapHistogram(tuple(counts[place] for place in range(BINS)), counts[-1])
        given = config.log.session_gap_s
        if given is None:
            return estimate_boundary(histogram), histogram
        return SessionBoundary(given, BoundaryMethod.GIVEN, None, histogram.share_below(given)), histogram


def find_attempts(run: _Run, boundary: SessionBoundary, detector: RephraseDetector, progress: Progress) -> None:
    """Stages 3 and 4: sessions, the outcome of every turn, and what each failed turn was said again as."""
    finder = AttemptFinder(boundary.seconds, OutcomeModel(), detector)
    total = int(str(run.tables.one("SELECT count(*) FROM ordered")[0]))
    with progress.stage("judging outcomes and finding rephrases", total) as stage:
        run.tables.map("attempts", "ordered", finder, ATTEMPT_SCHEMA, whole="user_id", told=stage.advance)


def count(run: _Run, gate: GateConfig, progress: Progress) -> None:
    """Stages 5 to 7, the counting: by user, with a cap, and then over all users."""
    queries = {
        "by_user": stages.by_user(),
        "texts": stages.texts(gate),
        "own_hops": stages.own_hops(),
        "hops": stages.hops(gate),
        "states": stages.states(),
        "served": stages.served(gate),
    }
    with progress.stage("counting", len(queries)) as stage:
        for name, sql in queries.items():
            run.tables.query(name, sql)
            stage.advance(1)


def mine(run: _Run, gate: GateConfig, progress: Progress) -> list[Candidate]:
    """Stage 5, the chain: where attempts end, and through which words; and the verdict on every reformulation."""
    with progress.stage("solving the chain and judging its reformulations"):
        states = run.tables.table("SELECT * FROM states ORDER BY said")
        hops = run.tables.table("SELECT * FROM hops ORDER BY said, next_said")
        served = run.tables.table("SELECT served.* FROM served WHERE said IN (SELECT said FROM states)")
        chain = chain_of(states, hops)
        return judge_all(chain, states, served, gate) if chain else []


def carry(
    run: _Run, earlier: Bundle | None, candidates: list[Candidate], gate: GateConfig
) -> list[Candidate]:
    """Stage 6: rewrites of an earlier bundle of which this log holds too little to judge them anew.

    While a rewrite is live, the request is hardly ever left alone, so that the log no longer shows why it was needed.
    It stays unless it was left alone often enough to be judged, or failed while it was served.
    """
    kept = [candidate_from_record(row) for row in earlier.rewrites()] if earlier else []
    known = {each.source for each in candidates if each.verdict.kept}
    open_ = [each for each in kept if each.source not in known and table_guard(each.source, each.target) is None]
    run.tables.write("earlier", iter([_pairs(open_)]), _PAIRS)
    alone = run.tables.table(
        "SELECT texts.said AS said, weight FROM texts WHERE said IN (SELECT source FROM earlier)"
    )
    weight = dict(zip(alone["said"].to_pylist(), alone["weight"].to_pylist(), strict=True))
    served = run.tables.table("SELECT * FROM served WHERE said IN (SELECT source FROM earlier)").to_pylist()
    live = {(row["said"], row["rewrite"]): (row["success"] / MICRO, row["weight"] / MICRO) for row in served}
    carried = [
        each
        for each in open_
        if weight.get(each.source, 0) / MICRO < min(LIVE_TURNS, each.evidence.source_turns)
        and not _failed_live(each, live.get((each.source, each.target), (0.0, 0.0)), gate)
    ]
    run.tables.write("carried", iter([_carried_texts(carried)]), _CARRIED)
    return carried


def populate(run: _Run, config: LearnConfig, table: list[Candidate], progress: Progress) -> None:
    """Stage 7: the requests known to succeed, for everyone and for each user, and each user's own corrections."""
    guard = _CorrectionGuard(config.gate.personal_hops)
    status = _StatusJudge(config.gate, frozenset(each.source for each in table))
    with progress.stage("building the populations", 7) as stage:
        run.tables.query("surfaces", stages.surfaces())
        stage.advance(1)
        run.tables.query("own_corrections", stages.own_corrections())
        stage.advance(1)
        run.tables.map("corrections", "own_corrections", guard, _CORRECTIONS, whole="user_id")
        stage.advance(1)
        run.tables.query("own_requests", stages.own_requests(config.history.per_user))
        stage.advance(1)
        run.tables.query("requests", stages.requests(config.gate))
        stage.advance(1)
        run.tables.map("population", "requests", status, _POPULATION, whole="said")
        stage.advance(1)
        run.tables.query("histories", stages.histories())
        run.tables.query("correction_rows", stages.correction_rows())
        stage.advance(1)


def write_bundle(
    run: _Run,
    draft: Path,
    config: LearnConfig,
    facts: LogFacts,
    candidates: list[Candidate],
    table: list[Candidate],
    progress: Progress,
) -> None:
    """Stage 9, the writing: tables for the machine and for people, the serving arrays, and the manifest."""
    with progress.stage("writing the bundle"):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        columns = "said, surface, users, weight, success, status"
        population = run.tables.table(f"SELECT {columns} FROM population ORDER BY said")
        row_of = _rows_of(run.tables, table)
        surface = {target: population["surface"][row].as_py() for target, row in row_of.items()}
        _write_rows(draft / "candidates.parquet", records(candidates, surface))
        _write_rows(draft / "rewrites.parquet", records(table, surface))
        with open(draft / "rewrites.jsonl", "w", encoding="utf-8", newline="\n") as lines:
            for row in records(table, surface):
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        for name, sql in _PUBLIC_TABLES.items():
            _write_table(draft / f"{name}.parquet", run.tables.read(sql))
        entries = [
            TableEntry(
                row_of[each.source],
                row_of[each.target],
                each.verdict.rewritten,
                each.verdict.rewritten_lower - each.verdict.alone_upper,
                each.evidence.route_users,
            )
            for each in table
        ]
        owned = run.tables.table("SELECT user_id, source, target, turns FROM correction_rows ORDER BY user_id, source")
        corrections = [Correction(*row) for row in zip(*(column.to_pylist() for column in owned.columns), strict=True)]
        build_serving(draft / "index", population, entries, _history_entries(run.tables), corrections)
        counts = {
            "turns": facts.turns,
            "users": facts.users,
            "sessions": facts.sessions,
            "rewrites": len(table),
            "candidates": len(candidates),
            "requests": population.num_rows,
            "known_good": int(np.count_nonzero(population["status"].to_numpy() & GOOD)),
            "corrections": owned.num_rows,
            "histories": _rows(run.tables, "histories"),
        }
        created = datetime.now(UTC).isoformat(timespec="seconds")
        write_manifest(draft, created=created, parameters=config.as_dict(), log=facts.as_dict(), counts=counts)


def log_facts(run: _Run, report: ReadReport, boundary: SessionBoundary, gaps: GapHistogram) -> LogFacts:
    """Turns, users, sessions and failing turns, counted."""
    row = run.tables.one(
        f"""SELECT count(*), count(DISTINCT user_id), count(CASE WHEN session_start THEN 1 END),
                   count(CASE WHEN success < {FAILING_BELOW} * {MICRO} THEN 1 END),
                   count(next_said), min(timestamp), max(timestamp) FROM attempts"""
    )
    turns, users, sessions, failing, rephrased = (int(str(each)) for each in row[:5])
    first, last = (None if each is None else float(str(each)) for each in row[5:])
    return LogFacts(report, turns, users, sessions, failing, rephrased, first, last, boundary, gaps)


# The run


class _Run:
    """The work folder of one job, with the execution and the pool in it."""

    def __init__(self, folder: Path, config: LearnConfig) -> None:
        self.folder = folder
        self.workers = Workers(config.resources.workers)
        self.tables: DuckDBExecution = DuckDBExecution(
            folder,
            threads=config.resources.threads,
            memory_limit=config.resources.memory_limit,
            workers=self.workers,
        )

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.tables.close()
        self.workers.close()

    def finish(self) -> None:
        """Removes the work folder: the bundle is published."""
        self.tables.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _working_on(
    out: Path,
    paths: list[PathLike],
    config: LearnConfig,
    detector: RephraseDetector | None,
    earlier: Bundle | None,
) -> _Run:
    """The work folder beside `out`, emptied unless it belongs to the very same job."""
    with locked(out, "edit", wait=True):
        restore(out)
        Overrides.load(out)  # a person's word that cannot be read is told now, not after the work
    for leftover in out.parent.glob(f".{glob.escape(_rejects_of(out).name)}.*.partial"):
        leftover.unlink(missing_ok=True)  # of a killed reading
    folder = out.with_name(out.name + ".work")
    name = folder / "job.json"
    job = _job(out, paths, config, detector, earlier)
    if not name.exists() or name.read_text(encoding="utf-8") != job:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        name.write_text(job, encoding="utf-8")
    return _Run(folder, config)


def _job(
    out: Path,
    paths: list[PathLike],
    config: LearnConfig,
    detector: RephraseDetector | None,
    earlier: Bundle | None,
) -> str:
    """What makes two jobs the same: the files as they are, the earlier bundle, parameters, detector and software."""
    files = [file for path in paths for file in log_files(Path(path), _rejects_of(out))]
    parameters = config.as_dict()
    del parameters["resources"]
    told = {
        "files": [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files],
        "parameters": parameters,
        "previous": asdict(earlier.manifest) if earlier else None,
        "detector": repr(detector or LexicalDetector()),
        "software": software_version(),
        "code": _code_digest(),
    }
    return json.dumps(told, indent=1)


def _rejects_of(out: Path) -> Path:
    return out.with_name(out.name + ".rejects.jsonl")


def _code_digest() -> str:
    """Of all our code: a job begun by another version of it is not gone on with."""
    house = Path(__file__).parent.parent
    packages = ("dialogue", "markov", "rephrase_detection", "retrieval", "rewrite")
    texts = [path for package in packages for path in sorted((house / package).rglob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in texts)).hexdigest()


def _refuse_foreign(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        try:
            Bundle.open(out, verify=False)
        except ForeignBundle as error:
            raise TargetError(f"{out} exists and is no bundle: choose another --out, or empty it first") from error
        except BundleError as error:  # a bundle past use may be learned anew
            if not is_ours(out):
                raise TargetError(f"{out} exists and is no bundle: choose another --out, or empty it first") from error
    elif out.exists() and not out.is_dir():
        raise TargetError(f"{out} is a file: give a folder that is a bundle or does not exist yet as --out")
    if os.path.ismount(out):
        raise TargetError(f"{out} is a mount point, which cannot be replaced: give a folder inside it as --out")


#: What libraries say that drop the number of the error: pyarrow, and numpy where it writes an array.
_FULL_DISK = re.compile(r"No space left|File too large|Disk quota|\d+ requested and \d+ written")


class _disk_space:
    """Turns "no space left" from any library into an error that says what to do."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and (error.errno in DISK_FULL or _FULL_DISK.search(str(error))):
            raise LearnError(
                f"no space left on the disk of {self.out.parent}: {error}. The bundle at {self.out} is as it was. Free"
                " some space and run the same command again: it goes on from the last finished stage"
            ) from error


# Reading


def _told(batches: Iterable[pa.RecordBatch], tell: Any) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        tell()
        yield batch


def _without_duplicates(
    tables: Execution, report: ReadReport, again: int, rejects: Path, limit: float
) -> ReadReport:
    """The report with the records whose turn id came before, each written to the rejects file."""
    rejected = dict(report.rejected)
    rejected[DUPLICATE] = again
    by_count = dict(sorted(rejected.items(), key=lambda item: (-item[1], item[0])))
    report = replace(report, accepted=report.accepted - again, rejected=by_count, rejects_path=str(rejects))
    marker = f'"reason": "{DUPLICATE}"'
    if not (rejects.exists() and marker in rejects.read_text(encoding="utf-8")):
        with open(rejects, "a", encoding="utf-8") as file:
            for batch in tables.read("SELECT turn_id, records FROM duplicates ORDER BY turn_id"):
                for row in batch.to_pylist():
                    detail = f"{row['records']} records have this turn id; the earliest is kept"
                    reject = {"file": None, "line": None, "reason": DUPLICATE, "detail": detail, "record": row["turn_id"]}
                    file.write(json.dumps(reject, ensure_ascii=False) + "\n")
    if report.rejected_share > limit:
        raise TooManyRejects(report, limit)
    return report


# Carrying over

_PAIRS = pa.schema([("source", pa.string()), ("target", pa.string())])
_CARRIED = pa.schema(
    [
        ("said", pa.string()),
        ("surface", pa.string()),
        ("users", pa.int64()),
        ("turns", pa.int64()),
        ("weight", pa.int64()),
        ("success", pa.int64()),
        ("last_seen", pa.float64()),
    ]
)


def _pairs(candidates: list[Candidate]) -> pa.RecordBatch:
    rows = [{"source": each.source, "target": each.target} for each in candidates]
    return pa.RecordBatch.from_pylist(rows, schema=_PAIRS)


def _failed_live(candidate: Candidate, live: tuple[float, float], gate: GateConfig) -> bool:
    success, turns = live
    best = float(upper_bound(success, turns, gate.confidence))
    return turns > 0 and best < candidate.verdict.alone_upper + gate.margin


def _carried_texts(carried: list[Candidate]) -> pa.RecordBatch:
    """The texts of carried rewrites, in case the log does not hold them any more."""
    texts: dict[str, dict[str, Any]] = {}
    for each in carried:
        seen = each.evidence
        for text, users, turns, success in (
            (each.source, seen.source_users, seen.source_turns, seen.source_success),
            (each.target, seen.target_users, seen.target_turns, seen.target_success),
        ):
            weight, well = round(turns * MICRO), round(success * MICRO)
            texts[text] = {"said": text, "surface": text, "users": users, "turns": round(turns), "weight": weight}
            texts[text] |= {"success": well, "last_seen": 0.0}
    return pa.RecordBatch.from_pylist(list(texts.values()), schema=_CARRIED)


# Populations

_CORRECTIONS = pa.schema(
    [("user_id", pa.string()), ("said", pa.string()), ("next_said", pa.string()), ("turns", pa.int64())]
)
_POPULATION = pa.schema(
    [
        ("number", pa.int64()),
        ("said", pa.string()),
        ("surface", pa.string()),
        ("users", pa.int64()),
        ("turns", pa.int64()),
        ("weight", pa.int64()),
        ("success", pa.int64()),
        ("last_seen", pa.float64()),
        ("status", pa.uint8()),
        ("lower", pa.float64()),
        ("upper", pa.float64()),
    ]
)


@dataclass(frozen=True)
class _CorrectionGuard:
    """Keeps a user's own corrections that flip no meaning. One made once only helps where everyone's is known."""

    personal_hops: int

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        pairs = zip(batch["said"].to_pylist(), batch["next_said"].to_pylist(), strict=True)
        return batch.filter(pa.array([table_guard(*pair) is None for pair in pairs], pa.bool_())).cast(_CORRECTIONS)


@dataclass(frozen=True)
class _StatusJudge:
    """Marks each text as known to work, known to fail, or neither."""

    gate: GateConfig
    rewritten: frozenset[str]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        success, weight = (np.asarray(batch[name], np.float64) / MICRO for name in ("success", "weight"))
        lower = lower_bound(success, weight, self.gate.confidence)
        upper = upper_bound(success, weight, self.gate.confidence)
        public = np.asarray(batch["users"]) >= self.gate.min_users
        rewritten = np.fromiter((text in self.rewritten for text in batch["said"].to_pylist()), np.bool_, len(lower))
        good = public & (lower >= self.gate.good_floor) & ~rewritten
        failing = rewritten | (public & (upper < HALF))
        status = PUBLIC * (public | rewritten) + GOOD * good + FAILING * failing
        columns = [*batch.columns, pa.array(status, pa.uint8()), pa.array(lower), pa.array(upper)]
        return pa.RecordBatch.from_arrays(columns, schema=_POPULATION)


# Writing

_PUBLIC_TABLES = {
    "requests": f"""SELECT said AS text, surface, users, turns, weight / {MICRO}.0 AS weight,
        success / {MICRO}.0 AS success, lower, upper, last_seen,
        CASE status WHEN {PUBLIC + GOOD} THEN 'good' WHEN {PUBLIC + FAILING} THEN 'failing'
                    WHEN {PUBLIC} THEN 'unknown' ELSE 'private' END AS status
        FROM population ORDER BY number""",
    "histories": f"""SELECT user_id, said AS text, turns, success / {MICRO}.0 AS success, last_seen
        FROM histories ORDER BY user_id, number""",
    "corrections": """SELECT user_id, said AS source, next_said AS target, turns
        FROM correction_rows ORDER BY user_id, source""",
}


def _write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    with pq.ParquetWriter(path, REWRITE_SCHEMA, compression="zstd") as writer:
        writer.write_table(pa.Table.from_pylist(list(rows), schema=REWRITE_SCHEMA))


def _write_table(path: Path, batches: Iterator[pa.RecordBatch]) -> None:
    first = next(batches)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def _rows_of(tables: Execution, table: list[Candidate]) -> dict[str, int]:
    wanted = {text for each in table for text in (each.source, each.target)}
    rows: dict[str, int] = {}
    for batch in tables.read("SELECT said, number FROM population ORDER BY number"):
        pairs = zip(batch["said"].to_pylist(), batch["number"].to_pylist(), strict=True)
        rows |= {text: number for text, number in pairs if text in wanted}
    return rows


def _history_entries(tables: Execution) -> Iterator[HistoryEntry]:
    for batch in tables.read("SELECT user_id, number, success, last_seen FROM histories ORDER BY user_id, number"):
        columns = (batch[name].to_pylist() for name in ("user_id", "number", "success", "last_seen"))
        for user, number, success, seen in zip(*columns, strict=True):
            yield HistoryEntry(user, number, max(1, round(success / MICRO)), seen)


def _rows(tables: Execution, name: str) -> int:
    return int(str(tables.one(f"SELECT count(*) FROM {name}")[0]))


def _publish(draft: Path, out: Path, earlier: Bundle | None, progress: Progress) -> None:
    with progress.stage("publishing"), locked(out, "edit", wait=True):
        restore(out)
        overrides = Overrides.load(out)
        if earlier is not None:
            overrides = overrides.over(earlier.overrides)
        if overrides.pinned or overrides.blocked:
            overrides.save(draft)
        swap_in(draft, out)


def _summary(out: Path, facts: LogFacts, candidates: list[Candidate]) -> Summary:
    verdicts: dict[str, int] = {}
    for each in candidates:
        verdicts[each.verdict.reason.value] = verdicts.get(each.verdict.reason.value, 0) + 1
    return Summary(out, facts, Bundle.open(out, verify=False).manifest.counts, verdicts)


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # before the year 1
        return f"{seconds:.3f} s since 1970"
