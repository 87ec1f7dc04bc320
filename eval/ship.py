"""Ship or not? One sentence with the three weightiest reasons.

ship        every bound is kept
do not      a figure itself breaks its bound, or there is a severe finding
not proven  only the intervals break bounds, or something was not measured: more cases would tell
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from eval.estimates import WIN_LOSS, Estimate
from eval.gate import Check
from eval.wording import figure_text, interval_text, limit_text

if TYPE_CHECKING:
    from eval.report.document import Report

REASONS = 3
#: The figures that say most, where no bound is broken.
_HEADLINES = (WIN_LOSS, "false_trigger_rate", "relative_reduction")
_FINDINGS = "severe_findings_max"


class Ship(StrEnum):
    """The three answers."""

    YES = "ship"
    NO = "do not ship"
    UNPROVEN = "not proven"


@dataclass(frozen=True)
class Answer:
    """The answer, in a sentence, with reasons."""

    ship: Ship
    says: str
    reasons: tuple[str, ...]


def answer(report: Report) -> Answer:
    """What the gate's checks and the findings amount to."""
    broken = [check for check in report.checks if not check.held]
    severe = [finding for finding in report.findings if finding.severe]
    reasons = [f"{finding.title}: {finding.says}" for finding in severe]
    reasons += [_broken(report, check) for check in broken if check.bound.name != _FINDINGS]
    told = {check.bound.name.rpartition("_")[0] for check in broken if check.bound.part is None}
    reasons += [_headline(report.estimates[name]) for name in _HEADLINES if name not in told]
    ship = Ship.UNPROVEN if broken else Ship.YES
    if severe or any(not check.doubtful for check in broken):
        ship = Ship.NO
    return Answer(ship, _sentence(ship, report, len(broken), len(severe)), tuple(reasons[:REASONS]))


def _sentence(ship: Ship, report: Report, broken: int, severe: int) -> str:
    name, rules = report.names[0], report.gate.name
    if ship is Ship.YES:
        return f"Ship {name}: it keeps every bound of {rules}."
    if ship is Ship.UNPROVEN:
        open_bounds = f"{broken} of {len(report.checks)} bounds {'is' if broken == 1 else 'are'} not surely kept"
        return f"Not proven yet: no figure of {name} breaks {rules}, but {open_bounds}. More cases would tell."
    kept = f"{broken} of {len(report.checks)} bounds of {rules} {'is' if broken == 1 else 'are'} not kept"
    found = f", and {severe} severe finding{'s' if severe > 1 else ''}" if severe else ""
    return f"Do not ship {name}: {kept}{found}."


def _broken(report: Report, check: Check) -> str:
    bound = check.bound
    name, _, end = bound.name.rpartition("_")
    wanted = f"{'at least' if bound.least else 'at most'} {limit_text(bound)} is wanted"
    if bound.part or name not in report.estimates:
        return check.says
    each = report.estimates[name]
    if check.value is None:
        return f"{each.label}: {'without an interval' if each.value is not None else 'not measured'}, where {wanted}"
    where = f", {end} end {limit_text(bound, check.value)}" if end in ("lower", "upper") and each.interval else ""
    return f"{each.label}: {figure_text(each)}{where}, where {wanted}"


def _headline(each: Estimate) -> str:
    told = interval_text(each)
    return f"{each.label}: {figure_text(each)}" + (f" ({told})" if told else "")
