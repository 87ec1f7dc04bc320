"""Planted truth: what is known of a world by hand, and that its traffic and its log are what the world says."""

from __future__ import annotations

import importlib
import math
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dialogue.reader import read_log
from dialogue.turn import Turn
from rewrite import Action, Decision, Reason, Source

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    """Imports a program of benchmarks/, as running it from a checkout would."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.fixture
def planted(benchmark) -> ModuleType:
    return benchmark("planted")


def tiny(planted: ModuleType) -> Any:
    """Two goals of equal popularity, said in "play one" and "play two"; "play won" is of both, three times of four of
    the first, for which it works one time in ten."""
    return planted.World(
        texts=("play one", "play two", "play won"),
        kind=np.array([0, 0, 3], np.int8),
        home=np.array([0, 1, 0]),
        twin=np.array([1, 0]),
        popularity=np.array([0.5, 0.5]),
        theta=np.array([[0.9, 0.0], [0.0, 0.8], [0.1, 0.0]]),
        first=np.array([[0.4, 0.0, 0.6], [0.0, 0.8, 0.2]]),
        again=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    )


def test_the_truth_of_a_tiny_world_by_hand(planted: ModuleType):
    world = tiny(planted)
    assert world.said == pytest.approx([0.2, 0.4, 0.4])
    assert world.meant == pytest.approx(np.array([[1, 0], [0, 1], [0.75, 0.25]]))
    assert world.alone == pytest.approx([0.9, 0.8, 0.075])
    assert world.value[2] == pytest.approx([0.75 * 0.9, 0.25 * 0.8, 0.075])
    assert world.gain[2] == pytest.approx([0.6, 0.125, 0.0])
    assert world.good(2, 0, 0.1)
    assert world.good(2, 1, 0.1)
    assert not world.good(2, 1, 0.13)
    assert not world.good(0, 0, 0.0)
    assert world.repairable(0.1).tolist() == [False, False, True]
    # of the 0.3 of wishes that are said as "play won" and mean the first goal, 0.9 * 0.9 are won and 0.1 * 0.1 lost
    assert world.wins_losses(2, 0) == pytest.approx((0.3 * 0.81, 0.3 * 0.01))


def test_traffic_succeeds_by_the_true_rates(planted: ModuleType):
    world = tiny(planted)
    turns = planted.traffic(world, 40_000, 1, users=500, robots=planted.Robots(0))
    first = turns.take(turns.tries == 0)
    assert np.bincount(first.said) / len(first) == pytest.approx([0.2, 0.4, 0.4], abs=0.02)
    for text, goal in ((0, 0), (1, 1), (2, 0), (2, 1)):
        own = turns.take((turns.said == text) & (turns.goal == goal))
        assert own.success.mean() == pytest.approx(world.theta[text, goal], abs=0.01)
    assert (turns.said == turns.sent).all()
    assert np.isnan(turns.propensity).all()
    assert (np.diff(turns.time) >= 0).all()


@pytest.mark.parametrize("flipped", [0.0, 0.05, 0.2])
def test_flips_flip(planted: ModuleType, flipped: float):
    feedback = planted.Feedback(labelled=0.5, flipped=flipped)
    turns = planted.traffic(tiny(planted), 20_000, 2, users=500, robots=planted.Robots(0), feedback=feedback)
    told = turns.take(turns.told != planted.NONE)
    assert len(told) / len(turns) == pytest.approx(0.5, abs=0.02)
    wrong = (told.told == 1) != told.success
    assert wrong.mean() == pytest.approx(flipped, abs=0.01)
    assert not (told.apology | told.barge_in).any()  # the weaker signals are on the other turns


def log_of(planted: ModuleType, path: Path, world: Any, turns: Any, **how: Any) -> list[Turn]:
    reader = read_log(planted.write_log(path, world, turns, **how))
    read = [turn for block in reader for turn in block]
    assert reader.report.rejected == {}
    return read


def test_the_same_seed_gives_the_same_bytes(planted: ModuleType, tmp_path: Path):
    shape = planted.Shape(goals=20, users=100)
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        world = planted.Planted(shape, seed).at(2)
        turns = planted.traffic(world, 2_000, seed, users=shape.users, robots=planted.Robots(2, 50))
        planted.write_log(tmp_path / name, world, turns, nlu=True)
    one, again, other = ((tmp_path / name).read_bytes() for name in ("one", "again", "other"))
    assert one == again != other


def test_a_log_says_what_happened(planted: ModuleType, tmp_path: Path):
    world = planted.Planted(planted.Shape(goals=20, users=100), 5).at()
    turns = planted.traffic(world, 2_000, 5, users=100, robots=planted.Robots(2, 50))
    read = log_of(planted, tmp_path / "log.jsonl", world, turns, nlu=True)
    assert [turn.text for turn in read] == [world.texts[text] for text in turns.said]
    told = {1: "success", 0: "failure", planted.NONE: None}
    assert [turn.outcome for turn in read] == [told[each] for each in turns.told.tolist()]
    understood = {turn.nlu.slots["name"] for turn, success in zip(read, turns.success, strict=True) if success}
    assert understood <= {f"thing {goal}" for goal in range(20)}
    assert len({turn.turn_id for turn in read}) == len(turns)

    said = Counter(turn.user_id for turn in read)
    robots = [planted.user_name(100), planted.user_name(101)]
    assert all(said[robot] > 80 for robot in robots)
    assert max(count for user, count in said.items() if user not in robots) < 80
    assert all(len({turn.text for turn in read if turn.user_id == robot}) == 2 for robot in robots)


def test_what_was_served_and_held_back_is_in_the_log(planted: ModuleType, tmp_path: Path):
    world, answers = tiny(planted), Counter[str]()

    def policy(text: str, user: str) -> Decision:
        answers[text] += 1
        if text != "play won":
            return Decision(Action.PASS, text, text, Reason.KNOWN_GOOD)
        if answers[text] % 5 == 0:
            return Decision(Action.PASS, text, text, Reason.NOT_FAILING, rewrite_id="feed", propensity=0.2)
        return Decision(
            Action.REWRITE, "play one", text, Reason.LEARNED, Source.PRECOMPUTED, rewrite_id="feed", propensity=0.8
        )

    turns = planted.traffic(world, 5_000, 6, users=200, robots=planted.Robots(0), policy=policy)
    rewritten = turns.take((turns.said == 2) & (turns.sent == 0))
    assert rewritten.success[rewritten.goal == 0].mean() == pytest.approx(0.9, abs=0.03)
    assert not rewritten.success[rewritten.goal == 1].any()

    read = log_of(planted, tmp_path / "log.jsonl", world, turns)
    served = [turn for turn in read if turn.served]
    assert len(served) == answers["play won"]
    for turn in served:
        kept = turn.text == "play won"
        assert turn.said == "play won"
        assert turn.served.rewrite == turn.text == ("play won" if kept else "play one")
        assert turn.served.propensity == (0.2 if kept else 0.8)
    assert sum(turn.text == "play won" for turn in served) == answers["play won"] // 5

    blind = log_of(planted, tmp_path / "blind.jsonl", world, turns, served=False)
    assert not any(turn.served for turn in blind)
    assert [turn.text for turn in blind] == [turn.said for turn in read]


def test_preferences_flip_and_texts_are_mended(planted: ModuleType):
    worlds = planted.Planted(planted.Shape(goals=60, flip_round=2), 7)
    before, after = worlds.at(1), worlds.at(2)
    assert len(worlds.flipped) > 5 < len(worlds.mended)
    assert not set(worlds.flipped.tolist()) & set(worlds.mended.tolist())
    for text in worlds.flipped:
        twin = before.twin[before.home[text]]
        assert before.meant[text, twin] == 0
        assert after.meant[text, twin] > 0.5
        assert after.repairable(0.1)[text] == (after.value[text, after.home == twin].max() > after.alone[text] + 0.1)
    best = before.value[worlds.flipped].argmax(1)
    turned = [not after.good(text, target, 0.1) for text, target in zip(worlds.flipped, best, strict=True)]
    assert np.mean(turned) > 0.9
    assert after.alone[worlds.mended] == pytest.approx(0.93)
    assert not after.repairable(0.1)[worlds.mended].any()


def test_rates_drift_little_by_little(planted: ModuleType):
    worlds = planted.Planted(planted.Shape(goals=60, drift=0.1), 8)
    known = worlds.at().theta > 0
    rates = (worlds.at(number).theta[known] for number in (0, 1, 9))
    odds = [np.log(theta / (1 - theta)) for theta in rates]
    assert np.std(odds[1] - odds[0]) == pytest.approx(0.1, rel=0.2)
    assert np.std(odds[2] - odds[0]) == pytest.approx(0.3, rel=0.2)


def test_precision_and_recall_by_hand(benchmark, planted: ModuleType):
    decisions, world = benchmark("rewrite_decisions"), tiny(planted)
    active = np.ones(3, np.bool_)

    def area(*proposals: tuple[int, int, float]) -> float:
        return decisions.pr_area([decisions.Proposal(*each, True) for each in proposals], world, 0.1, active)

    assert area((2, 0, 0.9), (0, 1, 0.5), (1, 0, 0.4)) == 1.0  # the one right pair comes first
    assert area((0, 1, 0.9), (2, 0, 0.5)) == 0.5
    assert area((0, 1, 0.5), (2, 0, 0.5)) == 0.5  # equal scores enter together
    assert area((0, 1, 0.9)) == 0.0


def test_rounds_until_a_flipped_rewrite_is_off(benchmark):
    loop = benchmark("self_awareness")

    def rounds(*stale: list[str]) -> list[Any]:
        return [
            loop.Round("aware", 0, number, 10, 5, 3, 0, 0, 0.9, 0.1, names, 0) for number, names in enumerate(stale)
        ]

    assert loop.rounds_until_off(rounds([], ["a", "b"], ["b"], []), 1) == [1, 2]
    assert loop.rounds_until_off(rounds([], ["a"], ["a"]), 1) == [math.inf]
    assert loop.rounds_until_off(rounds([], []), 1) == []


def test_rewrite_decisions(benchmark, capsys: pytest.CaptureFixture[str]):
    program = benchmark("rewrite_decisions")
    none, one_hop, chain, ours = program.main(["--quick", "--flipped", "0.1"])
    assert [each.way for each in (none, one_hop, chain, ours)] == list(program.WAYS)
    assert (none.size, none.wins, none.losses) == (0, 0.0, 0.0)
    for each in (one_hop, chain, ours):
        assert each.size >= each.right[1] >= each.right[0]
        assert each.size_at_n == min(each.size, ours.size)
        assert 0.2 < each.area[0] < 1
    assert ours.right == ours.right_at_n
    assert "of ours are false discoveries" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["naive", "aware"])
def test_a_loop_learns_from_what_it_served(benchmark, planted: ModuleType, name: str):
    program = benchmark("self_awareness")
    shape = planted.Shape(goals=16, users=150, flip_round=2)
    setting = program.Setting(shape, planted.Robots(1, 10), wishes=1_500, rounds=3)
    first, second, third = program.run(name, setting, 1)
    assert (first.on, first.type_one, first.type_two) == (0, 0, first.repairable)
    assert 0 < second.area < 1
    for each in (second, third):
        assert each.type_one <= each.on <= each.active
        assert each.type_two <= each.repairable
    assert [each.number for each in (first, second, third)] == [0, 1, 2]
