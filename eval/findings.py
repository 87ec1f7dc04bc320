"""The rules by which a report's findings are found, each a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from eval.count import Pair
from eval.finding import Fault, Finding, Weight
from eval.harm import Harm
from eval.measures import Tally
from eval.overlap import Blame, Overlap
from eval.systems import percentile_interval
from eval.verdict import Judged
from eval.wording import counted, figure_text, interval_text, p_text, share_text, short, time_text

if TYPE_CHECKING:
    from eval.comparison import Paired
    from eval.report.document import Report

#: Share of served rewrites that a fault must reach to be severe by itself, and losses below which it is a warning.
SHARE, FEW = 0.005, 2
#: How many times as long as the other's is told, and how many are severe; what no decision should take at p99.
SLOWER, FAR_SLOWER, DEADLINE_S = 1.5, 10, 0.05
#: Differences below these are no matter, in the median and at p99: of what is told, and of what is severe. A tail
#: differs more by chance, so that it must be some milliseconds.
LEAST_S = {"p50": (0.0002, 0.00005), "p99": (0.005, 0.005)}
_PERCENTILES: Sequence[tuple[Literal["p50", "p99"], float, str]] = (
    ("p50", 0.5, "the median decision takes"), ("p99", 0.99, "the slowest decision of a hundred takes"),
)  # fmt: skip
CALIBRATION, SCORED = 0.1, 100
#: Losses of one rewrite from which on it loses again and again.
AGAIN = 3
#: By how much a part's precision must surely lie below that of the whole.
WORSE = 0.05
EVIDENCE = 5


def find(report: Report) -> list[Finding]:
    """All findings, the weightiest first."""
    found = [each for rule in _RULES for each in rule(report)]
    return sorted(found, key=lambda each: each.rank)


def _leak(report: Report) -> Iterator[Finding]:
    leaks = report.count.harms[Harm.OTHER_USER]
    if leaks:
        yield Finding(
            Fault.LEAK,
            Weight.SEVERE,
            f"{_cases(leaks)} got a text that only another user's history holds",
            _told(report.count.harmed[Harm.OTHER_USER].kept),
            "the personal layer: which user's rows it searches; histories.parquet and corrections.parquet",
            leaks,
        )


def _trained_on(report: Report) -> Iterator[Finding]:
    overlap = report.overlap
    if overlap is None or overlap.blame is Blame.CLEAN:
        return
    users, within = overlap.known_users, overlap.within_log
    evidence = (
        f"{_of(users, overlap.cases)} cases are of users that the bundle knows",
        f"{_of(overlap.known_texts, overlap.cases)} cases have a text that its log held",
        f"{_of(within, overlap.cases)} cases are of the time of its log",
        *_dates(overlap),
    )
    look = "learn the bundle from other users, or from days before the cases: manifest.json says what its log spans"
    if overlap.blame in (Blame.TRAINED_ON, Blame.A_FEW):
        both, severe = overlap.trained_on, overlap.blame is Blame.TRAINED_ON
        says = f"{_of(both, overlap.cases)} cases are of users and days that the bundle was learned from"
        yield Finding(Fault.TRAINED_ON, Weight.SEVERE if severe else Weight.WARNING, says, evidence, look, both)
    elif overlap.blame is Blame.KNOWN_USERS:
        says = f"{_of(users, overlap.cases)} cases are of users that the bundle was learned from"
        yield Finding(Fault.SEEN, Weight.WARNING, says, evidence, look, users)
    else:
        says = f"{_of(within, overlap.cases)} cases are of the days of its log, though of other users"
        yield Finding(Fault.SEEN, Weight.NOTE, says, evidence, look, within)


def _polarity(report: Report) -> Iterator[Finding]:
    yield from _harm(report, Harm.POLARITY, Fault.POLARITY, "say the opposite, or another side, of what was wanted")


def _number(report: Report) -> Iterator[Finding]:
    yield from _harm(report, Harm.NUMBER, Fault.NUMBER, "have another number, time or amount than was wanted")


def _harm(report: Report, kind: Harm, fault: Fault, what: str) -> Iterator[Finding]:
    cases = report.count.harms[kind]
    if not cases:
        return
    look = f"the guards (rewrite/guards.py), and errors.jsonl where harm is {kind.value!r}"
    yield Finding(
        fault,
        _weight(report, cases),
        f"{_served(report, cases)} {what}",
        _told(report.count.harmed[kind].kept),
        look,
        cases,
    )


def _swapped(report: Report) -> Iterator[Finding]:
    cases = report.count.strayed
    if cases:
        says = f"{_served(report, cases)} belong to another request: nothing in common, or the table's for another"
        look = "rewrites.jsonl against what is served: an index that does not fit its table, rows that were mixed up"
        yield Finding(Fault.SWAPPED, _weight(report, cases), says, _told(report.count.strays.kept), look, cases)


def _broken(report: Report) -> Iterator[Finding]:
    for reason, weight in (("fault", Weight.SEVERE), ("deadline", Weight.WARNING)):
        cases = sum(number for (_, why), number in report.count.reasons.items() if why == reason)
        if cases:
            says = f"{_cases(cases)} went through unchanged for the reason {reason!r}"
            look = f"decisions with the reason {reason!r}: their evidence"
            yield Finding(Fault.BROKEN, weight, says, (), look, cases)


def _worse(report: Report) -> Iterator[Finding]:
    if report.paired is None or report.difference is None:
        return
    paired, difference = report.paired, report.difference
    high = difference.interval.high if difference.interval else None
    if difference.value is None or high is None or high >= 0:
        return
    wins, losses = paired.discordant_wins, paired.discordant_losses
    cases = paired.given_up.seen
    evidence = (
        f"wins: {wins.only_this:,} here only, {wins.only_other:,} there only ({p_text(wins.p)})",
        f"losses: {losses.only_this:,} here only, {losses.only_other:,} there only ({p_text(losses.p)})",
    )
    says = f"wins less losses fall by {share_text(-difference.value)} of cases against {paired.name}"
    yield Finding(Fault.WORSE, Weight.SEVERE, says, evidence, "the cases given up, below", cases)


def _slower(report: Report) -> Iterator[Finding]:
    mine = report.count.times.latency
    if report.paired is not None:
        its, found = report.paired.other.times.latency, _slower_than(report, report.paired)
        if found:
            far = any(severe for severe, _ in found)
            weight = Weight.SEVERE if far or (mine.p99 or mine.p50 or 0.0) > DEADLINE_S else Weight.WARNING
            told = (says for _, says in sorted(found, key=lambda each: not each[0]))
            says = f"{', and '.join(told)} as long as that of {report.paired.name}"
            evidence = (
                f"median {time_text(mine.p50)} against {time_text(its.p50)}",
                f"99th percentile {time_text(mine.p99)} against {time_text(its.p99)}",
                _slowest(report),
            )
            yield Finding(Fault.SLOWER, weight, says, evidence, "the latency by reason, below", mine.requests)
            return
    if mine.p99 is not None and mine.p99 > DEADLINE_S:
        says = f"one decision in a hundred takes longer than {time_text(mine.p99)}"
        look = "the latency by reason, below; the engine's deadline_s"
        yield Finding(Fault.SLOWER, Weight.WARNING, says, (_slowest(report),), look, mine.requests)


def _slower_than(report: Report, paired: Paired) -> list[tuple[bool, str]]:
    """Of the median and of p99, where it surely is slower: whether that is severe, and how many times as long."""
    found = []
    for name, share, what in _PERCENTILES:
        ratio = paired.latency_ratio(report.count, name)
        here, there = (percentile_interval(each.times.sample, share) for each in (report.count, paired.other))
        if ratio is None or here is None or there is None or here.low <= there.high:
            continue
        more = getattr(report.count.times.latency, name) - getattr(paired.other.times.latency, name)
        told, severe = (
            ratio >= times and more >= least for times, least in zip((SLOWER, FAR_SLOWER), LEAST_S[name], strict=True)
        )
        if told or severe:
            found.append((severe, f"{what} {ratio:.1f} times"))
    return found


def _slowest(report: Report) -> str:
    by_reason = report.count.times_by_reason
    reason, times = max(by_reason.items(), key=lambda each: each[1].sum)
    return f"most of the time goes into {reason!r}: {times.sum / report.count.times.sum:.0%} of it"


def _beaten(report: Report) -> Iterator[Finding]:
    net = report.tally.wins - report.tally.losses
    tallies = [(rung, rung.count.tallies.total) for rung in report.rungs]
    better = [(tally.wins - tally.losses, rung, tally) for rung, tally in tallies if tally.wins - tally.losses > net]
    if better:
        best, rung, _ = max(better, key=lambda each: each[0])
        says = f"{rung.name!r} has {best:,} wins less losses, where the bundle has {net:,}"
        told = tuple(f"{rung.name}: {_ends(tally)}" for _, rung, tally in better)
        yield Finding(Fault.BEATEN, Weight.WARNING, says, told, "the ladder, below", best - net)


def _false_triggers(report: Report) -> Iterator[Finding]:
    rate = report.estimates["false_trigger_rate"]
    if rate.value is not None and rate.value > SHARE:
        says = f"{figure_text(rate)} of what must be left alone is rewritten ({interval_text(rate) or 'one user'})"
        told = _told([each for each in report.losses if each.verdict.value == "false_trigger"])
        look = "errors.jsonl where verdict is 'false_trigger'; the reasons that serve them"
        yield Finding(Fault.FALSE_TRIGGERS, Weight.WARNING, says, told, look, rate.part)


def _slices(report: Report) -> Iterator[Finding]:
    """Parts whose precision surely lies WORSE below that of the whole; the worst few."""
    whole = report.estimates["precision"].value
    if whole is None:
        return
    large = [part for part in report.parts if not part.too_small]
    low = [part for part in large if (part.estimates["precision"].high or 1.0) < whole - WORSE]
    for part in sorted(low, key=lambda part: -part.tally.losses)[:3]:
        precision = part.estimates["precision"]
        says = f"in {part.name} precision is {figure_text(precision)}, {share_text(whole)} in all"
        told = (f"interval {interval_text(precision)}", _ends(part.tally))
        yield Finding(Fault.SLICE, Weight.WARNING, says, told, f"the slices, below: {part.name}", part.tally.losses)


def _repeated(report: Report) -> Iterator[Finding]:
    pairs = [pair for pair in report.count.worst if pair.losses >= AGAIN]
    if pairs:
        worst = pairs[0]
        many = "1 rewrite loses" if len(pairs) == 1 else f"{len(pairs):,} rewrites lose"
        says = f"{many} again and again: {_pair(worst)} {worst.losses:,} times"
        shown = pairs[:EVIDENCE]
        told = tuple(f"{_pair(pair)}: {_ends(pair)} ({pair.reason})" for pair in shown)
        look = "rewrite show BUNDLE --source TEXT says why it was learned; rewrite block BUNDLE TEXT stops it"
        net = sum(pair.losses for pair in pairs if pair.losses > pair.wins)  # the others help more often than they harm
        yield Finding(Fault.REPEATED, _weight(report, net), says, told, look, sum(pair.losses for pair in pairs))


def _calibration(report: Report) -> Iterator[Finding]:
    scores = report.count.scores
    error = scores.calibration_error
    if error is not None and error > CALIBRATION and scores.scored >= SCORED:
        says = f"scores lie {share_text(error)} from what came true, in the mean over {scores.scored:,} rewrites"
        yield Finding(Fault.CALIBRATION, Weight.WARNING, says, (), "the reliability curve, below", scores.scored)


def _not_measured(report: Report) -> Iterator[Finding]:
    tally = report.tally
    missing = []
    if not tally.guardrails:
        missing.append("no guardrail: nothing tells how often good requests are harmed")
    if not tally.opportunities:
        missing.append("no opportunity: nothing tells whether it helps")
    if report.users < 2:
        missing.append("one user only: nothing tells how users differ, so that no figure has an interval by user")
    if report.count.unjudged:
        missing.append(f"{report.count.unjudged:,} cases could not be judged by {report.judged_by.value}")
    if report.contradictory:
        missing.append(f"{counted(report.contradictory, 'turn')} whose gold contradicts itself were left out")
    if report.unknown_gold:
        missing.append(f"{counted(report.unknown_gold, 'turn')} whose gold has an unknown field were left out")
    if report.repeated:
        missing.append(f"{counted(report.repeated, 'turn')} came again with the same turn_id and counted once")
    if missing:
        look = "add such cases to the annotated logs" if report.users else "the cases"
        untold = report.count.unjudged + report.contradictory + report.unknown_gold
        yield Finding(Fault.NOT_MEASURED, Weight.WARNING, missing[0], tuple(missing), look, untold)


_RULES: Sequence[Callable[[Report], Iterator[Finding]]] = (
    _leak, _trained_on, _polarity, _swapped, _number, _broken, _worse, _slower, _beaten, _false_triggers, _slices,
    _repeated, _calibration, _not_measured,
)  # fmt: skip


def _weight(report: Report, cases: int) -> Weight:
    return Weight.SEVERE if cases >= FEW and cases >= SHARE * report.tally.triggered else Weight.WARNING


def _served(report: Report, cases: int) -> str:
    return f"{cases:,} of {report.tally.triggered:,} served rewrites"


def _told(judged: Sequence[Judged]) -> tuple[str, ...]:
    """Distinct examples."""
    found = {(each.case.turn.said, each.decision.text): each.case.turn.turn_id for each in judged}
    shown = list(found.items())[:EVIDENCE]
    return tuple(f"{short(said)} → {short(served)} ({short(turn)})" for (said, served), turn in shown)


def _cases(number: int) -> str:
    return counted(number, "case")


def _ends(each: Tally | Pair) -> str:
    return f"{counted(each.wins, 'win')}, {counted(each.losses, 'loss', 'losses')}"


def _pair(pair: Pair) -> str:
    return f"{short(pair.said)} → {short(pair.served)}"


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}" if part < whole else f"all {whole:,}"


def _dates(overlap: Overlap) -> Iterator[str]:
    ends = (overlap.first_seen, overlap.last_seen, overlap.first_case, overlap.last_case)
    if all(end is not None and math.isfinite(end) for end in ends):
        days = [datetime.fromtimestamp(end or 0.0, UTC).strftime("%Y-%m-%d") for end in ends]
        yield f"its log is of {days[0]} to {days[1]}, the cases are of {days[2]} to {days[3]}"
