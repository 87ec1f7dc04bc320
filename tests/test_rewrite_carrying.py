"""Learning on from an earlier bundle: what stays, what does not, and what is never served to strangers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewrite import GateConfig, LearnConfig, RewriteEngine, learn
from tests.logs import Record, record, retries, write_log

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


def test_a_rewrite_that_the_new_log_does_not_speak_of_is_carried(tmp_path: Path, before: Path):
    after = learned(tmp_path, "after", OTHER, previous=before)
    assert table(after)[MAJ]["carried"]
    assert RewriteEngine.load(after).rewrite(MAJ).text == IMAGINE
    assert table(learned(tmp_path, "alone", OTHER)) == {}


def test_also_where_it_is_said_now_and_then(tmp_path: Path, before: Path):
    again = [*OTHER, *one_by_one(MAJ, 1, False), *one_by_one(IMAGINE, 1, True, first=60_000)]
    assert table(learned(tmp_path, "after", again, previous=before))[MAJ]["carried"]


@pytest.mark.parametrize(
    ("name", "news"),
    [
        ("the source works now", one_by_one(MAJ, 9, True)),
        ("the target fails now", one_by_one(IMAGINE, 40, False)),
        ("the target is rewritten now", retries(IMAGINE, "play imagine dragons radio", first=20_000, at=9e5)),
    ],
)
def test_not_against_what_the_new_log_shows(tmp_path: Path, before: Path, name: str, news: list[Record]):
    assert MAJ not in table(learned(tmp_path, "after", [*OTHER, *news], previous=before)), name


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
