"""The turns of a live history: as they come, and as they are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from dialogue.turn import Turn
from rewrite.errors import BadTurn

#: Longer texts are no requests, here as in the mining job.
LONGEST_REQUEST = 300
#: Of each user, so many of the latest turns are looked at; those of so many seconds are recent.
MOST_TURNS, RECENT_S = 200, 3_600.0


class RecentTurn(NamedTuple):
    """One turn of a user. Where a rewriter changed it, `success` is that of the text served, not of what was said."""

    turn_id: str
    timestamp: float  # seconds since the epoch
    said: str  # canonical text of what the user said
    surface: str  # the same as it was written
    rewrite: str | None  # canonical text that was served instead; None: left alone
    intent: str | None
    success: float  # P(success) as far as known
    judged: bool  # whether anything was seen of how it went; otherwise `success` is what one expects of any turn


class LiveRequest(NamedTuple):
    """A user's own text since the last learn. Turns that were rewritten tell nothing for it: they are `served` only."""

    said: str  # canonical
    surface: str  # as it was written last
    turns: int  # that were left alone
    successes: float  # sum of P(success) over them
    judged: int  # of them, those of which anything was seen of how they went
    served: int  # turns in which something else was served in place of it
    last_seen: float  # seconds since the epoch

    @property
    def failures(self) -> float:
        """Sum of P(failure) over the turns that were left alone."""
        return self.turns - self.successes


def stored_turn(row: tuple[Any, ...]) -> RecentTurn:
    """A row of the columns of `RecentTurn`."""
    return RecentTurn._make((*row[:-1], row[-1] == 1))


def requests_of(turns: Sequence[RecentTurn]) -> tuple[LiveRequest, ...]:
    """One user's turns, which are in order, by text; the latest first."""
    by_text: dict[str, list[RecentTurn]] = {}
    for turn in reversed(turns):
        if 0 < len(turn.said) <= LONGEST_REQUEST:
            by_text.setdefault(turn.said, []).append(turn)
    return tuple(map(_request, by_text.values()))


def _request(turns: Sequence[RecentTurn]) -> LiveRequest:
    """The turns of one text, the latest first, as one."""
    alone = [turn for turn in turns if turn.rewrite is None]
    last = turns[0]
    return LiveRequest(
        last.said, last.surface, len(alone), sum(turn.success for turn in alone), sum(turn.judged for turn in alone),
        len(turns) - len(alone), last.timestamp,
    )  # fmt: skip


def parsed_turn(turn: Turn | Mapping[str, Any]) -> tuple[Turn, str]:
    """The turn as the reader of logs would give it, and its record as a line of JSON; without gold. Raises BadTurn."""
    from dialogue.parse import parse_lines  # loads pydantic, which serving does not need

    if not isinstance(turn, Turn | Mapping):
        raise BadTurn(f"a {type(turn).__name__} came: a Turn, or a mapping in the log format, is wanted")
    plain = _plain(turn)
    plain.pop("gold", None)
    try:
        line = json.dumps(plain, ensure_ascii=False, allow_nan=False)
        turns, rejects = parse_lines([line.encode()], 1, "observed")
    except (TypeError, ValueError, RecursionError) as error:
        raise BadTurn(f"the turn is no JSON: {error}. Give it as the log format has it") from error
    if rejects:
        raise BadTurn(
            f"the turn breaks the log format: {rejects[0].reason} ({rejects[0].detail}). Mend it; docs/log-format.md"
            " has the format"
        )
    return turns[0], line


def _plain(value: Any) -> Any:
    """Records as mappings without what is absent, and their sequences as lists."""
    if is_dataclass(value):
        parts = ((each.name, getattr(value, each.name)) for each in fields(value) if each.name != "gold")
        return {name: _plain(part) for name, part in parts if part is not None}
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
