"""What one user did up to a moment of a log, as a live history would have told it at that moment.

A turn is judged by itself and by what came after it up to then (`rewrite.live_outcomes`), and by nothing that came
later: what is trained on this sees what an engine sees when it serves.
"""

from __future__ import annotations

from bisect import bisect_left

from dialogue.feedback import LIMIT_S, MAX_TURNS
from dialogue.turn import Turn
from rewrite.live_outcomes import Alone, Said, alone, probability, reaction
from rewrite.live_turns import MOST_TURNS, RECENT_S, LiveRequest, RecentTurn, requests_of


class Past:
    """The turns of one user so far; each is added once it was answered, in order of time."""

    def __init__(self) -> None:
        self._turns: list[RecentTurn] = []
        self._told: list[Alone] = []
        self._sessions: dict[str, list[int]] = {}
        self._said: dict[str, list[int]] = {}

    def add(self, turn: Turn, said: str, rewrite: str | None = None) -> None:
        """One more turn, with the canonical texts of what was said, and of what was served where that is another."""
        place, told = len(self._turns), alone(turn, said)
        success = probability(told.log_odds)
        self._told.append(told)
        self._turns.append(
            RecentTurn(turn.turn_id, turn.timestamp, said, turn.said, rewrite, None, success, told.observed)
        )
        if rewrite is None:
            self._said.setdefault(said, []).append(place)
        session = self._sessions.setdefault(turn.session_id or "", [])
        session.append(place)
        for number in range(max(len(session) - 1 - MAX_TURNS, 0), len(session) - 1):
            self._judge(session[number], session[number + 1 :])

    def recent(self, at: float) -> tuple[tuple[str, float], ...]:
        """The texts of the last RECENT_S seconds up to `at`, as they were served, with P(success) as far as known."""
        turns = self._turns[-MOST_TURNS:]
        first = bisect_left(turns, at - RECENT_S, key=lambda turn: turn.timestamp)
        return tuple((each.rewrite or each.said, each.success) for each in turns[first:])

    def requests(self) -> tuple[LiveRequest, ...]:
        """The user's own texts of the last MOST_TURNS turns, the latest first."""
        return requests_of(self._turns[-MOST_TURNS:])

    def worked(self, said: str) -> bool:
        """Whether a text is known to have worked for the user whenever it was left alone, more often than not."""
        turns = [self._turns[place] for place in self._said.get(said, ())]
        return any(turn.judged for turn in turns) and sum(turn.success for turn in turns) > len(turns) / 2

    def _judge(self, place: int, later: list[int]) -> None:
        """Judges a turn anew, by the later ones of its session."""
        turn, told = self._turns[place], self._told[place]
        following = [Said(self._turns[each].timestamp, self._turns[each].said) for each in later]
        odds = told.log_odds + reaction(Said(turn.timestamp, turn.said), told.confirming, following)
        judged = told.observed or following[0].timestamp - turn.timestamp <= LIMIT_S
        self._turns[place] = turn._replace(success=probability(odds), judged=judged)
