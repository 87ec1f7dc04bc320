"""Turns and canonical text: known answers, then the laws."""

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dialogue
from dialogue.canonical import Canonicaliser, fold
from dialogue.turn import Gold, Served, Turn, seconds_since_epoch


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T00:00:10", 10.0),
        ("1970-01-01T01:00:10+01:00", 10.0),
        ("2017-02-05T09:06:04.218Z", 1486285564.218),
        (12, 12.0),
        (-1.5, -1.5),
    ],
)
def test_timestamps_are_seconds_since_the_epoch(written, seconds):
    assert seconds_since_epoch(written) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("written", ["soon", "", None, True, math.nan, math.inf, 10**400, 1.6e12, [1]])
def test_other_timestamps_are_refused(written):
    with pytest.raises(ValueError):
        seconds_since_epoch(written)


def test_what_was_said_survives_a_rewrite():
    turn = Turn("t", "u", 0.0, "play imagine dragons")
    assert turn.said == "play imagine dragons"
    served = Served(original="play maj and dragons", rewrite="play imagine dragons")
    assert Turn("t", "u", 0.0, "play imagine dragons", served=served).said == "play maj and dragons"


def test_gold_says_which_fields_were_annotated():
    assert Gold().annotated == frozenset()


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Alexa, please play  IMAGINE Dragons!", "play imagine dragons"),
        ("what's the weather in Wilkerson?", "what's the weather in wilkerson"),
        ("What’s the time", "what's the time"),
        ("set an alarm for 7:30", "set an alarm for 7:30"),
        ("transfer 1,000 dollars", "transfer 1000 dollars"),
        ("please", "please"),
        ("Ｐｌａｙ ＫＥＸＰ", "play kexp"),
        ("", ""),
        ("...", ""),
    ],
)
def test_canonical_text(text, canonical):
    assert Canonicaliser()(text) == canonical


@given(st.text())
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)


@given(st.text(alphabet="aAß é.'-:,71 alexplse\t"))
def test_canonical_text_is_its_own_canonical_text(text):
    canonical = Canonicaliser()
    assert canonical(canonical(text)) == canonical(text)


def test_the_face_names_what_it_lists():
    assert sorted(dialogue._MODULE_OF) == sorted(dialogue.__all__)
    for name in dialogue.__all__:
        assert getattr(dialogue, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'turn_of_events'"):
        _ = dialogue.turn_of_events


def test_importing_the_face_loads_no_heavy_library():
    code = (
        "import dialogue, dialogue.canonical, sys; print({'pydantic', 'pyarrow', 'numpy'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_a_run_of_politeness_is_folded_in_linear_time():
    assert Canonicaliser()("play " + "please " * 140_000 + "x").endswith("please x")
    assert Canonicaliser()("play " + "please " * 140_000) == "play"
