"""Two tables: the most frequent next success, and the chain's best candidate before any gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.baselines.tables import Tables, left_alone, replaced
from rewrite import Decision, Reason


class NextSuccess:
    """What users most often said next that worked, if at least LEAST turns did so.

    Counted are users' own corrections, which the mining job keeps where they flip no meaning. No statistics on how the
    request does when it is left alone.
    """

    LEAST = 2
    name, told = "next success", f"what was most often said next that worked, {LEAST} times or more"

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._target: dict[str, str] = {}
        for source, targets in tables.corrections.items():
            target, turns = max(targets.items(), key=lambda each: (each[1], each[0]))
            if turns >= self.LEAST:
                self._target[source] = target

    def rewrite(self, text: str, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> Decision:
        return _answer(self._tables, self._target, text)


class PlainChain:
    """The candidate with the largest N[u,j] R[j,success], whatever the gate and the guards said of it.

    The bundle keeps the pairs that enough users stand behind, so that much of the gate cannot be taken away.
    """

    name, told = "plain chain", "the chain's best candidate, without gate and guards"

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._target: dict[str, str] = {}
        for row in sorted(tables.candidates, key=lambda row: (-float(str(row["chain_score"])), str(row["target"]))):
            self._target.setdefault(str(row["source"]), str(row["target"]))

    def rewrite(self, text: str, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> Decision:
        return _answer(self._tables, self._target, text)


def _answer(tables: Tables, targets: Mapping[str, str], text: str) -> Decision:
    settled = tables.settled(text)
    if settled is not None:
        return settled
    said = tables.canonical(text)
    target = targets.get(said)
    if target is None:
        return left_alone(text, Reason.NO_CANDIDATE)
    return replaced(text, said, target, tables.surfaces.get(target, target), Reason.LEARNED)
