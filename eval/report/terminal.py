"""The tables of a report, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from eval.estimates import LABELS, SHARES, WIN_LOSS
from eval.finding import Finding
from eval.measures import LEVEL, Interval, Share, WinLoss, win_loss
from eval.report.metrics import ratio_text
from eval.verdict import Judged, Verdict
from eval.wording import NOT_MEASURED, counted, figure_text, interval_text, p_text, share_text, short, time_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from eval.report.document import Report


def tables(report: Report) -> Iterator[RenderableType]:
    """The measures, then why cases ended as they did, what they are compared with, losses and misses, findings."""
    yield _measures(report)
    yield _reasons(report)
    if report.rungs:
        yield _ladder(report)
    if report.paired:
        yield _comparison(report)
    tally = report.tally
    for title, shown, total in (("Losses", report.losses, tally.losses), ("Misses", report.misses, tally.missed)):
        if shown:
            more = f" ({len(shown)} of {total:,})" if len(shown) < total else ""
            yield _examples(title + more, shown)
    if report.findings:
        yield _findings(report.findings)


def _measures(report: Report) -> Table:
    tally = report.tally
    told = f"{tally.opportunities:,} opportunities, {tally.guardrails:,} guardrails, {report.users:,} users"
    told += f"; judged by {report.judged_by.value}"
    if report.unmeasured:
        told += f"; {report.unmeasured:,} turns without gold.rewrite not measured"
    if report.count.unjudged:
        told += f"; {report.count.unjudged:,} cases that could not be judged not measured"
    if report.repeated:
        told += f"; {counted(report.repeated, 'turn')} with a turn_id that came before counted once"
    if report.contradictory:
        told += f"\n{counted(report.contradictory, 'turn')} not measured, since their gold contradicts itself"
    if report.unknown_gold:
        told += f"\n{counted(report.unknown_gold, 'turn')} not measured, since their gold has an unknown field"
    if report.contradictions:
        told += ": " + "; ".join(report.contradictions).replace("[", r"\[")
    ratio = win_loss(tally)
    if not ratio.losses:
        told += f"\nWins : losses: {ratio_text(ratio)}"
    table = _table("Measures", "measure", "value", f"{LEVEL:.0%} interval", "by user", "cases", caption=told)
    for name, measure in SHARES.items():
        share, (label, meaning) = measure(tally), LABELS[name]
        value, interval, cases = _share_cells(share)
        table.add_row(f"{label} ({meaning})", value, interval, interval_text(report.estimates[name]), cases)
    removed = report.estimates["relative_reduction"]
    table.add_row("Defects removed (of those before)", figure_text(removed), "", interval_text(removed), "")
    counts = f"{ratio.wins:,} : {ratio.losses:,}"
    clustered = interval_text(report.estimates[WIN_LOSS])
    table.add_row("Wins : losses", _ratio_cell(ratio), _interval_text(ratio.interval, "{:.1f}"), clustered, counts)
    if report.bootstrap:
        table.add_row("  the same, users resampled", "", _interval_text(report.bootstrap, "{:.1f}"), "", "")
    return table


def _reasons(report: Report) -> Table:
    table = _table("Verdicts by the engine's reason", "verdict", "reason", "cases", "median", "99 %")
    for (verdict, reason), cases in sorted(report.reasons.items(), key=lambda item: (item[0][0], -item[1])):
        latency = report.count.times_by_reason[reason].latency
        table.add_row(verdict.value, reason, f"{cases:,}", time_text(latency.p50), time_text(latency.p99))
    return table


def _ladder(report: Report) -> Table:
    told = "".join(f"{name} was not run: {why}\n" for name, why in report.absent.items()).strip()
    columns = ("engine", "wins : losses", "recall", "false triggers", "defects removed", "median")
    table = _table("The ladder", *columns, caption=told or None)
    rungs = [(rung.name, rung.estimates, rung.count) for rung in report.rungs]
    for name, figures, count in (*rungs, (report.names[0], report.estimates, report.count)):
        ratio = figures[WIN_LOSS]
        shares = [figure_text(figures[each]) for each in ("recall", "false_trigger_rate", "relative_reduction")]
        table.add_row(Text(name), f"{ratio.part:,} : {ratio.whole:,}", *shares, time_text(count.times.latency.p50))
    return table


def _comparison(report: Report) -> Table:
    assert report.paired
    assert report.difference
    paired, difference = report.paired, report.difference
    ends = difference.interval
    told = f"wins less losses: {share_text(difference.value or 0.0)} of cases more than there"
    told += f", {LEVEL:.0%} interval {share_text(ends.low)} to {share_text(ends.high)}" if ends else ", no interval"
    table = _table(
        f"Against {paired.name}", "", "here only", "there only", "McNemar", caption=f"{told}, {p_text(difference.p)}"
    )
    for name, pair in (("wins", paired.discordant_wins), ("losses", paired.discordant_losses)):
        table.add_row(name, f"{pair.only_this:,}", f"{pair.only_other:,}", p_text(pair.p))
    return table


def _examples(title: str, shown: Sequence[Judged]) -> Table:
    table = _table(title, "turn", "said", "served", "wanted", "why")
    for judged in shown:
        turn, reason = judged.case.turn, judged.decision.reason.value
        cells = (turn.turn_id, turn.said, served_text(judged), wanted_text(judged), reason)
        table.add_row(*(Text(short(cell)) for cell in cells))  # as they are, not read as markup
    return table


def _findings(findings: Sequence[Finding]) -> Table:
    table = _table("Findings, the weightiest first", "", "what", "how bad", "where to look")
    for finding in findings:
        table.add_row(finding.weight.value, finding.title, Text(finding.says), Text(finding.look))
    return table


def wanted_text(judged: Judged) -> str:
    """What was wanted, in a few words."""
    accepted, gold = judged.case.accepted, judged.case.turn.gold
    if accepted:
        return accepted[0] + (f" (or {len(accepted) - 1} more)" if len(accepted) > 1 else "")
    if judged.verdict in (Verdict.FALSE_TRIGGER, Verdict.LEFT_ALONE, Verdict.UNHARMED):
        return "left alone"
    return gold.text if gold and gold.text else "what works"


def served_text(judged: Judged) -> str:
    """The rewrite, or what came nearest."""
    if judged.verdict is not Verdict.MISSED:
        return judged.decision.text
    nearest = judged.decision.alternatives[:1]
    return f"(left alone; near: {nearest[0].text})" if nearest else "(left alone)"


def _share_cells(share: Share) -> tuple[str, str, str]:
    if share.value is None:
        return NOT_MEASURED, "", "none"
    return f"{share.value:.1%}", _interval_text(share.interval, "{:.1%}"), f"{share.part:,} of {share.whole:,}"


def _ratio_cell(ratio: WinLoss) -> str:
    if ratio.value is None:
        return NOT_MEASURED
    return ratio_text(ratio) if ratio.losses else "no losses seen"


def _interval_text(interval: Interval | None, form: str) -> str:
    if interval is None:
        return ""
    if math.isinf(interval.high):
        return form.format(interval.low) + " or more"
    return " to ".join(form.format(end) for end in interval)


def _table(title: str, *columns: str, caption: str | None = None) -> Table:
    return Table(*columns, title=title, caption=caption, title_justify="left", caption_justify="left")
