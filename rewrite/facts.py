"""What a log holds and what a run of the mining job made of it: figures for people, in plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dialogue.reader import ReadReport
from dialogue.sessions import GapHistogram, SessionBoundary
from rewrite.bundle import Bundle
from rewrite.detectors import Detection
from rewrite.execution import MICRO, Execution
from rewrite.mining import Candidate

#: Turns whose probability of success is below this count as failing in summaries.
FAILING_BELOW = 0.5


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
    counted_before: int = 0  # turns that an earlier bundle had counted, and that were left out

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "files": [Path(name).name for name in self.report.files],
            "records": self.report.records,
            "rejected": dict(self.report.rejected),
            "turns": self.turns,
            "counted_before": self.counted_before,
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
class Span:
    """What a bundle has learned from by now, this log and those before: up to when, and how much."""

    as_of: float  # the time reached, in seconds since the epoch; ages of turns are reckoned from it
    logs: int = 0
    turns: int = 0
    sessions: int = 0

    @classmethod
    def of(cls, earlier: Bundle | None) -> Span:
        """That of an earlier bundle; of nothing where there is none."""
        return cls(-math.inf) if earlier is None else cls(**earlier.manifest.span)

    def reaching(self, as_of: float) -> Span:
        """The same up to a later time; time never runs back."""
        return replace(self, as_of=max(self.as_of, as_of))

    def adding(self, log: LogFacts) -> Span:
        """With one more log."""
        return replace(
            self, logs=self.logs + 1, turns=self.turns + log.turns, sessions=self.sessions + log.sessions
        )


@dataclass(frozen=True)
class Summary:
    """What a run of the mining job made."""

    out: Path
    log: LogFacts
    counts: Mapping[str, int]
    verdicts: Mapping[str, int]  # candidates by the gate's reason
    detection: Detection


def log_facts(tables: Execution, report: ReadReport, boundary: SessionBoundary, gaps: GapHistogram) -> LogFacts:
    """Turns, users, sessions and failing turns, counted."""
    row = tables.one(
        f"""SELECT count(*), count(DISTINCT user_id), count(CASE WHEN session_start THEN 1 END),
                   count(CASE WHEN success < {FAILING_BELOW} * {MICRO} THEN 1 END),
                   count(next_said), min(timestamp), max(timestamp) FROM attempts"""
    )
    turns, users, sessions, failing, rephrased = (int(str(each)) for each in row[:5])
    first, last = (None if each is None else float(str(each)) for each in row[5:])
    before = report.accepted - turns
    return LogFacts(report, turns, users, sessions, failing, rephrased, first, last, boundary, gaps, before)


def summary(out: Path, facts: LogFacts, candidates: list[Candidate], detection: Detection) -> Summary:
    """What was published, in counts."""
    verdicts: dict[str, int] = {}
    for each in candidates:
        verdicts[each.verdict.reason.value] = verdicts.get(each.verdict.reason.value, 0) + 1
    return Summary(out, facts, Bundle.open(out, verify=False).manifest.counts, verdicts, detection)


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # before the year 1
        return f"{seconds:.3f} s since 1970"
