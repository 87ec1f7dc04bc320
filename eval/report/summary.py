"""The report as Markdown, short enough for a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from eval.estimates import LABELS
from eval.harm import Harm
from eval.wording import figure_text, interval_text, p_text, share_text, time_text

if TYPE_CHECKING:
    from eval.report.document import Report


def summary(report: Report) -> str:
    """Answer, reasons, figures, findings, and what they are compared with."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    tally, latency = report.tally, report.count.times.latency
    yield f"# {_plain(report.answer.says)}\n"
    yield from (f"{number}. {_plain(reason)}" for number, reason in enumerate(report.answer.reasons, 1))
    yield f"\n{tally.opportunities:,} opportunities and {tally.guardrails:,} guardrails of {report.users:,} users,"
    yield f"judged by {report.judged_by.value}; not measured: {report.unmeasured:,} turns without gold for it,"
    yield f"{report.count.unjudged:,} that could not be judged, {report.contradictory:,} that contradict themselves,"
    yield f"{report.unknown_gold:,} with an unknown field of gold; {report.repeated:,} came again and counted once.\n"
    others = report.other_estimates
    head = ["measure", "value", "95% interval by user", *([f"{_plain(report.names[1])}"] if others else [])]
    yield from _table(head)
    for name in LABELS:
        each = report.estimates[name]
        row = [f"{each.label} ({LABELS[name][1]})", figure_text(each), interval_text(each)]
        yield _row([*row, *([figure_text(others[name])] if others else [])])
    yield f"\nLatency: median {time_text(latency.p50)}, 99 % {time_text(latency.p99)}.\n"
    harms = ", ".join(f"{kind.value} {report.count.harms[kind]:,}" for kind in Harm)
    yield f"Harm by kind: {harms}.\n"
    if report.difference:
        ends = report.difference.interval
        between = f" ({share_text(ends.low)} to {share_text(ends.high)})" if ends else ""
        told = f"{share_text(report.difference.value or 0.0)} of cases{between}, {p_text(report.difference.p)}"
        yield f"Wins less losses against {_plain(report.names[1])}: {told}.\n"
    yield "## Findings\n"
    yield from (
        f"{place}. **{each.weight.value}: {each.title}.** {_plain(each.says)}. Look at: {_plain(each.look)}."
        for place, each in enumerate(report.findings, 1)
    )
    if not report.findings:
        yield "None."
    if report.rungs:
        yield "\n## The ladder\n"
        yield from _table(["engine", "wins", "losses", "recall", "false triggers"])
        rungs = [(rung.name, rung.estimates) for rung in report.rungs]
        for name, figures in (*rungs, (report.names[0], report.estimates)):
            ratio, won, harmed = (figures[each] for each in ("win_loss", "recall", "false_trigger_rate"))
            counts = [f"{ratio.part:,}", f"{ratio.whole:,}"]
            yield _row([_plain(name), *counts, figure_text(won), figure_text(harmed)])
        yield from (f"\nNot run: {name}, since {_plain(why)}." for name, why in report.absent.items())


def _table(head: Iterable[str]) -> Iterator[str]:
    columns = list(head)
    yield _row(columns)
    yield _row(["---"] * len(columns))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """A text of a log, without what Markdown or HTML would read."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join("\\" + letter if letter in "|*_`[]#\\" else letter for letter in text)
