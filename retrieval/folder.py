"""A folder of arrays: .npy files mapped into memory, and a meta.json that says what they should be.

Opening maps the files and checks kind, version, types and lengths; it reads no content, so it takes well
under a millisecond a file and processes share one copy in memory. Digests are the business of whoever
publishes the folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import DamagedFolderError, ForeignFolderError, FormatVersionError, MissingFileError

FORMAT_VERSION = 1
REMEDY = "build it again, or restore it from a copy"
UNREADABLE = (ValueError, OSError, EOFError, SyntaxError)  # what numpy raises for a file that is no array

Fact = int | float | str
Arrays = Mapping[str, NDArray[Any]]


def write_folder(folder: Path, kind: str, arrays: Arrays, facts: Mapping[str, Fact]) -> None:
    """Write arrays and facts into `folder`; whoever calls sees to it that readers never meet it half written.

    A file already there is unlinked, not rewritten: a process that has it mapped keeps the old content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        path.unlink(missing_ok=True)
        np.save(path, array, allow_pickle=False)
    shapes = {name: {"dtype": array.dtype.str, "shape": list(array.shape)} for name, array in arrays.items()}
    meta = {"kind": kind, "version": FORMAT_VERSION, "arrays": shapes, "facts": dict(facts)}
    (folder / "meta.json").write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n", encoding="utf-8")


class Folder:
    """A saved folder, opened and checked: `array(name)` maps a file, `fact(name)` reads a figure.

    Raises MissingFileError, ForeignFolderError, FormatVersionError or DamagedFolderError.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        meta = self._meta()
        if meta.get("kind") != kind:
            raise ForeignFolderError(f"{path} holds {meta.get('kind')!r}, wanted {kind!r}: check the path")
        if meta.get("version") != FORMAT_VERSION:
            raise FormatVersionError(
                f"{path} has format version {meta.get('version')!r}, this program reads {FORMAT_VERSION}: "
                "build the folder again with this version, or open it with the version that wrote it"
            )
        self._arrays: dict[str, Any] = self._part(meta, "arrays")
        self._facts: dict[str, Any] = self._part(meta, "facts")

    def array(self, name: str, dtype: type[np.generic] | None = None, dimensions: int = 1) -> NDArray[Any]:
        """The array `name`, mapped read-only; of type `dtype`, or of the type in meta.json when None."""
        path = self.path / f"{name}.npy"
        if not path.is_file():
            raise MissingFileError(f"{path} is missing: {REMEDY}")
        array = self._map(path)
        wanted = self._arrays.get(name)
        found = {"dtype": array.dtype.str, "shape": list(array.shape)}
        if found != wanted or array.ndim != dimensions or (dtype is not None and array.dtype != dtype):
            raise DamagedFolderError(f"{path} holds {found}, meta.json says {wanted}: {REMEDY}")
        return array

    def fact(self, name: str) -> Any:
        """The figure `name` of meta.json."""
        if name not in self._facts:
            has = sorted(self._facts)
            raise DamagedFolderError(f"{self.path / 'meta.json'} lacks {name!r}, it has {has}: {REMEDY}")
        return self._facts[name]

    def require(self, holds: bool, what: str) -> None:
        """Raise DamagedFolderError with `what` unless `holds`."""
        if not holds:
            raise DamagedFolderError(f"{self.path}: {what}: {REMEDY}")

    def require_table(self, rows: int) -> None:
        """Raise ForeignFolderError unless the folder was built over a table of vectors with `rows` rows."""
        if self.fact("table_rows") != rows:
            raise ForeignFolderError(
                f"{self.path} was built over {self.fact('table_rows')} vectors, the table given has {rows}: "
                "load it with the table saved beside it"
            )

    def _meta(self) -> dict[str, Any]:
        path = self.path / "meta.json"
        if not path.is_file():
            raise MissingFileError(f"{path} is missing: wanted a saved folder: check the path, or {REMEDY}")
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DamagedFolderError(f"{path} is not JSON ({error}): {REMEDY}") from error
        if not isinstance(meta, dict):
            raise DamagedFolderError(f"{path} holds a {type(meta).__name__}, wanted an object: {REMEDY}")
        return meta

    def _part(self, meta: dict[str, Any], name: str) -> dict[str, Any]:
        part = meta.get(name)
        if not isinstance(part, dict):
            raise DamagedFolderError(f"{self.path / 'meta.json'} has no object {name!r}: {REMEDY}")
        return part

    @staticmethod
    def _map(path: Path) -> NDArray[Any]:
        try:
            # A plain array over the map: slicing numpy's memmap class costs microseconds a time.
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
            return array.view(np.ndarray)
        except UNREADABLE:
            pass
        try:  # an array without elements cannot be mapped, only read
            array = np.load(path, allow_pickle=False)
        except UNREADABLE as error:
            raise DamagedFolderError(f"{path} cannot be read ({error}): {REMEDY}") from error
        return array
