"""What a user did a moment ago counts before the tables of the bundle, and what is written never goes into a bundle."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rewrite import EngineConfig, LearnConfig, Reason, RewriteEngine, learn
from rewrite.asking import asked
from rewrite.cli_train_retriever import refuse_no_retriever
from rewrite.errors import TargetError
from rewrite.reranking import slot_value

ROOT = Path(__file__).parent.parent
SAID, MEANT = "play maj and dragons", "play imagine dragons"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("moment") / "bundle"
    learn(ROOT / "fixtures" / "log.jsonl", out, config=LearnConfig(seed=0))
    return out


@pytest.fixture
def engine(bundle: Path) -> RewriteEngine:
    return RewriteEngine.load(bundle, config=EngineConfig(deadline_s=60))


def turn(number: str, user: str, text: str, outcome: str, **more: object) -> dict[str, object]:
    return {"turn_id": number, "user_id": user, "timestamp": time.time(), "text": text, "outcome": outcome, **more}


def test_what_just_worked_for_this_user_is_left_alone(engine: RewriteEngine):
    assert engine.rewrite(SAID, "zed").reason is Reason.LEARNED
    engine.observe(turn("1", "zed", SAID, "success"))
    assert engine.rewrite(SAID, "zed").reason is Reason.KNOWN_GOOD
    assert engine.rewrite(SAID, "another").reason is Reason.LEARNED


def test_a_rewrite_that_just_failed_is_not_served_again(engine: RewriteEngine):
    decision = engine.rewrite(SAID, "yan")
    engine.observe(turn("2", "yan", decision.text, "failure", served=decision.served))
    assert engine.rewrite(SAID, "yan").reason is Reason.GUARD_LOOP
    assert engine.rewrite(SAID, "another").text == MEANT


def test_a_damaged_live_history_is_done_without(bundle: Path, engine: RewriteEngine):
    engine.observe(turn("3", "xia", "play jazz", "success"))
    assert engine.live is not None
    engine.live.close()
    whole = engine.live.path.read_bytes()
    engine.live.path.write_bytes(b"no database" * 100)
    try:
        fresh = RewriteEngine.load(bundle, config=EngineConfig(deadline_s=60))
        assert fresh.rewrite(SAID, "xia").text == MEANT
    finally:
        engine.live.path.write_bytes(whole)


@pytest.mark.parametrize("nbest", [None, 5, {}, "text", iter(())])
def test_a_careless_caller_is_forgiven(nbest: object):
    request = asked("play jazz", -1, None, None, nbest, None, (), (), str.lower)  # type: ignore[arg-type]
    assert request.nbest == ()


def test_several_values_of_a_slot_stay_several():
    assert slot_value("Prince;Queen", str.lower) == "prince; queen"
    assert slot_value(["ABBA", None, "Toto"], str.lower) == "abba; toto"
    assert slot_value(7, str.lower) == "7"


def test_nothing_is_trained_into_a_bundle(bundle: Path):
    for place in (bundle, bundle / "retriever", bundle / "index" / "retriever"):
        with pytest.raises(TargetError, match="is in the bundle"):
            refuse_no_retriever(place)
    refuse_no_retriever(bundle.parent / "retriever")
