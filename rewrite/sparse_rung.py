"""The rung without a trained retriever: which known request is written or sounds like one that no table has seen.

This user's own requests and everyone's are searched by their letters, guarded, and judged by a model of likeness.
"""

from __future__ import annotations

from typing import NamedTuple

from retrieval import Candidate
from rewrite.decision import Reason
from rewrite.guards import layer_guard
from rewrite.nearest import NearestModel
from rewrite.serving import ServingArrays

#: Candidates that each layer proposes.
CANDIDATES = 3


class Near(NamedTuple):
    """The nearest candidate: P(it is what was meant), by how much it is nearer than the next, and what refuses it."""

    candidate: Candidate
    score: float
    lead: float
    refused: Reason | None


def nearby(
    arrays: ServingArrays, said: str, row: int, floor: float, *, user: str | None, everyone: bool
) -> list[Candidate]:
    """The candidates of both layers but the text's own row, the nearest first; what both propose is the user's own.

    Without `user` the personal layer proposes nothing, without `everyone` the global one.
    """
    query, found = arrays.encoder.encode_one(said), list[Candidate]()
    if everyone:
        found += arrays.global_layer.search(query, CANDIDATES, floor)
    if user is not None:
        found += arrays.personal_layer.search(user, query, CANDIDATES, floor)
    merged = {each.row: each for each in found if each.row != row}
    return sorted(merged.values(), key=lambda each: (-each.similarity, each.row))[:CANDIDATES]


def nearest(arrays: ServingArrays, model: NearestModel, said: str, found: list[Candidate]) -> Near:
    """The judgement of the nearest of some candidates."""
    best, target = found[0], arrays.texts.key(found[0].row)
    lead = best.similarity - found[1].similarity if len(found) > 1 else 1.0
    score = model.probability(said, target, best.similarity, lead)
    refused = _guard(arrays, said, best, may_add=False)
    if refused is None and lead < model.least_lead:
        refused = Reason.AMBIGUOUS
    if refused is None and score < model.threshold:
        refused = Reason.UNSURE
    return Near(best, score, lead, refused)


def own_request(arrays: ServingArrays, model: NearestModel, said: str, user: str) -> Candidate | None:
    """The one of this user's own requests that a failing text is a broken form of, if one stands out.

    The request is known to fail, so words may be added to it here, as they may not where nothing is known.
    """
    found = arrays.personal_layer.search(user, arrays.encoder.encode_one(said), CANDIDATES, model.own_floor)
    fit = [each for each in found if _guard(arrays, said, each, may_add=True) is None]
    if not fit or (len(fit) > 1 and fit[0].similarity - fit[1].similarity < model.own_lead):
        return None
    return fit[0]


def _guard(arrays: ServingArrays, said: str, candidate: Candidate, *, may_add: bool) -> Reason | None:
    known = arrays.words.get
    return layer_guard(said, arrays.texts.key(candidate.row), lambda word: known(word) >= 0, may_add=may_add)
