"""Dense rows: known vectors first, then closeness to float32, then what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retrieval import DamagedFolderError, DenseRows, HistoryEntry, InputError, Layer, PersonalLayer


def unit(vectors: np.ndarray) -> np.ndarray:
    """[rows, dim] at length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


HAND = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 0, 0], [0, -1, 0], [0.6, 0.8, 0]], np.float32)
TABLE = DenseRows.from_vectors(HAND)
SENTENCES = unit(np.random.default_rng(0).standard_normal((600, 384), np.float32))


def test_a_row_by_hand() -> None:
    # 0.8 is 127 steps, 0.6 is 95.25 of them, rounded to 95; sqrt(95**2 + 127**2) = 158.6 steps are length 1
    assert TABLE.codes.tolist() == [[127, 0, 0], [95, 127, 0], [0, 0, 0], [0, -127, 0], [95, 127, 0]]
    assert TABLE.scales[1] == pytest.approx(1 / 158.6, rel=1e-4)
    assert TABLE.row(1).tolist() == pytest.approx([0.599, 0.8008, 0], abs=1e-4)
    assert (len(TABLE), TABLE.dim, TABLE.codes.dtype, TABLE.scales.dtype) == (5, 3, np.int8, np.float32)


def test_cosines_by_hand() -> None:
    query = np.array([0.6, 0.8, 0], np.float32)
    scores = TABLE.score(query, np.array([4, 0, 1, 2, 3]))
    assert scores.tolist() == pytest.approx([1, 0.6, 1, 0, -0.8], abs=1e-3)
    assert scores[0] == scores[2]
    assert scores.dtype == np.float32
    assert TABLE.score(query, np.array([], np.int64)).tolist() == []
    assert TABLE.score(np.zeros(3, np.float32), np.arange(5)).tolist() == [0] * 5


def test_cosines_are_those_of_float32_within_three_thousandths() -> None:
    table, rows = DenseRows.from_vectors(SENTENCES), np.arange(len(SENTENCES))
    for query in (SENTENCES[3], unit(SENTENCES[3] + 0.5 * SENTENCES[7]), SENTENCES[:9].sum(axis=0) / 3):
        assert np.abs(table.score(query, rows) - SENTENCES @ query).max() < 0.003
    assert np.abs(np.linalg.norm(table.vectors(rows), axis=1) - 1).max() < 1e-6


@settings(deadline=None)
@given(arrays(np.float32, (7, 5), elements=st.floats(-1, 1, width=32)), st.lists(st.integers(0, 6), max_size=9))
def test_a_score_is_the_product_with_the_row_whatever_stands_beside_it(raw: np.ndarray, rows: list[int]) -> None:
    vectors = unit(np.where(np.abs(raw) < 1e-3, np.float32(0), raw))
    table, query = DenseRows.from_vectors(vectors), vectors[0]
    scores = table.score(query, np.array(rows, np.int64))
    alone = [table.score(query, np.array([row]))[0] for row in rows]
    assert scores.tolist() == alone
    assert scores.tolist() == pytest.approx([float(table.row(row) @ query) for row in rows], abs=1e-6)
    assert table.vectors(np.array(rows, np.int64)).tolist() == [table.row(row).tolist() for row in rows]


def test_many_rows_score_as_one_by_one() -> None:
    table, query = DenseRows.from_vectors(SENTENCES), SENTENCES[5]
    rows = np.random.default_rng(1).integers(0, 600, 5000)  # more than a block
    few = np.concatenate([table.score(query, rows[at : at + 7]) for at in range(0, 5000, 7)])
    assert table.score(query, rows).tobytes() == few.tobytes()


def test_written_in_blocks_it_is_the_same_table(tmp_path: Path) -> None:
    whole = DenseRows.from_vectors(SENTENCES)
    whole.save(tmp_path / "whole")
    DenseRows.write(tmp_path / "blocks", (SENTENCES[at : at + 70] for at in range(0, 600, 70)), 600, 384)
    for name in ("codes.npy", "scales.npy", "meta.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "blocks" / name).read_bytes()
    loaded = DenseRows.load(tmp_path / "blocks")
    assert not loaded.codes.flags.writeable
    assert loaded.score(SENTENCES[0], np.arange(600)).tobytes() == whole.score(SENTENCES[0], np.arange(600)).tobytes()


def test_a_table_without_rows_can_be_written(tmp_path: Path) -> None:
    DenseRows.write(tmp_path, [], 0, 3)
    loaded = DenseRows.load(tmp_path)
    assert (len(loaded), loaded.dim) == (0, 3)
    assert loaded.score(HAND[0], np.array([], np.int64)).tolist() == []


def test_a_personal_layer_works_over_it() -> None:
    layer = PersonalLayer.build(TABLE, [HistoryEntry("ann", 0, 2, 0.0), HistoryEntry("bob", 1, 1, 0.0)])
    (candidate,) = layer.search("ann", HAND[1], k=3, floor=0.3)
    assert (candidate.row, candidate.layer) == (0, Layer.PERSONAL)
    assert candidate.similarity == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        ([[0.6, 0.6]], r"vector 0 has length 0\.84.*, wanted 1"),
        ([[1, 0], [np.nan, 0]], "vector 1 has length nan"),
        ([[1, 0], [np.inf, 0]], "vector 1 has length inf"),
        ([1, 0], r"shape \(2,\) came, wanted \[rows, dim\]"),
        ([[]], r"shape \(1, 0\) came"),
    ],
)
def test_vectors_that_are_no_unit_vectors_are_refused(vectors: list[object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        DenseRows.from_vectors(np.array(vectors, np.float32))


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ([HAND[:2]], "2 vectors came, wanted 4"),
        ([HAND, HAND], "at least 5 vectors came, wanted 4"),
        ([HAND[:, :2]], r"shape \(5, 2\) came, wanted \[n, 3\]"),
        ([HAND[:3], HAND[:1] / 2], r"vector 3 has length 0\.5"),
    ],
)
def test_blocks_that_are_not_as_announced_are_refused_and_leave_nothing(
    blocks: list[np.ndarray], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        DenseRows.write(tmp_path, blocks, 4, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_query_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(2,\) came, wanted \(3,\): encode it with the model"):
        TABLE.score(np.array([1, 0], np.float32), np.array([0]))


def test_codes_and_scales_that_disagree_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"codes of shape \(5, 3\) and scales of shape \(4,\)"):
        DenseRows(TABLE.codes, TABLE.scales[:-1])
    TABLE.save(tmp_path)
    np.save(tmp_path / "scales.npy", TABLE.scales[:-1])
    with pytest.raises(DamagedFolderError, match=r"meta\.json says"):
        DenseRows.load(tmp_path)
    meta = json.loads((tmp_path / "meta.json").read_text())
    meta["arrays"]["scales"]["shape"] = [4]
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DamagedFolderError, match="4 scales for codes of shape"):
        DenseRows.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_table_is_refused(kept: int, tmp_path: Path) -> None:
    TABLE.save(tmp_path)
    path = tmp_path / "codes.npy"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedFolderError, match=r"codes\.npy.*build it again"):
        DenseRows.load(tmp_path)
