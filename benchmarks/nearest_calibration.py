"""Fits and measures the model that says whether a near request is the one that was meant (`rewrite.nearest`).

    python benchmarks/nearest_calibration.py DATA

DATA is a folder with `slurp/attempts.jsonl` (recordings of spoken requests: what was heard, whether it was understood)
and `queries/hwu.jsonl` (other requests of the same kind). The index holds the texts of goals that some recording
reached (*covered*), or these among the other requests (*among distractors*). Recordings whose text is in the index are
answered by the known-good gate and count as left alone. Half of the goals fit the weights; the figures come from the
other half, with intervals by bootstrap over goals. A repair: a recording that was not understood gets a candidate with
the right interpretation. Harm: one that was understood gets a candidate with another interpretation. *What* is
proposed:
any candidate, those that pass the guards (at least suggested), or those that also sound the same (rewritten).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Indel
from sklearn.linear_model import LogisticRegression

from dialogue.canonical import Canonicaliser
from dialogue.similarity import sound_key
from retrieval import ExactIndex, NgramEncoder
from rewrite.guards import layer_guard, sounds_the_same
from rewrite.nearest import MOST_LEAD, NearestModel

CANONICAL = Canonicaliser()
FEATURES = ("cosine", "letters", "sound", "lead")


@dataclass(frozen=True)
class Attempt:
    """One recording with its nearest request."""

    goal: str
    understood: bool
    right: bool  # the nearest request has the interpretation that was meant
    guarded: bool
    sounds_the_same: bool
    features: tuple[float, ...] | None  # None: no candidate, or left alone by the gate
    said: str = ""
    candidate: str = ""


def read(path: Path) -> list[dict[str, object]]:
    """The records of a file of JSON lines."""
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def frame(raw: object) -> str:
    """An interpretation as one string."""
    return json.dumps(raw, sort_keys=True)


def nearest(attempts: list[dict[str, object]], index: dict[str, str], floor: float) -> list[Attempt]:
    """Every recording with its nearest request in an index of text -> interpretation."""
    texts = sorted(index)
    words = {word for text in texts for word in text.split()}
    encoder = NgramEncoder.fit(texts)
    search = ExactIndex.build(encoder.encode(texts))
    found = []
    for each in attempts:
        said, gold = CANONICAL(str(each["text"])), dict(each["gold"])  # type: ignore[call-overload]
        goal, understood = str(each["goal_id"]), bool(gold["success"])
        hits = search.search(encoder.encode_one(said), 2, floor)
        if said in index or not len(hits.rows):
            found.append(Attempt(goal, understood, False, True, False, None))
            continue
        candidate = texts[hits.rows[0]]
        lead = float(hits.scores[0] - hits.scores[1]) if len(hits.rows) > 1 else 1.0
        features = (
            float(hits.scores[0]),
            Indel.normalized_similarity(said, candidate),
            Indel.normalized_similarity(sound_key(said), sound_key(candidate)),
            min(lead, MOST_LEAD),
        )
        guarded = layer_guard(said, candidate, words.__contains__, may_add=False) is not None
        right = index[candidate] == frame(gold["frame"])
        same = sounds_the_same(said, candidate)
        found.append(Attempt(goal, understood, right, guarded, same, features, said, candidate))
    return found


def fit(attempts: list[Attempt]) -> NDArray[np.float64]:
    """Prior and weights [1 + features] float64 of the logistic model."""
    seen = [each for each in attempts if each.features is not None]
    model = LogisticRegression(C=10).fit([each.features for each in seen], [each.right for each in seen])
    return np.concatenate([model.intercept_, model.coef_[0]])


def interval(attempts: list[Attempt], figure: Callable[[list[Attempt]], float], seed: int = 0) -> tuple[float, float]:
    """95 % interval of a figure by bootstrap over goals."""
    by_goal: dict[str, list[Attempt]] = {}
    for each in attempts:
        by_goal.setdefault(each.goal, []).append(each)
    goals, draw = list(by_goal.values()), np.random.default_rng(seed)
    figures = [
        figure([each for place in draw.integers(len(goals), size=len(goals)) for each in goals[place]])
        for _ in range(500)
    ]
    return float(np.percentile(figures, 2.5)), float(np.percentile(figures, 97.5))


def main() -> None:
    """Prints the fitted weights and the figures at several thresholds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    data: Path = parser.parse_args().data
    attempts = read(data / "slurp" / "attempts.jsonl")
    goals = sorted({str(each["goal_id"]) for each in attempts})
    held_out = set(goals[1::2])
    covered: dict[str, str] = {}
    for each in attempts:
        gold = dict(each["gold"])  # type: ignore[call-overload]
        if gold["success"]:
            covered[CANONICAL(gold["text"])] = frame(gold["frame"])
    others = read(data / "queries" / "hwu.jsonl")
    among = {CANONICAL(str(each["text"])): frame(each["nlu"]) for each in others} | covered
    reached = {str(each["goal_id"]) for each in attempts if dict(each["gold"])["success"]}  # type: ignore[call-overload]
    default = NearestModel()
    for name, index in (("covered", covered), ("among distractors", among)):
        found = nearest(attempts, index, default.floor)
        weights = fit([each for each in found if each.goal not in held_out])
        told = ", ".join(f"{n} {w:+.2f}" for n, w in zip(("prior", *FEATURES), weights, strict=True))
        print(f"\n{name}: {len(index)} requests; fitted on half of the goals: {told}")
        test = [each for each in found if each.goal in held_out]
        repairable = [each for each in test if not each.understood and each.goal in reached]
        good = [each for each in test if each.understood]
        print(f"held-out half: {len(repairable)} repairable recordings, {len(good)} understood ones")
        print(f"{'threshold':>9} {'what':>9} {'rewritten':>9} {'right':>14} {'repaired':>22} {'harmed':>14}")
        for what in ("any", "suggested", "rewritten"):
            for threshold in (0.5, 0.7, 0.8, 0.9, 0.95):
                _row(test, repairable, good, threshold, what, default)


def _row(
    test: list[Attempt],
    repairable: list[Attempt],
    good: list[Attempt],
    threshold: float,
    what: str,
    model: NearestModel,
) -> None:
    def served(each: Attempt) -> bool:
        if each.features is None or each.features[3] < model.least_lead:
            return False
        if (what != "any" and each.guarded) or (what == "rewritten" and not each.sounds_the_same):
            return False
        cosine, *_, lead = each.features
        return model.probability(each.said, each.candidate, cosine, lead) >= threshold

    def repaired(some: list[Attempt]) -> float:
        return float(np.mean([served(each) and each.right for each in some if not each.understood]))

    rewritten = [each for each in test if served(each)]
    right = np.mean([each.right for each in rewritten]) if rewritten else float("nan")
    low, high = interval(repairable, repaired)
    harmed = sum(served(each) and not each.right for each in good)
    print(
        f"{threshold:>9} {what:>9} {len(rewritten):>9} {right:>14.1%}"
        f" {repaired(repairable):>7.1%} [{low:.1%}, {high:.1%}] {harmed:>6} ({harmed / len(good):.2%})"
    )


if __name__ == "__main__":
    main()
