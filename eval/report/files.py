"""The folder of a report: errors.jsonl written as the run goes, the rest at its end, each file whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from eval.report.document import Report
from eval.report.metrics import as_json, metrics
from eval.report.page import page
from eval.report.summary import summary
from eval.verdict import LOSSES, Judged, Verdict

ERRORS = "errors.jsonl"


def write_report(report: Report, folder: Path) -> None:
    """index.html, metrics.json and summary.md."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("metrics.json", as_json(metrics(report)) + "\n"),
        ("summary.md", summary(report)),
        ("index.html", page(report)),
    ):
        part = folder / (name + ".part")
        part.write_text(text, encoding="utf-8", errors="replace")
        part.replace(folder / name)


@contextmanager
def errors_file(path: Path) -> Iterator[ErrorsFile]:
    """A file for losses and misses; it gets its name when all of them are in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            yield ErrorsFile(file)
    except BaseException:  # whatever stopped the run: half a file is of no use
        part.unlink(missing_ok=True)
        raise
    part.replace(path)


class ErrorsFile:
    """Takes every judged case and writes the losses, the misses and what leaked."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def hear(self, judged: Judged) -> None:
        if judged.verdict in (*LOSSES, Verdict.MISSED) or judged.harm is not None:
            self._file.write(json.dumps(judged.as_dict(), ensure_ascii=False) + "\n")
