"""The first rung: two turns compared by letters, words, sound and time, with no model to train or to load."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dialogue.canonical import Canonicaliser, fold
from dialogue.feedback import Phrases
from dialogue.outcomes import Evidence, following
from dialogue.similarity import Likeness, compare, differing_sound
from dialogue.table import turn_batch
from dialogue.turn import RephraseKind, Turn
from rephrase_detection.detector import KINDS, Links, RephraseDetector

#: Below this P(failure) makes no difference: an explicit outcome is strong, not proof.
LEAST_FAILURE = 0.01

Rows = NDArray[np.int64]
Values = NDArray[np.float64]

_CANONICAL = Canonicaliser()
_PHRASES = Phrases()

#: Answers to the assistant's own question, navigation, greetings: a rephrase of nothing but themselves.
FIXED = (
    *_PHRASES.affirmed, *_PHRASES.denied, *_PHRASES.taken_back, *_PHRASES.thanked, *_PHRASES.navigation,
    "the first one", "the second one", "the third one", "the last one", "either", "any", "both", "none",
    "neither", "i don't care", "don't care", "doesn't matter", "it doesn't matter", "i don't know",
    "not sure", "i'm not sure", "thank you goodbye", "thank you good bye", "thank you bye", "hello", "hi",
)  # fmt: skip


@dataclass(frozen=True)
class LexicalWeights:
    """The logistic model over the features of a pair, fitted by `benchmarks/lexical_detector.py` and rounded.

    Only the gap is set: within the time limit the annotated logs show no effect of it, and all of them are
    paced by the assistant or by a test; the literature on second tries has them soon or not at all.
    """

    prior: float = -2.0
    letters: float = 2.0  #: share of letters in common, in order
    words: float = 1.5  #: the same with words in sorted order
    shared_words: float = 1.0  #: words in common of all words
    sound: float = 2.0  #: share of sounds in common, in order
    identical: float = -3.0  #: the same text: less telling than a change, as the same is also asked afresh
    gap: float = -0.5  #: log of the seconds between, 1 at `limit_s`
    turns_between: float = -2.0  #: how many turns lie between the two
    failed: float = 1.0  #: log P(failure) of the source, which P(rephrase) follows in proportion

    def __post_init__(self) -> None:
        for item in fields(self):
            if not math.isfinite(getattr(self, item.name)):
                raise ValueError(
                    f"weight {item.name} is {getattr(self, item.name)}: a finite number is wanted"
                )


@dataclass(frozen=True)
class LexicalDetector(RephraseDetector):
    """Links each turn that probably failed to the most probable of the turns soon after it, or to none.

    Candidates are the next `max_turns` turns within `limit_s` seconds. Answers and navigation (`fixed`) say
    again nothing but themselves. A link is of kind `asr` where the words that differ sound alike by
    `misheard_from` or more ("maj and" for "imagine"), otherwise `command`; the same text twice was not
    misheard twice the same way, so it is `command` too, as people label it.
    """

    weights: LexicalWeights = field(default_factory=LexicalWeights)
    threshold: float = 0.5
    failing_below: float = 0.9
    limit_s: float = 120.0
    max_turns: int = 3
    misheard_from: float = 0.4
    fixed: tuple[str, ...] = FIXED

    def __post_init__(self) -> None:
        if not (0 < self.threshold < 1 and 0 < self.failing_below <= 1 and 0 <= self.misheard_from <= 1):
            raise ValueError("threshold, failing_below and misheard_from are shares between 0 and 1")
        if not self.limit_s > 0 or self.max_turns < 1:
            raise ValueError("limit_s is in seconds, greater than 0, and max_turns in turns, from 1 on")

    def score(self, batch: pa.RecordBatch, p_success: Values) -> Links:
        """The most probable target of every source that has a candidate."""
        source, target, features = self.candidates(batch, p_success)
        probability = _sigmoid(self._log_odds(features))
        order = np.lexsort(
            (target, -probability, source)
        )  # the most probable of a source first, then the nearest
        best = order[np.insert(source[order][1:] != source[order][:-1], 0, True)] if len(order) else order
        source, target = source[best], target[best]
        return Links(source, target, probability[best], self._kinds(batch, source, target))

    def candidates(self, batch: pa.RecordBatch, p_success: Values) -> tuple[Rows, Rows, dict[str, Values]]:
        """Every pair looked at: source row, target row [pairs] int64, and its features [pairs] float64."""
        if len(p_success) != batch.num_rows:
            raise ValueError(f"{len(p_success)} outcomes for {batch.num_rows} turns: one each is wanted")
        said = batch["said"].dictionary_encode()
        codes: Rows = np.asarray(said.indices, np.int64)
        fixed = np.asarray(
            pc.is_in(said.dictionary, pa.array([fold(text) for text in self.fixed], pa.string()))
        )
        empty = np.asarray(pc.equal(said.dictionary, ""))
        pairs = [np.zeros((2, 0), np.int64)]
        for rows, targets in following(batch, self.limit_s, self.max_turns):
            failing = p_success[rows] < self.failing_below
            a, b = codes[rows], codes[targets]
            comparable = ~(empty[a] | empty[b]) & ((a == b) | ~(fixed[a] | fixed[b]))
            pairs.append(np.stack([rows, targets])[:, failing & comparable])
        source, target = np.concatenate(pairs, axis=1)
        likeness = compare(said.dictionary.to_pylist(), codes[source], codes[target])
        times = np.asarray(batch["timestamp"], np.float64)
        gap = times[target] - times[source]
        return source, target, self._features(likeness, gap, target - source, p_success[source])

    def explain(
        self,
        source: Turn,
        target: Turn,
        p_success: float,
        turns_between: int = 0,
        canonical: Callable[[str], str] = _CANONICAL,
    ) -> tuple[Evidence, ...]:
        """The features of one pair with their weights, strongest first: with the prior, its log-odds."""
        said = turn_batch([source, target], canonical)["said"].to_pylist()
        likeness = compare(said, np.array([0]), np.array([1]))
        gap = np.array([target.timestamp - source.timestamp])
        features = self._features(likeness, gap, np.array([turns_between + 1]), np.array([p_success]))
        found = [
            Evidence(name, float(amount[0]), getattr(self.weights, name)) for name, amount in features.items()
        ]
        return tuple(sorted(found, key=lambda piece: -abs(piece.amount * piece.weight)))

    def _features(
        self, likeness: Likeness, gap: Values, distance: Rows, p_success: Values
    ) -> dict[str, Values]:
        return {
            "letters": likeness.letters.astype(np.float64),
            "words": likeness.words.astype(np.float64),
            "shared_words": likeness.shared_words.astype(np.float64),
            "sound": likeness.sound.astype(np.float64),
            "identical": (likeness.letters == 1).astype(np.float64),
            "gap": np.log1p(np.maximum(gap, 0)) / math.log1p(self.limit_s),
            "turns_between": (distance - 1).astype(np.float64),
            "failed": np.log(np.maximum(1 - p_success, LEAST_FAILURE)),
        }

    def _log_odds(self, features: dict[str, Values]) -> Values:
        terms = (getattr(self.weights, name) * amount for name, amount in features.items())
        return self.weights.prior + sum(terms, np.float64(0))  # type: ignore[return-value]

    def _kinds(self, batch: pa.RecordBatch, source: Rows, target: Rows) -> NDArray[np.int8]:
        left, right = (batch["said"].take(pa.array(rows)).to_pylist() for rows in (source, target))
        misheard = differing_sound(left, right) >= self.misheard_from
        return np.where(misheard, KINDS.index(RephraseKind.ASR), KINDS.index(RephraseKind.COMMAND)).astype(
            np.int8
        )


def _sigmoid(log_odds: Values) -> Values:
    return np.asarray(1.0 / (1.0 + np.exp(-log_odds)), np.float64)
