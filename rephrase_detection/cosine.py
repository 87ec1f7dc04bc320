"""The usual baseline: the cosine of two sentence embeddings, and whether the first turn failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rephrase_detection.candidates import Reach
from rephrase_detection.detector import Links, RephraseDetector
from rephrase_detection.detector_folder import checked_threshold, read_parameters, write_parameters, written_beside
from rephrase_detection.errors import DetectorError
from rephrase_detection.pairwise import REACH, LabelledPairs, PairWeights, Values, best_links

FORMAT = "cosine"
#: For embeddings of all-MiniLM-L6-v2; fitted on annotated commands and calls, and rounded.
WEIGHTS = PairWeights(prior=-1.9, alike=3.8, failed=0.9)

#: From texts to one vector each [texts, dim] float32, of any length.
Encode = Callable[[Sequence[str]], NDArray[Any]]


@dataclass(frozen=True)
class CosineDetector(RephraseDetector):
    """Likeness is the cosine of the embeddings that `encode` gives, -1 to 1.

    `model` names the sentence-transformers model behind `encode`, so that `load` finds it again; None where the
    embeddings come from elsewhere, and `load` is given `encode`. The weights built in are for all-MiniLM-L6-v2.
    """

    encode: Encode
    weights: PairWeights = WEIGHTS
    threshold: float = 0.5
    reach: Reach = REACH
    model: str | None = None

    def __post_init__(self) -> None:
        checked_threshold(self.threshold)

    @classmethod
    def fitted(
        cls,
        examples: Sequence[LabelledPairs],
        encode: Encode,
        threshold: float = 0.5,
        reach: Reach = REACH,
        model: str | None = None,
    ) -> CosineDetector:
        """With the weights that labelled pairs give. Raises DetectorError."""
        weights = PairWeights.fitted(examples, lambda left, right: cosines(encode, left, right))
        return cls(encode, weights, threshold, reach, model)

    @classmethod
    def load(cls, folder: str | Path, encode: Encode | None = None) -> CosineDetector:
        """A saved detector, with these embeddings or those of the model that it names. Raises DetectorError."""
        weights, threshold, reach, whole = read_parameters(folder, FORMAT)
        model = whole.get("model")
        if encode is None:
            if not isinstance(model, str):
                raise DetectorError(f"{folder} names no model: give load the function that embeds texts as `encode`")
            from rephrase_detection.cosine_sentence_transformers import sentence_encoder

            encode = sentence_encoder(model)
        return cls(encode, weights, threshold, reach, model)

    def save(self, folder: str | Path) -> None:
        """Write the detector to `folder`, in place of a detector that is there. Raises DetectorError.

        The model of the embeddings is named, not copied.
        """
        with written_beside(folder) as beside:
            write_parameters(beside, FORMAT, self.weights, self.threshold, self.reach, {"model": self.model})

    def score(self, batch: pa.RecordBatch, p_success: Values) -> Links:
        """The most probable target of every source that has a candidate."""
        return best_links(
            batch, p_success, self.reach, self.weights, lambda left, right: cosines(self.encode, left, right)
        )


def cosines(encode: Encode, left: Sequence[str], right: Sequence[str]) -> Values:
    """The cosine of each pair's embeddings, each distinct text embedded once [pairs] float64; 0 for a zero vector."""
    place = {text: row for row, text in enumerate(dict.fromkeys([*left, *right]))}
    vectors = np.asarray(encode(list(place)), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(place):
        raise DetectorError(f"embeddings of shape {vectors.shape} came for {len(place)} texts: a row each is wanted")
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    one, other = ([place[text] for text in texts] for texts in (left, right))
    return np.asarray(np.clip(np.einsum("pd,pd->p", vectors[one], vectors[other]), -1, 1), np.float64)
