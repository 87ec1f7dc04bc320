"""The sets of the rephrase benchmark: labels that can be checked by hand, parts that share nothing, the same bytes."""

from __future__ import annotations

import importlib
import json
import os
from itertools import combinations, groupby, pairwise
from pathlib import Path

import numpy as np
import pytest

from dialogue.reader import read_log
from eval.simulation.population import Population
from eval.simulation.truth import End, Kind, Noted, Said

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("REPRISE_DATA", ROOT.parent / "shared" / "data"))
TINY = {"train": 300, "dev": 60, "test": 250}

needs_data = pytest.mark.skipif(not (DATA / "saif" / "dev.jsonl").exists(), reason=f"no annotated logs in {DATA}")


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("rephrase_sets")


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def simulated(sets, folder: Path, seed: int = 1, level: str = "medium"):
    folder.mkdir()
    files = sets.SetFiles.within(folder)
    sets.simulate(Population.from_table(), sets.LEVELS[level], files, seed, TINY, "tiny")
    return files


# Labels


def test_what_is_said_again_is_the_failed_turn_of_the_same_goal(sets):
    goals = Population.from_table()
    dragons, prince = 0, 1  # goals of the table: the first has two sentences
    story = [  # session, goal, sentence, success -> the row that it says again, and how
        ((1, dragons, 0, False), (None, None)),
        ((1, dragons, 0, False), (0, "asr")),
        ((1, dragons, 1, True), (1, "command")),
        ((1, dragons, 1, True), (None, None)),  # again after a success: asked afresh
        ((1, prince, 0, False), (None, None)),
        ((1, -1, -1, True), (None, None)),  # a follow-up
        ((1, prince, 0, True), (4, "asr")),  # came back to it
        ((1, prince, 0, False), (None, None)),
        ((2, prince, 0, False), (None, None)),  # another session
        ((2, dragons, 0, True), (None, None)),
        ((2, dragons, 0, True), (None, None)),
        ((2, dragons, 0, True), (None, None)),
        ((2, prince, 0, True), (None, None)),  # four turns later
    ]
    noted = Noted()
    for (session, goal, sentence, success), _ in story:
        noted.rows.append((0, session, Kind.REQUEST, goal, 0, 0, success, success, End.NOT_YET))
        noted.said.append(Said(session, goal, sentence))
    lines = ['{"text": "play", "user_id": "u1", "turn_id": "t1"}\n'] * len(story)
    found = [each["gold"] for each in sets.annotated(lines, noted, goals, "x")]
    assert [(each["rephrase_of"], each["rephrase_kind"]) for each in found] == [
        (None if row is None else f"x-{row:05d}", kind) for _, (row, kind) in story
    ]
    assert [each["success"] for each in found] == [success for (*_, success), _ in story]
    assert (found[2]["text"], found[2]["goal_id"]) == ("put on imagine dragons", "0")
    assert found[5] == {"success": True, "rephrase_of": None, "rephrase_kind": None, "text": "play"}


@pytest.mark.parametrize("level", ["low", "medium", "high"])
def test_a_simulated_set_is_a_log_whose_labels_point_back(sets, tmp_path: Path, level: str):
    files = simulated(sets, tmp_path / "one", level=level)
    for part, path in zip(sets.PARTS, (files.train, files.dev, files.test), strict=True):
        reader = read_log(path)
        assert len([turn for turns in reader for turn in turns]) == TINY[part]
        assert reader.report.rejected == {}
        kinds = set()
        for _, session in groupby(read(path), key=lambda turn: turn["session_id"]):
            turns = list(session)
            place = {turn["turn_id"]: number for number, turn in enumerate(turns)}
            for number, gold in enumerate(turn["gold"] for turn in turns):
                kinds.add(gold["rephrase_kind"])
                if gold["rephrase_of"]:
                    source = turns[place[gold["rephrase_of"]]]["gold"]
                    assert 1 <= number - place[gold["rephrase_of"]] <= sets.REACH
                    assert (source["success"], source["goal_id"]) == (False, gold["goal_id"])
                    assert (source["text"] == gold["text"]) == (gold["rephrase_kind"] == "asr")
        assert None in kinds
        assert len(kinds) > 1


def test_the_same_seed_gives_the_same_bytes_and_parts_share_no_sentence(sets, tmp_path: Path):
    one, again, other = (simulated(sets, tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert one.test.read_bytes() == again.test.read_bytes() != other.test.read_bytes()
    said = [
        {turn["gold"]["text"] for turn in read(path) if "goal_id" in turn["gold"]}
        for path in (one.train, one.dev, one.test)
    ]
    frames = [json.dumps(turn["gold"]["frame"]) for turn in read(one.train) if "frame" in turn["gold"]]
    for one_part, other_part in combinations(said, 2):  # one sentence of the table is said for two goals
        assert one_part & other_part <= {"what's the weather in wilkerson"}
    assert not set(frames) & {json.dumps(turn["gold"]["frame"]) for turn in read(one.test) if "frame" in turn["gold"]}


# What takes part


def test_a_microphone_is_preferred_where_the_sentence_has_it(sets):
    heard = [
        {"goal_id": "2", "mic": "far", "text": "a"}, {"goal_id": "1", "mic": "far", "text": "b"},
        {"goal_id": "1", "mic": "near", "text": "c"},
    ]  # fmt: skip
    assert [each["text"] for each in sets.preferring(heard, "near")] == ["c", "a"]
    assert [each["text"] for each in sets.preferring(heard, "far")] == ["b", "a"]
    assert [each["text"] for each in sets.preferring(heard, None)] == ["b", "c", "a"]


def test_goals_of_several_sentences_stay_and_sentences_without_the_word_go(sets):
    def heard(text: str, domain: str, intent: str, slots: dict) -> dict:
        frame = {"domain": domain, "intent": intent, "slots": slots}
        return {"goal_id": text, "text": text, "nlu": frame, "gold": {"text": text, "frame": frame}}

    population = Population.from_records(
        [
            heard("dim the lights", "iot", "dim", {}), heard("make my light low", "iot", "dim", {}),
            heard("i want it darker", "iot", "dim", {}),
            heard("play some rap", "play", "music", {"genre": "rap"}), heard("rap", "play", "music", {"genre": "rap"}),
            heard("pandora", "play", "music", {}), heard("next song", "play", "music", {}),
            heard("tell me a joke", "general", "joke", {"kind": "short"}),
        ]
    )  # fmt: skip
    kept = [[each.words for each in goal.sentences] for goal in sets.worth_rephrasing(population, 0).goals]
    assert kept == [["dim the lights", "make my light low"], ["play some rap", "rap"]]


def test_the_table_tells_apart_what_is_there(sets, tmp_path: Path):
    records = [
        {"turn_id": name, "user_id": "u", "session_id": "s", "timestamp": time, "text": text, "gold": gold}
        for name, time, text, gold in [
            ("a", 1.0, "call tom", {"rephrase_of": None}),
            ("b", 2.0, "Call Tom!", {"rephrase_of": "a", "rephrase_kind": "asr"}),
            ("c", 3.0, "next", {"rephrase_of": None}),
            ("d", 4.0, "ring tom", {"rephrase_of": "b", "rephrase_kind": "command"}),
        ]
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    facts = sets.Facts.of(log)
    assert (facts.sessions, facts.turns, facts.sources) == (1, 4, 2)
    assert facts.distance == {1: 1, 2: 1}
    assert (facts.identical, facts.command) == (0.5, 0.5)


# Recorded dialogues


def test_a_call_without_any_confidence_is_the_least_sure(sets):
    log = [
        {"session_id": "a", "asr": {"confidence": 0.5}}, {"session_id": "a", "asr": {"confidence": 1.0}},
        {"session_id": "a"}, {"session_id": "b", "asr": None},
    ]  # fmt: skip
    assert sets.confidences(log) == {"a": 0.75, "b": 0.0}


@needs_data
def test_recorded_sets_share_no_user_and_lose_no_turn(sets, tmp_path: Path):
    names = ["saif", "dstc1", "dstc2-clear", "dstc2-noisy"]
    made = sets.make_sets(DATA, tmp_path / "made", 0, names, told=lambda _: None)
    assert list(made) == names
    turns = {name: [read(path) for path in (files.train, files.dev, files.test)] for name, files in made.items()}
    for parts in turns.values():
        users = [{turn["user_id"] for turn in part} for part in parts]
        assert all(users)
        assert sum(map(len, users)) == len(set().union(*users))
    assert sum(map(len, turns["saif"])) == 2_133
    assert sum(map(len, turns["dstc1"])) == 4_825
    assert sum(len(part) for name in names[2:] for part in turns[name]) == 11_677 + 3_934
    assert max(turn["user_id"] for turn in turns["saif"][0]) < min(turn["user_id"] for turn in turns["saif"][2])

    from outcomes import first_half

    assert [{first_half(turn["user_id"]) for turn in part} for part in turns["dstc1"]] == [{True}, {True}, {False}]
    clear, noisy = (
        np.mean([turn["asr"]["confidence"] for turn in turns[name][2]]) for name in ("dstc2-clear", "dstc2-noisy")
    )
    assert clear > noisy + 0.1


def confusion(turns: list[dict]) -> tuple[float, float]:
    """Shares: of failures, those answered as if all was well; of other goals, those in like words."""
    failed = [turn["response"].startswith("OK") for turn in turns if not turn["gold"]["success"]]
    alike = []
    for one, other in pairwise(turns):
        goals = {turn["gold"].get("goal_id") for turn in (one, other)}
        if one["session_id"] == other["session_id"] and len(goals) == 2:
            words = [set(turn["text"].split()) for turn in (one, other)]
            alike.append(len(words[0] & words[1]) >= 0.4 * len(words[0] | words[1]))
    return np.mean(failed), np.mean(alike)


@needs_data
def test_levels_have_the_same_goals_and_the_higher_one_confuses_more(sets, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sets, "TURNS", {"train": 1_500, "dev": 50, "test": 1_500})
    made = sets.make_sets(DATA, tmp_path / "made", 0, ["slurp-low", "slurp-high"], told=lambda _: None)
    low, high = (confusion(read(files.train) + read(files.test)) for files in made.values())
    assert low[0] + 0.05 < high[0]
    assert 2 * low[1] < high[1]
    train = {turn["gold"]["text"] for turn in read(made["slurp-low"].train) if "goal_id" in turn["gold"]}
    assert not train & {turn["gold"]["text"] for turn in read(made["slurp-high"].test) if "goal_id" in turn["gold"]}


# Failures


def test_missing_data_and_unknown_sets_say_what_to_do(sets, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="folder of the annotated logs"):
        sets.make_sets(tmp_path, tmp_path / "made", 0, ["saif"], told=lambda _: None)
    with pytest.raises(ValueError, match="no set nonsense: known are saif"):
        sets.make_sets(tmp_path, tmp_path / "made", 0, ["nonsense"])
