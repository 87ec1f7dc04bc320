"""`python -m eval run`: puts annotated turns to a bundle, and writes what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dialogue.errors import DialogueError
from eval.baselines.ladder import Ladder
from eval.cases import Judging, read_cases
from eval.errors import EvalError, FieldError, GateError, JudgeError
from eval.gate import Gate
from eval.judges import FrameJudge, Judge, RecordedNlu, TextJudge, load_interpreter
from eval.known import Known
from eval.report.document import EXAMPLES, Report
from eval.report.files import ERRORS, errors_file, write_report
from eval.run import run as judge_all
from eval.slices import Field, named_fields, usual_fields
from eval.verdict import Judged
from rewrite import BundleError, RewriteEngine

GATE_BROKEN, WRONG_USAGE, BAD_CASES, BAD_BUNDLE, STOPPED = 1, 2, 3, 4, 130

told = Console(stderr=True)


class JudgeBy(StrEnum):
    """The ways of judging that a command line can ask for."""

    TEXTS = "texts"
    FRAMES = "frames"


def run(
    bundle: Annotated[Path, typer.Argument(help="A bundle made by `rewrite learn`.")],
    cases: Annotated[
        list[Path], typer.Argument(help="Annotated logs: .jsonl, .jsonl.gz or .parquet, or folders of them.")
    ],
    against: Annotated[Path | None, typer.Option(help="Another bundle, for the same cases.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the report into this folder: index.html, metrics.json, errors.jsonl, summary.md. A name that"
            " ends in .json gets the JSON document only."
        ),
    ] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also judge simpler engines.")] = False,
    gate: Annotated[Path | None, typer.Option(help="A TOML file of bounds; ends with 1 where one is broken.")] = None,
    slices: Annotated[
        list[str] | None, typer.Option("--slice", help="Part the cases by this field too, such as context.locale.")
    ] = None,
    judge: Annotated[
        JudgeBy | None, typer.Option(help="By accepted texts, or by interpretation; the latter where an NLU is given.")
    ] = None,
    nlu: Annotated[str | None, typer.Option(help="module:function that gives the dialogue.Nlu of a text.")] = None,
    nlu_log: Annotated[
        list[Path] | None, typer.Option(help="Logs whose recorded interpretations stand for an NLU.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON document.")] = False,
    errors: Annotated[
        Path | None, typer.Option(help="Write every loss and miss, with the engine's evidence, to this .jsonl file.")
    ] = None,
    limit_losses: Annotated[
        int, typer.Option(min=0, help="Losses, and as many misses and wins, that the report tells in full.")
    ] = EXAMPLES,
    seed: Annotated[int, typer.Option(help="Of intervals by resampling, and of which examples are shown.")] = 0,
) -> None:
    """Puts every annotated turn to a bundle and says how it did.

    gold.rewrite of a turn says what is wanted: a list of texts that a correct rewrite may have (an opportunity), or an
    empty list where the turn must be left alone (a guardrail). Turns without it are not measured. With --nlu or
    --nlu-log a turn is judged by gold.frame instead: whether what goes on to NLU is understood as it says.

    A win is an opportunity rewritten to what is right. A loss is a guardrail that was harmed, or an opportunity
    rewritten to anything else. Wins : losses comes with a Jeffreys interval, which holds where no loss was seen too.

    Ends with 0 when the report is made, whatever it says; 1 where a bound of --gate is broken; 2 for wrong usage, 3
    for cases that cannot be used and 4 for a bundle that cannot.

    Example: python -m eval run bundle fixtures/cases.jsonl --baselines --out report
    """
    with _explained():
        bounds = Gate.from_file(gate) if gate else Gate.usual()
        judging = _judge(judge, nlu, nlu_log)
        known = Known.from_bundle(bundle)
        fields = _fields(known, slices or [], bounds)
        engine = RewriteEngine.load(bundle)
        other = RewriteEngine.load(against) if against else None
        known_there = Known.from_bundle(against) if against else None
        ladder = Ladder.from_bundle(bundle) if baselines else None
        reader = read_cases(cases, judging.by)
        folder = out if out and out.suffix != ".json" else None
        paths = [path for path in (errors, folder / ERRORS if folder else None) if path]
        columns = (TextColumn("judging"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with ExitStack() as stack:
            files = [stack.enter_context(errors_file(path)) for path in paths]
            progress = Progress(*columns, console=told, transient=True, disable=not told.is_terminal)
            bar = stack.enter_context(progress).add_task("judging", total=reader.log.bytes_total)

            def hear(judged: Judged) -> None:
                progress.update(bar, completed=reader.log.bytes_read)
                for file in files:
                    file.hear(judged)

            report = judge_all(
                engine, reader, judge=judging, known=known, known_there=known_there, against=other, ladder=ladder,
                fields=fields, examples=limit_losses, seed=seed, told=hear,
                names=_names(bundle, against),
            )  # fmt: skip
            report = replace(report, gate=bounds)
        _show(report, as_json, out, folder)
    if gate and not _kept(report):
        raise typer.Exit(GATE_BROKEN)


def _show(report: Report, as_json: bool, out: Path | None, folder: Path | None) -> None:
    if as_json:
        print(report.as_json())
    else:
        console = Console()
        for table in report.tables():
            console.print(table)
        console.print(escape(report.answer.says), soft_wrap=True)
    if folder:
        write_report(report, folder)
        told.print(f"The report is in {escape(str(folder / 'index.html'))}", soft_wrap=True)
    elif out:
        out.write_text(report.as_json() + "\n", encoding="utf-8")


def _kept(report: Report) -> bool:
    broken = [check for check in report.checks if not check.held]
    for check in broken:
        told.print(f"[red]Broken:[/red] {escape(check.says)}", soft_wrap=True)
    return not broken


def _fields(known: Known, names: list[str], bounds: Gate) -> tuple[Field, ...]:
    """The usual fields, those that were asked for, and those that the gate speaks of."""
    usual = usual_fields(known)
    asked = [*names, *(bound.part.partition("=")[0] for bound in bounds.bounds if bound.part)]
    there = {field.name for field in usual}
    return (*usual, *named_fields([name for name in dict.fromkeys(asked) if name not in there]))


def _judge(by: JudgeBy | None, nlu: str | None, logs: list[Path] | None) -> Judge:
    if nlu and logs:
        raise typer.BadParameter("--nlu and --nlu-log both came: one interpreter is wanted")
    if by is JudgeBy.FRAMES and not (nlu or logs):
        raise typer.BadParameter(f"judging by {Judging.FRAMES.value} wants an NLU: give --nlu or --nlu-log")
    if by is JudgeBy.TEXTS or not (nlu or logs):
        return TextJudge()
    return FrameJudge(load_interpreter(nlu) if nlu else RecordedNlu.from_logs(logs or []))


def _names(bundle: Path, against: Path | None) -> tuple[str, str]:
    """The names of the folders, with as many folders above them as tell the two apart."""
    here = bundle.resolve().parts
    if against is None:
        return here[-1], "the other"
    there = against.resolve().parts
    deepest = max(len(here), len(there))
    names = (("/".join(here[-many:]), "/".join(there[-many:])) for many in range(1, deepest + 1))
    return next((pair for pair in names if pair[0] != pair[1]), (here[-1], f"{here[-1]} itself"))


@contextmanager
def _explained() -> Iterator[None]:
    """Errors that a user can mend end the program with a message and a code, without a traceback."""
    try:
        yield
    except (FieldError, GateError, JudgeError) as error:
        told.print(f"[red]This cannot be asked:[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(WRONG_USAGE) from error
    except (EvalError, DialogueError) as error:
        told.print(f"[red]The cases cannot be used:[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(BAD_CASES) from error
    except BundleError as error:
        told.print(f"[red]The bundle cannot be used:[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(BAD_BUNDLE) from error
    except KeyboardInterrupt as error:
        told.print("Stopped: no report was written.")
        raise typer.Exit(STOPPED) from error
    except OSError as error:
        told.print(f"[red]The report cannot be written:[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(WRONG_USAGE) from error
