"""The table as a whole: many tests at once, hysteresis, one rewrite a source, trials, suspensions."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rewrite.config import GateConfig
from rewrite.gate import Evidence, GateReason, Standing, Verdict
from rewrite.mining import Alone, Candidate
from rewrite.table import DAY_S, Standings, Suspension, Table, decide

GATE = GateConfig()
NOW = 1_772_000_000.0
EVIDENCE = Evidence(20, 20.0, 1.0, 60, 60.0, 57.0, 16, 16.2, 0.94)


def candidate(
    source: str,
    target: str,
    chance: float,
    *,
    reason: GateReason | None = None,
    guard: str | None = None,
    rewritten: float = 0.9,
    lower: float = 0.8,
    served: float = 0.0,
) -> Candidate:
    told = reason or (GateReason.KEPT if chance >= GATE.confidence else GateReason.NOT_BETTER)
    verdict = Verdict(told, 0.05, 0.2, rewritten, lower, chance)
    evidence = replace(EVIDENCE, served_turns=served, served_success=0.1 * served)
    return Candidate(source, target, verdict, evidence, 0.7, (source, target), 16, guard)


def pairs(table: Table) -> list[tuple[str, str]]:
    return [each.pair for each in table.rewrites]


def before(*on: tuple[str, str], suspended: tuple[Suspension, ...] = ()) -> Standings:
    return Standings(dict.fromkeys(on, Alone(0.05, 20.0)), {}, {each.pair: each for each in suspended})


def test_one_sure_pair_is_on():
    table = decide([candidate("maj", "imagine", 0.99)], Standings(), GATE, NOW)
    assert pairs(table) == [("maj", "imagine")]
    assert table.candidates[0].verdict.reason is GateReason.KEPT


def test_sure_enough_alone_is_not_sure_enough_among_others_like_it():
    # expected share of false ones: 0.01, (0.01 + 0.07) / 2 = 0.04, (0.08 + 0.09) / 3 = 0.057
    judged = [candidate("maj", "imagine", 0.99), candidate("bee", "bbc", 0.91), candidate("lamb", "lamp", 0.93)]
    table = decide(judged, Standings(), GATE, NOW)
    assert pairs(table) == [("maj", "imagine"), ("lamb", "lamp")]
    assert table.candidates[1].verdict.reason is GateReason.MANY_TESTS
    assert table.candidates[1].verdict.standing is Standing.TRIAL
    surer = [candidate(f"text {n}", "target", 0.999) for n in range(3)]
    assert ("bee", "bbc") in pairs(decide([*judged, *surer], Standings(), GATE, NOW))


def test_what_is_chosen_is_what_is_counted():
    # of one source's targets the chain's first is chosen: the surer one, which is not served, does not make up for it
    judged = [candidate("maj", "imagine", 0.93), candidate("maj", "dragons", 1.0)]
    table = decide(judged, Standings(), GATE, NOW)
    assert pairs(table) == []
    assert [each.verdict.reason for each in table.candidates] == [GateReason.MANY_TESTS, GateReason.OTHER_CHOSEN]


def test_on_and_off_are_apart():
    doubtful = candidate("maj", "imagine", 0.7)
    sure = [candidate(f"text {n}", "target", 0.9999) for n in range(9)]
    new = decide([*sure, doubtful], Standings(), GATE, NOW)
    assert ("maj", "imagine") not in pairs(new)
    live = decide([*sure, doubtful], before(("maj", "imagine")), GATE, NOW)
    assert ("maj", "imagine") in pairs(live)
    assert live.candidates[-1].verdict.reason is GateReason.HELD
    assert pairs(decide([doubtful], before(("maj", "imagine")), GATE, NOW)) == [("maj", "imagine")]  # alone as well
    off = decide([*sure, candidate("maj", "imagine", 0.4)], before(("maj", "imagine")), GATE, NOW)
    assert ("maj", "imagine") not in pairs(off)


def test_a_rewrite_that_turned_bad_is_suspended_and_longer_each_time():
    pair = ("maj", "imagine")
    bad = candidate(*pair, 0.1, served=40.0)
    first = decide([bad], before(pair), GATE, NOW)
    assert pairs(first) == []
    assert first.candidates[0].verdict.reason is GateReason.FAILED_LIVE
    assert first.suspensions == [Suspension(*pair, NOW, NOW + 30 * DAY_S, 1)]

    sure = candidate(*pair, 0.9999)
    during = decide([sure], before(suspended=tuple(first.suspensions)), GATE, NOW + 29 * DAY_S)
    assert pairs(during) == []
    assert during.candidates[0].verdict.reason is GateReason.SUSPENDED
    assert during.candidates[0].verdict.standing is Standing.OFF  # nor is it on trial
    assert during.suspensions == [replace(first.suspensions[0], fresh=False)]  # what is forgotten is forgotten once

    later = decide([sure], before(suspended=tuple(first.suspensions)), GATE, NOW + 30 * DAY_S)
    assert pairs(later) == [pair]
    again = decide([bad], before(pair, suspended=(later.suspensions[0],)), GATE, NOW + 40 * DAY_S)
    assert again.suspensions == [Suspension(*pair, NOW + 40 * DAY_S, NOW + 100 * DAY_S, 2)]
    forgotten = decide([sure], before(suspended=tuple(first.suspensions)), GATE, NOW + 61 * DAY_S)
    assert forgotten.suspensions == []


def test_a_rewrite_that_turns_bad_by_and_by_is_suspended_as_well():
    pair = ("maj", "imagine")
    falling = decide([candidate(*pair, 0.45, served=5.0)], before(pair), GATE, NOW)  # too little of a record yet
    assert (pairs(falling), falling.trials, falling.suspensions) == ([], [], [])
    fallen = Standings({}, {pair: Alone(0.05, 20.0)})
    trial = decide([candidate(*pair, 0.6, served=12.0)], fallen, GATE, NOW)
    assert [each.known for each in trial.trials] == [Alone(0.05, 20.0)]  # it is still told from what never was on
    bad = decide([candidate(*pair, 0.3, served=20.0)], fallen, GATE, NOW)
    assert [each.pair for each in bad.suspensions] == [pair]
    never = decide([candidate(*pair, 0.3, served=20.0)], Standings(), GATE, NOW)
    assert never.suspensions == []


def test_what_was_known_when_it_was_turned_on_is_kept_as_it_was():
    pair = ("maj", "imagine")
    (new,) = decide([candidate(*pair, 0.99)], Standings(), GATE, NOW).rewrites
    assert new.known == Alone(0.05, 21.0)  # twenty turns, and one that others lead to expect
    (again,) = decide([candidate(*pair, 0.7)], Standings({pair: Alone(0.01, 7.0)}), GATE, NOW).rewrites
    assert again.known == Alone(0.01, 7.0)


def test_a_rewrite_that_is_needed_no_more_goes_without_reproach():
    works_now = candidate("maj", "imagine", 0.1, reason=GateReason.GOOD_ALREADY, served=40.0)
    table = decide([works_now], before(("maj", "imagine")), GATE, NOW)
    assert (pairs(table), table.suspensions) == ([], [])
    assert table.candidates[0].verdict.reason is GateReason.GOOD_ALREADY


def test_a_source_keeps_its_rewrite_until_another_surely_beats_it():
    old, new = ("maj", "imagine"), ("maj", "dragons")
    judged = [candidate(*new, 0.99, rewritten=0.95, lower=0.85), candidate(*old, 0.99, rewritten=0.9)]
    assert pairs(decide(judged, Standings(), GATE, NOW)) == [new]  # the better by the chain
    assert pairs(decide(judged, before(old), GATE, NOW)) == [old]
    judged[0] = candidate(*new, 0.99, rewritten=0.97, lower=0.92)
    assert pairs(decide(judged, before(old), GATE, NOW)) == [new]


def test_nothing_is_rewritten_to_what_is_itself_rewritten():
    judged = [candidate("maj", "imagine", 0.999, rewritten=0.85), candidate("imagine", "imagine dragons", 0.999)]
    table = decide(judged, Standings(), GATE, NOW)
    assert pairs(table) == [("imagine", "imagine dragons")]
    assert table.candidates[0].verdict.reason is GateReason.OTHER_CHOSEN


def test_a_source_falls_back_to_its_next_target():
    judged = [
        candidate("a", "b", 0.999, rewritten=0.8),
        candidate("a", "c", 0.999, rewritten=0.8),
        candidate("b", "c", 0.999, rewritten=0.9),
    ]
    assert pairs(decide(judged, Standings(), GATE, NOW)) == [("a", "c"), ("b", "c")]


def test_of_a_ring_something_stays():
    ring = [candidate("a", "b", 0.999, rewritten=0.9), candidate("b", "a", 0.999, rewritten=0.8)]
    assert pairs(decide(ring, Standings(), GATE, NOW)) == [("a", "b")]
    row = [candidate(*pair, 0.999, rewritten=0.7 + n / 10) for n, pair in enumerate(("ab", "bc", "cd"))]
    assert pairs(decide(row, Standings(), GATE, NOW)) == [("a", "b"), ("c", "d")]


def test_on_trial_is_the_likeliest_of_a_source_that_has_no_rewrite():
    judged = [
        candidate("maj", "imagine", 0.6),
        candidate("maj", "dragons", 0.8),
        candidate("maj", "marge", 0.4),
        candidate("good", "better", 0.7, reason=GateReason.GOOD_ALREADY),
        candidate("on", "off", 0.7, guard="guard_polarity"),
    ]
    table = decide(judged, Standings(), GATE, NOW)
    assert [each.pair for each in table.trials] == [("maj", "dragons")]
    sure = decide([*judged, candidate("maj", "magic", 0.9999)], Standings(), GATE, NOW)
    assert sure.trials == []


chances = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz"), st.floats(0, 1)),
    max_size=20,
    unique_by=lambda row: row[:2],
)


@given(chances, st.sets(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz"))))
def test_laws_of_every_table(rows: list[tuple[str, str, float]], on: set[tuple[str, str]]):
    judged = [candidate(*row) for row in sorted(rows)]
    table = decide(judged, before(*on), GATE, NOW)
    assert [each.pair for each in table.candidates] == [each.pair for each in judged]
    sources = [each.source for each in table.rewrites]
    assert len(sources) == len(set(sources))
    for each in table.rewrites:
        assert each.verdict.chance >= (GATE.keep_confidence if each.pair in on else GATE.confidence)
    targets = {each.target for each in table.rewrites}
    assert not targets & set(sources)
    doubts = [1 - each.verdict.chance for each in table.rewrites if each.verdict.reason is GateReason.KEPT]
    assert not doubts or sum(doubts) / len(doubts) <= GATE.false_discoveries + 1e-12
    assert not {each.source for each in table.trials} & set(sources)
