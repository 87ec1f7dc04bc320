"""Same log, same seed: the same bytes, whatever the order, the split, the kind of file, the workers and threads."""

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rewrite import Bundle, LearnConfig, ResourceConfig
from rewrite.job import learn
from tests.logs import varied_log, write_log

TABLES = ("candidates", "corrections", "histories", "requests", "rewrites")
RECORDS = varied_log()


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wanted")
    learn(write_log(folder / "log.jsonl", RECORDS), folder / "bundle")
    return folder / "bundle"


def same(bundle: Path, wanted: Path) -> None:
    assert (bundle / "rewrites.jsonl").read_bytes() == (wanted / "rewrites.jsonl").read_bytes()
    for name in TABLES:
        assert pq.read_table(bundle / f"{name}.parquet").equals(pq.read_table(wanted / f"{name}.parquet")), name
    arrays = sorted(path.relative_to(wanted) for path in (wanted / "index").rglob("*.npy"))
    assert arrays
    for name in arrays:
        assert (bundle / name).read_bytes() == (wanted / name).read_bytes(), name


def shuffled(seed: int) -> list[dict]:
    return random.Random(seed).sample(RECORDS, len(RECORDS))


def test_the_log_is_worth_comparing(wanted):
    bundle = Bundle.open(wanted, verify=True)
    rewrites = list(bundle.rewrites())
    assert len(rewrites) >= 4
    assert bundle.manifest.counts["corrections"] >= 20
    fractions = {row["source_success"] for row in rewrites} | {row["target_success"] for row in rewrites}
    assert all(share != round(share, 2) for share in fractions)
    assert [row["source"] for row in rewrites] == sorted(row["source"] for row in rewrites)
    assert [json.loads(line) for line in (wanted / "rewrites.jsonl").read_text().splitlines()] == rewrites


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_the_order_of_the_lines(tmp_path, wanted, seed):
    learn(write_log(tmp_path / "log.jsonl", shuffled(seed)), tmp_path / "b")
    same(tmp_path / "b", wanted)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".parquet"])
def test_whatever_the_kind_of_the_file(tmp_path, wanted, suffix):
    learn(write_log(tmp_path / f"log{suffix}", shuffled(3)), tmp_path / "b")
    same(tmp_path / "b", wanted)


def test_whatever_the_split_and_the_order_of_the_files(tmp_path, wanted):
    records, suffixes = shuffled(4), (".jsonl", ".jsonl.gz", ".parquet")
    files = [write_log(tmp_path / f"{place}{suffixes[place % 3]}", records[place::7]) for place in range(7)]
    learn(files, tmp_path / "one")
    same(tmp_path / "one", wanted)
    learn(files[::-1], tmp_path / "other")
    same(tmp_path / "other", wanted)


@pytest.mark.parametrize(("threads", "workers"), [(1, 1), (4, 1), (2, 2)])
def test_whatever_the_threads_and_workers(tmp_path, wanted, threads, workers):
    config = LearnConfig(resources=ResourceConfig(threads=threads, workers=workers, memory_limit="400MB"))
    files = [write_log(tmp_path / f"{place}.jsonl", RECORDS[place::3]) for place in range(3)]
    learn(files, tmp_path / "b", config=config)
    same(tmp_path / "b", wanted)


def test_whatever_the_seed_of_hashing(tmp_path, wanted):
    log = write_log(tmp_path / "log.jsonl", shuffled(5))
    program = "import sys; from rewrite import learn; learn(sys.argv[1], sys.argv[2])"
    root = str(Path(__file__).parent.parent)
    for seed in ("0", "4242"):
        out = tmp_path / f"b{seed}"
        subprocess.run(
            [sys.executable, "-c", program, str(log), str(out)],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            timeout=60,
        )
        same(out, wanted)


def test_learning_again_over_itself_changes_nothing(tmp_path, wanted):
    log, out = write_log(tmp_path / "log.jsonl", RECORDS), tmp_path / "b"
    learn(log, out)
    learn(log, out)
    same(out, wanted)


def test_of_conflicting_records_the_same_one_is_kept(tmp_path):
    """Forty turns come twice with other texts and times, in files whose order is turned round."""
    twins = [each | {"text": "something else", "timestamp": each["timestamp"] + 1} for each in RECORDS[::50]]
    more = [each | {"user_id": "user-00"} for each in RECORDS[::71]]
    first = write_log(tmp_path / "a.jsonl", RECORDS)
    second = write_log(tmp_path / "b.jsonl", [*twins, *more])
    digests = set()
    for name, files in (("one", [first, second]), ("other", [second, first])):
        summary = learn(files, tmp_path / name)
        assert summary.log.report.rejected == {"duplicate_turn_id": len(twins) + len(more)}
        digests.add(hashlib.sha256((tmp_path / name / "rewrites.jsonl").read_bytes()).hexdigest())
        texts = pq.read_table(tmp_path / name / "requests.parquet")["text"].to_pylist()
        assert "something else" not in texts  # the earlier record is kept
    assert len(digests) == 1
    same(tmp_path / "one", tmp_path / "other")
