"""Logs as sessions, to train a detector from: all turns of a log in memory, with what is annotated about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dialogue.blocks import log_files
from dialogue.errors import TooManyRejects
from dialogue.reader import LogReader, ReadReport, read_log
from dialogue.sessions import GapHistogram, SessionBoundary, cut_sessions, estimate_boundary
from dialogue.turn import Turn
from rephrase_detection.training import TrainingLog
from rewrite.errors import ConfigError
from rewrite.progress import Progress
from rewrite.reading import DUPLICATE


@dataclass(frozen=True)
class ReadTraining:
    """A log that was read to train from, and how."""

    log: TrainingLog
    report: ReadReport
    boundary: SessionBoundary


def read_training(
    paths: Sequence[Path], gap_s: float | None = None, limit: float = 0.05, progress: Progress | None = None
) -> list[ReadTraining]:
    """Each path as a log of its own. Bad records, and those whose turn id came before, are counted and left out.

    Sessions are those of the log, and others end at silences of `gap_s` seconds, or of what the log itself shows.
    Raises LogError, TooManyRejects where the share of bad records in a log is above the limit, and ConfigError where a
    path comes twice.
    """
    places = [{file.resolve() for file in log_files(path)} if path.exists() else {path} for path in paths]
    for number, (path, place) in enumerate(zip(paths, places, strict=True)):
        if any(place & other for other in places[:number]):
            raise ConfigError(f"{path} is named twice: a log counts once, and is not to be judged by what it taught")
    return [_read(path, gap_s, limit, progress or Progress()) for path in paths]


def _read(path: Path, gap_s: float | None, limit: float, progress: Progress) -> ReadTraining:
    reader = read_log(path, limit=limit, keep_gold=True)
    with progress.stage(f"reading {path.name}", reader.bytes_total) as stage:
        turns = _once(reader, stage.at)
        report = _with_duplicates(reader.report, len(turns), limit)
        boundary = estimate_boundary(GapHistogram.from_turns(turns)) if gap_s is None else SessionBoundary(gap_s)
        sessions = tuple(cut_sessions(turns, boundary))
    return ReadTraining(TrainingLog(str(path), sessions), report, boundary)


def _once(reader: LogReader, told: Callable[[float], None]) -> list[Turn]:
    """Each turn id once: the earliest turn of it."""
    kept: dict[str, Turn] = {}
    for turns in reader:
        for turn in turns:
            before = kept.setdefault(turn.turn_id, turn)
            if turn.timestamp < before.timestamp:
                kept[turn.turn_id] = turn
        told(reader.bytes_read)
    return list(kept.values())


def _with_duplicates(report: ReadReport, kept: int, limit: float) -> ReadReport:
    again = report.accepted - kept
    if again:
        report = replace(report, accepted=kept, rejected={**report.rejected, DUPLICATE: again})
    if report.rejected_share > limit:
        raise TooManyRejects(report, limit)
    return report
