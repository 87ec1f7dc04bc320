"""Dense vectors in rows: a byte a place, and one scale a row.

A row of 384 places takes 388 bytes instead of 1,536. Its places are rounded to steps of its largest one / 127,
and its scale brings what is left back to length 1, so that a row's cosine with itself stays 1. On sentence
vectors of 384 places a cosine moves by 0.0003 on average and by 0.003 at most.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.folder import Folder, write_folder
from retrieval.vectors import Float32s, Int64s, VectorRows

KIND = "dense rows"
BLOCK = 1024  # rows decoded at a time: what stays in the processor's cache
STEPS = 127
TOLERANCE = 0.01  # how far from 1 a vector's length may be: float16 models miss it by a thousandth

Int8s = NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DenseRows(VectorRows[Float32s]):
    """Unit vectors as bytes; an empty text has a row of zeros.

    codes   [rows, dim] int8
    scales  [rows] float32: a row's vector is its codes times its scale; 0 for a row of zeros
    """

    codes: Int8s
    scales: Float32s

    def __post_init__(self) -> None:
        if not _agree(self.codes, self.scales):
            raise InputError(
                f"codes of shape {self.codes.shape} and scales of shape {self.scales.shape} came, "
                "wanted [rows, dim] and [rows] with dim >= 1"
            )

    @classmethod
    def from_vectors(cls, vectors: Float32s) -> "DenseRows":
        """Round [rows, dim] float32 vectors of length 1 or 0. Raises InputError."""
        if vectors.ndim != 2 or not vectors.shape[1]:
            raise InputError(f"vectors of shape {vectors.shape} came, wanted [rows, dim] with dim >= 1")
        return cls(*_rounded(vectors, 0))

    @classmethod
    def write(cls, folder: Path, blocks: Iterable[Float32s], rows: int, dim: int) -> None:
        """Write a table into `folder` from its `rows` vectors in order, [n, dim] float32 at a time.

        What is in memory is one block and 4 bytes a row. Raises InputError, and then writes nothing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        scales, done = np.zeros(rows, np.float32), 0
        with TemporaryFile(dir=folder) as file:
            for block in blocks:
                _check_block(block, done, rows, dim)
                codes, scales[done : done + len(block)] = _rounded(block, done)
                file.write(codes.tobytes())
                done += len(block)
            if done != rows:
                raise InputError(f"{done} vectors came, wanted {rows}: give `rows` as the blocks' total")
            file.flush()
            shape = (rows, dim)
            codes = np.memmap(file, np.int8, "r", shape=shape) if rows else np.empty(shape, np.int8)
            write_folder(folder, KIND, {"codes": codes, "scales": scales}, {"dim": dim})

    @classmethod
    def load(cls, folder: Path) -> "DenseRows":
        """Map a saved table. Raises FolderError."""
        saved = Folder(folder, KIND)
        codes, scales = saved.array("codes", np.int8, dimensions=2), saved.array("scales", np.float32)
        saved.require(_agree(codes, scales), f"{len(scales)} scales for codes of shape {codes.shape}")
        return cls(codes, scales)

    def save(self, folder: Path) -> None:
        """Write the table into `folder`."""
        write_folder(folder, KIND, {"codes": self.codes, "scales": self.scales}, {"dim": self.dim})

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def dim(self) -> int:
        """The number of places of a vector."""
        return int(self.codes.shape[1])

    def row(self, number: int) -> Float32s:
        """One row as a vector: [dim] float32."""
        return np.asarray(self.codes[number] * self.scales[number])

    def vectors(self, rows: Int64s) -> Float32s:
        """The chosen rows as vectors: [rows] int64 to [rows, dim] float32."""
        return self.codes.take(rows, 0) * self.scales[rows, None]

    def score(self, query: Float32s, rows: Int64s) -> Float32s:
        """As the role says, `query` being [dim] float32; about 0.1 microseconds a row of 384 places.

        Raises InputError for a query of another shape.
        """
        wanted = self.checked(query)
        if len(rows) <= BLOCK:
            return self._score_block(wanted, rows)
        scores = np.empty(len(rows), np.float32)
        for at in range(0, len(rows), BLOCK):
            scores[at : at + BLOCK] = self._score_block(wanted, rows[at : at + BLOCK])
        return scores

    def checked(self, query: Float32s) -> Float32s:
        """The query as [dim] float32. Raises InputError."""
        vector = np.asarray(query, np.float32)
        if vector.shape != (self.dim,):
            raise InputError(
                f"a query of shape {vector.shape} came, wanted ({self.dim},): encode it with the model that "
                "encoded the table"
            )
        return vector

    def _score_block(self, query: Float32s, rows: Int64s) -> Float32s:
        # vecdot and not @: it takes each row by itself, so that a row's score does not depend on its neighbours
        # and equal rows score equal. take and not codes[rows]: half the time.
        products: Float32s = np.vecdot(self.codes.take(rows, 0).astype(np.float32), query)
        return products * self.scales[rows]


def _agree(codes: Int8s, scales: Float32s) -> bool:
    return codes.ndim == 2 and codes.shape[1] > 0 and scales.shape == codes.shape[:1]


def _rounded(vectors: Float32s, first: int) -> tuple[Int8s, Float32s]:
    """[rows, dim] float32 to codes and scales; `first` is the number of the first row, for the error."""
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~((np.abs(lengths - 1) <= TOLERANCE) | (lengths == 0)))  # written so that NaN is wrong
    if len(wrong):
        raise InputError(
            f"vector {first + wrong[0]} has length {lengths[wrong[0]]}, wanted 1, or 0 for an empty text: "
            "divide the vectors by their lengths"
        )
    steps = np.abs(vectors).max(axis=1, keepdims=True) / STEPS
    codes = np.rint(vectors / np.where(steps > 0, steps, 1)).astype(np.int8)
    scales = np.linalg.norm(codes.astype(np.float32), axis=1)
    np.divide(1, scales, out=scales, where=scales > 0)
    return codes, scales


def _check_block(block: Float32s, done: int, rows: int, dim: int) -> None:
    if block.ndim != 2 or block.shape[1] != dim or dim < 1:
        raise InputError(f"a block of shape {block.shape} came, wanted [n, {dim}] with dim >= 1")
    if done + len(block) > rows:
        raise InputError(f"at least {done + len(block)} vectors came, wanted {rows}: give `rows` as the blocks' total")
