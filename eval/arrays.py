"""The door of the measures that work on arrays: what comes is made flat float64 and checked once.

NaN and infinity are refused everywhere: a figure made from them would look measured.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def flat(name: str, values: ArrayLike, low: float = -math.inf, high: float = math.inf) -> Floats:
    """`values` as [n] float64; ValueError where one is not a finite number from `low` to `high`."""
    try:
        column = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} came as {values!r:.60}: numbers are wanted") from error
    if column.ndim != 1:
        raise ValueError(f"{name} came with shape {column.shape}: a flat array is wanted")
    bad = np.flatnonzero(~(np.isfinite(column) & (column >= low) & (column <= high)))
    if bad.size:
        ends = "" if math.isinf(low) and math.isinf(high) else f" from {low:g} to {high:g}"
        raise ValueError(f"{name}[{bad[0]}] came as {column[bad[0]]}: a finite number{ends} is wanted")
    return column


def fraction(name: str, value: float) -> float:
    """`value`, strictly between 0 and 1, or ValueError."""
    if not 0 < value < 1:
        raise ValueError(f"{name} came as {value!r}: a number between 0 and 1 is wanted, neither of them")
    return value


def same_length(**columns: Sequence[object] | NDArray[np.generic]) -> int:
    """The one length that all the named columns have, or ValueError."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns came with lengths {lengths}: one length is wanted")
    return next(iter(lengths.values()))


def codes(ids: Sequence[Hashable] | NDArray[np.generic]) -> tuple[Ints, int]:
    """Each id as its place among the distinct ones [n] int64, in order of first appearance, and how many there are."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iuUS":
        distinct, places = np.unique(ids, return_inverse=True)
        return places.astype(np.int64), len(distinct)
    known: dict[Hashable, int] = {}
    places = np.fromiter((known.setdefault(each, len(known)) for each in ids), np.int64, len(ids))
    return places, len(known)
