"""The documents for programs: `metrics.json`, and the part of it that is the same at every run."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from eval.cases import Judging
from eval.estimates import SHARES, WIN_LOSS, Estimate
from eval.harm import Harm
from eval.measures import Interval, WinLoss, win_loss
from eval.systems import throughput
from eval.wording import NOT_MEASURED

if TYPE_CHECKING:
    from eval.report.document import Part, Report, Rung

FORMAT, VERSION = "reprise-eval", 2


def document(report: Report) -> dict[str, Any]:
    """Plain values, for JSON: what is the same whenever the same bundle is put to the same cases.

    null stands for what was not measured and for an interval without an upper end.
    """
    tally = report.tally
    return {
        "format": FORMAT,
        "version": VERSION,
        "judged_by": report.judged_by.value,
        "cases": {
            "opportunities": tally.opportunities,
            "guardrails": tally.guardrails,
            "not_measured": report.unmeasured,
            "not_judged": report.count.unjudged,
            "contradictory": report.contradictory,
            "unknown_gold": report.unknown_gold,
            "repeated": report.repeated,
            "users": report.users,
        },
        "verdicts": _verdicts(report),
        "measures": _measures(report),
        "harm": {kind.value: report.count.harms[kind] for kind in Harm},
        "calibration": _calibration(report),
        "reasons": [
            {"verdict": verdict.value, "reason": reason, "cases": cases}
            for (verdict, reason), cases in report.reasons.items()
        ],
        "slices": [_part(part) for part in report.parts],
        "comparison": _comparison(report),
        "ladder": [_rung(rung) for rung in report.rungs],
        "ladder_not_run": dict(report.absent),
        "overlap": asdict(report.overlap) | {"blame": report.overlap.blame.value} if report.overlap else None,
        "losses": [judged.as_dict() for judged in report.losses],
        "misses": [judged.as_dict() for judged in report.misses],
        "contradictions": list(report.contradictions),
    }


def metrics(report: Report) -> dict[str, Any]:
    """The same with what differs from run to run: times, and the findings and the answer that rest on them."""
    more = {
        "bundle": report.names[0],
        "against": report.names[1] if report.paired else None,
        "answer": {
            "ship": report.answer.ship.value,
            "says": report.answer.says,
            "reasons": list(report.answer.reasons),
        },
        "gate": {"name": report.gate.name, "checks": [check.as_dict() for check in report.checks]},
        "findings": [finding.as_dict() for finding in report.findings],
        "system": _system(report),
    }
    return document(report) | more


def _verdicts(report: Report) -> dict[str, int]:
    tally = report.tally
    names = ["wins", "wrong", "missed", "false_triggers", "left_alone"]
    names += [] if report.judged_by is Judging.TEXTS else ["unharmed"]
    return {name: getattr(tally, name) for name in names}


def _measures(report: Report) -> dict[str, Any]:
    tally = report.tally
    found: dict[str, Any] = {}
    for name, measure in SHARES.items():
        share, estimate = measure(tally), report.estimates[name]
        found[name] = {
            "value": share.value, "interval": _ends(share.interval), "part": share.part, "whole": share.whole
        }  # fmt: skip
        if share.value is not None:
            found[name]["interval_clustered"] = _ends(estimate.interval)
    reduced = report.estimates["relative_reduction"]
    found["relative_reduction"] = {"value": reduced.value, "interval_clustered": _ends(reduced.interval)}
    ratio = win_loss(tally)
    found[WIN_LOSS] = {
        "value": finite(ratio.value),
        "interval": _ends(ratio.interval),
        "interval_method": "Jeffreys, mapped to odds",
        "interval_by_user": _ends(report.bootstrap),
        "interval_clustered": _ends(report.estimates[WIN_LOSS].interval),
        "wins": ratio.wins,
        "losses": ratio.losses,
        "says": ratio_text(ratio),
    }
    return found


def _calibration(report: Report) -> dict[str, Any]:
    scores = report.count.scores
    curve = scores.reliability
    return {
        "brier": scores.brier,
        "expected_calibration_error": scores.calibration_error,
        "scored": scores.scored,
        "without_score": scores.unscored,
        "said": curve.said.tolist(),
        "came_true": curve.came_true.tolist(),
        "cases": curve.turns.tolist(),
    }


def _comparison(report: Report) -> dict[str, Any] | None:
    if report.paired is None or report.difference is None:
        return None
    tallies, difference = report.paired.other.tallies, report.difference
    wins, losses = report.paired.discordant_wins, report.paired.discordant_losses
    return {
        "cases": report.paired.cases,
        "measures": {name: _estimate(each) for name, each in report.other_estimates.items()},
        "verdicts": asdict(tallies.total),
        "difference": difference.value,
        "difference_interval": _ends(difference.interval),
        "difference_p": difference.p,
        "wins": {"only_this": wins.only_this, "only_other": wins.only_other, "mcnemar_p": wins.p},
        "losses": {"only_this": losses.only_this, "only_other": losses.only_other, "mcnemar_p": losses.p},
    }


def _system(report: Report) -> dict[str, Any]:
    times = report.count.times
    found: dict[str, Any] = {
        "latency_s": asdict(times.latency),
        "latency_by_reason_s": {
            reason: asdict(each.latency) for reason, each in sorted(report.count.times_by_reason.items())
        },
        "decisions_per_second": throughput(times.seen, times.sum),
        "peak_memory_bytes": report.memory.own,
        "run_seconds": report.seconds,
    }
    if report.paired:
        found["against_latency_s"] = asdict(report.paired.other.times.latency)
        found["latency_ratio"] = {
            "p50": report.paired.latency_ratio(report.count, "p50"),
            "p99": report.paired.latency_ratio(report.count, "p99"),
        }
    return found


def ratio_text(ratio: WinLoss) -> str:
    """The ratio in words where it is no number."""
    if ratio.value is None:
        return f"{NOT_MEASURED}: nothing was triggered"
    if ratio.interval and math.isinf(ratio.value):
        return f"no losses seen in {ratio.wins:,}, lower bound {ratio.interval.low:.1f}"
    return f"{ratio.value:.1f}"


def finite(number: float | None) -> float | None:
    """The number, or None where JSON knows none."""
    return number if number is not None and math.isfinite(number) else None


def as_json(document: dict[str, Any]) -> str:
    """A document as text; NaN and infinity cannot be in it."""
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)


def _ends(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [finite(end) for end in interval]


def _estimate(each: Estimate) -> dict[str, Any]:
    ends = _ends(each.interval)
    return {"value": finite(each.value), "interval_clustered": ends, "part": each.part, "whole": each.whole}


def _part(part: Part) -> dict[str, Any]:
    told = {"field": part.field, "value": part.value, "cases": part.tally.cases, "users": part.users}
    measures = None if part.too_small else {name: _estimate(each) for name, each in part.estimates.items()}
    return told | {"too_small": part.too_small, "measures": measures}


def _rung(rung: Rung) -> dict[str, Any]:
    measures = {name: _estimate(each) for name, each in rung.estimates.items()}
    return {"name": rung.name, "rule": rung.told, "verdicts": asdict(rung.count.tallies.total), "measures": measures}
