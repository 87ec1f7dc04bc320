"""The reranker from end to end, on requests made up so that features say who is right."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.trees_lightgbm import TreeRecipe, grow, write_trees
from rewrite.calibration import expected_calibration_error
from rewrite.errors import ModelError
from rewrite.reranker import (
    ALONE_FILE,
    BEST_FILE,
    FILE,
    ORDER,
    Ranked,
    Reranker,
    Weights,
    chances_of,
    log_odds,
    ordered_by,
    second_look,
)
from rewrite.reranker_training import (
    ALIKE,
    FOLDS,
    PASSED,
    PRIOR,
    Example,
    OutOfFold,
    RerankerRecipe,
    _folds,
    enough,
    order_of,
    out_of_fold,
    thresholds_of,
    train_reranker,
)
from rewrite.reranking import NAMES, Floats
from rewrite.thresholds import Thresholds

COSINE, LEAST = NAMES.index("cosine"), NAMES.index("least_fluent")
RECIPE = RerankerRecipe(trees=15, leaves=6, budget=0.02, suggest_budget=0.05)


def ranked(reranker: Reranker, table: Floats) -> Ranked:
    """The rank of candidates by all their features."""
    return reranker.rank(ordered_by(table), lambda place: table[place].tolist())


def planted(count: int, seed: int = 0, users: int = 40) -> list[Example]:
    """Requests of which half fail: they are less fluent, and their right candidate has the greater cosine, mostly."""
    draw, made = np.random.default_rng(seed), []
    for number in range(count):
        alone = bool(draw.random() < 0.5)
        table = draw.normal(size=(3, len(NAMES))).astype(np.float32)
        table[:, 5] = np.nan
        right = np.zeros(3, np.bool_)
        if not alone:
            right[int(draw.integers(3))] = True
        table[:, COSINE] = 0.5 + 0.35 * right + draw.normal(size=3) * 0.12
        table[:, LEAST] = (-2.0 if alone else -5.0) + draw.normal() * 1.2
        slice = f"music.play|{'phone' if number % 3 else 'speaker'}|known"
        made.append(Example(table, right, draw.random(3) < 0.95, alone, f"u{number % users}", slice))
    return made


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return planted(1200)


@pytest.fixture(scope="module")
def judged(examples: list[Example]) -> OutOfFold:
    return out_of_fold(examples, RECIPE)


@pytest.fixture(scope="module")
def trained(
    examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Thresholds, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("reranker")
    return folder, *train_reranker(examples, folder, RECIPE, passed=300)


# The formulas


def test_the_score_is_a_weighted_sum_of_log_odds():
    assert log_odds(0.5) == 0.0
    assert log_odds(0.9) == pytest.approx(math.log(9))
    assert Weights().score(0.9, 0.5) == pytest.approx(math.log(9))
    assert Weights(2.0, 0.5, -1.0).score(0.9, 0.9) == pytest.approx(1.5 * math.log(9) - 1.0)
    assert math.isfinite(Weights().score(1.0, 0.0))


def test_chances_are_a_softmax_over_the_candidates_of_what_is_known():
    table = np.full((3, len(ORDER)), np.nan, np.float32)
    table[:, ORDER.index("cosine")] = [0.9, 0.5, 0.5]
    weights = np.array([10.0 * (name == "cosine") for name in ORDER], np.float32)
    odds = math.exp(4.0)
    assert chances_of(table, weights).tolist() == pytest.approx([odds / (odds + 2), 1 / (odds + 2), 1 / (odds + 2)])


def test_the_order_learns_which_feature_tells_the_right_candidate(examples: list[Example]):
    weights = dict(zip(ORDER, order_of(examples, 3.0).tolist(), strict=True))
    assert weights["cosine"] > PRIOR["cosine"]
    assert weights["cosine"] > 1.5 * max(weight for name, weight in weights.items() if name != "cosine")
    assert min(weights[name] for name in ALIKE) >= 0
    nothing = [Example(each.features, np.zeros(3, np.bool_), each.served, True, each.group) for each in examples[:9]]
    assert order_of(nothing, 3.0).tolist() == [PRIOR.get(name, 0.0) for name in ORDER]


def test_the_second_look_sees_what_the_others_got():
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    seen = second_look(table[1], np.array([0.2, 0.7, 0.1], np.float32), 1)
    assert seen.tolist() == [[2.0, 3.0, pytest.approx(0.7), pytest.approx(0.2), pytest.approx(math.log(3.5))]]
    alone = second_look(table[0], np.array([1.0], np.float32), 0)
    assert alone[0, 2:].tolist() == pytest.approx([1, 0, math.log(1e6)])


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_surer_candidate_never_scores_less_and_a_sounder_request_never_more(low: float, high: float, other: float):
    low, high = sorted((low, high))
    weights = Weights(1.3, 0.6, 0.2)
    assert weights.score(low, other) <= weights.score(high, other)
    assert weights.score(other, low) >= weights.score(other, high)


# Out of fold


def test_a_user_is_in_one_fold_and_no_fold_is_empty(examples: list[Example]):
    folds = _folds(examples)
    of: dict[str, set[int]] = {}
    for each, fold in zip(examples, folds.tolist(), strict=True):
        of.setdefault(each.group, set()).add(fold)
    assert all(len(each) == 1 for each in of.values())
    assert set(folds.tolist()) == set(range(FOLDS))
    turned = _folds(examples[::-1])[::-1]
    assert np.array_equal(folds, turned)


@settings(max_examples=50)
@given(st.sets(st.text(max_size=4), min_size=FOLDS, max_size=12))
def test_few_users_fill_all_folds(users: set[str]):
    one = planted(1)[0]
    made = [Example(one.features, one.right, one.served, one.alone, user) for user in sorted(users)]
    assert set(_folds(made).tolist()) == set(range(FOLDS))


def test_no_tree_sees_the_user_whom_it_judges():
    """Each user's feature is a key to their labels: who sees the user knows all, and nobody else knows anything."""
    draw, made = np.random.default_rng(0), []
    for number in range(600):
        user = number % 12
        alone = bool(np.random.default_rng(user).random() < 0.5)
        table = np.zeros((2, len(NAMES)), np.float32)
        table[:, LEAST] = user
        table[:, COSINE] = draw.random(2)
        made.append(Example(table, np.array([not alone, False]), np.ones(2, np.bool_), alone, f"u{user}"))
    alone = np.array([each.alone for each in made])
    judged = out_of_fold(made, RECIPE)
    share = judged.alone[alone].mean() - judged.alone[~alone].mean()
    assert share < 0.5  # trees that had seen the users would tell the two apart nearly without fail


def test_probabilities_out_of_fold_mean_what_they_say(examples: list[Example], judged: OutOfFold):
    alone = np.array([each.alone for each in examples])
    best = np.array([each.right[first] for each, first in zip(examples, judged.first.tolist(), strict=True)])
    assert expected_calibration_error(judged.alone, alone) < 0.05
    assert expected_calibration_error(judged.right, best) < 0.05
    assert judged.alone[alone].mean() > judged.alone[~alone].mean() + 0.3
    assert judged.right[best].mean() > judged.right[~best].mean() + 0.3
    both = zip(judged.right.tolist(), judged.alone.tolist(), strict=True)
    wanted = [judged.weights.score(one, other) for one, other in both]
    assert judged.score == pytest.approx(np.array(wanted))


def test_the_first_candidate_is_mostly_the_right_one(examples: list[Example], judged: OutOfFold):
    failing = [n for n, each in enumerate(examples) if not each.alone]
    assert np.mean([examples[n].right[judged.first[n]] for n in failing]) > 0.85


# Thresholds


def test_thresholds_keep_the_harm_within_the_budget(examples: list[Example], judged: OutOfFold):
    thresholds = thresholds_of(examples, judged, RECIPE)
    assert thresholds.bound <= RECIPE.budget
    served = harmed = repaired = 0
    for number, each in enumerate(examples):
        first = judged.first[number]
        if each.served[first] and judged.score[number] >= thresholds.rewrite_from(each.slice):
            served += 1
            harmed += each.alone
            repaired += not each.alone and bool(each.right[first])
    goods = sum(each.alone for each in examples)
    assert harmed / goods <= RECIPE.budget
    assert repaired > 100
    assert repaired == thresholds.repaired
    assert thresholds.harmed >= harmed / 2  # what is expected is not far below what is counted


def test_good_requests_that_the_gate_passed_belong_to_the_budget(examples: list[Example], judged: OutOfFold):
    without, with_them = (thresholds_of(examples, judged, RECIPE, passed) for passed in (0, 5_000))
    assert with_them.repaired >= without.repaired
    assert PASSED in {each.slice for each in with_them.figures} or "" in with_them.rewrite
    assert sum(each.goods for each in with_them.figures) == sum(each.goods for each in without.figures) + 5_000


def test_what_a_guard_refuses_is_not_counted_as_served(examples: list[Example], judged: OutOfFold):
    none = [Example(e.features, e.right, np.zeros(3, np.bool_), e.alone, e.group, e.slice) for e in examples]
    assert thresholds_of(none, judged, RECIPE).repaired == 0


# Trained and served


def test_what_is_served_ranks_as_it_was_trained(trained: tuple[Path, Thresholds, dict[str, Any]]):
    reranker, fresh = Reranker.load(trained[0]), planted(150, seed=9)
    ranks = [ranked(reranker, each.features) for each in fresh]
    failing = [(rank, each) for rank, each in zip(ranks, fresh, strict=True) if not each.alone]
    assert np.mean([each.right[rank.order[0]] for rank, each in failing]) > 0.85
    sound = [rank.alone for rank, each in zip(ranks, fresh, strict=True) if each.alone]
    assert np.mean(sound) > np.mean([rank.alone for rank, _ in failing]) + 0.3


def test_a_rank_is_in_order_and_its_score_that_of_its_parts(trained: tuple[Path, Thresholds, dict[str, Any]]):
    reranker = Reranker.load(trained[0])
    for each in planted(20, seed=5):
        rank = ranked(reranker, each.features)
        assert isinstance(rank, Ranked)
        assert sorted(rank.order) == [0, 1, 2]
        assert list(rank.chances) == sorted(rank.chances, reverse=True)
        assert 0 < rank.right < 1
        assert 0 < rank.alone < 1
        assert rank.score == pytest.approx(reranker.weights.score(rank.right, rank.alone))
        turned = ranked(reranker, each.features[::-1].copy())
        assert turned.score == pytest.approx(rank.score)
        assert turned.chances == pytest.approx(rank.chances)


def test_one_candidate_and_nothing_known_are_ranked_too(trained: tuple[Path, Thresholds, dict[str, Any]]):
    reranker = Reranker.load(trained[0])
    rank = ranked(reranker, np.full((1, len(NAMES)), np.nan, np.float32))
    assert rank.order == (0,)
    assert math.isfinite(rank.score)


def test_what_was_measured_is_told(trained: tuple[Path, Thresholds, dict[str, Any]], examples: list[Example]):
    _, thresholds, told = trained
    assert told["examples"] == len(examples)
    assert told["groups"] == 40
    assert told["good"] == sum(each.alone for each in examples)
    assert told["repairable"] == len(examples) - told["good"]
    assert told["repaired"] == thresholds.repaired > 0
    assert 0 < told["brier_alone"] < 0.25
    assert json.loads(json.dumps(told)) == told


def test_training_is_the_same_every_time(tmp_path: Path):
    made, small = planted(250, seed=3), RerankerRecipe(trees=4, budget=0.05)
    for name in ("a", "b"):
        train_reranker(made, tmp_path / name, small)
    for name in (BEST_FILE, ALONE_FILE, FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# Faults


def test_too_few_examples_teach_nothing(tmp_path: Path):
    assert not enough(planted(199))
    assert enough(planted(200))
    assert not enough(planted(300, users=FOLDS - 1))
    good = [each for each in planted(600) if each.alone]
    assert not enough(good)
    with pytest.raises(ModelError, match=r"199 examples came.*200 with 30 of each kind and 5 users are wanted"):
        train_reranker(planted(199), tmp_path / "none", RECIPE)
    assert not (tmp_path / "none").exists()


@pytest.fixture
def folder(trained: tuple[Path, Thresholds, dict[str, Any]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained[0], tmp_path / "reranker"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 99}, "version 99"),
        ({"features": ["cosine"]}, "train the reranker again"),
        ({"features": None}, "train the reranker again"),
        ({"weights": {"of_all": 1}}, "cannot be used"),
        ({"weights": None}, "cannot be used"),
        ({"right_calibration": {}}, "no calibration"),
        ({"alone_calibration": None}, "no calibration"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(folder: Path, change: dict[str, Any], said: str):
    told = json.loads((folder / FILE).read_text()) | change
    (folder / FILE).write_text(json.dumps(told))
    with pytest.raises(ModelError, match=said):
        Reranker.load(folder)


@pytest.mark.parametrize("raw", ["", "[]", "7", "{", '{"version": 1}'])
def test_a_description_that_is_none_is_refused(folder: Path, raw: str):
    (folder / FILE).write_text(raw)
    with pytest.raises(ModelError, match="again"):
        Reranker.load(folder)


@pytest.mark.parametrize("name", [BEST_FILE, ALONE_FILE, FILE])
def test_a_missing_or_cut_file_is_named(folder: Path, name: str):
    raw = (folder / name).read_bytes()
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        Reranker.load(folder)
    (folder / name).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ModelError, match=name):
        Reranker.load(folder)


def test_trees_of_other_features_are_refused(folder: Path):
    few = np.array([[0.0, 1.0]] * 60 + [[1.0, 0.0]] * 60, np.float32)
    write_trees(grow(few, few[:, 0] > 0, TreeRecipe(trees=2)), folder / BEST_FILE, ["one", "other"])
    with pytest.raises(ModelError, match=f"{BEST_FILE} takes .* features"):
        Reranker.load(folder)
