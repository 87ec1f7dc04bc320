"""The sound channel: pieces of sounds and letters, requests that sound misheard, and how usual words are together."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import DamagedFolderError, ForeignFolderError, InputError, MissingFileError
from retrieval.fluency import KIND, MOST, PAIRS, STRENGTH, WORDS, Fluency
from retrieval.folder import write_folder
from retrieval.misheard import LONGEST_RUN, Confusions, confused
from retrieval.sounds import LONGEST, SoundShape, sound_of, sounds_of

words = st.text("abcdeghimnoprst", min_size=1, max_size=6)
texts = st.lists(words, min_size=1, max_size=6).map(" ".join)

# Sounds


def test_the_sounds_of_a_misheard_name_are_those_of_the_name():
    assert [sound_of(word) for word in ("maj", "and", "imagine")] == ["MJ", "ANT", "IMJN"]
    assert sounds_of(["call", "mum"]) == "KLMM"
    assert sound_of("7") == "7"  # what has no sound code stands for itself


def test_pieces_are_the_runs_of_sounds_and_the_letters_in_threes():
    shape = SoundShape(shortest=2, longest=3, buckets=1 << 31)
    pieces = shape.pieces("call")  # letters " call " in threes: 4; sounds "<KL>": three runs of two, two of three
    assert len(pieces) == 4 + 3 + 2
    assert len(set(pieces)) == 9
    both = Counter(shape.pieces("call mum"))
    assert Counter(pieces[:4]) & both == Counter(pieces[:4])  # letters do not cross words
    assert shape.pieces("play play")[:4] == shape.pieces("play play")[4:8]  # a repeated piece is repeated


def test_where_words_end_makes_no_difference_to_the_sounds():
    shape = SoundShape(buckets=1 << 31)
    one, other = Counter(shape.pieces("west life")), Counter(shape.pieces("westlife"))
    sounds = Counter(shape.pieces("westlife")[len(" westlife ") - 2 :])
    assert one & sounds == sounds == other & sounds


def test_no_text_has_no_pieces_and_a_long_one_is_cut():
    shape = SoundShape()
    assert shape.pieces("") == []
    assert shape.pieces("   ") == []
    assert shape.pieces("a" * LONGEST + "b") == shape.pieces("a" * LONGEST)


@given(st.text(max_size=40), st.integers(1, 64))
def test_any_text_has_pieces_within_the_buckets(text: str, buckets: int):
    shape = SoundShape(buckets=buckets)
    pieces = shape.pieces(text)
    assert all(0 <= piece < buckets for piece in pieces)
    assert pieces == shape.pieces(text)
    assert bool(pieces) == bool(text.split())


@pytest.mark.parametrize("shape", [(0, 3, 8), (3, 2, 8), (1, 2, 0), (1, 2, 2**31 + 1)])
def test_a_shape_without_sense_is_refused(shape: tuple[int, int, int]):
    with pytest.raises(InputError, match="are wanted"):
        SoundShape(*shape)


# Misheard


def test_what_was_heard_for_what_is_read_off_an_alignment():
    heard, meant = "play maj and dragons", "play imagine dragons"
    assert confused(meant.split(), heard.split()) in ([("imagine", "and")], [("imagine", "maj")])
    assert confused("call mom now".split(), "call mum now".split()) == [("mom", "mum")]
    assert confused("a b".split(), "a b c".split()) == []  # nothing gave way to anything
    long = " ".join("abcd"[: LONGEST_RUN + 1]).split()
    assert confused(long, [word * 2 for word in long]) == []


def test_an_observed_confusion_is_made_again():
    known = Confusions.learned([("weather in city", "weather in sydney")] * 2, ["rain in sydney", "call mom"])
    assert known.observed == {"sydney": ["city", "city"]}
    assert known.vocabulary[:3] == ("in", "city", "weather")  # as often as they are, then by name
    made = Counter(known.misheard("rain in sydney", Random(seed)) for seed in range(200))
    assert any("city" in text.split() for text in made)
    assert made["rain in city"] > 20


def test_a_word_is_heard_as_one_that_sounds_like_it():
    known = Confusions.learned([], ["night", "knight", "write", "zebra"])
    assert known._alike_of("night") == ["knight"]
    made = {known.misheard("night", Random(seed)) for seed in range(50)}
    assert made == {"knight", "night"}  # a second error may take back the first


def test_where_nothing_can_be_confused_the_text_stays():
    assert Confusions.learned([], []).misheard("play jazz", Random(0)) == "play jazz"
    assert Confusions.learned([], []).misheard("", Random(0)) == ""


@given(st.lists(st.tuples(texts, texts), max_size=5), texts, st.integers(0, 99))
def test_made_up_requests_are_the_same_for_the_same_seed_and_never_empty(pairs, text, seed):
    known, again = Confusions.learned(pairs, [text]), Confusions.learned(pairs, [text])
    made = known.misheard(text, Random(seed))
    assert made == again.misheard(text, Random(seed))
    assert made
    heard = {word for pair in pairs for word in pair[0].split()}
    assert set(made.split()) <= set(text.split()) | heard


# Fluency


def test_probabilities_are_those_of_the_formula():
    fluency = Fluency.fit(["play jazz", "play jazz", "stop"])
    assert fluency.total == 4 + 4 + 3
    own = {"play": 2.5 / 12, "jazz": 2.5 / 12, ">": 3.5 / 12, "stop": 1.5 / 12}
    steps = [
        math.log((2 + STRENGTH * own["play"]) / (3 + STRENGTH)),
        math.log((2 + STRENGTH * own["jazz"]) / (2 + STRENGTH)),
        math.log((2 + STRENGTH * own[">"]) / (2 + STRENGTH)),
    ]
    least, mean = fluency(["play", "jazz"])
    assert least == pytest.approx(min(steps))
    assert mean == pytest.approx(sum(steps) / 3)


def test_words_that_hardly_ever_stand_together_are_told():
    fluency = Fluency.fit(["turn on the lamp", "turn on the radio", "play jazz"] * 20)
    assert fluency("turn on the lamp".split())[0] > fluency("turn on the jazz".split())[0]
    assert fluency("turn on the lamp".split())[1] > fluency("lamp the on turn".split())[1]


@settings(max_examples=20)  # a table has a million places
@given(st.lists(texts, max_size=5), st.lists(words, max_size=6))
def test_what_comes_out_is_a_probability(learned: list[str], asked: list[str]):
    least, mean = Fluency.fit(learned)(asked)
    assert -math.inf < least <= mean <= 0.0


def test_counts_end_where_the_table_does():
    fluency = Fluency.fit([" ".join("a" * (MOST + 10))])
    assert int(fluency.words.max()) == int(fluency.pairs.max()) == MOST
    assert fluency(["a"])[0] <= 0.0


def test_saved_counts_come_back(tmp_path: Path):
    fluency = Fluency.fit(["play jazz", "stop"])
    fluency.save(tmp_path)
    again = Fluency.load(tmp_path)
    for run in (["play", "jazz"], ["stop"], [], ["never", "heard"]):
        assert again(run) == fluency(run)


def test_a_folder_that_is_no_fluency_is_refused(tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"meta\.json"):
        Fluency.load(tmp_path)
    write_folder(tmp_path / "other", "other", {}, {})
    with pytest.raises(ForeignFolderError, match="wanted 'fluency'"):
        Fluency.load(tmp_path / "other")
    small = {"words": np.zeros(4, np.uint16), "pairs": np.zeros(PAIRS, np.uint16)}
    write_folder(tmp_path / "small", KIND, small, {"total": 0})
    with pytest.raises(DamagedFolderError, match="other sizes"):
        Fluency.load(tmp_path / "small")
    write_folder(tmp_path / "odd", KIND, {**small, "words": np.zeros(WORDS, np.uint16)}, {"total": "many"})
    with pytest.raises(DamagedFolderError):
        Fluency.load(tmp_path / "odd")
