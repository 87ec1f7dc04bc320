"""The chain around one request, as a bundle keeps it: states, transitions, and the way that was chosen.

Two tables hold the chain, in the order of its states: what can be asked of it (`rewrite show --source TEXT`) is
answered from them, with no job and no model. Whatever stands in them, at least `min_users` users said or did.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from rewrite.graph import Graph, Node

STATE_SCHEMA = pa.schema(
    [
        ("state", pa.int64()),
        ("kind", pa.string()),  # said, meant or served
        ("text", pa.string()),  # what stands for it in words
        ("key", pa.string()),  # the text, or the interpretation as JSON
        ("rewrite", pa.string()),  # of a served state: what was served
        ("users", pa.int64()),
        ("turns", pa.int64()),
        ("weight", pa.float64()),  # what age and the cap left of these turns
        ("direct", pa.float64()),  # share that ended here in success
        ("success", pa.float64()),  # P(success) from here, whatever is said next
    ]
)
TRANSITION_SCHEMA = pa.schema(
    [
        ("source", pa.int64()),
        ("target", pa.int64()),
        ("users", pa.int64()),
        ("turns", pa.int64()),
        ("weight", pa.float64()),
        ("share", pa.float64()),  # of all that leaves or ends at the source
    ]
)


def state_rows(graph: Graph | None) -> Iterator[dict[str, object]]:
    """The states of a chain as rows of STATE_SCHEMA."""
    if graph is None:
        return
    chain = graph.chain
    counts, direct, success = chain.counts, chain.R[:, 0], chain.solution.success
    weight = counts.success + counts.failure
    weight = weight + np.bincount(counts.edges.source, counts.edges.weight, len(weight))
    for number, node in enumerate(chain.states):
        assert isinstance(node, Node)
        yield {
            "state": number,
            "kind": node.kind.name.lower(),
            "text": graph.label(node),
            "key": node.key,
            "rewrite": node.rewrite or None,
            "users": int(counts.users[number]),
            "turns": int(counts.turns[number]),
            "weight": round(float(weight[number]), 6),
            "direct": round(float(direct[number]), 6),
            "success": round(float(success[number]), 6),
        }


def transition_rows(graph: Graph | None) -> Iterator[dict[str, object]]:
    """The transitions of a chain as rows of TRANSITION_SCHEMA."""
    if graph is None:
        return
    edges = graph.chain.counts.edges
    columns = (edges.source, edges.target, edges.users, edges.turns, edges.weight, graph.chain.Q.data)
    for source, target, users, turns, weight, share in zip(*(each.tolist() for each in columns), strict=True):
        row = {"source": source, "target": target, "users": users, "turns": turns}
        yield row | {"weight": round(weight, 6), "share": round(share, 6)}
