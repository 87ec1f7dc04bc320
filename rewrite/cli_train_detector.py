"""Training on the command line: `rewrite train-detector`."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from rewrite.cli_check import Json, Logs, RejectLimit, SessionGap, replaced
from rewrite.cli_words import reject_in_words
from rewrite.console import ConsoleProgress, counted, facts_table, print_json, say, stdout, warn
from rewrite.errors import ConfigError
from rewrite.progress import Progress, Stage

if TYPE_CHECKING:
    from rewrite.training_logs import ReadTraining

#: What training imports; the extra has them all.
LIBRARIES = ("torch", "transformers", "datasets", "tokenizers", "lightgbm", "onnx", "onnxscript", "onnxruntime")
INSTALL = 'pip install "reprise-rewrite[train]"'


def train_detector(
    logs: Logs,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The detector to make, or to replace when done.")
    ],
    development: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LOG",
            help="Not learned from: sets the threshold and the calibration. May be given more than once.",
            show_default="a share of each LOG's users",
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option(metavar="packaged|ID|PATH", help="The pretrained BERT: packaged MiniLM, a Hub id, a folder.")
    ] = "packaged",
    layers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Layers of the encoder to keep: fewer are faster.", show_default="all"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Times that all windows are seen.", show_default="2")
    ] = None,
    max_windows: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Windows of each log, at most.", show_default="6000")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of whatever is drawn at random.")] = 0,
    session_gap: SessionGap = None,
    reject_limit: RejectLimit = None,
    json: Json = False,
) -> None:
    """Train a detector of rephrases from logs, for `rewrite learn --detector`.

    Each LOG counts alike, however long. Annotations (gold.rephrase_of) are learned from where a log has them; where it
    has none, several signs that agree take their place. Needs the libraries of the extra "train", and no GPU.

    The detector is a folder of its own, and is put in its place in one step. Killed or interrupted, the same command
    goes on after the last whole epoch.

    Example:  [bold]rewrite train-detector dialogues.jsonl logs/ --out detector[/bold]

    Example:  [bold]rewrite train-detector train.jsonl --development dev.jsonl --out detector --layers 4[/bold]
    """
    need(LIBRARIES)
    from rephrase_detection.training import Recipe, train_detector
    from rewrite.config import LearnConfig
    from rewrite.detectors import digest_of, refuse_no_detector
    from rewrite.models import resolve_model
    from rewrite.publish import locked
    from rewrite.training_logs import read_training

    recipe: Recipe = replaced(Recipe(), seed=seed, layers=layers, epochs=epochs, max_windows=max_windows)
    if session_gap is not None and not session_gap > 0:
        raise ConfigError(f"--session-gap {session_gap} came: seconds above 0 are wanted")
    refuse_no_detector(out)
    progress, limit = ConsoleProgress(), LearnConfig().log.reject_limit if reject_limit is None else reject_limit
    with locked(out, "train"):
        with progress.stage("finding the encoder"):
            folder = resolve_model(encoder).path
        read = read_training([*logs, *(development or [])], session_gap, limit, progress)
        _tell_read(read)
        learned, held = ([each.log for each in part] for part in (read[: len(logs)], read[len(logs) :]))
        with libraries_at_work(), Telling(progress) as told:
            metrics = train_detector(learned, out, encoder=folder, development=held, recipe=recipe, told=told)
    if json:
        print_json({"detector": str(out), "digest": digest_of(out), "metrics": metrics, "logs": _log_documents(read)})
        return
    console = stdout()
    for title, rows in sections(metrics):
        console.print(f"\n{title}", style="bold")
        console.print(facts_table(rows))
    say(console, f"\nNext: rewrite learn LOG --out BUNDLE --detector {out}", "bold")


# What training needs


def need(libraries: Sequence[str]) -> None:
    """Raises ConfigError with the line to type where a library is missing."""
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        raise ConfigError(f"training needs {', '.join(missing)}, which {_are(missing)} not installed: {INSTALL}")


@contextmanager
def libraries_at_work() -> Iterator[None]:
    """Without what libraries say of themselves, as that a layer is left out on purpose, and with `need`'s error for
    one that is only found to be missing when it is imported.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise ConfigError(f"training needs a library that cannot be imported ({error}): {INSTALL}") from error


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


# What it tells meanwhile


class Telling:
    """Shows the stages of a training one after the other: a call names the stage, what is done, and all there is."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage: Stage | None = None

    def __enter__(self) -> Self:
        return self

    def __call__(self, name: str, done: int, total: int) -> None:
        if self._stage is None or self._stage.name != name:
            self.__exit__(None, None, None)
            self._stage = self._progress.stage(name, total).__enter__()
        self._stage.at(done)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stage, self._stage = self._stage, None
        if stage is not None:
            stage.__exit__(kind, error, trace)


def _tell_read(read: Sequence[ReadTraining]) -> None:
    """Warnings of bad records."""
    for each in read:
        report, reasons = each.report, ", ".join(map(reject_in_words, each.report.rejected))
        if report.rejected_records:
            bad = f"{counted(report.rejected_records, 'record')} of {report.records:,} left out"
            warn(f"{each.log.name}: {bad} ({reasons}). `rewrite check` shows them.")


def _log_documents(read: Sequence[ReadTraining]) -> list[dict[str, Any]]:
    return [
        {
            "log": each.log.name,
            "records": each.report.records,
            "rejected": dict(each.report.rejected),
            "turns": each.report.accepted,
            "sessions": len(each.log.sessions),
            "session_gap_s": each.boundary.seconds,
            "session_gap_method": each.boundary.method.value,
        }
        for each in read
    ]


# What came of it


def sections(metrics: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Metrics in tables: a title, and names with values; what has no title of its own comes first."""
    plain = [(_words(name), _figure(value)) for name, value in metrics.items() if not isinstance(value, Mapping)]
    nested = [
        (_words(name), [(_words(each), _figure(figure)) for each, figure in value.items()])
        for name, value in metrics.items()
        if isinstance(value, Mapping)
    ]
    return [("Detector", plain), *nested] if plain else nested


def _words(name: str) -> str:
    """The name in words; that of a file is left as it is."""
    return name if "/" in name or "." in name else name.replace("_", " ")


def _figure(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(name)} {_figure(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_figure, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "none" if value is None else str(value)
