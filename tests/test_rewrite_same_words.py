"""The same words in another spelling, joined, split, or said twice in a row; and words that only look like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewrite.same_words import joined_in, same_letters, same_words, without_stutter


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("jon", "john", True),
        ("alarm", "alarms", True),
        ("theatre", "theater", True),
        ("favourite colour", "favorite color", True),
        ("cindy", "cindi's", True),
        ("parties", "party", True),
        ("movies", "movie", True),
        ("cookies", "cookie", True),
        ("mickey", "miky", True),
        ("marie", "mary", False),
        ("nice", "nike", False),
        ("spice", "spike", False),
        ("lace", "lake", False),
        ("carl", "karl", True),
        ("rain coat", "raincoat", True),
        ("every day", "everyday", True),
        ("home town hall", "hometown hall", True),
        ("dentist s visit", "dentist's visit", True),
        ("ann", "anna", False),
        ("four", "for", False),
        ("a part", "apart", False),
        ("any more", "anymore", False),
        ("all ways", "always", False),
        ("no where", "nowhere", False),
        ("after noon", "afternoon", False),
        ("the doors", "doors", False),
        ("six am", "six pm", False),
        ("a bc", "ab c", False),
        ("", "s", False),
    ],
)
def test_the_same_words(one: str, other: str, same: bool) -> None:
    assert same_words(tuple(one.split()), tuple(other.split())) is same
    assert same_words(tuple(other.split()), tuple(one.split())) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("raincoat", "rain coats", True),
        ("dentist s visit", "dentist's visit", True),
        ("theatre", "theater", True),
        ("colour", "color", True),
        ("jon", "john", False),
        ("phil", "fill", False),
    ],
)
def test_the_same_letters(one: str, other: str, same: bool) -> None:
    assert same_letters(tuple(one.split()), tuple(other.split())) is same
    assert same_letters(tuple(other.split()), tuple(one.split())) is same


@pytest.mark.parametrize(
    ("said", "target", "once"),
    [
        ("on twenty twenty first", "on twenty first", "on twenty first"),
        ("purchase purchase to order", "purchase order", "purchase to order"),
        ("the the weather", "the weather", "the weather"),
        ("channel five five", "channel five", "channel five five"),  # digits
        ("on twenty twenty", "on twenty", "on twenty twenty"),  # a year
        ("set it to to", "set it to two", "set it to to"),  # one of them a number
        ("do not not call", "do not call", "do not not call"),
        ("gate d d", "gate d", "gate d d"),
        ("play duran duran", "play duran duran", "play duran duran"),
        ("a alarm alarm now", "a reminder alarm now", "a alarm alarm now"),  # one gave way to another word
        ("a alarm alarm now", "a alarm reminder now", "a alarm alarm now"),
        ("", "", ""),
    ],
)
def test_a_stutter(said: str, target: str, once: str) -> None:
    assert without_stutter(said.split(), target.split()) == tuple(once.split())


def test_a_word_that_is_written_in_one_with_another() -> None:
    target = tuple("take my raincoat".split())
    assert joined_in("rain", tuple("take my rain coat".split()), target) == 1
    assert joined_in("my", tuple("take my rain coat".split()), target) == 0
    assert joined_in("s", ("u", "s"), ("us",)) == 0


words = st.lists(st.sampled_from("a the not twenty first five play rain coat s".split()), max_size=6).map(tuple)


@given(words, words)
def test_any_words_are_answered_alike_both_ways(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert same_words(one, one)
    assert same_words(one, other) == same_words(other, one)
    assert without_stutter(one, one) == one
    assert len(without_stutter(one, other)) <= len(one)
