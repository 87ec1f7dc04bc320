"""From which score on to rewrite, slice by slice of the traffic, within one budget of harmed good requests.

On requests of users that no training saw, `choose` finds the threshold of each slice (an intent on a device, for a
known user) such that most defects are repaired while, over all slices, no more than `budget` of the good requests are
harmed, no slice has more than `cap` times that, and each repairs at least `floor` of what can be repaired there. The
program is that of `rewrite.harm_curves`. A second, lower threshold from which to ask "did you mean" comes of the same
program over what is not rewritten, where each good request that is asked counts as harmed.

What is not in the textbook:

1. Harm is best given as an expectation (`expected_harm`, P(good) P(candidate wrong) from calibrated probabilities): a
   budget of 0.1 % of 800 good requests is less than one counted request, but a well-defined sum of expectations. Where
   the counts are given as well, they keep the expectations honest (`_trusted`).
2. The budget holds for the upper bound of the harm, not for the estimate (`harm_curves.upper_harm`), 80 % one-sided by
   default: the next log is within the budget four times in five, not every other time.
3. A slice with few good requests has no curve of its own: it is pooled with its like under the name without its last
   part ("play|phone|known" -> "play|phone" -> "play" -> ""). The same goes on with larger and larger slices, for as
   long as this repairs more within the bound: many slices with few counts spend the budget on uncertainty.
4. A floor that the cap of its slice rules out is dropped, for that is where rewriting harms most, and the figures say
   so; floors that the budget cannot pay together are lowered all alike.
5. Nothing is rewritten that is better left alone: no threshold is below `least_score`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rewrite.harm_curves import Fit
from rewrite.harm_plan import Plan, Terms, plan, rows_of
from rewrite.held_out import Floats, Held
from rewrite.thresholds import SEPARATOR, SliceFigures, Thresholds


def choose(
    records: Held,
    budget: float = 0.003,
    suggest_budget: float | None = None,
    floor: float = 0.0,
    *,
    cap: float = 5.0,
    confidence: float | None = 0.8,
    least_goods: int = 200,
    fit: Fit = Fit.HULL,
    least_score: float = 0.0,
) -> Thresholds:
    """The thresholds that repair most within the budget, as told at the head of this file.

    `budget` and `suggest_budget` (None: ten times the first) are shares of the good requests, `floor` of what can be
    repaired in a slice; `cap` is in budgets; `confidence` None takes the estimate for the truth; slices of less than
    `least_goods` good requests are pooled. Raises ValueError for parameters that cannot be used.
    """
    asking = min(1.0, 10 * budget) if suggest_budget is None else suggest_budget
    _check(budget, asking, floor, cap, confidence, least_goods, least_score)
    harm = _trusted(records, asking, confidence)
    event = 1.0 if records.expected_harm is None else 0.0
    terms = Terms(budget, floor, cap, confidence, Fit(fit), event)
    score = records.column("score")
    open_to = np.isfinite(score) & (score >= least_score)
    place = _pooling(records, harm, open_to, terms, least_goods)
    best = plan(records, place, harm, open_to, terms)
    rewrite = _thresholds(best)
    above = np.array([rewrite[place[name]] for name in records.slices])
    rest = np.isfinite(score) & (score < above)
    asked = Terms(asking, 0.0, cap, confidence, Fit(fit), 1.0)
    second = plan(records, place, records.column("good"), rest, asked)
    suggest = {name: min(low, rewrite[name]) for name, low in _thresholds(second).items()}
    tables = _with_wider(records, place, rewrite, suggest, (harm, open_to, terms), asked, least_goods)
    goods = float(records.column("good").sum())
    return Thresholds(
        *tables,
        _figures(records, place, best, second, suggest, budget * goods),
        budget,
        best.bound / goods,
        best.sure,
        asking,
        second.bound / goods,
        second.sure,
    )


def pooled(goods: Mapping[str, float], least_goods: float) -> dict[str, str]:
    """The slice that each slice is counted under, from the good requests of each.

    Slices of less than `least_goods` go to the wider one, from the narrowest on. Where too few are left over at the
    very top, the smallest slices join them.
    """
    members: defaultdict[str, list[str]] = defaultdict(list, {name: [name] for name in sorted(goods)})
    weight = defaultdict(float, goods)
    queue = sorted(members, key=_depth, reverse=True)
    for depth in range(_depth(queue[0]), 0, -1):
        for name in [each for each in members if _depth(each) == depth and weight[each] < least_goods]:
            _join(name, name.rpartition(SEPARATOR)[0], members, weight)
    while "" in members and len(members) > 1 and weight[""] < least_goods:
        _join(min(filter(None, members), key=lambda name: (weight[name], name)), "", members, weight)
    return {name: group for group, names in members.items() for name in names}


def _join(name: str, into: str, members: defaultdict[str, list[str]], weight: defaultdict[str, float]) -> None:
    members[into] += members.pop(name)
    weight[into] += weight.pop(name)


def _depth(name: str) -> int:
    return name.count(SEPARATOR) + 1 if name else 0


def _pooling(
    records: Held, harm: Floats, open_to: NDArray[np.bool_], terms: Terms, least_goods: float
) -> dict[str, str]:
    """The pooling that repairs most, were there neither floors nor caps: it is no way around these."""
    free = replace(terms, floor=0.0, cap=1e9, fit=Fit.HULL)
    return max(
        _poolings(records, least_goods), key=lambda place: plan(records, place, harm, open_to, free).worth
    )


def _poolings(records: Held, least_goods: float) -> Iterator[dict[str, str]]:
    """Slices as small as is allowed, twice as large, and so on to the traffic as a whole."""
    goods: defaultdict[str, float] = defaultdict(float)
    for name, good in zip(records.slices, records.column("good").tolist(), strict=True):
        goods[name] += good
    seen: set[frozenset[tuple[str, str]]] = set()
    while True:
        place = pooled(goods, least_goods)
        if (known := frozenset(place.items())) not in seen:
            seen.add(known)
            yield place
        if len(set(place.values())) == 1:
            return
        least_goods *= 2


def _trusted(records: Held, asking: float, confidence: float | None) -> Floats:
    """The harm of each request, [n] float64: what is expected, and more unless the counts bear it out.

    Among the requests of the highest scores, down to where `asking` of the good ones are expected to be harmed, the
    expectation E is compared with the count C. Their ratio is that of a Poisson count under a gamma prior of one event
    around 1, gamma(C + 1) / (E + 1): harm is scaled to its upper bound, or its mean where there is no confidence to be
    had, and never down. The fewer the counts, the less the expectations are trusted.
    """
    from scipy.special import gammaincinv

    if records.expected_harm is None:
        return records.column("harmed")
    expected = records.column("expected_harm")
    if records.harmed is None:
        return expected
    order = np.argsort(-records.column("score"), kind="stable")
    sums = np.cumsum(expected[order])
    near = order[sums <= max(asking * records.column("good").sum(), sums[0])]
    counted = float(records.column("harmed")[near].sum()) + 1
    upper = counted if confidence is None else float(gammaincinv(counted, confidence))
    return np.minimum(expected * max(1.0, upper / (float(expected[near].sum()) + 1)), 1.0)


def _thresholds(plan: Plan) -> dict[str, float]:
    return dict(zip(plan.groups, plan.at("threshold"), strict=True))


def _with_wider(
    records: Held,
    place: Mapping[str, str],
    rewrite: Mapping[str, float],
    suggest: Mapping[str, float],
    first: tuple[Floats, NDArray[np.bool_], Terms],
    asked: Terms,
    least_goods: float,
) -> tuple[dict[str, float], dict[str, float]]:
    """Both tables with every slice that was seen, and every wider one for those that will be.

    What is neither seen nor pooled has the threshold of all requests in it, taken as one slice with the budget.
    """
    tables = ({**rewrite}, {**suggest})
    for table in tables:
        table |= {name: table[group] for name, group in place.items()}
    score, good = records.column("score"), records.column("good")
    for name in sorted({wider for each in place for wider in _wider(each)} - tables[0].keys()):
        part = {each: name for each in place if not name or each.startswith(name + SEPARATOR)}
        (inside,) = rows_of(records, part, [name])
        if name and good[inside].sum() < least_goods:
            continue
        harm, open_to, terms = first
        (threshold,) = plan(records, part, harm, open_to, terms).at("threshold")
        below = np.isfinite(score) & (score < threshold)
        (low,) = plan(records, part, good, below, asked).at("threshold")
        tables[0][name], tables[1][name] = threshold, min(low, threshold)
    return tables


def _wider(name: str) -> Iterator[str]:
    while name:
        name = name.rpartition(SEPARATOR)[0]
        yield name


def _figures(
    records: Held, place: Mapping[str, str], first: Plan, second: Plan, suggest: Mapping[str, float], budget: float
) -> tuple[SliceFigures, ...]:
    rows = rows_of(records, place, first.groups)
    good, repaired = records.column("good"), records.column("repaired")
    return tuple(
        SliceFigures(
            slice=name,
            requests=len(rows[k]),
            goods=float(good[rows[k]].sum()),
            repairable=float(repaired[rows[k]].sum()),
            rewrite_from=first.at("threshold")[k],
            repaired=first.at("repaired")[k],
            harmed=first.at("harm")[k],
            budget_spent=first.at("harm")[k] / budget if budget else 0.0,
            floor_met=first.floors_met[k],
            suggest_from=suggest[name],
            asked=second.at("harm")[k],
            suggested=second.at("repaired")[k],
        )
        for k, name in enumerate(first.groups)
    )


def _check(
    budget: float,
    asking: float,
    floor: float,
    cap: float,
    confidence: float | None,
    least_goods: float,
    least_score: float,
) -> None:
    for name, share in (("budget", budget), ("suggest_budget", asking), ("floor", floor)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} came as {share}; wanted a share from 0 to 1")
    if not 1 <= cap < math.inf:
        raise ValueError(f"cap came as {cap}; wanted budgets, from 1 up")
    if confidence is not None and not 0.5 <= confidence < 1:
        raise ValueError(f"confidence came as {confidence}; wanted 0.5 up to below 1, or None for no margin")
    if not least_goods >= 1:
        raise ValueError(f"least_goods came as {least_goods}; wanted 1 or more good requests")
    if math.isnan(least_score):
        raise ValueError("least_score came as NaN; wanted a number, or -inf for none")
