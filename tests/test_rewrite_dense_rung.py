"""The dense rung in the engine, over a small bundle made by hand with a tiny retriever."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from retrieval import HistoryEntry
from rewrite.bundle import Bundle
from rewrite.cli import app
from rewrite.cli_batch import decide_log
from rewrite.decision import Action, Decision, Reason, Source
from rewrite.dense_rung import DenseRung, Request, _merged, slice_of
from rewrite.dense_serving import DenseArrays
from rewrite.engine import EngineConfig, RewriteEngine
from rewrite.errors import BundleError, DamagedBundle, ModelError
from rewrite.reloading import ReloadingEngine
from rewrite.reranking import NAMES, Interpretation
from rewrite.serving import FAILING, GOOD, PUBLIC, ServingArrays, TableEntry
from rewrite.thresholds import Thresholds
from rewrite.timings import Timings
from tests.dense import bundle_of, judging_retriever, tiny_retriever, words_of

ROOT = Path(__file__).parent.parent
WORKS, FAILS, PRIVATE = PUBLIC + GOOD, PUBLIC + FAILING, 0

#: text, as it is written, share of success, status
TEXTS = [
    ("call mom", "call mom", 0.9, WORKS),
    ("play imagine dragons", "Play Imagine Dragons", 0.95, WORKS),
    ("play maj and dragons", "play maj and dragons", 0.05, FAILS),
    ("play some jazz", "play some jazz", 0.9, WORKS),
    ("play the sonic soundtrack", "play the Sonic soundtrack", 1.0, PRIVATE),
    ("show the garden camera", "show the garden camera", 0.9, WORKS),
    ("show the garden chamber", "show the garden chamber", 1.0, PRIVATE),
    ("turn off the kitchen light", "turn off the kitchen light", 0.95, WORKS),
    ("turn on the kitchen light", "turn on the kitchen light", 0.95, WORKS),
    ("water the flowers", "water the flowers", 0.9, WORKS),
]
ROW = {text: row for row, (text, *_) in enumerate(TEXTS)}
TABLE = [TableEntry(ROW["play maj and dragons"], ROW["play imagine dragons"], 0.93, 0.6, 12)]
HISTORIES = [
    HistoryEntry("gamer", ROW["play the sonic soundtrack"], 4, 100.0),
    HistoryEntry("warden", ROW["show the garden chamber"], 2, 100.0),
]
FRAMES = {
    "play some jazz": '["music", "play", {"genre": "jazz"}]',
    "play imagine dragons": '["music", "play", {"artist": "imagine dragons"}]',
    "play the sonic soundtrack": '["music", "play", {"album": "sonic"}]',
    "call mom": '["phone", "call", {"contact": "mom"}]',
}
CONTEXTS = [
    (ROW["play some jazz"], "device:speaker", 50.0),
    (ROW["show the garden camera"], "device:screen", 50.0),
    (ROW["water the flowers"], "device:speaker", 50.0),
]
#: Time is no matter here: the machine may be busy.
PATIENT = EngineConfig(deadline_s=60.0)
PRIVATE_TEXTS = {text for text, _, _, status in TEXTS if status == PRIVATE}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    retriever = tiny_retriever(folder / "retriever", words_of(text for text, *_ in TEXTS))
    return bundle_of(
        folder / "bundle", TEXTS, retriever, table=TABLE, histories=HISTORIES, contexts=CONTEXTS, frames=FRAMES
    )


@pytest.fixture(scope="module")
def engine(bundle: Path) -> RewriteEngine:
    return RewriteEngine.load(bundle, config=PATIENT)


@pytest.fixture
def live(bundle: Path, tmp_path: Path) -> RewriteEngine:
    """An engine of its own, with a live history beside it."""
    return RewriteEngine.load(shutil.copytree(bundle, tmp_path / "b"), config=PATIENT)


@pytest.fixture(scope="module")
def rung(bundle: Path) -> DenseRung:
    dense = DenseArrays.load(bundle)
    assert dense is not None
    return DenseRung.over(dense, ServingArrays.load(bundle / "index"))


def judging(folder: Path, thresholds: Thresholds, by: str = "cosine") -> RewriteEngine:
    retriever = judging_retriever(folder / "retriever", words_of(text for text, *_ in TEXTS), thresholds, by)
    made = bundle_of(
        folder / "bundle", TEXTS, retriever, table=TABLE, histories=HISTORIES, contexts=CONTEXTS, frames=FRAMES
    )
    return RewriteEngine.load(made, config=PATIENT)


def worked(engine: RewriteEngine, user: str, text: str, number: int = 0) -> None:
    """A user says a text now, and it goes well."""
    turn = {"turn_id": f"{user}-{number}", "user_id": user, "timestamp": time.time() - 60 + number, "text": text}
    engine.observe({**turn, "response": "Here you are.", "signals": {"engaged_s": 90.0}, "outcome": "success"})


def texts_in(decision: Decision) -> set[str]:
    return {decision.text.lower(), *(each.text.lower() for each in decision.alternatives)} - {decision.original.lower()}


# What comes with a request


def right(decision: Decision) -> float:
    return float(decision.evidence["right"])


def test_how_sure_the_recogniser_was_reaches_the_trees_from_every_door(tmp_path: Path):
    engine = judging(tmp_path, Thresholds({"": 5.0}, {"": 4.0}), by="asr_confidence")
    said = "show the gardin camera"
    low, high = engine.rewrite(said, asr_confidence=0.2), engine.rewrite(said, asr_confidence=0.9)
    assert right(low) < right(high)
    assert right(engine.rewrite(said, asr_confidence=np.float32(0.9))) == pytest.approx(right(high))
    unknown = right(engine.rewrite(said))
    assert right(engine.rewrite(said, nbest=[{"text": said, "score": 0.2}])) == unknown  # no training saw such a score
    assert right(low) < unknown < right(high)
    for odd in (-3.7, 1.5, math.nan, "sure", True):
        assert right(engine.rewrite(said, asr_confidence=odd)) == unknown
    piped = engine.pipe([(said, None), {"text": said, "asr_confidence": 0.9}])
    assert [right(each) for each in piped] == [unknown, right(high)]
    assert [right(each) for each in engine.rewrite_batch([said, said], asr_confidence=0.2)] == [right(low)] * 2
    reloading = ReloadingEngine(tmp_path / "bundle", PATIENT)
    try:
        assert right(asyncio.run(reloading.rewrite_async(said, asr_confidence=0.9))) == right(high)
        assert [right(each) for each in reloading.pipe([{"text": said, "asr_confidence": 0.2}])] == [right(low)]

        async def streamed() -> list[float]:
            return [right(each) async for each in reloading.pipe_async([{"text": said, "asr_confidence": 0.2}])]

        assert asyncio.run(streamed()) == [right(low)]
    finally:
        reloading.close()


def test_a_batch_and_a_query_give_what_the_log_and_the_options_hold(tmp_path: Path):
    engine = judging(tmp_path, Thresholds({"": 5.0}, {"": 4.0}), by="asr_confidence")
    said = "show the gardin camera"
    turn = {"turn_id": "1", "user_id": "u", "timestamp": 1e9, "text": said, "asr": {"confidence": 0.9}}
    served = {"original": said, "rewrite": "show the garden camera"}
    rewritten = {**turn, "turn_id": "2", "text": served["rewrite"], "served": served}  # what was heard is what was said
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (turn, rewritten)))
    decide_log(engine, tmp_path / "log.jsonl", tmp_path / "out.jsonl")
    found = [json.loads(line)["decision"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = right(engine.rewrite(said, "u", asr_confidence=0.9))
    assert [each["evidence"]["right"] for each in found] == [expected] * 2
    done = CliRunner().invoke(app, ["query", str(tmp_path / "bundle"), said, "--asr-confidence", "0.9", "--json"])
    assert json.loads(done.stdout)["evidence"]["right"] == right(engine.rewrite(said, asr_confidence=0.9))


# Candidates


def test_a_misheard_request_is_taken_for_the_one_that_sounds_the_same(engine: RewriteEngine):
    decision = engine.rewrite("show the gardin camera")
    assert (decision.action, decision.text) == (Action.REWRITE, "show the garden camera")
    assert (decision.reason, decision.source) == (Reason.NEAR_GOOD, Source.GLOBAL)
    assert decision.evidence["similarity"] > 0.8
    assert decision.score == pytest.approx(decision.evidence["right"], abs=1e-4)


def test_what_only_resembles_a_request_is_asked_for(engine: RewriteEngine):
    decision = engine.rewrite("play some chess")
    assert decision.action is not Action.REWRITE
    assert "play some jazz" in {decision.text, *(each.text for each in decision.alternatives)}


def test_what_a_table_knows_never_comes_here(engine: RewriteEngine):
    timings = Timings()
    assert engine.rewrite("play maj and dragons", timings=timings).reason is Reason.LEARNED
    assert engine.rewrite("call mom", timings=timings).reason is Reason.KNOWN_GOOD
    assert "encode" not in timings.as_dict()


def test_each_stage_is_timed(engine: RewriteEngine):
    timings = Timings()
    engine.rewrite("show the gardin camera", "gamer", timings=timings)
    assert {"encode", "personal", "global", "rerank", "guard", "decide"} <= timings.as_dict().keys()


def test_nothing_near_is_no_candidate(engine: RewriteEngine):
    assert engine.rewrite("zzz").reason in (Reason.NO_CANDIDATE, Reason.UNSURE)
    assert engine.rewrite("xylophone quartet").action is Action.PASS


def test_a_users_own_request_comes_before_everyones(engine: RewriteEngine):
    own = engine.rewrite("show the garden chambr", "warden")
    assert (own.text, own.source) == ("show the garden chamber", Source.PERSONAL)
    for user in (None, "gamer", "nobody"):
        other = engine.rewrite("show the garden chambr", user)
        assert "show the garden chamber" not in texts_in(other)
        assert other.source is not Source.PERSONAL


def test_sources_that_are_off_propose_nothing(bundle: Path):
    everyone = RewriteEngine.load(bundle, config=replace(PATIENT, sources=frozenset({Source.GLOBAL})))
    assert "show the garden chamber" not in texts_in(everyone.rewrite("show the garden chambr", "warden"))
    personal = RewriteEngine.load(bundle, config=replace(PATIENT, sources=frozenset({Source.PERSONAL})))
    assert personal.rewrite("show the gardin camera").reason is Reason.NO_CANDIDATE
    assert personal.rewrite("show the garden chambr", "warden").text == "show the garden chamber"


spoken = st.lists(st.sampled_from(words_of(text for text, *_ in TEXTS)), min_size=1, max_size=5).map(" ".join)


def test_of_a_text_that_few_said_the_trees_know_nothing(rung: DenseRung):
    """Or trees that judge a user's only turn would have been told by that turn how it went."""
    private, never = "show the garden chamber", "show the garden chimera"
    mine, other = (rung.features(r, rung.propose(r, Timings())) for r in (
        Request(private, row=ROW[private]), Request(never),
    ))  # fmt: skip
    names = ("said_before", "said_success", "unknown_words", "unknown_share")
    columns = [NAMES.index(name) for name in names]
    assert np.array_equal(mine[0, columns], other[0, columns], equal_nan=True)
    public = rung.asked(Request("play maj and dragons", row=ROW["play maj and dragons"]))
    assert public.said_success == pytest.approx(0.05)


@settings(max_examples=60)
@given(text=spoken, user=st.sampled_from([None, "gamer", "warden", "nobody", ""]), nbest=st.lists(spoken, max_size=3))
def test_private_texts_are_proposed_to_nobody_else(
    engine: RewriteEngine, text: str, user: str | None, nbest: list[str]
):
    decision = engine.rewrite(text, user, nbest=[text, *nbest])
    own = {"gamer": {"play the sonic soundtrack"}, "warden": {"show the garden chamber"}}.get(user or "", set())
    assert not texts_in(decision) & (PRIVATE_TEXTS - own)
    assert decision.reason is not Reason.FAULT


@settings(max_examples=40)
@given(texts=st.lists(st.tuples(spoken, st.sampled_from([None, "gamer", "warden"])), min_size=1, max_size=5))
def test_what_was_asked_before_changes_no_answer(engine: RewriteEngine, texts: list[tuple[str, str | None]]):
    first = [engine.rewrite(*each) for each in texts]
    assert [engine.rewrite(*each) for each in reversed(texts)] == first[::-1]


def test_another_hypothesis_of_the_recogniser_is_a_candidate(rung: DenseRung):
    said = "xyz abc"
    assert "water the flowers" not in {each.text for each in rung.propose(Request(said), Timings())}
    heard = rung.propose(Request(said, nbest=("call mum", "water the flowers")), Timings())
    (found,) = [each for each in heard if each.text == "water the flowers"]
    assert found.proposal.nbest == 0.5  # it came second
    assert not found.own
    hidden = rung.propose(Request(said, nbest=("show the garden chamber", "play maj and dragons")), Timings())
    assert not {each.text for each in hidden} & {"show the garden chamber", "play maj and dragons"}


def test_a_request_is_no_candidate_of_itself(rung: DenseRung):
    row = ROW["play maj and dragons"]
    assert row not in {each.row for each in rung.propose(Request("play maj and dragons", row), Timings())}


def test_what_is_known_of_a_candidate(rung: DenseRung):
    frame = Interpretation("music", "play", (("artist", "imagin dragons"),))
    request = Request("play some imagin dragons", interpretation=frame, tokens=frozenset({"device:speaker"}))
    by_text = {each.text: each for each in rung.propose(request, Timings())}
    imagine, jazz = by_text["play imagine dragons"].proposal, by_text["play some jazz"].proposal
    assert imagine.success == pytest.approx(0.95)
    assert imagine.chain == pytest.approx(0.93)  # a rewrite leads here
    assert np.isnan(jazz.chain)
    assert imagine.users == 9
    assert rung.arrays.read(imagine.frame) == Interpretation("music", "play", (("artist", "imagine dragons"),))
    assert jazz.context > 0  # it is said to a speaker
    assert imagine.context == 0.0
    assert imagine.cosine == pytest.approx(
        0.4 * imagine.meaning + 0.6 * imagine.sound, abs=1e-4
    )  # the encoder's share of the words is 0.4


def test_context_decides_where_the_trees_go_by_it(tmp_path: Path):
    always = Thresholds({"": -99.0}, {"": -99.0})
    engine = judging(tmp_path, always, by="context")
    on_speaker, on_screen = (
        engine.rewrite("play some jass", context={"device_type": device}) for device in ("speaker", "screen")
    )
    assert on_speaker.text == "play some jazz"
    assert on_speaker.evidence["right"] > on_screen.evidence["right"] + 0.1


# Thresholds


def test_a_request_is_judged_by_the_thresholds_of_its_slice(tmp_path: Path):
    phone = "unknown|phone|new"
    limits = Thresholds({"": float("inf"), phone: 0.5}, {"": 0.5, phone: 0.5})
    engine = judging(tmp_path, limits)
    text = "show the gardin camera"
    served = engine.rewrite(text, context={"device_type": "phone"})
    assert (served.action, served.text) == (Action.REWRITE, "show the garden camera")
    assert engine.rewrite(text).action is Action.SUGGEST
    assert engine.rewrite("play xx yy zz", context={"device_type": "phone"}).action is Action.PASS


def test_slices_are_named_by_intent_device_and_user(bundle: Path):
    dense = DenseArrays.load(bundle)
    assert dense is not None
    frame = Interpretation("music", "play|loud")
    request = Request("x", interpretation=frame, device="phone", user="gamer")
    assert slice_of(request, dense) == "music.play.loud|phone|known"
    assert slice_of(Request("x", user="nobody"), dense) == "unknown|unknown|new"


# Guards


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("turn of the kitchen light not", "turn on the kitchen light"),
        ("don't show the garden camera", "show the garden camera"),
        ("call mum", "call mom"),  # a call is protected: another may be meant
        ("turn on the kitchen lights off", "turn on the kitchen light"),
    ],
)
def test_a_meaning_is_never_turned(engine: RewriteEngine, text: str, never: str):
    decision = engine.rewrite(text)
    assert not (decision.action is Action.REWRITE and decision.text == never)


def test_a_target_that_just_failed_is_not_served_again(live: RewriteEngine):
    turn = {"turn_id": "1", "user_id": "u", "timestamp": time.time() - 20, "text": "show the garden camera"}
    live.observe({**turn, "response": "Sorry, I don't know that.", "outcome": "failure"})
    decision = live.rewrite("show the gardin camera", "u")
    assert (decision.action, decision.reason) == (Action.PASS, Reason.GUARD_LOOP)
    assert live.rewrite("show the gardin camera", "other").action is Action.REWRITE


# Live


def test_a_text_of_a_moment_ago_is_used_at_once_and_for_its_user_alone(live: RewriteEngine):
    before = live.rewrite("show me the attick window", "u")
    worked(live, "u", "show me the attic window")
    after = live.rewrite("show me the attick window", "u")
    assert before.text == "show me the attick window"
    assert (after.action, after.text, after.source) == (
        Action.REWRITE, "show me the attic window", Source.PERSONAL
    )  # fmt: skip
    for user in ("v", None):
        assert "show me the attic window" not in texts_in(live.rewrite("show me the attick window", user))


def test_what_just_worked_is_left_alone(live: RewriteEngine):
    worked(live, "u", "show the gardin camera")
    assert live.rewrite("show the gardin camera", "u").reason is Reason.KNOWN_GOOD


# Time and faults


def test_past_the_deadline_nothing_is_run(engine: RewriteEngine):
    timings = Timings()
    decision = engine.rewrite("show the gardin camera", deadline_s=0.0, timings=timings)
    assert (decision.action, decision.reason, decision.text) == (
        Action.PASS, Reason.DEADLINE, "show the gardin camera"
    )  # fmt: skip
    assert not {"encode", "global", "rerank"} & timings.as_dict().keys()
    assert engine.rewrite("play maj and dragons", deadline_s=0.0).reason is Reason.LEARNED


class Broken(DenseRung):
    """A rung whose models fail."""

    def propose(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("the model is gone")


def test_a_fault_lets_the_request_through(bundle: Path):
    opened, arrays = Bundle.open(bundle), ServingArrays.load(bundle / "index")
    dense = DenseArrays.load(bundle)
    assert dense is not None
    engine = RewriteEngine(opened, arrays, PATIENT, Broken.over(dense, arrays))
    decision = engine.rewrite("Show the gardin camera", "gamer")
    assert (decision.action, decision.text, decision.reason) == (
        Action.PASS, "Show the gardin camera", Reason.FAULT
    )  # fmt: skip
    assert "the model is gone" in decision.evidence["fault"]
    assert engine.rewrite("play maj and dragons").reason is Reason.LEARNED


@pytest.mark.parametrize(
    "more",
    [
        {"context": "kitchen"},
        {"context": {"device_type": 7, "device_state": []}},
        {"nlu": {"domain": 7, "intent": None, "slots": "none", "confidence": "high"}},
        {"nlu": ["music"]},
        {"nlu": {"intent": "play", "slots": {"artist": None, 3: ["x"]}}},
        {"nbest": [None, 7, {"text": None}, {"score": 1.0}, "call mom"]},
        {"nbest": None},
        {"nbest": [{"text": "call mom", "score": "high"}]},
    ],
)
def test_careless_callers_are_answered(engine: RewriteEngine, more: dict[str, Any]):
    decision = engine.rewrite("show the gardin camera", "gamer", **more)
    assert decision.text in ("show the gardin camera", "show the garden camera")


def spoiled(bundle: Path, tmp_path: Path, name: str, raw: bytes | None) -> Path:
    """The bundle with a file gone, or of another content."""
    made = Path(shutil.copytree(bundle, tmp_path / "b"))
    (made / name).unlink() if raw is None else (made / name).write_bytes(raw)
    return made


FILES = (
    "retriever/retriever.json",
    "retriever/encoder/words.onnx",
    "retriever/encoder/tokenizer.json",
    "retriever/encoder/sounds.npy",
    "index/dense/vectors/codes.npy",
    "index/dense/global/members.npy",
    "index/dense/fluency/pairs.npy",
    "index/dense/users.npy",
    "index/dense/meta.json",
)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_told_when_loading(bundle: Path, tmp_path: Path, name: str):
    with pytest.raises(DamagedBundle, match=name):
        RewriteEngine.load(spoiled(bundle, tmp_path, name, None))


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_told_when_loading(bundle: Path, tmp_path: Path, name: str):
    raw = bytearray((bundle / name).read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    with pytest.raises(DamagedBundle, match=name):
        RewriteEngine.load(spoiled(bundle, tmp_path, name, bytes(raw)), verify=True)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_noise_is_told_when_loading_without_digests(bundle: Path, tmp_path: Path, name: str):
    size = (bundle / name).stat().st_size
    noise = np.random.default_rng(0).bytes(size)
    with pytest.raises((BundleError, ModelError), match=r"[Aa]gain|anew|copy"):
        RewriteEngine.load(spoiled(bundle, tmp_path, name, noise), verify=False)


# Serving


def test_serving_with_a_retriever_loads_nothing_heavy(bundle: Path, tmp_path: Path):
    made = shutil.copytree(bundle, tmp_path / "b")
    heavy = "torch transformers pyarrow duckdb scipy lightgbm sklearn pandas pydantic onnx typer datasets".split()
    program = (
        "import sys\n"
        "from rewrite import RewriteEngine\n"
        "from rewrite.engine import EngineConfig\n"
        f"engine = RewriteEngine.load({str(made)!r}, config=EngineConfig(deadline_s=60.0))\n"
        "found = engine.rewrite('show the gardin camera', 'gamer', {'device_type': 'phone'}, nbest=['x', 'y'],"
        " nlu={'domain': 'a', 'intent': 'b', 'slots': {'c': 'd'}})\n"
        "print(found.text)\n"
        f"print(sorted({{name.split('.')[0] for name in sys.modules}} & set({heavy!r})))\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.split("\n")[:2] == ["show the garden camera", "[]"]


def merged_texts(found: Sequence[Any]) -> list[str]:
    return [each.text for each in _merged(found, "said")]


def test_candidates_are_merged_by_text_and_the_users_own_stays(rung: DenseRung):
    (one,) = [e for e in rung.propose(Request("play some jass"), Timings()) if e.text == "play some jazz"]
    own = replace(one, own=True, row=-1)
    assert _merged([one, own], "said") == [own]
    assert _merged([own, one], "said") == [own]
    assert merged_texts([replace(one, text="said"), one]) == ["play some jazz"]
