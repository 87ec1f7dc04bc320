"""What does the log say happened? The ground floor: turns, sessions, outcomes.

A *turn* is one thing that a user said and what followed; a *session* is turns of one user without a long
silence; the *boundary* is how long a silence ends one, and a *gap* the silence before a turn. A *reject* is a
record that breaks the log format, with its *reason*. A text's *canonical* form is the one spelling by which
requests are looked up. A turn's *evidence* is what was observed about it, and its *judgement* the probability
of success that this amounts to; `Outcome` is what the assistant itself recorded.

Names are imported when first asked for: `import dialogue` alone loads neither pydantic nor pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dialogue.canonical import Canonicaliser, fold
    from dialogue.errors import DialogueError, LogError, TooManyRejects
    from dialogue.feedback import EvidenceWeights, Phrases
    from dialogue.outcomes import Evidence, Judgement, OutcomeModel
    from dialogue.parse import Reason, Reject, parse_lines
    from dialogue.reader import LogReader, ReadReport, read_log
    from dialogue.sessions import (
        BoundaryMethod,
        GapHistogram,
        Mixture,
        SessionBoundary,
        cut_sessions,
        estimate_boundary,
    )
    from dialogue.turn import (
        Asr,
        Context,
        FailurePoint,
        Gold,
        Hypothesis,
        Nlu,
        Outcome,
        RephraseKind,
        Served,
        Session,
        Signals,
        Turn,
    )

__all__ = [
    "Asr",
    "BoundaryMethod",
    "Canonicaliser",
    "Context",
    "DialogueError",
    "Evidence",
    "EvidenceWeights",
    "FailurePoint",
    "GapHistogram",
    "Gold",
    "Hypothesis",
    "Judgement",
    "LogError",
    "LogReader",
    "Mixture",
    "Nlu",
    "Outcome",
    "OutcomeModel",
    "Phrases",
    "ReadReport",
    "Reason",
    "Reject",
    "RephraseKind",
    "Served",
    "Session",
    "SessionBoundary",
    "Signals",
    "TooManyRejects",
    "Turn",
    "cut_sessions",
    "estimate_boundary",
    "fold",
    "parse_lines",
    "read_log",
]

_MODULES = {
    "canonical": ["Canonicaliser", "fold"],
    "errors": ["DialogueError", "LogError", "TooManyRejects"],
    "feedback": ["EvidenceWeights", "Phrases"],
    "outcomes": ["Evidence", "Judgement", "OutcomeModel"],
    "parse": ["Reason", "Reject", "parse_lines"],
    "reader": ["LogReader", "ReadReport", "read_log"],
    "sessions": [
        *["BoundaryMethod", "GapHistogram", "Mixture", "SessionBoundary"],
        *["cut_sessions", "estimate_boundary"],
    ],
    "turn": [
        *["Asr", "Context", "FailurePoint", "Gold", "Hypothesis", "Nlu"],
        *["Outcome", "RephraseKind", "Served", "Session", "Signals", "Turn"],
    ],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
