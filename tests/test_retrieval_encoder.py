"""The n-gram encoder: pieces and a cosine by hand, then its laws, then awkward texts."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import InputError, NgramEncoder, NgramShape, SparseRows

TEXTS = [
    "play imagine dragons",
    "play jazz",
    "turn on the light",
    "turn off the light",
    "",
    "什么 天气",
    "la la la la",
]
ENCODER = NgramEncoder.fit(TEXTS)
texts = st.text(alphabet="abc é🎸\0", max_size=30) | st.text(max_size=20)


def cosine(encoder: NgramEncoder, one: str, other: str) -> float:
    return float(encoder.encode([one]).score(encoder.encode_one(other), np.array([0]))[0])


def test_the_pieces_of_a_word() -> None:
    shape = NgramShape()
    assert shape.pieces("dragon") == [" dr", "dra", "rag", "ago", "gon", "on "]
    assert shape.pieces("on") == [" on", "on ", " on "]  # short, so also whole
    assert shape.pieces("a") == [" a "]  # already whole
    assert NgramShape(shortest=2, longest=3, whole=0).pieces("ab") == [" a", "ab", "b ", " ab", "ab "]
    assert NgramShape(shortest=9, longest=9).pieces("jazz") == [" jazz "]  # never without a piece


def test_a_cosine_by_hand() -> None:
    # Fitted on nothing, every piece weighs ln(1/1) + 1 = 1. "abcde" has the pieces _ab abc bcd cde de_, and
    # "abcdx" has _ab abc bcd cdx dx_: three of five are shared, so the cosine is 3 / (sqrt 5 * sqrt 5) = 0.6.
    assert cosine(NgramEncoder.fit([]), "abcde", "abcdx") == pytest.approx(0.6, abs=1e-6)


def test_a_rare_word_weighs_more_by_hand() -> None:
    # "a" and "b" have one piece each. In 3 texts "a" is in all: ln(4/4) + 1 = 1; "b" in one: w = ln(4/2) + 1.
    # cos("a b", "a") = 1 / sqrt(1 + w^2), cos("a b", "b") = w / sqrt(1 + w^2).
    encoder, w = NgramEncoder.fit(["a", "a", "a b"]), math.log(2) + 1
    assert cosine(encoder, "a b", "a") == pytest.approx(1 / math.hypot(1, w), abs=1e-6)
    assert cosine(encoder, "a b", "b") == pytest.approx(w / math.hypot(1, w), abs=1e-6)


def test_a_repeated_word_counts_by_hand() -> None:
    # "a a b" is the vector (2, 1): its cosine with "a" is 2 / sqrt 5.
    assert cosine(NgramEncoder.fit([]), "a a b", "a") == pytest.approx(2 / math.sqrt(5), abs=1e-6)
    assert cosine(NgramEncoder.fit([]), "a", "a a b") == pytest.approx(2 / math.sqrt(5), abs=1e-6)


@given(st.lists(texts, max_size=8))
def test_one_text_is_encoded_as_in_a_batch(batch: list[str]) -> None:
    rows = ENCODER.encode(batch)
    assert len(rows) == len(batch)
    for number, text in enumerate(batch):
        row, one = rows.row(number), ENCODER.encode_one(text)
        assert row.indices.tolist() == one.indices.tolist() == sorted(set(one.indices.tolist()))
        np.testing.assert_allclose(row.values, one.values, rtol=1e-6)


@given(texts)
def test_a_text_with_words_has_length_one_and_is_itself_most(text: str) -> None:
    length = float(np.linalg.norm(ENCODER.encode_one(text).values))
    assert length == pytest.approx(1 if text.split() else 0, abs=1e-6)
    assert cosine(ENCODER, text, text) == pytest.approx(length, abs=1e-6)


def test_saved_and_loaded_it_encodes_the_same(tmp_path: Path) -> None:
    NgramEncoder.fit(TEXTS, NgramShape(2, 4, 0, 1 << 12)).save(tmp_path / "encoder")
    encoder = NgramEncoder.load(tmp_path / "encoder")
    assert encoder.shape == NgramShape(2, 4, 0, 1 << 12)
    encoder.encode(TEXTS).save(tmp_path / "rows")
    rows = SparseRows.load(tmp_path / "rows")
    again = NgramEncoder.fit(TEXTS, encoder.shape).encode(TEXTS)
    assert rows.width == again.width == 1 << 12
    assert rows.indptr.tolist() == again.indptr.tolist()
    assert rows.indices.tobytes() == again.indices.tobytes()
    assert rows.values.tobytes() == again.values.tobytes()


def test_no_texts_make_an_empty_table() -> None:
    assert len(ENCODER.encode([])) == 0


def test_a_text_of_a_megabyte_is_a_text() -> None:
    long = "la" * 500_000
    assert cosine(ENCODER, long, long) == pytest.approx(1, abs=1e-6)
    assert long not in ENCODER._places  # kept words are bounded in length


@pytest.mark.parametrize("wrong", [{"shortest": 0}, {"shortest": 4}, {"buckets": 0}, {"whole": -1}])
def test_an_impossible_shape_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="wanted 1 <= shortest <= longest"):
        NgramShape(**wrong)
