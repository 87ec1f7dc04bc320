"""Thresholds within a budget of harm: figures that can be checked by hand, the plain program as oracle, laws, misuse.

Traffic is written as one letter a request, from the highest score on: R is repaired, H harmed, G good and unharmed,
- fails with and without. Requests without a rewrite follow: so many that are good.
"""

from __future__ import annotations

import json
import math
import timeit
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import linprog

from rewrite.errors import ModelError
from rewrite.harm_budget import choose, pooled
from rewrite.harm_curves import Counted, Fit, Hull, Quadratic, solve, upper_harm
from rewrite.held_out import Held
from rewrite.thresholds import NEVER, Thresholds


def held(traffic: dict[str, tuple[str, int]], **more: Any) -> Held:
    """From slice -> (letters, goods in all)."""
    names, score, letters = [], [], ""
    for name, (said, goods) in traffic.items():
        rest = goods - said.count("H") - said.count("G")
        names += [name] * (len(said) + rest)
        score += [0.9 - k / 100 for k in range(len(said))] + [-math.inf] * rest
        letters += said + "G" * rest
    kinds = np.array(list(letters))
    return Held(names, score, kinds == "R", np.isin(kinds, ["H", "G"]), kinds == "H", **more)


def plain(records: Held, budget: float, **more: Any) -> Thresholds:
    """Counts taken for the truth, and slices as they are."""
    return choose(records, budget, **{"confidence": None, "least_goods": 1, **more})


#: Repairs without harm, with one harmed request, with two: 4, 7, 9 of 9 and 2, 3, 3 of 3.
TWO = held({"a": ("RRRRHRRRHRRH", 500), "b": ("RRHRH", 500)})


@pytest.mark.parametrize(
    ("budget", "a", "b", "repaired", "harmed"),
    [
        (0.000, 0.87, 0.89, 4 + 2, 0),
        (0.001, 0.83, 0.89, 7 + 2, 1),
        (0.002, 0.80, 0.89, 9 + 2, 2),
        (0.003, 0.80, 0.87, 9 + 3, 3),
        (0.010, 0.80, 0.87, 9 + 3, 3),  # a harmed request more would repair nothing more
    ],
)
def test_the_best_split_of_two_slices(budget: float, a: float, b: float, repaired: int, harmed: int):
    found = plain(TWO, budget)
    assert (found.rewrite_from("a"), found.rewrite_from("b")) == (pytest.approx(a), pytest.approx(b))
    assert (found.repaired, found.harmed) == (repaired, harmed)
    assert [each.goods for each in found.figures] == [500, 500]


def test_a_cap_keeps_a_slice_from_being_sacrificed():
    found = plain(TWO, 0.002, cap=1)  # one of its 500 each
    assert [(each.slice, each.repaired, each.harmed) for each in found.figures] == [("a", 7, 1), ("b", 3, 1)]
    assert [each.budget_spent for each in found.figures] == pytest.approx([0.5, 0.5])


def test_a_floor_is_bought_first():
    assert plain(TWO, 0.001).figures[1].repaired == 2
    found = plain(TWO, 0.001, floor=0.7)  # of 9 and 3: 7 and 3, of which the budget pays only one
    assert [each.floor_met for each in found.figures] in ([True, False], [False, True])
    found = plain(TWO, 0.002, floor=0.7)
    assert [(each.repaired, each.floor_met) for each in found.figures] == [(7, True), (3, True)]


def test_a_floor_that_the_cap_rules_out_is_said_to_be_missed():
    records = held({"a": ("RRRRHRRRHRRH", 500), "b": ("HHHHR", 500)})
    found = plain(records, 0.002, floor=0.5, cap=1)
    assert [(each.repaired, each.floor_met) for each in found.figures] == [(7, True), (0, False)]
    assert found.rewrite_from("b") == NEVER


def test_one_slice_is_the_plain_quantile():
    draw = np.random.default_rng(5)
    score, good = draw.random(3000).round(4), draw.random(3000) < 0.7
    records = Held([""] * 3000, score, ~good, good, good)
    found = plain(records, 0.01)
    spent = sorted(score[good], reverse=True)
    above = spent[int(0.01 * good.sum())]  # the first that is too many
    assert found.rewrite_from("") == score[~good & (score > above)].min()


def test_where_all_is_well_all_is_repaired():
    found = choose(held({"": ("RRR", 1000)}))
    assert (found.repaired, found.harmed, found.sure) == (3, 0, True)


def test_nothing_is_rewritten_that_is_better_left_alone():
    records = Held([""] * 4, [0.1, 0.0, -0.1, -math.inf], [1, 1, 1, 0], [0, 0, 0, 1], expected_harm=[0.0] * 4)
    assert choose(records).rewrite_from("") == 0.0
    assert choose(records, least_score=-1).rewrite_from("") == -0.1
    assert choose(records).suggest_from("") == -0.1


def test_suggestions_have_their_own_budget():
    # Rewritten down to the second R. Asked below that: the third letter on, for as long as few good ones are asked.
    records = held({"": ("RRHRGRGR", 1000)})
    for asked, threshold, goods in ((0.0, 0.89, 0), (0.001, 0.87, 1), (0.002, 0.85, 2), (0.003, 0.83, 3)):
        found = plain(records, 0.0, suggest_budget=asked)
        assert found.rewrite_from("") == pytest.approx(0.89)
        assert found.suggest_from("") == pytest.approx(threshold)
        assert found.figures[0].asked == goods
    assert plain(records, 0.0004).suggest_from("") == pytest.approx(0.83)  # ten times as much: four


def test_expectations_make_a_small_budget_count():
    # 0.1 % of 800 is 0.8 of a request. Harm of 0.01 each: what 80 of them do, less the margin for so many events.
    score = np.append(np.linspace(0.9, 0.2, 200), np.full(800, -np.inf))
    repaired, good = np.arange(1000) < 200, np.arange(1000) >= 200
    records = Held([""] * 1000, score, repaired, good, expected_harm=np.where(repaired, 0.01, 0.0))
    assert choose(records, 0.001, confidence=None).repaired == 80
    found = choose(records, 0.001)
    assert 65 <= found.repaired < 80
    assert found.sure
    assert found.bound <= 0.001 * (1 + 1e-9)
    assert stats.gamma.cdf(0.8, (found.repaired + 1), scale=0.01) == pytest.approx(0.8, abs=0.05)
    counted = choose(Held([""] * 1000, score, repaired, good, harmed=np.zeros(1000)), 0.001)
    assert not counted.sure  # none harmed of 800 may be as many as 0.2 %
    assert counted.bound == pytest.approx(-math.log(0.2) / 800)


def test_counts_keep_expectations_honest():
    score, good = np.linspace(0.9, 0.1, 4000), np.arange(4000) % 2 == 0
    harmed = good & (np.arange(4000) % 20 == 0)  # one in twenty
    rewritten = {}
    for said in (0.1, 0.05, 0.025):
        expected = np.full(4000, said)
        for counts in (harmed, None):
            records = Held([""] * 4000, score, ~good, good, counts, expected)
            rewritten[said, counts is None] = choose(records, 0.01, confidence=None).repaired
    assert rewritten[0.05, False] == pytest.approx(rewritten[0.05, True], rel=0.03)
    assert rewritten[0.1, False] == rewritten[0.1, True]  # never less careful for it
    assert rewritten[0.025, True] == pytest.approx(2 * rewritten[0.05, True], rel=0.02)
    assert rewritten[0.025, False] == pytest.approx(rewritten[0.05, True], rel=0.05)


def test_small_slices_are_pooled_with_their_like():
    goods = {"play|phone|new": 90, "play|phone|known": 20, "play|tv|known": 30, "call|tv|new": 35, "stop": 40.0}
    assert pooled(goods, 50) == {
        "play|phone|new": "play|phone|new",
        "play|phone|known": "play",  # 20 alone in "play|phone" are too few, and with the television's 30 enough
        "play|tv|known": "play",
        "call|tv|new": "",
        "stop": "",
    }
    assert pooled(goods, 80) == {name: name if name == "play|phone|new" else "" for name in goods}
    assert pooled(goods, 1000) == dict.fromkeys(goods, "")
    assert pooled(goods, 1) == {name: name for name in goods}
    assert pooled({"a": 300, "b": 250, "c|d": 10}, 200) == {"a": "a", "b": "", "c|d": ""}  # the smallest joins them


def test_a_slice_never_seen_is_dealt_with_as_the_wider_one():
    records = held({"a|x": ("RRRRHRRRHRRH", 300), "a|y": ("RRHRH", 301), "b|x": ("HRRR", 310), "b|y": ("HR", 100)})
    found = plain(records, 0.002, least_goods=100)
    assert [each.slice for each in found.figures] == ["a|x", "a|y", "b|x", "b|y"]
    assert found.rewrite_from("a|x|new") == found.rewrite_from("a|x")
    inside = [name.startswith("a|") for name in records.slices]
    columns = (records.column(name)[inside] for name in ("score", "repaired", "good", "harmed"))
    whole = plain(Held(["a"] * sum(inside), *columns), 0.002)
    assert found.rewrite_from("a|z") == found.rewrite_from("a") == whole.rewrite_from("a")
    assert found.suggest_from("a|z") == whole.suggest_from("a")
    assert found.rewrite_from("c|x|new") == found.rewrite_from("") > 0


def test_slices_that_differ_pay():
    draw = np.random.default_rng(6)
    good, score = draw.random(6000) < 0.5, draw.random(6000)
    worse = draw.random(6000) < 0.5
    harm = np.where(good, np.where(worse, 0.2, 0.02) * (1 - score), 0.0)
    names = np.where(worse, "worse", "better").tolist()
    apart, whole = (choose(Held(each, score, ~good, good, expected_harm=harm)) for each in (names, [""] * 6000))
    assert apart.repaired > 1.15 * whole.repaired
    assert apart.rewrite_from("worse") > apart.rewrite_from("better")


# The program and its parts.


def test_a_hull_by_hand():
    counted = Counted.of(
        np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([2.0, 0, 4, 0, 1]), np.array([0.0, 1, 0, 1, 0])
    )
    assert counted.harm.tolist() == [0, 0, 1, 1, 2, 2]
    assert counted.repaired.tolist() == [0, 2, 2, 6, 6, 7]
    hull = Hull.of(counted)
    assert (hull.harm, hull.gained, hull.falls) == ((0, 1, 2), (2, 6, 7), (-4, -1))
    assert [hull.spend(price) for price in (5, 4, 3, 1, 0.5)] == [0, 0, 1, 1, 2]
    assert [hull.repaired(harm) for harm in (0, 0.5, 2, 9)] == [2, 4, 7, 7]
    assert counted.threshold[counted.cut(1.5)] == 0.7


def test_a_quadratic_is_found_where_there_is_one():
    u = np.linspace(0, 1, 20_001)
    gains = np.diff(10 + 5 * u + 30 * (2 * u - u * u), prepend=0.0)
    curve = Quadratic.of(Counted.of(-u, gains, np.append(0.0, np.full(20_000, 1e-3))), 20.0)
    assert (curve.base, curve.linear, curve.curved) == pytest.approx((10, 5, 30), rel=0.01)
    assert curve.steepest == pytest.approx(65 / 20, rel=0.01)
    assert curve.spend((5 + 30) / 20) == pytest.approx(10, rel=0.01)


def test_the_bound_of_counts_is_the_exact_one():
    counted = Counted.of(np.arange(9.0), np.ones(9), np.tile([0.0, 0, 1], 3))
    for cut, seen in ((1, 1), (6, 2), (9, 3)):  # the ninth score is the highest, and harmed
        bound = upper_harm([counted], [cut], 0.8, least_event=1.0)
        assert bound == pytest.approx(stats.chi2.ppf(0.8, 2 * (seen + 1)) / 2)
    assert upper_harm([counted], [0], 0.8, least_event=1.0) == 0
    two = upper_harm([counted, counted], [1, 6], 0.8, least_event=1.0)
    assert two == pytest.approx(stats.gamma.ppf(0.8, 2 + 3))


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Counted], list[float], list[float], float]:
    curves = []
    for _ in range(draw(st.integers(1, 5))):
        many = draw(st.integers(1, 15))
        columns = (draw(st.lists(st.integers(0, 20), min_size=many, max_size=many)) for _ in range(2))
        gains, harms = (np.array(each, float) / 4 for each in columns)
        curves.append(Counted.of(-np.arange(many, dtype=float), gains, harms))
    shares = st.floats(0, 1)
    upper = [float(curve.harm[-1]) * draw(shares) for curve in curves]
    lower = [most * draw(shares) / 2 for most in upper]
    total = sum(lower) + draw(shares) * sum(curve.harm[-1] for curve in curves)
    return curves, lower, upper, total


@given(programs())
def test_the_program_is_solved_as_the_simplex_solves_it(program):
    curves, lower, upper, total = program
    hulls = [Hull.of(curve) for curve in curves]
    harms = solve(hulls, lower, upper, total)
    widths = [np.diff(hull.harm) for hull in hulls]
    sizes = [len(width) for width in widths]
    each = np.repeat(np.eye(len(hulls)), sizes, axis=1)  # [slices, lines]
    # A hull may end below the lower bound, where nothing more is repaired: harm for nothing.
    rest = np.array([max(0.0, low - hull.harm[-1]) for hull, low in zip(hulls, lower, strict=True)])
    lines = np.concatenate([*widths, np.empty(0)])
    assert sum(harms) <= total * (1 + 1e-9) + 1e-9
    assert all(low <= harm <= high for low, harm, high in zip(lower, harms, upper, strict=True))
    gained = sum(hull.repaired(harm) for hull, harm in zip(hulls, harms, strict=True))
    free = sum(hull.gained[0] for hull in hulls)
    if not len(lines):
        assert gained == free
        return
    oracle = linprog(
        np.concatenate([np.asarray(hull.falls) for hull in hulls]),
        A_ub=np.vstack([np.ones(len(lines)), each, -each]),
        b_ub=np.concatenate([[total - rest.sum()], upper, rest - np.array(lower)]),
        bounds=[(0, width) for width in lines],
        method="highs",
    )
    assert gained == pytest.approx(free - oracle.fun, rel=1e-7, abs=1e-7)


@given(programs())
def test_quadratics_are_solved_as_fine_lines_are(program):
    curves, lower, upper, total = program
    fits = [Quadratic.of(curve, most) for curve, most in zip(curves, upper, strict=True)]
    upper = [fit.most for fit in fits]
    lower = [min(low, high) for low, high in zip(lower, upper, strict=True)]
    harms = solve(fits, lower, upper, total)
    assert sum(harms) <= total * (1 + 1e-9) + 1e-9
    best = sum(fit.repaired(harm) for fit, harm in zip(fits, harms, strict=True))
    # No harm that is moved from one slice to another repairs more.
    for one in range(len(fits)):
        for other in range(len(fits)):
            moved = min(1e-3, harms[one] - lower[one], upper[other] - harms[other])
            if one != other and moved > 0:
                now = [harm - moved * (k == one) + moved * (k == other) for k, harm in enumerate(harms)]
                assert sum(fit.repaired(harm) for fit, harm in zip(fits, now, strict=True)) <= best + 1e-9
    if sum(harms) < total - 1e-6:  # nor any that was not spent
        for fit, harm, most in zip(fits, harms, upper, strict=True):
            assert fit.repaired(most) == pytest.approx(fit.repaired(harm), abs=1e-6)


def test_floors_beyond_the_total_are_refused():
    hull = Hull.of(Counted.of(np.arange(3.0), np.ones(3), np.ones(3)))
    for lower, upper, total in (([2.0], [3.0], 1.0), ([2.0], [1.0], 9.0), ([-1.0], [1.0], 9.0)):
        with pytest.raises(ValueError, match="lower the floors, or raise the budget"):
            solve([hull], lower, upper, total)


# Laws of the whole.

NAMES = ["a|x", "a|y", "b|x", "b"]


@st.composite
def traffic(draw: st.DrawFn) -> Held:
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    many = draw(st.integers(10, 400))
    as_said, rewritten = rng.beta(2, 1, many), rng.beta(2, 2, many)
    good, right = rng.random(many) < as_said, rng.random(many) < rewritten
    good[0], right[0] = True, True
    expected = as_said * (1 - rewritten)
    counts, sums = draw(st.sampled_from([(True, False), (False, True), (True, True)]))
    return Held(
        [NAMES[k] for k in rng.integers(0, len(NAMES), many)],
        np.where(rng.random(many) < 0.8, (rewritten - as_said).round(2), -np.inf),
        ~good & right,
        good,
        good & ~right if counts else None,
        expected if sums else None,
    )


OPTIONS = st.fixed_dictionaries(
    {
        "budget": st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.3]),
        "floor": st.sampled_from([0.0, 0.2, 0.9]),
        "cap": st.sampled_from([1.0, 3.0]),
        "confidence": st.sampled_from([None, 0.8, 0.95]),
        "least_goods": st.sampled_from([1, 30]),
        "fit": st.sampled_from(list(Fit)),
    }
)


@settings(max_examples=60)
@given(traffic(), OPTIONS)
def test_budget_and_caps_hold_on_the_requests_held_out(records: Held, options: dict[str, Any]):
    found = choose(records, **options)
    budget, goods = options["budget"], records.column("good")
    harm = records.column("harmed" if records.expected_harm is None else "expected_harm")
    score = records.column("score")
    on = score >= np.array([found.rewrite_from(name) for name in records.slices])
    asked = (score >= np.array([found.suggest_from(name) for name in records.slices])) & ~on
    assert harm[on].sum() <= budget * goods.sum() * (1 + 1e-6)
    assert goods[asked].sum() <= min(1, 10 * budget) * goods.sum() * (1 + 1e-6)
    assert records.column("repaired")[on].sum() == pytest.approx(found.repaired)
    assert harm[on].sum() <= found.harmed + 1e-9
    assert sum(each.requests for each in found.figures) == len(score)
    assert not found.sure or found.bound <= budget * (1 + 1e-6)
    for each in found.figures:
        assert each.harmed <= options["cap"] * budget * each.goods * (1 + 1e-6)
        assert each.suggest_from <= each.rewrite_from
        assert each.floor_met == (each.repaired >= options["floor"] * each.repairable - 1e-6)


@settings(max_examples=15)
@given(traffic(), st.sampled_from([None, 0.8]))
def test_more_budget_never_repairs_less(records: Held, confidence: float | None):
    found = [
        choose(records, budget, cap=1e6, confidence=confidence, least_goods=20)
        for budget in (0.0, 0.003, 0.02, 0.1, 0.3)
    ]
    repaired = [each.repaired for each in found if each.sure]
    assert (np.diff(repaired) >= -1e-9).all()


@settings(max_examples=20)
@given(traffic(), OPTIONS)
def test_thresholds_survive_json(records: Held, options: dict[str, Any]):
    found = choose(records, **options)
    assert Thresholds.from_dict(json.loads(json.dumps(found.as_dict(), allow_nan=False))) == found


def drawn(seed: int, many: int) -> tuple[Held, np.ndarray]:
    """Traffic of eight slices, and the harm to be expected of each rewrite."""
    rng = np.random.default_rng(seed)
    intent, device = rng.choice(4, many, p=[0.4, 0.3, 0.2, 0.1]), rng.choice(2, many, p=[0.7, 0.3])
    as_said = rng.beta(1 + intent / 4, 0.6, many)
    rewritten = rng.beta(3 - 2 * as_said, 1 + as_said + device / 2)
    good, right = rng.random(many) < as_said, rng.random(many) < rewritten
    expected = as_said * (1 - rewritten)
    names = [f"intent{a}|device{b}" for a, b in zip(intent, device, strict=True)]
    return Held(names, rewritten - as_said, ~good & right, good, good & ~right), expected


@pytest.mark.parametrize(("told", "budget"), [("counts", 0.005), ("expected", 0.001), ("both", 0.003), ("half", 0.003)])
def test_the_budget_holds_on_fresh_traffic(told: str, budget: float):
    fresh, harm = drawn(999, 20_000)
    names, place = np.unique(fresh.slices, return_inverse=True)
    score, goods = fresh.column("score"), fresh.column("good").sum()
    within, repaired = [], []
    for seed in range(15):
        records, expected = drawn(seed, 1500)
        if told != "counts":
            records = replace(records, expected_harm=expected / 2 if told == "half" else expected)
        if told == "expected":
            records = replace(records, harmed=None)
        found = choose(records, budget)
        on = score >= np.array([found.rewrite_from(name) for name in names.tolist()])[place]
        within.append(harm[on].sum() <= budget * goods)
        repaired.append(fresh.column("repaired")[on].sum() / fresh.column("repaired").sum())
    assert np.mean(within) >= 0.8
    assert np.mean(repaired) > 0.1


def test_lookups_take_no_time():
    found = choose(drawn(1, 2000)[0])
    for name in ("intent1|device0", "intent9|device9|known"):
        assert min(timeit.repeat(lambda name=name: found.rewrite_from(name), number=2_000, repeat=5)) / 2_000 < 2e-6


# Misuse.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": [1, math.nan]}, "score came as nan at place 1; wanted numbers, or -inf"),
        ({"score": [1, math.inf]}, "score came as inf"),
        ({"score": [1]}, r"score came with the shape \(1,\) and 2 slices"),
        ({"good": [0, 2]}, "good came as 2.0 at place 1"),
        ({"repaired": [0, 1]}, "repaired and good, the first at place 1, of slice 'b'"),
        ({"harmed": [1, 0]}, "harmed and not good"),
        ({"harmed": None}, "neither harmed nor expected_harm"),
        ({"expected_harm": [0, -0.1]}, "expected_harm came as -0.1"),
        ({"good": [0, 0], "harmed": [0, 0]}, "no good request"),
        ({"slices": [1, 2]}, "no strings"),
    ],
)
def test_records_that_cannot_be(change: dict[str, Any], said: str):
    sound = {"slices": ["a", "b"], "score": [0.5, 0.4], "repaired": [1, 0], "good": [0, 1], "harmed": [0, 1]}
    Held(**sound)
    with pytest.raises(ValueError, match=said):
        Held(**sound | change)


@pytest.mark.parametrize(
    "options",
    [{"budget": -0.1}, {"budget": math.nan}, {"suggest_budget": 2}, {"floor": 1.1}, {"cap": 0.5}, {"cap": math.inf},
     {"confidence": 0.3}, {"confidence": 1}, {"least_goods": 0}, {"least_score": math.nan}],
)  # fmt: skip
def test_options_that_cannot_be(options: dict[str, Any]):
    with pytest.raises(ValueError, match=f"{next(iter(options))} came as"):
        choose(TWO, **options)
    with pytest.raises(ValueError, match="spline"):
        choose(TWO, fit="spline")


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"rewrite": {}}, {"rewrite": {"": "high"}}, {"suggest": {"": 9.0}}, {"suggest": {"a": 0.1}},
     {"figures": [{}]}, {"rewrite": {"": math.nan}}, {"rewrite": []}],
)  # fmt: skip
def test_thresholds_that_cannot_be(change: dict[str, Any]):
    raw = Thresholds({"": 0.5}, {"": 0.3}).as_dict()
    assert Thresholds.from_dict(raw) == Thresholds({"": 0.5}, {"": 0.3})
    with pytest.raises(ModelError, match="no thresholds"):
        Thresholds.from_dict({**raw, **change})
    with pytest.raises(ModelError, match="no thresholds"):
        Thresholds.from_dict({})
