"""Personal against global at a small size: figures by hand, pasts that are past, and the program from end to end."""

from __future__ import annotations

import gzip
import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rewrite import Action, Decision, Reason, RewriteEngine
from tests.dense import tiny_encoder, tiny_retriever, words_of

ROOT = Path(__file__).parent.parent
ROOMS = "kitchen attic garden cellar bedroom hallway bathroom garage study office nursery terrace".split()
FOODS = "italian chinese korean indian".split()


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("personal_worlds")


@pytest.fixture
def program(worlds: ModuleType) -> ModuleType:
    return importlib.import_module("personalisation")


def _nlu(room: str) -> dict[str, Any]:
    return {"domain": "iot", "intent": "light", "slots": {"room": room}}


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    written = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(written) if path.suffix == ".gz" else written)


def _call(caller: str, number: int, food: str, heard: str) -> list[dict[str, Any]]:
    frame = {"domain": "restaurant", "intent": "hello+inform", "slots": {"food": food}}
    said = f"i want {food} food"
    turn = {"user_id": caller, "session_id": f"{caller}-{number}", "asr": {"nbest": [{"text": heard}, {"text": said}]}}
    times = (f"2013-03-{number + 1:02}T10:00:{second:02}.000Z" for second in range(2))
    return [{**turn, "timestamp": at, "text": heard, "gold": {"text": said, "frame": frame}} for at in times]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    recordings = []
    for goal, room in enumerate(ROOMS):
        said = f"turn on the light in the {room}"
        short, wrong = f"on the light in the {room}", f"turn on the lied in {room}"
        for heard, right in ((said, True), (short, True), (wrong, False)):
            gold = {"text": said, "frame": _nlu(room), "success": right}
            recordings.append({"goal_id": str(goal), "text": heard, "nlu": _nlu(room if right else ""), "gold": gold})
    _write(folder / "slurp" / "attempts.jsonl", recordings)
    _write(folder / "slurp" / "sentences.jsonl", [{"text": "what time is it"}])
    _write(folder / "queries" / "hwu.jsonl", [{"text": "play some jazz", "nlu": {"domain": "music", "intent": "play"}}])
    _write(folder / "queries" / "clinc150.jsonl", [{"text": "tell me a joke"}])
    _write(folder / "snips_asr" / "train.jsonl", [])
    calls = [
        turn
        for caller in "abcdef"
        for number, food in enumerate(FOODS)
        for turn in _call(caller, number, food, f"i want {food} food" if number % 2 == 0 else f"i want {food[:3]} foot")
    ]
    _write(folder / "dstc2" / "train.jsonl.gz", calls[: len(calls) * 2 // 3])
    _write(folder / "dstc2" / "dev.jsonl", calls[len(calls) * 2 // 3 :])
    return folder


def test_figures_by_hand(program: ModuleType, worlds: ModuleType):
    def outcome(user: str, right: bool, win: bool = False, loss: bool = False) -> Any:
        one = worlds.Try(user, "x", {}, right, "y", "f", f"goal of {user}")
        return program.Outcome(one, Decision(Action.PASS, "x", "x", Reason.UNSURE), win, loss, win)

    same = [outcome("a", False, win=True), outcome("b", False)]
    less = [outcome("a", False), *same, outcome("b", True), outcome("c", False)]
    more = [outcome("a", False, win=True), *same, outcome("b", True, loss=True), outcome("c", False, win=True)]
    before, after = program.reduction(less, 0), program.reduction(more, 0)
    assert (before.wins, before.losses, before.good, before.share) == (1, 0, 1, 0.25)
    assert (after.wins, after.losses, after.share) == (3, 1, 0.5)
    gained = program.added(more, less, 0)
    assert gained.share == 0.25
    assert gained.by_user == gained.by_group  # the groups are the users here
    assert program.added(more, more, 0).share == 0.0


def test_users_with_habits(worlds: ModuleType, data: Path):
    world = worlds.World.read(data)
    habits = worlds.Habits(users=20, favourites=3, later=10, private=0.5)
    town, again, other = (worlds.habitual(world, 0, {}, habits, seed) for seed in (1, 1, 2))
    assert town == again
    assert town.tries != other.tries
    assert town.histories.keys().isdisjoint(other.histories)
    part = {each.meant for each in world.of(0)}
    assert part != {each.meant for each in world.recordings}
    assert {each.meant for each in town.tries} <= part
    assert set(town.users) < part  # half of the sentences are the users' own
    assert {user for each in town.tries if (user := each.user) not in town.histories} == {f"1-{n}" for n in range(4)}
    few = worlds.habitual(world, 0, {"play some jazz": "m"}, replace(habits, least_users=5), 1)
    said = [text for past in few.histories.values() for text in past]
    assert few.histories == town.histories
    assert few.users == {text: said.count(text) for text in said if said.count(text) >= 5} | {"play some jazz": 20}
    assert 1 < len(few.users) <= len(set(said))
    for past in town.histories.values():
        assert sum(each.times for each in past.values()) == habits.earlier
        assert len(past) <= 3
    assert all(text in town.frames for text in town.texts)


def test_callers_by_time(worlds: ModuleType, data: Path):
    calls = worlds.Calls.read(data)
    train, dev = calls.towns()
    assert set(train.histories) == set("abcd")
    assert set(dev.histories) == set("ef")
    assert set(dev.users) == {"i want italian food", "i want korean food"}  # understood as at least three meant them
    assert {text: past.times for text, past in dev.histories["e"].items()} == {"i want italian food": 2}
    later = {each.heard: each for each in dev.tries}
    assert set(later) == {"i want korean food", "i want ind foot"}
    assert later["i want korean food"].right
    assert not later["i want ind foot"].right
    assert later["i want ind foot"].nbest == ("i want indian food",)
    assert json.loads(later["i want ind foot"].frame) == ["restaurant", "inform", {"food": "indian"}]
    assert dev.is_passed(later["i want korean food"])


def test_the_gate_lets_a_users_own_request_pass_and_nobody_elses(worlds: ModuleType, tmp_path: Path):
    past = {"open the shed": worlds.Past(3, 5.0)}
    frames = {"open the door": "d", "open the shed": "s"}
    town = worlds.Town({"open the door": 20}, frames, {"u": past}, ())
    retriever = worlds.Retriever.load(tiny_retriever(tmp_path / "made", words_of(frames)))
    engine = RewriteEngine.load(worlds.write_town(tmp_path / "bundle", town, retriever))
    for user, text in (("u", "open the shed"), ("v", "open the shed"), ("v", "open the door")):
        one = worlds.Try(user, text, {}, True, text, frames[text], "")
        assert town.is_passed(one) is (engine.rewrite(text, user).reason is Reason.KNOWN_GOOD)
        assert town.is_passed(one) is not ((user, text) == ("v", "open the shed"))
    for user in ("u", "v"):
        near = engine.rewrite("open the shad", user)
        assert ("open the shed" in {near.text, *(each.text for each in near.alternatives)}) is (user == "u")
    np.testing.assert_array_equal(worlds.users_in(town), [20, 1])


def test_the_program(program: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    texts = [f"turn on the light in the {room} lied" for room in ROOMS] + [f"i want {food} food foot" for food in FOODS]
    encoder = tiny_encoder(tmp_path / "encoder", words_of(texts))
    assert program.main([str(data), "--out", str(tmp_path / "out"), "--encoder", str(encoder), "--quick"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("| + personal") == shown.count(", 0 differ with the personal layer.") == 3
    assert "6 of them without a history" in shown
