"""The parts of the page that are drawn: scores, slices and latency."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from eval.estimates import WIN_LOSS
from eval.report.markup import cell, table_of
from eval.report.svg import Axis, Chart, span_mark, stacked_mark, ticks
from eval.slices import CASES, NONE, USERS
from eval.wording import counted, figure_text, interval_text, share_text, time_text

if TYPE_CHECKING:
    from eval.report.document import Part, Report

#: Parts of one field that are drawn; the table has all.
MARKS = 12


def scores(report: Report) -> str:
    """The reliability curve, and what another threshold would have won and harmed."""
    found = report.count.scores
    if not found.scored:
        return '<p class="soft">Not measured: no rewrite was served with a score.</p>'
    told = f"Brier score {found.brier or 0.0:.3f}; expected calibration error {found.calibration_error or 0.0:.3f};"
    told += f" {found.scored:,} rewrites with a score, {found.unscored:,} without."
    curve = found.reliability
    chart = Chart(Axis("score", 0, 1, (0, 0.25, 0.5, 0.75, 1)), Axis("share won", 0, 1, (0, 0.25, 0.5, 0.75, 1)))
    most = max(curve.turns.tolist())
    points = list(zip(curve.said.tolist(), curve.came_true.tolist(), curve.turns.tolist(), strict=True))
    dots = [
        chart.dot(x, y, 4 + 7 * (n / most) ** 0.5, "good", f"score {x:.2f}: {y:.0%} won of {n:,}") for x, y, n in points
    ]
    ideal = [chart.line([(0, 0), (1, 1)], "other"), chart.line([(x, y) for x, y, _ in points], "good"), *dots]
    reliability = chart.drawn(ideal, "Reliability: what was promised against what came true")
    return (
        f"<p>{escape(told)}</p><div class='pair'><div class='card'><h3>Does a score mean what it says?</h3>"
        f"<p class='small soft'>Share won (upwards) by score; on the dotted line it holds. The larger the dot, the more"
        f" rewrites.</p>{reliability}</div><div class='card'><h3>What would a higher threshold do?</h3>"
        f"{_thresholds(report)}</div></div>"
    )


def _thresholds(report: Report) -> str:
    rows = report.count.scores.thresholds
    most = max([1, *(max(wins, losses) for _, wins, losses in rows)])
    steps = ticks(most)
    low = max(0.0, min(rows[1][0] if len(rows) > 1 else 0.0, 0.9) - 0.1)
    low = int(low * 10) / 10
    tenths = range(10, round(10 * low) - 1, -1 if low >= 0.5 else -2)
    places = sorted(tenth / 10 for tenth in tenths)
    upwards = Axis("cases", 0, steps[-1], steps, "{:,.0f}".format)
    chart = Chart(Axis("least score served", low, 1, places, "{:.1f}".format), upwards)
    shown = [(max(x, low), wins, losses) for x, wins, losses in rows]
    shown.append((1.0, *shown[-1][1:]))
    _, wins, losses = shown[0]
    close = abs(wins - losses) < 0.1 * steps[-1]
    below = wins > 0.92 * steps[-1] or (close and wins < losses)
    pieces = [
        chart.steps([(x, won) for x, won, _ in shown], "good"),
        chart.steps([(x, lost) for x, _, lost in shown], "bad"),
        chart.word(low, wins, f"{wins:,} wins", "good", lift=-18.0 if below else 7.0),
        chart.word(
            1.0 if close else low,
            losses,
            counted(losses, "loss", "losses"),
            "bad",
            "end" if close else "start",
            lift=7.0,
        ),
    ]
    drawn = chart.drawn(pieces, "Wins and losses by the least score that is served")
    told = "Cases won (solid) and lost (dashed), were only this score and above served."
    return f'<p class="small soft">{told}</p>{drawn}'


def slices(report: Report) -> str:
    """Defects before and after by part, a field at a time."""
    key = (
        '<span class="key"><i class="bad"></i>defects left</span><span class="key"><i class="good"></i>removed</span>'
        '<span class="key"><i class="track"></i>no defect</span>'
    )
    told = f"A part with fewer than {CASES} cases or {USERS} users is too small to tell."
    shown: list[str] = []
    absent: list[str] = []
    for name, group in groupby(report.parts, key=lambda part: part.field):
        parts = list(group)
        if [part.value for part in parts] == [NONE]:
            absent.append(name)
            continue
        large = [part for part in parts if not part.too_small]
        small = [part for part in parts if part.too_small]
        marks = (
            "".join(_defects(part) for part in large[:MARKS]) or '<p class="soft">Every part is too small to tell.</p>'
        )
        names = ", ".join(f"{part.value} ({part.tally.cases:,})" for part in small[:20])
        more = f" and {len(small) - 20} more" if len(small) > 20 else ""
        left = f'<p class="small soft">Too small to tell: {escape(names + more)}.</p>' if small else ""
        opened = " open" if len(shown) < 3 and large else ""
        number = f'<span class="soft">{len(parts)} part{"s" if len(parts) > 1 else ""}</span>'
        shown.append(
            f"<details{opened}><summary>{escape(name)} {number}</summary>"
            f'<div class="rows">{marks}</div>{left}{_slice_table(name, large)}</details>'
        )
    without = f'<p class="soft">Not measured, as no case has it: {escape(", ".join(absent))}.</p>' if absent else ""
    return f'<p class="soft">{told}</p><p class="small">{key}</p>{"".join(shown)}{without}'


def _defects(part: Part) -> str:
    before, after, cases = part.tally.defects_before, part.tally.defects_after, part.tally.cases
    parts = [("bad", float(after)), ("good", float(max(before - after, 0)))]
    figures = f"{share_text(before / cases)} → {share_text(after / cases)}"
    mark = stacked_mark(parts, cases, f"{part.name}: defects {figures}")
    name = f'<div class="name">{escape(part.value)} <span class="soft small">{cases:,} cases</span></div>'
    return f'<div class="row">{name}{mark}<div class="told">{figures}</div></div>'


def _slice_table(field: str, parts: Sequence[Part]) -> str:
    if not parts:
        return ""
    rows = ""
    for part in parts:
        ratio, cells = part.estimates[WIN_LOSS], []
        for name in ("precision", "recall", "false_trigger_rate", "relative_reduction"):
            each = part.estimates[name]
            told = f'<br><span class="soft small">{escape(interval_text(each))}</span>' if each.interval else ""
            cells.append(f'<td class="n">{escape(figure_text(each))}{told}</td>')
        counts = cell(f"{ratio.part:,} : {ratio.whole:,}")
        rows += f'<tr><td class="t">{escape(part.value)}</td>{counts}{"".join(cells)}</tr>'
    head = ("", "wins : losses", "precision", "recall", "false triggers", "defects removed")
    table = table_of(head, rows, f"Figures by {field}", numbers=(1, 2, 3, 4, 5))
    more = f" of all {len(parts)} parts" if len(parts) > MARKS else ""
    return f'<details class="inner"><summary>Figures with intervals{more}</summary>{table}</details>'


def latency(report: Report) -> str:
    """Time by the engine's reason, throughput and memory."""
    times = report.count.times
    whole = times.latency
    per_second = f"{times.seen / times.sum:,.0f}" if times.sum else "not measured"
    memory = f"{report.memory.own / 1e6:,.0f} MB" if report.memory.own else "not measured"
    told = (
        f"Median {time_text(whole.p50)}, 99 % {time_text(whole.p99)}, 99.9 % {time_text(whole.p999)}, longest"
        f" {time_text(times.longest)}; {per_second} decisions a second on one thread; peak memory of the run {memory}."
    )
    rows = [("all decisions", times), *sorted(report.count.times_by_reason.items(), key=lambda each: -each[1].sum)]
    known = [(name, each, each.latency) for name, each in rows]
    seen = [value for _, each, found in known for value in (found.p50, each.longest) if value]
    ends = (min(seen) / 1.2, max(seen) * 1.2) if seen else (1e-6, 1.0)
    marks = "".join(
        f'<div class="row"><div class="name">{escape(name)} <span class="soft small">{each.seen:,}</span></div>'
        f"{span_mark(found.p50 or ends[0], found.p99, each.longest, ends, f'{name}: median {time_text(found.p50)}')}"
        f'<div class="told">{time_text(found.p50)} to {time_text(each.longest)}</div></div>'
        for name, each, found in known
    )
    key = (
        '<span class="key"><i class="full"></i>median</span><span class="key"><i class="hollow"></i>longest</span>'
        '<span class="key">| 99 %, where 100 or more were seen</span>'
    )
    scale = f"By the engine's reason, on a logarithmic scale from {time_text(ends[0])} to {time_text(ends[1])}."
    head = f'<p>{escape(told)}</p><p class="small soft">{scale}</p><p class="small">{key}</p>'
    return f'{head}<div class="rows">{marks}</div>'
