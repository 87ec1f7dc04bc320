"""Saved folders: every way of being damaged has its own clear error; and the face, and what it imports."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

import retrieval
from retrieval import (
    DamagedFolderError,
    ExactIndex,
    FolderError,
    ForeignFolderError,
    FormatVersionError,
    HistoryEntry,
    InputError,
    KeyTable,
    MissingFileError,
    NgramEncoder,
    PersonalLayer,
    SparseRows,
)

TEXTS = ["play jazz", "play rock", "stop"]
ENCODER = NgramEncoder.fit(TEXTS)
TABLE = ENCODER.encode(TEXTS)
ENTRIES = [HistoryEntry("ann", 0, 1, 0.0)]

# what is saved, how it is loaded, and one of its arrays
Load = Callable[[Path], object]
SAVED: dict[str, tuple[object, Load, str]] = {
    "keys": (KeyTable.build(TEXTS), KeyTable.load, "hashes"),
    "encoder": (ENCODER, NgramEncoder.load, "idf"),
    "rows": (TABLE, SparseRows.load, "values"),
    "exact": (ExactIndex.build(TABLE), lambda path: ExactIndex.load(path, TABLE), "impacts"),
    "personal": (
        PersonalLayer.build(TABLE, ENTRIES),
        lambda path: PersonalLayer.load(path, TABLE),
        "last_seen",
    ),
}


@pytest.fixture(params=SAVED)
def saved(request, tmp_path: Path) -> tuple[Path, Load, Path]:
    thing, load, name = SAVED[request.param]
    thing.save(tmp_path)
    return tmp_path, load, tmp_path / f"{name}.npy"


def edit_meta(folder: Path, **changes: object) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | changes))


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_array_is_refused(saved, kept: int) -> None:
    folder, load, path = saved
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedFolderError, match=rf"{path.name}.*build it again"):
        load(folder)


def test_an_array_of_another_length_is_refused(saved) -> None:
    folder, load, path = saved
    np.save(path, np.load(path)[:-1])
    with pytest.raises(DamagedFolderError, match=r"meta\.json says"):
        load(folder)


def test_arrays_that_disagree_are_refused_though_meta_agrees(saved) -> None:
    folder, load, path = saved
    shorter = np.load(path)[:-1]
    np.save(path, shorter)
    arrays = json.loads((folder / "meta.json").read_text())["arrays"]
    arrays[path.stem]["shape"] = list(shorter.shape)
    edit_meta(folder, arrays=arrays)
    with pytest.raises(DamagedFolderError, match="build it again"):
        load(folder)


def test_an_array_of_python_objects_is_never_unpickled(saved) -> None:
    folder, load, path = saved
    np.save(path, np.array([{}, None], object), allow_pickle=True)
    with pytest.raises(DamagedFolderError, match="cannot be read"):
        load(folder)


def test_a_missing_file_is_named(saved) -> None:
    folder, load, path = saved
    path.unlink()
    with pytest.raises(MissingFileError, match=path.name):
        load(folder)
    with pytest.raises(MissingFileError, match=r"nowhere/meta\.json"):
        load(folder / "nowhere")


def test_another_version_is_refused(saved) -> None:
    folder, load, _ = saved
    edit_meta(folder, version=99)
    with pytest.raises(FormatVersionError, match="format version 99, this program reads 1"):
        load(folder)


def test_a_folder_of_another_kind_is_refused(saved) -> None:
    folder, load, _ = saved
    edit_meta(folder, kind="recipe")
    with pytest.raises(ForeignFolderError, match="holds 'recipe', wanted"):
        load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff\xfe", '{"kind": "key table", "version": 1}'])
def test_a_broken_meta_is_refused(text: str, tmp_path: Path) -> None:
    SAVED["keys"][0].save(tmp_path)
    (tmp_path / "meta.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedFolderError, match=r"meta\.json"):
        KeyTable.load(tmp_path)


@pytest.mark.parametrize("name", ["exact", "personal"])
def test_an_index_over_another_table_is_refused(name: str, tmp_path: Path) -> None:
    SAVED[name][0].save(tmp_path)
    other = ENCODER.encode(["stop"])
    with pytest.raises(ForeignFolderError, match="built over 3 vectors, the table given has 1"):
        (ExactIndex if name == "exact" else PersonalLayer).load(tmp_path, other)


def test_rows_that_do_not_span_their_values_are_refused() -> None:
    with pytest.raises(InputError, match="does not span 1 indices and 2 values"):
        SparseRows(np.array([0, 1]), np.zeros(1, np.int32), np.zeros(2, np.float32), 9)


def test_every_error_is_one_of_ours() -> None:
    assert issubclass(InputError, ValueError)
    for error in (DamagedFolderError, ForeignFolderError, FormatVersionError, MissingFileError):
        assert issubclass(error, FolderError)
    assert issubclass(FolderError, retrieval.RetrievalError)


def test_the_face_is_what_it_says() -> None:
    public = {name for name, value in vars(retrieval).items() if isinstance(value, type | FunctionType)}
    assert public == set(retrieval.__all__)


def test_importing_needs_numpy_only() -> None:
    code = "import retrieval, sys; print({'scipy', 'torch', 'faiss', 'transformers'} & set(sys.modules))"
    root = Path(retrieval.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
