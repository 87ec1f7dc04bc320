"""Boosted trees: trained by LightGBM, written as an ONNX tree ensemble, so that serving does not import it.

LightGBM's package takes a second to import and brings scikit-learn along; onnxruntime, which the encoder needs anyway,
runs the same trees in microseconds. Features are float32 on both sides, and a threshold is rounded down to the float32
below it, so that every comparison falls as LightGBM's does; it takes what is within ZERO of zero for zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: LightGBM's kZeroThreshold.
ZERO = float(np.float32(1e-35))


@dataclass(frozen=True, slots=True)
class TreeRecipe:
    """How the trees are grown."""

    trees: int = 200
    leaves: int = 15
    rate: float = 0.05
    least_in_leaf: int = 30
    feature_share: float = 0.6
    row_share: float = 0.8
    ridge: float = 5.0
    seed: int = 0

    def as_lightgbm(self) -> dict[str, Any]:
        """The parameters by LightGBM's names; deterministic, on one thread."""
        return {
            "objective": "binary", "learning_rate": self.rate, "num_leaves": self.leaves,
            "min_data_in_leaf": self.least_in_leaf, "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share, "bagging_freq": 1, "lambda_l2": self.ridge, "seed": self.seed,
            "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbose": -1,
        }  # fmt: skip


def grow(
    features: Floats, labels: NDArray[np.bool_], recipe: TreeRecipe, weights: NDArray[np.float64] | None = None
) -> lightgbm.Booster:
    """Trees for the log-odds of `labels` [rows] bool by `features` [rows, names] float32."""
    table = lightgbm.Dataset(features, labels.astype(np.float32), weight=weights, params={"verbose": -1})
    return lightgbm.train(recipe.as_lightgbm(), table, recipe.trees)


def write_trees(booster: lightgbm.Booster, path: Path, names: Sequence[str]) -> None:
    """The trees as an ONNX file: [rows, names] float32 to log-odds [rows, 1] float32."""
    import onnx
    from onnx import helper

    nodes = _Nodes()
    for number, tree in enumerate(booster.dump_model()["tree_info"]):
        nodes.add(number, tree["tree_structure"])
    ensemble = helper.make_node(
        "TreeEnsembleRegressor", ["features"], ["log_odds"], domain="ai.onnx.ml", n_targets=1,
        aggregate_function="SUM", post_transform="NONE", **nodes.attributes(),
    )  # fmt: skip
    graph = helper.make_graph(
        [ensemble],
        "trees",
        [helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["rows", len(names)])],
        [helper.make_tensor_value_info("log_odds", onnx.TensorProto.FLOAT, ["rows", 1])],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    helper.set_model_props(model, {"features": "\n".join(names)})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


class _Nodes:
    """The nodes of an ensemble as ONNX wants them: one list for each attribute."""

    def __init__(self) -> None:
        self.rows: list[_Node] = []
        self.leaves: list[tuple[int, int, float]] = []

    def add(self, tree: int, root: dict[str, Any]) -> None:
        """A tree of LightGBM's dump, numbered from its root down."""
        queue = [root]
        taken = 0
        while queue:
            node = queue.pop(0)
            if "leaf_value" in node and "split_feature" not in node:
                self.rows.append(_Node(tree, taken, "LEAF"))
                self.leaves.append((tree, taken, float(node["leaf_value"])))
            else:
                below = taken + len(queue) + 1
                self.rows.append(_Node(
                    tree, taken, "BRANCH_LEQ", int(node["split_feature"]), _below(float(node["threshold"])),
                    below, below + 1, _missing_goes_left(node),
                ))  # fmt: skip
                queue += [node["left_child"], node["right_child"]]
            taken += 1

    def attributes(self) -> dict[str, Any]:
        """The lists by their ONNX names."""
        columns = [asdict(row) for row in self.rows]
        names = {
            "nodes_treeids": "tree", "nodes_nodeids": "node", "nodes_modes": "mode", "nodes_featureids": "feature",
            "nodes_values": "threshold", "nodes_truenodeids": "left", "nodes_falsenodeids": "right",
            "nodes_missing_value_tracks_true": "missing_left",
        }  # fmt: skip
        found: dict[str, Any] = {onnx: [column[ours] for column in columns] for onnx, ours in names.items()}
        for name, column in zip(("treeids", "nodeids", "weights"), zip(*self.leaves, strict=True), strict=True):
            found[f"target_{name}"] = list(column)
        return found | {"target_ids": [0] * len(self.leaves)}


@dataclass(frozen=True, slots=True)
class _Node:
    tree: int
    node: int
    mode: str
    feature: int = 0
    threshold: float = 0.0
    left: int = 0
    right: int = 0
    missing_left: int = 0


def _below(threshold: float) -> float:
    """The greatest float32 that is not above a threshold, or beyond ZERO on its side where that is within it."""
    most = float(np.finfo(np.float32).max)  # LightGBM's 1e300 stands for "all that is a number"
    if threshold < -most:
        return -math.inf
    if abs(threshold) <= ZERO:
        return ZERO if threshold >= 0.0 else float(np.nextafter(np.float32(-ZERO), np.float32(-np.inf)))
    rounded = np.float32(min(threshold, most))
    return float(rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf)))


def _missing_goes_left(node: dict[str, Any]) -> int:
    """Where LightGBM sends NaN: by the side it learned, or as a zero where it never saw one."""
    if node["missing_type"] == "NaN":
        return int(node["default_left"])
    return int(float(node["threshold"]) >= 0.0)
