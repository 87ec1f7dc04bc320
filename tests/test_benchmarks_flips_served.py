"""Flips asked of a whole engine, at a small size: what is asked is not known, its flips are, and both are told of.

The retriever has no trees and knows next to nothing: what it finds is judged, not how well it finds.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from rewrite.decision import Action, Decision, Reason
from tests.dense import tiny_retriever

ROOT = Path(__file__).parent.parent
HWU = [
    ("wake me up at seven am", "alarm", "set", {"time": "seven am"}),
    ("turn on the light in the kitchen", "iot", "hue_lighton", {"house_place": "kitchen"}),
    ("turn off the light in the kitchen", "iot", "hue_lightoff", {"house_place": "kitchen"}),
    ("light off in the kitchen", "iot", "hue_lightoff", {"house_place": "kitchen"}),
    ("turn up the light in the attic", "iot", "hue_lightup", {"house_place": "attic"}),
    ("a train from boston to denver on monday", "transport", "query", {"place_name": "boston; denver"}),
    ("weather in seattle", "weather", "query", {"place_name": "seattle"}),
    ("will it snow in boston tomorrow", "weather", "query", {"place_name": "boston", "date": "tomorrow"}),
]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "queries").mkdir()
    records = [
        {"text": text, "nlu": {"domain": domain, "intent": intent, "slots": slots}}
        for text, domain, intent, slots in HWU
    ]
    (tmp_path / "queries" / "hwu.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return tmp_path


@pytest.fixture
def world(program, data: Path):
    flips, served = program("meaning_flips"), program("flips_served")
    requests = flips.requests_of(data)
    read = {request.text: served.Reading.of(request) for request in requests}
    return served.world_of(requests, read, 60, 1, same=False)


def test_slots_of_a_flip_are_those_of_the_request_but_for_what_changed(program) -> None:
    served, request = program("flips_served"), program("meaning_flips").Request
    train = request("a train from boston to denver on monday", {"place_name": ("boston", "denver")})
    alarm = request("wake me at six am", {"time": ("six am",)})
    assert served.changed_slots(train, "a train from denver to boston on monday") == (
        ("place_name", "denver; boston"),
    )
    assert served.changed_slots(alarm, "wake me at seven thirty am") == (("time", "seven thirty am"),)
    assert served.changed_slots(train, "a train from boston to denver on friday") is None
    assert served.changed_slots(alarm, "don't wake me at six am") is None
    assert served.changed_slots(alarm, "wake me at six am sharp") is None


def test_what_is_asked_is_unknown_and_a_flip_of_it_is_known(world) -> None:
    assert {question.way for question in world.questions} == {"as it is", "turned"}
    asked = {question.text for question in world.questions}
    assert len(asked) == len(world.questions)
    assert asked.isdisjoint(world.index)
    for question in world.questions:
        if question.way == "as it is":
            assert any(world.meaning(question.text, text) == "flip" for text in world.index)


def test_readings_are_those_of_the_data_or_none(program, world) -> None:
    off = world.read["turn off the light in the kitchen"]
    assert (off.intent, off.slots) == ("hue_lightoff", (("house_place", "kitchen"),))
    unread = [text for text in world.negated if world.shown[text] is None]
    assert unread == sorted(world.negated, key=unread.index)
    assert all(world.index[text] == program("flips_served").NO_READING for text in unread if text in world.index)


def test_meanings(world) -> None:
    on, off, other = HWU[1][0], HWU[2][0], HWU[3][0]
    for text in (on, off, other):
        world.family[text].add(text)
    world.family[off].add(on)
    world.read.update({other: world.read[off], "who knows": None})
    assert world.meaning(on, off) == "flip"
    assert world.meaning(off, other) == "same reading"
    assert world.meaning(on, other) == "other"
    assert world.meaning(on, "who knows") == "not told"
    assert world.meaning("wake me at 7 am", "wake me at seven am") == "same words"
    refusals = [f"don't {on}", f"never {on}"]
    world.negated.update(refusals)
    for text in refusals:
        world.family[text].add(on)
    assert world.meaning(*refusals) == "same words"
    assert world.meaning(on, refusals[0]) == "flip"


def test_a_flip_that_is_served_is_counted(program, world) -> None:
    served = program("flips_served")
    question = next(each for each in world.questions if each.way == "as it is")
    target = next(text for text in world.index if world.meaning(question.text, text) == "flip")
    count = served.Count()
    count.add(world, question, "alone", Decision(Action.REWRITE, target, question.text, Reason.NEAR_GOOD))
    count.add(world, question, "alone", Decision(Action.PASS, question.text, question.text, Reason.NO_CANDIDATE))
    place = ("alone", question.kind)
    assert count.answers[place] == {(Action.REWRITE, Reason.NEAR_GOOD): 1, (Action.PASS, Reason.NO_CANDIDATE): 1}
    assert count.meanings[place] == {(Action.REWRITE, "flip"): 1}
    assert [each["target"] for each in count.examples] == [target] == [each["target"] for each in count.past]


def test_the_program(program, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = sorted({word for text, *_ in HWU for word in text.split()})
    retriever = tiny_retriever(tmp_path / "retriever", words)
    command = [str(data), "--retriever", str(retriever), "--quick", "--unread", "same"]
    answer = program("flips_served").main([*command, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["requests"] == len(HWU)
    assert sum(told["asked"].values()) > 20
    ways = {way: sum(each["calls"] for each in told["counts"] if each["asked"] == way) for way in ("alone", "read")}
    assert ways["alone"] == sum(told["asked"].values()) == ways["read"]
    answers = [reasons for each in told["counts"] for reasons in each["answers"].values()]
    assert sum(number for reasons in answers for number in reasons.values()) == sum(ways.values())
    assert not any("fault" in reasons or "known_good" in reasons or "deadline" in reasons for reasons in answers)
    again = program("flips_served").main(command)
    assert {**again, "seconds": 0} == {**answer, "seconds": 0}
    assert "rewrites to another meaning" in capsys.readouterr().out
