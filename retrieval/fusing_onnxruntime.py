"""The graph of a BERT for one text, its parts made one: attention, normalisation, and nothing that is for padding.

onnxruntime's optimiser finds the parts of each layer in a graph and puts one operator in their place. Requests are
short and come one at a time, so that much time goes into calling small operators, and into a mask that hides nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

#: Inputs of the fused operators, by place: which tokens are padding; and of the embeddings, each token's segment and
#: the vectors of the segments.
_ATTENTION_MASK, _EMBEDDING_MASK, _SEGMENTS, _POSITION_VECTORS, _SEGMENT_VECTORS = 3, 7, 1, 3, 4


def fuse(source: Path, target: Path, *, layers: int, heads: int, hidden: int) -> bool:
    """Writes the model in `source` with its layers fused; False, and nothing is written, where its form is another.

    All tokens are of the first segment and none is padding.
    """
    from onnxruntime.transformers.optimizer import optimize_model

    try:
        model = optimize_model(str(source), model_type="bert", num_heads=heads, hidden_size=hidden, opt_level=0)
    except Exception:  # the optimiser takes graphs apart by their form, and fails on other forms in its own ways
        return False
    found = model.get_fused_operator_statistics()
    if found["Attention"] != layers or found["EmbedLayerNormalization"] != 1:
        return False
    for node in model.nodes():
        if node.op_type == "Attention":
            _without(node, _ATTENTION_MASK)
        elif node.op_type == "EmbedLayerNormalization":
            _one_segment(model, node)
            _without(node, _EMBEDDING_MASK)
    model.prune_graph()
    model.save_model_to_file(str(target))
    return True


def _one_segment(model: Any, node: Any) -> None:
    """The vector of the first segment goes into those of all positions."""
    from onnx import numpy_helper

    places, segments = (model.get_initializer(node.input[at]) for at in (_POSITION_VECTORS, _SEGMENT_VECTORS))
    if places is None or segments is None:
        return
    both = numpy_helper.to_array(places) + numpy_helper.to_array(segments)[0]
    places.CopyFrom(numpy_helper.from_array(both.astype(np.float32), places.name))
    _without(node, _SEGMENTS)
    _without(node, _SEGMENT_VECTORS)


def _without(node: Any, place: int) -> None:
    if place < len(node.input):
        node.input[place] = ""
