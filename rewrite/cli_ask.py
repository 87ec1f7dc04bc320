"""The commands that ask a bundle: `rewrite query` and `rewrite batch`."""

from __future__ import annotations

import json as json_format
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from rewrite.cli_words import ACTIONS, REASONS, reject_in_words
from rewrite.console import ConsoleProgress, counted, facts_table, legible, percent, print_json, stdout, warn
from rewrite.errors import ConfigError

if TYPE_CHECKING:
    from rewrite.cli_batch import BatchSummary
    from rewrite.decision import Decision
    from rewrite.engine import RewriteEngine

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder made by `rewrite learn`.")]
Explore = Annotated[
    float,
    typer.Option(metavar="SHARE", min=0.0, max=0.5, help="Of requests for which a known rewrite is held back."),
]
Trial = Annotated[
    float, typer.Option(metavar="SHARE", min=0.0, max=1.0, help="Of requests that get a rewrite on trial, at most.")
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Of what --explore and --trial draw.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def query(
    bundle: BundlePath,
    text: Annotated[list[str], typer.Argument(metavar="TEXT", help="What the user said; quotes may be left out.")],
    user: Annotated[str | None, typer.Option(metavar="ID", help="Who said it: their own history is used.")] = None,
    context: Annotated[
        str | None, typer.Option(metavar="JSON", help='The turn\'s context, as in a log: \'{"device_type": "car"}\'.')
    ] = None,
    asr_confidence: Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0.0, max=1.0, help="How sure the recogniser was of the text."),
    ] = None,
    explore: Explore = 0.0,
    trial: Trial = 0.0,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """What would be done with one request, and why?

    Example:  [bold]rewrite query bundle "play maj and dragons" --user u7[/bold]
    """
    said = encodable(" ".join(text))
    engine = _engine(bundle, explore, trial, seed)
    decision = engine.rewrite(said, user, _context(context), asr_confidence=asr_confidence)
    if json:
        print_json(decision.as_dict())
    else:
        _print_decision(decision)


def batch(
    bundle: BundlePath,
    log: Annotated[Path, typer.Argument(metavar="IN", help="A log, or a folder of them.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="JSON Lines to write; gzipped where it ends in .gz.")],
    json: Json = False,
) -> None:
    """Decide every turn of a log, in order.

    Each record of IN goes to OUT with one more field, `decision`. A turn that was rewritten before is decided by what
    its user said, and by what the recogniser heard. A bad record is kept, with the reason in `error` and no decision.

    Killed or interrupted, the same command goes on where it was.

    Example:  [bold]rewrite batch bundle log.jsonl.gz decided.jsonl.gz[/bold]
    """
    from rewrite.cli_batch import decide_log

    summary = decide_log(_engine(bundle), log, out, ConsoleProgress())
    if json:
        print_json(_batch_document(summary))
    else:
        _print_batch(summary)
    if not summary.tally.records:
        warn(f"{log} holds no records; {out} is empty")


def encodable(text: str) -> str:
    """The text, unless the terminal gave bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"the text {legible(text)!r} is not UTF-8: check the terminal's encoding") from error
    return text


def _engine(bundle: Path, explore: float = 0.0, trial: float = 0.0, seed: int | None = None) -> RewriteEngine:
    from rewrite.engine import EngineConfig, RewriteEngine

    patient = math.inf  # nobody waits for a few milliseconds
    config = EngineConfig(deadline_s=patient, explore=explore, trial=trial, seed=seed)
    return RewriteEngine.load(bundle, config=config)


_CONTEXT_WANTED = """an object such as '{"device_type": "car"}' is wanted"""


def _context(given: str | None) -> dict[str, Any] | None:
    if given is None:
        return None
    try:
        context = json_format.loads(given)
    except ValueError as error:
        raise ConfigError(f"--context is not JSON ({error}): {_CONTEXT_WANTED}") from error
    if not isinstance(context, dict):
        raise ConfigError(f"--context is {legible(given)}: {_CONTEXT_WANTED}")
    return context


def _print_decision(decision: Decision) -> None:
    console = stdout()
    console.print(Text(legible(decision.original) or "(nothing)", style="dim"))
    if decision.text != decision.original:
        console.print(Text.assemble("→ ", (legible(decision.text), "bold")))
    console.print(Text(f"\n{ACTIONS[decision.action]}: {REASONS[decision.reason]}."))
    facts = _decision_facts(decision)
    if facts:
        console.print(facts_table(facts))


def _decision_facts(decision: Decision) -> list[tuple[str, str]]:
    facts = []
    if decision.score is not None:
        facts.append(("Works with", f"probability {percent(decision.score)}"))
    if decision.margin is not None:
        facts.append(("Surely better by", f"{100 * decision.margin:.0f} points than left alone"))
    facts += [(_EVIDENCE.get(name, name), _evidence(name, value)) for name, value in decision.evidence.items()]
    facts += [("Also near", f"{legible(each.text)}  ({each.score})") for each in decision.alternatives]
    if decision.propensity < 1.0:
        facts.append(("Done with", f"probability {percent(decision.propensity)}: the engine explores"))
    if decision.rewrite_id is not None:
        facts.append(("Rewrite", decision.rewrite_id))
    return facts


_EVIDENCE = {
    "users": "Corrected by",
    "alone": "Left alone, works",
    "success": "Works so far",
    "times": "Corrected so",
    "own": "Known from",
    "similarity": "Likeness",
    "lead": "Nearer than the next by",
    "fault": "Fault",
}


def _evidence(name: str, value: Any) -> str:
    if name == "users":
        return counted(value, "user")
    if name in ("alone", "success"):
        return f"{percent(value)} of the time"
    if name == "times":
        return counted(value, "time")
    if name == "own":
        return "this user's own requests" if value else "everyone's requests"
    return legible(str(value))


def _batch_document(summary: BatchSummary) -> dict[str, Any]:
    tally = summary.tally
    return {
        "out": str(summary.out),
        "records": tally.records,
        "resumed_after": summary.resumed_after,
        "actions": dict(tally.actions),
        "reasons": dict(tally.reasons.most_common()),
        "bad": dict(tally.bad.most_common()),
    }


def _print_batch(summary: BatchSummary) -> None:
    tally = summary.tally
    resumed = f"; {summary.resumed_after:,} were there from before" if summary.resumed_after else ""
    facts = [("Decided", f"{counted(tally.records, 'record')}, in {summary.out}{resumed}")]
    facts += [(ACTIONS[action], _of(number, tally.records)) for action, number in tally.actions.most_common()]
    facts += [("", f"{number:,}: {REASONS[reason]}") for reason, number in tally.reasons.most_common()]
    if tally.bad:
        facts.append(("Bad records", _of(tally.bad.total(), tally.records)))
        facts += [("", f"{number:,}: {reject_in_words(reason)}") for reason, number in tally.bad.most_common()]
    stdout().print(facts_table(facts))


def _of(number: int, whole: int) -> str:
    return f"{number:,} ({percent(number / whole)})"
