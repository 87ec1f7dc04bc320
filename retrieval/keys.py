"""From a text key to its row number, for hundreds of millions of keys, without a dict.

A dict of a million strings takes 150 MB in every process and seconds to fill. Here the 64-bit hashes of the
keys lie sorted in one mapped array; a directory by their top bits leaves a dozen to bisect, which is one page
of the file; and the key's own bytes are compared at the end, so two keys with one hash are never confused.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import DuplicateKeyError, InputError
from retrieval.folder import Folder, write_folder

KIND = "key table"
KEYS_PER_BUCKET = 16
MIN_BUCKETS = 2

KeyHash = Callable[[bytes], int]


def hash64(raw: bytes) -> int:
    """A 64-bit hash, the same on every machine and in every process (unlike Python's own)."""
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class KeyTable:
    """An immutable map from key to row number; the rows are the keys' positions in the order given.

    hashes     [keys] uint64, ascending
    rows       [keys] int32, or int64 past 2**31 keys: whose hash it is
    offsets    [keys + 1] int64: where each row's key begins in `data`
    data       [bytes] uint8: the keys in UTF-8, in row order
    directory  [buckets + 1] int64: where the hashes with each leading bits begin; buckets is a power of two

    >>> table = KeyTable.build(["play jazz", "stop"])
    >>> table.get("stop"), table.get("go"), table.key(0)
    (1, -1, 'play jazz')
    """

    hashes: NDArray[np.uint64]
    rows: NDArray[Any]
    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]
    directory: NDArray[np.int64]
    hash: KeyHash = hash64
    _views: tuple["memoryview[int]", ...] = field(init=False)
    _shift: int = field(init=False)

    def __post_init__(self) -> None:
        # A memoryview gives a Python int in 40 ns; an array gives a numpy scalar in 100 and compares in 1000.
        arrays: tuple[Any, ...] = (self.hashes, self.rows, self.offsets, self.data, self.directory)
        views = tuple(memoryview(array) for array in arrays)
        object.__setattr__(self, "_views", views)
        object.__setattr__(self, "_shift", 64 - _bits(len(self.directory) - 1))

    @classmethod
    def build(cls, keys: Iterable[str], hash: KeyHash = hash64) -> "KeyTable":
        """The table of `keys`, read once in order; the peak is about 40 bytes a key besides the text.

        `hash` maps a key's UTF-8 bytes to 0..2**64-1; tests give a poor one to force collisions.
        Raises DuplicateKeyError.
        """
        data, ends, unsorted = bytearray(), array("q", [0]), array("Q")
        for key in keys:
            raw = _encode(key)
            data += raw
            ends.append(len(data))
            unsorted.append(hash(raw))
        order = np.argsort(np.frombuffer(unsorted, np.uint64), kind="stable")
        hashes = np.frombuffer(unsorted, np.uint64)[order]
        rows = order.astype(np.int32 if len(order) < 2**31 else np.int64)
        offsets = np.frombuffer(ends, np.int64)
        table = cls(hashes, rows, offsets, np.frombuffer(data, np.uint8), _directory(hashes), hash)
        table._refuse_duplicates()
        return table

    @classmethod
    def load(cls, folder: Path, hash: KeyHash = hash64) -> "KeyTable":
        """Map a saved table, in milliseconds at any size. Raises FolderError."""
        saved = Folder(folder, KIND)
        hashes, offsets = saved.array("hashes", np.uint64), saved.array("offsets", np.int64)
        rows, data = saved.array("rows"), saved.array("data", np.uint8)
        directory = saved.array("directory", np.int64)
        saved.require(len(hashes) == len(rows) == len(offsets) - 1, "hashes, rows, offsets differ in length")
        saved.require(offsets[0] == 0 and offsets[-1] == len(data), "the offsets do not span the keys")
        buckets = len(directory) - 1
        power_of_two = buckets >= MIN_BUCKETS and not buckets & (buckets - 1)
        saved.require(power_of_two, f"the directory has {buckets} buckets, not a power of two")
        saved.require(directory[-1] == len(hashes), "the directory does not span the hashes")
        return cls(hashes, rows, offsets, data, directory, hash)

    def save(self, folder: Path) -> None:
        """Write the table into `folder`."""
        arrays = {name: getattr(self, name) for name in ("hashes", "rows", "offsets", "data", "directory")}
        write_folder(folder, KIND, arrays, {})

    def __len__(self) -> int:
        return len(self.hashes)

    def get(self, key: str) -> int:
        """The row number of `key`, or -1."""
        hashes, rows, offsets, data, directory = self._views
        raw = key.encode("utf-8", "surrogatepass")
        hashed = self.hash(raw)
        bucket = hashed >> self._shift
        end = directory[bucket + 1]
        at = bisect_left(hashes, hashed, directory[bucket], end)
        while at < end and hashes[at] == hashed:
            row = rows[at]
            if data[offsets[row] : offsets[row + 1]] == raw:
                return row
            at += 1
        return -1

    def key(self, row: int) -> str:
        """The key of row `row`. Raises InputError outside 0..len-1."""
        if not 0 <= row < len(self):
            last = len(self) - 1
            raise InputError(f"row {row} came, the table has rows 0..{last}: pass a row that get() gave")
        return self._raw(row).decode("utf-8", "surrogatepass")

    def _raw(self, row: int) -> bytes:
        _, _, offsets, data, _ = self._views
        return data[offsets[row] : offsets[row + 1]].tobytes()

    def _refuse_duplicates(self) -> None:
        twins = np.flatnonzero(self.hashes[1:] == self.hashes[:-1])  # [pairs] int64: the first of two alike
        suspects = np.unique(np.concatenate([twins, twins + 1]))
        keys = sorted((self._raw(row), row) for row in self.rows[suspects].tolist())
        for (first, row), (second, other) in pairwise(keys):
            if first == second:
                raise DuplicateKeyError(
                    f"key {first[:80]!r} came at rows {row} and {other}, wanted each once: merge them first"
                )


def _encode(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")  # half a surrogate pair in a damaged log is still a key


def _bits(buckets: int) -> int:
    return buckets.bit_length() - 1


def _directory(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    bits = max(1, (len(hashes) // KEYS_PER_BUCKET).bit_length())
    firsts = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)  # [buckets] uint64
    starts = np.searchsorted(hashes, firsts)  # both uint64: a Python int would cast all hashes to float64
    return np.append(starts, len(hashes)).astype(np.int64)
