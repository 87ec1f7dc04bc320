"""What the commands read from a bundle, and the table in which they show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from rewrite.cli_words import REASONS, VERDICTS
from rewrite.console import legible, percent
from rewrite.errors import DamagedBundle

if TYPE_CHECKING:
    from dialogue.canonical import Canonicaliser
    from rewrite.bundle import Bundle
    from rewrite.overrides import Overrides

Row = Mapping[str, Any]


class Counted:
    """Rows, counted as they pass."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row


def canonical_of(opened: Bundle) -> Canonicaliser:
    """How the bundle looks texts up."""
    from dialogue.canonical import Canonicaliser

    text = opened.manifest.parameters["text"]
    return Canonicaliser(tuple(text["wake_words"]), tuple(text["politeness"]))


def rows_of(opened: Bundle, table: str, column: str, value: str) -> list[dict[str, Any]]:
    """The rows of a table of the bundle that have a value in a column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_table(opened.path / f"{table}.parquet", filters=[(column, "==", value)]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DamagedBundle(f"the table {table} of {opened.path} is not readable: {error}") from error
    return list(found)


def rows(opened: Bundle, table: str) -> Iterator[Row]:
    """The rows of a table of the bundle, streamed."""
    import pyarrow as pa

    try:
        yield from opened.rewrites(table)
    except (pa.ArrowException, OSError) as error:
        raise DamagedBundle(f"the table {table} of {opened.path} is not readable: {error}") from error


def importance(row: Row) -> tuple[float, str, float]:
    """The most turns first; of one source, the best candidate first."""
    return (-row["source_turns"], row["source"], -row["chain_score"])


def rewrites_table(rows: Iterable[Row], overrides: Overrides, *, verdicts: bool) -> Table:
    """Pairs with users, turns and both success rates; 80 columns are enough."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_lines=False)
    table.add_column("request → rewrite", ratio=1, overflow="fold")
    for name in ("users", "turns", "works alone", "rewritten"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(_pair(row, overrides, verdicts), *_figures(row))
    return table


def _figures(row: Row) -> tuple[str, str, str, str]:
    alone = f"{percent(row['alone'])} (≤ {percent(row['alone_upper'])})"
    rewritten = f"{percent(row['rewritten'])} (≥ {percent(row['rewritten_lower'])})"
    return f"{row['route_users']:,}", f"{row['source_turns']:,.0f}", alone, rewritten


def _pair(row: Row, overrides: Overrides, verdict: bool) -> Text:
    """A request and its rewrite, with the stops between, the verdict and a person's word in lines below."""
    source, lines = row["source"], Text(legible(row["source"]))
    lines.append("\n→ ").append(legible(row["rewrite"]), style="bold")
    notes = [f"via {', '.join(legible(stop) for stop in row['route'][1:-1])}"] if len(row["route"]) > 2 else []
    if verdict:
        notes.append(_verdict(row))
    if row["standing"] == "trial":
        notes.append("on trial: served now and then where an engine explores")
    if source in overrides.pinned:
        notes.append(f"pinned to “{legible(overrides.pinned[source])}”")
    if source in overrides.blocked:
        notes.append("blocked")
    for note in notes:
        lines.append(f"\n  {note}", style="dim")
    return lines


def _verdict(row: Row) -> str:
    why = f" ({REASONS[row['guard']]})" if row["guard"] else ""
    return VERDICTS[row["reason"]] + why
