"""Protected intents and loops: what a layer's rewrite never leads into, out of, or back to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewrite.loops import makes_loop, same_request, undoes
from rewrite.protected import DEFAULT, ProtectedIntents, protects


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("takeaway|order", True),
        ("takeaway|query", False),
        ("home|order_status", False),
        ("utility|make_call", True),
        ("BuyItem", True),
        ("music.play", False),
        ("recall|facts", False),  # "call" is no word of it
        ("smart_home/unlock_door", True),
        ("", False),
    ],
)
def test_the_names_of_interpretations(name: str, expected: bool) -> None:
    assert DEFAULT.name(name) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call mom", True),
        ("could you please text ann i'm late", True),
        ("what do you call a baby goat", False),
        ("remind me to call mom", False),
        ("play call me maybe", False),
        ("order status", False),
        ("order two pizzas", True),
        ("open the garage door", True),
        ("open my calendar", False),
        ("delete the alarm", False),
        ("delete my account", True),
        ("turn on the light and unlock the door", True),
        ("get me a taxi", True),
        ("", False),
        ("please can you", False),
    ],
)
def test_the_words_of_requests(text: str, expected: bool) -> None:
    assert DEFAULT.text(text) is expected


def test_into_out_of_and_within() -> None:
    assert protects("coal mom", "call mom")
    assert protects("call tom sawyer", "play tom sawyer")
    assert protects("a pizza hut", "pizza hut", None, "takeaway|order")
    assert protects("a pizza hut", "pizza hut", "takeaway|order", None)
    assert not protects("play jaz", "play jazz", "music|play", "music|play")
    assert protects("call jon smit", "call john smith", "phone|call", "phone|call")
    assert not protects("call jon smit", "call john smith", "phone|call", "phone|call", ProtectedIntents(within=True))
    assert protects("call jon", "text john", "phone|call", "phone|text", ProtectedIntents(within=True))


def test_other_names_and_verbs() -> None:
    own = ProtectedIntents(names=frozenset({"brew"}), verbs={"brew": frozenset()}, phrases=())
    assert (own.name("kitchen|brew"), own.text("brew coffee")) == (True, True)
    assert (own.name("takeaway|order"), own.text("call mom")) == (False, False)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_answered_and_the_two_ways_agree(one: str, other: str) -> None:
    assert protects(one, other) == protects(other, one)


@pytest.mark.parametrize(
    ("said", "target", "expected"),
    [
        ("wake me at 7:30", "uh wake me at seven thirty", True),
        ("what s the time", "what's the time", True),
        ("play west life", "play westlife", True),
        ("wake me at 7", "wake me at 8", False),
        ("call jon", "call john", False),
        ("", "", True),
    ],
)
def test_the_same_request(said: str, target: str, expected: bool) -> None:
    assert same_request(said, target) is expected
    assert same_request(target, said) is expected


def test_what_just_failed_is_not_proposed() -> None:
    recent = [("play jazz", 0.9), ("play maj and dragons", 0.1)]
    assert undoes("play imagine dragons", "play maj and dragons", recent)
    assert not undoes("play jaz", "play jazz", recent)  # that worked
    assert not undoes("play imagin dragons", "play imagine dragons", recent)  # not said before
    assert not undoes("a", "b", [("b", 0.1), ("b", 0.9)])  # failed, then worked
    assert undoes("wake me", "wake me at seven", [("wake me at 7", 0.2)])


def test_what_is_rewritten_itself_is_not_proposed() -> None:
    table = {"play maj and dragons": "play imagine dragons"}
    assert makes_loop("play mad dragons", "play maj and dragons", rewritten=table.__contains__)
    assert not makes_loop("play mad dragons", "play imagine dragons", rewritten=table.__contains__)
    assert not makes_loop("play mad dragons", "play maj and dragons")
