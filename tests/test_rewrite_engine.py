"""The engine over a small bundle made by hand: each way to an answer, in the order in which they are tried."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from retrieval import HistoryEntry
from rewrite.bundle import Bundle, write_manifest
from rewrite.config import LearnConfig
from rewrite.decision import Action, Reason, Source, rewrite_id
from rewrite.engine import LONGEST_REQUEST, EngineConfig, RewriteEngine
from rewrite.serving import FAILING, GOOD, PUBLIC, Correction, TableEntry, build_serving

#: text, as it is written, share of success, status
TEXTS = [
    ("call mom", "call mom", 0.9, PUBLIC + GOOD),
    ("play imagine dragons", "Play Imagine Dragons", 0.95, PUBLIC + GOOD),
    ("play maj and dragons", "play maj and dragons", 0.05, PUBLIC + FAILING),
    ("play some jazz", "play some jazz", 0.9, PUBLIC + GOOD),
    ("play something", "play something", 0.5, PUBLIC),
    ("play sonic", "play sonic", 0.2, 0),
    ("play the sonic soundtrack", "play the sonic soundtrack", 1.0, 0),
    ("start brewing", "start brewing", 0.1, PUBLIC + FAILING),
    ("turn off the kitchen light", "turn off the kitchen light", 0.95, PUBLIC + GOOD),
    ("turn on the kitchen light", "turn on the kitchen light", 0.95, PUBLIC + GOOD),
    ("what's the weather in wilkerson", "what's the weather in wilkerson", 0.1, PUBLIC + FAILING),
    ("what's the weather in wilkerson california", "what's the weather in wilkerson california", 1.0, 0),
    ("what's the weather in wilkerson washington", "what's the weather in Wilkerson, Washington", 0.9, PUBLIC + GOOD),
]
ROW = {text: row for row, (text, *_) in enumerate(TEXTS)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    said, surface, success, status = zip(*TEXTS, strict=True)
    millions = [1_000_000] * len(TEXTS)
    population = pa.table(
        {
            "said": pa.array(said),
            "surface": pa.array(surface),
            "weight": pa.array(millions, pa.int64()),
            "success": pa.array([round(1_000_000 * share) for share in success], pa.int64()),
            "status": pa.array(status, pa.uint8()),
        }
    )
    table = [
        TableEntry(ROW["play maj and dragons"], ROW["play imagine dragons"], 0.93, 0.6, 12),
        TableEntry(
            ROW["what's the weather in wilkerson"], ROW["what's the weather in wilkerson washington"], 0.8, 0.5, 9
        ),
    ]
    histories = [
        HistoryEntry("cal", ROW["what's the weather in wilkerson california"], 3, 100.0),
        HistoryEntry("gamer", ROW["play the sonic soundtrack"], 4, 100.0),
        HistoryEntry("odd", ROW["play maj and dragons"], 2, 100.0),
    ]
    corrections = [
        Correction("gamer", ROW["play sonic"], ROW["play the sonic soundtrack"], 2),
        Correction("once", ROW["play sonic"], ROW["play the sonic soundtrack"], 1),
        Correction("once", ROW["play maj and dragons"], ROW["play some jazz"], 1),
    ]
    build_serving(folder / "index", population, table, histories, corrections)
    write_manifest(folder, created="2020-01-01", parameters=LearnConfig().as_dict(), log={}, span={}, counts={})
    return folder


@pytest.fixture(scope="module")
def engine(bundle: Path) -> RewriteEngine:
    return RewriteEngine.load(bundle, config=EngineConfig(deadline_s=60))  # whatever else the machine does


@pytest.mark.parametrize(
    ("text", "user", "served", "reason", "source"),
    [
        ("Play maj and dragons", None, "Play Imagine Dragons", Reason.LEARNED, Source.PRECOMPUTED),
        ("alexa, play maj and dragons!", "new", "Play Imagine Dragons", Reason.LEARNED, Source.PRECOMPUTED),
        ("play maj and dragons", "once", "play some jazz", Reason.OWN_CORRECTION, Source.PERSONAL),
        ("play sonic", "gamer", "play the sonic soundtrack", Reason.OWN_CORRECTION, Source.PERSONAL),
        (
            *("what's the weather in wilkerson", None, "what's the weather in Wilkerson, Washington"),
            *(Reason.LEARNED, Source.PRECOMPUTED),
        ),
        (
            *("what's the weather in wilkerson", "cal", "what's the weather in wilkerson california"),
            *(Reason.OWN_REQUEST, Source.PERSONAL),
        ),
        ("play imagin dragonz", None, "Play Imagine Dragons", Reason.NEAR_GOOD, Source.GLOBAL),
        ("play the sonic sowndtrack", "gamer", "play the sonic soundtrack", Reason.NEAR_GOOD, Source.PERSONAL),
    ],
)
def test_what_is_rewritten(
    engine: RewriteEngine, text: str, user: str | None, served: str, reason: Reason, source: Source
):
    decision = engine.rewrite(text, user)
    assert (decision.action, decision.text) == (Action.REWRITE, served)
    assert (decision.reason, decision.source) == (reason, source)
    assert decision.original == text
    assert decision.rewrite_id == rewrite_id(engine.canonical(text), engine.canonical(served))
    assert 0 < decision.score <= 1


@pytest.mark.parametrize(
    ("text", "user", "reason"),
    [
        ("call mom", None, Reason.KNOWN_GOOD),
        ("play maj and dragons", "odd", Reason.KNOWN_GOOD),  # it works for this user
        ("play something", None, Reason.NOT_FAILING),
        ("play sonic", None, Reason.NO_CANDIDATE),  # another user's correction is none of theirs
        ("play sonic", "once", Reason.NO_CANDIDATE),  # corrected once, and not known to fail for everyone
        ("play the sonic sowndtrack", None, Reason.NO_CANDIDATE),  # another user's own request
        ("turn of the kitchen lights", None, Reason.GUARD_POLARITY),  # on or off?
        ("turn the kitchen lite on not", None, Reason.GUARD_POLARITY),
        ("call mom 2", None, Reason.GUARD_NUMBER),
        ("call mom jazz", None, Reason.GUARD_WORD),
        ("zzzz qqqq", None, Reason.NO_CANDIDATE),
        ("", None, Reason.EMPTY),
        ("?!", None, Reason.EMPTY),
        ("x" * (LONGEST_REQUEST + 1), None, Reason.TOO_LONG),
    ],
)
def test_what_is_left_alone(engine: RewriteEngine, text: str, user: str | None, reason: Reason):
    decision = engine.rewrite(text, user)
    assert (decision.action, decision.reason) == (Action.PASS, reason)
    assert decision.text == decision.original == text
    assert decision.rewrite_id is None


def test_what_is_near_but_sounds_otherwise_is_only_suggested(engine: RewriteEngine):
    decision = engine.rewrite("play imagine dragoms")
    assert (decision.action, decision.reason) == (Action.SUGGEST, Reason.NEAR_GOOD)
    assert (decision.text, decision.original) == ("Play Imagine Dragons", "play imagine dragoms")


@pytest.mark.parametrize("odd", [None, 5, b"play", ["play"], object()])
def test_what_is_no_text_passes_with_the_fault(engine: RewriteEngine, odd: object):
    decision = engine.rewrite(odd)  # type: ignore[arg-type]
    assert (decision.action, decision.reason) == (Action.PASS, Reason.FAULT)
    assert decision.original == str(odd)
    assert "Error" in decision.evidence["fault"]


def test_a_persons_word_comes_first(bundle: Path, tmp_path: Path):
    opened = Bundle.open(bundle)
    opened.edit(pin=("call mom", "call mother at work"), block="play maj and dragons")
    try:
        engine = RewriteEngine.load(bundle)
        pinned, blocked = engine.rewrite("Call Mom"), engine.rewrite("play maj and dragons")
        assert (pinned.text, pinned.reason, pinned.source) == ("call mother at work", Reason.PINNED, Source.PINNED)
        assert (blocked.action, blocked.reason) == (Action.PASS, Reason.BLOCKED)
    finally:
        opened.edit({"clear": "call mom"}, clear="play maj and dragons")
        (bundle / "overrides.json").unlink()


def test_a_passed_deadline_lets_the_query_through(bundle: Path):
    engine = RewriteEngine.load(bundle, config=EngineConfig(deadline_s=1e-9))
    assert engine.rewrite("play imagin dragonz").reason is Reason.DEADLINE
    assert engine.rewrite("play maj and dragons").reason is Reason.LEARNED  # stored answers need no time


def test_batches_and_streams_answer_alike(engine: RewriteEngine):
    requests = [("play maj and dragons", None), ("what's the weather in wilkerson", "cal"), ("call mom", "x")]
    texts, users = zip(*requests, strict=True)
    one_by_one = [engine.rewrite(text, user) for text, user in requests]
    assert engine.rewrite_batch(texts, users) == one_by_one == list(engine.pipe(requests))
    with pytest.raises(ValueError, match="3 texts and 1 user ids"):
        engine.rewrite_batch(texts, ["x"])


def test_threads_share_an_engine(engine: RewriteEngine):
    requests = [(text, user) for text, *_ in TEXTS for user in (None, "cal", "gamer", "odd")] * 5
    alone = [engine.rewrite(*request) for request in requests]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda request: engine.rewrite(*request), requests)) == alone


def test_a_decision_as_plain_values(engine: RewriteEngine):
    plain = engine.rewrite("play maj and dragons").as_dict()
    assert plain["action"] == "rewrite"
    assert plain["reason"] == "learned"
    assert plain["source"] == "precomputed"
    assert plain["evidence"] == {"users": 12, "alone": 0.05}
    assert plain["score"] == pytest.approx(0.93)
    assert plain["margin"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("sources", "reasons"),
    [
        (set(), [Reason.NO_CANDIDATE, Reason.NO_CANDIDATE, Reason.NO_CANDIDATE]),
        ({Source.PRECOMPUTED}, [Reason.LEARNED, Reason.NO_CANDIDATE, Reason.NO_CANDIDATE]),
        ({Source.PRECOMPUTED, Source.GLOBAL}, [Reason.LEARNED, Reason.NEAR_GOOD, Reason.NO_CANDIDATE]),
        (set(Source), [Reason.LEARNED, Reason.NEAR_GOOD, Reason.OWN_CORRECTION]),
    ],
)
def test_only_the_sources_that_are_wanted(bundle: Path, sources: set[Source], reasons: list[Reason]):
    engine = RewriteEngine.load(bundle, config=EngineConfig(sources=frozenset(sources)))
    texts = ["play maj and dragons", "play imagin dragonz", "play sonic"]
    assert [each.reason for each in engine.rewrite_batch(texts, [None, None, "gamer"])] == reasons
