"""The mining job and the engine under everything that goes wrong: each fault gets the right clear answer."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dialogue import LogError, TooManyRejects
from rewrite import Bundle, EngineConfig, GateConfig, LearnConfig, LogConfig, ResourceConfig, RewriteEngine
from rewrite.decision import Action, Reason
from rewrite.errors import BundleError, BusyError, ConfigError, LearnError, TargetError
from rewrite.job import learn
from rewrite.progress import Progress, Stage
from rewrite.publish import resting
from tests.children import CHILDREN, KILLED, Dying, die_before, run
from tests.logs import FIRST, SORRY, jsonl, record, retries, small_log, varied_log, write_log

SOURCE, TARGET = "play maj and dragons", "play imagine dragons"
STAGES = (
    "reading",
    "putting the turns in order",
    "finding the session boundary",
    "judging outcomes and finding rephrases",
    "counting",
    "solving the chain and judging its reformulations",
    "building the populations",
    "writing the bundle",
    "publishing",
)
#: What a finished run leaves beside the bundle: two empty files to lock.
LOCKS = {"b.edit.lock", "b.learn.lock"}


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """A bundle of the small log, with a pin; and beside it `varied`, one of the varied log, from a run never killed."""
    folder = tmp_path_factory.mktemp("learned")
    learn(write_log(folder / "small.jsonl", small_log()), folder / "bundle")
    Bundle.open(folder / "bundle").edit(pin=("pinned by hand", "kept"))
    learn(write_log(folder / "varied.jsonl", varied_log()), folder / "varied")
    return folder / "bundle"


@pytest.fixture
def old(learned, tmp_path) -> Path:
    """A folder of the test's own with the bundle `b` and the logs `small.jsonl` and `varied.jsonl`."""
    shutil.copytree(learned, tmp_path / "b")
    for name in ("small.jsonl", "varied.jsonl"):
        shutil.copy(learned.parent / name, tmp_path / name)
    return tmp_path / "b"


def rewrites(bundle: Path) -> bytes:
    return (bundle / "rewrites.jsonl").read_bytes()


def whole(bundle: Path) -> None:
    """The bundle is sound to the last digest, answers, and holds the person's word."""
    Bundle.open(bundle, verify=True)
    engine = RewriteEngine.load(bundle, verify=True)
    assert engine.rewrite(SOURCE).text == TARGET
    assert engine.rewrite("pinned by hand").text == "kept"


def untouched(bundle: Path, learned: Path) -> None:
    whole(bundle)
    assert rewrites(bundle) == rewrites(learned)


def nothing_beside(bundle: Path, *logs: str) -> None:
    assert set(os.listdir(bundle.parent)) - LOCKS - set(logs) == {bundle.name}


class Stopping(Progress):
    """Ends the job with an error of its own when a stage begins, and notes which began."""

    class Stopped(Exception):
        pass

    def __init__(self, at: str | None = None) -> None:
        self.at = at
        self.begun: list[str] = []

    def stage(self, name: str, total: float | None = None) -> Stage:
        self.begun.append(name)
        if name == self.at:
            raise self.Stopped
        return super().stage(name, total)


# Killed


def learn_dying(log: Path, out: Path, at: str) -> None:
    learn(log, out, progress=Dying(at))


def learn_plainly(log: Path, out: Path) -> None:
    learn(log, out)


def learn_until(log: Path, out: Path, event: str, part: str, place: int) -> None:
    die_before(event, part, place)
    learn(log, out)


def test_killed_when_a_stage_begins(old, learned):
    for stage in STAGES:
        assert run(learn_dying, old.parent / "varied.jsonl", old, stage) == KILLED
        untouched(old, learned)
    learn(old.parent / "varied.jsonl", old)
    whole(old)
    assert rewrites(old) == rewrites(learned.parent / "varied")
    nothing_beside(old, "small.jsonl", "varied.jsonl")


@pytest.mark.parametrize(
    ("event", "part", "place", "new"),
    [
        ("os.rename", "b.rejects.jsonl", 1, False),
        ("os.mkdir", "b.draft", 1, False),
        ("open", "rewrites.jsonl", 1, False),
        ("open", "b.draft/manifest.json.", 1, False),  # all is written but the manifest
        ("os.rename", "b.draft/manifest.json", 1, False),  # the manifest is written, but not in its place
        ("os.rename", "b.draft/overrides.json", 1, False),
        ("ctypes.dlsym", "renameat2", 1, False),  # right before the swap
        ("shutil.rmtree", "b.draft", 2, True),  # right after it, the old bundle still where the draft was
        ("shutil.rmtree", "b.work", 2, True),
    ],
)
def test_killed_at_the_worst_points(old, learned, event, part, place, new):
    log = write_log(old.parent / "varied.jsonl", [*varied_log(), b"{"])
    assert run(learn_until, log, old, event, part, place) == KILLED
    whole(old)
    assert rewrites(old) == rewrites(learned.parent / "varied" if new else learned)
    learn(log, old)
    whole(old)
    assert rewrites(old) == rewrites(learned.parent / "varied")
    nothing_beside(old, "small.jsonl", "varied.jsonl", "b.rejects.jsonl")


def test_killed_between_the_renames_of_a_swap(old, learned):
    """Where two folders cannot be exchanged at once: the old one rests, is found, and keeps its pins."""
    old.rename(resting(old))
    whole(old)
    assert rewrites(resting(old)) == rewrites(learned)
    learn(old.parent / "varied.jsonl", old)
    whole(old)
    nothing_beside(old, "small.jsonl", "varied.jsonl")


def test_killed_at_random(old, learned):
    log, allowed = old.parent / "varied.jsonl", {rewrites(learned), rewrites(learned.parent / "varied")}
    begun = time.monotonic()
    assert run(learn_plainly, log, old.parent / "first") == 0
    length = time.monotonic() - begun
    chance, killed = random.Random(12), 0
    for place in range(12):
        child = CHILDREN.Process(target=learn_plainly, args=(log, old))
        begun = time.monotonic()
        child.start()
        child.join(length * (place + chance.random()) / 12)
        if child.exitcode is not None:  # faster than the first run
            length = min(length, time.monotonic() - begun)
        child.kill()
        child.join()
        killed += child.exitcode == KILLED
        whole(old)
        assert rewrites(old) in allowed
    assert killed >= 4
    learn(log, old)
    whole(old)
    assert rewrites(old) == rewrites(learned.parent / "varied")


def test_a_killed_job_leaves_no_workers(tmp_path):
    """Processes of the pool end with the job that started them."""
    log = write_log(tmp_path / "log.jsonl", varied_log())
    (tmp_path / "job.py").write_text(
        "import sys; from rewrite import LearnConfig, ResourceConfig; from tests.test_rewrite_faults import *\n"
        "if __name__ == '__main__':\n"
        "    config = LearnConfig(resources=ResourceConfig(workers=2))\n"
        "    learn(sys.argv[1], sys.argv[2], config=config, progress=Dying('counting'))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, tmp_path / "job.py", log, tmp_path / "b"]
    job = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    told, _ = job.communicate(timeout=60)  # returns when the last process that holds the pipe has ended
    assert job.returncode == KILLED, told
    learn(log, tmp_path / "b")


# Going on


def tables(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in out.with_name(out.name + ".work").glob("*.parquet")}


class Looking(Stopping):
    """Looks at the finished tables when the bundle is published."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out = out

    def stage(self, name: str, total: float | None = None) -> Stage:
        if name == "publishing":
            self.tables = tables(self.out)
        return super().stage(name, total)


def test_stages_already_done_are_not_done_again(tmp_path):
    log, out = write_log(tmp_path / "log.jsonl", varied_log()), tmp_path / "b"
    done: dict[str, int] = {}
    for stage in STAGES:
        with pytest.raises(Stopping.Stopped):
            learn(log, out, progress=Stopping(stage))
        assert done.items() <= tables(out).items()  # the very same files
        assert not out.exists()
        done = tables(out)
    assert len(done) > 15
    looking = Looking(out)
    learn(log, out, progress=looking)
    assert looking.tables == done
    assert "reading" not in looking.begun


def begins_anew(log: Path, out: Path, **options: Any) -> bool:
    progress = Stopping("finding the session boundary")
    with pytest.raises(Stopping.Stopped):
        learn(log, out, progress=progress, **options)
    return "reading" in progress.begun


def test_another_job_starts_over(tmp_path, learned):
    log, out = write_log(tmp_path / "log.jsonl", varied_log()), tmp_path / "b"
    assert begins_anew(log, out)
    assert not begins_anew(log, out)
    assert not begins_anew(log, out, config=LearnConfig(resources=ResourceConfig(threads=1)))
    strict = LearnConfig(gate=GateConfig(min_users=6))
    assert begins_anew(log, out, config=strict)
    assert begins_anew(log, out, config=strict, previous=learned)
    assert not begins_anew(log, out, config=strict, previous=learned)
    job = tmp_path / "b.work" / "job.json"
    job.write_text(job.read_text().replace('"code": "', '"code": "0'))  # as of another version of the code
    assert begins_anew(log, out, config=strict, previous=learned)
    write_log(log, varied_log(seed=2))
    assert begins_anew(log, out, config=strict, previous=learned)
    assert begins_anew(write_log(tmp_path / "more.jsonl", small_log()), out)


def test_a_folder_of_logs_is_gone_on_with_too(tmp_path):
    """Though the job's own files lie in it."""
    write_log(tmp_path / "log.jsonl", [*varied_log(), b"{"])
    assert begins_anew(tmp_path, tmp_path / "b")
    assert not begins_anew(tmp_path, tmp_path / "b")
    assert learn(tmp_path, tmp_path / "b").log.report.rejected == {"not_json": 1}


def test_a_table_cut_short_is_made_again(tmp_path, learned):
    log, out = write_log(tmp_path / "log.jsonl", varied_log()), tmp_path / "b"
    with pytest.raises(Stopping.Stopped):
        learn(log, out, progress=Stopping("publishing"))
    for name in ("turns", "attempts", "text_hops"):
        table = tmp_path / "b.work" / f"{name}.parquet"
        table.write_bytes(table.read_bytes()[:100])
    learn(log, out)
    assert rewrites(out) == rewrites(learned.parent / "varied")


# Two at once


class Waiting(Progress):
    """Holds the job at a stage until it is let go."""

    def __init__(self, at: str, held: Any, go: Any) -> None:
        self.at, self.held, self.go = at, held, go

    def stage(self, name: str, total: float | None = None) -> Stage:
        if name == self.at:
            self.held.set()
            self.go.wait(60)
        return super().stage(name, total)


def learn_waiting(log: Path, out: Path, held: Any, go: Any) -> None:
    learn(log, out, progress=Waiting("counting", held, go))


@pytest.mark.parametrize("end", ["let go", "killed"])
def test_two_learners_on_one_target(old, learned, end):
    held, go = CHILDREN.Event(), CHILDREN.Event()
    log = old.parent / "varied.jsonl"
    first = CHILDREN.Process(target=learn_waiting, args=(log, old, held, go))
    first.start()
    assert held.wait(30)
    before = tables(old)
    (old.parent / "link").symlink_to(old)
    for name in (old, old.parent / "link"):
        begun = time.monotonic()
        with pytest.raises(BusyError, match=rf"b is in use: process {first.pid} holds .*Wait until it is done"):
            learn(old.parent / "small.jsonl", name)
        assert time.monotonic() - begun < 5
    assert tables(old) == before
    learn(old.parent / "small.jsonl", old.parent / "other")  # another target is free
    Bundle.open(old).edit(pin=("pinned meanwhile", "kept too"))
    if end == "killed":
        first.kill()
        first.join()
        untouched(old, learned)
        learn(log, old)
    else:
        go.set()
        first.join(60)
        assert first.exitcode == 0
    whole(old)
    assert rewrites(old) == rewrites(learned.parent / "varied")
    assert RewriteEngine.load(old).rewrite("pinned meanwhile").text == "kept too"


# A full disk


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", disk], capture_output=True)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path, left: int) -> Path:
    filler = disk / "filler"
    space = os.statvfs(disk)
    with open(filler, "wb") as file:
        file.write(bytes(max(0, space.f_bavail * space.f_frsize - left)))
    return filler


def learn_or_error(log: Path, out: Path) -> str | None:
    try:
        learn(log, out)
    except LearnError as error:
        return str(error)
    return None


def test_a_full_disk(small_disk, learned, tmp_path):
    out, log = shutil.copytree(learned, small_disk / "b"), write_log(tmp_path / "log.jsonl", varied_log())
    failed = 0
    for left in (0, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20, 5 << 20, 10 << 20):
        filler = fill(small_disk, left)
        told = learn_or_error(log, out)
        if told is None:
            break
        failed += 1
        assert "disk" in told
        assert "run the same command again" in told
        untouched(out, learned)
        filler.unlink()
    assert failed >= 4
    filler.unlink(missing_ok=True)
    learn(log, out)
    whole(out)
    assert rewrites(out) == rewrites(learned.parent / "varied")
    assert set(os.listdir(small_disk)) - LOCKS == {"b"}


def test_a_full_disk_leaves_the_word_as_it_was(small_disk, learned):
    out = shutil.copytree(learned, small_disk / "b")
    opened = Bundle.open(out)
    fill(small_disk, 0)
    with pytest.raises(BundleError, match=r"could not be written.*Free some space"):
        opened.edit(block=SOURCE)
    untouched(out, learned)


def learn_with_little_room(log: Path, out: Path, most: int, told: Path) -> None:
    with open(told, "w", encoding="utf-8") as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            learn(log, out)
        except LearnError as error:
            os.write(file.fileno(), str(error).encode()[:900])


def test_files_that_may_not_grow(old, learned):
    """The limit of a file's size stands for the full disk where none can be mounted."""
    log, told = old.parent / "varied.jsonl", old.parent / "told.txt"
    for most in (1_000, 4_000, 16_000, 64_000, 1 << 20, 6 << 20, 64 << 20):
        assert run(learn_with_little_room, log, old, most, told) == 0, most
        if not (message := told.read_text(encoding="utf-8")):
            break
        assert "run the same command again" in message, most
        untouched(old, learned)
    else:
        pytest.fail("every limit was too small")
    assert most > 16_000
    assert rewrites(old) == rewrites(learned.parent / "varied")


# Logs


def refused(log: Any, old: Path, learned: Path, error: type[Exception], told: str, **options: Any) -> Exception:
    """Learning raises this very error with these words, and the bundle is as it was."""
    with pytest.raises(error, match=told) as caught:
        learn(log, old, **options)
    assert caught.type is error
    untouched(old, learned)
    return caught.value


def answers(out: Path, said: str, **options: Any) -> str:
    return RewriteEngine.load(out, verify=True).rewrite(said, **options).text


def rejects(out: Path) -> list[dict[str, Any]]:
    lines = (out.parent / f"{out.name}.rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_truncated_gzip(old, learned):
    log = write_log(old.parent / "cut.jsonl.gz", varied_log())
    log.write_bytes(log.read_bytes()[:-400])
    refused(log, old, learned, LogError, r"cut\.jsonl\.gz cannot be read on .*truncated or damaged.*zcat")
    log.write_bytes(b"no gzip")
    refused(log, old, learned, LogError, r"cut\.jsonl\.gz cannot be read.*export it again")


def test_a_parquet_with_a_missing_column(old, learned):
    log = old.parent / "log.parquet"
    pq.write_table(pa.Table.from_pylist([{"turn_id": "1", "user_id": "u", "said": "x"}]), log)
    refused(log, old, learned, LogError, "has no column timestamp, text; its columns are turn_id, user_id, said")
    log.write_bytes(write_log(old.parent / "x.parquet", small_log()).read_bytes()[:-50])
    refused(log, old, learned, LogError, r"log\.parquet cannot be read")


def test_a_log_with_many_broken_lines(old, learned):
    broken = [b'{"turn_id": "half', b"[]", b'{"turn_id": "x", "timestamp": 1, "text": ""}', b"\xff"]
    good = small_log()
    log = write_log(old.parent / "log.jsonl", [*good[:30], *broken * 5, *good[30:]])
    error = refused(log, old, learned, TooManyRejects, r"20 of 68 records \(29\.4%\).*at most 5\.0%.*b\.rejects\.jsonl")
    assert isinstance(error, TooManyRejects)
    assert error.report.rejected == {
        "missing_field:user_id": 5, "not_an_object": 5, "not_json": 5, "not_utf8": 5,
    }  # fmt: skip
    assert [(each["line"], each["reason"]) for each in rejects(old)[:4]] == [
        (31, "not_json"), (32, "not_an_object"), (33, "missing_field:user_id"), (34, "not_utf8"),
    ]  # fmt: skip
    assert rejects(old)[0]["record"] == '{"turn_id": "half'
    summary = learn(log, old, config=LearnConfig(log=LogConfig(reject_limit=0.5)))
    assert (summary.log.report.accepted, summary.log.report.rejected_records) == (48, 20)
    whole(old)
    assert len(rejects(old)) == 20


def test_turn_ids_that_come_twice(tmp_path):
    good, out = varied_log(), tmp_path / "b"
    same = good[100:110]
    other = [each | {"text": "something else", "timestamp": each["timestamp"] + 1} for each in good[:3]]
    log = write_log(tmp_path / "log.jsonl", [*other, *good, *same])
    summary = learn(log, out)
    assert summary.log.report.rejected == {"duplicate_turn_id": 13}
    assert summary.log.turns == summary.log.report.accepted == len(good)
    told = rejects(out)
    assert {each["record"] for each in told} == {each["turn_id"] for each in [*same, *other]}
    assert {each["reason"] for each in told} == {"duplicate_turn_id"}
    assert "2 records have this turn id; the earliest is kept" in told[0]["detail"]
    assert "something else" not in (out / "requests.parquet").read_bytes().decode("latin1")


def test_a_log_given_twice(old, learned):
    log = old.parent / "small.jsonl"
    refused([log, log], old, learned, TooManyRejects, r"48 of 96 records .*duplicate_turn_id \(48\)")


def test_clocks_that_run_backwards(tmp_path):
    """Turns that end before they begin, and a log from the last line to the first, are read by what they say."""
    ended = [each | {"end_timestamp": each["timestamp"] - 500} for each in small_log()]
    learn(write_log(tmp_path / "ended.jsonl", ended), tmp_path / "ended")
    assert answers(tmp_path / "ended", SOURCE) == TARGET
    learn(write_log(tmp_path / "last.jsonl", small_log()[::-1]), tmp_path / "last")
    assert answers(tmp_path / "last", SOURCE) == TARGET
    # Where the clock itself ran backwards, the good request came first: nothing is learned, nothing breaks.
    mirrored = [each | {"timestamp": 2 * FIRST - each["timestamp"]} for each in small_log()]
    assert learn(write_log(tmp_path / "mirrored.jsonl", mirrored), tmp_path / "b").counts["rewrites"] == 0
    still = [each | {"timestamp": FIRST} for each in small_log()]  # a clock that stands: the turn id orders
    learn(write_log(tmp_path / "still.jsonl", still), tmp_path / "still")
    assert answers(tmp_path / "still", SOURCE) == TARGET


@pytest.mark.parametrize("raw", [b"", b"\n \n\n"])
def test_an_empty_log(old, learned, raw):
    log = old.parent / "log.jsonl"
    log.write_bytes(raw)
    refused(log, old, learned, LogError, r"The log holds no records: .*log\.jsonl")


def test_a_log_of_bad_records_only(old, learned):
    log = write_log(old.parent / "log.jsonl", [b"{", b"x"])
    refused(log, old, learned, TooManyRejects, r"2 of 2 records \(100\.0%\)")
    summary = learn(log, old.parent / "new", config=LearnConfig(log=LogConfig(reject_limit=1.0)))
    assert (summary.log.turns, summary.counts["rewrites"], summary.log.first_seen) == (0, 0, None)
    assert RewriteEngine.load(old.parent / "new", verify=True).rewrite(SOURCE).reason is Reason.NO_CANDIDATE


@pytest.mark.parametrize("one", [record(1), record(1, response=SORRY), record(1, ""), record(1, "🎵")])
def test_one_turn(tmp_path, one):
    summary = learn(write_log(tmp_path / "log.jsonl", [one]), tmp_path / "b")
    assert (summary.log.turns, summary.log.users, summary.log.sessions) == (1, 1, 1)
    assert answers(tmp_path / "b", one["text"], user_id="u1") == one["text"]


def test_utterances_of_a_megabyte(tmp_path):
    long = ["play " + "abc " * 250_000, "x" * 1_000_000, "play " + "é" * 500_000, "x" * 1_000_001]
    odd = [record(9_000 + place, text, "user-01") for place, text in enumerate(long)]
    odd.append(record(9_100, "hi", "u" * 1_000_000, response="y" * 1_000_000, nlu={"intent": "z" * 1_000_000}))
    odd.append(record(9_200, "x" * 5_000_000))
    summary = learn(write_log(tmp_path / "log.jsonl", small_log() + odd), tmp_path / "b")
    assert summary.log.report.rejected == {"too_long": 1}
    assert summary.log.turns == 48 + 5
    texts = pq.read_table(tmp_path / "b" / "requests.parquet")["text"].to_pylist()
    assert max(map(len, texts)) <= 300  # they are judged, but never stored
    engine = RewriteEngine.load(tmp_path / "b")
    assert engine.rewrite(SOURCE).text == TARGET
    assert (engine.rewrite(long[0]).text, engine.rewrite(long[0]).reason) == (long[0], Reason.TOO_LONG)
    assert engine.rewrite(SOURCE, "u" * 1_000_000).text == TARGET


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("spiel 🎵 mahj", "spiel 🎵🎶 musik"),
        ("شغل موسيقي", "شغل موسيقى هادئة"),
        ("נגן מוזיקה", "\u200fנגן מוזיקה שקטה\u200e"),
        ("放音樂啊", "播放音樂"),
        ("play 'x'; drop table \" turns --", "play x drop table"),
    ],
)
def test_texts_of_any_script(tmp_path, source, target):
    learn(write_log(tmp_path / "log.jsonl", retries(source, target)), tmp_path / "b")
    assert answers(tmp_path / "b", source) == target
    (row,) = Bundle.open(tmp_path / "b").rewrites()
    assert row["rewrite"] == target
    assert target in (tmp_path / "b" / "rewrites.jsonl").read_text(encoding="utf-8")


def test_nul_bytes_everywhere(tmp_path):
    def with_nul(each: dict[str, Any]) -> dict[str, Any]:
        text = {name: each[name] + "\0" for name in ("turn_id", "user_id", "response")}
        return each | text | {"text": each["text"].replace(" ", "\0"), "session_id": "\0" + each["user_id"]}

    log = write_log(tmp_path / "log.jsonl", [with_nul(each) for each in small_log()])
    for out, name in ((tmp_path / "b", log), (tmp_path / "p", write_log(tmp_path / "p.parquet", small_log()))):
        learn(name, out)
    engine = RewriteEngine.load(tmp_path / "b", verify=True)
    assert engine.rewrite(SOURCE).text == TARGET.replace(" ", "\0")  # as it is most often written
    assert engine.rewrite(SOURCE, "user-01\0").reason is Reason.OWN_CORRECTION
    assert engine.rewrite(SOURCE, "user-01").reason is Reason.LEARNED
    assert engine.rewrite("play\0maj and\0\0dragons\0").action is Action.REWRITE
    users = pq.read_table(tmp_path / "b" / "histories.parquet")["user_id"].to_pylist()
    assert users[0] == "user-00\0"


def test_half_characters(tmp_path):
    half = rb'{"turn_id": "h", "user_id": "u", "timestamp": 1, "text": "play \ud800"}'
    summary = learn(write_log(tmp_path / "log.jsonl", [*small_log(), half]), tmp_path / "b")
    assert summary.log.report.rejected == {"not_utf8": 1}
    assert rejects(tmp_path / "b")[0]["line"] == 49


@pytest.mark.parametrize(
    "when", [FIRST * 1000, "9999-12-31T00:00:00Z", -2e11, 1e400, float("nan"), "yesterday", True, None]
)
def test_timestamps_that_are_none(tmp_path, when):
    odd = record(9_000) | {"timestamp": when}
    summary = learn(write_log(tmp_path / "log.jsonl", [*small_log(), odd]), tmp_path / "b")
    assert summary.log.turns == 48
    (reason,) = summary.log.report.rejected
    assert reason in ("bad_timestamp:timestamp", "missing_field:timestamp", "wrong_type:timestamp", "not_json")


@pytest.mark.parametrize("when", [-9e10, -1.0, 0, 9.9e10, "0001-01-01T00:00:00Z", "1969-07-20T20:17:40Z"])
def test_timestamps_far_away(tmp_path, when):
    odd = record(9_000) | {"timestamp": when}
    assert learn(write_log(tmp_path / "log.jsonl", [*small_log(), odd]), tmp_path / "b").log.turns == 49
    assert answers(tmp_path / "b", SOURCE) == TARGET


def test_milliseconds_by_mistake(old, learned):
    log = write_log(old.parent / "log.jsonl", [each | {"timestamp": each["timestamp"] * 1000} for each in small_log()])
    refused(log, old, learned, TooManyRejects, r"bad_timestamp:timestamp \(48\)")
    assert "seconds since the epoch are wanted" in rejects(old)[0]["detail"]


def test_paths_that_are_no_log(old, learned):
    folder = old.parent
    refused(folder / "missing.jsonl", old, learned, LogError, r"No such log: .*missing\.jsonl")
    (folder / "log.csv").write_text("a,b")
    refused(folder / "log.csv", old, learned, LogError, r"Unknown kind of log: .*log\.csv.*\.jsonl")
    (folder / "empty").mkdir()
    refused(folder / "empty", old, learned, LogError, "No log files in directory")
    refused([], old, learned, LogError, "No log was named")
    (folder / "empty" / "log.jsonl").write_bytes(jsonl(varied_log()))
    learn(folder / "empty", old)  # a folder stands for the logs in it
    assert rewrites(old) == rewrites(learned.parent / "varied")


# Targets


@pytest.fixture
def log(tmp_path) -> Path:
    return write_log(tmp_path / "log.jsonl", small_log())


def test_a_file_in_place_of_the_bundle(tmp_path, log):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TargetError, match="file is a file: give a folder that is a bundle or does not exist yet"):
        learn(log, tmp_path / "file")
    with pytest.raises(BundleError, match=r"nothing can be written in .*file \("):
        learn(log, tmp_path / "file" / "b")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("manifest", [None, '{"name": "a web app"}', "{ // not even JSON", "[]", ""])
def test_a_folder_of_other_things_is_left_alone(tmp_path, log, manifest):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    with pytest.raises(TargetError, match="folder exists and is no bundle: choose another --out, or empty it first"):
        learn(log, folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert set(os.listdir(tmp_path)) == {"folder", "log.jsonl"}


def test_an_empty_folder_and_a_missing_parent(tmp_path, log):
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "not" / "yet" / "there" / "b"):
        learn(log, out)
        assert answers(out, SOURCE) == TARGET


def test_a_damaged_bundle_may_be_learned_anew(old, learned):
    for name in ("rewrites.parquet", "manifest.json"):
        (old / name).write_bytes(b"{")
        learn(old.parent / "varied.jsonl", old)
        whole(old)
        assert rewrites(old) == rewrites(learned.parent / "varied")


def test_a_link_stays_a_link(old, learned):
    """What it points to is locked and swapped; a link to nothing yet gets its folder."""
    link, new = old.parent / "link", old.parent / "new"
    link.symlink_to("b")
    summary = learn(old.parent / "varied.jsonl", link)
    assert summary.out == old
    assert link.is_symlink()
    for path in (old, link):
        whole(path)
        assert rewrites(path) == rewrites(learned.parent / "varied")
    link.unlink()
    link.symlink_to(new)
    learn(old.parent / "small.jsonl", link)
    assert new.is_dir()
    assert answers(link, SOURCE) == TARGET


def test_a_mount_point_cannot_be_replaced(small_disk, log):
    with pytest.raises(TargetError, match=r"is a mount point.*give a folder inside it"):
        learn(log, small_disk)
    learn(log, small_disk / "b")
    assert answers(small_disk / "b", SOURCE) == TARGET


def test_a_parent_that_cannot_be_written(small_disk, log, learned):
    shutil.copytree(learned, small_disk / "b")
    if subprocess.run(["mount", "-o", "remount,ro", small_disk], capture_output=True).returncode:
        pytest.skip("no right to mount a disk for reading only")
    with pytest.raises(BundleError, match=r"nothing can be written in .*disk \(Read-only.*choose another path"):
        learn(log, small_disk / "b")
    with pytest.raises(BundleError, match="nothing can be written"):
        Bundle.open(small_disk / "b").edit(block=SOURCE)
    untouched(small_disk / "b", learned)


def test_a_configuration_that_is_wrong(tmp_path):
    path = tmp_path / "config.toml"
    for text, told in (
        ("[gate]\nmin_user = 3", r"unknown parameter gate\.min_user: known are gate\.min_users"),
        ("speed = 3", "unknown parameter speed"),
        ('[gate]\nmin_users = "3"', r"gate\.min_users is '3', but must be a whole number"),
        ("[gate]\nmin_users = 2.5", r"gate\.min_users is 2\.5, but must be a whole number"),
        ("[gate]\nmin_users = true", r"gate\.min_users is True"),
        ("[gate]\nmin_users = 0", r"gate\.min_users is 0, but must be 1 or more"),
        ("[gate]\nconfidence = 1.5", r"gate\.confidence is 1\.5, but must be"),
        ("[gate]\nmargin = nan", r"gate\.margin is nan"),
        ("[log]\nreject_limit = -0.1", r"log\.reject_limit is -0\.1, but must be a share from 0 to 1"),
        ("[text]\nwake_words = [1]", r"text\.wake_words is \[1\], but must be a list of strings"),
        ("gate = 5", "gate is 5, but must be a table of parameters"),
        ('[resources]\nmemory_limit = "lots"', r"resources\.memory_limit is 'lots'"),
        ("= nothing", "not readable TOML or JSON"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=told):
            LearnConfig.from_file(path)
    with pytest.raises(ConfigError, match=r"no configuration file at .*give an existing"):
        LearnConfig.from_file(tmp_path / "missing.toml")


# Online


ODD_TEXTS = [None, 7, 2.5, b"play", [], object(), "", "\0", "\ud800", "play \ud800 jazz", "play\0jazz", "x" * 1_000_000]
ODD_USERS = [None, 7, 2.5, b"u", [], {}, object(), "", "\0", "\ud800", "u" * 1_000_000]


def test_requests_of_odd_types(learned):
    engine = RewriteEngine.load(learned)
    for text in ODD_TEXTS:
        for user in ODD_USERS:
            decision = engine.rewrite(text, user)
            assert decision.action is Action.PASS
            assert decision.text == decision.original == (text if isinstance(text, str) else str(text))
            if not isinstance(text, str):
                assert decision.reason is Reason.FAULT
                assert "Error" in decision.evidence["fault"]


def test_users_of_odd_types_never_raise(learned):
    engine = RewriteEngine.load(learned)
    for user in ODD_USERS:
        decision = engine.rewrite(SOURCE, user)
        assert decision.original == SOURCE
        assert decision.text == TARGET or (decision.text, decision.reason) == (SOURCE, Reason.FAULT)
        assert isinstance(user, str | None) <= (decision.text == TARGET)


def test_a_thing_that_cannot_be_written_down(learned):
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    decision = RewriteEngine.load(learned).rewrite(Mute())
    assert (decision.action, decision.reason) == (Action.PASS, Reason.FAULT)


def test_arrays_damaged_after_loading(learned):
    """Whatever a damaged array makes of an answer, it is an answer; where none can be had, the query passes."""
    engine = RewriteEngine.load(learned)
    arrays = engine._arrays
    chance = np.random.default_rng(3)
    queries = (SOURCE, TARGET, "play maj and dragon", "play imagin dragons", "something else")
    faults = 0
    for field in fields(arrays):
        sound = getattr(arrays, field.name)
        if not isinstance(sound, np.ndarray):
            damages = [None]
        else:
            raw = chance.integers(0, 255, sound.nbytes, np.uint8).view(sound.dtype).reshape(sound.shape)
            damages = [None, sound[:0], np.zeros_like(sound), raw, np.full_like(sound, 127)]
        for damage in damages:
            engine._arrays = replace(arrays, **{field.name: damage})
            for said in queries:
                for user in (None, "user-01", "stranger"):
                    decision = engine.rewrite(said, user)
                    assert decision.original == said
                    if decision.reason is Reason.FAULT:
                        faults += 1
                        assert (decision.action, decision.text) == (Action.PASS, said)
    assert faults > 50


def test_files_damaged_after_loading(old):
    """A loaded engine maps its files: what is changed in place is seen, and still nothing is raised."""
    engine = RewriteEngine.load(old)
    for path in sorted((old / "index").rglob("*.npy")):
        with open(path, "r+b") as file:
            size = path.stat().st_size
            file.seek(128)
            file.write(b"\xff" * max(0, size - 128))
    for said in (SOURCE, TARGET, "play imagin dragons", "something else"):
        for user in (None, "user-01"):
            decision = engine.rewrite(said, user)
            assert decision.original == said
            assert decision.action is Action.REWRITE or decision.text == said


def test_an_engine_outlives_its_bundle(old):
    engine = RewriteEngine.load(old)
    learn(old.parent / "varied.jsonl", old)
    shutil.rmtree(old)
    assert engine.rewrite(SOURCE, "user-01").text == TARGET
    assert engine.rewrite("pinned by hand").text == "kept"


def test_threads_share_an_engine(learned):
    bundle = learned.parent / "varied"
    texts = [text for row in Bundle.open(bundle).rewrites("requests") for text in (row["text"], row["text"] + "s")]
    asked = [(text, user) for text in texts for user in (None, "user-01")]
    patient = EngineConfig(deadline_s=60.0)  # the machine may be busy
    alone = [RewriteEngine.load(bundle, config=patient).rewrite(*each) for each in asked]
    engine = RewriteEngine.load(bundle, config=patient)
    with ThreadPoolExecutor(6) as threads:
        answered = list(threads.map(lambda _: [engine.rewrite(*each) for each in asked], range(4)))
    assert {decision.reason for decision in alone} > {Reason.LEARNED, Reason.KNOWN_GOOD, Reason.OWN_CORRECTION}
    assert all(each == alone for each in answered)
