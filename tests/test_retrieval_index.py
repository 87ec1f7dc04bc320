"""The indexes: a known answer, then the exact index against the plain one, then what they refuse."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import (
    BruteForceIndex,
    ExactIndex,
    InputError,
    NgramEncoder,
    NgramShape,
    SparseRows,
    SparseVector,
)

INDEXES = [BruteForceIndex, ExactIndex.build]
REQUESTS = [
    "play sirius channel 53",
    "play imagine dragons",
    "play dragon tales",
    "imagine a world",
    "what's the weather in wilkerson",
    "turn on the light",
    "turn off the light",
    "call mum",
    "play jazz",
    "stop",
]
ENCODER = NgramEncoder.fit(REQUESTS)
TABLE = ENCODER.encode(REQUESTS)

SMALL = NgramShape(2, 3, 4, 64)  # few buckets, so that pieces collide and postings are long
words = st.text("abc", min_size=1, max_size=5)
sentences = st.lists(words, max_size=6).map(" ".join)


@pytest.mark.parametrize("index_of", INDEXES)
def test_a_misheard_request_finds_the_one_meant(index_of) -> None:
    found = index_of(TABLE).search(ENCODER.encode_one("play maj and dragons"), k=3, floor=0.3)
    assert REQUESTS[found.rows[0]] == "play imagine dragons"
    # 0.48: the two heard words, never seen in a request, are half the length of the query
    assert found.scores[0] == pytest.approx(0.481, abs=1e-3)
    assert found.scores[1] < 0.4
    assert (found.rows.dtype, found.scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("index_of", INDEXES)
def test_scores_floor_order_and_ties_by_hand(index_of) -> None:
    # Three places. The query is (0.6, 0.8, 0); the rows are x, y, z, y and nothing: 0.6, 0.8, 0, 0.8, 0.
    ones = np.ones(4, np.float32)
    table = SparseRows(np.array([0, 1, 2, 3, 4, 4]), np.array([0, 1, 2, 1], np.int32), ones, width=3)
    query = SparseVector(np.array([0, 1], np.int32), np.array([0.6, 0.8], np.float32))
    index = index_of(table)
    assert index.search(query, 9, 0.0).rows.tolist() == [1, 3, 0]
    assert index.search(query, 9, 0.0).scores.tolist() == pytest.approx([0.8, 0.8, 0.6])
    assert index.search(query, 9, 0.7).rows.tolist() == [1, 3]
    assert index.search(query, 1, 0.0).rows.tolist() == [1]
    assert index.search(query, 9, 0.9).rows.tolist() == []
    assert index_of(table, np.array([0, 3])).search(query, 9, 0.0).rows.tolist() == [3, 0]


@settings(deadline=None)
@given(st.lists(sentences, max_size=60), sentences, st.integers(1, 12), st.floats(0, 1), st.data())
def test_the_exact_index_is_the_plain_one(texts: list[str], query: str, k: int, floor: float, data) -> None:
    encoder = NgramEncoder.fit(texts, SMALL)
    table, vector = encoder.encode(texts), encoder.encode_one(query)
    chosen = data.draw(st.none() | st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)))
    members = None if chosen is None else np.flatnonzero(chosen)
    plain = BruteForceIndex(table, members).search(vector, k, floor)
    exact = ExactIndex.build(table, members).search(vector, k, floor)
    assert exact.rows.tolist() == plain.rows.tolist()
    assert exact.scores.tobytes() == plain.scores.tobytes()


def test_it_is_the_plain_one_among_thousands_too() -> None:
    texts = [
        f"play {a}{b} by {b}{c}" for a in "bdfgklm" for b in ("an", "or", "isk", "ul") for c in "abcdefghij"
    ]
    encoder = NgramEncoder.fit(texts)
    table = encoder.encode(texts * 12)  # each text twelve times: ties to break, and more rows than are probed
    plain, exact = BruteForceIndex(table), ExactIndex.build(table)
    for query in ("play kan by and", "play gul", "by", "xyz", texts[99]):
        for floor in (0.0, 0.2, 0.5, 0.9):
            vector = encoder.encode_one(query)
            wanted, got = plain.search(vector, 20, floor), exact.search(vector, 20, floor)
            assert (got.rows.tolist(), got.scores.tolist()) == (wanted.rows.tolist(), wanted.scores.tolist())


@pytest.mark.parametrize("index_of", INDEXES)
def test_saved_and_loaded_it_answers_the_same(index_of, tmp_path: Path) -> None:
    index, query = index_of(TABLE, np.array([1, 2, 5, 8])), ENCODER.encode_one("play maj and dragons")
    index.save(tmp_path)
    found, again = index.search(query, 5, 0.0), type(index).load(tmp_path, TABLE).search(query, 5, 0.0)
    assert found.rows.tolist() == again.rows.tolist() == [1, 2, 8]
    assert found.scores.tobytes() == again.scores.tobytes()


@pytest.mark.parametrize("index_of", INDEXES)
def test_nothing_finds_nothing(index_of) -> None:
    empty = index_of(ENCODER.encode([]))
    assert empty.search(ENCODER.encode_one("stop"), 3, 0.0).rows.tolist() == []
    assert index_of(TABLE).search(ENCODER.encode_one(""), 3, 0.0).rows.tolist() == []
    assert index_of(ENCODER.encode(["", " "])).search(ENCODER.encode_one("stop"), 3, 0.0).rows.tolist() == []


def test_threads_do_not_disturb_each_other() -> None:
    index, queries = ExactIndex.build(TABLE), [ENCODER.encode_one(text) for text in REQUESTS] * 50
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda query: int(index.search(query, 1, 0.5).rows[0]), queries))
    assert found == list(range(len(REQUESTS))) * 50


@pytest.mark.parametrize(("k", "floor"), [(0, 0.5), (1, -0.1), (1, 1.1), (1, float("nan"))])
@pytest.mark.parametrize("index_of", INDEXES)
def test_a_request_without_an_answer_is_refused(index_of, k: int, floor: float) -> None:
    with pytest.raises(InputError, match="wanted k >= 1 and a floor from 0 to 1"):
        index_of(TABLE).search(ENCODER.encode_one("stop"), k, floor)


@pytest.mark.parametrize("members", [[1, 1], [3, 2], [-1, 2], [0, 10]])
@pytest.mark.parametrize("index_of", INDEXES)
def test_members_that_are_not_ascending_rows_are_refused(index_of, members: list[int]) -> None:
    with pytest.raises(InputError, match=r"wanted rows 0\.\.9, ascending"):
        index_of(TABLE, np.array(members))
