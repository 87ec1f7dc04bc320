"""What speaks for and against a contextual rewrite: the counts of `rewrite.context_counts` as evidence for the gate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewrite.execution import MICRO, Execution
from rewrite.gate import Evidence
from rewrite.graph import Graph
from rewrite.mining import BORROWED, SAME_MEANING
from rewrite.posterior import Beta

Row = Mapping[str, Any]
Key = tuple[str, str]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counted:
    """The tables of `rewrite.context_counts` over all users, by text and token."""

    sides: Mapping[Key, Row]
    texts: Mapping[str, Row]
    steps: Mapping[Key, Mapping[str, Row]]  # (text, token) -> next text -> its row
    served: Mapping[tuple[str, str, str], Row]
    meaning: Mapping[str, str] = field(default_factory=dict)
    graph: Graph | None = None

    @classmethod
    def read(cls, tables: Execution, graph: Graph | None) -> Counted:
        texts = tables.table(
            """SELECT * FROM texts WHERE said IN (SELECT said FROM context_pairs)
               OR said IN (SELECT next_said FROM contexts_on) ORDER BY said"""
        )
        steps: defaultdict[Key, dict[str, Row]] = defaultdict(dict)
        for row in tables.table("SELECT * FROM contexts_on ORDER BY said, token, next_said").to_pylist():
            steps[row["said"], row["token"]][row["next_said"]] = row
        sides = tables.table("SELECT * FROM contexts ORDER BY said, token").to_pylist()
        served = tables.table("SELECT * FROM contexts_served ORDER BY said, rewrite, token").to_pylist()
        return cls(
            {(row["said"], row["token"]): row for row in sides},
            {row["said"]: row for row in texts.to_pylist()},
            dict(steps),
            {(row["said"], row["rewrite"], row["token"]): row for row in served},
            graph.meaning if graph is not None else {},
            graph,
        )

    def of(self, text: str) -> str:
        """What a text is mostly taken for: texts that mean the same are one target."""
        return self.meaning.get(text, text)

    def same(self, source: str, target: str) -> bool:
        """Whether NLU nearly always takes the source as the target: then the one cannot do better than the other."""
        taken = self.graph.taken.get(source, {}).get(self.of(target)) if self.graph is not None else None
        return taken is not None and taken.share >= SAME_MEANING

    def alike(self, source: str, target: str) -> float:
        """Of the source's successes, those that NLU takes as it takes the target."""
        taken = self.graph.taken.get(source, {}).get(self.of(target)) if self.graph is not None else None
        return taken.success if taken is not None else 0.0

    def rate(self, text: str) -> float:
        """Success of a text whatever surrounds it."""
        row = self.texts[text]
        return min(max(float(row["success"] / max(row["weight"], 1)), 0.001), 0.999)

    def ends(self, text: str) -> float:
        """For how many a text is the last word."""
        row = self.texts[text]
        return 1.0 - min(float(row["moved_on"] / max(row["total"], 1)), 1.0)

    def share(self, source: str, token: str, target: str) -> tuple[float, float]:
        """(of those who went on, for how many the target's meaning was the last word; how many went on)."""
        row, steps = self.sides.get((source, token)), self.steps.get((source, token), {})
        if row is None or not row["moved_on"]:
            return 0.0, 0.0
        meant = self.of(target)
        there = sum(step["weight"] * self.ends(text) for text, step in steps.items()
                    if self.of(text) == meant and text in self.texts)  # fmt: skip
        went_on = row["weight"] / MICRO * min(row["moved_on"] / max(row["total"], 1), 1.0)
        return min(there / row["moved_on"], 1.0), went_on

    def evidence(self, source: str, token: str, target: str) -> Evidence:
        """What speaks for a pair under a token.

        A target that too few users said under the token is judged by all its turns: what follows a failure never
        follows what the failure followed.
        """
        u, within = self.sides[source, token], self.sides.get((target, token))
        j, own = within or self.texts[target], within is not None
        share, went_on = self.share(source, token, target)
        step = self.steps.get((source, token), {}).get(target)
        on = self.served.get((source, target, token), {})
        return Evidence(
            source_users=int(u["users"]),
            source_turns=u["weight"] / MICRO,
            source_success=u["success"] / MICRO,
            target_users=int(j["users"]),
            target_turns=j["weight"] / MICRO,
            target_success=j["success"] / MICRO,
            route_users=int(step["users"]) if step is not None else 0,
            went_on=went_on,
            share=share,
            alike=self.alike(source, target),
            served_turns=on.get("weight", 0) / MICRO,
            served_success=on.get("success", 0) / MICRO,
            source_prior=self.rate(source),
            source_prior_turns=BORROWED,
            target_prior=self.rate(target) if own else 0.5,
            target_prior_turns=BORROWED if own else 1.0,
        )


def success_of(counted: Counted, pairs: Sequence[tuple[str, str, str]], side: str) -> Beta:
    """Success of the sources on one side of the token."""
    rows = [counted.sides.get((source, side + token)) for source, token, _ in pairs]
    turns = np.array([row["weight"] / MICRO if row else 0.0 for row in rows])
    success = np.array([row["success"] / MICRO if row else 0.0 for row in rows])
    return Beta.from_mean(np.full(len(pairs), 0.5), 1.0).updated(np.clip(success, 0, turns), turns)


def meant_of(counted: Counted, pairs: Sequence[tuple[str, str, str]], side: str) -> Beta:
    """The share of those whom the source does not serve, on one side of the token, who mean the target."""
    found = [counted.share(source, side + token, target) for source, token, target in pairs]
    share, went_on = (np.array([each[place] for each in found]) for place in (0, 1))
    return Beta.from_mean(np.full(len(pairs), 0.5), 1.0).updated(share * went_on, went_on)


def logit(beta: Beta) -> Floats:
    return np.asarray(np.log(beta.a / beta.b))
