"""The reranker as it is served: which candidate comes first, how likely it is what was meant, and the request right.

Two looks. The first puts the candidates in order by a conditional logit over a few likenesses (McFadden, "Conditional
logit analysis of qualitative choice behavior", 1974): one of them was meant, and which is a matter of how they compare.
The second looks at the first of them with all that is known, by trees: is it what was meant, or is none? And is the
request right as it was said? Trees alone order worse: they are grown to tell right from wrong over all requests, and
where nothing is likely they do not tell candidates of one request apart.

On disk, in one folder:

    best.onnx       log-odds that the first candidate is what was meant, from its features and its lead (BEST)
    alone.onnx      log-odds that the request is right as it was said, from the same
    reranker.json   names of the features, weights of the order, both calibrations, and how the two log-odds weigh
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import FolderError
from retrieval.model_onnxruntime import OnnxSession
from rewrite.calibration import Calibration
from rewrite.errors import ModelError
from rewrite.reranking import LIKENESSES, NAMES, Floats

FILE, VERSION = "reranker.json", 1
BEST_FILE, ALONE_FILE = "best.onnx", "alone.onnx"
#: The features that the order goes by; what is not known counts as 0.
ORDER = LIKENESSES
_ORDER = [NAMES.index(name) for name in ORDER]
#: What the second look at the first candidate knows beside its features.
BEST = (*NAMES, "chance", "next_chance", "lead")
#: The least chance that a lead is counted from.
LEAST_CHANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Ranked:
    """The candidates of a request in order of how likely each is what was meant.

    order      places among the candidates given, the likeliest first
    right      P(the first is what was meant)
    alone      P(the request succeeds as it was said)
    score      log-odds that rewriting to the first repairs rather than harms: what thresholds are set on
    chances    P(each is what was meant), if one of them is, in `order`
    """

    order: tuple[int, ...]
    right: float
    alone: float
    score: float
    chances: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """score = of_right * log-odds(right) - of_alone * log-odds(alone) + bias (`rewrite.reranker_training`)."""

    of_right: float = 1.0
    of_alone: float = 1.0
    bias: float = 0.0

    def score(self, right: float, alone: float) -> float:
        return self.of_right * log_odds(right) - self.of_alone * log_odds(alone) + self.bias


class Reranker:
    """Ranks the candidates of one request. Thread-safe."""

    def __init__(
        self,
        order: NDArray[np.float32],
        best: OnnxSession,
        alone: OnnxSession,
        right_calibration: Calibration,
        alone_calibration: Calibration,
        weights: Weights,
    ) -> None:
        self._order, self._best, self._alone = order, best, alone
        self._right_calibration, self._alone_calibration, self.weights = right_calibration, alone_calibration, weights

    @classmethod
    def load(cls, folder: Path) -> Reranker:
        """Opens a saved reranker. Raises ModelError."""
        told = _read(folder / FILE)
        try:
            best, alone = (_trees(folder / name, len(BEST)) for name in (BEST_FILE, ALONE_FILE))
            order = np.array([float(told["order"][name]) for name in ORDER], np.float32)
            right, sound = (Calibration.from_dict(told[name]) for name in ("right_calibration", "alone_calibration"))
            return cls(order, best, alone, right, sound, Weights(**told["weights"]))
        except (FolderError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the reranker in {folder} cannot be used: {error}. Train it again, or copy it anew"
            ) from error

    def rank(self, likeness: Floats, look: Callable[[int], Sequence[float]]) -> Ranked:
        """Puts all candidates in order by their likenesses [candidates, LIKENESSES], and looks at the likeliest.

        `look` gives the features of the candidate at a place, in the order of NAMES.
        """
        chances = chances_of(likeness, self._order)
        order = np.argsort(-chances, kind="stable")
        first = int(order[0])
        second = second_look(look(first), chances, first)
        right = self._right_calibration.one(float(self._best.run(second)[0, 0]))
        alone = self._alone_calibration.one(float(self._alone.run(second)[0, 0]))
        return Ranked(
            tuple(order.tolist()), right, alone, self.weights.score(right, alone), tuple(chances[order].tolist())
        )


def second_look(features: Sequence[float] | Floats, chances: Floats, first: int) -> Floats:
    """What the second look sees of the first candidate [1, BEST] float32, from its features [NAMES]."""
    each = chances.tolist()
    chance, following = each[first], max([*each[:first], *each[first + 1 :]], default=0.0)
    lead = math.log(max(chance, LEAST_CHANCE) / max(following, LEAST_CHANCE))
    return np.array([(*features, chance, following, lead)], np.float32)


def ordered_by(table: Floats) -> Floats:
    """The likenesses among the features [candidates, NAMES]: [candidates, ORDER] float32."""
    return table[:, _ORDER]


def chances_of(likeness: Floats, weights: Floats) -> Floats:
    """P(each candidate is what was meant), if one is [candidates] float32, from likenesses [candidates, ORDER]."""
    values = known_or_0(likeness) @ weights
    chances = np.exp(values - values.max())
    return np.asarray(chances / chances.sum(), np.float32)


def known_or_0(likeness: Floats) -> Floats:
    """Likenesses with 0 for what is not known."""
    return np.where(np.isnan(likeness), np.float32(0.0), likeness)


def log_odds(share: float) -> float:
    """Of a probability, which is kept a millionth away from 0 and 1."""
    kept = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(kept / (1 - kept))


def _trees(path: Path, features: int) -> OnnxSession:
    trees = OnnxSession(path)
    if trees.takes != features:
        raise ValueError(f"{path} takes {trees.takes} features, {features} are wanted")
    return trees


def _read(path: Path) -> Mapping[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}): train the reranker again, or copy it anew") from error
    if not isinstance(told, dict):
        raise ModelError(f"{path} holds a {type(told).__name__}, wanted an object: train the reranker again")
    if told.get("version") != VERSION or told.get("features") != list(NAMES):
        raise ModelError(
            f"{path} is of version {told.get('version')} and its features are not those of this program, which serves"
            f" version {VERSION} with {len(NAMES)} features: train the reranker again with this version"
        )
    return told
