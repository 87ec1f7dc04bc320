"""Trees as ONNX say what LightGBM says: on NaN, at thresholds, beyond all numbers."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retrieval.errors import DamagedFolderError, MissingFileError
from retrieval.model_onnxruntime import OnnxSession
from retrieval.trees_lightgbm import ZERO, TreeRecipe, _below, grow, write_trees

NAMES = ("one", "two", "three", "four")
RECIPE = TreeRecipe(trees=20, leaves=6, least_in_leaf=5)


def table(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Features with NaN, ties and infinities, and labels that depend on them."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, len(NAMES))).astype(np.float32)
    values[:, 1] = np.round(values[:, 1])  # ties
    values[draw.random(rows) < 0.2, 0] = np.nan
    values[draw.random(rows) < 0.05, 2] = np.inf
    values[draw.random(rows) < 0.05, 2] = -np.inf
    labels = np.nan_to_num(values[:, 0], nan=1.5) + values[:, 1] + draw.normal(size=rows) > 0.5
    return values, labels


@pytest.fixture(scope="module")
def grown() -> lightgbm.Booster:
    return grow(*table(0), RECIPE)


@pytest.fixture(scope="module")
def served(grown: lightgbm.Booster, tmp_path_factory: pytest.TempPathFactory) -> OnnxSession:
    path = tmp_path_factory.mktemp("trees") / "trees.onnx"
    write_trees(grown, path, NAMES)
    return OnnxSession(path)


def thresholds(node: dict) -> list[tuple[int, float]]:
    """(feature, threshold) of every branch below a node of LightGBM's dump."""
    if "split_feature" not in node:
        return []
    below = [each for side in ("left_child", "right_child") for each in thresholds(node[side])]
    return [(int(node["split_feature"]), float(node["threshold"])), *below]


def same(booster: lightgbm.Booster, session: OnnxSession, rows: np.ndarray) -> None:
    wanted = booster.predict(rows, raw_score=True)
    assert session.run(rows)[:, 0] == pytest.approx(wanted, abs=2e-6)


def test_a_stump_by_hand(tmp_path: Path):
    rows = np.array([[0.0]] * 50 + [[1.0]] * 50, np.float32)
    labels = rows[:, 0] > 0.5
    booster = grow(rows, labels, TreeRecipe(trees=1, leaves=2, rate=1.0, ridge=0.0, least_in_leaf=5, row_share=1.0))
    write_trees(booster, tmp_path / "stump.onnx", ["only"])
    low, high = OnnxSession(tmp_path / "stump.onnx").run(np.array([[0.0], [1.0]], np.float32))[:, 0]
    assert (low, high) == pytest.approx((-2.0, 2.0), abs=1e-5)  # a Newton step from even odds: (y - p) / (p (1 - p))


def test_what_is_served_is_what_was_grown(grown: lightgbm.Booster, served: OnnxSession):
    same(grown, served, table(1)[0])
    assert (served.takes, served.width) == (len(NAMES), 1)


def test_comparisons_at_the_thresholds_fall_alike(grown: lightgbm.Booster, served: OnnxSession):
    places = [each for tree in grown.dump_model()["tree_info"] for each in thresholds(tree["tree_structure"])]
    assert len(places) > 40
    base, rows = table(2, 1)[0][0], []
    for feature, threshold in places:
        near = np.float32(threshold)
        for value in (near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))):
            rows.append(base.copy())
            rows[-1][feature] = value
    same(grown, served, np.stack(rows))


@settings(max_examples=50)
@given(values=st.lists(st.one_of(st.floats(width=32), st.sampled_from([0.0, -0.0, 1.0])), min_size=4, max_size=4))
def test_any_row_is_judged_alike(grown: lightgbm.Booster, served: OnnxSession, values: list[float]):
    same(grown, served, np.array([values], np.float32))


def test_trees_that_never_saw_nan_take_it_for_zero(tmp_path: Path):
    rows, labels = table(3)
    rows = np.nan_to_num(rows, nan=0.0, posinf=9.0, neginf=-9.0) - np.float32(0.3)
    booster = grow(rows, labels, RECIPE)
    write_trees(booster, tmp_path / "trees.onnx", NAMES)
    rows[::3, 0] = np.nan
    rows[::5, 3] = np.nan
    same(booster, OnnxSession(tmp_path / "trees.onnx"), rows)


def test_nothing_to_split_gives_the_odds_of_all(tmp_path: Path):
    rows, labels = np.zeros((100, 1), np.float32), np.arange(100) < 25
    booster = grow(rows, labels, TreeRecipe(trees=3))
    write_trees(booster, tmp_path / "trees.onnx", ["only"])
    session = OnnxSession(tmp_path / "trees.onnx")
    same(booster, session, rows[:2])
    assert session.run(rows[:1])[0, 0] == pytest.approx(np.log(25 / 75), abs=1e-4)


def test_growing_is_the_same_every_time():
    assert grow(*table(4), RECIPE).model_to_string() == grow(*table(4), RECIPE).model_to_string()


def test_weights_count(tmp_path: Path):
    rows, labels = np.zeros((100, 1), np.float32), np.arange(100) < 50
    weights = np.where(labels, 3.0, 1.0)
    booster = grow(rows, labels, TreeRecipe(trees=1), weights)
    assert booster.predict(rows[:1], raw_score=True)[0] == pytest.approx(np.log(3.0), abs=1e-4)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(width=32, allow_nan=False))
@example(-1e-36, -1e-36)
@example(1e-36, 1e-35)
@example(-3.402823466385289e38, -3.402823466385288e38)
def test_a_threshold_in_float32_divides_as_the_one_in_float64(threshold: float, value: float):
    read = value if abs(value) > ZERO else 0.0  # as LightGBM does
    assert (np.float32(value) <= np.float32(_below(threshold))) == (read <= threshold)


def test_a_file_says_its_features(served: OnnxSession):
    told = {each.key: each.value for each in onnx.load(served.path).metadata_props}
    assert told["features"].split("\n") == list(NAMES)


def test_what_is_no_model_is_refused(tmp_path: Path, served: OnnxSession):
    with pytest.raises(MissingFileError, match="is missing"):
        OnnxSession(tmp_path / "none.onnx")
    (tmp_path / "cut.onnx").write_bytes(served.path.read_bytes()[:100])
    with pytest.raises(DamagedFolderError, match="cannot be read as a model"):
        OnnxSession(tmp_path / "cut.onnx")
