"""The parts of the page below the first screen, each a piece of HTML."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from eval.estimates import LABELS, WIN_LOSS
from eval.harm import Harm
from eval.report.markup import cell, example_rows, table_of
from eval.report.svg import interval_mark, stacked_mark
from eval.wording import counted, figure_text, interval_text, p_text, share_text, short, time_text

if TYPE_CHECKING:
    from eval.report.document import Report

_HARMS = {
    Harm.OTHER_USER: "a text that only another user's history holds",
    Harm.POLARITY: "on for off, monday for tuesday, a negation that comes or goes",
    Harm.NUMBER: "another number, time or amount",
    Harm.SLOT: "another song, place or thing in much the same words",
    Harm.OTHER: "nothing in common with what was wanted",
}


def comparison(report: Report) -> str:
    """Figures side by side, the cases on which they differ, and examples of both kinds."""
    assert report.paired
    assert report.difference
    paired, difference = report.paired, report.difference
    value, ends = difference.value or 0.0, difference.interval
    between = f", 95% interval {share_text(ends.low)} to {share_text(ends.high)}" if ends else ", without an interval"
    told = f"Wins less losses: {share_text(value)} of cases more than there{between}, {p_text(difference.p)} by user."
    rows = "".join(
        f"<tr><td>{escape(LABELS[name][0])}</td>{cell(figure_text(each))}{cell(interval_text(each))}"
        f"{cell(figure_text(report.other_estimates[name]))}{cell(interval_text(report.other_estimates[name]))}</tr>"
        for name, each in report.estimates.items()
    )
    mine, its = report.count.times.latency, paired.other.times.latency
    for name, here, there in (("median", mine.p50, its.p50), ("99 %", mine.p99, its.p99)):
        ratio = f"{here / there:.2f} times" if here and there else ""
        cells = "".join(map(cell, (time_text(here), ratio, time_text(there), "")))
        rows += f"<tr><td>Latency, {name}</td>{cells}</tr>"
    other = escape(report.names[1])
    table = table_of(("", "here", "interval", other, "interval"), rows, "Both engines", numbers=(1, 2, 3, 4))
    pairs = "".join(
        f"<tr><td>{name}</td>{cell(f'{each.only_this:,}')}{cell(f'{each.only_other:,}')}{cell(p_text(each.p))}</tr>"
        for name, each in (("wins", paired.discordant_wins), ("losses", paired.discordant_losses))
    )
    head = ("cases on which they differ", "here only", f"{other} only", "exact McNemar")
    discordant = table_of(head, pairs, "Discordant cases", numbers=(1, 2, 3))
    changed = [
        f'<div class="card"><h3>{title}</h3>{example_rows(kept, kind) or _NONE}</div>'
        for title, kept, kind in (
            ("Better here", [this for this, _ in paired.gained.kept], "win"),
            ("Better there", [this for this, _ in paired.given_up.kept], "loss"),
        )
    ]
    return f'<p>{escape(told)}</p>{table}{discordant}<div class="pair">{"".join(changed)}</div>'


def ladder(report: Report) -> str:
    """What simpler engines do on the same cases."""
    rungs = [(rung.name, rung.told, rung.estimates) for rung in report.rungs]
    rungs.append((report.names[0], "the bundle that is judged", report.estimates))
    most = max([0.1, *(figures["false_trigger_rate"].high or 0.0 for _, _, figures in rungs)])
    rows = []
    for place, (name, told, figures) in enumerate(rungs):
        cells = []
        for measure, label, scale, kind in (
            ("recall", "won, of opportunities", 1.0, "good"),
            ("false_trigger_rate", "harmed, of guardrails", min(most, 1.0), "bad"),
        ):
            each = figures[measure]
            mark = interval_mark(each.value, each.low, each.high, most=scale, kind=kind, label=f"{name}: {label}")
            words = escape(figure_text(each) + (f" ({interval_text(each)})" if each.interval else ""))
            cells.append(f'<div class="cell" data-label="{label}">{mark}<div class="small told">{words}</div></div>')
        last = " this" if place == len(rungs) - 1 else ""
        ratio = figures[WIN_LOSS]
        rows.append(
            f'<div class="row ladder{last}"><div class="name"><b>{escape(name)}</b>'
            f'<div class="small soft">{escape(told)}</div>'
            f'<div class="small">{counted(ratio.part, "win")}, {counted(ratio.whole, "loss", "losses")}</div></div>'
            f"{''.join(cells)}</div>"
        )
    absent = "".join(
        f'<p class="soft">Not run: {escape(name)}, since {escape(why)}.</p>' for name, why in report.absent.items()
    )
    harmed = f"harmed, of guardrails (the scale ends at {share_text(min(most, 1.0))})"
    head = f'<div class="row ladder head"><div></div><div>won, of opportunities</div><div>{harmed}</div></div>'
    told = "All are made from this bundle's own tables and judged on the same cases."
    return f'<p class="soft">{told}</p><div class="rows">{head}{"".join(rows)}</div>{absent}'


def harm(report: Report) -> str:
    """How often each kind was done, and which rewrites lost most often."""
    harms = report.count.harms
    most = max([1, *harms.values()])
    triggered = report.tally.triggered
    rows = "".join(
        f'<div class="row"><div class="name">{escape(kind.value)}<div class="small soft">{escape(told)}</div></div>'
        f"{stacked_mark([('bad', harms[kind])], most, f'{kind.value}: {harms[kind]}')}"
        f'<div class="told">{harms[kind]:,} of {triggered:,} served</div></div>'
        for kind, told in _HARMS.items()
    )
    worst = [pair for pair in report.count.worst if pair.losses > 1]
    if not worst:
        return f'<div class="rows">{rows}</div>'
    table = "".join(
        f'<tr><td class="t">{escape(short(pair.said))}</td><td class="t">{escape(short(pair.served))}</td>'
        f"<td>{escape(pair.reason)}</td>{cell(f'{pair.losses:,}')}</tr>"
        for pair in worst
    )
    shown = table_of(("said", "served", "why", "losses"), table, "Rewrites that lose", numbers=(3,))
    return f'<div class="rows">{rows}</div><h3>Rewrites that lost more than once</h3>{shown}'


def examples(report: Report) -> str:
    """Wins and losses side by side, then misses."""
    tally = report.tally
    columns = "".join(
        f'<div class="card"><h3>{title}</h3>{example_rows(kept, kind) or _NONE}</div>'
        for title, kept, kind in (
            (_some(tally.wins, "win"), report.wins, "win"),
            (_some(tally.losses, "loss", "losses"), report.losses, "loss"),
        )
    )
    misses = example_rows(report.misses, "miss")
    told = f'<span class="soft">{tally.missed:,} left alone that should not be</span>'
    more = f"<details><summary>Misses {told}</summary>{misses}</details>" if misses else ""
    return f'<div class="pair">{columns}</div>{more}'


def definitions(report: Report) -> str:
    """What the words mean, and what the bundle had seen before."""
    words = "".join(f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in _words(report))
    return f"<details><summary>What the words mean</summary><dl>{words}</dl></details>{_overlap(report)}"


def _words(report: Report) -> Iterator[tuple[str, str]]:
    yield "Judged by", f"{report.judged_by.value}: see docs/evaluation.md for the three ways."
    yield "Win", "a request that should be rewritten, and was, to what works."
    yield "Loss", "a request to be left alone that was harmed, or one to be rewritten that got what does not work."
    yield "Guardrail", "a request that must be left alone. Opportunity: one that should be rewritten."
    yield (
        "Defect",
        "a request that does not give its user what they wanted: an opportunity not won, a harmed guardrail.",
    )
    yield "Interval", "95 %: were as many other users drawn, 95 of 100 such intervals would hold the truth."


def _overlap(report: Report) -> str:
    overlap = report.overlap
    if overlap is None:
        return '<p class="soft">Whether the bundle knew the cases was not measured.</p>'
    rows = "".join(
        f"<tr><td>{name}</td>{cell(f'{part:,}')}{cell(share_text(part / max(overlap.cases, 1)))}</tr>"
        for name, part in (
            ("cases of users that it knows", overlap.known_users),
            ("cases with a text that its log held", overlap.known_texts),
            ("cases no later than its log's last turn", overlap.within_log),
            ("the same, of users that it knows", overlap.trained_on),
        )
    )
    table = table_of(("what the bundle had seen", "cases", "share"), rows, "Overlap", numbers=(1, 2))
    if overlap.last_seen is not None:
        return table
    return f'{table}<p class="soft">The log of the bundle has no times: dates not measured.</p>'


_NONE = '<p class="soft">None.</p>'


def _some(number: int, one: str, many: str = "") -> str:
    return f"Some of {counted(number, one, many)}" if number > 1 else counted(number, one, many)
