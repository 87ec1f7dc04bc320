"""Is the log sound? `rewrite check`, and the options and words that it shares with `rewrite learn`."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from rewrite.cli_exit import ExitCode
from rewrite.cli_words import METHODS, reject_in_words
from rewrite.console import (
    ConsoleProgress,
    bars,
    counted,
    duration,
    facts_table,
    legible,
    percent,
    print_json,
    say,
    stderr,
    stdout,
)
from rewrite.errors import ConfigError

if TYPE_CHECKING:
    from dialogue.reader import ReadReport
    from dialogue.sessions import GapHistogram
    from rewrite.config import LearnConfig
    from rewrite.facts import LogFacts

#: Bytes of log from which on one more process is worth its start.
BYTES_A_WORKER = 8 << 20
#: Processes that the command line takes unasked: each costs some 300 MB.
WORKERS_UNASKED = 2
EXAMPLES_SHOWN = 3

Logs = Annotated[
    list[Path], typer.Argument(metavar="LOG...", help="Log files (.jsonl, .jsonl.gz, .parquet), or folders of them.")
]
RejectLimit = Annotated[
    float | None,
    typer.Option(metavar="SHARE", min=0.0, max=1.0, help="Largest share of bad records.", show_default="0.05"),
]
SessionGap = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Silence that ends a session.", show_default="estimated from the log"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def check(
    logs: Logs,
    reject_limit: RejectLimit = None,
    rejects: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Keep bad records, with line and reason, in this file."),
    ] = None,
    session_gap: SessionGap = None,
    json: Json = False,
) -> None:
    """Is the log sound, and what is in it?

    Counts bad records by reason, users, sessions, failing turns and silences, and learns nothing. Ends with 3 where
    the share of bad records is above the limit.

    Example:  [bold]rewrite check logs/*.jsonl.gz --rejects bad.jsonl[/bold]
    """
    from rewrite.config import LearnConfig
    from rewrite.job import check as check_log

    if rejects is not None and not rejects.absolute().parent.is_dir():
        raise ConfigError(f"no folder {rejects.parent}: give --rejects a file in a folder that exists")
    config = with_log_options(LearnConfig(), 1.0, session_gap)  # every bad record is counted before the verdict
    limit = LearnConfig().log.reject_limit if reject_limit is None else reject_limit
    config = with_workers(config, None, logs)
    with tempfile.TemporaryDirectory(prefix="rewrite-check-") as folder:
        kept = rejects or Path(folder) / "rejects.jsonl"
        facts = check_log(logs, Path(folder) / "work", config=config, rejects=kept, progress=ConsoleProgress())
        examples = _first_rejects(kept)
    sound = facts.report.rejected_share <= limit
    if json:
        print_json(_check_document(facts, limit, sound, rejects))
    else:
        _print_check(facts, examples, rejects)
    if not sound:
        told = f"{_rejected(facts.report)} records break the log format; at most {limit:.1%} may"
        say(stderr(), f"Error: {told}. Mend the export, or raise --reject-limit to go on without them.", "red")
        raise typer.Exit(ExitCode.LOG)


# What `check` says


def _first_rejects(file: Path) -> list[dict[str, Any]]:
    from json import loads

    if not file.exists():
        return []
    with open(file, encoding="utf-8") as lines:
        return [loads(line) for line, _ in zip(lines, range(EXAMPLES_SHOWN), strict=False)]


def _check_document(facts: LogFacts, limit: float, sound: bool, rejects: Path | None) -> dict[str, Any]:
    mixture = facts.boundary.mixture
    return {
        **facts.as_dict(),
        "sound": sound,
        "reject_limit": limit,
        "rejected_share": facts.report.rejected_share,
        "rejects_file": str(rejects) if rejects and facts.report.rejected else None,
        "failing_share": _share(facts.failing, facts.turns),
        "rephrased_share": _share(facts.rephrased, facts.turns),
        "gaps_below_session_gap": facts.boundary.share_below,
        "gap_medians_s": list(mixture.medians_s) if mixture else None,
        "gaps": [{"from_s": low, "to_s": high, "gaps": count} for low, high, count in _gap_rows(facts.gaps)],
        "gaps_not_positive": facts.gaps.not_positive,
    }


def _print_check(facts: LogFacts, examples: list[dict[str, Any]], rejects: Path | None) -> None:
    console = stdout()
    console.print(facts_table(facts_in_words(facts, rejects)))
    if facts.report.rejected:
        console.print("\nBad records", style="bold")
        console.print(facts_table([(f"{n:,}", reject_in_words(reason)) for reason, n in facts.report.rejected.items()]))
        for each in examples:
            place = f"{Path(each['file']).name}:{each['line']}: " if each["file"] else ""
            console.print(Text(legible(f"{place}{each['detail']}: {each['record']}", 160)), style="dim")
        if rejects is None:
            console.print("--rejects FILE keeps them all.", style="dim")
    if facts.gaps.total:
        console.print("\nSilences between turns", style="bold")
        console.print(bars(_gap_bars(facts)))


def facts_in_words(facts: LogFacts, rejects: Path | str | None) -> list[tuple[str, str]]:
    """What a log holds, in words."""
    where = f", in {rejects}" if rejects and facts.report.rejected else ""
    boundary = facts.boundary
    below = "" if boundary.share_below is None else f"; {percent(boundary.share_below)} of the silences are shorter"
    before = facts.counted_before
    left_out = f"{counted(before, 'turn')} left out: no later than what was counted of their users before"
    known = [("", left_out)] if before else []
    return [
        ("Records", f"{facts.report.records:,} read; {_rejected(facts.report)} bad{where}"),
        *known,
        ("Turns", f"{facts.turns:,} of {counted(facts.users, 'user')} in {counted(facts.sessions, 'session')}"),
        ("Time", _span(facts)),
        ("Failing", f"{facts.failing:,} turns ({percent(_share(facts.failing, facts.turns))})"),
        ("Said again", f"{facts.rephrased:,} turns ({percent(_share(facts.rephrased, facts.turns))})"),
        ("Sessions end", f"after {duration(boundary.seconds)} of silence, {METHODS[boundary.method]}{below}"),
    ]


def _rejected(report: ReadReport) -> str:
    return f"{report.rejected_records:,} of {report.records:,} ({report.rejected_share:.1%})"


def _span(facts: LogFacts) -> str:
    told = facts.as_dict()
    if told["first_seen"] is None:
        return "no turns"
    first, last = (str(told[name])[:16].replace("T", " ") for name in ("first_seen", "last_seen"))
    return f"{first} to {last} UTC"


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


#: Where the bars of the chart begin, in seconds.
_STEPS = (0.0, 1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 10_800.0, 43_200.0, 86_400.0, 604_800.0)


def _gap_rows(gaps: GapHistogram) -> list[tuple[float, float | None, int]]:
    """(from, to, gaps) for each step, seconds; without the empty ones at either end."""
    from dialogue.sessions import BIN_WIDTH, GRID_LOW

    counts = [0] * len(_STEPS)
    for place, count in enumerate(gaps.counts):
        seconds = math.exp(GRID_LOW + (place + 0.5) * BIN_WIDTH)
        counts[sum(seconds >= step for step in _STEPS) - 1] += count
    rows = list(zip(_STEPS, [*_STEPS[1:], None], counts, strict=True))
    filled = [place for place, row in enumerate(rows) if row[2]]
    return rows[filled[0] : filled[-1] + 1] if filled else []


def _gap_bars(facts: LogFacts) -> list[tuple[str, int]]:
    rows = [("none, or below 0", facts.gaps.not_positive)] if facts.gaps.not_positive else []
    for low, high, count in _gap_rows(facts.gaps):
        name = f"{duration(low)} to {duration(high)}" if low and high else f"from {duration(low)}"
        name = f"below {duration(high)}" if high and not low else name
        here = low <= facts.boundary.seconds and (high is None or facts.boundary.seconds < high)
        rows.append((f"sessions end here → {name}" if here else name, count))
    return rows


# Parameters


def replaced(config: Any, **values: Any) -> Any:
    """The configuration with the values that were given."""
    return replace(config, **{name: value for name, value in values.items() if value is not None})


def with_log_options(config: LearnConfig, reject_limit: float | None, session_gap: float | None) -> LearnConfig:
    """The configuration with the options on the log that were given."""
    return replace(config, log=replaced(config.log, reject_limit=reject_limit, session_gap_s=session_gap))


def with_workers(config: LearnConfig, asked: int | None, logs: list[Path]) -> LearnConfig:
    """The configuration with the processes asked for, or the usual ones, but no more than the logs are worth."""
    size = sum(file.stat().st_size for log in logs for file in _files(log))
    useful = max(1, math.ceil(size / BYTES_A_WORKER))
    workers = min(asked or min(os.cpu_count() or 1, WORKERS_UNASKED), useful)
    return replace(config, resources=replace(config.resources, workers=workers))


def _files(log: Path) -> list[Path]:
    inside = list(log.iterdir()) if log.is_dir() else [log]
    return [file for file in inside if file.is_file()]
