"""How one decision on one case went; `judge` judges it by accepted texts, `eval.judges` by what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from eval.cases import CANONICAL, Case, Kind
from eval.harm import Harm
from rewrite.decision import Action, Decision


class Verdict(StrEnum):
    """The ends of a case. WRONG and FALSE_TRIGGER are the losses; UNHARMED is neither win nor loss."""

    WIN = "win"  # an opportunity, rewritten to an accepted text
    WRONG = "wrong"  # an opportunity, rewritten to another text
    MISSED = "missed"  # an opportunity, left alone
    FALSE_TRIGGER = "false_trigger"  # a guardrail, rewritten
    LEFT_ALONE = "left_alone"  # a guardrail, left alone
    UNHARMED = "unharmed"  # a guardrail, rewritten to what works as well; accepted texts cannot tell that


LOSSES = (Verdict.WRONG, Verdict.FALSE_TRIGGER)
OPPORTUNITIES = (Verdict.WIN, Verdict.WRONG, Verdict.MISSED)


@dataclass(frozen=True, slots=True)
class Judged:
    """A case with the engine's decision and the verdict on it."""

    case: Case
    decision: Decision
    verdict: Verdict
    harm: Harm | None = None

    @property
    def kind(self) -> Kind:
        """What the case asked, by the verdict on it."""
        return Kind.OPPORTUNITY if self.verdict in OPPORTUNITIES else Kind.GUARDRAIL

    @property
    def triggered(self) -> bool:
        return self.verdict not in (Verdict.MISSED, Verdict.LEFT_ALONE)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: the case and the decision with its evidence."""
        turn = self.case.turn
        return {
            "verdict": self.verdict.value,
            "turn_id": turn.turn_id,
            "user_id": turn.user_id,
            "said": turn.said,
            "kind": self.kind.value,
            "accepted": list(self.case.accepted),
            "harm": self.harm.value if self.harm else None,
            "decision": self.decision.as_dict(),
        }


def triggered(decision: Decision) -> bool:
    """Whether NLU gets another text than was said. A suggestion changes nothing until the user takes it."""
    return decision.action is Action.REWRITE and CANONICAL(decision.text) != CANONICAL(decision.original)


def judge(case: Case, decision: Decision) -> Judged:
    """The verdict; texts are equal where their canonical forms are."""
    if not triggered(decision):
        verdict = Verdict.MISSED if case.kind is Kind.OPPORTUNITY else Verdict.LEFT_ALONE
    elif case.kind is Kind.GUARDRAIL:
        verdict = Verdict.FALSE_TRIGGER
    else:
        right = CANONICAL(decision.text) in map(CANONICAL, case.accepted)
        verdict = Verdict.WIN if right else Verdict.WRONG
    return Judged(case, decision, verdict)
