"""Words that a recogniser writes apart, and words that bound a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewrite.spoken import bounding, joined_words


@pytest.mark.parametrize(
    ("said", "joined"),
    [
        ("un mute the tv", "unmute the tv"),
        ("dis connect and de activate", "disconnect and deactivate"),
        ("pizza with out cheese", "pizza without cheese"),
        ("go out with bob", "go out with bob"),
        ("un", "un"),
        ("", ""),
    ],
)
def test_what_is_written_apart_is_joined(said: str, joined: str) -> None:
    assert joined_words(said.split()) == joined.split()


@pytest.mark.parametrize(
    ("said", "bounds"),
    [
        ("wake me at ten to seven", ["to"]),
        ("wake me at ten past seven", ["past"]),
        ("turn it up to ten", []),
        ("turn it up by ten", ["by"]),
        ("over ten and under twenty", ["over", "under"]),
        ("add point five grams", ["point"]),
        ("a movie by night", []),
        ("by", []),
    ],
)
def test_what_bounds_a_number(said: str, bounds: list[str]) -> None:
    assert bounding(said.split()) == bounds


words = st.lists(st.sampled_from("un de with out to by five ten play".split()), max_size=8)


@given(words)
def test_joining_loses_no_letter(said: list[str]) -> None:
    assert "".join(joined_words(said)) == "".join(said)
    assert len(bounding(said)) < max(len(said), 1)
