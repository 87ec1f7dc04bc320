"""Gradient-boosted trees over what can be measured on a pair: the strongest detector that needs no encoder.

Trees go on from the log-odds of the lexical rung, which suits any log: where there is little to learn from they change
little. With the features of the pair alone it is a pairwise baseline, with those of the context the best that hand
features do; the span model begins where the latter ends (`rephrase_detection.span_torch`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rephrase_detection.candidates import Candidates, Reach, candidates
from rephrase_detection.detector import Links, RephraseDetector
from rephrase_detection.detector_folder import FILE, VERSION, checked_threshold, read_file, written_beside
from rephrase_detection.errors import DetectorError
from rephrase_detection.features import CONTEXT, NAMES, PAIR, pair_features
from rephrase_detection.pairwise import LabelledPairs, Values, labels

FORMAT = "boosted"
TREES_FILE = "trees.txt"
#: Log-odds are kept within this: a leaf that saw one label only is not certain.
MOST_LOG_ODDS = 9.0

SETTINGS = {
    "objective": "binary", "num_leaves": 15, "learning_rate": 0.05, "min_data_in_leaf": 10, "lambda_l2": 5.0,
    "feature_fraction": 0.6, "bagging_fraction": 0.8, "bagging_freq": 1, "deterministic": True,
    "force_row_wise": True, "verbose": -1,
    "num_threads": 1,  # the same trees as by more threads, which wait for each other on a busy machine
}  # fmt: skip
ROUNDS = 400
#: For labels that no person gave: a few small steps from the lexical rung, since more would learn the rule by heart.
WEAK_SETTINGS, WEAK_ROUNDS = {"num_leaves": 4, "min_data_in_leaf": 20, "lambda_l2": 20.0}, 60
LEXICAL = NAMES.index("lexical")
#: Far enough for any second try: time is a feature of the trees.
WIDE = Reach(3600.0, 3)


@dataclass(frozen=True, eq=False)
class Trees:
    """Trees over some columns of `pair_features`; the booster is LightGBM's."""

    booster: Any
    names: tuple[str, ...]

    @classmethod
    def fitted(
        cls,
        features: Values,
        label: Values,
        weight: Values,
        names: Sequence[str] = NAMES,
        seed: int = 0,
        weak: bool = False,
    ) -> Trees:
        """Grown on the features of labelled pairs [pairs, features], label 1 or 0 and weight [pairs] float64.

        `weak` says that no person gave the labels. Raises DetectorError.
        """
        if not len(label):
            raise DetectorError(
                "no labelled pair came to grow trees on: give a longer log, or annotated dialogues (gold.rephrase_of)"
            )
        lightgbm = _lightgbm()
        columns = [NAMES.index(name) for name in names]
        table = np.ascontiguousarray(features[:, columns])
        start = np.ascontiguousarray(features[:, LEXICAL])
        data = lightgbm.Dataset(table, label, weight=weight, init_score=start, feature_name=list(names))
        settings = SETTINGS | (WEAK_SETTINGS if weak else {}) | {"seed": seed}
        return cls(lightgbm.train(settings, data, WEAK_ROUNDS if weak else ROUNDS), tuple(names))

    @classmethod
    def load(cls, path: Path) -> Trees:
        """From the file that `save` wrote. Raises DetectorError."""
        lightgbm = _lightgbm()
        if not path.is_file():
            raise DetectorError(f"{path} is missing: train or copy the detector again")
        try:
            booster = lightgbm.Booster(model_file=str(path))
        except lightgbm.basic.LightGBMError as error:
            raise DetectorError(f"{path} cannot be read ({error}): train or copy the detector again") from error
        names = tuple(booster.feature_name())
        if other := sorted(set(names) - set(NAMES)):
            raise DetectorError(f"{path} reads {', '.join(other)}, which is not measured: train the detector again")
        return cls(booster, names)

    def save(self, path: Path) -> None:
        """As LightGBM's text format."""
        path.write_text(self.booster.model_to_string(num_iteration=-1), encoding="utf-8")

    def log_odds(self, features: Values) -> Values:
        """Log-odds that a pair is a rephrase, from `pair_features` [pairs, features] -> [pairs] float64."""
        if not len(features):
            return np.zeros(0)
        columns = [NAMES.index(name) for name in self.names]
        raw = self.booster.predict(features[:, columns], raw_score=True, num_threads=1)
        return np.clip(np.asarray(raw, np.float64) + features[:, LEXICAL], -MOST_LOG_ODDS, MOST_LOG_ODDS)


@dataclass(frozen=True, eq=False)
class BoostedDetector(RephraseDetector):
    """Trees alone; `trees.names` says whether they see the context."""

    trees: Trees
    threshold: float = 0.5
    reach: Reach = WIDE

    def __post_init__(self) -> None:
        checked_threshold(self.threshold)

    @classmethod
    def fitted(
        cls,
        examples: Sequence[LabelledPairs],
        names: Sequence[str] = (*PAIR, *CONTEXT),
        threshold: float = 0.5,
        reach: Reach | None = None,
        seed: int = 0,
    ) -> BoostedDetector:
        """Grown on labelled pairs. Raises DetectorError."""
        label, weight = labels(examples)
        parts = [features_among(each, reach or WIDE) for each in examples]
        trees = Trees.fitted(np.concatenate(parts), label, weight, names, seed)
        return cls(trees, threshold, reach or WIDE)

    @classmethod
    def load(cls, folder: str | Path) -> BoostedDetector:
        """A saved detector. Raises DetectorError."""
        found = read_manifest(folder, FORMAT)
        try:
            threshold, reach = float(found["threshold"]), Reach(**found["reach"])
        except (KeyError, TypeError, ValueError) as error:
            path = Path(folder) / FILE
            raise DetectorError(f"{path} lacks or has wrong parameters ({error!r}): train it again") from error
        return cls(Trees.load(Path(folder) / TREES_FILE), threshold, reach)

    def save(self, folder: str | Path) -> None:
        """Write the detector to `folder`, in place of a detector that is there. Raises DetectorError."""
        with written_beside(folder) as beside:
            whole: dict[str, Any] = {"format": FORMAT, "version": VERSION, "threshold": self.threshold}
            whole["reach"] = asdict(self.reach)
            self.trees.save(beside / TREES_FILE)
            whole["files"] = digests(beside, [TREES_FILE])
            (beside / FILE).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")

    def score(self, batch: pa.RecordBatch, p_success: Values) -> Links:
        """The most probable target of every source that has a candidate."""
        pairs = candidates(batch, self.reach)
        odds = self.trees.log_odds(pair_features(batch, p_success, pairs))
        return best_of(pairs, 1 / (1 + np.exp(-odds)), np.full(len(pairs), -1, np.int8))


def features_among(examples: LabelledPairs, reach: Reach) -> Values:
    """The features of labelled pairs beside all candidates, as `score` sees them [pairs, features] float64."""
    turns, beside = max(examples.batch.num_rows, 1), candidates(examples.batch, reach)
    wanted = examples.source * turns + examples.target
    keys = np.union1d(wanted, beside.source * turns + beside.target)
    found = pair_features(examples.batch, examples.p_success, Candidates(keys // turns, keys % turns))
    return np.asarray(found[np.searchsorted(keys, wanted)], np.float64)


def best_of(pairs: Candidates, probability: Values, kind: NDArray[np.int8]) -> Links:
    """The most probable pair of every source, the nearest of equals."""
    best = pairs.best(probability)
    return Links(pairs.source[best], pairs.target[best], probability[best], kind[best])


def read_manifest(folder: str | Path, kind: str) -> dict[str, Any]:
    """The `detector.json` of a folder, which must be of this format, with the files it names. Raises DetectorError."""
    path, found = Path(folder) / FILE, read_file(folder)
    came = (found.get("format"), found.get("version"))
    if came != (kind, VERSION):
        raise DetectorError(f"{path} is of format {came}: {kind!r}, version {VERSION}, is wanted: train it again")
    files = found.get("files")
    if not isinstance(files, dict) or not files:
        raise DetectorError(f"{path} does not name its files: train or copy the detector again")
    for name, digest in files.items():
        if not (path.parent / name).is_file():
            raise DetectorError(f"{path.parent / name} is missing: train or copy the detector again")
        if digests(path.parent, [name])[name] != digest:
            raise DetectorError(f"{path.parent / name} is not as it was written: train or copy the detector again")
    return found


def digests(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """What some files of a folder hold, for its manifest: LightGBM may crash on trees that were cut off."""
    return {name: blake2b((folder / name).read_bytes(), digest_size=16).hexdigest() for name in names}


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise DetectorError('trained detectors need LightGBM: pip install "reprise-rewrite[detect]"') from error
    return lightgbm
