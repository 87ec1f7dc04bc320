"""Exploration: what an engine holds back and tries, with which propensity, and what the log shows of it."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewrite import (
    Action,
    ConfigError,
    Decision,
    EngineConfig,
    LearnConfig,
    Reason,
    RewriteEngine,
    Source,
    TextConfig,
    learn,
)
from rewrite.bundle import write_manifest
from rewrite.serving import FAILING, GOOD, PUBLIC, TableEntry, build_serving
from tests.logs import SORRY, Record, record, retries, write_log

TEXTS = {"bee sea": FAILING, "maj": FAILING, "the bbc": GOOD, "imagine": GOOD, "lamb": 0, "lamp": GOOD}
ROW = {text: row for row, text in enumerate(sorted(TEXTS))}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rewrite that is surely better, one that is on because it was before, and one on trial."""
    folder = tmp_path_factory.mktemp("bundle")
    micro = [1_000_000] * len(TEXTS)
    works = [900_000 if TEXTS[text] & GOOD else 100_000 for text in sorted(TEXTS)]
    population = pa.table(
        {
            "said": pa.array(sorted(TEXTS)),
            "surface": pa.array(sorted(TEXTS)),
            "weight": pa.array(micro, pa.int64()),
            "success": pa.array(works, pa.int64()),
            "status": pa.array([PUBLIC + TEXTS[text] for text in sorted(TEXTS)], pa.uint8()),
        }
    )
    table = [
        TableEntry(ROW["maj"], ROW["imagine"], 0.9, 0.6, 12, 0.99, on=True, sure=True),
        TableEntry(ROW["bee sea"], ROW["the bbc"], 0.8, 0.3, 9, 0.7, on=True, sure=False),
        TableEntry(ROW["lamb"], ROW["lamp"], 0.7, 0.1, 6, 0.6, on=False, sure=False),
    ]
    build_serving(folder / "index", population, table, [], [])
    write_manifest(folder, created="", parameters=LearnConfig().as_dict(), log={}, span={}, counts={})
    return folder


def engine(bundle: Path, **config: Any) -> RewriteEngine:
    return RewriteEngine.load(bundle, config=EngineConfig(sources=frozenset({Source.PRECOMPUTED}), **config))


def decisions(engine: RewriteEngine, text: str, times: int = 4_000) -> list[Decision]:
    return [engine.rewrite(text) for _ in range(times)]


def test_unless_told_to_an_engine_does_not_explore(bundle: Path):
    for text, target in (("maj", "imagine"), ("bee sea", "the bbc")):
        assert {(each.action, each.text, each.propensity) for each in decisions(engine(bundle), text, 50)} == {
            (Action.REWRITE, target, 1.0)
        }
    assert {each.reason for each in decisions(engine(bundle), "lamb", 50)} == {Reason.NOT_FAILING}


@pytest.mark.parametrize(
    ("text", "propensity"),
    [
        ("maj", 0.95),  # surely better: held back as rarely as the engine explores
        ("bee sea", 0.7),  # between the thresholds: served with the probability that it is better
        ("lamb", 0.2 * 0.6),  # on trial: with a share of that
    ],
)
def test_what_is_done_is_done_as_often_as_is_told(bundle: Path, text: str, propensity: float):
    found = decisions(engine(bundle, explore=0.05, trial=0.2, seed=1), text)
    served = [each for each in found if each.action is Action.REWRITE]
    held = [each for each in found if each.reason is Reason.HELD_BACK]
    assert len(served) + len(held) == len(found)
    assert len(served) / len(found) == pytest.approx(propensity, abs=4 * (0.25 / len(found)) ** 0.5)
    assert [each.propensity for each in served] == pytest.approx([propensity] * len(served), rel=1e-6)
    assert [each.propensity for each in held] == pytest.approx([1 - propensity] * len(held), rel=1e-6)
    assert {(each.action, each.text, each.original) for each in held} == {(Action.PASS, text, text)}
    assert {each.rewrite_id for each in held} == {each.rewrite_id for each in served}


def test_what_the_log_shows(bundle: Path):
    found = decisions(engine(bundle, explore=0.5, seed=2), "maj", 50)
    told = {each.action: each.served for each in found}
    assert told[Action.REWRITE] == {
        "original": "maj", "rewrite": "imagine", "source": "precomputed", "rewrite_id": found[0].rewrite_id,
        "propensity": 0.5,
    }  # fmt: skip
    assert told[Action.PASS] == told[Action.REWRITE] | {"rewrite": "maj"}
    assert engine(bundle).rewrite("imagine").served is None


def test_the_same_seed_draws_the_same(bundle: Path):
    one, other, another = (
        [each.action for each in decisions(engine(bundle, explore=0.3, seed=seed), "maj", 200)] for seed in (7, 7, 8)
    )
    assert one == other != another


def test_threads_draw_from_one_engine(bundle: Path):
    shared, found = engine(bundle, explore=0.5, seed=3), Counter()

    def ask() -> None:
        found.update(each.action for each in decisions(shared, "maj", 1_000))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.total() == 4_000
    assert found[Action.PASS] == pytest.approx(2_000, abs=150)


@pytest.mark.parametrize("config", [{"explore": 0.6}, {"explore": -0.1}, {"trial": 1.5}])
def test_shares_out_of_range_are_refused(config: dict[str, float]):
    with pytest.raises(ValueError, match="came; explore is a share"):
        EngineConfig(**config)


# The loop closes


MAJ, IMAGINE = "play maj and dragons", "play imagine dragons"


def live(works: bool, users: int = 40, at: float = 1e6) -> list[Record]:
    """Every user says MAJ twice; it is rewritten nine times of ten, and held back otherwise. Alone it always fails."""
    records = []
    for user in range(users):
        for again in range(2):
            number = 50_000 + 2 * user + again
            held = number % 10 == 0
            good = works and not held
            rewrite = MAJ if held else IMAGINE
            told = {"original": MAJ, "rewrite": rewrite, "propensity": 0.1 if held else 0.9}
            more = {"outcome": "success" if good else "failure", "response": "Here." if good else SORRY}
            when = at + 20_000.0 * again + user
            records.append(record(number, rewrite, f"live-{user:02}", when, served=told, **more))
    return records


def table_after(tmp_path: Path, works: bool) -> tuple[dict[str, Any], RewriteEngine]:
    learn(write_log(tmp_path / "a.jsonl", retries(MAJ, IMAGINE)), tmp_path / "a")
    learn(write_log(tmp_path / "b.jsonl", live(works)), tmp_path / "b", previous=tmp_path / "a")
    opened = RewriteEngine.load(tmp_path / "b")
    (row,) = [row for row in opened.bundle.rewrites("candidates") if (row["source"], row["target"]) == (MAJ, IMAGINE)]
    return row, opened


def test_a_live_rewrite_that_works_stays_on_and_teaches_nothing_of_its_source(tmp_path: Path):
    row, opened = table_after(tmp_path, works=True)
    assert row["standing"] == "on"
    assert row["served_success"] / row["served_turns"] > 0.8
    assert row["alone"] < 0.2  # the successes of what was served are not the source's
    assert opened.rewrite(MAJ).text == IMAGINE


def test_a_live_rewrite_that_fails_goes_and_is_suspended(tmp_path: Path):
    row, opened = table_after(tmp_path, works=False)
    assert (row["standing"], row["reason"]) == ("off", "failed_live")
    (suspension,) = opened.bundle.rewrites("suspensions")
    assert (suspension["source"], suspension["target"], suspension["times"]) == (MAJ, IMAGINE, 1)
    assert opened.rewrite(MAJ).action is not Action.REWRITE
    learn(write_log(tmp_path / "c.jsonl", retries(MAJ, IMAGINE, name="later", first=90_000, at=2e6)), tmp_path / "c",
          previous=tmp_path / "b")  # fmt: skip
    after = RewriteEngine.load(tmp_path / "c")
    assert after.rewrite(MAJ).action is not Action.REWRITE  # corrections as before, but it is not tried again so soon
    reasons = {row["reason"] for row in after.bundle.rewrites("candidates") if row["source"] == MAJ}
    assert reasons == {"suspended"}


def test_a_turn_that_was_seldom_left_alone_stands_for_many(tmp_path: Path):
    # Left alone one time in ten, MAJ works by now: eight turns stand for forty (no turn for more than five).
    works = {"outcome": "success", "response": "Here."}
    records = [each | works if each["text"] == MAJ else each for each in live(True)]
    learn(write_log(tmp_path / "a.jsonl", retries(MAJ, IMAGINE)), tmp_path / "a")
    learn(write_log(tmp_path / "b.jsonl", records), tmp_path / "b", previous=tmp_path / "a")
    (row,) = [row for row in RewriteEngine.load(tmp_path / "b").bundle.rewrites("candidates") if row["source"] == MAJ]
    assert row["source_success"] / row["source_turns"] > 0.55  # 8 of 32 by number, 40 of 64 by what they stand for
    assert 10 < row["source_turns"] < 24  # but they are no more evidence than so many turns (Kish's effective size)


def test_what_a_stale_source_means_now_is_learned_soon(tmp_path: Path):
    # A hundred users corrected MAJ to IMAGINE; live, that fails, and twelve users say what they mean by now.
    other = "play marge and dragons"
    learn(write_log(tmp_path / "a.jsonl", retries(MAJ, IMAGINE, users=100, times=1)), tmp_path / "a")
    learn(write_log(tmp_path / "b.jsonl", live(False)), tmp_path / "b", previous=tmp_path / "a")
    now = retries(MAJ, other, users=12, name="now", first=90_000, at=2e6)
    learn(write_log(tmp_path / "c.jsonl", now), tmp_path / "c", previous=tmp_path / "b")
    assert RewriteEngine.load(tmp_path / "c").rewrite(MAJ).text == other
    whole = write_log(tmp_path / "whole.jsonl", [*retries(MAJ, IMAGINE, users=100, times=1), *now])
    learn(whole, tmp_path / "w")  # nobody told that it went stale: twelve speak against a hundred
    assert RewriteEngine.load(tmp_path / "w").rewrite(MAJ).text == IMAGINE


def test_learning_nothing_new_changes_nothing(tmp_path: Path):
    learn(write_log(tmp_path / "a.jsonl", retries(MAJ, IMAGINE)), tmp_path / "a")
    for works in (True, False):
        log = write_log(tmp_path / f"{works}.jsonl", live(works))
        learn(log, tmp_path / "b", previous=tmp_path / "a")
        once = state_of(tmp_path / "b")
        for again in range(3):
            learn(log, tmp_path / "b", previous=tmp_path / "b")
            changed = state_of(tmp_path / "b")
            if works:
                assert changed == once
            else:  # what the source meant before is forgotten once, with the next learning
                assert changed["mass"] == pytest.approx(once["mass"] / 10, rel=0.01), again
                assert changed["served"] == once["served"]


def state_of(bundle: Path) -> dict[str, Any]:
    opened = RewriteEngine.load(bundle).bundle
    counted = pq.read_table(bundle / "counts" / "own_states.parquet").to_pylist()
    record = pq.read_table(bundle / "counts" / "own_served.parquet").to_pylist()
    return {
        "mass": sum(row["mass"] for row in counted if row["said"] == MAJ),
        "served": sum(row["mass"] for row in record),
        "rows": list(opened.rewrites("candidates")) if opened.manifest.counts["rewrites"] else [],
    }


def test_other_wake_words_are_other_texts(tmp_path: Path):
    log = write_log(tmp_path / "a.jsonl", retries(MAJ, IMAGINE))
    learn(log, tmp_path / "a")
    with pytest.raises(ConfigError, match="learned with other wake words"):
        learn(log, tmp_path / "b", previous=tmp_path / "a", config=LearnConfig(text=TextConfig(wake_words=("play",))))
