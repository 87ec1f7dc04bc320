"""`rewrite train-retriever`, from a log to a retriever that serves, with a tiny encoder; and what it refuses."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rewrite import Bundle, GateConfig, LearnConfig, LogConfig, RewriteEngine, learn
from rewrite.cli import app
from rewrite.decision import Action
from rewrite.engine import EngineConfig
from rewrite.progress import Progress, Stage
from rewrite.retriever import Retriever, digest_of
from rewrite.retriever_learning import fuller
from rewrite.retriever_training import RetrieverRecipe
from tests.dense import tiny_bert, tiny_retriever, words_of
from tests.logs import SORRY, Record, record, write_log

VERBS, NOUNS = "find open show play".split(), "lamp garden music kitchen window".split()
GOOD = {"response": "Here you are.", "signals": {"engaged_s": 90.0}}
CONFIG = LearnConfig(log=LogConfig(session_gap_s=600.0), gate=GateConfig(min_users=3))
PATIENT = EngineConfig(deadline_s=60.0)


def heard_log(seed: int = 0) -> list[Record]:
    """Requests that work for many; 400 misheard ones, each said again right; and 240 right ones that one user says."""
    draw, numbers, records = random.Random(seed), itertools.count(), list[Record]()
    targets = [f"{verb} the {noun} now" for verb, noun in itertools.product(VERBS, NOUNS)]

    def say(user: int, at: float, text: str, works: bool) -> None:
        more = GOOD if works else {"response": SORRY}
        records.append(record(next(numbers), text, f"user-{user:02}", at, **more))

    for turn, (text, user) in enumerate(itertools.product(targets, range(4))):
        say(user, 2_000.0 * turn, text, True)
    heard = [
        (f"{verb} the {noun[:place]}{letter}{noun[place:]} now", f"{verb} the {noun} now")
        for verb, noun, letter, place in itertools.product(VERBS, NOUNS, "bdgkptz", (1, 2, 3))
    ]
    for turn, (text, meant) in enumerate(draw.sample(heard, 400)):
        at = 1_000_000.0 + 2_000 * turn
        say(turn % 20, at, text, False)
        say(turn % 20, at + 10, meant, True)
    for turn in range(240):
        said = f"{draw.choice(VERBS)} the {''.join(draw.sample('aeioubdgkmnprst', 6))} {draw.choice(NOUNS)}"
        say(turn % 20, 2_000_000.0 + 2_000 * turn, said, True)
    return records


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log, a bundle that was learned from it, and a BERT that knows its words."""
    made, records = tmp_path_factory.mktemp("train"), heard_log()
    learn(write_log(made / "log.jsonl", records), made / "bundle", config=CONFIG)
    tiny_bert(made / "bert", words_of(each["text"] for each in records), layers=1)
    return made


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["train-retriever", *map(str, arguments)])


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The retriever, attached to the bundle, and what was told of it."""
    out = folder / "retriever"
    done = run(folder / "bundle", folder / "log.jsonl", "--out", out, "--encoder", folder / "bert", "--layers", 1,
               "--steps", 3, "--budget", 0.2, "--attach", "--session-gap", 600, "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    return out, json.loads(done.stdout)


def test_a_log_becomes_a_retriever(trained: tuple[Path, dict[str, Any]]):
    out, told = trained
    retriever = Retriever.load(out)
    assert told["digest"] == retriever.digest
    encoder, reranker = told["told"]["encoder"], told["told"]["reranker"]
    assert encoder["trained"] is True
    assert encoder["pairs"] >= 200
    assert encoder["recipe"]["steps"] == 3
    assert retriever.reranker is not None
    assert retriever.thresholds is not None
    assert reranker["examples"] >= 200  # of users from whom the encoder did not learn
    assert 5 <= reranker["groups"] < 20
    assert reranker["repairable"] >= 100
    assert reranker["harmed"] <= 0.2 * reranker["good"]
    assert retriever.told == told["told"]


def test_the_bundle_serves_with_it(folder: Path, trained: tuple[Path, dict[str, Any]]):
    bundle = Bundle.open(folder / "bundle", verify=True)
    assert bundle.manifest.retriever["digest"] == digest_of(trained[0])
    engine = RewriteEngine.load(folder / "bundle", config=PATIENT)
    answers = [engine.rewrite(f"{verb} the {noun}z now") for verb, noun in itertools.product(VERBS, NOUNS)]
    assert all(each.evidence.get("right") is not None for each in answers)  # the trees judged it
    offered = [each for each in answers if each.action is not Action.PASS]
    assert all(each.text == each.original.replace("z now", " now") for each in offered)


def test_nothing_is_left_beside_it(folder: Path, trained: tuple[Path, dict[str, Any]]):
    locks = {path.name for path in folder.iterdir() if path.name.endswith(".lock")}
    assert {path.name for path in folder.iterdir()} - locks == {"bert", "bundle", "log.jsonl", "retriever"}


def test_few_requests_leave_the_encoder_as_it_is(folder: Path, tmp_path: Path):
    few = write_log(tmp_path / "few.jsonl", heard_log()[:40])
    done = run(folder / "bundle", few, "--out", tmp_path / "r", "--encoder", folder / "bert", "--session-gap", 600)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "judged by likeness alone" in said
    assert "Next: rewrite learn" in said
    retriever = Retriever.load(tmp_path / "r")
    assert retriever.reranker is retriever.thresholds is None
    assert retriever.told["encoder"]["trained"] is False
    again = run(folder / "bundle", few, "--out", tmp_path / "r", "--encoder", tmp_path)  # there is one to be replaced
    assert again.exit_code != 0
    assert digest_of(tmp_path / "r") == retriever.digest


# Learned and trained in one go


def learned(*arguments: Any) -> Result:
    options = ("--retriever", "train", "--layers", 1, "--steps", 3, "--session-gap", 600, "--min-users", 3)
    return CliRunner().invoke(app, ["learn", *map(str, (*arguments, *options))])


def test_learning_trains_the_very_same(folder: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path):
    out = tmp_path / "bundle"
    done = learned(folder / "log.jsonl", "--out", out, "--encoder", folder / "bert", "--budget", 0.2, "--json")
    assert done.exit_code == 0, done.output
    told, before = json.loads(done.stdout)["retriever"], trained[1]["told"]
    assert told["ranked"] is True
    assert told["told"]["recipe"] == before["recipe"]
    assert told["told"]["encoder"]["pairs"] == before["encoder"]["pairs"]
    assert told["told"]["reranker"] == before["reranker"]
    assert told["digest"] == Bundle.open(out, verify=True).manifest.retriever["digest"] == digest_of(out / "retriever")
    answer = RewriteEngine.load(out, config=PATIENT).rewrite("play the musicz now")
    assert answer.evidence.get("right") is not None
    assert {path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")} == {"bundle"}


def test_learning_from_few_leaves_the_encoder_as_it_is_and_says_so(folder: Path, tmp_path: Path):
    few = write_log(tmp_path / "few.jsonl", heard_log()[:90])  # five pairs
    done = learned(few, "--out", tmp_path / "b", "--encoder", folder / "bert")
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "5 pairs of what was heard and meant came, and 200 are wanted" in said
    assert "encoder as it is, no trees" in said
    assert Retriever.load(tmp_path / "b" / "retriever").reranker is None
    assert Bundle.open(tmp_path / "b", verify=True).manifest.retriever["digest"]


class Stopping(Progress):
    """Stops a job where a stage begins."""

    class Stopped(Exception):
        pass

    def __init__(self, at: str = "") -> None:
        self.at, self.begun = at, list[str]()

    def stage(self, name: str, total: float | None = None) -> Stage:
        self.begun.append(name)
        if name == self.at:
            raise self.Stopped
        return super().stage(name, total)


def test_a_stopped_job_does_not_train_again_what_it_had_trained(folder: Path, tmp_path: Path):
    few, out = write_log(tmp_path / "few.jsonl", heard_log()[:90]), tmp_path / "b"
    recipe = RetrieverRecipe(str(folder / "bert"), 1, 3)

    def job(progress: Stopping, chosen: RetrieverRecipe = recipe) -> list[str]:
        learn(few, out, config=CONFIG, retriever=chosen, progress=progress)
        return progress.begun

    with pytest.raises(Stopping.Stopped):
        job(Stopping("exporting the encoder"))
    stopped = Stopping("publishing")
    with pytest.raises(Stopping.Stopped):
        job(stopped)
    assert "exporting the encoder" in stopped.begun  # anew, as it was not whole
    assert not out.exists()
    begun = job(Stopping())
    assert "exporting the encoder" not in begun
    assert begun[-2:] == ["writing the bundle", "publishing"]
    assert Bundle.open(out, verify=True).manifest.retriever["digest"]
    assert not (tmp_path / "b.work").exists()


def test_one_trained_by_another_recipe_is_not_gone_on_with(folder: Path, tmp_path: Path):
    few, out, before = write_log(tmp_path / "few.jsonl", heard_log()[:90]), tmp_path / "b", tmp_path / "b.work"
    recipe, stopped = RetrieverRecipe(str(folder / "bert"), 1, 3), Stopping("exporting the encoder")
    with pytest.raises(Stopping.Stopped):
        learn(few, out, config=CONFIG, retriever=recipe, progress=stopped)
    shutil.rmtree(before / "retriever")
    tiny_retriever(before / "retriever", ["play"])  # a whole one, made otherwise
    with pytest.raises(Stopping.Stopped):
        learn(few, out, config=CONFIG, retriever=recipe, progress=stopped)


def test_a_log_without_a_request_that_works_is_learned_from_all_the_same(folder: Path, tmp_path: Path):
    one = write_log(tmp_path / "one.jsonl", [record(1, "play jazz", response=SORRY)])
    done = learned(one, "--out", tmp_path / "b", "--encoder", folder / "bert")
    assert done.exit_code == 0, done.output
    assert "no retriever was trained" in " ".join(done.output.split())
    assert RewriteEngine.load(tmp_path / "b", config=PATIENT).rewrite("play jaz").action is Action.PASS
    bundle = run(tmp_path / "b", one, "--out", tmp_path / "r", "--encoder", folder / "bert")
    refused(bundle, "is known to work, so that none could be proposed", tmp_path / "r")


def test_what_is_for_training_is_refused_without_and_an_encoder_that_is_none_at_once(folder: Path, tmp_path: Path):
    out, log = tmp_path / "b", folder / "log.jsonl"
    done = CliRunner().invoke(app, ["learn", str(log), "--out", str(out), "--steps", "3"])
    refused(done, "--steps is for training", out)
    refused(learned(log, "--out", out, "--seed", -1), "--seed -1 came", out)
    done = learned(log, "--out", out, "--encoder", tmp_path)
    refused(done, "no model", out)
    assert "reading" not in done.output
    assert not out.exists()


# What it refuses


def refused(done: Result, said: str, out: Path) -> None:
    assert done.exit_code not in (0, 1), done.output
    assert said in " ".join(done.output.split())
    left = [path.name for path in out.parent.iterdir() if out.name in path.name and not path.name.endswith(".lock")]
    assert set(left) <= {out.name}


def test_what_is_no_retriever_is_not_replaced(folder: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    done = run(folder / "bundle", folder / "log.jsonl", "--out", tmp_path / "mine")
    refused(done, "exists and is no retriever", tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_no_bundle_no_log_and_no_encoder_are_refused(folder: Path, tmp_path: Path):
    out, log, bert = tmp_path / "r", folder / "log.jsonl", folder / "bert"
    refused(run(tmp_path / "none", log, "--out", out, "--encoder", bert), "no bundle at", out)
    refused(run(folder / "bundle", tmp_path / "none.jsonl", "--out", out, "--encoder", bert), "none.jsonl", out)
    refused(run(folder / "bundle", log, "--out", out, "--encoder", tmp_path), "no model", out)
    refused(run(folder / "bundle", log, "--out", out, "--encoder", bert, "--session-gap", 0), "session-gap", out)
    assert not out.exists()


def test_a_folder_with_half_an_encoder_is_refused_and_nothing_is_left(folder: Path, tmp_path: Path):
    half = tmp_path / "half"
    half.mkdir()
    (half / "config.json").write_text("{}")
    done = run(folder / "bundle", folder / "log.jsonl", "--out", tmp_path / "r", "--encoder", half)
    refused(done, "tokenizer.json", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_what_was_trained_before_is_not_given_up_for_what_was_not(tmp_path: Path):
    made = Retriever.load(tiny_retriever(tmp_path / "made", ["play", "jazz"]))
    assert fuller(made, None) is made
    assert fuller(None, made) is made
    trained = replace(made, told={"encoder": {"trained": True}})
    assert fuller(made, trained) is trained
    assert fuller(trained, made) is trained
    again = replace(trained)
    assert fuller(again, trained) is again  # both were: what is learned last counts
