"""Logged decisions as a new policy sees them, and how far they can speak for it.

A row is one decision: the action taken, with which probability (its *propensity*), with which probability the new
policy takes each action there, and the reward, from 0 to 1. A row without a propensity must not come here.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.arrays import Floats, Ints, codes, flat, same_length


@dataclass(frozen=True, slots=True, eq=False)
class Logged:
    """Logged decisions with the new policy's view of them, in parallel arrays.

    A row of `policy` adds up to 1, or to less where the new policy would do what is no action of the log. `context`
    says what was asked, as far as an outcome model should know it: a source, a head or tail request; all alike if not
    given.
    """

    user: Sequence[Hashable] | NDArray[np.generic]  # [rows]
    action: Ints  # taken, from 0 to actions - 1 [rows] int64
    propensity: Floats  # of the action taken, above 0 [rows] float64
    policy: Floats  # the new policy's probability of each action [rows, actions] float64
    reward: Floats  # from 0 to 1 [rows] float64
    context: Ints | None = None  # [rows] int64

    def __post_init__(self) -> None:
        keep = object.__setattr__
        keep(self, "propensity", flat("propensity", self.propensity, 0.0, 1.0))
        keep(self, "reward", flat("reward", self.reward, 0.0, 1.0))
        keep(self, "action", np.asarray(flat("action", self.action, 0.0), np.int64))
        keep(self, "policy", np.asarray(self.policy, np.float64))
        context = np.zeros(len(self.action), np.int64) if self.context is None else codes(self.context)[0]
        keep(self, "context", context)
        same_length(
            user=self.user, action=self.action, propensity=self.propensity, policy=self.policy, reward=self.reward,
            context=context,
        )  # fmt: skip
        self._refuse_impossible()

    def __len__(self) -> int:
        return len(self.action)

    @property
    def actions(self) -> int:
        return int(self.policy.shape[1])

    @property
    def contexts(self) -> Ints:
        """What was asked, as numbers from 0 [rows] int64."""
        assert self.context is not None  # made when it was not given
        return self.context

    def weights(self, clip: float = math.inf) -> Floats:
        """How much more often the new policy takes the action that was taken [rows] float64, `clip` at most."""
        if not clip > 0:
            raise ValueError(f"clip came as {clip!r}: a weight above 0 is wanted, math.inf to clip nothing")
        taken = self.policy[np.arange(len(self)), self.action]
        return np.minimum(taken / self.propensity, clip)

    def _refuse_impossible(self) -> None:
        if self.policy.ndim != 2:
            raise ValueError(f"policy came with shape {self.policy.shape}: [rows, actions] is wanted")
        if len(self) and self.action.max() >= self.actions:
            raise ValueError(f"action {self.action.max()} came with a policy of {self.actions} actions, counted from 0")
        if (self.propensity <= 0).any():
            raise ValueError(
                f"propensity[{np.argmin(self.propensity)}] came as 0, yet the action was taken: log the probability"
                " with which it was chosen, or leave out rows without one"
            )
        if not ((self.policy >= 0).all() and (self.policy.sum(axis=1) <= 1 + 1e-9).all()):
            raise ValueError("a row of policy is no distribution: numbers of 0 or more, 1 in all at most, are wanted")


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far the log can speak for the new policy."""

    effective: float  # rows that would tell as much, were all weights equal
    mean_weight: float  # 1 on average where every action is explored with the propensity logged
    largest_weight: float
    unexplored: float  # share of the new policy's actions that the log never takes in that context
    clipped: float  # mean weight that clipping cut away: `ips` is too low by no more than this


def overlap_of(logged: Logged, clip: float = math.inf) -> Overlap:
    """The diagnostics of a log with at least one row; the effective size is Kish's, (sum w)^2 / sum w^2."""
    if not len(logged):
        raise ValueError("a log without rows has no overlap to speak of")
    weights = logged.weights(clip)
    squares = float((weights**2).sum())
    taken = np.zeros((int(logged.contexts.max()) + 1, logged.actions), bool)
    taken[logged.contexts, logged.action] = True
    explored = (logged.policy * taken[logged.contexts]).sum(axis=1)
    return Overlap(
        effective=float(weights.sum()) ** 2 / squares if squares else 0.0,
        mean_weight=float(weights.mean()),
        largest_weight=float(weights.max()),
        unexplored=max(0.0, float(np.mean(1 - explored))),
        clipped=float(np.mean(logged.weights() - weights)),
    )
