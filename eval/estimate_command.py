"""`python -m eval estimate`: what a new bundle would have done, from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from dialogue.errors import DialogueError
from eval.counterfactual import Evaluation
from eval.errors import EvalError
from eval.estimate import estimate
from rewrite import BundleError

WRONG_USAGE, BAD_LOG, BAD_BUNDLE = 2, 3, 4


def command(
    new: Annotated[Path, typer.Argument(help="The bundle that might be shipped.")],
    logs: Annotated[list[Path], typer.Argument(help="Logs: .jsonl, .jsonl.gz or .parquet, or folders of them.")],
    logged_by: Annotated[Path, typer.Option(help="The bundle that served these logs, as it then was.")],
    holdback: Annotated[
        float, typer.Option(help="The share of its rewrites that was withheld at random, such as 0.1.")
    ],
    session_gap: Annotated[
        float | None, typer.Option(help="Seconds of silence that end a session; from the log if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the estimates as one JSON document.")] = False,
    seed: Annotated[int, typer.Option(help="Of intervals by resampling.")] = 0,
) -> None:
    """Estimates the success and defect rate of a new bundle from the log of an old one, before it is shipped.

    The old bundle must have withheld a share of its rewrites at random, and logged served.propensity with those that
    it made: 1 less the holdback. So the log shows what comes of a request with and without the rewrite, and a bundle
    that drops some rewrites, or keeps them all, can be judged from it. Rewrites that the old bundle never made were
    never tried: no log can tell what comes of them. Those turns are left out, counted, and bounded.

    Three estimators: ips is unbiased and noisy, snips a little biased and quieter, doubly robust also uses a model of
    the reward and is the quietest. Where they disagree by more than their intervals, believe none. A success is judged
    by what the log lets one observe. Intervals are at 95 % and by user.

    Ends with 0 when the estimates are made, whatever they say; 2 for wrong usage, 3 for logs that cannot be used or
    were not served in that way, and 4 for a bundle that cannot be used.

    Example: python -m eval estimate build/new logs/may --logged-by build/old --holdback 0.1
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    said = Console(stderr=True)
    columns = (TextColumn("reading"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with _explained(), Progress(*columns, console=said, transient=True, disable=not said.is_terminal) as bars:
        bar = bars.add_task("reading")
        found = estimate(
            new, logs, logged_by=logged_by, holdback=holdback, session_gap_s=session_gap,
            evaluation=Evaluation(seed=seed),
            told=lambda reader: bars.update(bar, total=reader.bytes_total, completed=reader.bytes_read),
        )  # fmt: skip
    if as_json:
        print(json.dumps(found.as_dict(), indent=1, allow_nan=False))
        return
    console = Console()
    for table in found.tables():
        console.print(table)
    if found.says:
        console.print(escape(found.says), soft_wrap=True)


@contextmanager
def _explained() -> Iterator[None]:
    """Errors that a user can mend end the program with a message and a code, without a traceback."""
    from rich.console import Console
    from rich.markup import escape

    def end(what: str, error: Exception, code: int) -> typer.Exit:
        Console(stderr=True).print(f"[red]{what}:[/red] {escape(str(error))}", soft_wrap=True)
        return typer.Exit(code)

    try:
        yield
    except ValueError as error:
        raise end("This cannot be asked", error, WRONG_USAGE) from error
    except (EvalError, DialogueError) as error:
        raise end("The log cannot be used", error, BAD_LOG) from error
    except BundleError as error:
        raise end("The bundle cannot be used", error, BAD_BUNDLE) from error
