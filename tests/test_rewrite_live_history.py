"""What users just did: kept at once, never lost, never mixed, gone when asked, and taken in once by the next learn."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogue import (
    Asr,
    Canonicaliser,
    Context,
    EvidenceWeights,
    Nlu,
    Outcome,
    OutcomeModel,
    Session,
    Signals,
    Turn,
)
from rewrite import Bundle, DecayConfig, LearnConfig, LogConfig, learn
from rewrite import live_outcomes as rules
from rewrite.errors import BadTurn, LiveHistoryError
from rewrite.live_history import PRUNE_EVERY, LiveHistory, live_path
from rewrite.live_turns import LONGEST_REQUEST
from rewrite.own_counts import LONGEST_TEXT
from tests.children import KILLED, die_before, run
from tests.logs import FIRST, Record, record, retries, small_log, write_log

CANONICAL = Canonicaliser()


def opened(path: Path, **options: Any) -> LiveHistory:
    return LiveHistory.open(path, canonical=CANONICAL, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bundle.live.sqlite"


@pytest.fixture
def history(path: Path) -> LiveHistory:
    return opened(path)


def said(history: LiveHistory, user: str = "u1") -> list[str]:
    return [each.said for each in history.requests(user)]


def ids(path: Path) -> list[str]:
    """The turn ids of an export."""
    out = path.with_name("export.jsonl")
    opened(path).export(out)
    return [json.loads(line)["turn_id"] for line in out.read_text(encoding="utf-8").splitlines()]


# Known answers


def test_what_was_just_said(history: LiveHistory):
    history.observe(record(1, "Alexa, play  JAZZ", context={"device_type": "speaker", "has_screen": False}))
    history.observe(record(2, "play jazz please", at=200.0, outcome="success", nlu={"intent": "play"}))
    history.observe(record(3, "stop it", at=400.0, outcome="failure"))
    stop, jazz = history.requests("u1")
    assert (jazz.said, jazz.surface, jazz.turns, jazz.judged, jazz.served) == ("play jazz", "play jazz please", 2, 1, 0)
    expected = rules.probability(2.25) + rules.probability(2.25 + 3.0)  # the prior, and the prior with a success
    assert (jazz.successes, jazz.failures) == (pytest.approx(expected), pytest.approx(2 - expected))
    assert (stop.said, stop.turns, stop.last_seen) == ("stop it", 1, FIRST + 400.0)
    assert stop.successes == pytest.approx(rules.probability(2.25 - 5.0))
    first, second, third = history.recent("u1", at=FIRST + 400.0)
    assert first.turn_id == "t000001"
    assert (second.intent, second.judged, first.judged) == ("play", True, False)
    assert history.recent("u1", within_s=200.0, at=FIRST + 399.0) == (second,)
    assert history.recent("u1", within_s=0.0, at=FIRST + 400.0) == (third,)


def test_a_turn_said_again_is_known_to_have_failed(history: LiveHistory):
    history.observe(record(1, "play maj and dragons", at=0.0))
    assert not history.requests("u1")[0].judged
    history.observe(record(2, "play imagine dragons", at=10.0))
    imagine, maj = history.requests("u1")
    assert (maj.successes, maj.judged) == (pytest.approx(rules.probability(2.25 - 1.5), abs=1e-3), 1)
    assert imagine.successes == pytest.approx(rules.probability(2.25))


def test_the_same_turn_again_replaces_the_earlier(history: LiveHistory, path: Path):
    history.observe(record(1, "play jazz", at=0.0))
    history.observe(record(2, "play rock", at=500.0))
    history.observe(record(1, "play jazz", at=0.0, signals={"rating": -1}))
    rock, jazz = history.requests("u1")
    assert (jazz.turns, jazz.judged, rock.turns) == (1, 1, 1)
    assert jazz.successes == pytest.approx(rules.probability(2.25 - 4.5))
    assert ids(path) == ["t000002", "t000001"]


def test_a_turn_moved_in_time_no_longer_speaks_against_another(history: LiveHistory):
    history.observe(record(1, "play maj and dragons", at=0.0))
    history.observe(record(2, "play imagine dragons", at=10.0))
    history.observe(record(2, "play imagine dragons", at=5_000.0))
    assert history.requests("u1")[1].successes == pytest.approx(rules.probability(2.25))


def test_a_rewritten_turn_is_no_success_of_what_was_said(history: LiveHistory):
    served = {"original": "Play maj and dragons", "rewrite": "play imagine dragons"}
    history.observe(record(1, "play imagine dragons", served=served, outcome="success"))
    (maj,) = history.requests("u1")
    assert (maj.said, maj.surface, maj.turns, maj.successes, maj.served) == (
        "play maj and dragons", "Play maj and dragons", 0, 0, 1,
    )  # fmt: skip
    assert history.recent("u1", at=FIRST + 60.0)[0].rewrite == "play imagine dragons"
    history.observe(record(2, "play jazz", served={"original": "play jazz", "rewrite": "play jazz"}))  # it passed
    assert (history.requests("u1")[0].turns, history.requests("u1")[0].served) == (1, 0)


def test_turns_and_records_of_them_are_the_same(tmp_path: Path):
    turn = Turn(
        "t1", "u1", FIRST, "play jazz", asr=Asr(0.9), nlu=Nlu("music", "play", {"genre": "jazz"}),
        signals=Signals(clicked=True), outcome=Outcome.SUCCESS, response="Ok.",
        context=Context("speaker", local_hour=7, device_state={"oven": {"on": True}, "level": 3}),
    )  # fmt: skip
    plain = json.loads(json.dumps(asdict(turn)))
    one, other = opened(tmp_path / "one"), opened(tmp_path / "other")
    one.observe(turn)
    other.observe(plain | {"gold": {"rewrite": ["play jazz"]}})
    assert one.recent("u1", at=FIRST) == other.recent("u1", at=FIRST)
    other.export(tmp_path / "log.jsonl")
    assert "gold" not in (tmp_path / "log.jsonl").read_text()


def test_empty_and_endless_texts_are_no_requests(history: LiveHistory):
    history.observe(record(1, ""))
    history.observe(record(2, "la " * LONGEST_REQUEST))
    assert history.requests("u1") == ()
    assert len(history.recent("u1", at=FIRST + 200.0)) == 2
    assert LONGEST_REQUEST == LONGEST_TEXT


def test_nothing_is_made_by_asking(history: LiveHistory, path: Path, tmp_path: Path):
    assert history.requests("u1") == history.recent("u1") == ()
    assert history.forget("u1") == 0
    assert history.users() == ()
    assert list(tmp_path.iterdir()) == []
    assert history.export(tmp_path / "none.jsonl").turns == 0
    assert (tmp_path / "none.jsonl").read_bytes() == b""


def test_the_file_lies_beside_the_bundle_that_a_link_points_to(tmp_path: Path):
    (tmp_path / "v1").mkdir()
    (tmp_path / "bundle").symlink_to("v1")
    assert live_path(tmp_path / "bundle") == tmp_path / "v1.live.sqlite"


# Agreement with the mining job


ALIKE = OutcomeModel(replace(EvidenceWeights(), confirmed=0, thanked=0, stuck=0, unanswered=0, abandoned=0))
TEXTS = ["", "play jazz", "play jaz", "light on", "light off", "stop", "no", "no jazz", "next", "call dad", "help"]
RESPONSES = [None, "", "Ok.", "Sorry, I don't know.", "Sorry to keep you.", "Say that again", "Did you mean jazz?"]
share = st.none() | st.floats(0, 1)
TURNS = st.builds(
    dict,
    text=st.sampled_from(TEXTS),
    gap=st.sampled_from([0.0, 5.0, 60.0, 119.0, 121.0]),
    response=st.sampled_from(RESPONSES),
    outcome=st.sampled_from([None, Outcome.SUCCESS, Outcome.FAILURE]),
    signals=st.none()
    | st.builds(
        Signals,
        barge_in=st.none() | st.booleans(),
        cancelled=st.none() | st.booleans(),
        engaged_s=st.none() | st.floats(0, 60),
        rating=st.none() | st.integers(-1, 1),
        clicked=st.none() | st.booleans(),
    ),
    asr=st.none() | st.builds(Asr, confidence=share),
    nlu=st.none() | st.builds(Nlu, confidence=share),
)


@settings(max_examples=40)
@given(st.lists(TURNS, min_size=1, max_size=7), st.randoms(use_true_random=False))
def test_turns_are_judged_as_by_the_mining_job_in_whatever_order_they_come(tmp_path_factory, told, chance):
    at, turns = FIRST, []
    for place, each in enumerate(told):
        at += each.pop("gap")
        turns.append(Turn(f"t{place}", "u1", at, session_id="s", **each))
    times = Counter(turn.text for turn in turns)
    turns = [turn if times[turn.text] < 3 else replace(turn, text=f"{turn.turn_id} alone") for turn in turns]
    history = opened(tmp_path_factory.mktemp("live") / "live.sqlite")
    for turn in chance.sample(turns, len(turns)):
        history.observe(turn)
    expected = [each.p_success for each in ALIKE.explain(Session("s", "u1", tuple(turns)))]
    assert [each.success for each in history.recent("u1", at=at, within_s=1e4)] == pytest.approx(expected, abs=1e-5)


# Users, threads, processes

USERS = ["a", "A", "a ", "ä", "a\0b", "a\0", "%"]


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from([*USERS, ""]), st.integers(0, 4), st.booleans())))
def test_no_user_sees_another(tmp_path_factory, steps):
    history, kept = opened(tmp_path_factory.mktemp("live") / "live.sqlite"), {}
    for user, turn, forget in steps:
        if not user:
            with pytest.raises(BadTurn):
                history.observe(record(turn, "x", user))
        elif forget and turn == 0:
            assert history.forget(user) == len(kept.pop(user, {}))
        else:
            text = f"{user.encode().hex()} says {turn}"
            history.observe(record(turn, text, user))
            kept.setdefault(user, {})[turn] = text
        for each in USERS:
            assert sorted(said(history, each)) == sorted(kept.get(each, {}).values())


def test_threads_share_one_history(history: LiveHistory):
    def talk(user: str) -> None:
        for number in range(30):
            history.observe(record(number, f"{user} {number}", user))
            assert said(history, user)[0] == f"{user} {number}"

    talkers = [threading.Thread(target=talk, args=(f"u{n}",)) for n in range(4)]
    for each in talkers:
        each.start()
    for each in talkers:
        each.join()
    assert [len(history.requests(f"u{n}")) for n in range(4)] == [30] * 4


#: A process that observes 150 turns of a user and tells of each after it returned; u0 is killed in the middle of one.
TALK = """
import os, signal, sys, threading
from dialogue.canonical import Canonicaliser
from rewrite.live_history import LiveHistory
path, user = sys.argv[1:]
history = LiveHistory.open(path, canonical=Canonicaliser(), busy_ms=20_000)
for number in range(150):
    if user == "u0" and number == 75:
        threading.Timer(0.002, os.kill, (os.getpid(), signal.SIGKILL)).start()
    turn = {"turn_id": str(number), "user_id": user, "timestamp": 1.8e9 + 60 * number, "text": f"text {number} {user}"}
    history.observe(turn)
    os.write(1, f"{number}\\n".encode())
threading.Event().wait(60 if user == "u0" else 0)
"""


def test_four_processes_at_once_one_of_them_killed(path: Path):
    command, root = [sys.executable, "-c", TALK, str(path)], Path(__file__).parent.parent
    children = [subprocess.Popen([*command, f"u{n}"], cwd=root, stdout=subprocess.PIPE, text=True) for n in range(4)]
    told = [child.communicate(timeout=60)[0].split() for child in children]
    assert [child.returncode for child in children] == [KILLED, 0, 0, 0]
    assert 75 <= len(told[0]) < 150
    assert list(map(len, told[1:])) == [150] * 3
    history = opened(path)
    for number, returned in enumerate(told):
        kept = {each.said for each in history.requests(f"u{number}")}
        assert {f"text {each} u{number}" for each in returned} <= kept
        assert len(kept) - len(returned) in {0, number == 0}  # the one that was killed may have kept one more
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_a_fork_takes_its_own_connection(history: LiveHistory):
    history.observe(record(1, "before"))
    assert said(history) == ["before"]
    child = os.fork()
    if not child:
        try:
            history.observe(record(2, "in the child"))
            os._exit(0 if said(history) == ["in the child", "before"] else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert said(history) == ["in the child", "before"]
    history.observe(record(3, "after"))
    assert said(history) == ["after", "in the child", "before"]


def test_what_one_process_observes_another_sees(history: LiveHistory, path: Path):
    other = opened(path)
    for number in range(5):
        history.observe(record(number, f"text {number}"))
        assert said(other)[0] == f"text {number}"
    history.forget("u1")
    assert said(other) == []


# Age


def test_old_turns_are_not_told_and_are_removed(history: LiveHistory, path: Path):
    history.observe(record(0, "old", "u0"))
    assert said(history, "u0") == ["old"]
    short = opened(path, keep_days=1e-9)
    assert said(short, "u0") == []
    for number in range(1, PRUNE_EVERY - 1):
        short.observe(record(number, "new", at=1e4 * number))
    assert short.users() == ("u0", "u1")
    short.observe(record(PRUNE_EVERY, "new", "u2"))
    assert "u0" not in short.users()
    assert said(history, "u0") == []


# Faults


def test_bad_turns(history: LiveHistory, tmp_path: Path):
    for bad, told in [
        ({"turn_id": "t"}, "missing_field:user_id"),
        (record(1, at=float("nan")), "no JSON"),
        (record(1, "half \ud800"), "no JSON"),
        (record(1) | {"timestamp": "yesterday"}, "bad_timestamp"),
        (record(1, signals={"rating": 7}), "out_of_range"),
        (record(1, user=""), "out_of_range:user_id"),
        (Turn("t", "u", FIRST, 3), "wrong_type:text"),  # type: ignore[arg-type]
        ("play jazz", "a str came"),
    ]:
        with pytest.raises(BadTurn, match=told):
            history.observe(bad)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_locked_database(path: Path):
    history = opened(path, busy_ms=50)
    history.observe(record(1, "before"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    with pytest.raises(LiveHistoryError, match=r"locked by another process .* try again"):
        history.observe(record(2, "meanwhile"))
    assert 0.05 <= time.monotonic() - begun < 5
    assert said(history) == ["before"]  # readers do not wait
    other.execute("ROLLBACK")
    other.close()
    history.observe(record(2, "after"))
    assert said(history) == ["after", "before"]


def test_a_writer_waits_its_turn(path: Path):
    history = opened(path)
    history.observe(record(1, "before"))
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.1, lambda: other.execute("COMMIT")).start()
    history.observe(record(2, "after"))
    assert said(history) == ["after", "before"]
    other.close()


@pytest.mark.parametrize("content", [b"no database at all " * 500, b"SQLite format 3\0" + b"\xff" * 5_000])
def test_a_file_that_is_no_database(path: Path, content: bytes):
    path.write_bytes(content)
    history = opened(path)
    for ask in (history.requests, history.recent, history.forget, lambda _: history.observe(record(1))):
        with pytest.raises(LiveHistoryError, match="move it away"):
            ask("u1")
    assert path.read_bytes() == content
    path.unlink()
    history.observe(record(1, "anew"))
    assert said(history) == ["anew"]


def test_pages_that_are_damaged(path: Path):
    writer = opened(path)
    for number in range(200):
        writer.observe(record(number, f"text {number}", f"u{number}"))
    writer.close()
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(LiveHistoryError, match="damaged"):
        opened(path).requests("u7")
    with pytest.raises(LiveHistoryError, match="damaged"):
        opened(path).observe(record(1))


def test_another_programs_database_is_left_alone(path: Path):
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(LiveHistoryError, match="another program"):
        opened(path).observe(record(1))
    assert path.read_bytes() == before


def test_a_history_of_the_version_before_is_gone_on_with(history: LiveHistory, path: Path):
    history.observe(record(1, "play jazz"))
    history.close()
    with closing(sqlite3.connect(path)) as old:  # as version 1 had it
        old.executescript(
            """CREATE TABLE before (user_id TEXT NOT NULL, timestamp REAL NOT NULL, turn_id TEXT NOT NULL,
                   place INTEGER NOT NULL, kept REAL NOT NULL, session TEXT NOT NULL, said TEXT NOT NULL,
                   surface TEXT NOT NULL, rewrite TEXT, intent TEXT, context TEXT NOT NULL, log_odds REAL NOT NULL,
                   observed INTEGER NOT NULL, confirming INTEGER NOT NULL, success REAL NOT NULL,
                   judged INTEGER NOT NULL, PRIMARY KEY (user_id, timestamp, turn_id)) WITHOUT ROWID;
               INSERT INTO before SELECT user_id, timestamp, turn_id, place, kept, session, said, surface, rewrite,
                   intent, 'device_type=car', log_odds, observed, confirming, success, judged FROM turns;
               DROP TABLE turns;
               ALTER TABLE before RENAME TO turns;
               CREATE UNIQUE INDEX turn_of_user ON turns (user_id, turn_id);
               PRAGMA user_version = 1;"""
        )
    again = opened(path)
    assert said(again) == ["play jazz"]
    again.observe(record(2, "play rock"))
    assert said(opened(path)) == ["play rock", "play jazz"]
    again.close()
    with closing(sqlite3.connect(path)) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_later_version_is_told(history: LiveHistory, path: Path):
    history.observe(record(1))
    history.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA user_version = 9")
    other.close()
    with pytest.raises(LiveHistoryError, match="version 9"):
        history.requests("u1")


def test_where_nothing_can_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LiveHistoryError, match="file"):
        opened(tmp_path / "file" / "live.sqlite").observe(record(1))


def test_a_removed_file_is_made_anew_and_its_log_is_not_played_into_it(history: LiveHistory, path: Path):
    history.observe(record(1, "old"))
    path.unlink()  # the -wal stays
    assert said(history) == []
    history.observe(record(2, "new"))
    assert said(history) == ["new"]


# Forgetting


def test_forgetting_leaves_no_byte(history: LiveHistory, path: Path, tmp_path: Path):
    other = opened(path)
    for number in range(300):
        history.observe(record(number, f"Xylophone {number} zanzibar", "quuxify", response="Splendiferous"))
        history.observe(record(1_000 + number, f"stays {number}", "keeper"))
    assert len(other.requests("quuxify")) == 200  # a reader that stays open
    assert history.forget("quuxify") == 300
    for file in tmp_path.iterdir():
        content = file.read_bytes().lower()
        assert not [word for word in (b"xylophone", b"zanzibar", b"quuxify", b"splendiferous") if word in content], file
    assert b"stays 299" in path.read_bytes()
    assert said(other, "quuxify") == []
    assert len(ids(path)) == 300
    assert history.forget("quuxify") == 0


# Taken in by the next learn


def test_what_was_exported_goes_and_what_came_meanwhile_stays(history: LiveHistory, path: Path, tmp_path: Path):
    for number, user in enumerate(["a", "a", "b"]):
        history.observe(record(number, f"text {number}", user))
    exported = history.export(tmp_path / "out.jsonl")
    assert exported.turns == 3
    history.observe(record(3, "meanwhile", "a"))
    history.observe(record(0, "text 0", "a", outcome="failure"))  # known better
    up_to = {"a": (FIRST + 1_000.0, "")}
    assert history.merged(exported, up_to) == 1
    assert sorted(said(history, "a")) == ["meanwhile", "text 0"]
    assert said(history, "b") == ["text 2"]
    assert history.merged(exported) == 1
    assert history.users() == ("a",)
    path.unlink()
    history.observe(record(9, "of another history", "a"))
    assert history.merged(exported) == 0


NEVER = LearnConfig(log=LogConfig(session_gap_s=1_800.0), decay=DecayConfig(None, None))  # so that sums are exact
OLD, NEW = small_log(), retries("play sirius x m chill", "play sirius channel 53", first=500, at=1e5)


def tables(bundle: Path) -> list[list[dict[str, Any]]]:
    """What was learned, and what is kept of each user."""
    opened = Bundle.open(bundle)
    names = ("rewrites", "requests", "histories", "counts/own_states", "counts/own_hops", "counts/watermarks")
    return [sorted(opened.rewrites(name), key=repr) for name in names]


def observed(bundle: Path, records: list[Record]) -> LiveHistory:
    history = opened(live_path(bundle))
    for each in records:
        history.observe(each)
    return history


def _learn(log: Path, out: Path, previous: Path | None = None) -> None:
    learn(log, out, config=NEVER, previous=previous)


LATE = record(9_000, "said meanwhile", "user-00", 3e5)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles that learned from logs alone."""
    folder = tmp_path_factory.mktemp("learned")
    logs = {"old": OLD, "both": OLD + NEW, "all": [*OLD, *NEW, LATE]}
    for name, records in logs.items():
        _learn(write_log(folder / f"{name}.jsonl", records), folder / name)
    return {name: folder / name for name in logs}


@pytest.fixture
def bundle(tmp_path: Path, learned: dict[str, Path]) -> Path:
    """One that learned from the old log, and may change."""
    shutil.copytree(learned["old"], tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def log(learned: dict[str, Path]) -> Path:
    return learned["old"].with_name("old.jsonl")


def test_the_next_learn_takes_it_in(tmp_path: Path, log: Path, bundle: Path, learned: dict[str, Path]):
    history = observed(bundle, NEW)
    learn(log, tmp_path / "without", config=NEVER, previous=bundle, live=False)
    assert len(tables(tmp_path / "without")[0]) == 1
    assert len(history.users()) == 12
    summary = learn(log, bundle, config=NEVER, previous=bundle)  # all of the log was counted before
    assert tables(bundle)[1:] == tables(learned["both"])[1:]
    assert [row["source"] for row in tables(bundle)[0]] == ["play maj and dragons", "play sirius x m chill"]
    assert (summary.log.turns, summary.log.counted_before) == (len(NEW), len(OLD))
    assert Path(summary.log.report.files[-1]) == live_path(bundle)
    assert history.users() == ()
    assert learn(log, bundle, config=NEVER, previous=bundle).log.turns == 0


def test_turns_that_the_log_holds_too_count_once(tmp_path: Path, bundle: Path, learned: dict[str, Path]):
    history = observed(bundle, OLD + NEW)
    summary = learn(write_log(tmp_path / "part.jsonl", OLD + NEW[:20]), bundle, config=NEVER)  # anew
    assert tables(bundle) == tables(learned["both"])
    assert (summary.log.report.rejected, summary.log.report.accepted) == ({}, len(OLD + NEW))
    assert history.users() == ()


def test_a_turn_of_a_clock_that_runs_ahead_waits_for_its_time(log: Path, bundle: Path):
    ahead = record(9_000, "from the future", "user-00", 90 * 86_400.0)
    history = observed(bundle, [ahead, record(9_001, "of now", "user-01", 1e5)])
    _learn(log, bundle, bundle)
    assert (said(history, "user-00"), said(history, "user-01")) == (["from the future"], [])


def test_a_live_history_that_cannot_be_read_stops_the_job(log: Path, bundle: Path):
    live_path(bundle).write_bytes(b"no database at all " * 500)
    with pytest.raises(LiveHistoryError, match="move it away"):
        _learn(log, bundle, bundle)
    learn(log, bundle, config=NEVER, previous=bundle, live=False)


def _die_in_learning(log: Path, out: Path, previous: Path | None, event: str, part: str) -> None:
    die_before(event, part)
    _learn(log, out, previous)


@pytest.mark.parametrize(
    ("event", "part", "learns_on"),
    [
        ("os.rename", "live.json.", True),  # between the export and its note
        ("os.rename", "attempts.part", False),
        ("ctypes.dlsym", "renameat2", True),
        ("shutil.rmtree", "bundle.draft", False),
        ("shutil.rmtree", "bundle.draft", True),
        ("shutil.rmtree", "bundle.work", False),
        ("shutil.rmtree", "bundle.work", True),
    ],
)
def test_a_killed_job_neither_loses_nor_counts_twice(
    log: Path, bundle: Path, learned: dict[str, Path], event: str, part: str, learns_on: bool
):
    history, previous = observed(bundle, NEW), bundle if learns_on else None
    history.close()
    assert run(_die_in_learning, log, bundle, previous, event, part) == KILLED
    assert len(history.users()) == 12  # not before all is over
    history.observe(LATE)
    _learn(log, bundle, previous)
    if history.users():  # it came after what the job had taken
        assert (history.users(), said(history, "user-00")) == (("user-00",), ["said meanwhile"])
        assert tables(bundle)[1:] == tables(learned["both"])[1:]
        _learn(log, bundle, bundle)
    assert history.users() == ()
    assert tables(bundle)[1:] == tables(learned["all"])[1:]


def test_serving_with_it_loads_nothing_heavy(path: Path, history: LiveHistory):
    history.observe(record(1))
    program = (
        "import sys; from pathlib import Path; from dialogue.canonical import Canonicaliser;"
        "from rewrite.live_history import LiveHistory;"
        "asked = LiveHistory.open(sys.argv[1], canonical=Canonicaliser()); assert asked.requests('u1');"
        "print(sorted({'pyarrow', 'pydantic', 'torch', 'duckdb'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert answer.stdout.strip() == "[]"
