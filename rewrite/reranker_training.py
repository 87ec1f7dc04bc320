"""Training the reranker and choosing the thresholds, from requests whose right rewrite is known.

Everything that is measured is measured out of fold: the trees that judge a request never saw its group (a user, or
whatever must not be on both sides). So calibrations, the weights of the two log-odds and the thresholds hold for users
that the trees have not seen; the trees that are served are then grown on all.

The score of a request is the log-odds that rewriting it repairs rather than harms (the likelihood ratio orders requests
best for any budget of harm: Neyman & Pearson 1933). Were both judgements exact and independent it would be
log-odds(right) - log-odds(alone); the weights of the two are fitted, by logistic regression on the requests of which
one or the other is true.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewrite.calibration import Calibration, brier, expected_calibration_error
from rewrite.errors import ModelError
from rewrite.harm_budget import choose
from rewrite.held_out import Held
from rewrite.publish import write_beside
from rewrite.reranker import (
    ALONE_FILE,
    BEST,
    BEST_FILE,
    FILE,
    ORDER,
    VERSION,
    Weights,
    chances_of,
    known_or_0,
    ordered_by,
    second_look,
)
from rewrite.reranking import NAMES, Floats
from rewrite.thresholds import Thresholds

#: Groups are dealt into so many folds. Fewer examples, or fewer of one kind, teach nothing that could be trusted.
FOLDS, LEAST_EXAMPLES, LEAST_OF_A_KIND = 5, 200, 30
#: What a good request weighs in the order.
OF_GOOD = 0.2
#: The order before anything is learned, which the weights are drawn towards: likenesses as they are.
PRIOR = {"cosine": 8.0, "letters": 8.0, "sound": 4.0}
#: How a candidate is like a request, as against what is known of it.
ALIKE = frozenset({"cosine", "meaning", "sound_cosine", "letters", "sound", "words"})
#: A feature that varies less has no weight in the order.
LEAST_SPREAD = 1e-6
#: The slice of the good requests that the gate let pass.
PASSED = "known good"
#: Repairs and harms that the weights are fitted on, at least, and the ridge of that fit.
LEAST_HARMS, RIDGE = 10, 1.0

Values = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A request with its candidates.

    features   [candidates, NAMES] float32, one candidate or more
    right      [candidates] bool: whether each is what was meant
    served     [candidates] bool: whether the guards let it through
    alone      whether the request is right as it was said
    group      what must not be on both sides: a user
    slice      of the traffic (`rewrite.dense_rung.slice_of`)
    """

    features: Floats
    right: NDArray[np.bool_]
    served: NDArray[np.bool_]
    alone: bool
    group: str
    slice: str = "unknown"


@dataclass(frozen=True, slots=True)
class RerankerRecipe:
    """How the trees are grown and the thresholds are chosen."""

    trees: int = 120
    leaves: int = 8
    order_ridge: float = 3.0  # on weights of features of spread 1
    budget: float = 0.003  # share of good requests that rewrites may harm
    suggest_budget: float = 0.03  # share of good requests that are asked "did you mean"
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """What trees that did not see a request say of it [examples] each."""

    chances: list[Floats]  # of its candidates
    first: Rows  # place of the likeliest candidate
    right: Values  # calibrated P(it is what was meant)
    alone: Values  # calibrated P(the request is right as said)
    score: Values
    weights: Weights
    calibrations: tuple[Calibration, Calibration]


def train_reranker(
    examples: Sequence[Example], folder: Path, recipe: RerankerRecipe, passed: int = 0
) -> tuple[Thresholds, dict[str, Any]]:
    """Writes the reranker into `folder`; the thresholds, and what was measured out of fold.

    `passed` counts good requests that the gate let pass, which belong to the good ones of the budget. Raises
    ModelError.
    """
    from retrieval.trees_lightgbm import write_trees

    _check(examples)
    folder.mkdir(parents=True, exist_ok=True)
    judged = out_of_fold(examples, recipe)
    thresholds = thresholds_of(examples, judged, recipe, passed)
    seconds, best, alone = _seconds(examples, judged.chances)
    write_trees(_grown(seconds, best, recipe), folder / BEST_FILE, BEST)
    write_trees(_grown(seconds, alone, recipe), folder / ALONE_FILE, BEST)
    told = {
        "version": VERSION,
        "features": list(NAMES),
        "order": dict(zip(ORDER, order_of(examples, recipe.order_ridge).tolist(), strict=True)),
        "right_calibration": judged.calibrations[0].as_dict(),
        "alone_calibration": judged.calibrations[1].as_dict(),
        "weights": asdict(judged.weights),
    }
    write_beside(folder / FILE, (json.dumps(told, indent=1) + "\n").encode())
    return thresholds, _measured(examples, judged, thresholds)


def out_of_fold(examples: Sequence[Example], recipe: RerankerRecipe) -> OutOfFold:
    """Both looks at every request by trees that did not see its group, calibrated."""
    chances = _cross_chances(examples, recipe)
    seconds, best, alone = _seconds(examples, chances)
    folds = _folds(examples)
    raw_right, raw_alone = (_crossed(seconds, labels, folds, recipe) for labels in (best, alone))
    calibrations = Calibration.fit(raw_right, best), Calibration.fit(raw_alone, alone)
    right, soundly = calibrations[0](raw_right), calibrations[1](raw_alone)
    weights = _weights(right, soundly, best, alone)
    score = np.array([weights.score(one, other) for one, other in zip(right.tolist(), soundly.tolist(), strict=True)])
    first = np.array([int(np.argmax(each)) for each in chances], np.int64)
    return OutOfFold(chances, first, right, soundly, score, weights, calibrations)


def thresholds_of(
    examples: Sequence[Example], judged: OutOfFold, recipe: RerankerRecipe, passed: int = 0
) -> Thresholds:
    """The thresholds of every slice, on what the guards let through.

    That a request is right as said and the rewrite wrong are no independent events: a good request has no repair. So
    the harm that is expected is the most that both probabilities allow, not their product, which is far too little.
    """
    alone = np.array([each.alone for each in examples])
    right = np.array([each.right[first] for each, first in zip(examples, judged.first.tolist(), strict=True)])
    served = np.array([each.served[first] for each, first in zip(examples, judged.first.tolist(), strict=True)])
    score = np.where(served, judged.score, -np.inf)
    none, never = np.zeros(passed, np.bool_), np.full(passed, -np.inf)
    held = Held(
        [*(each.slice for each in examples), *[PASSED] * passed],
        np.concatenate([score, never]),
        repaired=np.concatenate([~alone & right & served, none]),
        good=np.concatenate([alone, ~none]),
        harmed=np.concatenate([alone & ~right & served, none]),
        expected_harm=np.concatenate([np.where(served, np.minimum(judged.alone, 1 - judged.right), 0.0), none]),
    )
    return choose(held, budget=recipe.budget, suggest_budget=recipe.suggest_budget, least_score=-np.inf)


def _measured(examples: Sequence[Example], judged: OutOfFold, thresholds: Thresholds) -> dict[str, Any]:
    alone = np.array([each.alone for each in examples])
    best = np.array([each.right[first] for each, first in zip(examples, judged.first.tolist(), strict=True)])
    return {
        "examples": len(examples),
        "groups": len({each.group for each in examples}),
        "good": int(alone.sum()),
        "repairable": int(sum(not each.alone and each.right.any() for each in examples)),
        "brier_right": brier(judged.right, best),
        "brier_alone": brier(judged.alone, alone),
        "calibration_error_right": expected_calibration_error(judged.right, best),
        "calibration_error_alone": expected_calibration_error(judged.alone, alone),
        "rewrites": bool(min(thresholds.rewrite.values()) < np.inf),
        "repaired": thresholds.repaired,
        "harmed": thresholds.harmed,
    }


def _check(examples: Sequence[Example]) -> None:
    if not enough(examples):
        alone, right, groups = _counted(examples)
        raise ModelError(
            f"{len(examples)} examples came, {alone} right as said and {right} with their repair among the candidates,"
            f" of {groups} users; {LEAST_EXAMPLES} with {LEAST_OF_A_KIND} of each kind and {FOLDS} users are wanted:"
            " give a longer log"
        )


def enough(examples: Sequence[Example]) -> bool:
    """Whether the examples are enough to train from."""
    alone, right, groups = _counted(examples)
    return len(examples) >= LEAST_EXAMPLES and min(alone, right) >= LEAST_OF_A_KIND and groups >= FOLDS


def _counted(examples: Sequence[Example]) -> tuple[int, int, int]:
    """How many requests are right as said, how many have their repair among the candidates, and of how many groups."""
    alone = sum(each.alone for each in examples)
    right = sum(bool(each.right.any()) for each in examples if not each.alone)
    return alone, right, len({each.group for each in examples})


def _folds(examples: Sequence[Example]) -> Rows:
    """The fold of each example; a group lies in one, and the order of the groups does not matter."""
    from zlib import crc32

    groups = sorted({each.group for each in examples}, key=lambda group: (crc32(group.encode()), group))
    fold = {group: number % FOLDS for number, group in enumerate(groups)}  # dealt out: none of the folds is empty
    return np.array([fold[each.group] for each in examples], np.int64)


def order_of(examples: Sequence[Example], ridge: float) -> Floats:
    """The weights of the order [ORDER] float32: conditional logit on the requests that have a right candidate.

    Good requests weigh less (`OF_GOOD`): there NLU's reading tells the right candidate, where a request fails it does
    not, and there the order matters.

    The log-likelihood that one of the right ones is chosen, with a ridge towards PRIOR on the weights of standardised
    features. No weight of ALIKE is negative: being more alike is no reason against a candidate, and of some hundred
    requests a fit that may set one likeness against another learns their noise.
    """
    from scipy.optimize import minimize

    fit = [each for each in examples if each.right.any() and not each.right.all()]
    prior = np.array([PRIOR.get(name, 0.0) for name in ORDER])
    if not fit:
        return prior.astype(np.float32)
    tables = [known_or_0(ordered_by(each.features)).astype(np.float64) for each in fit]
    spread = np.concatenate(tables).std(axis=0)
    scale = np.where(spread > LEAST_SPREAD, 1.0 / np.maximum(spread, LEAST_SPREAD), 0.0)
    x, right = np.concatenate(tables) * scale, np.concatenate([each.right for each in fit])
    weight = np.array([OF_GOOD if each.alone else 1.0 for each in fit])
    towards = prior * spread * (scale > 0)
    starts = np.cumsum([0, *map(len, tables)])[:-1]
    sizes = np.diff([*starts, len(x)])

    def loss(weights: Values) -> tuple[float, Values]:
        values = x @ weights
        values -= np.repeat(np.maximum.reduceat(values, starts), sizes)
        share = np.exp(values)
        every = np.add.reduceat(share, starts)
        some = np.add.reduceat(share * right, starts)
        pull = (share / np.repeat(every, sizes) - share * right / np.repeat(some, sizes)) * np.repeat(weight, sizes)
        fine = weight @ (np.log(every) - np.log(some)) + 0.5 * ridge * np.square(weights - towards).sum()
        return float(fine), x.T @ pull + ridge * (weights - towards)

    found = minimize(loss, towards, jac=True, method="L-BFGS-B", bounds=_bounds())
    return np.asarray(found.x * scale, np.float32)


def _bounds() -> list[tuple[float | None, None]]:
    return [(0.0 if name in ALIKE else None, None) for name in ORDER]


def _cross_chances(examples: Sequence[Example], recipe: RerankerRecipe) -> list[Floats]:
    """The chances of every request's candidates, in an order that did not see its group."""
    folds = _folds(examples)
    orders = {
        fold: order_of([each for each, of in zip(examples, folds, strict=True) if of != fold], recipe.order_ridge)
        for fold in np.unique(folds).tolist()
    }
    return [
        chances_of(ordered_by(each.features), orders[fold])
        for each, fold in zip(examples, folds.tolist(), strict=True)
    ]


def _seconds(
    examples: Sequence[Example], chances: Sequence[Floats]
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """What the second look sees [examples, BEST], whether the first candidate is right, and the request alone."""
    firsts = [int(np.argmax(each)) for each in chances]
    seen = [second_look(e.features[f], c, f) for e, c, f in zip(examples, chances, firsts, strict=True)]
    best = np.array([each.right[first] for each, first in zip(examples, firsts, strict=True)])
    return np.concatenate(seen), best, np.array([each.alone for each in examples])


def _crossed(table: Floats, labels: NDArray[np.bool_], folds: Rows, recipe: RerankerRecipe) -> Values:
    """Log-odds of `labels` by trees that did not see the fold [examples] float64."""
    found = np.zeros(len(table))
    for fold in np.unique(folds).tolist():
        grown = _grown(table[folds != fold], labels[folds != fold], recipe)
        found[folds == fold] = grown.predict(table[folds == fold], raw_score=True)
    return found


def _grown(table: Floats, labels: NDArray[np.bool_], recipe: RerankerRecipe) -> Any:
    from retrieval.trees_lightgbm import TreeRecipe, grow

    return grow(table, labels, TreeRecipe(recipe.trees, recipe.leaves, least_in_leaf=20, seed=recipe.seed))


def _weights(right: Values, alone: Values, best: NDArray[np.bool_], soundly: NDArray[np.bool_]) -> Weights:
    """Logistic regression of repair against harm on both log-odds, with a ridge towards weights of 1 and of 1/2."""
    from scipy.optimize import minimize

    repairs, harms = best & ~soundly, ~best & soundly
    told = repairs | harms
    if min(repairs.sum(), harms.sum()) < LEAST_HARMS:
        return Weights(1.0, 0.5, 0.0)
    x = np.stack([_log_odds(right[told]), -_log_odds(alone[told]), np.ones(int(told.sum()))], axis=1)
    y, prior = repairs[told].astype(np.float64), np.array([1.0, 0.5, 0.0])

    def loss(w: Values) -> tuple[float, Values]:
        z = x @ w
        residual = 1.0 / (1.0 + np.exp(-z)) - y
        away = np.array([RIDGE, RIDGE, 0.0]) * (w - prior)
        return float(np.logaddexp(0, z).sum() - (y * z).sum() + 0.5 * (away * (w - prior)).sum()), x.T @ residual + away

    found = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=[(0.2, None), (0.0, None), (None, None)])
    return Weights(*map(float, found.x))


def _log_odds(share: Values) -> Values:
    kept = np.clip(share, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(kept / (1 - kept)))
