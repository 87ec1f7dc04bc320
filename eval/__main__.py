"""`python -m eval`: the command line of the judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dialogue.errors import DialogueError
from eval.cases import read_cases
from eval.errors import EvalError
from eval.report import Report
from eval.run import EXAMPLES
from eval.run import run as judge_all
from eval.verdict import LOSSES, Judged, Verdict
from rewrite import BundleError, RewriteEngine

BAD_CASES, BAD_BUNDLE = 3, 4

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console, told = Console(), Console(stderr=True)


@app.callback()
def main() -> None:
    """Judges a bundle: does it help, does it harm, and how sure is that?"""


@app.command()
def run(
    bundle: Annotated[Path, typer.Argument(help="A bundle made by `rewrite learn`.")],
    cases: Annotated[
        list[Path], typer.Argument(help="Annotated logs: .jsonl, .jsonl.gz or .parquet, or folders of them.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON document.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON document to this file.")] = None,
    errors: Annotated[
        Path | None, typer.Option(help="Write every loss and miss, with the engine's evidence, to this .jsonl file.")
    ] = None,
    limit_losses: Annotated[
        int, typer.Option(min=0, help="Losses, and as many misses, that the report tells in full.")
    ] = EXAMPLES,
) -> None:
    """Puts every annotated turn to a bundle and says how it did.

    gold.rewrite of a turn says what is wanted: a list of texts that a correct rewrite may have (an opportunity), or an
    empty list where the turn must be left alone (a guardrail). Turns without it are not measured.

    A win is an opportunity rewritten to an accepted text. A loss is a guardrail that was rewritten, or an opportunity
    rewritten to anything else. Wins : losses comes with a Jeffreys interval, which holds where no loss was seen too.

    Ends with 0 when the report is made, whatever it says; 2 for wrong usage, 3 for cases that cannot be used and 4
    for a bundle that cannot.

    Example: python -m eval run bundle fixtures/cases.jsonl --errors errors.jsonl
    """
    with _explained():
        report = _judge(bundle, cases, errors, limit_losses)
    if as_json:
        print(report.as_json())
    else:
        for table in report.tables():
            console.print(table)
    if out:
        out.write_text(report.as_json() + "\n", encoding="utf-8")


def _judge(bundle: Path, paths: list[Path], errors: Path | None, limit: int) -> Report:
    engine, cases = RewriteEngine.load(bundle), read_cases(paths)
    columns = (TextColumn("judging"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        file = stack.enter_context(open(errors, "w", encoding="utf-8", newline="\n")) if errors else None
        progress = Progress(*columns, console=told, transient=True, disable=not told.is_terminal)
        bar = stack.enter_context(progress).add_task("judging", total=cases.log.bytes_total)

        def hear(judged: Judged) -> None:
            progress.update(bar, completed=cases.log.bytes_read)
            if file and judged.verdict in (*LOSSES, Verdict.MISSED):
                file.write(json.dumps(judged.as_dict(), ensure_ascii=False) + "\n")

        return judge_all(engine, cases, examples=limit, told=hear)


@contextmanager
def _explained() -> Iterator[None]:
    """Errors that a user can mend end the program with a message and a code, without a traceback."""
    try:
        yield
    except (EvalError, DialogueError) as error:
        told.print(f"[red]The cases cannot be used:[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(BAD_CASES) from error
    except BundleError as error:
        told.print(f"[red]The bundle cannot be used:[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(BAD_BUNDLE) from error


if __name__ == "__main__":
    app(prog_name="python -m eval")
