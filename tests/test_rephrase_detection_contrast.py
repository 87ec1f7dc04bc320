"""Made-up sessions: what they hold, and that they say the truth about themselves."""

from __future__ import annotations

import numpy as np
import pytest

from dialogue.turn import Outcome, RephraseKind, Session, Turn
from rephrase_detection.contrast import contrast_sessions, user_once

REQUESTS = ("play imagine dragons", "weather in seattle", "set a timer for ten minutes", "play the news")


def log(failing: bool = True) -> tuple[Session, ...]:
    """Every request once, after a failed one."""
    found = []
    for number, text in enumerate(REQUESTS):
        failed = Turn(f"{number}a", f"u{number}", 0.0, "pay dragons", response="Sorry?", outcome=Outcome.FAILURE)
        worked = Turn(f"{number}b", f"u{number}", 9.0, text, response="Done.", outcome=Outcome.SUCCESS)
        found.append(Session(f"s{number}", f"u{number}", (failed, worked) if failing else (worked,)))
    return tuple(found)


def fared(sessions: tuple[Session, ...]) -> np.ndarray:
    return np.array([turn.outcome is Outcome.SUCCESS for each in sessions for turn in each.turns], float)


def test_a_step_of_one_user_counts_once_however_often_it_was_taken():
    users, said = ["ann", "ann", "ann", "ann", "bob", "bob"], ["a", "b", "a", "b", "a", "b"]
    weights = user_once(users, said, np.array([0, 2, 4]), np.array([1, 3, 5]))
    assert weights.tolist() == [0.5, 0.5, 1.0]


def test_made_up_sessions_are_annotated_truly():
    sessions = log()
    made = contrast_sessions(sessions, fared(sessions), 200, seed=3)
    assert len(made) == 200
    linked = 0
    for session in made:
        turns = {turn.turn_id: turn for turn in session.turns}
        assert [turn.timestamp for turn in session.turns] == sorted(turn.timestamp for turn in session.turns)
        for turn in session.turns:
            assert turn.gold is not None
            assert turn.gold.annotated == {"rephrase_of"}
            if turn.gold.rephrase_of is None:
                continue
            linked += 1
            source = turns[turn.gold.rephrase_of]
            assert source.outcome is Outcome.FAILURE  # only what failed is said again
            assert turn.text in REQUESTS  # by a request that worked, as it was
            assert source.text != turn.text
            if turn.gold.rephrase_kind is RephraseKind.COMMAND:  # cut short at one end
                assert turn.text.startswith(source.text) or turn.text.endswith(source.text)
    assert 60 < linked < 140  # half of them, by chance


def test_the_same_seed_makes_the_same_sessions():
    sessions = log()
    one, other = (contrast_sessions(sessions, fared(sessions), 30, seed=1) for _ in range(2))
    assert one == other
    assert one != contrast_sessions(sessions, fared(sessions), 30, seed=2)


@pytest.mark.parametrize("sessions", [(), log(failing=False), log()[:0]])
def test_without_failures_nothing_is_made(sessions):
    assert contrast_sessions(sessions, fared(sessions), 10, seed=0) == ()
