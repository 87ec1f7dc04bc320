"""The million flips at a small size: flips are flips, none gets through, and a guard that lets all through is seen."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
HWU = [
    ("wake me up at seven am", {"time": "seven am"}),
    ("turn on the light in the kitchen", {"house_place": "kitchen"}),
    ("turn up the light in the attic", {"house_place": "attic"}),
    ("a train from boston to denver on monday", {"place_name": "boston; denver"}),
    ("weather in seattle", {"place_name": "seattle"}),
]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("meaning_flips")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "queries").mkdir()
    lines = [json.dumps({"text": text, "nlu": {"domain": "d", "intent": "i", "slots": slots}}) for text, slots in HWU]
    (tmp_path / "queries" / "hwu.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_flips_of_each_kind(program: ModuleType, data: Path) -> None:
    made = list(program.flips(program.requests_of(data), 600))
    pairs = {(flip.kind, flip.one, flip.other) for flip in made}
    assert ("polarity", "turn on the light in the kitchen", "turn off the light in the kitchen") in pairs
    assert ("swap", HWU[3][0], "a train from denver to boston on monday") in pairs
    assert ("negation", "weather in seattle", "don't weather in seattle") in pairs
    assert ("date", "wake me up at seven am", "wake me up at seven pm") in pairs
    assert len({frozenset((flip.one, flip.other)) for flip in made}) == len(made)
    assert {flip.kind for flip in made} == {"polarity", "negation", "number", "date", "kind", "entity", "swap"}


def test_none_gets_through_and_a_blind_guard_is_seen(program: ModuleType, data: Path) -> None:
    made = list(program.flips(program.requests_of(data), 600))
    served = {**program.guards(frozenset(), {}), "blind": lambda *_: True}
    tallies = program.count(made, served, every={"table_guard": 2})
    assert sum(tallies["dense_guard"].through.values()) == 0
    assert sum(tallies["blind"].through.values()) == 2 * len(made) == sum(tallies["dense_guard"].seen.values())
    assert sum(tallies["table_guard"].seen.values()) == 2 * ((len(made) + 1) // 2)


def test_the_program(program: ModuleType, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = program.main([str(data), "--flips", "100", "--json"])
    assert json.loads(capsys.readouterr().out)["requests"] == answer["requests"] == 5
    assert answer["repairs"] == {}
