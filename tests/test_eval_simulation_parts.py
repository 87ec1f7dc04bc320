"""The parts of the closed loop: recordings, knobs, figures and the command line."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval.__main__ import app
from eval.simulation import tiny
from eval.simulation.arms import Arm, parse_arms
from eval.simulation.effects import Count, Effects, count
from eval.simulation.errors import AttemptsError, KnobError, SimulationError
from eval.simulation.knobs import KNOBS, Knobs, parse_settings
from eval.simulation.population import NOT_UNDERSTOOD, Population
from eval.simulation.truth import End, Kind, Truth

RUNNER = CliRunner()
DATA = Path(os.environ.get("REPRISE_DATA", Path(__file__).parents[2] / "shared" / "data"))
WEATHER = {"domain": "weather", "intent": "ask", "slots": {"place": "Rome"}}
CHAT = {"domain": "general", "intent": "quirky", "slots": {}}


def attempt(text: str, frame: dict, nlu: dict | None, goal: str = "1", said: str | None = None) -> dict:
    return {"goal_id": goal, "text": text, "nlu": nlu, "gold": {"text": said or text, "frame": frame}}


# Recordings


def test_sentences_of_one_frame_are_one_goal():
    rome = {**WEATHER, "slots": {"place": "rome"}}
    population = Population.from_records(
        [attempt("weather in rome", WEATHER, WEATHER), attempt("is it nice in Rome?", rome, None, "2")]
    )
    assert [[each.words for each in goal.sentences] for goal in population.goals] == [
        ["weather in rome", "is it nice in rome"]
    ]
    assert population.reaches("Weather in Rome", 0)
    assert not population.reaches("is it nice in rome", 0)
    assert population.frame_of("never recorded") == NOT_UNDERSTOOD


def test_chat_without_slots_is_a_goal_for_each_sentence():
    population = Population.from_records(
        [attempt("tell me a joke", CHAT, CHAT), attempt("who made you", CHAT, CHAT, "2")]
    )
    assert len(population.goals) == 2
    assert population.reaches("tell me a joke", 0)
    assert not population.reaches("who made you", 0)


def test_the_nlu_of_a_text_is_its_most_frequent_one():
    other = {**WEATHER, "slots": {"place": "home"}}
    heard = [attempt("weather in rome", WEATHER, nlu) for nlu in (other, WEATHER, WEATHER)]
    population = Population.from_records(heard)
    assert [each.understood for each in population.goals[0].sentences[0].recordings] == [False, True, True]
    assert population.reaches("weather in rome", 0)


def test_a_split_has_no_goal_on_both_sides():
    table = Population.from_table()
    one, other = table.split(0.3)
    assert len(one.goals) == round(0.3 * len(table.goals))
    assert {goal.frame for goal in one.goals} | {goal.frame for goal in other.goals} == {
        goal.frame for goal in table.goals
    }
    assert not {goal.frame for goal in one.goals} & {goal.frame for goal in other.goals}


def test_lookalikes_share_most_words():
    table = Population.from_table()
    told = {goal.sentences[0].words: number for number, goal in enumerate(table.goals)}
    assert told["call tom"] not in table.lookalikes[told["call mom"]]  # one word of three
    assert told["turn off the kitchen light"] in table.lookalikes[told["turn on the kitchen light"]]


def test_the_built_in_table_holds_what_it_says():
    records = list(tiny.records())
    assert sum(record["text"] == "play maj and dragons" for record in records) == 1
    assert sum(record["text"] == "call mom" for record in records) == 4
    assert not any(record["gold"]["success"] for record in records if "pump" in record["text"])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 1 is not JSON"),
        ("[]", "is no JSON object"),
        ("{}", "has no text"),
        ('{"text": "a"}', "has no goal_id"),
        ('{"text": "a", "goal_id": "1"}', "has no gold.frame"),
        ('{"text": "a", "goal_id": "1", "gold": {"frame": {}}, "nlu": 3}', "nlu that is no object"),
        ("", "line 1 is not JSON"),
    ],
)
def test_bad_attempts_are_named(tmp_path: Path, line: str, told: str):
    (tmp_path / "attempts.jsonl").write_text(line + "\n")
    with pytest.raises(AttemptsError, match=told):
        Population.from_file(tmp_path / "attempts.jsonl")


def test_no_attempts_at_all_are_an_error(tmp_path: Path):
    (tmp_path / "attempts.jsonl").write_text("")
    with pytest.raises(AttemptsError, match="holds no recording"):
        Population.from_file(tmp_path / "attempts.jsonl")
    with pytest.raises(AttemptsError, match="cannot be read"):
        Population.from_file(tmp_path / "nowhere.jsonl")


# Knobs


def test_knobs_are_turned_by_name():
    turned = Knobs().having(zipf=0.5, users=7)
    assert (turned.preferences.zipf, turned.traffic.users) == (0.5, 7)
    assert turned.having(zipf=1.0, users=1_000) == Knobs()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"zip": 1}, "there is no knob 'zip'"),
        ({"habit": 1.5}, "habit is 1.5: 0 to 1"),
        ({"habit": math.nan}, "habit is nan"),
        ({"users": 2.5}, "whole number"),
        ({"users": math.inf}, "users is inf"),
        ({"repeat": 0, "rephrase": 0, "switch": 0, "abandon": 0}, "all 0"),
    ],
)
def test_knobs_out_of_range_are_refused(settings: dict[str, float], told: str):
    with pytest.raises(KnobError, match=told):
        Knobs().having(**settings)


def test_settings_are_read_from_text():
    assert parse_settings(["zipf=0.5", "users=7"]) == {"zipf": 0.5, "users": 7}
    with pytest.raises(KnobError, match="knob=number is wanted"):
        parse_settings(["zipf"])


def test_every_knob_says_what_it_is():
    assert len(KNOBS) == sum(len(group) for group in Knobs().as_dict().values())
    assert all(each.meaning and each.unit and each.origin for each in KNOBS.values())


def test_arms_are_named():
    assert parse_arms("control, personal") == (Arm.CONTROL, Arm.PERSONAL)
    with pytest.raises(SimulationError, match="arms are control, precomputed, global, personal"):
        parse_arms("placebo")


# Figures


def told(*rows: tuple[int, int, int, int, int]) -> Truth:
    """(user, rewritten, would, success, end) of requests for one goal."""
    columns = np.array(rows, np.int64).T
    zeros = np.zeros(len(rows), np.int64)
    return Truth(columns[0], zeros, zeros + Kind.REQUEST, zeros, zeros, *columns[1:])


def test_counts_by_hand():
    truth = told(
        (0, 0, 1, 1, End.REACHED), (0, 1, 0, 1, End.REACHED), (1, 1, 1, 0, End.NOT_YET), (1, 1, 0, 0, End.GAVE_UP),
        (1, 1, 1, 1, End.REACHED), (1, 0, 0, 0, End.SWITCHED),
    )  # fmt: skip
    effects = Effects(count(truth, 3), None)
    counts = {each: effects.total(each) for each in Count}
    assert counts == {
        Count.TURNS: 6, Count.DEFECTS: 3, Count.WOULD_FAIL: 3, Count.GOALS: 5, Count.GOALS_FAILED: 2,
        Count.ABANDONED: 1, Count.REWRITTEN: 4, Count.WINS: 1, Count.LOSSES: 1, Count.VAIN: 1, Count.HARMLESS: 1,
        Count.HOPELESS: 0,
    }  # fmt: skip
    assert effects.users == 2
    assert effects.defect_rate.value == 0.5
    assert effects.saved.value == 0.0
    assert effects.precision.value == 0.25
    assert effects.false_triggers.value == pytest.approx(2 / 3)
    assert effects.win_loss.value == 1.0
    assert effects.win_harm.value == 0.5
    assert effects.difference is None


def test_without_losses_the_ratio_has_a_lower_end():
    effects = Effects(count(told(*[(0, 1, 0, 1, End.REACHED)] * 50), 1), None)
    assert effects.win_loss.interval is not None
    assert effects.win_loss.interval.low > 15
    assert effects.win_loss.interval.high == math.inf
    assert effects.win_loss_by_user is None


def test_nothing_measured_is_not_zero():
    effects = Effects(count(told((0, 0, 1, 1, End.REACHED)), 1)[:0], None)
    assert effects.defect_rate.value is None
    assert effects.saved.interval is None


def test_intervals_of_the_trial_cover_no_difference_most_of_the_time():
    chance, covered = np.random.default_rng(0), 0
    for number in range(100):
        habit = chance.beta(2, 6, 300)  # users differ in how often they fail
        turns = chance.integers(1, 30, 300)
        counts = np.zeros((300, len(Count)), np.int64)
        counts[:, Count.TURNS], counts[:, Count.DEFECTS] = turns, chance.binomial(turns, habit)
        difference = Effects(counts[:150], counts[150:], seed=number).difference
        assert difference is not None
        assert difference.interval is not None
        covered += difference.interval.low <= 0 <= difference.interval.high
    assert 88 <= covered <= 100


# The command


def test_the_command_prints_json_and_writes_its_folder(tmp_path: Path):
    out = tmp_path / "out"
    asked = ["simulate", "--fixtures", "--turns", "600", "--users", "20", "--rounds", "2", "--arms", "control,global"]
    answer = RUNNER.invoke(app, [*asked, "--set", "zipf=0.5", "--out", str(out), "--json"])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document == json.loads((out / "simulation.json").read_text())
    assert document["knobs"]["preferences"]["zipf"] == 0.5
    assert set(document["served"]) == {"control", "global"}
    assert document["served"]["control"]["counts"]["turns"] > 0
    rows = (out / "rounds.csv").read_text().splitlines()
    assert rows[0].startswith("round,arm,turns,defects")
    assert len(rows) == 1 + 2 * 2


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "either --attempts FILE or --fixtures"),
        (["--fixtures", "--set", "nonsense=1"], "there is no knob"),
        (["--fixtures", "--arms", "placebo"], "arms are"),
        (["--fixtures", "--turns", "0"], "turns is 0"),
        (["--attempts", "nowhere.jsonl"], "cannot be read"),
    ],
)
def test_wrong_usage_is_said_in_words(asked: list[str], said: str):
    answer = RUNNER.invoke(app, ["simulate", *asked])
    assert answer.exit_code == 2
    assert said in " ".join(answer.stderr.split())


def test_the_command_lists_its_knobs():
    answer = RUNNER.invoke(app, ["simulate", "--list-knobs"], env={"COLUMNS": "300"})
    assert answer.exit_code == 0
    assert all(name in answer.stdout for name in KNOBS)


@pytest.mark.skipif(not (DATA / "slurp" / "attempts.jsonl").exists(), reason="the slurp recordings are not here")
def test_recordings_of_slurp_are_read_as_they_are():
    population = Population.from_file(DATA / "slurp" / "attempts.jsonl")
    recordings = [each for goal in population.goals for sentence in goal.sentences for each in sentence.recordings]
    assert len(recordings) == 7_876
    assert sum(each.understood for each in recordings) == 4_318
    for number, goal in enumerate(population.goals):
        hopeless = not goal.satisfiable and goal.texts is not None
        assert not (hopeless and any(population.reaches(text, number) for text in goal.texts))


def test_the_page_lists_every_knob_as_it_is():
    page = (Path(__file__).parents[1] / "docs" / "closed-loop.md").read_text(encoding="utf-8")
    for each in KNOBS.values():
        span = f"{each.low:g} to {each.high:g}"
        assert f"| `{each.name}` | {each.default:g} | {each.unit} | {span} | {each.meaning} | {each.origin} |" in page
