"""The simplest baseline: letters in common, and whether the first turn failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from dialogue.similarity import letters
from rephrase_detection.candidates import Reach
from rephrase_detection.detector import Links, RephraseDetector
from rephrase_detection.detector_folder import checked_threshold, read_parameters, write_parameters, written_beside
from rephrase_detection.pairwise import REACH, LabelledPairs, PairWeights, Values, best_links

FORMAT = "edit-distance"
#: Fitted on annotated commands and calls, and rounded.
WEIGHTS = PairWeights(prior=-2.5, alike=5.0, failed=0.9)


@dataclass(frozen=True)
class EditDistanceDetector(RephraseDetector):
    """Likeness is the normalised indel similarity of the two texts, 0 to 1: 2 * LCS / (|a| + |b|)."""

    weights: PairWeights = WEIGHTS
    threshold: float = 0.5
    reach: Reach = REACH

    def __post_init__(self) -> None:
        checked_threshold(self.threshold)

    @classmethod
    def fitted(
        cls, examples: Sequence[LabelledPairs], threshold: float = 0.5, reach: Reach = REACH
    ) -> EditDistanceDetector:
        """With the weights that labelled pairs give. Raises DetectorError."""
        return cls(PairWeights.fitted(examples, likeness), threshold, reach)

    @classmethod
    def load(cls, folder: str | Path) -> EditDistanceDetector:
        """A saved detector. Raises DetectorError."""
        return cls(*read_parameters(folder, FORMAT)[:3])

    def save(self, folder: str | Path) -> None:
        """Write the detector to `folder`, in place of a detector that is there. Raises DetectorError."""
        with written_beside(folder) as beside:
            write_parameters(beside, FORMAT, self.weights, self.threshold, self.reach)

    def score(self, batch: pa.RecordBatch, p_success: Values) -> Links:
        """The most probable target of every source that has a candidate."""
        return best_links(batch, p_success, self.reach, self.weights, likeness)


def likeness(left: Sequence[str], right: Sequence[str]) -> Values:
    """The letters that each pair has in common, 0 to 1 [pairs] float64."""
    return letters(left, right).astype(np.float64)
