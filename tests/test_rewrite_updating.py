"""Learning on from an earlier bundle: what stays, what does not, and what is never served to strangers."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewrite import Bundle, DecayConfig, GateConfig, LearnConfig, LogConfig, RewriteEngine, learn
from tests.logs import FIRST, SCENES, Record, record, retries, varied_log, write_log

MAJ, IMAGINE = "play maj and dragons", "play imagine dragons"


def one_by_one(text: str, users: int, works: bool, *, first: int = 50_000, name: str = "new") -> list[Record]:
    """Each user says it once."""
    more: dict[str, Any] = {"outcome": "success" if works else "failure", "response": "Ok." if works else "Sorry."}
    return [record(first + i, text, f"{name}-{i:02}", 90_000.0 + 1_000 * i, **more) for i in range(users)]


def learned(tmp_path: Path, name: str, records: list[Record], **options: Any) -> Path:
    learn(write_log(tmp_path / f"{name}.jsonl", records), tmp_path / name, **options)
    return tmp_path / name


def table(bundle: Path) -> dict[str, dict[str, Any]]:
    lines = (bundle / "rewrites.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["source"]: row for row in map(json.loads, lines)}


OTHER = one_by_one("stop the music", 12, True, first=70_000, name="other")


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return learned(tmp_path, "before", retries(MAJ, IMAGINE))


def test_a_rewrite_that_the_new_log_does_not_speak_of_stays(tmp_path: Path, before: Path):
    after = learned(tmp_path, "after", OTHER, previous=before)
    assert RewriteEngine.load(after).rewrite(MAJ).text == IMAGINE
    assert table(learned(tmp_path, "alone", OTHER)) == {}


def test_also_where_it_is_said_now_and_then(tmp_path: Path, before: Path):
    again = [*OTHER, *one_by_one(MAJ, 1, False), *one_by_one(IMAGINE, 1, True, first=60_000)]
    row = table(learned(tmp_path, "after", again, previous=before))[MAJ]
    assert (row["source_users"], row["target_users"]) == (13, 13)  # twelve before, and one now


def test_evidence_ages_by_half_in_a_half_life(tmp_path: Path, before: Path):
    then = table(before)[MAJ]
    ninety = [each | {"timestamp": each["timestamp"] + 90 * 86_400.0} for each in OTHER]
    now = table(learned(tmp_path, "after", ninety, previous=before))[MAJ]
    days = (ninety[-5]["timestamp"] - retries(MAJ, IMAGINE)[-1]["timestamp"]) / 86_400.0  # both times, five users on
    assert now["source_turns"] == pytest.approx(then["source_turns"] * 2 ** (-days / 90), rel=0.01)
    assert now["source_users"] == then["source_users"]
    never = LearnConfig(decay=DecayConfig(half_life_days=None, live_half_life_days=None))
    fresh = learned(tmp_path, "fresh", retries(MAJ, IMAGINE), config=never)
    kept = table(learned(tmp_path, "kept", ninety, previous=fresh, config=never))[MAJ]
    assert kept["source_turns"] == 24.0


def much_later(records: list[Record]) -> list[Record]:
    return [each | {"timestamp": each["timestamp"] + 400 * 86_400.0} for each in records]


@pytest.mark.parametrize(
    ("name", "news"),
    [
        ("the source works now", one_by_one(MAJ, 9, True)),
        ("the target fails now", one_by_one(IMAGINE, 40, False)),
        ("the target is rewritten now", retries(IMAGINE, "play imagine dragons radio", first=20_000, at=9e5)),
    ],
)
def test_not_against_what_the_new_log_shows(tmp_path: Path, before: Path, name: str, news: list[Record]):
    after = learned(tmp_path, "after", much_later([*OTHER, *news]), previous=before)
    assert MAJ not in table(after), name


def test_turns_that_were_counted_are_not_counted_again(tmp_path: Path, before: Path):
    same = learn(tmp_path / "before.jsonl", tmp_path / "same", previous=before)
    assert (same.log.turns, same.log.counted_before) == (0, 48)
    assert table(tmp_path / "same") == table(before)
    both = write_log(tmp_path / "both.jsonl", [*retries(MAJ, IMAGINE), *OTHER])
    assert learn(both, tmp_path / "both", previous=before).log.turns == len(OTHER)
    assert table(tmp_path / "both") == table(learned(tmp_path, "new", OTHER, previous=before))


def test_one_clock_that_runs_ahead_ages_nobody_else(tmp_path: Path):
    ahead = record(99_000, "play jazz", "traveller", 50 * 365 * 86_400.0, outcome="success")
    with_it = table(learned(tmp_path, "ahead", [*retries(MAJ, IMAGINE), ahead]))[MAJ]
    without = table(learned(tmp_path, "plain", retries(MAJ, IMAGINE)))[MAJ]
    assert with_it["source_turns"] == pytest.approx(without["source_turns"], abs=0.001)
    back = record(99_001, "play jazz", "traveller", 86_400.0, outcome="success")  # the clock is set right again
    learn(write_log(tmp_path / "back.jsonl", [back, ahead]), tmp_path / "c", previous=tmp_path / "ahead")
    counted = pq.read_table(tmp_path / "c" / "counts" / "own_states.parquet").to_pylist()
    assert [each["turns"] for each in counted if each["user_id"] == "traveller"] == [1]  # not what is yet to come


COUNTS = ("own_states", "own_hops", "own_served", "own_served_hops", "own_surfaces")


def in_parts(records: list[Record], cuts: list[float]) -> list[list[Record]]:
    """The records cut at these times, which lie between sessions."""
    edges = [-math.inf, *(FIRST + cut for cut in cuts), math.inf]
    return [[each for each in records if low <= each["timestamp"] < high] for low, high in pairwise(edges)]


def served_now_and_then(records: list[Record]) -> list[Record]:
    """Of the turns of texts that fail a sixth was rewritten and a sixth held back, and says so."""
    targets = {source: target for source, target, _ in SCENES}
    result = []
    failing = 0
    for each in records:
        target = targets.get(each["text"])
        failing += target is not None
        if target is not None and failing % 3 == 1:
            served = failing % 6 == 1
            rewrite = target if served else each["text"]
            told = {"original": each["text"], "rewrite": rewrite, "propensity": 0.8 if served else 0.2}
            each = each | {"text": rewrite, "served": told}
        result.append(each)
    return result


@pytest.mark.parametrize("cuts", [[0.9 * 86_400], [0.9 * 86_400, 1.9 * 86_400]])
@pytest.mark.parametrize("half_life", [1.5, 90.0, None])
def test_log_by_log_is_all_at_once(tmp_path: Path, cuts: list[float], half_life: float | None):
    records = sorted(served_now_and_then(varied_log()), key=lambda each: each["timestamp"])
    decay = DecayConfig(half_life_days=half_life, live_half_life_days=half_life and half_life / 3)
    config = LearnConfig(log=LogConfig(session_gap_s=600.0), decay=decay)
    whole = learned(tmp_path, "whole", records, config=config)
    bundle: Path | None = None
    for number, part in enumerate(in_parts(records, cuts)):
        bundle = learned(tmp_path, f"part{number}", part, config=config, previous=bundle)
    assert bundle is not None
    for name in COUNTS:
        same_rows(*(pq.read_table(each / "counts" / f"{name}.parquet") for each in (whole, bundle)))
    one, other = (list(Bundle.open(each).rewrites("candidates")) for each in (whole, bundle))
    assert [(row["source"], row["target"]) for row in one] == [(row["source"], row["target"]) for row in other]
    for mine, yours in zip(one, other, strict=True):
        for figure in ("source_turns", "source_success", "target_success", "share", "chance", "served_turns"):
            assert mine[figure] == pytest.approx(yours[figure], abs=1e-4), figure
        for figure in ("source_users", "target_users", "route_users"):
            assert mine[figure] == yours[figure], figure


def same_rows(one: pa.Table, other: pa.Table) -> None:
    """The same keys, and sums that are equal but for a millionth for each merging."""
    keys = [field.name for field in one.schema if field.type == pa.string() or field.name == "grade"]
    order = [(key, "ascending") for key in keys]
    one, other = one.sort_by(order), other.sort_by(order)
    assert one.num_rows > 10
    assert one.select(keys).to_pylist() == other.select(keys).to_pylist()
    for field in one.schema:
        if field.name not in keys:
            np.testing.assert_allclose(one[field.name].to_numpy(), other[field.name].to_numpy(), atol=5, rtol=1e-9)


def test_not_past_todays_gate(tmp_path: Path):
    secret, right = "call doctor smyth about my tast", "call doctor smith about my test"
    loose = LearnConfig(gate=GateConfig(min_users=2))
    few = learned(tmp_path, "few", retries(secret, right, users=4, times=3), config=loose)
    assert secret in table(few)
    after = learned(tmp_path, "after", OTHER, previous=few)
    assert table(after) == {}
    decision = RewriteEngine.load(after).rewrite(secret, "a-stranger")
    assert right not in json.dumps(decision.as_dict())


def test_a_rewriter_that_logs_that_it_passed_changed_nothing(tmp_path: Path):
    passed = [each | {"served": {"original": each["text"], "rewrite": each["text"]}} for each in retries(MAJ, IMAGINE)]
    assert table(learned(tmp_path, "passed", passed)) == table(learned(tmp_path, "plain", retries(MAJ, IMAGINE)))


def test_a_way_of_writing_that_few_use_is_served_to_nobody(tmp_path: Path):
    loud = "Alexa, PLEASE play <IMAGINE> >>> Dragons!!!"
    shouts = [record(80_000 + i, loud, "shouter", 2e6 + 1_000 * i, outcome="success") for i in range(60)]
    bundle = learned(tmp_path, "loud", [*retries(MAJ, IMAGINE), *shouts])
    assert RewriteEngine.load(bundle).rewrite(MAJ).text == IMAGINE
