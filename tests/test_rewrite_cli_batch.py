"""`rewrite batch`: each record with its decision, and the same bytes whatever is killed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rewrite import RewriteEngine, learn
from rewrite.cli_batch import decide_log
from rewrite.errors import ConfigError
from rewrite.progress import Progress, Stage
from rewrite.publish import locked
from tests.test_rewrite_cli import run, run_json, small_log, turn, write_log

BAD = ['{"turn_id": "bad", "decision": 1}', "{broken \x1b", '["no object"]']


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> RewriteEngine:
    folder = tmp_path_factory.mktemp("learned")
    learn(write_log(folder / "log.jsonl", small_log()), folder / "bundle")
    return RewriteEngine.load(folder / "bundle")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    served = {"served": {"original": "play maj and dragons", "rewrite": "play imagine dragons"}}
    more = [
        turn(900, "new", 1, "play imagine dragons", "Playing.", **served),
        turn(901, "new", 2, 'play "decision" ünïcode', "OK.", decision="mine", error="theirs"),
    ]
    return write_log(tmp_path / "log.jsonl", [*small_log(), *more], *BAD, "", "  ")


def read(path: Path) -> list[dict[str, Any]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.splitlines()]


class Killed(Exception):
    """What a kill is in these tests: it comes between two blocks, as a signal may."""


class KillsAfter(Progress):
    def __init__(self, blocks: int) -> None:
        self.blocks = blocks

    def stage(self, name: str, total: float | None = None) -> Stage:
        return _Killing(self.blocks)


class _Killing(Stage):
    def __init__(self, blocks: int) -> None:
        super().__init__("deciding")
        self._left = blocks

    def at(self, done: float) -> None:
        self._left -= 1
        if not self._left:
            raise Killed


def test_every_record_comes_out_in_order_with_its_decision(engine: RewriteEngine, log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    told = run_json("batch", engine.bundle.path, log, out)

    records, given = read(out), small_log()
    assert len(records) == 72 + 2 + 3
    assert [{**record, "decision": None} for record in records[:72]] == [{**each, "decision": None} for each in given]
    for record in records[:74]:
        said = record.get("served", {}).get("original", record["text"])
        assert record["decision"] == engine.rewrite(said, record["user_id"]).as_dict()
    assert records[72]["decision"]["original"] == "play maj and dragons"
    assert records[72]["decision"]["reason"] == "learned"
    assert records[73]["decision"]["action"] == "pass"
    assert records[73]["error"] == "theirs"
    assert records[74:] == [
        {"turn_id": "bad", "decision": None, "error": "missing_field:user_id"},
        {"record": "{broken \x1b", "decision": None, "error": "not_json"},
        {"record": '["no object"]', "decision": None, "error": "not_an_object"},
    ]
    assert (told["records"], told["resumed_after"]) == (77, 0)
    assert told["actions"] == {"pass": 55, "rewrite": 19}
    assert told["reasons"] == {"known_good": 54, "own_correction": 18, "learned": 1, "no_candidate": 1}
    assert told["bad"] == {"missing_field:user_id": 1, "not_json": 1, "not_an_object": 1}
    assert not list(tmp_path.glob("*.part*"))


def test_the_summary_is_in_words(engine: RewriteEngine, log: Path, tmp_path: Path) -> None:
    told = run("batch", engine.bundle.path, log, tmp_path / "out.jsonl").stdout
    assert "Rewritten    19 (25%)" in told
    assert "54: it is known to work as it is" in told
    assert "1: a required field is missing: user_id" in told


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
@pytest.mark.parametrize("blocks", [1, 3, 7])
@pytest.mark.parametrize("torn", [0, 1, 40, 5_000])
def test_a_killed_run_goes_on_to_the_same_bytes(
    engine: RewriteEngine, log: Path, tmp_path: Path, name: str, blocks: int, torn: int
) -> None:
    whole = decide_log(engine, log, tmp_path / f"whole-{name}", block=10)
    out, part = tmp_path / name, tmp_path / f"{name}.part"

    with pytest.raises(Killed):
        decide_log(engine, log, out, KillsAfter(blocks), block=10)
    assert not out.exists()
    size = part.stat().st_size
    with open(part, "rb+") as stream:
        stream.truncate(max(0, size - torn))
    again = decide_log(engine, log, out, block=10)

    assert out.read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert again.tally == whole.tally
    assert again.resumed_after == 10 * blocks if torn == 0 else again.resumed_after < 10 * blocks


def test_bytes_that_are_no_record_are_written_anew(engine: RewriteEngine, log: Path, tmp_path: Path) -> None:
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    with pytest.raises(Killed):
        decide_log(engine, log, out, KillsAfter(1))
    with open(part, "rb+") as stream:
        stream.truncate(part.stat().st_size - 300)
        stream.seek(0, 2)
        stream.write(b"\0" * 200 + b"\n")
    decide_log(engine, log, out)
    assert len(read(out)) == 77


def _another_log(engine: RewriteEngine, log: Path) -> RewriteEngine:
    with open(log, "a", encoding="utf-8") as lines:
        lines.write(json.dumps(turn(999, "new", 3, "stop", "OK.")) + "\n")
    return engine


def _another_word(engine: RewriteEngine, log: Path) -> RewriteEngine:
    engine.bundle.edit(block="turn on the lights")
    return RewriteEngine.load(engine.bundle.path)


@pytest.mark.parametrize("change", [_another_log, _another_word])
def test_another_log_or_bundle_is_begun_anew(change: Any, log: Path, tmp_path: Path) -> None:
    learn(write_log(tmp_path / "learned.jsonl", small_log()), tmp_path / "bundle")
    engine = RewriteEngine.load(tmp_path / "bundle")
    out = tmp_path / "out.jsonl"
    with pytest.raises(Killed):
        decide_log(engine, log, out, KillsAfter(1))

    engine = change(engine, log)

    assert decide_log(engine, log, out).resumed_after == 0
    decide_log(engine, log, tmp_path / "whole.jsonl")
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_gzip_and_parquet_are_read(engine: RewriteEngine, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([{**each, "signals": None} for each in small_log()]), tmp_path / "log.parquet")
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(write_log(tmp_path / "x.jsonl", small_log()).read_bytes()))

    turn_ids = [each["turn_id"] for each in small_log()]
    for name in ("log.parquet", "log.jsonl.gz"):
        summary = decide_log(engine, tmp_path / name, tmp_path / f"{name}.out.gz")
        assert summary.tally.reasons == {"known_good": 54, "own_correction": 18}
        assert [each["turn_id"] for each in read(tmp_path / f"{name}.out.gz")] == turn_ids


def test_a_log_without_records_gives_an_empty_output(engine: RewriteEngine, tmp_path: Path) -> None:
    empty = write_log(tmp_path / "log.jsonl", [])
    result = run("batch", engine.bundle.path, empty, tmp_path / "out.jsonl.gz")
    assert "holds no records" in result.stderr
    assert read(tmp_path / "out.jsonl.gz") == []


def test_what_cannot_be_done_is_said(engine: RewriteEngine, log: Path, tmp_path: Path) -> None:
    whole = gzip.compress(log.read_bytes())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    bundle, out = engine.bundle.path, tmp_path / "out.jsonl"
    with pytest.raises(ConfigError, match="is the log itself"):
        decide_log(engine, log, log)
    for words, code, message in (
        ((log, tmp_path / "no" / "out.jsonl"), 2, "no folder"),
        ((log, tmp_path / "out.parquet"), 2, "cannot be OUT"),
        ((tmp_path / "nowhere.jsonl", out), 3, "No such log"),
        ((tmp_path / "cut.jsonl.gz", out), 3, "cannot be read on after"),
    ):
        assert message in run("batch", bundle, *words, ends_with=code).stderr
    with locked(out, "batch"):
        assert "in use" in run("batch", bundle, log, out, ends_with=5).stderr
