"""The records of a log: what the user said, what the assistant did, and what followed.

Field names and meanings are those of the log format (docs/log-format.md). Absent fields are None, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from annotated_types import Ge, Le, MinLen

#: Timestamps further than this from the epoch (the year 5138) are a unit mistaken, such as milliseconds for seconds.
LATEST_TIMESTAMP = 1e11


def seconds_since_epoch(value: object) -> float:
    """Seconds since the epoch of an ISO 8601 string (UTC where it names no zone) or of a number of seconds."""
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < LATEST_TIMESTAMP else math.inf  # float(10**400) would overflow
    elif isinstance(value, datetime):
        seconds = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    else:
        raise ValueError(f"a timestamp is an ISO 8601 string or seconds since the epoch, not {value!r:.60}")
    if not math.isfinite(seconds) or abs(seconds) > LATEST_TIMESTAMP:
        raise ValueError(f"timestamp {value!r:.60} is out of range: seconds since the epoch are wanted")
    return seconds


class _Instant:
    """Marks a field that arrives as an ISO string or a number and is kept as float seconds."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # only the reader needs it; serving does not

        return core_schema.no_info_plain_validator_function(seconds_since_epoch)


Identifier = Annotated[str, MinLen(1)]
Share = Annotated[float, Ge(0), Le(1)]
Seconds = Annotated[float, _Instant()]


class Outcome(StrEnum):
    """What the assistant itself knows about a turn: an action ran, or an error was returned."""

    SUCCESS = "success"
    FAILURE = "failure"


class RephraseKind(StrEnum):
    """Why it was said again: differently, or the same because it was misheard."""

    COMMAND = "command"
    ASR = "asr"


class FailurePoint(StrEnum):
    """The first component that failed beyond recovery."""

    CORRECT = "correct"
    FALSE_WAKE = "false_wake"
    ASR = "asr"
    NLU = "nlu"
    ENTITY = "entity"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One entry of the recogniser's n-best list."""

    text: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Asr:
    """What the recogniser reports: its confidence in the 1-best and the n-best list, best first."""

    confidence: Share | None = None
    nbest: tuple[Hypothesis, ...] = ()


@dataclass(frozen=True, slots=True)
class Nlu:
    """The interpretation that was acted on."""

    domain: str | None = None
    intent: str | None = None
    slots: Mapping[str, Any] = field(default_factory=dict)
    confidence: Share | None = None


@dataclass(frozen=True, slots=True)
class Signals:
    """Implicit and explicit feedback on one turn."""

    barge_in: bool | None = None
    cancelled: bool | None = None
    engaged_s: Annotated[float, Ge(0)] | None = None
    rating: Annotated[int, Ge(-1), Le(1)] | None = None
    clicked: bool | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Where and on what the request was made."""

    device_type: str | None = None
    has_screen: bool | None = None
    device_state: Mapping[str, Any] | None = None
    activity: str | None = None
    locale: str | None = None
    location: str | None = None
    local_hour: Annotated[int, Ge(0), Le(23)] | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """What a rewriter did to a turn; `Turn.text` is then what went on to NLU and `original` what the user said."""

    original: str
    rewrite: str
    source: str | None = None
    rewrite_id: str | None = None
    propensity: Share | None = None


@dataclass(frozen=True, slots=True)
class Gold:
    """Annotations of one turn. `annotated` says which fields the record had: there a None is a label, not a gap."""

    text: str | None = None
    frame: Nlu | None = None
    success: bool | None = None
    rephrase_of: str | None = None
    rephrase_kind: RephraseKind | None = None
    rewrite: tuple[str, ...] | None = None
    failure_point: FailurePoint | None = None
    goal_id: str | None = None
    goal_success: bool | None = None
    satisfaction: Annotated[float, Ge(1), Le(5)] | None = None
    annotated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Turn:
    """One user turn of a log. Times are seconds since the epoch; `turn_id` is the total order among equal times."""

    turn_id: Identifier
    user_id: Identifier
    timestamp: Seconds
    text: str
    session_id: str | None = None
    end_timestamp: Seconds | None = None
    asr: Asr | None = None
    nlu: Nlu | None = None
    response: str | None = None
    signals: Signals | None = None
    outcome: Outcome | None = None
    context: Context | None = None
    served: Served | None = None
    gold: Gold | None = None

    @property
    def said(self) -> str:
        """What the user said: the text, or what it was before a rewriter changed it."""
        return self.served.original if self.served else self.text


@dataclass(frozen=True, slots=True)
class Session:
    """Consecutive turns of one user without a long silence, in order of (timestamp, turn_id)."""

    session_id: str
    user_id: str
    turns: tuple[Turn, ...]
