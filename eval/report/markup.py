"""Pieces of HTML that several parts of the page use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from eval.report.terminal import served_text, wanted_text
from eval.wording import short

if TYPE_CHECKING:
    from eval.verdict import Judged

#: Distinct examples in a column.
SHOWN = 8


def example_rows(judged: Sequence[Judged], kind: str) -> str:
    """Distinct examples: what was said, served and wanted."""
    distinct = {(each.case.turn.said, each.decision.text): each for each in reversed(judged)}
    shown = sorted(distinct.values(), key=judged.index)[:SHOWN]
    return "".join(
        f'<div class="example {kind}"><div class="said">{escape(short(each.case.turn.said)) or "<i>nothing</i>"}</div>'
        f'<div class="served">{escape(short(served_text(each)))}</div>'
        f'<div class="wanted">{escape(short(wanted_text(each)))}</div>'
        f'<div class="small soft">{escape(_why(each))}</div></div>'
        for each in shown
    )


def _why(judged: Judged) -> str:
    harmed = f"; harm: {judged.harm.value}" if judged.harm else ""
    score = "" if judged.decision.score is None else f", score {judged.decision.score:.2f}"
    return f"{judged.decision.reason.value}{score}{harmed} · {short(judged.case.turn.turn_id)}"


def table_of(head: Iterable[str], rows: str, label: str, numbers: Sequence[int] = ()) -> str:
    """A table in a box that scrolls; `rows` and `head` are HTML, `numbers` the columns set to the right."""
    cells = "".join(f"<th{' class=n' if place in numbers else ''}>{name}</th>" for place, name in enumerate(head))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table><thead><tr>{cells}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def cell(text: str) -> str:
    """A cell with a number."""
    return f'<td class="n">{escape(text)}</td>'
