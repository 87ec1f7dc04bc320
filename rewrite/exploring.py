"""With which probability an entry of the table is served, and the draw: how what went stale or is new becomes known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rewrite.decision import Action, Decision, Reason
from rewrite.serving import ON, SURE, ServingArrays


def propensity(arrays: ServingArrays, entry: int, explore: float, trial: float) -> float:
    """The probability with which an entry of the table is served; 0 where there is none.

    Surely better rewrites are held back as rarely as the engine explores. Those between the two thresholds of the
    gate are served with the probability that they are better, which is Thompson sampling; on trial, with a share
    of it.
    """
    if entry < 0:
        return 0.0
    standing, chance = arrays.standing[entry], float(arrays.chance[entry])
    if not standing & ON:
        return trial * chance
    if standing & SURE or not explore:
        return 1.0 - explore
    return min(max(chance, explore), 1.0 - explore)


def drawn(served: Decision, propensity: float, draw: Callable[[], float]) -> Decision:
    """What is served with this probability, or that it was held back; `draw` gives a number from 0 to below 1."""
    if propensity == 1.0:
        return served
    if draw() >= propensity:
        return replace(
            served, action=Action.PASS, text=served.original, reason=Reason.HELD_BACK, score=None, margin=None,
            propensity=1.0 - propensity,
        )  # fmt: skip
    return replace(served, propensity=propensity)
