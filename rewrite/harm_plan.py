"""Where to cut the requests of each slice, so that most is repaired while the bound of the harm is within a budget.

The program is that of `rewrite.harm_curves`; what is asked of it, and why, is told in `rewrite.harm_budget`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewrite.harm_curves import Counted, Fit, Hull, Quadratic, solve, upper_harm
from rewrite.held_out import ROUNDING, Floats, Held

#: Halvings in which what may be spent within the bound is found.
HALVINGS = 24


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked of the thresholds of one action."""

    budget: float  # share of the good requests that may be harmed
    floor: float  # share of what can be repaired that each slice is to repair
    cap: float  # no slice harms more than so many times the budget of its good requests
    confidence: float | None
    fit: Fit
    least_event: float  # harm of one request more


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the slices are cut, and the upper bound of the harm that this does."""

    groups: tuple[str, ...]
    curves: tuple[Counted, ...]
    cuts: tuple[int, ...]
    bound: float  # requests
    sure: bool
    floors_met: tuple[bool, ...]

    @property
    def worth(self) -> tuple[bool, float]:
        """More is better: within the bound most repairs, and where there is none within it, the least bound."""
        return self.sure, sum(self.at("repaired")) if self.sure else -self.bound

    def at(self, name: str) -> list[float]:
        """The column of every curve at its cut, [groups]."""
        return [float(getattr(curve, name)[cut]) for curve, cut in zip(self.curves, self.cuts, strict=True)]


def plan(records: Held, place: Mapping[str, str], harm: Floats, open_to: NDArray[np.bool_], terms: Terms) -> Plan:
    """The best cuts of the groups that `place` puts slices into, over the requests in `open_to` [n]; others are out."""
    score, repaired, good = (records.column(name) for name in ("score", "repaired", "good"))
    groups = sorted(set(place.values()))
    rows = list(rows_of(records, place, groups))
    goods, repairable = (np.array([float(column[those].sum()) for those in rows]) for column in (good, repaired))
    chosen = [those[open_to[those]] for those in rows]
    curves = tuple(Counted.of(score[those], repaired[those], harm[those]) for those in chosen)
    cuts, bound, sure = _within(curves, goods, repairable, terms)
    met = tuple(
        bool(curve.repaired[cut] * ROUNDING >= terms.floor * most)
        for curve, cut, most in zip(curves, cuts, repairable.tolist(), strict=True)
    )
    return Plan(tuple(groups), curves, cuts, bound, sure, met)


def rows_of(records: Held, place: Mapping[str, str], groups: Sequence[str]) -> list[NDArray[np.int64]]:
    """Which requests are in each group, [groups] of [rows] int64."""
    rows: dict[str, list[int]] = {group: [] for group in groups}
    for row, name in enumerate(records.slices):
        if name in place:
            rows[place[name]].append(row)
    return [np.array(rows[group], np.int64) for group in groups]


def _within(
    curves: Sequence[Counted], goods: Floats, repairable: Floats, terms: Terms
) -> tuple[tuple[int, ...], float, bool]:
    """The cuts of most repairs with an upper bound within the budget, that bound, and whether there are any."""
    budget = terms.budget * float(goods.sum()) * ROUNDING
    caps = [min(terms.cap * terms.budget * ROUNDING, 1.0) * most for most in goods.tolist()]
    floors = (terms.floor * repairable).tolist()
    fitted = [
        Hull.of(curve) if terms.fit is Fit.HULL else Quadratic.of(curve, cap)
        for curve, cap in zip(curves, caps, strict=True)
    ]

    def tried(total: float) -> tuple[tuple[int, ...], float]:
        harms = solve(fitted, _floors(curves, floors, caps, total), caps, total)
        cuts = tuple(curve.cut(harm) for curve, harm in zip(curves, harms, strict=True))
        if terms.confidence is None:
            return cuts, sum(float(curve.harm[cut]) for curve, cut in zip(curves, cuts, strict=True))
        return cuts, upper_harm(curves, cuts, terms.confidence, least_event=terms.least_event)

    most = tried(budget)
    if most[1] <= budget:
        return *most, True
    least, low, high = tried(0.0), 0.0, budget
    if least[1] > budget:
        return *least, False
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        now = tried(middle)
        if now[1] <= budget:
            least, low = now, middle
        else:
            high = middle
    return *least, True


def _floors(
    curves: Sequence[Counted], floors: Sequence[float], caps: Sequence[float], total: float
) -> list[float]:
    """The least harm of each slice that its floor needs; all floors are lowered alike until `total` pays for them."""

    def needed(share: float) -> list[float]:
        wanted = [curve.harm_for(share * floor) for curve, floor in zip(curves, floors, strict=True)]
        return [harm if harm <= cap else 0.0 for harm, cap in zip(wanted, caps, strict=True)]

    if sum(whole := needed(1.0)) <= total:
        return whole
    low, high = 0.0, 1.0
    floors = [floor if harm > 0 else 0.0 for floor, harm in zip(floors, whole, strict=True)]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(needed(middle)) <= total else (low, middle)
    return needed(low)
