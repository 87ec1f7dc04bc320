"""A neighbourhood of the chain as a graph in a file, drawn with matplotlib.

States stand in columns by their steps from the source. The area of a node goes by its turns, its colour by the share
that ended well there, the width of a step by its share. Below a node: its name, what NLU took it for, who
said it, and a bar of how its turns ended. The chosen way is red. All lengths are in inches, y upwards.

The same neighbourhood gives the same bytes: no dates, and names inside the SVG that depend on its content alone.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.path import Path as Curve
from matplotlib.transforms import Bbox

from rewrite.cli_neighbourhood import interpretation, name_of
from rewrite.console import counted, legible, percent
from rewrite.errors import ConfigError
from rewrite.graph import Kind
from rewrite.neighbourhood import Neighbourhood, State, Transition
from rewrite.publish import write_beside

#: What files are known by, and what keeps the time of drawing out of them.
ENDINGS: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".png": {}, ".pdf": {"CreationDate": None}}
#: Texts stay texts, and names inside an SVG are drawn from this salt instead of by lot.
_SETTINGS: Any = {"font.family": "DejaVu Sans", "svg.hashsalt": "reprise", "svg.fonttype": "none", "pdf.fonttype": 42}

_DOTS = 100  # an inch
_COLUMN, _GAP, _MARGIN, _HEAD, _FOOT = 3.5, 0.3, 0.35, 0.75, 1.1
_LARGEST, _SMALLEST, _LOOP = 0.3, 0.08, 0.62  # radii of nodes; room above one that a step goes over
_LETTERS, _LINES = 26, 3  # of a node's name
_WIDEST = 6.0  # points, of a step that all take

# Colours that the colour-blind tell apart (Okabe & Ito, "Color Universal Design", 2008)
_CHOSEN, _OTHER, _WELL, _GAVE_UP, _WENT_ON = "#D55E00", "#8A8A8A", "#0072B2", "#E69F00", "#D9D9D9"
_SUCCESS = "cividis"


def plotter(path: Path) -> Callable[[Neighbourhood], None]:
    """What draws a neighbourhood into a file, whole or not at all, of the kind that its ending says.

    Raises ConfigError where the ending is unknown or the folder is not there.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--plot {legible(str(path))}: a file that ends in {', '.join(ENDINGS)} is wanted")
    if not path.parent.is_dir():
        raise ConfigError(f"--plot {legible(str(path))}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise ConfigError(f"--plot {legible(str(path))} is a folder: a file is wanted")

    def plot(found: Neighbourhood) -> None:
        try:
            write_beside(path, drawn(found, path.suffix.lower()))
        except PermissionError as error:
            raise ConfigError(f"--plot {path} cannot be written: {error.strerror}") from error

    return plot


def drawn(found: Neighbourhood, ending: str) -> bytes:
    """The file's content; `ending` is one of ENDINGS."""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a viewer of the SVG may have it
        file = BytesIO()
        figure = _figure(found)
        figure.savefig(file, format=ending[1:], dpi=1.5 * _DOTS, metadata=ENDINGS[ending])
        return file.getvalue()


@dataclass(frozen=True)
class _Node:
    """A state with what is written below it, and how large it is."""

    state: State
    name: list[str]
    meant: list[str]
    radius: float
    above: float  # room above the centre

    @property
    def below(self) -> float:
        return self.radius + 0.12 + 0.155 * len(self.name) + 0.13 * len(self.meant) + 0.5


Places = dict[int, tuple[float, float]]


def _figure(found: Neighbourhood) -> Figure:
    nodes = {state.number: _node(state, found) for state in found.states}
    columns = _columns(found)
    width = max(2 * _MARGIN + _COLUMN * len(columns), 8.0)
    places, top = _places(columns, nodes, width)
    height = top + _HEAD
    figure = Figure((width, height), dpi=_DOTS)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    colour = ScalarMappable(Normalize(0, 1), matplotlib.colormaps[_SUCCESS])
    taken: list[Bbox] = []
    for node in nodes.values():
        taken += _draw_node(axes, node, places[node.state.number], colour, found)
    for step in sorted(found.transitions, key=lambda step: (not step.chosen, -step.share, step.source, step.target)):
        _draw_step(axes, step, nodes, places, taken, canvas)
    _write(axes, _MARGIN, height - 0.42, f"What happens after “{legible(found.source.text, 80)}”", 12, weight="bold")
    _legend(figure, axes, colour, found, width, height)
    return figure


def _node(state: State, found: Neighbourhood) -> _Node:
    most = max(each.turns for each in found.states)
    hops = {each.number: each.hops for each in found.states}
    steps = [step for step in found.transitions if state.number in (step.source, step.target)]
    over = any(step.source == step.target or hops[step.source] - hops[step.target] > 1 for step in steps)
    radius = max(_LARGEST * (state.turns / max(most, 1)) ** 0.5, _SMALLEST)
    meant = _wrapped(interpretation(state), _LETTERS + 12, 2) if state.text != state.key else []
    return _Node(state, _wrapped(name_of(state), _LETTERS, _LINES), meant, radius, radius + _LOOP * over)


def _wrapped(text: str, letters: int, lines: int) -> list[str]:
    return textwrap.wrap(text, letters, max_lines=lines, placeholder=" …")


# Where things stand


def _columns(found: Neighbourhood) -> list[list[int]]:
    """States by their steps from the source; in a column, in the order of those that lead to them most."""
    columns: list[list[int]] = [[] for _ in range(max(state.hops for state in found.states) + 1)]
    for state in found.states:
        columns[state.hops].append(state.number)
    order: dict[int, tuple[float, float]] = {found.source.number: (0.0, 0.0)}
    for left, column in pairwise(columns):
        rank = {number: place for place, number in enumerate(left)}
        for number in column:
            into = [step for step in found.transitions if step.target == number and step.source in rank]
            total = sum(step.share for step in into) or 1.0
            order[number] = (sum(rank[step.source] * step.share for step in into) / total, -total)
        column.sort(key=order.__getitem__)
    return columns


def _places(columns: Sequence[Sequence[int]], nodes: dict[int, _Node], width: float) -> tuple[Places, float]:
    """The centre of each node, every column around the same height; and the upper end of it all."""
    places: Places = {}
    x = (width - _COLUMN * (len(columns) - 1)) / 2
    for column in columns:
        y, heights = 0.0, []
        for number in column:
            y -= nodes[number].above
            heights.append(y)
            y -= nodes[number].below + _GAP
        middle = (heights[0] + heights[-1]) / 2
        places |= {number: (x, height - middle) for number, height in zip(column, heights, strict=True)}
        x += _COLUMN
    lowest = min(y - nodes[number].below for number, (_, y) in places.items())
    places = {number: (x, y - lowest + _FOOT) for number, (x, y) in places.items()}
    return places, max(y + nodes[number].above for number, (_, y) in places.items())


def _curve(step: Transition, nodes: dict[int, _Node], places: Places) -> list[tuple[float, float]]:
    """Four points of a cubic: from side to side, in a column around the right, far back over the top, or a loop."""
    (x, y), (u, v) = places[step.source], places[step.target]
    r, s = nodes[step.source].radius, nodes[step.target].radius
    if step.source == step.target:
        return [(x - 0.5 * r, y + 0.9 * r), (x - 0.5, y + r + 0.5), (x + 0.5, y + r + 0.5), (x + 0.5 * r, y + 0.95 * r)]
    if u > x:
        bend = 0.45 * (u - x)
        return [(x + r, y), (x + bend, y), (u - bend, v), (u - s - 0.04, v)]
    if u == x:
        return [(x + r, y), (x + 1.85, y), (x + 1.85, v), (u + s + 0.04, v)]
    if x - u < 1.5 * _COLUMN:  # a little lower than a step forward between the same two
        bend, y, v = 0.45 * (x - u), y - 0.5 * r, v - 0.5 * s
        return [(x - 0.87 * r, y), (x - bend, y), (u + bend, v), (u + 0.87 * s + 0.04, v)]
    return [(x, y + r), (x - 0.6, y + r + 0.7), (u + 0.6, v + s + 0.7), (u, v + s + 0.04)]


def _at(curve: Sequence[tuple[float, float]], t: float) -> tuple[float, float]:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
    x, y = (sum(weight * point[axis] for weight, point in zip(weights, curve, strict=True)) for axis in (0, 1))
    return x, y


# What is drawn


def _draw_node(
    axes: Axes, node: _Node, place: tuple[float, float], colour: ScalarMappable, found: Neighbourhood
) -> Iterator[Bbox]:
    """A node with its label; gives the boxes that they take."""
    (x, y), state = place, node.state
    ring = _CHOSEN if state.number in found.route else "#333333"
    wide = 2.6 if state.number in found.route else 0.8
    style = "--" if state.kind is Kind.SERVED else "-"
    look = {
        "facecolor": colour.to_rgba(np.array([state.direct]))[0],
        "edgecolor": ring,
        "linewidth": wide,
        "linestyle": style,
    }
    axes.add_patch(Circle((x, y), node.radius, **look, zorder=4))
    at = y - node.radius - 0.12
    for line in node.name:
        at -= 0.155
        _write(axes, x, at, line, 8.5, ha="center", weight="bold")
    for line in node.meant:
        at -= 0.13
        _write(axes, x, at, line, 7, ha="center", color="#666666")
    at -= 0.14
    _write(axes, x, at, f"{counted(state.users, 'user')}, {counted(state.turns, 'turn')}", 7.5, ha="center")
    at -= 0.15
    went_on = max(1.0 - state.direct - state.failure, 0.0)
    left, long = x - 0.6, 1.2
    for share, shade in ((state.direct, _WELL), (went_on, _WENT_ON), (state.failure, _GAVE_UP)):
        axes.add_patch(Rectangle((left, at), long * share, 0.09, facecolor=shade, edgecolor="none", zorder=4))
        left += long * share
    at -= 0.15
    told = f"ended well {percent(state.direct)}, in the end {percent(state.success)}"
    _write(axes, x, at, told, 7, ha="center", color="#333333")
    yield Bbox([[x - node.radius, y - node.radius], [x + node.radius, y + node.radius]])
    half = max(0.042 * max(map(len, node.name), default=0), 0.95)
    yield Bbox([[x - half, at - 0.03], [x + half, y - node.radius - 0.1]])


def _draw_step(
    axes: Axes, step: Transition, nodes: dict[int, _Node], places: Places, taken: list[Bbox], canvas: FigureCanvasAgg
) -> None:
    """A step with its label, where it covers nothing that was drawn before."""
    curve, colour = _curve(step, nodes, places), _CHOSEN if step.chosen else _OTHER
    wide = max(_WIDEST * step.share, 0.6)
    path = Curve(curve, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
    axes.add_patch(
        FancyArrowPatch(
            path=path, arrowstyle="-|>", mutation_scale=9 + 1.6 * wide, linewidth=wide, color=colour, zorder=2,
            joinstyle="miter", capstyle="butt",
        )
    )  # fmt: skip
    again = " said again" if step.source == step.target else ""
    told = f"{percent(step.share)}{again}\n{counted(step.users, 'user')}, {counted(step.turns, 'turn')}"
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    label = _write(axes, 0, 0, told, 7.5, ha="center", va="center", bbox=box, zorder=3, linespacing=1.25)
    label.set_color(_CHOSEN if step.chosen else "#333333")
    tried: list[tuple[int, int, float, Bbox]] = []
    for t in (0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.73, 0.2, 0.8):
        label.set_position(_at(curve, t))
        extent = label.get_window_extent(canvas.get_renderer())  # type: ignore[no-untyped-call]
        mine = Bbox(extent.get_points() / _DOTS)
        covered = sum(1 for box in taken if mine.overlaps(box))
        tried.append((covered, len(tried), t, mine))
        if not covered:
            break
    _, _, t, mine = min(tried, key=lambda each: each[:2])
    label.set_position(_at(curve, t))
    taken.append(mine)


def _write(axes: Axes, x: float, y: float, text: str, size: float, **style: Any) -> Any:
    """Text as it is: a dollar sign is no formula, and what no SVG may hold is left out."""
    clean = text.translate({0xFFFE: "\ufffd", 0xFFFF: "\ufffd"})
    return axes.text(x, y, clean, fontsize=size, parse_math=False, **{"zorder": 5, **style})


def _legend(
    figure: Figure, axes: Axes, colour: ScalarMappable, found: Neighbourhood, width: float, height: float
) -> None:
    """What colours, areas, widths and bars mean, and how much is left out."""
    place = figure.add_axes((_MARGIN / width, 0.45 / height, 2.1 / width, 0.12 / height))
    bar = figure.colorbar(colour, cax=place, orientation="horizontal", ticks=[0, 0.5, 1], format="{x:.0%}")
    bar.ax.tick_params(labelsize=7, length=2)
    _write(axes, _MARGIN, 0.65, "Share that ended well at a state", 7.5)
    x, y = _MARGIN + 2.55, 0.65
    for shade, word, long in ((_WELL, "ended well", 0.95), (_WENT_ON, "went on", 0.8), (_GAVE_UP, "gave up", 0.8)):
        axes.add_patch(Rectangle((x, y), 0.16, 0.09, facecolor=shade, edgecolor="none"))
        _write(axes, x + 0.21, y, word, 7.5)
        x += long
    axes.plot([x, x + 0.25], [y + 0.045, y + 0.045], color=_CHOSEN, linewidth=3, solid_capstyle="butt")
    _write(axes, x + 0.31, y, "the chosen way" if found.route else "a chosen way (none here)", 7.5)
    notes = ["Node area: turns. Width of a step: its share of all that leaves or ends at its state."]
    if found.cut_states:
        states, steps = counted(found.cut_states, "state"), counted(found.cut_transitions, "step")
        notes.append(f"Not shown: {states} further on or less likely, and {steps} to them.")
    for line in notes:
        y -= 0.19
        _write(axes, _MARGIN + 2.55, y, line, 7.5)
