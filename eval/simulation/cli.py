"""`python -m eval simulate`: the command."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from dialogue.errors import DialogueError
from eval.simulation import report
from eval.simulation.arms import Arm, parse_arms
from eval.simulation.errors import SimulationError
from eval.simulation.knobs import Knobs, parse_settings
from eval.simulation.loop import Progress, Result
from eval.simulation.loop import simulate as run
from eval.simulation.population import Population
from rephrase_detection import RephraseDetector
from rephrase_detection.errors import DetectorError
from rephrase_detection.loading import load_detector
from rewrite import RewriteError

WRONG_USE, BAD_BUNDLE = 2, 4


def simulate(
    attempts: Annotated[
        Path | None, typer.Option(help="Recorded attempts (JSON Lines: goal_id, text, nlu, gold.frame, gold.success).")
    ] = None,
    fixtures: Annotated[bool, typer.Option("--fixtures", help="The small built-in population instead.")] = False,
    turns: Annotated[int | None, typer.Option(help="Turns in all rounds together.")] = None,
    users: Annotated[int | None, typer.Option(help="Customers, over all arms.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds; the engine learns after each.")] = None,
    arms: Annotated[str, typer.Option(help="Arms of the trial, of: " + ", ".join(Arm))] = ",".join(Arm),
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same log, byte for byte.")] = 0,
    detector: Annotated[
        str | None, typer.Option(help="What finds rephrases in the log: lexical, or the folder of a trained detector.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Turns a knob; may come many times.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Keep logs, truth, bundles and results here; finished rounds are not run again.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON document.")] = False,
    list_knobs: Annotated[bool, typer.Option("--list-knobs", help="Show every knob, and end.")] = False,
) -> None:
    """Lets simulated customers talk to an assistant whose engine learns from its own log, and says what it did to them.

    Customers are assigned to arms at random. What was heard, and whether it was understood, are real recordings; who
    says what and when follows the knobs. What would have happened without each rewrite is known.

    Ends with 0 when the results are there, whatever they say; 2 for wrong usage or attempts that cannot be used, and 4
    where the engine could not learn or be loaded.

    Example: python -m eval simulate --fixtures --turns 20000 --set habit=0.7
    """
    if list_knobs:
        Console().print(report.knob_table())
        return
    told = Console(stderr=True)
    given = {"turns": turns, "users": users, "rounds": rounds}
    try:
        asked = {name: float(value) for name, value in given.items() if value is not None}
        knobs = Knobs().having(**(parse_settings(settings or []) | asked))
        chosen, population = parse_arms(arms), _population(attempts, fixtures)
        with TemporaryDirectory(prefix="reprise-simulation-") as scratch:
            finder = load_detector(detector) if detector else None
            result = _run(population, out or Path(scratch) / "out", knobs, chosen, seed, finder, told)
            if out:
                report.write(result, out)
    except (SimulationError, DetectorError) as error:
        told.print(f"[red]No simulation:[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(WRONG_USE) from error
    except (RewriteError, DialogueError) as error:
        told.print(f"[red]The engine could not learn:[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(BAD_BUNDLE) from error
    if as_json:
        print(json.dumps(report.as_dict(result), indent=1, allow_nan=False))
    else:
        for table in report.tables(result):
            Console().print(table)


def _population(attempts: Path | None, fixtures: bool) -> Population:
    if (attempts is None) == (not fixtures):
        raise SimulationError("either --attempts FILE or --fixtures is wanted: where do the recordings come from?")
    return Population.from_file(attempts) if attempts else Population.from_table()


def _run(
    population: Population,
    out: Path,
    knobs: Knobs,
    arms: tuple[Arm, ...],
    seed: int,
    detector: RephraseDetector | None,
    told: Console,
) -> Result:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
    )  # fmt: skip
    with Bars(*columns, console=told, transient=True, disable=not told.is_terminal) as bars:
        bar = bars.add_task("starting", total=knobs.traffic.turns, speed="")
        begun, done = monotonic(), 0

        def turns(more: int) -> None:
            nonlocal done
            done += more
            bars.update(bar, completed=done, speed=f"{done / max(monotonic() - begun, 1e-9):,.0f} turns/s")

        def stage(name: str) -> None:
            bars.update(bar, description=name)

        listener = Progress(turns, stage)
        return run(population, out, knobs=knobs, arms=arms, seed=seed, detector=detector, progress=listener)
