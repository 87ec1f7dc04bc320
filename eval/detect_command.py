"""`python -m eval detect`: how well a detector finds rephrases in annotated dialogues, from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dialogue.errors import DialogueError
from dialogue.reader import LogReader, read_log
from eval.detect import compare, judge
from eval.detect_answer import Answer, unmeasured
from eval.detection import Credit
from eval.errors import CaseError, EvalError
from eval.rephrases import Dialogues, predict, read_dialogues, truth_of, write_predictions
from rephrase_detection import LexicalDetector, RephraseDetector
from rephrase_detection.errors import DetectorError

WRONG_USAGE, BAD_DIALOGUES, BAD_DETECTOR, STOPPED = 2, 3, 4, 130

told = Console(stderr=True)


def command(
    dialogues: Annotated[
        list[Path], typer.Argument(help="Annotated logs: .jsonl, .jsonl.gz or .parquet, or folders of them.")
    ],
    detector: Annotated[
        str, typer.Option(help="lexical, or the folder of a trained detector.", show_default=False)
    ],
    against: Annotated[str | None, typer.Option(help="Another detector, for the same dialogues.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write what the detector says of every turn to this .jsonl file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON document.")] = False,
    session_gap: Annotated[
        float | None,
        typer.Option(help="Seconds of silence that end a session, for turns without session_id; none if not given."),
    ] = None,
    reach: Annotated[
        int, typer.Option(min=1, help="A source has no rephrase where so many turns after it are annotated.")
    ] = 1,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="From which probability on a link is made; the detector's own if not given."
        ),
    ] = None,
    credit: Annotated[
        Credit, typer.Option(help="What is right: the turn that gold names, or only that there is one.")
    ] = Credit.TURN,
    seed: Annotated[int, typer.Option(min=0, help="Of intervals by resampling.")] = 0,
) -> None:
    """Asks a detector for the rephrase of every turn, and says how it did against gold.rephrase_of.

    A turn that a later one names in gold.rephrase_of has a rephrase; it has none where the turns after it are
    annotated and none names it. Other turns are not measured. Intervals are at 95 % and draw whole users, or whole
    sessions where there are fewer than 20 users. With --against, the differences are this detector's less the
    other's over the same draws; the other's threshold is its own.

    --predictions has a line for each turn in the order of the log: source, rephrase (null below the threshold),
    probability that there is a rephrase, kind. It is also written where nothing is annotated.

    Ends with 0 when the figures are made, whatever they say; 2 for wrong usage, 3 for dialogues that cannot be used
    and 4 for a detector that cannot.

    Example: python -m eval detect dialogues.jsonl --detector lexical --predictions found.jsonl
    """
    with _explained():
        _refuse(predictions, dialogues)
        names = [name for name in (detector, against) if name is not None]
        detectors = [load(name) for name in names]
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=told, transient=True, disable=not told.is_terminal) as bars:
            read = _read(dialogues, session_gap, bars)
            truth = truth_of(read.sessions, reach)
            if (fault := unmeasured(truth)) and not predictions:
                raise CaseError(f"{fault}; --predictions writes what the detector says all the same")
            bar = bars.add_task("detecting", total=len(read.turns))
            links = predict(read.sessions, *detectors, told=lambda turns: bars.advance(bar, turns))
            thresholds = [each.threshold for each in detectors]
            thresholds[0] = thresholds[0] if threshold is None else threshold
            if predictions:
                write_predictions(predictions, read, links[0], thresholds[0])
            bars.add_task("resampling", total=None)
            answer = Answer(read, truth)
            if not fault:
                pairs = zip(names, links, thresholds, strict=True)
                figures = [(name, judge(truth, of, threshold=at, credit=credit, seed=seed)) for name, of, at in pairs]
                answer = replace(answer, figures=tuple(figures))
            if against is not None and not fault:
                pair = (thresholds[0], thresholds[1])
                less = compare(truth, *links, thresholds=pair, credit=credit, seed=seed)
                answer = replace(answer, difference=less)
        _show(answer, as_json)
        if predictions:
            told.print(f"The predictions are in {escape(str(predictions))}", soft_wrap=True)


def _refuse(predictions: Path | None, dialogues: list[Path]) -> None:
    if predictions and any(predictions.resolve().is_relative_to(path.resolve()) for path in dialogues):
        raise ValueError(f"--predictions {predictions} is one of the dialogues, or among them: name another file")
    if predictions and predictions.is_dir():
        raise ValueError(f"--predictions {predictions} is a folder: name a file")


def load(name: str) -> RephraseDetector:
    """The detector of a name or folder; DetectorError where there is none."""
    if name == "lexical":
        return LexicalDetector()
    from rephrase_detection.loading import load_detector

    return load_detector(name)


def _read(paths: list[Path], session_gap: float | None, bars: Progress) -> Dialogues:
    log = read_log(paths, limit=0.0, keep_gold=True)
    bar = bars.add_task("reading", total=log.bytes_total)

    def tell(reader: LogReader) -> None:
        bars.update(bar, completed=reader.bytes_read)

    return read_dialogues(log, session_gap, tell)


def _show(answer: Answer, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer.as_dict(), indent=1, ensure_ascii=False, allow_nan=False))
        return
    console = Console(highlight=False)
    for table in answer.tables():
        console.print(table)
    for line in answer.says():
        console.print(escape(line), soft_wrap=True)


@contextmanager
def _explained() -> Iterator[None]:
    """Errors that a user can mend end the program with a message and a code, without a traceback."""

    def end(what: str, error: BaseException, code: int) -> typer.Exit:
        told.print(f"[red]{what}:[/red] {escape(str(error))}", soft_wrap=True)
        return typer.Exit(code)

    try:
        yield
    except DetectorError as error:
        raise end("The detector cannot be used", error, BAD_DETECTOR) from error
    except (EvalError, DialogueError) as error:
        raise end("The dialogues cannot be used", error, BAD_DIALOGUES) from error
    except ValueError as error:
        raise end("This cannot be asked", error, WRONG_USAGE) from error
    except OSError as error:
        raise end("A file cannot be read or written", error, WRONG_USAGE) from error
    except KeyboardInterrupt as error:
        told.print("Stopped: no figures, and no half of a file.")
        raise typer.Exit(STOPPED) from error
