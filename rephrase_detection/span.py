"""The strong rung: boosted trees propose, and a BERT span model that reads the dialogue has its say.

The encoder is asked only about windows that could hold a rephrase: of sources that may have failed, with a candidate
that the trees do not rule out; each distinct window once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rephrase_detection.boosted_lightgbm import TREES_FILE, Trees, best_of, digests, read_manifest
from rephrase_detection.candidates import Candidates, Reach, candidates
from rephrase_detection.detector import Links, RephraseDetector
from rephrase_detection.detector_folder import FILE, VERSION, checked_threshold, written_beside
from rephrase_detection.errors import DetectorError
from rephrase_detection.features import NAMES, pair_features
from rephrase_detection.joining import Joint
from rephrase_detection.lexical import LexicalDetector
from rephrase_detection.span_onnx import MODEL_FILE, OnnxSpanModel
from rephrase_detection.windows import WindowEncoder, Windows

FORMAT = "span"
TOKENIZER_FILE, METRICS_FILE = "tokenizer.json", "metrics.json"
FILES = (FILE, TREES_FILE, MODEL_FILE, TOKENIZER_FILE, METRICS_FILE)

DIFFERING_SOUND = NAMES.index("differing_sound")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class SpanParameters:
    """The numbers of a trained detector."""

    reach: Reach = field(default_factory=Reach)
    joint: Joint = field(default_factory=Joint)
    threshold: float = 0.5
    asked_below: float = 1.0  #: P(success) of a source from which it is not looked at
    surely_none: float = -5.0  #: log-odds of the trees below which the encoder is not asked
    max_tokens: int = 128
    kind_heard: bool = True  #: the encoder tells the kind; if not, the sound of the words that differ does

    def __post_init__(self) -> None:
        checked_threshold(self.threshold)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> SpanParameters:
        """From the manifest of a detector. Raises DetectorError."""
        try:
            plain = {name: float(found[name]) for name in ("threshold", "asked_below", "surely_none")}
            joint = Joint(**{name: float(value) for name, value in found["joint"].items()})
            more = {"max_tokens": int(found["max_tokens"]), "kind_heard": bool(found.get("kind_heard", True))}
            return cls(Reach(**found["reach"]), joint, **plain, **more)  # type: ignore[arg-type]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DetectorError(f"{FILE} lacks or has wrong parameters ({error!r}): train it again") from error


@dataclass(slots=True)
class Asked:
    """How much a detector was asked, since it was loaded."""

    turns: int = 0
    pairs: int = 0
    windows: int = 0  # that could hold a rephrase
    distinct: int = 0  # of these, told apart within a batch: so often the encoder was run


@dataclass(frozen=True, eq=False)
class SpanDetector(RephraseDetector):
    """A trained detector. Picklable: another process loads it from its folder."""

    folder: Path
    parameters: SpanParameters
    trees: Trees
    model: OnnxSpanModel
    encoder: WindowEncoder
    asked: Asked = field(default_factory=Asked)

    @classmethod
    def load(cls, folder: str | Path, threads: int | None = None) -> SpanDetector:
        """From the folder that `train_detector` wrote. Raises DetectorError."""
        folder = Path(folder).absolute()
        parameters = SpanParameters.from_dict(read_manifest(folder, FORMAT))
        for name in FILES:
            if not (folder / name).is_file():
                raise DetectorError(f"{folder / name} is missing: train or copy the detector again")
        encoder = WindowEncoder.from_folder(folder, parameters.max_tokens)
        detector = cls(
            folder, parameters, Trees.load(folder / TREES_FILE), OnnxSpanModel(folder / MODEL_FILE, threads), encoder
        )
        _ = detector.model.session  # a broken model is told now, not in the middle of a log
        return detector

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.folder, self.model.threads, self.parameters)

    def __repr__(self) -> str:
        return f"SpanDetector({self.digest})"

    @cached_property
    def digest(self) -> str:
        """A name of the detector's files."""
        found = blake2b(digest_size=8)
        for name in FILES:
            found.update((self.folder / name).read_bytes())
        found.update(repr(self.parameters).encode())
        return found.hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write the detector with its parameters to another folder, in place of one there. Raises DetectorError."""
        metrics = json.loads((self.folder / METRICS_FILE).read_text(encoding="utf-8"))
        write_detector(Path(folder), self.parameters, self.trees, self.model, self.encoder, metrics)

    @property
    def threshold(self) -> float:  # type: ignore[override]
        return self.parameters.threshold

    def score(self, batch: pa.RecordBatch, p_success: Values) -> Links:
        """The most probable target of every source that is looked at."""
        if len(p_success) != batch.num_rows:
            raise ValueError(f"{len(p_success)} outcomes for {batch.num_rows} turns: one each is wanted")
        pairs = candidates(batch, self.parameters.reach, p_success < self.parameters.asked_below)
        features = pair_features(batch, p_success, pairs)
        trees = self.trees.log_odds(features)
        text, kind = self._read(batch, pairs, trees)
        self.asked.turns += batch.num_rows
        self.asked.pairs += len(pairs)
        probability = self.parameters.joint.probability(pairs, trees, text)
        heard = ~np.isnan(kind) & self.parameters.kind_heard
        sound = features[:, DIFFERING_SOUND] >= LexicalDetector.misheard_from
        codes = np.where(heard, kind > 0, sound).astype(np.int8)
        return best_of(pairs, probability, codes)

    def parts(self, batch: pa.RecordBatch, p_success: Values, pairs: Candidates) -> tuple[Values, Values]:
        """The log-odds of the trees and of the text for some pairs, the latter NaN where it was not asked [pairs]."""
        trees = self.trees.log_odds(pair_features(batch, p_success, pairs))
        return trees, self._read(batch, pairs, trees)[0]

    def _read(self, batch: pa.RecordBatch, pairs: Candidates, trees: Values) -> tuple[Values, Values]:
        """What the encoder makes of the pairs whose source is open; NaN for all others [pairs] float64 each."""
        found = np.full((2, len(pairs)), np.nan)
        if not len(pairs):
            return found[0], found[1]
        rows = np.flatnonzero(asked_about(pairs, trees, self.parameters.surely_none))
        if len(rows):
            windows = self.encoder.encode(batch, pairs.among(np.isin(np.arange(len(pairs)), rows)))
            distinct, same = distinct_windows(windows)
            found[:, rows] = self._scores(windows, distinct, same, len(rows))
            self.asked.windows += len(windows)
            self.asked.distinct += len(distinct)
        return found[0], found[1]

    def _scores(self, windows: Windows, distinct: list[int], same: list[int], pairs: int) -> Values:
        found = np.full((2, pairs), np.nan)
        once = windows.among(np.array(distinct, np.int64))
        read = self.model.scores(once, pairs)
        for window, like in enumerate(same):
            slots = windows.slots_of(window)
            first = windows.slot_starts[distinct[like]]
            there = windows.pair[first : first + slots.stop - slots.start]
            for row in (0, 1):
                found[row, windows.pair[slots]] = read[row][there]
        return found


def _opened(folder: Path, threads: int | None, parameters: SpanParameters) -> SpanDetector:
    return replace(SpanDetector.load(folder, threads), parameters=parameters)


def asked_about(pairs: Candidates, trees: Values, surely_none: float) -> NDArray[np.bool_]:
    """Whether the source of a pair has a candidate that the trees do not rule out [pairs] bool."""
    if not len(pairs):
        return np.zeros(0, np.bool_)
    best = np.maximum.reduceat(trees, np.flatnonzero(pairs.first))
    return np.asarray((best >= surely_none)[pairs.group], np.bool_)


def distinct_windows(windows: Windows) -> tuple[list[int], list[int]]:
    """The first of every kind of window, and for each window the place of its kind among them."""
    places: dict[bytes, int] = {}
    distinct, same = list[int](), list[int]()
    for window in range(len(windows)):
        tokens, slots = windows.tokens_of(window), windows.slots_of(window)
        parts = (windows.tokens[tokens], windows.again[tokens], windows.start[slots], windows.end[slots])
        key = b"|".join(each.tobytes() for each in parts)
        if key not in places:
            places[key] = len(distinct)
            distinct.append(window)
        same.append(places[key])
    return distinct, same


def write_detector(
    out: Path, parameters: SpanParameters, trees: Trees, model: OnnxSpanModel, encoder: WindowEncoder, metrics: Any
) -> None:
    """The folder of a detector, written beside and then renamed. Raises DetectorError."""
    with written_beside(out) as beside:
        trees.save(beside / TREES_FILE)
        copyfile(model.path, beside / MODEL_FILE)
        encoder.tokenizer.save(str(beside / TOKENIZER_FILE))
        files = digests(beside, [TREES_FILE, MODEL_FILE, TOKENIZER_FILE])
        whole = {"format": FORMAT, "version": VERSION, **asdict(parameters), "files": files}
        for name, content in ((METRICS_FILE, metrics), (FILE, whole)):
            (beside / name).write_text(json.dumps(content, indent=2, default=float) + "\n", encoding="utf-8")
