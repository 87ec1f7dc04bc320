"""What people see: harmless texts, durations and shares in words, tables, and the progress of a long job.

Texts from a log are untrusted. Consoles made here read no markup in what they print, and `legible` spells out the
control characters that could steer a terminal.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Self, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from rewrite.progress import Progress, Stage

#: Controls, line and paragraph separators, halves of surrogate pairs, and what turns the direction of writing.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST_SHOWN = 300
#: Columns where the output is no terminal.
WIDTH_ELSEWHERE = 120


def stdout() -> Console:
    """Where answers go."""
    return _console(sys.stdout)


def stderr() -> Console:
    """Where progress, warnings and errors go."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH_ELSEWHERE
    return Console(file=stream, markup=False, emoji=False, highlight=False, width=width)


def legible(text: str, longest: int = LONGEST_SHOWN) -> str:
    """A text that is safe to print on one line, shortened.

    >>> legible("play \\x1b[31mred")
    'play \\\\u001b[31mred'
    """
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return _UNSAFE.sub(_escaped, short)


def legible_lines(text: str) -> str:
    """A text of several lines, as an error's message may be, safe to print."""
    return "\n".join(legible(line, 2_000) for line in text.splitlines())


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def print_json(value: Any) -> None:
    """One JSON document on stdout, safe for a terminal as well."""
    typer.echo(_UNSAFE.sub(_escaped, json.dumps(value, ensure_ascii=False)))


def say(console: Console, message: str, style: str = "") -> None:
    """Prints a message: wrapped between words on a terminal, on one line elsewhere."""
    console.print(Text(message, style), soft_wrap=not console.is_terminal)


def warn(message: str) -> None:
    """A warning, on stderr."""
    say(stderr(), f"Warning: {message}", "yellow")


def percent(share: float) -> str:
    """A share in whole percent, but "<1%" and ">99%" where rounding would say none or all."""
    if 0 < share < 0.005 or 0.995 <= share < 1:
        return "<1%" if share < 0.5 else ">99%"
    return f"{share:.0%}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """ "1 user", "2,000 users"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))


def duration(seconds: float) -> str:
    """A duration in the largest unit of which it holds one: "27 s", "5 min", "1.5 h"."""
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    return f"{round(seconds / size, 1):g} {unit}"


def facts_table(facts: Sequence[tuple[str, str]]) -> Table:
    """Names and values in two columns without lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(legible(value, 2_000)))
    return table


def bars(rows: Sequence[tuple[str, int]], width: int = 36) -> Table:
    """A bar chart of counts, one row each."""
    most = max((count for _, count in rows), default=0)
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, width=width)
    table.add_column(justify="right", no_wrap=True)
    for name, count in rows:
        length = max(1, round(width * count / most)) if count else 0
        table.add_row(name, Text("█" * length, style="cyan"), f"{count:,}")
    return table


class ConsoleProgress(Progress):
    """Shows each stage with its time on stderr: with a bar while it runs on a terminal, else as one line at its end."""

    def __init__(self) -> None:
        self.console = stderr()

    def stage(self, name: str, total: float | None = None) -> Stage:
        return _ShownStage(name, total, self.console)


class _ShownStage(Stage):
    def __init__(self, name: str, total: float | None, console: Console) -> None:
        super().__init__(name, total)
        self._console = console
        self._begun = monotonic()
        columns = [SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
        if total:
            columns[2:2] = [BarColumn(20), TaskProgressColumn()]
        self._bars = Bars(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bars.add_task(name, total=total) if self._bars else None

    def __enter__(self) -> Self:
        self._begun = monotonic()
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
        seconds = monotonic() - self._begun
        mark = "✓" if kind is None else "✗"
        self._console.print(f"{mark} {self.name}  {seconds:.1f} s", style="dim", soft_wrap=True)

    def at(self, done: float) -> None:
        super().at(done)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done)
