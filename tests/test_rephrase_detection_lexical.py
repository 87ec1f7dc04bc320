import json
import os
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rephrase_detection
from dialogue.canonical import Canonicaliser
from dialogue.outcomes import OutcomeModel
from dialogue.table import dialogue_batch
from dialogue.turn import Outcome, RephraseKind, Session, Signals, Turn
from rephrase_detection import KINDS, LexicalDetector, LexicalWeights, RephrasePair

DETECTOR = LexicalDetector()
DATA = Path(os.environ.get("REPRISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FAILED = {"outcome": Outcome.FAILURE}


def session(*turns, name="s", gap=8.0):
    """A session of texts or of (text, fields), `gap` seconds apart; turn ids are the name and the place."""
    parts = [turn if isinstance(turn, tuple) else (turn, {}) for turn in turns]
    return Session(
        name,
        "u",
        tuple(Turn(f"{name}{n}", "u", n * gap, text, **fields) for n, (text, fields) in enumerate(parts)),
    )


def found(*turns, gap=8.0):
    return [(pair.source, pair.rephrase) for pair in DETECTOR.detect_session(session(*turns, gap=gap))]


def test_two_rephrases_and_then_an_unrelated_request():
    dialogue = (
        ("play sirius x m chill", FAILED),
        ("play sirius xm chill", FAILED),
        ("play sirius channel 53", {"outcome": Outcome.SUCCESS}),
        "what's the weather in boston",
    )
    assert found(*dialogue) == [("s0", "s1"), ("s1", "s2")]


def test_a_misheard_name():
    misheard = session(("play maj and dragons", {"signals": Signals(cancelled=True)}), "play imagine dragons")
    (pair,) = DETECTOR.detect_session(misheard)
    assert (pair.source, pair.rephrase, pair.kind) == ("s0", "s1", RephraseKind.ASR)
    assert 0.8 < pair.probability < 1


def test_the_rephrase_alone_is_enough_where_the_log_knows_no_more():
    assert found("play maj and dragons", "play imagine dragons") == [("s0", "s1")]


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ("turn of the lights in the den", "switch off the den lights", RephraseKind.COMMAND),
        ("create contact", "create a contact named sue", RephraseKind.COMMAND),
        ("call john", "call john", RephraseKind.COMMAND),
        ("saint viator", "safe auto", RephraseKind.ASR),
    ],
)
def test_kinds(source, target, kind):
    pairs = DETECTOR.detect_session(session((source, FAILED), target))
    assert [(pair.rephrase, pair.kind) for pair in pairs] == [("s1", kind)]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("what's the weather", "thanks"),
        ("next", "next one please tell me the text"),
        ("yes", "yesterday"),
        ("go back", "play back in black"),
        ("the second one", "the first one"),
        ("play jazz", "set an alarm for seven"),
    ],
)
def test_other_requests_answers_and_navigation_are_not_linked(source, target):
    assert found((source, FAILED), target) == []


def test_navigation_is_linked_to_itself_where_it_failed():
    assert found(("next", FAILED), "next") == [("s0", "s1")]
    assert found("next", "next", "next") == []


def test_a_no_between_the_two_is_stepped_over():
    question = ("sixty one d", {"response": "61 D. Is that right?"})
    assert found(question, "no", "sixty one b") == [("s0", "s2")]


def test_success_and_distance_in_time_or_turns_rule_a_link_out():
    assert found(("play jazz", {"outcome": Outcome.SUCCESS}), "play jass") == []
    assert found(("play jazz", FAILED), "play jass", gap=121.0) == []
    assert found(("play jazz", FAILED), "a", "b", "c", "play jass") == []


def test_what_is_explained_is_what_is_computed():
    dialogue = session(("play maj and dragons", FAILED), "play imagine dragons")
    batch = dialogue_batch([dialogue], Canonicaliser())
    p_success = OutcomeModel().judge(batch)
    pieces = DETECTOR.explain(*dialogue.turns, p_success=float(p_success[0]))
    log_odds = DETECTOR.weights.prior + sum(piece.amount * piece.weight for piece in pieces)
    (probability,) = DETECTOR.detect(batch, p_success).probability
    assert 1 / (1 + np.exp(-log_odds)) == pytest.approx(probability)
    assert {piece.name: piece.amount for piece in pieces}["shared_words"] == pytest.approx(0.4)


def test_odd_texts_and_long_sessions():
    long = "play " + "x" * 1_000_000
    assert found((long, FAILED), long) == [("s0", "s1")]
    assert found(("", FAILED), "") == []
    assert found(("play jazz", FAILED)) == []
    assert found() == []
    assert len(found(*[("call the office", FAILED)] * 5000)) == 4999


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LexicalDetector(threshold=0), "between 0 and 1"),
        (lambda: LexicalDetector(limit_s=-1), "greater than 0"),
        (lambda: LexicalDetector(max_turns=0), "from 1 on"),
        (lambda: LexicalWeights(sound=float("inf")), "sound is inf"),
        (
            lambda: DETECTOR.detect(dialogue_batch([session("a")], Canonicaliser()), np.zeros(2)),
            "2 outcomes for 1",
        ),
    ],
)
def test_misuse_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


words = st.sampled_from(["", "next", "play jazz", "play jass", "play the jazz", "call bob", "no", "weather"])
turns = st.tuples(words, st.sampled_from([{}, FAILED, {"outcome": Outcome.SUCCESS}]))
dialogues = st.lists(st.lists(turns, min_size=1, max_size=7), min_size=1, max_size=4)


@given(dialogues, st.sampled_from([1.0, 60.0]))
@settings(max_examples=60, deadline=None)
def test_links_point_forward_in_their_session_and_do_not_depend_on_the_batch(dialogues, gap):
    sessions = [session(*turns, name=f"{chr(97 + n)}", gap=gap) for n, turns in enumerate(dialogues)]
    batch = dialogue_batch(sessions, Canonicaliser())
    links = DETECTOR.detect(batch, OutcomeModel().judge(batch))
    names, ids = np.array(batch["session"].to_pylist()), batch["turn_id"].to_pylist()
    assert (links.target > links.source).all()
    assert (links.target - links.source <= DETECTOR.max_turns).all()
    assert (names[links.source] == names[links.target]).all()
    assert all(a < b for a, b in pairwise(links.source.tolist()))  # in order, and each source once
    assert ((links.probability >= DETECTOR.threshold) & (links.probability <= 1)).all()
    rows = zip(links.source, links.target, links.probability, links.kind, strict=True)
    together = [RephrasePair(ids[a], ids[b], float(p), KINDS[k]) for a, b, p, k in rows]
    assert together == [pair for each in sessions for pair in DETECTOR.detect_session(each)]


def test_the_face_exports_what_it_names():
    public = {name for name, value in vars(rephrase_detection).items() if not isinstance(value, ModuleType)}
    assert {name for name in public if not name.startswith("_")} - {"annotations"} == set(rephrase_detection.__all__)


@pytest.mark.skipif(not (DATA / "saif" / "dev.jsonl").exists(), reason="the annotated logs are not here")
def test_corrections_labelled_by_people_are_found():
    with (DATA / "saif" / "dev.jsonl").open() as lines:
        records = [json.loads(line) for line in lines]
    found, gold, judged = set(), set(), set()
    for a, b in pairwise(records):
        if (
            a.get("outcome") == "failure"
            and "rephrase_of" in b.get("gold", {})
            and a["user_id"] == b["user_id"]
        ):
            texts = [(a["text"], {"outcome": Outcome.FAILURE, "response": a.get("response")}), b["text"]]
            judged.add(a["turn_id"])
            gold |= {a["turn_id"]} if b["gold"]["rephrase_of"] == a["turn_id"] else set()
            found |= {a["turn_id"]} if DETECTOR.detect_session(session(*texts)) else set()
    right = len(found & gold)
    assert len(judged) > 400
    assert right / len(found) > 0.85
    assert right / len(gold) > 0.65
