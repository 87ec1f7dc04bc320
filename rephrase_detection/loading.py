"""A detector by its name or its folder."""

from __future__ import annotations

import json
from pathlib import Path

from rephrase_detection.detector import RephraseDetector
from rephrase_detection.detector_folder import FILE
from rephrase_detection.errors import DetectorError
from rephrase_detection.lexical import LexicalDetector

LEXICAL = "lexical"
#: Kinds of folders, with the module and class that read them.
READERS = {
    "span": ("rephrase_detection.span", "SpanDetector"),
    "boosted": ("rephrase_detection.boosted_lightgbm", "BoostedDetector"),
    "edit-distance": ("rephrase_detection.edit_distance", "EditDistanceDetector"),
    "cosine": ("rephrase_detection.cosine", "CosineDetector"),
    "pair-bert": ("rephrase_detection.pair_bert_torch", "PairBertDetector"),
}


def load_detector(name: str | Path) -> RephraseDetector:
    """The lexical rung by the name "lexical", or the detector that was saved in a folder. Raises DetectorError."""
    if str(name) == LEXICAL:
        return LexicalDetector()
    folder = Path(name)
    if not folder.is_dir():
        raise DetectorError(
            f'{str(name)!r} is no folder: "lexical", or the folder of a trained detector is wanted. Train one with'
            " rewrite train-detector LOG --out DIR"
        )
    kind = _kind(folder)
    if kind not in READERS:
        raise DetectorError(f"{folder / FILE} is of format {kind!r}: one of {', '.join(READERS)} is wanted")
    module, reader = READERS[kind]
    from importlib import import_module

    try:
        found: RephraseDetector = getattr(import_module(module), reader).load(folder)
    except ImportError as error:
        raise DetectorError(f'{folder} needs a library: {error}. pip install "reprise-rewrite[train]"') from error
    return found


def _kind(folder: Path) -> str:
    path = folder / FILE
    if not path.is_file():
        raise DetectorError(f"{folder} has no {FILE}: the folder of a trained detector is wanted")
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DetectorError(f"{path} cannot be read ({error!r}): train or copy the detector again") from error
