"""Bounds that a bundle must keep, from a TOML file or the usual ones: for CI, and for the answer on the first screen.

    allow_not_measured = ["recall_lower"]       # or true, for all

    [bounds]
    win_loss_lower = 4                          # the lower end of the interval must be at least this
    false_trigger_rate_upper = 0.02             # the upper end must be at most this
    precision_min = 0.9                         # the figure itself; _max likewise
    latency_p99_ms = 20                         # at most
    harm_polarity_max = 0

    [slices."device_type=car"]
    precision_lower = 0.8

What a missing case scores
    a bound on what was not measured    broken, unless allow_not_measured names it
    a slice that no case is in          the same
    an interval of a single user        the figure itself, where that breaks the bound; else not measured
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.errors import GateError
from eval.estimates import LABELS, REDUCTION, SHARES, Estimate
from eval.harm import Harm
from eval.measures import Tally

if TYPE_CHECKING:
    from eval.report.document import Report

Figures = Mapping[str, Estimate]

#: Harm -> the name of its bound.
HARMS = {
    Harm.OTHER_USER: "harm_other_user_max",
    Harm.POLARITY: "harm_polarity_max",
    Harm.NUMBER: "harm_number_max",
    Harm.SLOT: "harm_slot_max",
    Harm.OTHER: "harm_other_max",
}

_ENDS: Mapping[str, Callable[[Estimate], float | None]] = {
    "lower": lambda each: each.low,
    "upper": lambda each: each.high,
    "min": lambda each: each.value,
    "max": lambda each: each.value,
}


def _harmed(kind: Harm, report: Report) -> float:
    return report.count.harms[kind]


_COUNTS: Mapping[str, Callable[[Tally], int]] = {
    "cases_min": lambda tally: tally.cases,
    "opportunities_min": lambda tally: tally.opportunities,
    "guardrails_min": lambda tally: tally.guardrails,
    "wins_min": lambda tally: tally.wins,
    "losses_max": lambda tally: tally.losses,
}
_WHOLE: Mapping[str, Callable[[Report], float | None]] = {
    "users_min": lambda report: report.users,
    "latency_p50_ms": lambda report: _ms(report.count.times.latency.p50),
    "latency_p90_ms": lambda report: _ms(report.count.times.latency.p90),
    "latency_p99_ms": lambda report: _ms(report.count.times.latency.p99),
    "latency_p999_ms": lambda report: _ms(report.count.times.latency.p999),
    "brier_max": lambda report: report.count.scores.brier,
    "calibration_error_max": lambda report: report.count.scores.calibration_error,
    "difference_lower": lambda report: _low(report),
    "latency_ratio_max": lambda report: report.paired.latency_ratio(report.count, "p50") if report.paired else None,
    "severe_findings_max": lambda report: sum(each.severe for each in report.findings),
    **{name: partial(_harmed, kind) for kind, name in HARMS.items()},
}

#: Names of bounds on any slice, and of those on the whole only.
PARTIAL = tuple(f"{name}_{end}" for name in LABELS for end in _ENDS) + tuple(_COUNTS)
KNOWN = PARTIAL + tuple(_WHOLE)


@dataclass(frozen=True)
class Bound:
    """A figure must be at least, or at most, the limit; of the slice `field=value`, or of all cases."""

    name: str
    limit: float
    part: str | None = None

    @property
    def least(self) -> bool:
        """Whether the limit is the least that is allowed."""
        return self.name.endswith(("_lower", "_min"))

    @property
    def full_name(self) -> str:
        return f"{self.part}: {self.name}" if self.part else self.name


@dataclass(frozen=True)
class Check:
    """A bound against what was measured; `value` is None where nothing was."""

    bound: Bound
    value: float | None
    held: bool
    doubtful: bool = False  # not surely kept: broken by its interval, or not measured, but not by the figure itself

    @property
    def says(self) -> str:
        wanted = f"{'at least' if self.bound.least else 'at most'} {self.bound.limit:g} is wanted"
        told = "was not measured" if self.value is None else f"is {self.value:.4g}"
        return f"{self.bound.full_name} {told}: {wanted}"

    def as_dict(self) -> dict[str, Any]:
        value = self.value if self.value is not None and abs(self.value) != float("inf") else None
        return {
            "bound": self.bound.name, "slice": self.bound.part, "limit": self.bound.limit, "value": value,
            "held": self.held, "says": self.says,
        }  # fmt: skip


@dataclass(frozen=True)
class Gate:
    """Bounds, and the names of those that may stay unmeasured."""

    name: str
    bounds: tuple[Bound, ...]
    allowed: frozenset[str] = frozenset()

    @classmethod
    def usual(cls) -> Gate:
        """What a bundle should keep where no file says otherwise."""
        bounds = {
            "win_loss_lower": 4.0,
            "false_trigger_rate_upper": 0.02,
            "relative_reduction_lower": 0.0,
            "severe_findings_max": 0.0,
        }
        return cls("the usual rules", tuple(Bound(*each) for each in bounds.items()))

    @classmethod
    def from_file(cls, path: Path) -> Gate:
        """Raises GateError for what cannot be read or is not known."""
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise GateError(f"{path} is no TOML file that can be read: {error}") from error
        unknown = sorted(set(raw) - {"bounds", "slices", "allow_not_measured"})
        if unknown:
            raise GateError(f"{path}: unknown table {unknown[0]!r}: bounds, slices and allow_not_measured are known")
        bounds = list(_bounds(path, raw.get("bounds", {}), None))
        parts = raw.get("slices", {})
        if not isinstance(parts, dict):
            raise GateError(f'{path}: slices is no table: [slices."device_type=car"] is wanted')
        for part, table in parts.items():
            bounds += _bounds(path, table, part)
        if not bounds:
            raise GateError(f"{path} has no bounds: a gate that nothing can break is none")
        return cls(path.name, tuple(bounds), _allowed(path, raw.get("allow_not_measured", False)))

    def check(self, report: Report) -> list[Check]:
        """Every bound against the report."""
        parts = {part.name: part for part in report.parts}
        found = []
        for bound in self.bounds:
            if bound.part is None:
                found.append(self._check(bound, report.estimates, report.tally, report))
            elif bound.part in parts:
                part = parts[bound.part]
                found.append(self._check(bound, part.estimates, part.tally, None))
            else:
                found.append(self._result(bound, None, None))
        return found

    def _check(self, bound: Bound, figures: Figures, tally: Tally, report: Report | None) -> Check:
        if bound.name in _COUNTS:
            value: float | None = _COUNTS[bound.name](tally)
            return self._result(bound, value, value)
        if report is not None and bound.name in _WHOLE:
            value = _WHOLE[bound.name](report)
            middle = report.difference.value if bound.name == "difference_lower" and report.difference else value
            return self._result(bound, value, middle)
        name, _, end = bound.name.rpartition("_")
        return self._result(bound, _ENDS[end](figures[name]), figures[name].value)

    def _result(self, bound: Bound, value: float | None, middle: float | None) -> Check:
        if value is None and middle is not None and not _keeps(bound, middle):
            return Check(bound, middle, held=False)  # no interval is wanted to see that
        if value is None:
            return Check(bound, None, bound.name in self.allowed or bound.full_name in self.allowed, doubtful=True)
        return Check(bound, value, _keeps(bound, value), middle is not None and _keeps(bound, middle))


def _keeps(bound: Bound, value: float) -> bool:
    return value >= bound.limit if bound.least else value <= bound.limit


def _bounds(path: Path, table: object, part: str | None) -> list[Bound]:
    where = f'[slices."{part}"]' if part else "[bounds]"
    if not isinstance(table, dict):
        raise GateError(f"{path}: {where} is no table of bounds")
    if part is not None and "=" not in part:
        raise GateError(f'{path}: {where} names no slice: field=value is wanted, such as [slices."device_type=car"]')
    known = PARTIAL if part else KNOWN
    for name, limit in table.items():
        if name not in known:
            hint = "; it is known of all cases only" if name in KNOWN else ""
            raise GateError(f"{path}: {where} has the unknown bound {name!r}{hint}: known are {', '.join(known)}")
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            raise GateError(f"{path}: {name} in {where} is {limit!r}: a number is wanted")
        low, high = _range(name)
        if not (math.isfinite(limit) and low <= limit <= high):
            wanted = f"a number from {low:g} to {high:g}" if math.isfinite(high) else f"a number of {low:g} or more"
            wanted = wanted if math.isfinite(low) else f"a number of at most {high:g}"
            raise GateError(f"{path}: {name} in {where} is {limit!r}: {wanted} is wanted")
    return [Bound(name, float(limit), part) for name, limit in table.items()]


def _range(name: str) -> tuple[float, float]:
    """The least and the greatest value that a figure may have: a limit beyond them is a slip, such as 90 for 0.9."""
    measure = name.rpartition("_")[0]
    if measure == REDUCTION:
        return -math.inf, 1.0
    if measure == "difference":
        return -2.0, 2.0
    return 0.0, 1.0 if measure in SHARES or measure in ("brier", "calibration_error") else math.inf


def _allowed(path: Path, raw: object) -> frozenset[str]:
    if isinstance(raw, bool):
        return frozenset(KNOWN) if raw else frozenset()
    if isinstance(raw, list) and all(isinstance(each, str) for each in raw):
        unknown = sorted(each for each in raw if each.rpartition(": ")[2] not in KNOWN)
        if not unknown:
            return frozenset(raw)
        raise GateError(f"{path}: allow_not_measured names the unknown bound {unknown[0]!r}")
    raise GateError(f"{path}: allow_not_measured is {raw!r}: true, false or a list of bounds is wanted")


def _low(report: Report) -> float | None:
    return report.difference.interval.low if report.difference and report.difference.interval else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1_000 * seconds
