"""How figures are written for people: the same in the terminal, the summary and the page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from eval.estimates import WIN_LOSS, Estimate

if TYPE_CHECKING:
    from eval.gate import Bound

NOT_MEASURED = "not measured"


#: Letters of a text of a log that tables and pages show; errors.jsonl has all of it.
SHOWN = 160


def short(text: str, letters: int = SHOWN) -> str:
    """A text of a log, cut where it is longer than anybody reads."""
    return text if len(text) <= letters else f"{text[:letters]}… ({len(text):,} letters)"


def counted(number: int, one: str, many: str = "") -> str:
    """1 loss, 2 losses."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def figure_text(each: Estimate) -> str:
    """The figure by itself: 4.2%, 13.0, no losses seen."""
    if each.value is None:
        return NOT_MEASURED
    if math.isinf(each.value):
        return "no losses seen"
    return number_text(each.name, each.value)


def interval_text(each: Estimate) -> str:
    """1.2% to 8.0%; empty where there is no interval."""
    if each.interval is None:
        return ""
    low, high = each.interval
    if math.isinf(high):
        return f"{number_text(each.name, low)} or more"
    return f"{number_text(each.name, low)} to {number_text(each.name, high)}"


def number_text(name: str, value: float) -> str:
    """A figure of the measure of this name."""
    if name == WIN_LOSS:
        return f"{value:.1f}" if math.isfinite(value) else "without end"
    return share_text(value)


def share_text(value: float) -> str:
    """A share in per cent; what is small but not 0 is not written as 0."""
    if 0 < abs(value) < 0.0005:
        return f"{value:.2%}" if abs(value) >= 0.00005 else "under 0.01%"
    return f"{value:.1%}"


def limit_text(bound: Bound, value: float | None = None) -> str:
    """A bound's limit, or a value beside it, in the unit of its measure."""
    number = bound.limit if value is None else value
    name = bound.name.rpartition("_")[0]
    if name == WIN_LOSS:
        return f"{number:g}" if value is None else number_text(name, number)
    if "rate" in name or name in ("precision", "recall", "relative_reduction"):
        return f"{100 * number:.3g}%" if value is None else share_text(number)
    return f"{number:.4g}"


def time_text(seconds: float | None) -> str:
    """4 µs, 1.2 ms, 3.0 s."""
    if seconds is None:
        return NOT_MEASURED
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def p_text(p: float | None) -> str:
    """A p-value."""
    if p is None:
        return NOT_MEASURED
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
