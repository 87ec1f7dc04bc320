"""Learning with a retriever: the bundle carries it, later learnings go on with it, and forgetting keeps it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from retrieval.dense import DenseRows
from retrieval.keys import KeyTable
from rewrite import Bundle, GateConfig, LearnConfig, LogConfig, RewriteEngine, learn
from rewrite.attaching import attach
from rewrite.bundle import write_manifest
from rewrite.cli import app
from rewrite.decision import Action, Reason
from rewrite.dense_serving import DenseArrays, EarlierVectors
from rewrite.dense_writing import carried, frames_in, opened
from rewrite.engine import EngineConfig
from rewrite.errors import DamagedBundle, LearnError, ModelError
from rewrite.forgetting import forget
from rewrite.retriever import ENCODER, FILE, RERANKER, Retriever, carry, digest_of, files_of, save
from tests.dense import tiny_retriever, words_of
from tests.logs import Record, record, small_log, write_log

CONFIG = LearnConfig(log=LogConfig(session_gap_s=600.0), gate=GateConfig(min_users=3))
PATIENT = EngineConfig(deadline_s=60.0)
GARDEN = "show the garden camera"
NLU = {"domain": "home", "intent": "show", "slots": {"place": "Garden"}}


def garden_log() -> list[Record]:
    """The small log, and five who say something else that works, of which NLU says what it is."""
    good = {"response": "Here you are.", "signals": {"engaged_s": 90.0}, "nlu": NLU}
    later = [
        record(1_000 + n, GARDEN, f"user-{n:02}", 20_000.0 + n, **good) for n in range(5)
    ]
    own = [record(1_100 + n, "feed the secret cat", "loner", 30_000.0 + 700 * n, **good) for n in range(2)]
    return [*small_log(), *later, *own]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retriever, logs, and a bundle that was learned with both."""
    made = tmp_path_factory.mktemp("dense_learn")
    tiny_retriever(made / "retriever", words_of(each["text"] for each in garden_log()))
    learn(write_log(made / "log.jsonl", garden_log()), made / "bundle", config=CONFIG,
          retriever=Retriever.load(made / "retriever"))  # fmt: skip
    return made


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy for the test alone."""
    return Path(shutil.copytree(folder, tmp_path / "own"))


def vectors(bundle: Path) -> dict[str, np.ndarray]:
    """The vector of each text of a bundle."""
    texts, rows = KeyTable.load(bundle / "index" / "texts"), DenseRows.load(bundle / "index" / "dense" / "vectors")
    return {texts.key(row): rows.row(row) for row in range(len(rows))}


# Learning


def test_the_bundle_carries_the_retriever_and_says_so(folder: Path):
    manifest, retriever = Bundle.open(folder / "bundle", verify=True).manifest, Retriever.load(folder / "retriever")
    assert manifest.retriever["digest"] == retriever.digest == digest_of(folder / "bundle" / "retriever")
    assert manifest.retriever["dimensions"] == retriever.encoder.dim
    assert manifest.retriever["index"]["members"] == manifest.counts["known_good"]
    assert f"retriever/{FILE}" in manifest.files
    assert "index/dense/vectors/codes.npy" in manifest.files


def test_every_text_has_its_vector(folder: Path):
    encoder, found = Retriever.load(folder / "retriever").encoder, vectors(folder / "bundle")
    assert {GARDEN, "play maj and dragons", "feed the secret cat"} <= found.keys()
    for text, vector in found.items():
        assert float(vector @ encoder.encode_one(text)) == pytest.approx(1.0, abs=0.001)


def test_what_works_for_everyone_is_proposed_and_a_users_own_to_them_alone(folder: Path):
    engine = RewriteEngine.load(folder / "bundle", config=PATIENT)
    served = engine.rewrite("show the gardin camera")
    assert (served.action, served.text, served.reason) == (Action.REWRITE, GARDEN, Reason.NEAR_GOOD)
    assert engine.rewrite("play maj and dragons").reason is Reason.LEARNED
    assert engine.rewrite("feed the secrit cat", "loner").text == "feed the secret cat"
    assert engine.rewrite("feed the secrit cat", "user-01").action is Action.PASS


def test_interpretations_are_kept_for_the_texts_of_the_bundle(folder: Path):
    bundle = Bundle.open(folder / "bundle")
    assert json.loads(frames_in(bundle)[GARDEN]) == ["home", "show", {"place": "Garden"}]
    arrays = DenseArrays.load(folder / "bundle")
    assert arrays is not None
    assert arrays.knows_value("place", "garden")
    assert not arrays.knows_value("place", "attic")


def test_without_a_retriever_there_is_none_and_the_bundle_serves(folder: Path, tmp_path: Path):
    learn(folder / "log.jsonl", tmp_path / "plain", config=CONFIG)
    bundle = Bundle.open(tmp_path / "plain")
    assert bundle.manifest.retriever == {}
    assert carried(bundle) is None
    assert DenseArrays.load(tmp_path / "plain") is None
    assert RewriteEngine.load(tmp_path / "plain").rewrite("play maj and dragons").reason is Reason.LEARNED


# Going on


def later_log(path: Path) -> Path:
    good = {"response": "Here you are.", "signals": {"engaged_s": 90.0}}
    more = [record(2_000 + n, "water the flowers", f"user-{n:02}", 90_000.0 + n, **good) for n in range(6)]
    return write_log(path, more)


def test_a_later_learning_goes_on_with_it(own: Path):
    summary = learn(later_log(own / "later.jsonl"), own / "bundle", previous=own / "bundle", config=CONFIG)
    assert summary.counts["requests"] > 0
    bundle = Bundle.open(own / "bundle", verify=True)
    assert bundle.manifest.retriever["digest"] == digest_of(own / "retriever")
    found = vectors(own / "bundle")
    assert {GARDEN, "water the flowers"} <= found.keys()
    assert json.loads(frames_in(bundle)[GARDEN])[0] == "home"  # the later log does not hold it
    assert RewriteEngine.load(own / "bundle", config=PATIENT).rewrite("water the flouers").text == "water the flowers"


def test_vectors_of_texts_that_stay_are_taken_over(own: Path):
    """A mark in the earlier vectors is found again: they were not worked out anew."""
    before = vectors(own / "bundle")
    turned = {text: (-vector if text == GARDEN else vector) for text, vector in before.items()}
    rows = DenseRows.from_vectors(np.stack([turned[text] for text in sorted(turned)]))
    manifest = Bundle.open(own / "bundle").manifest
    rows.save(own / "bundle" / "index" / "dense" / "vectors")
    write_manifest(
        own / "bundle", created=manifest.created, parameters=manifest.parameters, log=manifest.log, span=manifest.span,
        counts=manifest.counts, retriever=manifest.retriever,
    )  # fmt: skip
    earlier = EarlierVectors.of(own / "bundle", digest_of(own / "retriever" / ENCODER), manifest.retriever)
    assert earlier is not None
    assert earlier.vector(GARDEN) == pytest.approx(-before[GARDEN], abs=0.02)
    assert earlier.vector("never said") is None
    assert EarlierVectors.of(own / "bundle", "another", manifest.retriever) is None
    learn(later_log(own / "later.jsonl"), own / "next", previous=own / "bundle", config=CONFIG)
    assert vectors(own / "next")[GARDEN] == pytest.approx(-before[GARDEN], abs=0.02)


def test_another_retriever_takes_its_place(own: Path):
    other = tiny_retriever(own / "other", words_of(each["text"] for each in garden_log()), seed=7)
    learn(later_log(own / "later.jsonl"), own / "bundle", previous=own / "bundle", config=CONFIG,
          retriever=Retriever.load(other))  # fmt: skip
    assert Bundle.open(own / "bundle").manifest.retriever["digest"] == digest_of(other)
    encoder, found = Retriever.load(other).encoder, vectors(own / "bundle")
    assert float(found[GARDEN] @ encoder.encode_one(GARDEN)) == pytest.approx(1.0, abs=0.001)


def test_a_retriever_is_attached_to_a_bundle_that_is_there(folder: Path, tmp_path: Path):
    learn(folder / "log.jsonl", tmp_path / "b", config=CONFIG)
    attach(tmp_path / "b", Retriever.load(folder / "retriever"))
    made = Bundle.open(tmp_path / "b", verify=True)
    assert made.manifest.retriever == Bundle.open(folder / "bundle").manifest.retriever
    assert vectors(tmp_path / "b").keys() == vectors(folder / "bundle").keys()
    assert RewriteEngine.load(tmp_path / "b", config=PATIENT).rewrite("show the gardin camera").text == GARDEN


# Forgetting


def test_forgetting_keeps_the_retriever_and_nothing_of_the_user(own: Path):
    told = forget(own / "bundle", ["loner"])
    assert told.users == ("loner",)
    bundle = Bundle.open(own / "bundle", verify=True)
    assert bundle.manifest.retriever["digest"] == digest_of(own / "retriever")
    assert bundle.manifest.retriever["index"]["members"] == bundle.manifest.counts["known_good"]
    assert "feed the secret cat" not in vectors(own / "bundle")
    assert "feed the secret cat" not in frames_in(bundle)
    held = b"".join(path.read_bytes() for path in sorted((own / "bundle" / "index").rglob("*")) if path.is_file())
    assert b"secret" not in held
    engine = RewriteEngine.load(own / "bundle", config=PATIENT)
    assert engine.rewrite("show the gardin camera").text == GARDEN
    assert engine.rewrite("feed the secrit cat", "loner").action is Action.PASS


# Faults


def test_a_folder_that_is_no_retriever_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="train-retriever"):
        Retriever.load(tmp_path)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "wanted reprise-retriever 1"),
        ('{"format": "reprise-retriever", "version": 2}', "train the retriever with this version"),
        ('{"format": "reprise-retriever", "version": 1, "told": {}}', "lacks 'digest'"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(own: Path, raw: str, said: str):
    (own / "retriever" / FILE).write_text(raw)
    with pytest.raises(ModelError, match=said):
        Retriever.load(own / "retriever")


def test_trees_without_thresholds_and_thresholds_without_trees_are_refused(own: Path):
    (own / "retriever" / RERANKER).mkdir()
    with pytest.raises(ModelError, match="thresholds"):
        Retriever.load(own / "retriever")
    (own / "retriever" / RERANKER).rmdir()
    raw = json.loads((own / "retriever" / FILE).read_text())
    (own / "retriever" / FILE).write_text(json.dumps({**raw, "thresholds": {}}))
    with pytest.raises(ModelError, match=f"lacks its {RERANKER}"):
        Retriever.load(own / "retriever")


def test_an_encoder_that_is_gone_is_told_in_the_words_of_a_model(own: Path):
    shutil.rmtree(own / "retriever" / ENCODER)
    with pytest.raises(ModelError, match="are not those that were trained"):
        opened(own / "retriever")


def test_a_retriever_that_changes_meanwhile_is_not_carried(own: Path, tmp_path: Path):
    retriever = Retriever.load(own / "retriever")
    assert retriever.digest
    save(own / "retriever", None, {"made": "again"})
    with pytest.raises(LearnError, match="was changed while"):
        carry(retriever, tmp_path / "draft")


def test_a_bundle_whose_retriever_is_another_is_damaged(own: Path):
    save(own / "bundle" / "retriever", None, {"made": "by foot"})  # of the same size
    with pytest.raises(DamagedBundle, match="not that of the manifest"):
        carried(Bundle.open(own / "bundle", verify=False))


def test_the_files_of_a_retriever_are_named_by_their_place(folder: Path):
    names = [name for name, _ in files_of(folder / "retriever")]
    assert names == sorted(names)
    assert {FILE, f"{ENCODER}/words.onnx"} <= set(names)


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_the_command_line_takes_a_retriever(own: Path, tmp_path: Path):
    out = tmp_path / "cli"
    done = run("learn", own / "log.jsonl", "--out", out, "--retriever", own / "retriever", "--min-users", 3)
    assert done.exit_code == 0, done.output
    assert Bundle.open(out).manifest.retriever["digest"] == digest_of(own / "retriever")
    refused = run("learn", own / "log.jsonl", "--out", out, "--retriever", tmp_path)
    assert refused.exit_code != 0
    assert "no trained retriever" in " ".join(refused.output.split())
