"""From turns to attempts, with outcomes and links that a reader can follow."""

from __future__ import annotations

import pyarrow as pa
import pytest

from dialogue.canonical import Canonicaliser
from dialogue.outcomes import OutcomeModel
from dialogue.table import turn_batch
from dialogue.turn import Outcome, Served, Turn
from rephrase_detection import LexicalDetector
from rewrite.attempts import ATTEMPT_SCHEMA, AttemptFinder
from rewrite.execution import MICRO

SORRY = "Sorry, I don't know that one."
FINDER = AttemptFinder(300.0, OutcomeModel(), LexicalDetector())


def attempts(*turns: Turn) -> list[dict[str, object]]:
    batch = FINDER(turn_batch(turns, Canonicaliser()))
    assert batch.schema == ATTEMPT_SCHEMA
    return batch.to_pylist()


def test_a_failed_request_leads_to_its_rephrase_and_a_new_one_does_not_follow_it():
    rows = attempts(
        Turn("1", "ann", 0.0, "play maj and dragons", response=SORRY),
        Turn("2", "ann", 10.0, "play imagine dragons", response="Here is Imagine Dragons.", outcome=Outcome.SUCCESS),
        Turn("3", "ann", 60.0, "what's the weather", response="Sunny.", outcome=Outcome.SUCCESS),
    )
    assert [row["next_said"] for row in rows] == ["play imagine dragons", None, None]
    assert rows[0]["link"] > 0.8 * MICRO
    assert rows[0]["success"] < 0.2 * MICRO
    assert rows[1]["success"] > 0.9 * MICRO
    assert rows[1]["ended_well"] == rows[1]["success"]  # nothing follows it: all of it ends there


def test_what_goes_on_and_what_ends_add_up():
    first = attempts(
        Turn("1", "ann", 0.0, "play maj and dragons", response=SORRY), Turn("2", "ann", 10.0, "play imagine dragons")
    )[0]
    link, success = first["link"] / MICRO, first["success"] / MICRO
    assert first["ended_well"] == pytest.approx((1 - link) * success * MICRO, abs=1)


def test_a_session_ends_with_silence_and_links_do_not_cross_it():
    rows = attempts(
        Turn("1", "ann", 0.0, "play maj and dragons", response=SORRY), Turn("2", "ann", 1000.0, "play imagine dragons")
    )
    assert [row["session_start"] for row in rows] == [True, True]
    assert rows[0]["next_said"] is None


def test_a_served_turn_is_looked_up_by_what_was_said():
    row = attempts(
        Turn("1", "ann", 0.0, "play imagine dragons", served=Served("play maj and dragons", "play imagine dragons"))
    )[0]
    assert (row["said"], row["rewrite"]) == ("play maj and dragons", "play imagine dragons")


def test_no_turns_make_no_attempts():
    assert FINDER(turn_batch([], Canonicaliser())).num_rows == 0


def test_users_are_kept_apart():
    one = [Turn("1", "ann", 0.0, "play maj and dragons", response=SORRY)]
    other = [Turn("2", "bob", 10.0, "play imagine dragons")]
    both = FINDER(turn_batch([*one, *other], Canonicaliser()))
    apart = [FINDER(turn_batch(turns, Canonicaliser())) for turns in (one, other)]
    assert both.to_pylist() == pa.Table.from_batches(apart).to_pylist()
