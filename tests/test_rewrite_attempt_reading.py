"""From a small log to attempts: which requests teach something, what came of them, and what was known before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogue.canonical import Canonicaliser
from dialogue.turn import Asr, Context, Hypothesis, Nlu, Outcome, Served, Session, Signals, Turn
from rephrase_detection import LexicalDetector
from rewrite.attempt_reading import AttemptReader
from rewrite.live_history import LiveHistory
from rewrite.live_outcomes import probability
from rewrite.past import Past
from rewrite.reranking import Interpretation
from rewrite.retriever_training import Attempt
from rewrite.serving import FAILING, GOOD, PUBLIC, ServingArrays, TableEntry
from tests.dense import bundle_of, tiny_retriever, words_of
from tests.logs import SORRY

TEXTS = [
    ("play imagine dragons", "play imagine dragons", 0.9, PUBLIC + GOOD),
    ("play maj and dragons", "play maj and dragons", 0.1, PUBLIC + FAILING),
    ("play some jass", "play some jass", 0.1, PUBLIC + FAILING),
    ("play some jazz", "play some jazz", 0.9, PUBLIC + GOOD),
    ("sing a song", "sing a song", 0.6, PUBLIC),
    ("water the secret garden", "water the secret garden", 1.0, 0),
]
GOOD_SIGNS: dict[str, Any] = {"response": "Here you are.", "signals": Signals(engaged_s=90.0)}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> AttemptReader:
    folder = tmp_path_factory.mktemp("attempts")
    retriever = tiny_retriever(folder / "retriever", words_of(text for text, *_ in TEXTS))
    made = bundle_of(folder / "bundle", TEXTS, retriever, table=[TableEntry(1, 0, 0.9, 0.5, 9)])
    return AttemptReader(ServingArrays.load(made / "index"), Canonicaliser(), LexicalDetector())


def turn(user: str, at: float, text: str, works: bool | None, **more: Any) -> Turn:
    """A turn whose signs say whether it went well; None: they say nothing."""
    signs = GOOD_SIGNS | {"outcome": Outcome.SUCCESS} if works else {"response": SORRY, "outcome": Outcome.FAILURE}
    return Turn(f"{user}-{at}", user, at, text, **({} if works is None else signs), **more)


def session(*turns: Turn, name: str = "s") -> Session:
    return Session(f"{turns[0].user_id}-{turns[0].timestamp}-{name}", turns[0].user_id, turns)


def read(reader: AttemptReader, *sessions: Session) -> list[Attempt]:
    return list(reader.read(sessions))


def told(attempts: list[Attempt]) -> list[tuple[str, bool, str | None]]:
    return [(each.request.said, each.alone, each.meant) for each in attempts]


# Fates


def test_a_request_that_fails_and_is_said_again_was_meant_as_what_worked(reader: AttemptReader):
    found = read(
        reader,
        session(turn("u", 0, "play imajin dragons", False), turn("u", 10, "play imagine dragons", True)),
        session(turn("v", 0, "light the fire place", True)),
    )
    assert told(found) == [
        ("play imajin dragons", False, "play imagine dragons"),  # what worked then is known to the bundle: no attempt
        ("light the fire place", True, None),
    ]
    assert [each.group for each in found] == ["u", "v"]


def test_tries_are_followed_to_the_last(reader: AttemptReader):
    found = read(
        reader,
        session(
            turn("u", 0, "light the fire plays", False),
            turn("u", 10, "light the fire play", False),
            turn("u", 20, "light the fire place", True),
        ),
    )
    meant = "light the fire place"
    assert told(found) == [
        ("light the fire plays", False, meant), ("light the fire play", False, meant), (meant, True, None),
    ]  # fmt: skip


def test_what_was_meant_is_what_worked_even_where_that_was_a_rewrite(reader: AttemptReader):
    served = Served("light the fire play", "light the fire place")
    first = turn("u", 0, "light the fire plays", False)
    second = turn("u", 10, "light the fire place", True, served=served)
    assert told(read(reader, session(first, second)))[0] == ("light the fire plays", False, "light the fire place")


def test_what_is_uncertain_teaches_nothing(reader: AttemptReader):
    assert read(reader, session(turn("u", 0, "light the fire plays", False))) == []  # nobody says what was meant
    gone_wrong = session(turn("u", 0, "light the fire plays", False), turn("u", 10, "light the fire place", False))
    assert read(reader, gone_wrong) == []
    again = session(turn("u", 0, "light the fire", False), turn("u", 10, "light the fire", True))
    assert ("light the fire", False, "light the fire") not in told(read(reader, again))


def test_what_the_engine_answers_before_is_left_out(reader: AttemptReader):
    for text, works in (("play some jazz", True), ("sing a song", True), ("play maj and dragons", False)):
        assert read(reader, session(turn("u", 0, text, works))) == []
    served = Served("light the fire plays", "light the fire place")
    rewritten = turn("u", 0, "light the fire place", True, served=served)
    assert read(reader, session(rewritten)) == []
    failing = session(turn("u", 0, "play some jass", False), turn("u", 10, "play some jazz", True))
    assert told(read(reader, failing)) == [("play some jass", False, "play some jazz")]  # no table has an answer


def test_a_private_text_of_the_bundle_is_as_if_never_said(reader: AttemptReader):
    (found,) = read(reader, session(turn("u", 0, "water the secret garden", True)))
    assert found.alone
    assert found.request.row == 5


# What was known


def test_what_worked_for_a_user_before_is_theirs_and_nobody_elses(reader: AttemptReader):
    found = read(
        reader,
        session(turn("u", 0, "Light the fire place", True), name="a"),
        session(turn("u", 10_000, "light the fire plays", True), name="b"),
        session(turn("u", 20_000, "light the fire place", True), name="c"),
        session(turn("v", 30_000, "light the fire plays", True), name="d"),
    )
    first, second, other = found  # the third is the user's own by then
    assert not first.request.live
    (known,) = second.request.live
    assert (known.said, known.surface, known.turns, known.last_seen) == (
        "light the fire place", "Light the fire place", 1, 0
    )  # fmt: skip
    assert known.successes == pytest.approx(1.0, abs=0.2)
    assert not other.request.live
    assert all(each.request.user == f"\0{each.group}" for each in found)


def test_nothing_is_known_from_later_even_where_sessions_overlap(reader: AttemptReader):
    long = session(turn("u", 0, "feed the cat", True), turn("u", 5_000, "feed the dog", True), name="long")
    short = session(turn("u", 100, "light the fire place", True), name="short")
    by_text = {each.request.said: each.request for each in read(reader, long, short)}
    own = {said: [each.said for each in request.live] for said, request in by_text.items()}
    assert own == {
        "feed the cat": [],
        "light the fire place": ["feed the cat"],
        "feed the dog": ["light the fire place", "feed the cat"],  # the latest first
    }


def test_the_order_in_which_sessions_come_changes_nothing(reader: AttemptReader):
    sessions = [
        session(turn(user, at, text, True), name=text)
        for user, at, text in (("u", 0, "feed the cat"), ("u", 900, "feed the dog"), ("v", 50, "feed the cow"))
    ]
    assert told(read(reader, *sessions)) == told(read(reader, *sessions[::-1]))


def test_what_was_said_in_the_last_hour_is_recent(reader: AttemptReader):
    texts = [f"ask number {word}" for word in "one two three four five six seven".split()]
    found = read(reader, session(*(turn("u", 900.0 * n, text, True) for n, text in enumerate(texts))))
    by_text = {each.request.said: each.request.recent for each in found}
    assert [said for said, _ in by_text[texts[-1]]] == texts[2:-1]
    assert by_text[texts[0]] == ()
    assert all(0 <= success <= 1 for _, success in by_text[texts[-1]])


def test_the_request_before_is_judged_without_the_one_that_follows(reader: AttemptReader):
    unknown, first = turn("u", 0, "light the fire plays", None), turn("u", 0, "light the fire plays", False)
    second = turn("u", 10, "light the fire place", True)
    alone, after_failure = read(reader, session(unknown, second)), read(reader, session(first, second))
    ((before,),) = (each.request.recent for each in alone if each.request.said == "light the fire place")
    assert before == ("light the fire plays", pytest.approx(probability(2.25)))  # as if nothing had been said again
    ((before,),) = (each.request.recent for each in after_failure if each.request.said == "light the fire place")
    assert before == ("light the fire plays", pytest.approx(probability(2.25 - 5.0 - 4.5)))
    third = turn("u", 20, "feed the cat", True)
    found = read(reader, session(unknown, second, third))
    ((again, _),) = (each.request.recent for each in found if each.request.said == "feed the cat")
    assert again[1] == pytest.approx(probability(2.25 - 1.5), abs=1e-3)  # by then it was said again


def test_what_went_before_is_part_of_the_context(reader: AttemptReader):
    found = read(
        reader,
        session(turn("u", 0, "feed the cat", True, nlu=Nlu("pets", "feed")), turn("u", 9, "light the fire", True)),
    )
    assert [each.request.tokens for each in found] == [frozenset(), {"after:pets.feed"}]


def test_a_rewritten_request_before_counts_as_what_was_served(reader: AttemptReader):
    served = Served("light the fire plays", "light the fire place")
    rewritten = turn("u", 0, "light the fire place", True, served=served)
    (found,) = read(reader, session(rewritten, turn("u", 10, "feed the cat", True)))
    assert found.request.recent == (("light the fire place", pytest.approx(1.0, abs=0.01)),)
    assert [(each.turns, each.served) for each in found.request.live] == [(0, 1)]


TEXTS_SAID = ["feed the cat", "feed the cad", "light the fire", "stop", "no", "stop the alarm"]
STEPS = st.tuples(
    st.sampled_from([5.0, 60.0, 121.0, 4_000.0]), st.sampled_from(TEXTS_SAID), st.sampled_from([True, False, None]),
    st.booleans(), st.sampled_from([None, "a", "b"]),
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(STEPS, min_size=1, max_size=8))
def test_a_past_is_what_a_live_history_tells_at_that_moment(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]):
    history = LiveHistory.open(tmp_path_factory.mktemp("live") / "live.sqlite", canonical=Canonicaliser())
    past, at = Past(), 1e9
    for gap, text, works, rewritten, name in steps:
        at += gap
        recent = tuple((each.rewrite or each.said, each.success) for each in history.recent("u", at=at))
        assert past.recent(at) == recent
        assert past.requests() == history.requests("u")
        served = Served(text, "play jazz") if rewritten else None
        told = turn("u", at, "play jazz" if rewritten else text, works, served=served, session_id=name)
        history.observe(told)
        past.add(told, text, "play jazz" if rewritten else None)
    assert past.requests() == history.requests("u")
    for request in past.requests():
        assert past.worked(request.said) == (request.judged > 0 and request.successes > request.turns / 2)


def test_another_session_is_not_recent(reader: AttemptReader):
    found = read(
        reader,
        session(turn("u", 0, "feed the cat", True), name="a"),
        session(turn("u", 9_000, "feed the dog", True), name="b"),
    )
    assert [each.request.recent for each in found] == [(), ()]


def test_what_was_heard_and_understood_comes_along(reader: AttemptReader):
    heard = Asr(0.4, (Hypothesis("light the fire plays", 0.4), Hypothesis("Light the fire place", 0.3)))
    mine = Nlu("home", "light", {"place": "Fire Plays"}, 0.6)
    theirs = Nlu("home", "light", {"place": "fire place"}, 0.9)
    (found, _) = read(
        reader,
        session(
            turn("u", 0, "light the fire plays", False, asr=heard, nlu=mine, context=Context(device_type="speaker")),
            turn("u", 10, "light the fire place", True, nlu=theirs),
        ),
    )
    request = found.request
    assert request.interpretation == Interpretation("home", "light", (("place", "fire plays"),))
    assert (request.nlu_confidence, request.asr_confidence) == (0.6, 0.4)
    assert request.nbest == ("light the fire place",)
    assert request.device == "speaker"
    assert "device:speaker" in request.tokens
    assert found.frame == '["home","light",{"place":"fire place"}]'


def test_no_sessions_give_no_attempts(reader: AttemptReader, tmp_path: Path):
    assert read(reader) == []
