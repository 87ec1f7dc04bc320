"""The dense indexes: a known answer, then each against numpy and the exact one, then what they refuse."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval
from retrieval import (
    DamagedFolderError,
    DenseExactIndex,
    DenseRows,
    FaissIndex,
    FolderError,
    ForeignFolderError,
    GlobalLayer,
    IndexKind,
    InputError,
    Layer,
    MissingFileError,
    VectorIndex,
    dense_index,
    load_index,
)

KINDS = list(IndexKind)
BY_FAISS = [kind for kind in IndexKind if kind is not IndexKind.EXACT]
HAND = DenseRows.from_vectors(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]], np.float32))
QUERY = np.array([0.6, 0.8, 0], np.float32)


def clustered(rows: int, dim: int, seed: int) -> np.ndarray:
    """Unit vectors around some centres, as sentences lie; vectors at random have no neighbours worth finding."""
    random = np.random.default_rng(seed)
    width = (1 / np.sqrt(1 + np.arange(dim))).astype(np.float32)
    centres = random.standard_normal((max(2, rows // 40), dim), np.float32)
    vectors = (centres[random.integers(0, len(centres), rows)] + 0.6 * random.standard_normal((rows, dim))) * width
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS = clustered(5000, 48, seed=0)
TABLE = DenseRows.from_vectors(VECTORS)
EXACT = DenseExactIndex(TABLE)
QUERIES = VECTORS[::25] + 0.5 * VECTORS[7::25]
QUERIES /= np.linalg.norm(QUERIES, axis=1, keepdims=True)


@cache
def built(kind: IndexKind) -> VectorIndex:
    return dense_index(TABLE, kind=kind, seed=3)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.value)
def index(request) -> VectorIndex:
    return built(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_floor_order_and_ties_by_hand(kind: IndexKind) -> None:
    index = dense_index(HAND, kind=kind)
    found = index.search(QUERY, 9, 0.0)
    assert found.rows.tolist() == [1, 3, 0]
    assert found.scores.tolist() == pytest.approx([0.8, 0.8, 0.6])
    assert (found.rows.dtype, found.scores.dtype) == (np.int64, np.float32)
    assert index.search(QUERY, 9, 0.7).rows.tolist() == [1, 3]
    assert index.search(QUERY, 1, 0.0).rows.tolist() == [1]
    assert index.search(QUERY, 9, 0.9).rows.tolist() == []
    assert index.search(np.zeros(3, np.float32), 9, 0.0).rows.tolist() == []
    assert index.search(np.full(3, np.nan, np.float32), 9, 0.0).rows.tolist() == []
    assert dense_index(HAND, np.array([0, 3, 4]), kind=kind).search(QUERY, 9, 0.0).rows.tolist() == [3, 0]


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 12), st.floats(0, 1), st.integers(0, 999))
def test_the_exact_index_is_numpys_sort(members: int, k: int, floor: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = np.sort(random.choice(200, members, replace=False))
    query = VECTORS[random.integers(5000)]
    cosines = (TABLE.vectors(rows) @ query).astype(np.float32)
    keyed = sorted((-round(float(c), 5), row) for c, row in zip(cosines, rows, strict=True) if c >= floor and c > 0)
    found = DenseExactIndex(TABLE, rows).search(query, k, floor)
    assert found.rows.tolist() == [row for _, row in keyed[:k]]
    assert found.scores.tolist() == pytest.approx([-negative for negative, _ in keyed[:k]], abs=1e-5)


def test_the_best_scores_of_many_queries_are_those_of_each() -> None:
    best = EXACT.best_scores(QUERIES[:20], 10)
    for query, scores in zip(QUERIES, best, strict=False):
        assert scores[::-1].tolist() == pytest.approx(EXACT.search(query, 10, 0.0).scores.tolist(), abs=1e-6)
    few = DenseExactIndex(HAND, np.array([0, 1])).best_scores(QUERY[None], 4)
    assert few.tolist() == [pytest.approx([-1, -1, 0.6, 0.8])]


def test_recall_among_thousands_is_what_it_says(index) -> None:
    hits = 0
    for query in QUERIES:
        wanted, got = EXACT.search(query, 10, 0.0), index.search(query, 10, 0.0)
        hits += len(np.intersect1d(wanted.rows, got.rows))
        assert got.scores.tobytes() == TABLE.score(query, got.rows).tobytes()  # the table's own cosines
        assert sorted(zip(-got.scores, got.rows, strict=True)) == list(zip(-got.scores, got.rows, strict=True))
    recall = hits / 10 / len(QUERIES)
    assert index.facts["recall_at_10"] >= 0.97
    assert recall >= 0.96
    assert abs(recall - index.facts["recall_at_10"]) < 0.03


def test_every_member_finds_itself(index) -> None:
    found = [index.search(VECTORS[row], 1, 0.5).rows.tolist() for row in range(0, 5000, 50)]
    assert np.mean([rows == [row] for row, rows in zip(range(0, 5000, 50), found, strict=True)]) >= 0.98


def test_saved_and_loaded_it_answers_the_same(index, tmp_path: Path) -> None:
    index.save(tmp_path)
    loaded = load_index(tmp_path, TABLE)
    assert (type(loaded), loaded.facts, len(loaded)) == (type(index), index.facts, 5000)
    for query in QUERIES[:50]:
        wanted, got = index.search(query, 10, 0.2), loaded.search(query, 10, 0.2)
        assert (got.rows.tolist(), got.scores.tolist()) == (wanted.rows.tolist(), wanted.scores.tolist())
    loaded.save(tmp_path)  # over the file that it is mapped from
    assert load_index(tmp_path, TABLE).search(QUERIES[0], 5, 0.0).rows.tolist() == (
        index.search(QUERIES[0], 5, 0.0).rows.tolist()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_only_members_are_found_and_all_when_asked_for(kind: IndexKind) -> None:
    members = np.arange(1, 5000, 100)
    index = dense_index(TABLE, members, kind=kind)
    found = index.search(QUERIES[0], 5000, 0.0)
    wanted = DenseExactIndex(TABLE, members).search(QUERIES[0], 5000, 0.0)
    assert set(found.rows.tolist()) <= set(members.tolist())
    assert len(np.intersect1d(found.rows, wanted.rows)) >= 0.97 * len(wanted.rows) > 0


@pytest.mark.parametrize("kind", BY_FAISS)
def test_one_thread_and_one_seed_give_one_file(kind: IndexKind, tmp_path: Path) -> None:
    members = np.arange(200)
    for name in ("one", "two"):
        FaissIndex.build(TABLE, members, kind, seed=5).save(tmp_path / name)
    for file in ("index.faiss", "members.npy", "meta.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_more_threads_build_an_index_as_good() -> None:
    index = dense_index(TABLE, np.arange(1000), kind=IndexKind.HNSW, threads=2, queries=QUERIES)
    assert index.facts["recall_at_10"] >= 0.97


def test_the_effort_is_the_least_that_reaches_the_recall_wanted() -> None:
    members = np.arange(1500)
    low, high = (
        FaissIndex.build(TABLE, members, IndexKind.IVF, least_recall=least, queries=QUERIES) for least in (0.5, 0.999)
    )
    assert low.effort < high.effort
    assert 0.5 <= low.recall < high.recall
    assert high.recall >= 0.999


def test_threads_do_not_disturb_each_other(index) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda query: index.search(query, 5, 0.1).rows.tolist(), QUERIES))
    assert found == [index.search(query, 5, 0.1).rows.tolist() for query in QUERIES]


def test_the_kind_follows_the_number_of_members() -> None:
    wanted = {5_000: "exact", 5_001: "flat", 50_000: "flat", 50_001: "hnsw", 4_000_000: "hnsw", 4_000_001: "ivf"}
    assert {size: IndexKind.for_size(size).value for size in wanted} == wanted
    assert IndexKind.for_size(10**8) is IndexKind.IVF4
    assert isinstance(dense_index(TABLE), DenseExactIndex)


def test_a_global_layer_takes_dense_rows_of_any_kind(tmp_path: Path) -> None:
    for layer in (GlobalLayer.build(HAND), GlobalLayer(FaissIndex.build(HAND, kind=IndexKind.HNSW))):
        layer.save(tmp_path)
        found = GlobalLayer.load(tmp_path, HAND).search(QUERY, 2, 0.7)
        assert [(candidate.row, candidate.layer) for candidate in found] == [(1, Layer.GLOBAL), (3, Layer.GLOBAL)]


def test_nothing_finds_nothing() -> None:
    empty = DenseRows.from_vectors(np.zeros((2, 3), np.float32))
    assert dense_index(empty).search(QUERY, 3, 0.0).rows.tolist() == []
    assert dense_index(HAND, np.array([], np.int64)).search(QUERY, 3, 0.0).rows.tolist() == []
    with pytest.raises(InputError, match="0 members that are not empty and kind hnsw came"):
        FaissIndex.build(empty, kind=IndexKind.HNSW)


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_without_an_answer_is_refused(kind: IndexKind) -> None:
    index = dense_index(HAND, kind=kind)
    for k, floor in ((0, 0.5), (1, -0.1), (1, 1.1), (1, float("nan"))):
        with pytest.raises(InputError, match="wanted k >= 1 and a floor from 0 to 1"):
            index.search(QUERY, k, floor)
    with pytest.raises(InputError, match=r"shape \(2,\) came, wanted \(3,\)"):
        index.search(QUERY[:2], 1, 0.0)
    with pytest.raises(InputError, match=r"wanted rows 0\.\.4, ascending"):
        dense_index(HAND, np.array([3, 1]), kind=kind)


def test_queries_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"queries of shape \(0, 3\) came, wanted \[queries, 3\], one at least"):
        FaissIndex.build(HAND, kind=IndexKind.HNSW, queries=np.empty((0, 3), np.float32))


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory) -> dict[IndexKind, Path]:
    folders = {kind: tmp_path_factory.mktemp(kind.value) for kind in BY_FAISS}
    for kind, folder in folders.items():
        FaissIndex.build(TABLE, np.arange(600), kind, queries=QUERIES[:50]).save(folder)
    return folders


@pytest.fixture(params=BY_FAISS, ids=lambda kind: kind.value)
def saved(request, saved_once: dict[IndexKind, Path], tmp_path: Path) -> Path:
    return shutil.copytree(saved_once[request.param], tmp_path / "copy")


@pytest.mark.parametrize("kept", [0, 7, 1000, -1])
def test_a_truncated_file_is_refused(saved: Path, kept: int) -> None:
    path = saved / "index.faiss"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedFolderError, match=r"index\.faiss has another size.*build it again"):
        load_index(saved, TABLE)


def test_a_file_altered_at_its_ends_is_refused(saved: Path) -> None:
    path = saved / "index.faiss"
    raw = path.read_bytes()
    for at in (0, 40, len(raw) - 1):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])
        with pytest.raises(DamagedFolderError, match=r"index\.faiss was altered"):
            load_index(saved, TABLE)


def test_a_file_that_agrees_with_meta_and_is_no_index_is_refused(saved: Path) -> None:
    path = saved / "index.faiss"
    meta = json.loads((saved / "meta.json").read_text())
    for raw, said in ((b"no index at all", "cannot be read"), (path.read_bytes()[:2000], "cannot be read")):
        path.write_bytes(raw)
        meta["facts"] |= {"bytes": len(raw), "ends": retrieval.faiss_index._ends(path)}
        (saved / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(DamagedFolderError, match=said):
            load_index(saved, TABLE)


def test_an_index_of_other_members_is_refused(saved: Path) -> None:
    meta = json.loads((saved / "meta.json").read_text())
    meta["arrays"]["members"]["shape"] = [599]
    np.save(saved / "members.npy", np.arange(599))
    (saved / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DamagedFolderError, match=r"600, 48\), wanted \('.*', 599, 48\)"):
        load_index(saved, TABLE)


def test_a_missing_file_another_kind_and_another_table_are_refused(saved: Path) -> None:
    with pytest.raises(ForeignFolderError, match="built over 5000 vectors, the table given has 5"):
        load_index(saved, HAND)
    with pytest.raises(ForeignFolderError, match="wanted an exact one: use load_index"):
        DenseExactIndex.load(saved, TABLE)
    (saved / "index.faiss").unlink()
    with pytest.raises(MissingFileError, match=r"index\.faiss is missing"):
        load_index(saved, TABLE)
    meta = json.loads((saved / "meta.json").read_text())
    meta["facts"]["index"] = "guess"
    (saved / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DamagedFolderError, match="'guess' is not a valid IndexKind, wanted one of"):
        load_index(saved, TABLE)
    DenseExactIndex(TABLE).save(saved)
    with pytest.raises(ForeignFolderError, match="holds an exact index, wanted one of faiss"):
        FaissIndex.load(saved, TABLE)


def test_a_byte_altered_between_the_ends_never_ends_the_process(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import numpy as np
from retrieval import DenseRows, FolderError, load_index
folder, random, refused = Path(sys.argv[1]), np.random.default_rng(0), 0
table = DenseRows.load(folder / "table")
query = table.row(0)
for name in ("hnsw", "ivf", "ivf4"):
    raw = np.fromfile(folder / name / "index.faiss", np.uint8)
    for _ in range(12):
        damaged = raw.copy()
        damaged[random.integers(1 << 16, len(raw) - (1 << 16), 40)] ^= 0xFF
        damaged.tofile(folder / name / "index.faiss")
        try:
            found = load_index(folder / name, table).search(query, 10, 0.0).rows
            assert ((found >= 0) & (found < len(table))).all()
        except FolderError:
            refused += 1
print(refused > 0)
"""
    TABLE.save(tmp_path / "table")
    for kind in (IndexKind.HNSW, IndexKind.IVF, IndexKind.IVF4):
        built(kind).save(tmp_path / kind.value)
    root = Path(retrieval.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program, tmp_path], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_without_faiss_the_error_says_what_to_install(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["faiss"] = None  # as if not installed
from pathlib import Path
from retrieval import DenseRows, FolderError, IndexKind, InputError, dense_index, load_index
table = DenseRows.load(Path(sys.argv[1]) / "table")
print(len(dense_index(table)))
for call, error in ((lambda: dense_index(table, kind=IndexKind.HNSW), InputError),
                    (lambda: load_index(Path(sys.argv[1]), table), FolderError)):
    try:
        call()
    except error as told:
        print(told)
"""
    HAND.save(tmp_path / "table")
    FaissIndex.build(HAND, kind=IndexKind.HNSW).save(tmp_path)
    root = Path(retrieval.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program, tmp_path], cwd=root, capture_output=True, text=True)
    told = 'this index needs faiss: pip install "reprise-rewrite[dense]"'
    assert done.stdout.splitlines() == ["5", told, told], done.stderr
    assert issubclass(InputError, ValueError)
    assert not issubclass(FolderError, InputError)
