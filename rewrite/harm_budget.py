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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewrite.errors import ModelError
from rewrite.harm_curves import Counted, Fit, Hull, Quadratic, solve, upper_harm

Floats = NDArray[np.float64]

VERSION = 1
SEPARATOR = "|"
TABLES = ("rewrite", "suggest")
NEVER = math.inf
#: Sums of products may miss a whole number by so much.
ROUNDING = 1 + 1e-9
#: Halvings in which what may be spent within the bound is found.
HALVINGS = 24


@dataclass(frozen=True, eq=False)
class Held:
    """Requests of users held out, each with the best rewrite that was found for it. All are [n].

    slices         names such as "play|phone|known"; what is left out at the end is the wider slice
    score          float, P(the rewrite succeeds) - P(the request as said succeeds); -inf where there is no rewrite
    repaired       bool, it fails as said and the rewrite would repair it; or the probability of that
    good           bool, it is right as said; or the probability of that
    harmed         bool, it is good and the rewrite would break it
    expected_harm  float, P(good) P(the rewrite is wrong), calibrated; at least one of these two

    Raises ValueError for other lengths, NaN, shares outside 0..1, what is both good and repaired or harmed and not
    good, and where no request is good.
    """

    slices: Sequence[str]
    score: ArrayLike
    repaired: ArrayLike
    good: ArrayLike
    harmed: ArrayLike | None = None
    expected_harm: ArrayLike | None = None

    def __post_init__(self) -> None:
        names = [self.slices] if isinstance(self.slices, str) else list(self.slices)
        if not all(isinstance(name, str) for name in names):
            raise ValueError("slices came that are no strings; wanted names such as 'play|phone|known'")
        object.__setattr__(self, "slices", tuple(map(str, names)))
        if self.harmed is None and self.expected_harm is None:
            raise ValueError("neither harmed nor expected_harm came; wanted at least one, the second if there is one")
        for each in fields(self)[1:]:
            if (values := getattr(self, each.name)) is not None:
                object.__setattr__(self, each.name, _column(each.name, values, len(names)))
        self._agree("repaired and good", self.column("repaired") + self.column("good") > ROUNDING)
        if self.harmed is not None:
            self._agree("harmed and not good", self.column("harmed") > self.column("good") * ROUNDING)
        if not self.column("good").sum() > 0:
            raise ValueError(f"no good request is among the {len(names)} held out: of what harms there is no knowing")

    def _agree(self, what: str, wrong: NDArray[np.bool_]) -> None:
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(
                f"{int(wrong.sum())} of {len(wrong)} requests came as {what}, the first at place {first}, of slice"
                f" {self.slices[first]!r}; wanted requests that are right as said, or fail: judge them again"
            )

    def column(self, name: str) -> Floats:
        """One of the columns, [n] float64."""
        return np.asarray(getattr(self, name), np.float64)


@dataclass(frozen=True, slots=True)
class SliceFigures:
    """What the thresholds of one slice do, on the requests held out."""

    slice: str
    requests: int
    goods: float
    repairable: float  # what the best rewrites would repair, were all of them served
    rewrite_from: float  # infinite: never
    repaired: float
    harmed: float  # expected where expectations were given, counted otherwise
    budget_spent: float  # share of the whole budget
    floor_met: bool
    suggest_from: float
    asked: float  # good requests that are asked "did you mean"
    suggested: float  # repairable ones that are


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of every slice, and what they do. A slice that was never seen has those of the wider one.

    `bound` is the upper bound of the share of good requests that is harmed, `asked_bound` of those that are asked;
    `sure` and `asked_sure` say whether they are within their budgets. Where they are not, the data were too few to
    know, and thresholds are above every request that was seen to be harmed.
    """

    rewrite: Mapping[str, float]
    suggest: Mapping[str, float]
    figures: tuple[SliceFigures, ...] = ()
    budget: float = 0.0
    bound: float = 0.0
    sure: bool = True
    suggest_budget: float = 0.0
    asked_bound: float = 0.0
    asked_sure: bool = True

    def __post_init__(self) -> None:
        if "" not in self.rewrite or self.rewrite.keys() != self.suggest.keys():
            raise ValueError("thresholds came that lack the slice '', or slices in one of both; wanted '' and as many")
        for name, threshold in self.rewrite.items():
            if not self.suggest[name] <= threshold:  # nor NaN
                raise ValueError(
                    f"the slice {name!r} came with {self.suggest[name]} to suggest from and {threshold} to rewrite"
                    " from; wanted numbers, the first no higher"
                )

    def rewrite_from(self, name: str) -> float:
        """The score from which a request of the slice is rewritten; infinite: never. About a microsecond or less."""
        return _of_slice(self.rewrite, name)

    def suggest_from(self, name: str) -> float:
        """The score from which the user is asked "did you mean"; never above `rewrite_from`."""
        return _of_slice(self.suggest, name)

    @property
    def repaired(self) -> float:
        """Requests held out that the rewrites repair."""
        return sum(each.repaired for each in self.figures)

    @property
    def harmed(self) -> float:
        """Requests held out that the rewrites harm."""
        return sum(each.harmed for each in self.figures)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; what is infinite is null."""
        raw = asdict(self)
        for table in (raw["rewrite"], raw["suggest"], *raw["figures"]):
            table.update({key: None for key, value in table.items() if value == NEVER})
        return {"version": VERSION, **raw, "figures": list(raw["figures"])}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Thresholds:
        """From what `as_dict` gave. Raises ModelError for anything else."""
        try:
            if raw["version"] != VERSION:
                raise ValueError(f"they are of version {raw['version']}, this software reads {VERSION}")
            rest = {each.name: raw[each.name] for each in fields(cls)}
            tables = {name: {key: float(value) for key, value in _endless(rest[name])} for name in TABLES}
            figures = tuple(SliceFigures(**dict(_endless(each))) for each in rest["figures"])
            return cls(**{**rest, **tables, "figures": figures})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ModelError(f"these are no thresholds: {error!r}. Choose them again, or restore a copy") from error


def _of_slice(thresholds: Mapping[str, float], name: str) -> float:
    """The threshold of a slice, or of the nearest wider one that has any."""
    found = thresholds.get(name)
    while found is None:
        name = name.rpartition(SEPARATOR)[0]
        found = thresholds.get(name)
    return found


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
    best = _plan(records, place, harm, open_to, terms)
    rewrite = _thresholds(best)
    above = np.array([rewrite[place[name]] for name in records.slices])
    rest = np.isfinite(score) & (score < above)
    asked = Terms(asking, 0.0, cap, confidence, Fit(fit), 1.0)
    second = _plan(records, place, records.column("good"), rest, asked)
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
        _poolings(records, least_goods), key=lambda place: _plan(records, place, harm, open_to, free).worth
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


def _plan(records: Held, place: Mapping[str, str], harm: Floats, open_to: NDArray[np.bool_], terms: Terms) -> Plan:
    """The best cuts of the groups that `place` puts slices into, over the requests in `open_to` [n]; others are out."""
    score, repaired, good = (records.column(name) for name in ("score", "repaired", "good"))
    groups = sorted(set(place.values()))
    rows = list(_rows(records, place, groups))
    goods, repairable = (np.array([float(column[those].sum()) for those in rows]) for column in (good, repaired))
    chosen = [those[open_to[those]] for those in rows]
    curves = tuple(Counted.of(score[those], repaired[those], harm[those]) for those in chosen)
    cuts, bound, sure = _within(curves, goods, repairable, terms)
    met = tuple(
        bool(curve.repaired[cut] * ROUNDING >= terms.floor * most)
        for curve, cut, most in zip(curves, cuts, repairable.tolist(), strict=True)
    )
    return Plan(tuple(groups), curves, cuts, bound, sure, met)


def _rows(records: Held, place: Mapping[str, str], groups: Sequence[str]) -> list[NDArray[np.int64]]:
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
        (inside,) = _rows(records, part, [name])
        if name and good[inside].sum() < least_goods:
            continue
        harm, open_to, terms = first
        (threshold,) = _plan(records, part, harm, open_to, terms).at("threshold")
        below = np.isfinite(score) & (score < threshold)
        (low,) = _plan(records, part, good, below, asked).at("threshold")
        tables[0][name], tables[1][name] = threshold, min(low, threshold)
    return tables


def _wider(name: str) -> Iterator[str]:
    while name:
        name = name.rpartition(SEPARATOR)[0]
        yield name


def _figures(
    records: Held, place: Mapping[str, str], first: Plan, second: Plan, suggest: Mapping[str, float], budget: float
) -> tuple[SliceFigures, ...]:
    rows = _rows(records, place, first.groups)
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


def _endless(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, NEVER if value is None else value) for key, value in table.items())


def _column(name: str, values: ArrayLike, length: int) -> Floats:
    column = np.asarray(values, np.float64)
    if column.shape != (length,):
        raise ValueError(f"{name} came with the shape {column.shape} and {length} slices; wanted [{length}]")
    least, most = (-np.inf, np.finfo(np.float64).max) if name == "score" else (0.0, 1.0)
    wrong = ~((column >= least) & (column <= most))
    if wrong.any():
        wanted = "numbers, or -inf where there is no rewrite" if name == "score" else "true, false, or 0 to 1"
        first = int(wrong.argmax())
        raise ValueError(f"{name} came as {column[first]} at place {first}; wanted {wanted}")
    return column


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
