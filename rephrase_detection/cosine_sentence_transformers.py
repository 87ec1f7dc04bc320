"""Sentence embeddings from a sentence-transformers model, for the cosine baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rephrase_detection.cosine import Encode
from rephrase_detection.errors import DetectorError


def sentence_encoder(model: str | Path, batch_texts: int = 128, device: str | None = None) -> Encode:
    """What embeds texts with the model of a folder or of a Hugging Face id [texts, dim] float32.

    Raises DetectorError where the library is not installed or the model cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise DetectorError(
            'sentence embeddings need sentence-transformers: pip install "reprise-rewrite[train]"'
        ) from error
    try:
        network = SentenceTransformer(str(model), device=device)
    except Exception as error:  # the library's errors are many: no such folder or id, offline, damaged weights
        raise DetectorError(
            f"{model} cannot be loaded as a sentence-transformers model ({type(error).__name__}: {error}):"
            " give the folder of one, or its Hugging Face id"
        ) from error

    def encode(texts: Sequence[str]) -> NDArray[Any]:
        found = network.encode(list(texts), batch_size=batch_texts, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(found, np.float32)

    return encode
