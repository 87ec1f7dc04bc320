"""The arms of the trial, and who answers in each: an engine with the arm's sources, or nobody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.simulation.customers import Customers, hashed, uniform
from eval.simulation.errors import SimulationError
from eval.simulation.knobs import LearningKnobs
from rewrite import Action, Decision, EngineConfig, Reason, RewriteEngine, Source

#: Time is no part of a simulation: a busy machine must not change what is served.
NO_DEADLINE = 3_600.0


class Arm(StrEnum):
    """From the smallest engine to the whole."""

    CONTROL = "control"  # never rewrites
    PRECOMPUTED = "precomputed"  # the table alone
    GLOBAL = "global"  # and requests near one that works for everyone
    PERSONAL = "personal"  # and the user's own requests and corrections

    @property
    def sources(self) -> frozenset[Source]:
        """What an engine may answer from in this arm."""
        return _SOURCES[self]


_SOURCES = {
    Arm.CONTROL: frozenset[Source](),
    Arm.PRECOMPUTED: frozenset({Source.PRECOMPUTED}),
    Arm.GLOBAL: frozenset({Source.PRECOMPUTED, Source.GLOBAL}),
    Arm.PERSONAL: frozenset({Source.PRECOMPUTED, Source.GLOBAL, Source.PERSONAL}),
}


def parse_arms(names: str | Iterable[str]) -> tuple[Arm, ...]:
    """Arms from "control,precomputed" or from names, each once. Raises SimulationError."""
    given = names.split(",") if isinstance(names, str) else list(names)
    try:
        arms = tuple(dict.fromkeys(Arm(name.strip()) for name in given))
    except ValueError as error:
        raise SimulationError(f"{error}: arms are {', '.join(Arm)}") from error
    if not arms:
        raise SimulationError(f"no arm came: one or more of {', '.join(Arm)} are wanted")
    return arms


def assign(customers: Customers, arms: tuple[Arm, ...]) -> NDArray[np.int64]:
    """The place in `arms` of each user [users] int64: by a hash, and nothing that the user does."""
    users = np.arange(len(customers.robot))
    return np.asarray((uniform(hashed(customers.seed, "arm", users)) * len(arms)).astype(np.int64))


@dataclass(frozen=True, slots=True)
class Answer:
    """A rewrite as the loop needs it."""

    text: str
    source: Source
    reason: str
    rewrite_id: str
    propensity: float = 1.0  # with which this was done
    held_back: bool = False  # the request goes on as it is, though a rewrite is known: the engine explores


class Server:
    """Answers the requests of one arm in one round. Each answer is looked up once, as the bundle does not change,
    unless it is drawn.

    Where the personal layer takes no part, the engine is not told who asks.
    """

    def __init__(self, engine: RewriteEngine | None, arm: Arm) -> None:
        self._engine = engine if arm is not Arm.CONTROL else None
        self._personal = Source.PERSONAL in arm.sources
        self._known: dict[tuple[str, str | None], Answer | None] = {}

    @classmethod
    def load(cls, bundle: Path | None, arm: Arm, knobs: LearningKnobs, seed: tuple[int, int]) -> Server:
        """From the bundle of the round before; None: nothing is learned yet. `seed` is of what the engine draws."""
        if bundle is None or arm is Arm.CONTROL:
            return cls(None, arm)
        drawn = int(hashed(seed[0], f"explore {arm}", np.array([seed[1]]))[0])
        config = EngineConfig(
            sources=arm.sources, deadline_s=NO_DEADLINE, explore=knobs.explore, trial=knobs.trial, seed=drawn
        )
        return cls(RewriteEngine.load(bundle, config=config, verify=False), arm)

    def answer(self, text: str, user: str) -> Answer | None:
        """The rewrite of a request, or None where it goes on as it is and nothing is known."""
        if self._engine is None:
            return None
        asked = (text, user if self._personal else None)
        if asked in self._known:
            return self._known[asked]
        decision = self._engine.rewrite(*asked)
        answer = _rewrite(decision)
        if decision.propensity == 1.0:
            self._known[asked] = answer
        return answer


def _rewrite(decision: Decision) -> Answer | None:
    if decision.reason is Reason.FAULT:
        raise SimulationError(f"the engine broke on {decision.original!r}: {decision.evidence.get('fault')}")
    held_back = decision.reason is Reason.HELD_BACK
    if not held_back and (decision.action is not Action.REWRITE or decision.text == decision.original):
        return None
    return Answer(
        decision.text, decision.source, decision.reason.value, decision.rewrite_id or "", decision.propensity, held_back
    )
