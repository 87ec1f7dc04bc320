"""A new bundle is estimated from the log of an old one: by hand, refused, and against the simulator's truth."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dialogue.canonical import Canonicaliser
from dialogue.outcomes import OutcomeModel
from dialogue.reader import read_log
from dialogue.sessions import cut_sessions
from dialogue.table import dialogue_batch
from eval.__main__ import app
from eval.counterfactual import Evaluation, Refusal
from eval.estimate import EstimateError, Estimator, estimate
from eval.simulation.knobs import Knobs
from rewrite import Action, Decision, Reason, Source

ROOT = Path(__file__).parent.parent
LOOSE = Evaluation(least_effective=0, draws=199)


@dataclass(frozen=True)
class Fake:
    """Rewrites by a table."""

    table: Mapping[str, str]

    def rewrite(self, text: str, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> Decision:
        if text not in self.table:
            return Decision(Action.PASS, text, text, Reason.NO_CANDIDATE)
        return Decision(Action.REWRITE, self.table[text], text, Reason.LEARNED, Source.PRECOMPUTED)


OLD = Fake({"a": "alpha", "b": "beta"})
#: Said, served text or None, and whether it came to what was wanted. "a" and "b" are withheld half of the time.
TURNS = (
    ("a", "alpha", 1), ("a", None, 0), ("b", "beta", 0), ("b", None, 1),
    ("c", None, 1), ("a", "alpha", 1), ("a", None, 1), ("c", None, 0),
)  # fmt: skip
REWARDS = [float(success) for _, _, success in TURNS]


def write(folder: Path, turns=TURNS, propensity: float | None = 0.5, users: int = 4) -> Path:
    path = folder / "log.jsonl"
    with open(path, "w", encoding="utf-8") as lines:
        for number, (said, served, _) in enumerate(turns):
            turn = {"turn_id": f"t{number}", "user_id": f"u{number % users}", "timestamp": float(number), "text": said}
            if served:
                told = {"original": said, "rewrite": served, "source": "precomputed", "propensity": propensity}
                turn |= {"text": served, "served": {k: v for k, v in told.items() if v is not None}}
            lines.write(json.dumps(turn) + "\n")
    return path


def asked(log: Path, new: Fake, rewards=REWARDS, holdback: float = 0.5):
    return estimate(new, log, logged_by=OLD, holdback=holdback, reward=rewards, evaluation=LOOSE)


# A known answer


def test_a_bundle_without_one_rewrite_by_hand(tmp_path: Path):
    # The new bundle rewrites "a" only. Weight is 2 where it does what was done, 1 on "c":
    #   a alpha 1: 2   a left 0: 0   b beta 0: 0   b left 1: 2   c 1: 1   a alpha 1: 2   a left 1: 0   c 0: 1
    # weight x success: 2 + 2 + 1 + 2 = 7; weights: 2 + 2 + 1 + 2 + 1 = 8
    found = asked(write(tmp_path), Fake({"a": "Alpha"}))
    assert (found.turns, found.users, found.rewritten_by_old, found.withheld) == (8, 4, 6, 3)
    assert (found.rewritten_by_new, found.differing, found.never_tried) == (4, 2, 0)
    assert "Only 2 turns tell the new bundle from the old bundle" in found.says
    assert found.figures[Estimator.IPS].new.value == 7 / 8
    assert found.figures[Estimator.SNIPS].new.value == 7 / 8
    assert found.figures[Estimator.IPS].new.overlap.effective == 8**2 / (3 * 4 + 2)
    # The old one: 2 + 0 + 1 + 2 = 5 of 8. All left alone: 0 + 2 + 1 + 2 = 5, weights 2 + 2 + 1 + 2 + 1 = 8.
    for estimator in (Estimator.IPS, Estimator.SNIPS):
        figures = found.figures[estimator]
        assert (figures.old.value, figures.alone.value) == (5 / 8, 5 / 8)
        assert figures.against_old.value == figures.against_alone.value == 2 / 8


def test_doubly_robust_where_the_reward_model_knows_all(tmp_path: Path):
    found = asked(write(tmp_path, TURNS * 400, users=37), Fake({"a": "alpha"}), REWARDS * 400)
    # a: 1 where rewritten, 1/2 where not; b: 0 and 1; c: 1/2. Four of eight turns are a, two b, two c.
    assert found.figures[Estimator.DOUBLY_ROBUST].new.value == pytest.approx((4 + 2 + 1) / 8, abs=1e-3)


def test_every_change_is_the_difference_of_two_estimates(tmp_path: Path):
    chance = np.random.default_rng(1)
    rewards = chance.random(800).tolist()
    for figures in asked(write(tmp_path, TURNS * 100, users=37), Fake({"a": "alpha"}), rewards).figures.values():
        low, high = figures.against_old.interval
        assert low < figures.against_old.value < high
        assert figures.against_old.value == pytest.approx(figures.new.value - figures.old.value, abs=1e-12)
        assert figures.against_alone.value == pytest.approx(figures.new.value - figures.alone.value, abs=1e-12)


def test_the_old_bundle_itself_differs_nowhere(tmp_path: Path):
    found = asked(write(tmp_path), OLD)
    assert found.differing == 0
    assert found.figures[Estimator.IPS].against_old == (type(found.figures[Estimator.IPS].against_old))(0.0, None)
    assert "does on every turn what the old one does" in found.says


def test_what_was_never_tried_is_left_out_and_bounded(tmp_path: Path):
    # On "c", a quarter of the turns, and on no other does the new bundle do something new.
    new = Fake({"a": "alpha", "b": "beta", "c": "gamma"})
    found = asked(write(tmp_path, TURNS * 50, users=40), new, REWARDS * 50)
    assert (found.never_tried, found.share_never_tried) == (100, 0.25)
    # a rewritten: 1, b rewritten: 0; a is two thirds of what is left
    assert found.figures[Estimator.IPS].new.value == pytest.approx(4 / 6)
    assert found.bounds.low < 0.5 < 0.75 < found.bounds.high
    assert found.bounds.high - found.bounds.low > 0.25
    assert "100 of 400 turns (25.00%)" in found.says
    assert found.as_dict()["success_bounds"] == list(found.bounds)


def test_the_reward_is_judged_over_whole_sessions(tmp_path: Path):
    log = write(tmp_path, TURNS * 20, users=7)
    model, canonical, turns = OutcomeModel(), Canonicaliser(), [turn for some in read_log(log) for turn in some]
    sessions = list(cut_sessions(turns, 5.0))  # every user speaks each seven seconds
    p = dict(
        zip(
            [turn.turn_id for session in sessions for turn in session.turns],
            model.judge(dialogue_batch(sessions, canonical)),
            strict=True,
        )
    )
    found = estimate(OLD, log, logged_by=OLD, holdback=0.5, evaluation=LOOSE, session_gap_s=5.0)
    assert found.mean_reward == pytest.approx(np.mean(list(p.values())), abs=1e-12)
    assert found.reward.startswith("observable feedback")
    by_turn = estimate(OLD, log, logged_by=OLD, holdback=0.5, evaluation=LOOSE, reward=lambda turn: p[turn.turn_id])
    for estimator in Estimator:
        one, other = found.figures[estimator].new.value, by_turn.figures[estimator].new.value
        assert one == pytest.approx(other, abs=1e-12)


# Refusals


def test_nothing_tried_is_not_measured(tmp_path: Path):
    found = asked(write(tmp_path), Fake({"a": "x", "b": "y", "c": "z"}))
    assert found.figures == {}
    assert found.share_never_tried == 1
    assert [json.dumps(found.as_dict(), allow_nan=False) != "", [*found.tables()] != []] == [True, True]


def test_an_action_that_the_log_never_shows_is_no_overlap(tmp_path: Path):
    # Three rewrites, none withheld, though half should be: too few to call it an error, but nothing to judge by.
    found = asked(write(tmp_path, [("a", "alpha", 1)] * 3), Fake({}), [1.0] * 3)
    assert {each.new.refusal for each in found.figures.values()} == {Refusal.NO_OVERLAP}
    assert {each.against_old.value for each in found.figures.values()} == {None}


def test_too_few_rows_are_not_measured(tmp_path: Path):
    found = estimate(Fake({}), write(tmp_path), logged_by=OLD, holdback=0.5, reward=REWARDS)
    assert {each.new.refusal for each in found.figures.values()} == {Refusal.FEW_EFFECTIVE}


@pytest.mark.parametrize(
    ("turns", "propensity", "holdback", "says"),
    [
        (TURNS, 0.9, 0.5, "rewritten with propensity 0.9, but a holdback of 0.5 makes it 0.5"),
        (TURNS, None, 0.5, "rewritten with no propensity"),
        ([("a", None, 1)] * 8, 0.5, 0.5, "nothing was rewritten in this log of 8 turns"),
        ([("a", "other", 1)], 0.5, 0.5, "rewritten to 'other', but the old bundle rewrites it to 'alpha'"),
        ([("c", "other", 1)], 0.5, 0.5, "but the old bundle leaves it alone"),
        ([("a", "alpha", 1), ("a", None, 1)] * 100, 0.9, 0.1, "100 were left alone (50.0%), but a holdback of 0.1"),
    ],
)
def test_logs_that_were_served_otherwise(tmp_path: Path, turns, propensity, holdback: float, says: str):
    with pytest.raises(EstimateError) as told:
        asked(write(tmp_path, turns, propensity), OLD, [1.0] * len(turns), holdback)
    assert says in str(told.value)


@pytest.mark.parametrize("holdback", [0.0, 1.0, float("nan")])
def test_a_holdback_that_is_none(tmp_path: Path, holdback: float):
    with pytest.raises(ValueError, match="holdback came as"):
        asked(write(tmp_path), OLD, holdback=holdback)


def test_rewards_of_another_log(tmp_path: Path):
    with pytest.raises(ValueError, match="3 rewards came for a log of 8 turns"):
        asked(write(tmp_path), OLD, [1.0] * 3)


# The simulator's truth


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """The benchmark's program, as running it from a checkout would import it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return importlib.import_module("counterfactual")


@pytest.fixture(scope="module")
def explored(benchmark: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    knobs = Knobs().having(turns=3_000, users=150, rounds=1, holdback=0.3)
    found: list[Any] = benchmark.runs(30, knobs, tmp_path_factory.mktemp("runs"), Evaluation(draws=499))
    return found


@pytest.mark.parametrize("estimator", Estimator)
def test_intervals_hold_the_simulators_truth(benchmark: ModuleType, explored: list[Any], estimator: Estimator):
    assert len(explored) == 30
    # Of all customers fewer than 24 would be 4 in 1,000 by chance, if intervals hold 93 %, as the studentised do.
    for figure in range(2):  # the success rate, and its change against the old bundle
        found = benchmark.coverage(explored, estimator, figure)
        assert found.held >= 27, benchmark.FIGURES[figure]
        assert found.held_of_all >= 24, benchmark.FIGURES[figure]
    assert abs(found.bias) < 0.002
    assert explored[0].truth_of_all[1] < -0.005  # the change is large enough to be worth finding


def test_judging_by_feedback_keeps_the_change_but_not_the_rate(benchmark: ModuleType, explored: list[Any]):
    rate, change = (benchmark.coverage(explored, Estimator.DOUBLY_ROBUST, figure, feedback=True) for figure in (0, 1))
    assert rate.held < 15
    assert rate.bias < -0.02
    assert abs(change.bias) < 0.01


# The command


@pytest.fixture(scope="module")
def bundle_and_log(benchmark: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("command")
    population = benchmark.Population.from_table()
    engine = benchmark.learned(folder, population)
    knobs = Knobs().having(turns=2_000, users=100, rounds=1, holdback=0.3)
    return engine.bundle.path, benchmark.explore(engine, population, knobs, 5, folder / "log.jsonl").log


def test_the_command_estimates(bundle_and_log: tuple[Path, Path]):
    bundle, log = map(str, bundle_and_log)
    asked = ["estimate", bundle, log, "--logged-by", bundle, "--holdback", "0.3"]
    told = CliRunner().invoke(app, [*asked, "--json"])
    assert told.exit_code == 0
    found = json.loads(told.stdout)
    assert (found["turns"], found["never_tried"], found["differing"]) == (2_000, 0, 0)
    new = found["estimates"]["doubly_robust"]["new"]
    assert new["success"] + new["defects"] == 1
    assert new["defects_interval"] == [1 - new["success_interval"][1], 1 - new["success_interval"][0]]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0
    assert "doubly robust" in shown.stdout


def test_the_command_ends_with_a_code(bundle_and_log: tuple[Path, Path], tmp_path: Path):
    bundle, log = map(str, bundle_and_log)

    def code(*arguments: str) -> int:
        return CliRunner().invoke(app, ["estimate", *arguments]).exit_code

    assert code(bundle, log, "--logged-by", bundle, "--holdback", "1.5") == 2
    assert code(bundle, log, "--logged-by", bundle, "--holdback", "0.1") == 3
    assert code(bundle, str(tmp_path / "none.jsonl"), "--logged-by", bundle, "--holdback", "0.3") == 3
    assert code(str(tmp_path / "none"), log, "--logged-by", bundle, "--holdback", "0.3") == 4
