"""The page: one file, no script, nothing fetched. Texts of logs are escaped wherever they stand.

The first screen answers whether to ship; what follows is in the order in which a person would ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from eval.estimates import LABELS, WIN_LOSS
from eval.finding import Finding
from eval.overlap import Blame
from eval.report import pictures, sections
from eval.report.svg import interval_mark
from eval.ship import Ship
from eval.wording import counted, figure_text, interval_text, limit_text

if TYPE_CHECKING:
    from eval.estimates import Estimate
    from eval.gate import Check
    from eval.report.document import Report

_CLASSES = {Ship.YES: "yes", Ship.NO: "no", Ship.UNPROVEN: "unproven"}
_SIGNS = {Ship.YES: "✓ Ship", Ship.NO: "✕ Do not ship", Ship.UNPROVEN: "? Not proven"}
_BLAMED = {
    Blame.TRAINED_ON: "The bundle was learned from these very users and days: the figures show memory, not judgement.",
    Blame.KNOWN_USERS: "Many of these users are in the log that the bundle was learned from.",
}


def page(report: Report) -> str:
    """The whole page."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    parts = list(_parts(report))
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in parts)
    body = "".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><div class="wide">'
        f'<h2 id="{name}-title">{escape(title)}</h2>{content}</div></section>'
        for name, title, content in parts
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(_SIGNS[report.answer.ship][2:])}: {escape(report.names[0])}</title>"
        f'<style>{style}</style></head><body><a class="skip" href="#figures">Skip to the figures</a>'
        f'<header class="wide">{_head(report)}</header><div class="wide"><nav aria-label="Parts">{links}</nav></div>'
        f'<main>{body}</main><footer class="wide"><p>Made by <code>python -m eval run</code>. '
        "<code>metrics.json</code> beside this page has every number, <code>errors.jsonl</code> every loss and miss."
        "</p></footer></body></html>\n"
    )


def _parts(report: Report) -> Iterator[tuple[str, str, str]]:
    """(id, title, content) of every section that has something to say."""
    yield "figures", "The figures", _figures(report)
    yield "findings", "Findings", _findings(report)
    if report.paired:
        yield "comparison", f"Against {report.names[1]}", sections.comparison(report)
    if report.rungs:
        yield "ladder", "Against simpler engines", sections.ladder(report)
    yield "harm", "Harm by kind", sections.harm(report)
    yield "examples", "Wins and losses", sections.examples(report)
    yield "scores", "Scores", pictures.scores(report)
    if report.parts:
        yield "slices", "Parts of the cases", pictures.slices(report)
    yield "latency", "Time and memory", pictures.latency(report)
    yield "rules", "How it was decided", _rules(report) + sections.definitions(report)


def _head(report: Report) -> str:
    answer, tally = report.answer, report.tally
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in answer.reasons)
    told = [
        f"{tally.opportunities:,} opportunities and {tally.guardrails:,} guardrails",
        f"{report.users:,} user{'' if report.users == 1 else 's'}",
        f"judged by {report.judged_by.value}",
        *_unmeasured(report),
    ]
    blamed = _BLAMED.get(report.overlap.blame) if report.overlap else None
    loud = f'<p class="loud" role="alert"><strong>{escape(blamed)}</strong></p>' if blamed else ""
    return (
        f'<span class="pill {_CLASSES[answer.ship]}">{_SIGNS[answer.ship]}</span><h1>{escape(answer.says)}</h1>'
        f'<ol class="reasons">{reasons}</ol>{loud}<p class="soft small">{escape("; ".join(told))}.</p>'
    )


def _unmeasured(report: Report) -> Iterator[str]:
    if report.unmeasured:
        yield f"{report.unmeasured:,} turns without the gold for it not measured"
    if report.count.unjudged:
        yield f"{report.count.unjudged:,} cases that could not be judged not measured"
    if report.contradictory:
        yield f"{counted(report.contradictory, 'turn')} whose gold contradicts itself not measured"
    if report.unknown_gold:
        yield f"{counted(report.unknown_gold, 'turn')} whose gold has an unknown field not measured"
    if report.repeated:
        yield f"{counted(report.repeated, 'turn')} with a turn_id that came before counted once"


def _figures(report: Report) -> str:
    limits = {check.bound.name.rpartition("_")[0]: check for check in report.checks if check.bound.part is None}
    order = (WIN_LOSS, "false_trigger_rate", "relative_reduction", *(name for name in LABELS))
    cards = "".join(_card(report.estimates[name], limits.get(name)) for name in dict.fromkeys(order))
    told = "Whiskers are 95% intervals that count users, not cases; a dashed line is the bound."
    return f'<p class="soft">{told}</p><div class="cards">{cards}</div>'


def _card(each: Estimate, check: Check | None) -> str:
    value, interval = figure_text(each), interval_text(each)
    ratio = each.name == WIN_LOSS
    most = max(2.5 * check.bound.limit if check and ratio else 8.0, 1.15 * (each.low or 0.0)) if ratio else 1.0
    if not ratio and (each.high or each.value or 0.0) < 0.25:
        most = 0.25
    kind = "bad" if each.name in ("false_trigger_rate", "defect_rate_after", "defect_rate_before") else "good"
    shown = min(each.value, most) if ratio and each.value is not None else each.value
    limit = check.bound.limit if check else None
    mark = interval_mark(shown, each.low, each.high, most=most, limit=limit, kind=kind, label=f"{each.label}: {value}")
    counted = f"{each.part:,} : {each.whole:,}" if ratio else f"{each.part:,} of {each.whole:,}"
    bound = ""
    if check:
        wanted = "at least" if check.bound.least else "at most"
        bound = f'<div class="small soft">wanted: {_end(check)} {wanted} {escape(limit_text(check.bound))}</div>'
    words = " words" if not value[0].isdigit() and not value.startswith("-") else ""
    return (
        f'<div class="card"><div class="soft small">{escape(each.label)}, {escape(LABELS[each.name][1])}</div>'
        f'<div class="figure{words}">{escape(value)}</div>{mark}'
        f'<div class="small soft">{escape(interval or "no interval")}; {counted}</div>{bound}</div>'
    )


def _end(check: Check) -> str:
    return {"lower": "lower end", "upper": "upper end"}.get(check.bound.name.rpartition("_")[2], "figure")


def _findings(report: Report) -> str:
    if not report.findings:
        return '<p class="soft">Nothing was found that should keep it back.</p>'
    rows = "".join(_finding(each) for each in report.findings)
    return f'<p class="soft">What is wrong, the weightiest first.</p><ol class="findings">{rows}</ol>'


def _finding(each: Finding) -> str:
    says = each.says[0].upper() + each.says[1:]
    evidence = "".join(f"<li>{escape(line)}</li>" for line in each.evidence)
    shown = f'<ul class="small">{evidence}</ul>' if evidence else ""
    return (
        f'<li class="{each.weight.value}"><h3><span class="tag">{each.weight.value}</span>{escape(each.title)}</h3>'
        f'<p>{escape(says)}.</p>{shown}<p class="small soft">Where to look: {escape(each.look)}.</p></li>'
    )


def _rules(report: Report) -> str:
    rows = "".join(
        f'<tr><td>{escape(check.bound.full_name)}</td><td class="n">{escape(limit_text(check.bound))}</td>'
        f'<td class="n">{escape("not measured" if check.value is None else limit_text(check.bound, check.value))}</td>'
        f'<td class="{"held" if check.held else "broken"}">{"✓ kept" if check.held else "✕ not kept"}</td></tr>'
        for check in report.checks
    )
    return (
        f"<p>By {escape(report.gate.name)}. <strong>Ship</strong>: every bound is kept. <strong>Do not ship</strong>: a"
        " figure itself breaks its bound, or there is a severe finding. <strong>Not proven</strong>: bounds are broken"
        " by the uncertainty only, or by what was not measured.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Bounds"><table><thead><tr><th>bound</th>'
        f'<th class="n">limit</th><th class="n">measured</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
