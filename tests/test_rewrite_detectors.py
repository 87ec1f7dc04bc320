"""Detectors in the mining job: which one is used, what the bundle carries, how logs become lessons, and the command."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from dialogue.canonical import Canonicaliser
from dialogue.errors import TooManyRejects
from dialogue.outcomes import OutcomeModel
from dialogue.sessions import BoundaryMethod
from dialogue.table import dialogue_batch
from rephrase_detection import LexicalDetector, Links, RephraseDetector
from rephrase_detection.edit_distance import EditDistanceDetector
from rephrase_detection.errors import DetectorError
from rewrite import Bundle, learn
from rewrite.bundle import write_manifest
from rewrite.cli import app
from rewrite.cli_exit import ExitCode, exit_code
from rewrite.cli_train_detector import LIBRARIES, Telling, need, sections
from rewrite.detectors import Detection, TrainedDetector, asked, carried, digest_of, identity, named, used
from rewrite.errors import BundleError, ConfigError, DamagedBundle, LearnError
from rewrite.progress import Progress, Stage
from rewrite.publish import locked
from rewrite.training_logs import read_training
from tests.logs import record, small_log, write_log


class Nearest(RephraseDetector):
    """The next turn says again whatever may have failed; counts what it is asked, two windows a batch."""

    threshold = 0.5

    def __init__(self) -> None:
        self.asked = SimpleNamespace(turns=0, distinct=0)

    def score(self, batch: pa.RecordBatch, p_success: np.ndarray) -> Links:
        self.asked.turns += batch.num_rows
        self.asked.distinct += 2
        session = np.asarray(batch["session"].dictionary_encode().indices)
        source = np.flatnonzero((session[1:] == session[:-1]) & (p_success[:-1] < 0.5))
        return Links(source, source + 1, np.full(len(source), 0.9), np.full(len(source), -1, np.int8))


def run(*words: object, ends_with: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == ends_with, result.output
    return result


def run_json(*words: object) -> Any:
    return json.loads(run(*words, "--json").stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained detector that needs no library: the edit distance, with a threshold of its own."""
    made = tmp_path_factory.mktemp("detector") / "edit"
    EditDistanceDetector(threshold=0.25).save(made)
    return made


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "log.jsonl", small_log())


@pytest.fixture(scope="module")
def bundle(log: Path, folder: Path) -> Path:
    """A bundle that was learned with the trained detector."""
    out = log.with_name("bundle")
    learn(log, out, detector=TrainedDetector.load(folder))
    return out


def as_if_span(bundle: Path, out: Path) -> Path:
    """A copy of a bundle whose manifest calls its detector "span"."""
    shutil.copytree(bundle, out)
    found = Bundle.open(bundle).manifest
    names = ("created", "parameters", "log", "span", "counts")
    given = {name: getattr(found, name) for name in names}
    write_manifest(out, **given, detector={"name": "span", "digest": found.detector["digest"]})
    return out


# Which detector


def test_a_bundle_carries_the_detector_that_it_was_learned_with(bundle: Path, folder: Path) -> None:
    manifest = Bundle.open(bundle, verify=True).manifest
    assert manifest.detector == {"name": "edit-distance", "digest": digest_of(folder)}
    assert sorted(name for name in manifest.files if name.startswith("detector/")) == ["detector/detector.json"]
    assert (bundle / "detector" / "detector.json").read_bytes() == (folder / "detector.json").read_bytes()
    found = carried(Bundle.open(bundle))
    assert found is not None
    assert (found.name, found.threshold, found.digest) == ("edit-distance", 0.25, digest_of(folder))


def test_the_given_detector_comes_first_then_the_carried_one_then_the_lexical(bundle: Path, folder: Path) -> None:
    opened, mine = Bundle.open(bundle), Nearest()
    assert used(mine, opened) is mine
    assert identity(used(None, opened))["name"] == "edit-distance"
    assert used(None, None) == LexicalDetector()
    trained = TrainedDetector.load(folder)
    kept = used(trained, None)
    assert isinstance(kept, TrainedDetector)
    assert kept.inner is trained.inner
    assert identity(mine) == {"name": "Nearest", "digest": None}
    assert identity(LexicalDetector()) == {"name": "lexical", "digest": None}


def test_a_detector_with_a_folder_is_carried_too(folder: Path) -> None:
    plain = EditDistanceDetector.load(folder)
    object.__setattr__(plain, "folder", folder)  # as the span detector has one
    found = used(plain, None)
    assert isinstance(found, TrainedDetector)
    assert found.inner is plain
    assert found.digest == digest_of(folder)


def test_a_bundle_learns_on_with_its_own_detector_unless_another_is_named(
    bundle: Path, log: Path, folder: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    made = run_json("learn", log, "--out", first, "--previous", bundle)
    assert (made["detector"]["name"], made["detector"]["digest"]) == ("edit-distance", digest_of(folder))
    assert Bundle.open(first).manifest.detector == Bundle.open(bundle).manifest.detector
    assert (first / "detector" / "detector.json").is_file()

    made = run_json("learn", log, "--out", second, "--previous", bundle, "--detector", "lexical")
    assert made["detector"]["name"] == "lexical"
    assert Bundle.open(second).manifest.detector == {"name": "lexical", "digest": None}
    assert not (second / "detector").exists()

    assert run_json("learn", log, "--out", first)["detector"]["name"] == "lexical"  # nothing is gone on with


def test_a_folder_is_named_and_the_summary_says_so(log: Path, folder: Path, tmp_path: Path) -> None:
    told = " ".join(run("learn", log, "--out", tmp_path / "bundle", "--detector", folder).stdout.split())
    assert f"found by the edit-distance detector {digest_of(folder)} 48 turns judged in" in told
    assert "a second" in told
    assert "window" not in told  # this detector does not say how often it was asked
    told = " ".join(run("learn", log, "--out", tmp_path / "bundle").stdout.split())
    assert "Rephrases found by the lexical detector Judged" in told


def test_span_is_that_of_the_earlier_bundle_or_of_the_one_to_be_replaced(bundle: Path, tmp_path: Path) -> None:
    earlier, none = as_if_span(bundle, tmp_path / "span"), tmp_path / "none"
    digest = Bundle.open(earlier).manifest.detector["digest"]
    for previous, out in ((earlier, none), (None, earlier), (bundle, earlier), (earlier, bundle)):
        found = named("span", previous, out)
        assert isinstance(found, TrainedDetector)
        assert found.digest == digest
    assert named("lexical", earlier, earlier) == LexicalDetector()
    for previous, out in ((None, none), (None, bundle), (bundle, none)):
        with pytest.raises(ConfigError, match="no bundle here carries a span detector: train one"):
            named("span", previous, out)
    with pytest.raises(BundleError, match="no bundle at"):
        named("span", none, earlier)


def test_span_on_the_command_line(bundle: Path, log: Path, tmp_path: Path) -> None:
    out = as_if_span(bundle, tmp_path / "bundle")
    assert run_json("learn", log, "--out", out, "--detector", "span")["detector"]["digest"]
    told = run("learn", log, "--out", tmp_path / "b", "--detector", "span", ends_with=2).stderr
    assert "rewrite train-detector LOG --out DIR" in told
    assert not (tmp_path / "b").exists()


# Trained detectors


def test_a_trained_detector_says_what_the_one_inside_it_says(folder: Path, log: Path) -> None:
    batch = dialogue_batch(read_training([log])[0].log.sessions, Canonicaliser())
    p_success = OutcomeModel().judge(batch)
    plain, trained = EditDistanceDetector.load(folder), TrainedDetector.load(folder)
    links = trained.detect(batch, p_success)
    assert len(links) == 24  # 12 users, twice
    for name in ("source", "target", "probability", "kind"):
        assert np.array_equal(getattr(links, name), getattr(plain.detect(batch, p_success), name))


def test_another_process_opens_a_folder_once(folder: Path) -> None:
    sent = pickle.dumps(TrainedDetector.load(folder))
    assert len(sent) < 500  # the place, not the model
    assert pickle.loads(sent) is pickle.loads(sent)
    cores = os.cpu_count() or 1
    shared = pickle.loads(pickle.dumps(TrainedDetector.load(folder).among(2 * cores)))
    assert (shared.threads, TrainedDetector.load(folder).among(1).threads) == (1, cores)
    assert repr(pickle.loads(sent)) == f"TrainedDetector(edit-distance, {digest_of(folder)})"


def test_the_digest_is_of_names_and_contents_and_not_of_the_place(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert digest_of(copy) == digest_of(folder)
    (copy / "more").touch()
    assert digest_of(copy) != digest_of(folder)


def test_a_detector_that_changed_meanwhile_is_not_used(folder: Path, log: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    trained = TrainedDetector.load(copy)
    EditDistanceDetector(threshold=0.75).save(copy)
    with pytest.raises(DetectorError, match="changed while the job used it"):
        pickle.loads(pickle.dumps(trained))
    with pytest.raises(LearnError, match="changed while the job used it: run the same command again"):
        learn(log, tmp_path / "bundle", detector=trained)
    assert not (tmp_path / "bundle").exists()
    shutil.rmtree(copy)
    with pytest.raises(LearnError, match="changed while the job used it"):
        learn(log, tmp_path / "bundle", detector=trained)


def test_a_job_is_gone_on_with_only_with_the_same_detector(folder: Path, log: Path, tmp_path: Path) -> None:
    out, copy = tmp_path / "bundle", Path(shutil.copytree(folder, tmp_path / "copy"))
    trained = TrainedDetector.load(copy)
    shutil.rmtree(copy)
    with pytest.raises(LearnError):  # at the very end, when all else is done
        learn(log, out, detector=trained)
    again = learn(log, out, detector=TrainedDetector.load(folder)).detection  # the same, elsewhere
    assert again == Detection("edit-distance", digest_of(folder), 48, None, None)

    with pytest.raises(LearnError):
        learn(log, out, detector=trained)
    assert learn(log, out, detector=LexicalDetector()).detection.seconds is not None


def test_what_a_detector_was_asked_is_told_where_it_counts(log: Path, tmp_path: Path) -> None:
    detector = Nearest()
    detection = learn(log, tmp_path / "bundle", detector=detector).detection
    assert (detection.name, detection.digest, detection.turns) == ("Nearest", None, 48)
    assert detection.windows == detector.asked.distinct > 0
    assert asked(detector) == (48, detection.windows)

    told = Detection.of(detector, 40, (8, detection.windows - 10), 2.0)
    assert (told.turns_per_second, told.windows_per_second) == (20.0, 5.0)
    elsewhere = Detection.of(detector, 40, (48, 0), 2.0)  # other processes heard the turns
    assert (elsewhere.windows, elsewhere.windows_per_second, elsewhere.turns_per_second) == (None, None, 20.0)
    assert Detection.of(detector, 40, (48, 0), None).turns_per_second is None


# What can be wrong


def test_a_detector_that_is_none_ends_with_2_and_says_what_to_do(log: Path, tmp_path: Path) -> None:
    assert exit_code(DetectorError("")) is ExitCode.USAGE
    none = tmp_path / "none"
    for name, message in ((none, "rewrite train-detector LOG --out DIR"), (tmp_path, "has no detector.json")):
        told = run("learn", log, "--out", tmp_path / "bundle", "--detector", name, ends_with=2).stderr
        assert message in told
        assert "--debug" not in told  # no fault of the program
    assert not (tmp_path / "bundle").exists()


def test_a_carried_detector_that_was_changed_is_damage(bundle: Path, log: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(bundle, tmp_path / "changed"))
    file = changed / "detector" / "detector.json"
    file.write_text(file.read_text(encoding="utf-8").replace("0.25", "0.75"), encoding="utf-8")
    opened = Bundle.open(changed)  # what serves does not read it
    with pytest.raises(DamagedBundle, match="not the one that the manifest vouches for"):
        carried(opened)
    with pytest.raises(DamagedBundle):
        Bundle.open(changed, verify=True)
    run("learn", log, "--out", tmp_path / "out", "--previous", changed, ends_with=4)
    run("learn", log, "--out", tmp_path / "out", "--previous", changed, "--detector", "lexical")


def test_a_carried_detector_that_cannot_be_loaded_can_be_done_without(bundle: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(bundle, tmp_path / "broken"))
    (broken / "detector" / "detector.json").write_text('{"format": "of-tomorrow"}', encoding="utf-8")
    found = Bundle.open(bundle).manifest
    given = {name: getattr(found, name) for name in ("created", "parameters", "log", "span", "counts")}
    write_manifest(broken, **given, detector={"name": "of-tomorrow", "digest": digest_of(broken / "detector")})
    with pytest.raises(DetectorError, match=r"of-tomorrow.*go on with --detector lexical"):
        carried(Bundle.open(broken))


def test_a_bundle_that_says_nothing_of_a_detector_carries_none(bundle: Path, tmp_path: Path) -> None:
    plain = Path(shutil.copytree(bundle, tmp_path / "plain"))
    shutil.rmtree(plain / "detector")
    found = Bundle.open(bundle).manifest
    write_manifest(plain, **{name: getattr(found, name) for name in ("created", "parameters", "log", "span", "counts")})
    raw = json.loads((plain / "manifest.json").read_text(encoding="utf-8"))
    del raw["detector"], raw["sha256"]
    raw["sha256"] = sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()
    (plain / "manifest.json").write_text(json.dumps(raw), encoding="utf-8")
    assert Bundle.open(plain).manifest.detector == {}
    assert carried(Bundle.open(plain)) is None


# Logs to train from


def test_logs_are_read_with_their_annotations_one_by_one(tmp_path: Path) -> None:
    records = [
        record(1, "play jaz", at=0.0, gold={"rephrase_of": None}),
        record(2, "play jazz", at=10.0, gold={"rephrase_of": "t000001", "rephrase_kind": "asr"}),
        record(3, "stop", at=50.0),
        record(4, "next", at=60.0, session_id="own"),
    ]
    one = write_log(tmp_path / "one.jsonl", records)
    two = write_log(tmp_path / "two.jsonl.gz", [record(1, "hello")])
    read = read_training([one, two], gap_s=30.0)
    assert [each.log.name for each in read] == [str(one), str(two)]
    sessions = read[0].log.sessions
    assert [(each.session_id, [turn.text for turn in each.turns]) for each in sessions] == [
        ("u1/1", ["play jaz", "play jazz"]),
        ("u1/2", ["stop"]),
        ("own", ["next"]),
    ]
    gold = sessions[0].turns[1].gold
    assert gold is not None
    assert gold.rephrase_of == "t000001"
    assert read[0].boundary.method is BoundaryMethod.GIVEN
    (estimated,) = read_training([one])
    assert (estimated.boundary.seconds, estimated.boundary.method) == (300.0, BoundaryMethod.TOO_FEW_GAPS)


def test_bad_and_repeated_records_are_counted_and_held_to_the_limit(tmp_path: Path) -> None:
    late = record(1, "later", at=99.0)
    log = write_log(tmp_path / "log.jsonl", [late, record(1, "first", at=5.0), record(2), b"nonsense"])
    (read,) = read_training([log], limit=0.5)
    assert read.report.rejected == {"not_json": 1, "duplicate_turn_id": 1}
    assert (read.report.records, read.report.accepted) == (4, 2)
    assert [turn.text for session in read.log.sessions for turn in session.turns] == ["first", "play jazz"]
    with pytest.raises(TooManyRejects, match=r"2 of 4 records \(50.0%\)"):
        read_training([log], limit=0.3)


def test_a_log_that_is_named_twice_is_refused(log: Path) -> None:
    with pytest.raises(ConfigError, match="named twice"):
        read_training([log, log.parent / "." / log.name])


# The command


class Heard(Progress):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, float | None]] = []

    def stage(self, name: str, total: float | None = None) -> Stage:
        heard = self.told

        class Hearing(Stage):
            def at(self, done: float) -> None:
                heard.append((self.name, "at", done))

            def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
                heard.append((self.name, "failed" if kind else "done", self.total))

        return Hearing(name, total)


def test_stages_are_shown_one_after_the_other() -> None:
    heard = Heard()

    def train() -> None:
        with Telling(heard) as told:
            for stage in (("labelling", 0, 2), ("labelling", 2, 2), ("training", 3, 9)):
                told(*stage)
            raise DetectorError("too few")

    with pytest.raises(DetectorError):
        train()
    assert heard.told == [
        ("labelling", "at", 0),
        ("labelling", "at", 2),
        ("labelling", "done", 2),
        ("training", "at", 3),
        ("training", "failed", 9),
    ]


def test_a_missing_library_is_told_with_the_line_to_type() -> None:
    need(())
    need(LIBRARIES)
    with pytest.raises(ConfigError) as caught:
        need(("json", "no_such_torch", "no_such_trees"))
    assert str(caught.value) == (
        'training needs no_such_torch, no_such_trees, which are not installed: pip install "reprise-rewrite[train]"'
    )


def test_metrics_in_tables() -> None:
    logs = {"a_b.jsonl": {"turns": 1200, "labels": "gold"}}
    metrics = {"f1": 0.75, "logs": logs, "dev": {"loss": [1.5, 0.25], "x_y": None}}
    assert sections(metrics) == [
        ("Detector", [("f1", "0.75")]),
        ("logs", [("a_b.jsonl", "turns 1,200, labels gold")]),
        ("dev", [("loss", "1.5, 0.25"), ("x y", "none")]),
    ]


def test_training_refuses_what_it_cannot_do_before_it_begins(log: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "letter.txt").touch()
    bad = write_log(tmp_path / "bad.jsonl", [b"nonsense"])
    for words, code, message in (
        ((log, "--out", foreign), 2, "exists and is no detector"),
        ((log, "--out", tmp_path / "new", "--encoder", "/no/such/model"), 2, "no model '/no/such/model'"),
        ((log, "--out", tmp_path / "new", "--session-gap", "0"), 2, "seconds above 0 are wanted"),
        ((log, log, "--out", tmp_path / "new"), 2, "named twice"),
        ((log, "--development", log, "--out", tmp_path / "new"), 2, "named twice"),
        ((tmp_path / "none.jsonl", "--out", tmp_path / "new"), 3, "none.jsonl"),
        ((bad, "--out", tmp_path / "new"), 3, "1 of 1 records (100.0%)"),
    ):
        assert message in run("train-detector", *words, ends_with=code).stderr
        assert not (tmp_path / "new").exists()
    assert [each.name for each in foreign.iterdir()] == ["letter.txt"]
    with locked(tmp_path / "new", "train"):
        run("train-detector", log, "--out", tmp_path / "new", ends_with=5)
