"""Forgetting a user: nothing of theirs is left in any file, and the rest is as if they had never been there."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from dialogue.canonical import Canonicaliser
from retrieval import KeyTable
from rewrite import (
    Bundle,
    BundleError,
    BusyError,
    ConfigError,
    DecayConfig,
    GateConfig,
    LearnConfig,
    LogConfig,
    RewriteEngine,
    learn,
)
from rewrite.bundle import write_manifest
from rewrite.cli import app
from rewrite.forgetting import Forgotten, forget, known_users, standings_before
from rewrite.forgetting_rejects import Dropped, drop_rejects
from rewrite.live_history import LiveHistory, live_path
from rewrite.progress import Progress, Stage
from rewrite.publish import draft_of, locked, resting
from rewrite.run import rejects_of, work_of
from tests.children import KILLED, Dying, die_before, run
from tests.logs import FIRST, Record, record, retries, varied_log, write_log

MAJ, IMAGINE = "play maj and dragons", "play imagine dragons"
WILKERSON, SIRIUS = "weather in wilkerson", "play sirius x m chill"
AGELESS = DecayConfig(half_life_days=None, live_half_life_days=None)
GIVEN_GAP = LogConfig(session_gap_s=600.0)
LOCKS = {"b.edit.lock", "b.learn.lock"}
#: Users with whom the rewrite of `retries` is on, and without one of whom it would be on trial.
FEWEST = 3


def config(k: int = 5, decay: DecayConfig = AGELESS, **gate: Any) -> LearnConfig:
    return LearnConfig(log=GIVEN_GAP, decay=decay, gate=GateConfig(min_users=k, **gate))


def without(records: list[Record], *users: str) -> list[Record]:
    return [each for each in records if each["user_id"] not in users]


def learned(path: Path, records: list[Record], chosen: LearnConfig, previous: Path | None = None) -> Path:
    log = write_log(path.with_name(f"{path.name}.jsonl"), records)
    learn(log, path, config=chosen, previous=previous)
    log.unlink()
    return path


def tables(bundle: Path) -> dict[str, list[dict[str, Any]]]:
    """Every table of a bundle, its rows in an order of their own."""
    found = {}
    for path in sorted(bundle.rglob("*.parquet")):
        rows = pq.read_table(path).to_pylist()
        found[path.relative_to(bundle).as_posix()] = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
    return found


def arrays(bundle: Path) -> dict[str, bytes]:
    """Every file that is no table, as it is, but for the manifest."""
    files = (path for path in sorted(bundle.rglob("*")) if path.is_file())
    return {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in files
        if path.suffix != ".parquet" and path.name != "manifest.json"
    }


def same(one: Path, other: Path, *, apart: str = "sessions") -> None:
    """Two bundles are equal, table by table and byte by byte; of their spans but for sessions, and `apart`."""
    assert tables(one) == tables(other)
    assert arrays(one) == arrays(other)
    mine, yours = (Bundle.open(each, verify=True).manifest for each in (one, other))
    assert mine.parameters == yours.parameters
    assert {**mine.counts, "sessions": 0} == {**yours.counts, "sessions": 0}  # no sessions are kept by user
    assert {**mine.span, "sessions": 0, apart: 0} == {**yours.span, "sessions": 0, apart: 0}
    assert set(mine.files) == set(yours.files)


def strings(value: object) -> set[str]:
    """All strings in nested values."""
    if isinstance(value, str):
        return {value}
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {text for each in nested for text in strings(each)}


def holds(bundle: Path, *words: str) -> list[str]:
    """Where in the files of a bundle one of the words stands, in bytes or in a table, in whatever case."""
    found = []
    for path in sorted(bundle.rglob("*")):
        if path.is_file():
            rows = pq.read_table(path).to_pylist() if path.suffix == ".parquet" else []
            texts = [path.read_bytes().lower(), *(text.lower().encode() for text in strings(rows))]
            found += [f"{word} in {path.name}" for word in words if any(word.encode() in text for text in texts)]
    return found


def rewrites(bundle: Path) -> dict[str, str]:
    return {row["source"]: row["target"] for row in Bundle.open(bundle).rewrites()}


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the varied log that asks for 12 users, with a pin and a block; its log had a user's name."""
    path = tmp_path_factory.mktemp("varied") / "b"
    log = write_log(path.with_name("of-user-12.jsonl"), varied_log())
    learn(log, path, config=config(12))
    Bundle.open(path).edit(pin=("pinned by hand", "kept"), block="blocked by hand")
    return path


@pytest.fixture
def bundle(varied: Path, tmp_path: Path) -> Path:
    shutil.copytree(varied, tmp_path / "b")
    return tmp_path / "b"


# What is left


def test_a_user_is_gone_from_every_file_and_the_rest_is_as_if_they_had_never_been(bundle: Path, tmp_path: Path):
    own = ["call my bother 12", "call my brother 12"]
    assert {each.split(" in ")[0] for each in holds(bundle, "user-12", *own)} == {"user-12", *own}
    assert KeyTable.load(bundle / "index" / "words").get("12") >= 0
    assert RewriteEngine.load(bundle).rewrite(own[0], "user-12").text == own[1]
    assert set(rewrites(bundle)) == {MAJ, SIRIUS, WILKERSON}

    told = forget(bundle, ["user-12"])

    assert holds(bundle, "user-12", *own) == []
    assert KeyTable.load(bundle / "index" / "words").get("12") == -1
    their_turns = [each for each in varied_log() if each["user_id"] == "user-12"]
    assert told == Forgotten(bundle, ("user-12",), (), turns=len(their_turns), texts=2, rewrites_gone=1)
    manifest = Bundle.open(bundle, verify=True).manifest
    assert manifest.log["files"] == ["(forgotten)"]
    assert manifest.counts["users"] == 13
    assert manifest.counts["turns"] == manifest.span["turns"] == len(varied_log()) - len(their_turns)

    engine = RewriteEngine.load(bundle)
    assert (engine.rewrite("pinned by hand").text, engine.rewrite("blocked by hand").reason) == ("kept", "blocked")
    assert engine.rewrite(MAJ).text == IMAGINE
    assert set(rewrites(bundle)) == {MAJ, SIRIUS}
    assert engine.rewrite(WILKERSON).text == WILKERSON  # eleven are left that said it, and twelve are asked for
    assert engine.rewrite("start vacum 11", "user-11").text == "Start vacuum 11"

    Bundle.open(bundle).edit(clear="pinned by hand")
    Bundle.open(bundle).edit(clear="blocked by hand")
    anew = learned(tmp_path / "anew", without(varied_log(), "user-12"), config(12))
    Bundle.open(anew).edit(clear="nothing")  # the file of overrides, with none in it
    same(bundle, anew, apart="as_of")  # of the twelve latest users, one is another: but nothing ages


def test_what_ages_is_the_same_where_the_time_reached_is(tmp_path: Path):
    chosen = config(decay=DecayConfig(half_life_days=2.0, live_half_life_days=1.0))
    gone = ["user-02", "user-05"]  # others are the latest, and set the time
    whole = learned(tmp_path / "whole", varied_log(), chosen)
    forget(whole, gone)
    same(whole, learned(tmp_path / "anew", without(varied_log(), *gone), chosen))


def test_without_one_of_the_latest_users_only_the_time_differs(tmp_path: Path):
    chosen = config(decay=DecayConfig(half_life_days=0.01, live_half_life_days=0.01))
    whole = learned(tmp_path / "whole", varied_log(), chosen)
    forget(whole, ["user-13"])
    anew = learned(tmp_path / "anew", without(varied_log(), "user-13"), chosen)
    later, earlier = (Bundle.open(each).manifest.span["as_of"] for each in (whole, anew))
    assert later > earlier
    left = 2 ** (-(later - earlier) / 864.0)
    mine, yours = (
        {_key(row): row["mass"] for row in tables(each)["counts/own_states.parquet"]} for each in (whole, anew)
    )
    assert len(mine) > 10
    for key, mass in mine.items():
        assert mass == pytest.approx(yours[key] * left, abs=5)
    assert all(yours[key] * left < 1_010 for key in set(yours) - set(mine))  # what is as good as forgotten


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["user_id"], row["said"], row["state"], row["grade"]


WORDS = "play maj imagine dragons radio jazz rock lamp lamb chill".split()
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
#: A scene: what is said first, what next, by which users, and whether NLU's interpretation is logged.
scenes = st.tuples(texts, texts, st.sets(st.integers(0, 6), min_size=1), st.booleans())


def acted(found: list[tuple[str, str, set[int], bool]]) -> list[Record]:
    records: list[Record] = []
    for place, (source, target, users, taken) in enumerate(found):
        for user in sorted(users):
            for step, text in enumerate((source, target)):
                more: dict[str, Any] = {"outcome": "success" if step else "failure"}
                if taken:
                    more["nlu"] = {"domain": "music", "intent": "play", "slots": {"what": text.split()[-1]}}
                records.append(record(len(records), text, f"user-{user}", 9e3 * place + 1e2 * user + 8 * step, **more))
    return records


@settings(max_examples=3)
@given(st.lists(scenes, min_size=1, max_size=6), st.integers(1, 3), st.sets(st.integers(0, 7), min_size=1, max_size=3))
def test_forgetting_is_never_having_learned(found: list[Any], k: int, gone: set[int]):
    records, users = acted(found), [f"user-{user}" for user in sorted(gone)]
    chosen = config(k, confidence=0.5, margin=0.0, rewritten_floor=0.0)
    with tempfile.TemporaryDirectory() as folder:
        whole = learned(Path(folder) / "whole", records, chosen)
        told = forget(whole, users)
        rest = without(records, *users)
        assert told.turns == len(records) - len(rest)
        assert set(told.users) == {each["user_id"] for each in records} & set(users)
        assert holds(whole, *(f'"{user}"' for user in users)) == []
        if rest:  # a log without a record is refused
            same(whole, learned(Path(folder) / "anew", rest, chosen), apart="as_of")  # nothing ages: no matter
        assert not known_users(Bundle.open(whole), users)


def test_everybody_may_be_forgotten(tmp_path: Path):
    path = learned(tmp_path / "b", retries(MAJ, IMAGINE), config())
    told = forget(path, [f"user-{user:02}" for user in range(12)])
    assert (told.turns, told.texts, told.rewrites_gone) == (48, 2, 1)
    assert holds(path, "user-", "dragons") == []
    assert RewriteEngine.load(path, verify=True).rewrite(MAJ, "user-01").reason == "no_candidate"


# What was decided before


def test_a_find_of_the_latest_learning_is_judged_anew_and_no_longer_held(tmp_path: Path):
    chosen = config(2)
    path = learned(tmp_path / "b", retries(MAJ, IMAGINE, users=FEWEST), chosen)
    assert MAJ in rewrites(path)
    forget(path, ["user-00"])
    (row,) = Bundle.open(path).rewrites("candidates")
    assert row["standing"] == "trial"  # what is held comes down to an even chance: it would still be on
    same(path, learned(tmp_path / "anew", without(retries(MAJ, IMAGINE, users=FEWEST), "user-00"), chosen))


def test_what_was_on_before_the_latest_learning_is_held(tmp_path: Path):
    chosen = config(2)
    first = learned(tmp_path / "first", retries(MAJ, IMAGINE, users=FEWEST), chosen)
    more = [record(900 + user, "stop the music", f"other-{user}", 9e4 + user, outcome="success") for user in range(9)]
    after = learned(tmp_path / "after", more, chosen, previous=first)
    assert set(standings_before(Bundle.open(first)).on) == set()
    assert set(standings_before(Bundle.open(after)).on) == {(MAJ, IMAGINE)}
    forget(after, ["other-3"])
    assert rewrites(after) == {MAJ: IMAGINE}
    forget(after, ["user-00"])
    assert {row["standing"]: row["reason"] for row in Bundle.open(after).rewrites("candidates")} == {"on": "held"}


def test_a_suspension_stays_and_the_next_learning_hears_of_it(tmp_path: Path):
    chosen = config(decay=DecayConfig())
    first = learned(tmp_path / "first", retries(MAJ, IMAGINE), chosen)
    served = {"original": MAJ, "rewrite": IMAGINE}
    bad = [
        record(500 + n, IMAGINE, f"new-{n % 12:02}", 9e4 + 1e3 * n, served=served, outcome="failure") for n in range(36)
    ]
    after = learned(tmp_path / "after", bad, chosen, previous=first)
    (before,) = Bundle.open(after).rewrites("suspensions")
    assert before["fresh"]
    forget(after, ["new-03", "user-04"])
    assert list(Bundle.open(after).rewrites("suspensions")) == [before]
    assert MAJ not in rewrites(after)
    assert holds(after, "new-03", "user-04") == []


def test_learning_goes_on_from_there(bundle: Path, tmp_path: Path):
    forget(bundle, ["user-12"])
    rest = without(varied_log(), "user-12")
    log = write_log(tmp_path / "again.jsonl", rest)
    same_again = learn(log, tmp_path / "on", config=config(12), previous=bundle)
    assert (same_again.log.turns, same_again.log.counted_before) == (0, len(rest))
    assert tables(tmp_path / "on")["counts/own_states.parquet"] == tables(bundle)["counts/own_states.parquet"]
    back = learn(write_log(tmp_path / "all.jsonl", varied_log()), tmp_path / "back", config=config(12), previous=bundle)
    assert back.log.turns == len(varied_log()) - len(rest)  # as the help says: a log that holds them brings them back


def test_the_detector_that_a_bundle_carries_is_copied(bundle: Path):
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    detector = Bundle.open(bundle).manifest.detector
    assert detector == {"name": "lexical", "digest": None}
    (bundle / "detector").mkdir()
    (bundle / "detector" / "detector.json").write_text('{"format": "span"}', encoding="utf-8")
    kept = {name: manifest[name] for name in ("created", "parameters", "log", "span", "counts")}
    write_manifest(bundle, **kept, detector={"name": "span", "digest": "0123456789abcdef"})
    forget(bundle, ["user-12"])
    opened = Bundle.open(bundle, verify=True)
    assert opened.manifest.detector == {"name": "span", "digest": "0123456789abcdef"}
    assert "detector/detector.json" in opened.manifest.files
    assert (bundle / "detector" / "detector.json").read_text(encoding="utf-8") == '{"format": "span"}'


def test_a_pin_of_a_text_that_nobody_else_says_stays_and_is_told(bundle: Path):
    Bundle.open(bundle).edit(pin=("call my bother 12", "Call my brother, please"))
    Bundle.open(bundle).edit(block="call my brother 12")
    assert forget(bundle, ["user-12"]).doubtful_overrides == 2
    assert set(Bundle.open(bundle).overrides.pinned) == {"pinned by hand", "call my bother 12"}


# Interrupted


class Stopping(Progress):
    """Raises when a stage begins."""

    def stage(self, name: str, total: float | None = None) -> Stage:
        if name == "building the populations":
            raise KeyboardInterrupt
        return super().stage(name, total)


def forget_and_die_at(bundle: Path, stage: str) -> None:
    forget(bundle, ["user-12"], progress=Dying(stage))


def forget_and_die_before_removing(bundle: Path, part: str, place: int) -> None:
    die_before("shutil.rmtree", part, place)
    forget(bundle, ["user-12"])


def gone_for_good(bundle: Path) -> None:
    """The user is gone from the bundle, and from everything in the folder where it lies."""
    assert holds(bundle.parent, "user-12", "call my bother 12") == []
    assert {path.name for path in bundle.parent.iterdir()} - LOCKS == {"b"}
    Bundle.open(bundle, verify=True)
    assert RewriteEngine.load(bundle).rewrite("pinned by hand").text == "kept"


@pytest.mark.parametrize(
    "stage",
    ["leaving out the users", "writing the bundle", "publishing"],
)
def test_killed_at_a_stage_the_old_bundle_is_whole_and_the_next_run_does_it(bundle: Path, varied: Path, stage: str):
    assert run(forget_and_die_at, bundle, stage) == KILLED
    same(bundle, varied)
    assert forget(bundle, ["user-12"]).turns > 0
    gone_for_good(bundle)


@pytest.mark.parametrize(("part", "place"), [("b.draft", 2), ("b.work", 1)])  # the first draft is one to be written
def test_killed_after_publication_the_next_run_clears_what_is_left(bundle: Path, part: str, place: int):
    assert run(forget_and_die_before_removing, bundle, part, place) == KILLED
    assert work_of(bundle).exists()
    assert bool(holds(bundle.parent, "user-12")) == (part == "b.draft")  # the draft is the old bundle by now
    told = forget(bundle, ["user-12"])
    gone_for_good(bundle)
    assert told.turns == 0
    assert told.unknown == ("user-12",)


def test_interrupted_nothing_is_left_beside(bundle: Path, varied: Path):
    with pytest.raises(KeyboardInterrupt):
        forget(bundle, ["user-12"], progress=Stopping())
    same(bundle, varied)
    assert {path.name for path in bundle.parent.iterdir()} - LOCKS == {"b"}


def test_what_killed_jobs_left_beside_the_bundle_goes_too(bundle: Path):
    for place in (work_of(bundle), draft_of(bundle), resting(bundle)):
        place.mkdir()
        (place / "job.json").write_text("user-12", encoding="utf-8")
    partial = bundle.with_name(".b.rejects.jsonl.77.partial")
    partial.write_text("user-12", encoding="utf-8")
    assert forget(bundle, ["user-12"]).unfinished
    gone_for_good(bundle)


def test_a_bundle_at_rest_is_put_back_first(bundle: Path):
    bundle.rename(resting(bundle))
    assert forget(bundle, ["user-12"]).turns > 0
    gone_for_good(bundle)


def test_no_two_at_once(bundle: Path, varied: Path):
    with locked(bundle, "learn"), pytest.raises(BusyError, match="is in use"):
        forget(bundle, ["user-12"])
    same(bundle, varied)


def test_no_sound_bundle_no_forgetting(bundle: Path, tmp_path: Path):
    with pytest.raises(BundleError, match="no bundle at"):
        forget(tmp_path / "nowhere" / "b", ["user-12"])
    assert not (tmp_path / "nowhere").exists()
    counts = bundle / "counts" / "own_states.parquet"
    counts.write_bytes(bytes(reversed(counts.read_bytes())))
    with pytest.raises(BundleError, match="not what the manifest vouches for"):
        forget(bundle, ["user-12"])
    for nobody in ([], [""]):
        with pytest.raises(ConfigError, match="no user to forget"):
            forget(bundle, nobody)


# Beside the bundle


def rejected(record: object, reason: str = "not_json", file: str = "log.jsonl") -> str:
    told = record if isinstance(record, str) else json.dumps(record)
    line = {"file": file, "line": 1, "reason": reason, "detail": "why", "record": told}
    return json.dumps(line, ensure_ascii=False) + "\n"


def test_the_live_history_forgets_too(bundle: Path):
    history = LiveHistory.open(live_path(bundle), canonical=Canonicaliser())
    for number, user in enumerate(["user-12", "user-03", "only-live", "only-live"]):
        history.observe(record(number, f"whisper of {user}", user, at=time.time() - FIRST))
    history.close()
    told = forget(bundle, ["user-12", "only-live", "nobody"])
    assert (told.users, told.unknown, told.live_turns) == (("only-live", "user-12"), ("nobody",), 3)
    assert holds(bundle.parent, "user-12", "only-live") == []
    assert "whisper of user-03 in b.live.sqlite" in holds(bundle.parent, "whisper of user-03")
    assert [each.said for each in history.requests("user-03")] == ["whisper of user 03"]
    assert history.requests("user-12") == ()
    history.close()


def test_rejected_lines_of_a_user_are_dropped(tmp_path: Path):
    theirs = [
        rejected({"user_id": "u1", "text": "a secret"}),
        rejected({"user_id": 17, "text": "a number for an id"}),
        rejected('{"user_id": "u1", "text": "cut sh'),
        rejected(json.dumps({"user_id": "zoë"})[:-1]),  # "zo\\u00eb", in a record that is cut short
        rejected("t-u1-003", "duplicate_turn_id"),
        rejected("nonsense", file="logs/u1.jsonl"),
        "not even u1 JSON\n",
    ]
    others = [
        rejected({"user_id": "u2", "text": "what u1 said"}),
        rejected({"user_id": "u10", "text": "another"}),
        rejected('{"user_id": "u10", "text": "cut sh'),
        rejected("u1x"),
        "[1, 2]\n",
        rejected({"text": "a stray"}),
    ]
    path = tmp_path / "r.jsonl"
    path.write_text("".join([*theirs, *others]), encoding="utf-8")
    told = drop_rejects(path, ["u1", "17", "zoë", "nobody"])
    assert path.read_text(encoding="utf-8") == "".join(others)
    assert told == Dropped(len(theirs), 4, frozenset({"u1", "17", "zoë"}))
    assert drop_rejects(path, ["u1"]) == Dropped(0, 4)
    path.write_text(theirs[0], encoding="utf-8")
    assert drop_rejects(path, ["u1"]).lines == 1
    assert list(tmp_path.iterdir()) == []
    assert drop_rejects(path, ["u1"]) == Dropped()


# On the command line


def rewrite(*words: object, ends_with: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == ends_with, result.output
    return result


def test_the_command_says_what_it_did_and_no_word_of_theirs(bundle: Path, varied: Path, tmp_path: Path):
    rejects_of(bundle).write_text(rejected({"user_id": "user-12"}) + rejected("?"), encoding="utf-8")
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbfuser-12\r\n\r\nuser-11\n")
    told = rewrite("forget", bundle, "--user", "nobody", "--users-file", tmp_path / "ids.txt")
    turns = len(varied_log()) - len(without(varied_log(), "user-11", "user-12"))
    assert f"2 users, with {turns} turns that had been counted" in " ".join(told.stdout.split())
    assert "Warning: nothing is known of nobody" in told.stderr
    assert "1 line left in the rejects file without a user's name" in told.stderr
    assert "publishing" in told.stderr
    assert "bother" not in told.output
    assert holds(bundle, "user-12", "user-11") == []

    before = (bundle / "manifest.json").read_bytes()
    again = json.loads(rewrite("forget", bundle, "--user", "user-12", "--json").stdout)
    assert (again["users"], again["unknown"], again["turns"]) == ([], ["user-12"], 0)
    assert (bundle / "manifest.json").read_bytes() == before


def test_what_a_mistaken_call_ends_with(bundle: Path, tmp_path: Path):
    assert "no user to forget" in rewrite("forget", bundle, ends_with=2).stderr
    missing = tmp_path / "missing.txt"
    assert "one user id a line" in rewrite("forget", bundle, "--users-file", missing, ends_with=2).stderr
    assert "no bundle at" in rewrite("forget", tmp_path / "none", "--user", "u", ends_with=4).stderr
    with locked(bundle, "learn"):
        assert "is in use" in rewrite("forget", bundle, "--user", "u", ends_with=5).stderr
