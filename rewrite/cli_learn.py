"""The mining job on the command line: `rewrite learn`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli_check import (
    Json,
    Logs,
    RejectLimit,
    SessionGap,
    facts_in_words,
    replaced,
    with_log_options,
    with_workers,
)
from rewrite.cli_words import VERDICTS
from rewrite.console import ConsoleProgress, counted, duration, facts_table, print_json, say, stdout, warn

if TYPE_CHECKING:
    from rewrite.config import LearnConfig
    from rewrite.detectors import Detection
    from rewrite.facts import Summary


def learn(
    logs: Logs,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="BUNDLE", help="The bundle to make, or to replace when done.")
    ],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Parameters in a TOML or JSON file; options given here beat it.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Kept with the bundle; the job draws nothing at random.", show_default="0"),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(metavar="BUNDLE", help="An earlier bundle that learns on: give the new logs alone."),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="span|lexical|DIR",
            help="What finds rephrases: the folder of a trained detector, the span detector that --previous or the old"
            " BUNDLE carries, or the lexical one.",
            show_default="that of --previous, else lexical",
        ),
    ] = None,
    retriever: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder of a trained retriever, which proposes rewrites of requests that no table has seen.",
            show_default="that of --previous, else none",
        ),
    ] = None,
    min_users: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Distinct users that a rewrite needs.", show_default="5")
    ] = None,
    half_life: Annotated[
        float | None,
        typer.Option(metavar="DAYS", min=0.01, help="Age at which a turn counts half.", show_default="90"),
    ] = None,
    reject_limit: RejectLimit = None,
    session_gap: SessionGap = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Processes, some 300 MB each; a small log gets fewer.", show_default="up to 2"
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads of the database.", show_default="2")
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory of the database; more goes to disk.", show_default="1GB"),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live/--no-live",
            help="Take in what engines observed: the live history beside --previous, else beside the old BUNDLE.",
        ),
    ] = True,
    json: Json = False,
) -> None:
    """Learn rewrites from logs, into a bundle.

    The bundle is published in one step, in place of an old one. Killed or interrupted, the old one is whole, and the
    same command goes on where it was.

    With --previous, what an earlier bundle counted ages and is added to, with its parameters unless --config gives
    others: give the logs since then. Turns that it counted are found and left out, so that logs may overlap. BUNDLE may
    be the same in both options.

    The bundle carries the trained detector that it was learned with, so that --previous goes on with it.

    Example:  [bold]rewrite learn logs/ --out bundle --config learn.toml[/bold]

    Example:  [bold]rewrite learn today.jsonl.gz --out bundle --previous bundle[/bold]

    Example:  [bold]rewrite learn logs/ --out bundle --detector detector --retriever retriever[/bold]
    """
    from rewrite.dense_writing import opened
    from rewrite.detectors import named
    from rewrite.job import learn as learn_log

    chosen = with_log_options(_parameters(config, previous), reject_limit, session_gap)
    chosen = replace(chosen, seed=chosen.seed if seed is None else seed)
    chosen = replace(chosen, gate=replaced(chosen.gate, min_users=min_users))
    chosen = replace(chosen, decay=replaced(chosen.decay, half_life_days=half_life))
    chosen = replace(chosen, resources=replaced(chosen.resources, threads=threads, memory_limit=memory_limit))
    if workers is not None or config is None:
        chosen = with_workers(chosen, workers, logs)
    found = None if detector is None else named(detector, previous, out)
    proposing = None if retriever is None else opened(retriever)
    told = ConsoleProgress()
    summary = learn_log(logs, out, config=chosen, previous=previous, detector=found, progress=told, live=live,
                        retriever=proposing)
    if json:
        print_json(_learn_document(summary))
    else:
        _print_learned(summary, chosen)


def _parameters(config: Path | None, previous: Path | None) -> LearnConfig:
    """Those of the file; without one, those that the earlier bundle was learned with, but for what the job may use."""
    from rewrite.bundle import Bundle
    from rewrite.config import LearnConfig

    if config is not None:
        return LearnConfig.from_file(config)
    if previous is None:
        return LearnConfig()
    earlier = LearnConfig.from_parameters(Bundle.open(previous).manifest.parameters)
    return replace(earlier, resources=LearnConfig().resources)


def _learn_document(summary: Summary) -> dict[str, Any]:
    return {
        "bundle": str(summary.out),
        "log": summary.log.as_dict(),
        "counts": dict(summary.counts),
        "verdicts": dict(summary.verdicts),
        "detector": summary.detection.as_dict(),
        "rejects_file": summary.log.report.rejects_path,
    }


def _print_learned(summary: Summary, config: LearnConfig) -> None:
    console, counts = stdout(), summary.counts
    told = facts_in_words(summary.log, summary.log.report.rejects_path) + _detection_in_words(summary.detection)
    judged = sum(summary.verdicts.values())
    told += [
        ("Judged", counted(judged, "pair of a request and a rewrite", "pairs of a request and a rewrite")),
        *[("", f"{n:,} {VERDICTS[reason]}") for reason, n in _most_first(summary.verdicts)],
    ]
    known = f"{counts['known_good']:,} of {counted(counts['requests'], 'request')} known to work"
    told.append(("Learned", f"{counted(counts['rewrites'], 'rewrite')} for everyone; {known}"))
    if counts["trials"] or counts["suspensions"]:
        told.append(("", f"{counted(counts['trials'], 'rewrite')} on trial, {counts['suspensions']:,} suspended"))
    own = f"{counted(counts['corrections'], 'correction')} and {counted(counts['histories'], 'request')} of users' own"
    told.append(("", own))
    console.print(facts_table(told))
    if not counts["rewrites"]:
        warn(_why_none(summary, config))
    say(console, f"\nNext: rewrite show {_named(summary.out)}", "bold")


def _detection_in_words(detection: Detection) -> list[tuple[str, str]]:
    """Which detector found the rephrases; of a trained one also how fast, where that is known."""
    told = [("Rephrases", f"found by the {detection.name} detector {detection.digest or ''}".rstrip())]
    if detection.digest is None or not detection.seconds:
        return told
    turns = f"{counted(detection.turns, 'turn')} judged in {duration(detection.seconds)}"
    speed = f"{turns}, {detection.turns_per_second:,.0f} a second"
    if detection.windows is not None:
        windows = f"{counted(detection.windows, 'window')} read, {detection.windows_per_second:,.0f} a second"
        speed = f"{speed}; {windows}"
    return [*told, ("", speed)]


def _most_first(verdicts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(verdicts.items(), key=lambda item: (item[0] != "kept", -item[1], item[0]))


def _why_none(summary: Summary, config: LearnConfig) -> str:
    """Why no rewrite was kept, and what to do about it."""
    needed, users = config.gate.min_users, summary.counts["users"]
    if users < needed:
        return (
            f"no rewrite was kept: the log has {counted(users, 'user')}, and a rewrite needs {needed} that said the"
            f" same. A longer log is best; --min-users {max(1, min(2, users))} accepts fewer."
        )
    if not summary.log.rephrased:
        return "no rewrite was kept: no failing turn was said again. `rewrite check` shows what is in the log."
    if not summary.verdicts or set(summary.verdicts) == {"too_few_users"}:
        return (
            f"no rewrite was kept: no request was said again in the same way by {needed} users. A longer log is best;"
            f" --min-users N accepts fewer than {needed}."
        )
    return f"no rewrite was kept. `rewrite show {_named(summary.out)} --candidates` shows what was judged, and why."


def _named(bundle: Path) -> str:
    """The bundle as a person would type it."""
    try:
        return str(bundle.relative_to(Path.cwd()))
    except ValueError:
        return str(bundle)
