"""The closed loop: a world whose right answers are known by hand, and laws that every simulation obeys."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from dialogue.reader import read_log
from dialogue.turn import Turn
from eval.simulation.arms import Arm, Server, assign
from eval.simulation.assistant import Chance
from eval.simulation.customers import COLUMNS, ROWS, Customers
from eval.simulation.effects import Count
from eval.simulation.errors import ResumeError
from eval.simulation.knobs import Knobs
from eval.simulation.loop import Result, simulate, turns_of
from eval.simulation.population import Population
from eval.simulation.traffic import Traffic
from eval.simulation.truth import End, Kind, Noted, Truth
from rephrase_detection import LexicalDetector

BBC = {"domain": "news", "intent": "play", "slots": {"source": "bbc"}}
MOM = {"domain": "call", "intent": "make", "slots": {"contact": "mom"}}
TABLE = Population.from_table()


def recording(goal: str, sentence: str, heard: str, frame: dict, understood: bool) -> dict:
    gold = {"text": sentence, "frame": frame, "success": understood}
    return {"goal_id": goal, "text": heard, "nlu": frame if understood else None, "gold": gold}


#: Two goals. "play the bee bee sea" is never understood, "play news from the bbc" always; "call mom" always.
TWO_GOALS = Population.from_records(
    [
        recording("1", "play the bbc", "play the bee bee sea", BBC, False),
        recording("2", "play news from the bbc", "play news from the bbc", BBC, True),
        recording("3", "call mom", "call mom", MOM, True),
    ]
)
#: Everyone says each sentence as often as the other, tries the other one when it fails, and never gives up.
PLAIN = Knobs().having(
    users=10, turns=1_200, rounds=2, activity=0, robots=0, unsatisfiable=0, zipf=0, habit=0, lookalike=0, drift=0,
    wording=0, voice=1, patience=20, repeat=0, rephrase=1, switch=0, abandon=0, follow_up=0, silent=0,
    outcome_known=1, outcome_wrong=0,
)  # fmt: skip
TWO_ARMS = (Arm.CONTROL, Arm.PRECOMPUTED)


def lines(out: Path, number: int, name: str = "log") -> list[dict]:
    text = (out / f"rounds/{number}/{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def truth(out: Path, number: int) -> Truth:
    return Truth.load(out / f"rounds/{number}/truth.npz")


def first_round(tmp_path: Path, turns: int = 3_000, **knobs: float) -> tuple[list[dict], Truth]:
    out = tmp_path / "out"
    simulate(TABLE, out, knobs=Knobs().having(**({"turns": turns, "users": 100, "rounds": 1} | knobs)))
    return lines(out, 1), truth(out, 1)


@pytest.fixture(scope="module")
def two_goals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("simulation") / "out"
    return simulate(TWO_GOALS, out, knobs=PLAIN, arms=TWO_ARMS), out


# A known answer


def test_the_engine_learns_the_repair_in_round_one_and_makes_it_in_round_two(two_goals: tuple[Result, Path]):
    result, out = two_goals
    misheard = sum(
        turn.get("served", turn).get("original", turn["text"]) == "play the bee bee sea"
        for turn, arm in zip(lines(out, 2), result.arm_of[truth(out, 2).user], strict=True)
        if arm == 1
    )
    before, after = (result.effects(Arm.PRECOMPUTED, [number]) for number in (1, 2))
    assert before.total(Count.REWRITTEN) == 0
    assert before.total(Count.DEFECTS) > 50
    assert misheard > 50
    assert after.total(Count.WINS) == after.total(Count.REWRITTEN) == misheard
    assert after.total(Count.DEFECTS) == after.total(Count.LOSSES) == after.total(Count.VAIN) == 0
    assert after.saved.value == 1.0
    assert after.precision.value == 1.0
    assert after.false_triggers.part == 0


def test_control_is_never_rewritten_and_keeps_failing(two_goals: tuple[Result, Path]):
    result, _ = two_goals
    control = result.effects(Arm.CONTROL)
    assert control.total(Count.REWRITTEN) == 0
    assert control.total(Count.DEFECTS) == control.total(Count.WOULD_FAIL) > 50
    # A quarter of the visits begins with the sentence that fails, and every failure is mended by the next try.
    assert control.defect_rate.value == pytest.approx(0.25 / 1.25, abs=0.05)
    assert control.total(Count.GOALS_FAILED) == 0


def test_the_trial_shows_what_the_turns_show(two_goals: tuple[Result, Path]):
    after = two_goals[0].effects(Arm.PRECOMPUTED, [2])
    assert after.difference is not None
    assert after.difference.interval is not None
    low, high = after.difference.interval
    assert low <= after.difference.value <= high < 0


def test_a_rewrite_is_logged_with_what_was_said(two_goals: tuple[Result, Path]):
    served = [turn for turn in lines(two_goals[1], 2) if "served" in turn]
    assert {(turn["served"]["original"], turn["text"]) for turn in served} == {
        ("play the bee bee sea", "play news from the bbc")
    }
    assert {turn["served"]["source"] for turn in served} == {"precomputed"}
    assert {turn["served"]["propensity"] for turn in served} == {1}
    assert all(turn["nlu"]["slots"] == {"source": "bbc"} for turn in served)


# Laws


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path):
    knobs = Knobs().having(turns=2_000, users=40, rounds=2)
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        simulate(TABLE, tmp_path / name, knobs=knobs, seed=seed)
    logs = {
        name: [(tmp_path / name / f"rounds/{number}/log.jsonl").read_bytes() for number in (1, 2)]
        for name in ("one", "again", "two")
    }
    assert logs["one"] == logs["again"]
    assert logs["one"] != logs["two"]


def test_the_detector_is_what_the_engine_learns_with(tmp_path: Path):
    """One that finds nothing learns nothing; and a folder is not gone on with by another."""
    knobs, blind = PLAIN.having(rounds=2), LexicalDetector(threshold=0.999999)
    simulate(TWO_GOALS, tmp_path / "blind", knobs=knobs, arms=TWO_ARMS, detector=blind)
    simulate(TWO_GOALS, tmp_path / "lexical", knobs=knobs, arms=TWO_ARMS, detector=LexicalDetector())
    rewrites = [(tmp_path / name / "rounds/1/bundle/rewrites.jsonl").read_text() for name in ("blind", "lexical")]
    assert rewrites[0] == "" != rewrites[1]
    with pytest.raises(ResumeError):
        simulate(TWO_GOALS, tmp_path / "blind", knobs=knobs, arms=TWO_ARMS)


def test_the_arms_change_nothing_but_what_is_served(tmp_path: Path):
    knobs = Knobs().having(turns=1_000, users=40, rounds=1)
    for name, arms in (("one", (Arm.CONTROL,)), ("all", tuple(Arm))):
        simulate(TABLE, tmp_path / name, knobs=knobs, arms=arms)
    one, all_ = (tmp_path / name / "rounds/1/log.jsonl" for name in ("one", "all"))
    assert one.read_bytes() == all_.read_bytes()


def test_the_log_is_in_the_format_and_holds_no_truth(two_goals: tuple[Result, Path]):
    known = {each.name for each in fields(Turn)} - {"gold"}
    reader = read_log(two_goals[1] / "rounds/2/log.jsonl")
    assert sum(len(turns) for turns in reader) == 600
    assert reader.report.rejected_records == 0
    for turn in lines(two_goals[1], 2):
        assert set(turn) <= known
        assert "goal" not in json.dumps(turn)


def test_a_log_looks_the_same_whatever_its_goals_are_called(tmp_path: Path):
    renamed = Population.from_records(
        [
            recording("x", "play the bbc", "play the bee bee sea", BBC, False),
            recording("y", "play news from the bbc", "play news from the bbc", BBC, True),
            recording("z", "call mom", "call mom", MOM, True),
        ]
    )
    for name, population in (("one", TWO_GOALS), ("other", renamed)):
        simulate(population, tmp_path / name, knobs=PLAIN.having(rounds=1), arms=TWO_ARMS)
    one, other = (tmp_path / name / "rounds/1/log.jsonl" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_times_of_a_user_never_run_backwards(tmp_path: Path):
    log, _ = first_round(tmp_path)
    ends: dict[str, float] = {}
    for turn in log:
        assert turn["timestamp"] >= ends.get(turn["user_id"], 0)
        assert turn["end_timestamp"] > turn["timestamp"]
        ends[turn["user_id"]] = turn["end_timestamp"]


def test_the_rounds_share_the_turns():
    knobs = Knobs().having(turns=11, rounds=3)
    assert [len(turns_of(knobs, number)) for number in (1, 2, 3)] == [3, 4, 4]


def test_arms_are_about_as_large_and_do_not_depend_on_the_number_of_users():
    few, many = (Customers(TABLE, Knobs().having(users=users), 0) for users in (50, 4_000))
    arms = tuple(Arm)
    assert assign(few, arms).tolist() == assign(many, arms)[:50].tolist()
    assert np.bincount(assign(many, arms)).min() > 900


def test_every_turn_has_its_random_numbers():
    assert len(Chance) == COLUMNS


# Knobs


@pytest.mark.parametrize(
    ("knob", "field", "value"),
    [("barge_in", "barge_in", None), ("cancel", "cancelled", None), ("rated", "rating", None)],
)
def test_feedback_at_zero_is_not_in_the_log(tmp_path: Path, knob: str, field: str, value: None):
    noise = {"barge_in": {"barge_in_noise": 0}, "cancel": {"cancel_noise": 0}}.get(knob, {})
    log, _ = first_round(tmp_path, **({knob: 0} | noise))
    assert all(turn.get("signals", {}).get(field) is value for turn in log)


def test_behaviours_at_zero_are_switched_off(tmp_path: Path):
    log, told = first_round(tmp_path, robots=0, follow_up=0, outcome_known=0, engagement_known=0, abandon=0, switch=0)
    assert set(told.kind.tolist()) == {Kind.REQUEST}
    assert not any("outcome" in turn or "engaged_s" in turn.get("signals", {}) for turn in log)
    assert not set(told.end.tolist()) & {End.LEFT, End.SWITCHED}


def test_shares_come_out_near_their_knobs(tmp_path: Path):
    log, told = first_round(tmp_path, turns=12_000, users=1_000, robots=0, follow_up=0, outcome_wrong=0, silent=0)
    failed = told.success == 0
    barged = np.array([turn.get("signals", {}).get("barge_in", False) for turn in log])
    assert barged[failed].mean() == pytest.approx(0.3, abs=0.03)
    assert barged[~failed].mean() == pytest.approx(0.03, abs=0.01)
    known = np.array(["outcome" in turn for turn in log])
    assert known.mean() == pytest.approx(0.4, abs=0.02)
    with_outcome = [(turn, ok) for turn, ok in zip(log, told.success, strict=True) if "outcome" in turn]
    assert all((turn["outcome"] == "success") == bool(ok) for turn, ok in with_outcome)


def test_what_nothing_satisfies_never_succeeds(tmp_path: Path):
    log, told = first_round(tmp_path, unsatisfiable=0.05)
    pump = [ok for turn, ok in zip(log, told.success, strict=True) if turn["text"] == "start the fountain pump"]
    assert pump
    assert not any(pump)
    none, _ = first_round(tmp_path / "none", unsatisfiable=0)
    assert "start the fountain pump" not in {turn["text"] for turn in none}


def test_robots_talk_and_are_in_no_figure(tmp_path: Path):
    knobs = Knobs().having(turns=1_000, users=20, rounds=1, robots=1)
    result = simulate(TABLE, tmp_path / "out", knobs=knobs, arms=(Arm.CONTROL,))
    assert result.effects(Arm.CONTROL).total(Count.TURNS) == 0
    assert result.effects(Arm.CONTROL).defect_rate.value is None


def test_habits_make_a_user_return(tmp_path: Path):
    def goals_per_user(habit: float) -> float:
        told = first_round(tmp_path / str(habit), users=20, robots=0, zipf=0, habit=habit, habits=2, follow_up=0)[1]
        return float(np.mean([len(set(told.goal[told.user == user].tolist())) for user in range(20)]))

    assert goals_per_user(1.0) < goals_per_user(0.0) / 2


def talk(population: Population, turns: int, **knobs: float) -> Noted:
    """One round in which nobody answers but the assistant."""
    turned = PLAIN.having(**({"turns": turns, "rounds": 1} | knobs))
    customers = Customers(population, turned, 0)
    nobody = np.zeros(turned.traffic.users, np.int64)
    return Traffic(customers, 1, [Server(None, Arm.CONTROL)], nobody, 0).run(turns, StringIO(), None, lambda _: None)


def test_it_is_noted_in_which_sentence_each_turn_was_said():
    noted = talk(TWO_GOALS, 300, follow_up=0.2)
    told = noted.truth()
    assert len(noted.said) == len(told) == 300
    for said, goal, success, kind in zip(noted.said, told.goal, told.success, told.kind, strict=True):
        assert said.goal == (-1 if kind == Kind.FOLLOW_UP else goal)
        if goal == 0:  # of its two sentences the first is never understood
            assert said.sentence == success
    sessions = [said.session for said in noted.said]
    assert sessions == sorted(sessions)
    assert 100 < sessions[-1] <= 300


def test_a_customer_who_only_ever_goes_on_to_something_else_leaves_in_the_end():
    never = Population.from_records(
        [recording("1", "play the bbc", "play bbc", BBC, n == 0) for n in range(50)]
        + [recording("2", "call mom", "call tom", MOM, n == 0) for n in range(50)]
    )
    noted = talk(never, 2_000, rephrase=0, switch=1, visits=1)
    longest = max(Counter(said.session for said in noted.said).values())
    assert longest == ROWS


def test_a_flip_turns_the_meaning_of_words(tmp_path: Path):
    knobs = PLAIN.having(turns=600, flip_round=2, flip_goals=0.5, flip_users=1)
    simulate(TWO_GOALS, tmp_path / "out", knobs=knobs, arms=(Arm.CONTROL,))
    flipped = Customers(TWO_GOALS, knobs, 0).flips(2)
    assert len(flipped) == 1
    assert Customers(TWO_GOALS, knobs, 0).flips(1) == {}
    assert set(truth(tmp_path / "out", 2).goal.tolist()) == set(flipped.values())


def test_a_held_back_rewrite_is_not_served(tmp_path: Path):
    result = simulate(TWO_GOALS, tmp_path / "out", knobs=PLAIN.having(holdback=0.5), arms=(Arm.PRECOMPUTED,))
    after = result.effects(Arm.PRECOMPUTED, [2])
    share = after.total(Count.WINS) / after.total(Count.WOULD_FAIL)
    assert share == pytest.approx(0.5, abs=0.15)
    assert {turn["served"]["propensity"] for turn in lines(tmp_path / "out", 2) if "served" in turn} == {0.5}


def test_users_who_are_not_learned_from_are_served_all_the_same(tmp_path: Path):
    knobs = PLAIN.having(users=40, learn_users=0.5)
    simulate(TWO_GOALS, tmp_path / "out", knobs=knobs, arms=(Arm.PRECOMPUTED,))
    learned, unseen = (lines(tmp_path / "out", 2, name) for name in ("log", "unseen"))
    assert not {turn["user_id"] for turn in learned} & {turn["user_id"] for turn in unseen}
    assert any("served" in turn for turn in unseen)


# Going on


def test_finished_rounds_are_not_run_again(two_goals: tuple[Result, Path]):
    result, out = two_goals
    written = (out / "rounds/1/log.jsonl").stat().st_mtime_ns
    again = simulate(TWO_GOALS, out, knobs=PLAIN, arms=TWO_ARMS)
    assert (out / "rounds/1/log.jsonl").stat().st_mtime_ns == written
    assert [each.counts.tolist() for each in again.rounds] == [each.counts.tolist() for each in result.rounds]


def test_a_round_that_was_cut_off_is_run_again_to_the_same_bytes(tmp_path: Path):
    out, knobs = tmp_path / "out", PLAIN.having(turns=400)
    simulate(TWO_GOALS, out, knobs=knobs, arms=TWO_ARMS)
    wanted = (out / "rounds/2/log.jsonl").read_bytes()
    (out / "rounds/2/done.json").unlink()
    (out / "rounds/2/log.jsonl").write_text("half a li")
    simulate(TWO_GOALS, out, knobs=knobs, arms=TWO_ARMS)
    assert (out / "rounds/2/log.jsonl").read_bytes() == wanted


def test_another_simulation_is_not_gone_on_with(two_goals: tuple[Result, Path], tmp_path: Path):
    with pytest.raises(ResumeError, match="other knobs"):
        simulate(TWO_GOALS, two_goals[1], knobs=PLAIN.having(zipf=1), arms=TWO_ARMS)
    (tmp_path / "letter.txt").write_text("dear diary")
    with pytest.raises(ResumeError, match="holds no simulation"):
        simulate(TWO_GOALS, tmp_path, knobs=PLAIN, arms=TWO_ARMS)
