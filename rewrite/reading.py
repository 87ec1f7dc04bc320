"""Stage 1 of the mining job: logs into a table of turns in order, each turn id once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dialogue.canonical import Canonicaliser
from dialogue.errors import TooManyRejects
from dialogue.reader import PathLike, ReadReport, read_log
from dialogue.table import TURN_SCHEMA, turn_batch
from rewrite import own_counts, stages
from rewrite.bundle import COUNTS, Bundle
from rewrite.config import LearnConfig
from rewrite.execution import Execution
from rewrite.live_merge import LiveLog
from rewrite.progress import Progress
from rewrite.publish import write_beside
from rewrite.run import Run

#: The reason of a record whose turn id came before, beside those of `dialogue.parse.Reason`.
DUPLICATE = "duplicate_turn_id"


def read_turns(
    run: Run,
    paths: list[PathLike],
    config: LearnConfig,
    rejects: Path,
    progress: Progress,
    earlier: Bundle | None = None,
    live: LiveLog | None = None,
) -> ReadReport:
    """Stage 1: the logs as a table `ordered`; what breaks the format, or comes twice, goes to the rejects file.

    Left out are turns that an earlier bundle counted. The turns of a live history come last, but for those that the
    logs hold.
    """
    note = run.folder / "read.json"
    if not run.tables.has("turns"):
        canonical = Canonicaliser(config.text.wake_words, config.text.politeness)
        reader = read_log(paths, rejects=rejects, limit=config.log.reject_limit)
        with progress.stage("reading", reader.bytes_total) as stage:
            batches = reader.map(partial(turn_batch, canonical=canonical), imap=run.workers.map)
            told = _told(batches, lambda: stage.at(reader.bytes_read))
            more = _News(live, canonical) if live is not None and live.exported.turns else None
            run.tables.write("turns", told if more is None else more.after(told), TURN_SCHEMA)
        report = reader.report if more is None else more.added_to(reader.report)
        write_beside(note, json.dumps(asdict(report)).encode())
    if not note.exists():  # killed between the table and its note
        run.tables.drop("turns")
        return read_turns(run, paths, config, rejects, progress, earlier, live)
    report = ReadReport(**json.loads(note.read_text(encoding="utf-8")))
    with progress.stage("putting the turns in order"):
        if earlier is None:
            own_counts.no_watermarks(run.tables)
        else:
            own_counts.adopt(run.tables, earlier.path / COUNTS, _turned_bad(earlier))
        run.tables.query("duplicates", stages.duplicates())
        again = int(str(run.tables.one("SELECT CAST(coalesce(sum(records - 1), 0) AS BIGINT) FROM duplicates")[0]))
        if again:
            report = _without_duplicates(run.tables, report, again, rejects, config.log.reject_limit)
        run.tables.query("ordered", stages.ordered(again > 0))
    return report


class _News:
    """The turns of a live history that the logs do not hold."""

    def __init__(self, live: LiveLog, canonical: Canonicaliser) -> None:
        self.path, self.turns = live.history.path, 0
        self._reader, self._canonical = read_log(live.log, limit=1.0), canonical

    def after(self, logged: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches of the logs, and then the news. The live history is read twice: only its ids are held."""
        ids = pa.array([turn.turn_id for turns in self._reader for turn in turns], pa.string())
        known: set[str] = set()
        for batch in logged:
            known.update(batch["turn_id"].filter(pc.is_in(batch["turn_id"], ids)).to_pylist())
            yield batch
        for turns in self._reader:
            news = [turn for turn in turns if turn.turn_id not in known]
            self.turns += len(news)
            yield turn_batch(news, self._canonical)

    def added_to(self, report: ReadReport) -> ReadReport:
        """The report of the logs with the news."""
        return replace(report, files=(*report.files, str(self.path)), accepted=report.accepted + self.turns)


def _turned_bad(earlier: Bundle) -> Iterator[str]:
    """The sources of rewrites that were found to have turned bad when the earlier bundle was made."""
    return (row["source"] for row in earlier.rewrites("suspensions") if row["fresh"])


def _told(batches: Iterable[pa.RecordBatch], tell: Any) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        tell()
        yield batch


def _without_duplicates(tables: Execution, report: ReadReport, again: int, rejects: Path, limit: float) -> ReadReport:
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
                    reject = {"file": None, "line": None, "reason": DUPLICATE, "detail": detail}
                    file.write(json.dumps(reject | {"record": row["turn_id"]}, ensure_ascii=False) + "\n")
    if report.rejected_share > limit:
        raise TooManyRejects(report, limit)
    return report
