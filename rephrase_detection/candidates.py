"""Which later turns could say again what a turn said: the pairs that every trained detector looks at.

A *candidate* of a source is one of the next `max_turns` turns of its session within `limit_s` seconds. Empty texts
and texts of more than `max_characters`, which nobody says twice, are neither sources nor candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dialogue.outcomes import following

Rows = NDArray[np.int64]

#: A longer text is read out or a fault: no request is.
LONGEST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a rephrase is looked for; both limits are learned from the pairs of the training logs."""

    limit_s: float = 600.0
    max_turns: int = 3
    max_characters: int = LONGEST_CHARACTERS

    def __post_init__(self) -> None:
        whole = isinstance(self.max_turns, int) and isinstance(self.max_characters, int)
        if not self.limit_s > 0 or not whole or self.max_turns < 1 or self.max_characters < 1:
            raise ValueError(
                f"limit_s {self.limit_s}, max_turns {self.max_turns} and max_characters {self.max_characters} came:"
                " seconds above 0, and whole numbers from 1 on are wanted"
            )

    @classmethod
    def covering(cls, gaps: NDArray[np.float64], turns: Rows, share: float = 0.995, least_s: float = 600.0) -> Reach:
        """The least reach that holds this share of known rephrases: their seconds and turns after the source [pairs].

        `least_s` bounds the limit from below, six hours from above. Without a known rephrase, the defaults.
        """
        if not len(gaps):
            return cls()
        gap, distance = (float(np.quantile(each, share, method="inverted_cdf")) for each in (gaps, turns))
        return cls(min(max(gap * 1.25, least_s), 21_600.0), int(min(max(distance, 1), 8)))


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of rows of a dialogue batch, ordered by (source, target)."""

    source: Rows  # [pairs] int64
    target: Rows  # [pairs] int64

    def __len__(self) -> int:
        return len(self.source)

    @property
    def first(self) -> NDArray[np.bool_]:
        """Whether a pair is the first of its source [pairs] bool."""
        return np.append(True, self.source[1:] != self.source[:-1]) if len(self) else np.zeros(0, np.bool_)

    @property
    def group(self) -> Rows:
        """The number of each pair's source among the sources, from 0 [pairs] int64."""
        return np.asarray(np.cumsum(self.first) - 1, np.int64)

    def best(self, probability: NDArray[np.float64]) -> Rows:
        """The place of the most probable pair of every source, the nearest of equals [sources] int64."""
        order = np.lexsort((self.target, -probability, self.source))
        return np.asarray(order[self.first], np.int64)  # sources are sorted already: the first of each stays in place

    def among(self, kept: NDArray[np.bool_]) -> Candidates:
        """Those that are kept [pairs] bool."""
        return Candidates(self.source[kept], self.target[kept])


def candidates(batch: pa.RecordBatch, reach: Reach, sources: NDArray[np.bool_] | None = None) -> Candidates:
    """The candidates of the sources of a dialogue batch; `sources` [turns] bool says of which turns, all by default."""
    length = np.asarray(pc.utf8_length(batch["said"]), np.int64)
    fit = (length > 0) & (length <= reach.max_characters)
    asked = fit if sources is None else fit & sources
    pairs = [np.zeros((2, 0), np.int64)]
    for rows, targets in following(batch, reach.limit_s, reach.max_turns):
        pairs.append(np.stack([rows, targets])[:, asked[rows] & fit[targets]])
    source, target = np.concatenate(pairs, axis=1)
    order = np.lexsort((target, source))
    return Candidates(source[order], target[order])
