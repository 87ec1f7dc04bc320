"""Marks and small charts as inline SVG, without a library.

A mark is as wide as its box: places along it are per cents, so that nothing is scaled and words stay HTML. A chart has
a fixed view box of 480 by 300 and its words are in it. Colours are CSS classes: light and dark share one drawing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 480.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 26.0, 14.0, 46.0


def interval_mark(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    most: float = 1.0,
    limit: float | None = None,
    kind: str = "good",
    label: str = "",
) -> str:
    """A bar to the value, with its interval as a whisker, and a limit as a dashed line; on a scale from 0 to `most`."""
    parts = ['<rect class="track" x="0" y="9" width="100%" height="6" rx="3"/>']
    if value is not None and not math.isinf(value):
        parts.append(f'<rect class="fill {kind}" x="0" y="9" width="{_percent(value, most)}" height="6" rx="3"/>')
    if low is not None and high is not None:
        begin, end = _percent(low, most), _percent(high, most)
        parts.append(f'<line class="whisker" x1="{begin}" x2="{end}" y1="12" y2="12"/>')
        parts += [f'<line class="whisker" x1="{x}" x2="{x}" y1="7" y2="17"/>' for x in (begin, end)]
    if value is not None and not math.isinf(value):
        parts.append(f'<circle class="dot {kind}" cx="{_percent(value, most)}" cy="12" r="4.5"/>')
    if limit is not None:
        parts.append(f'<line class="limit" x1="{_percent(limit, most)}" x2="{_percent(limit, most)}" y1="1" y2="23"/>')
    return f'<svg class="mark" height="24" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def stacked_mark(parts: Sequence[tuple[str, float]], whole: float, label: str = "") -> str:
    """Bars one after the other, each (class, amount) of a whole."""
    found, begin = ['<rect class="track" x="0" y="5" width="100%" height="14" rx="3"/>'], 0.0
    for kind, amount in parts:
        width = amount / whole if whole else 0.0
        found.append(f'<rect class="solid {kind}" x="{begin:.2%}" y="5" width="{width:.2%}" height="14"/>')
        begin += width
    return f'<svg class="mark" height="24" role="img" aria-label="{escape(label)}">{"".join(found)}</svg>'


def span_mark(low: float, middle: float | None, high: float, ends: tuple[float, float], label: str = "") -> str:
    """A line from low to high with dots at its ends and in the middle, on a logarithmic scale."""

    def place(value: float) -> str:
        least, most = (math.log10(end) for end in ends)
        share = (math.log10(max(value, ends[0])) - least) / ((most - least) or 1.0)
        return f"{2 + 96 * min(max(share, 0.0), 1.0):.2f}%"

    parts = [
        '<line class="axis" x1="0" x2="100%" y1="12" y2="12"/>',
        f'<line class="span" x1="{place(low)}" x2="{place(high)}" y1="12" y2="12"/>',
        f'<circle class="dot hollow" cx="{place(high)}" cy="12" r="4.5"/>',
    ]
    if middle is not None:
        parts.append(f'<line class="whisker" x1="{place(middle)}" x2="{place(middle)}" y1="6" y2="18"/>')
    parts.append(f'<circle class="dot good" cx="{place(low)}" cy="12" r="4.5"/>')
    return f'<svg class="mark" height="24" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with ticks and the way to write them."""

    title: str
    low: float
    high: float
    ticks: Sequence[float]
    write: Callable[[float], str] = "{:g}".format

    def share(self, value: float) -> float:
        return (value - self.low) / ((self.high - self.low) or 1.0)


@dataclass(frozen=True)
class Chart:
    """Two axes to draw on; every method gives a piece of SVG."""

    x: Axis
    y: Axis

    def drawn(self, pieces: Iterable[str], label: str) -> str:
        """The chart with its pieces."""
        body = "".join((*self._grid(), *pieces))
        box = f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}"'
        return f'<svg class="chart" {box} role="img" aria-label="{escape(label)}">{body}</svg>'

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> str:
        path = " ".join(f"{self._at(x, y)[0]:.1f},{self._at(x, y)[1]:.1f}" for x, y in points)
        return f'<polyline class="line {kind}" points="{path}"/>'

    def steps(self, points: Sequence[tuple[float, float]], kind: str) -> str:
        """The line of a figure that holds until the next point."""
        corners = [points[0]] if points else []
        for (_, before), (x, y) in pairwise(points):
            corners += [(x, before), (x, y)]
        return self.line(corners, kind)

    def dot(self, x: float, y: float, size: float, kind: str, label: str) -> str:
        cx, cy = self._at(x, y)
        title = f"<title>{escape(label)}</title>"
        return f'<circle class="dot {kind}" cx="{cx:.1f}" cy="{cy:.1f}" r="{size:.1f}">{title}</circle>'

    def word(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start", lift: float = 0.0) -> str:
        at_x, at_y = self._at(x, y)
        return f'<text class="{kind}" x="{at_x:.1f}" y="{at_y - lift:.1f}" text-anchor="{anchor}">{escape(text)}</text>'

    def _at(self, x: float, y: float) -> tuple[float, float]:
        across = _LEFT + self.x.share(x) * (WIDTH - _LEFT - _RIGHT)
        return across, HEIGHT - _BOTTOM - self.y.share(y) * (HEIGHT - _TOP - _BOTTOM)

    def _grid(self) -> Iterable[str]:
        for tick in self.y.ticks:
            _, y = self._at(self.x.low, tick)
            yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{self.y.write(tick)}</text>'
        for tick in self.x.ticks:
            x, y = self._at(tick, self.y.low)
            yield f'<text class="tick" x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{self.x.write(tick)}</text>'
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        yield f'<text class="title" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(self.x.title)}</text>'


def ticks(most: float, count: int = 4) -> list[float]:
    """Round numbers from 0 to `most` or a little more."""
    if most <= 0:
        return [0.0, 1.0]
    raw = most / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * by for by in (1, 2, 5, 10) if size * by >= raw * (1 - 1e-9))
    return [step * place for place in range(math.ceil(most / step - 1e-9) + 1)]


def _percent(value: float, most: float) -> str:
    """A place along a mark; both ends keep room for a dot."""
    share = min(max(value / most if most else 0.0, 0.0), 1.0)
    return f"{1.5 + 97 * share:.2f}%"
