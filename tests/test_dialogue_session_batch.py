"""`session_batch` cuts as `cut_sessions` does."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dialogue.session_batch import session_batch
from dialogue.sessions import cut_sessions
from dialogue.table import turn_batch
from dialogue.turn import Turn


def groups(batch: pa.RecordBatch) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for session, turn in zip(batch["session"].to_pylist(), batch["turn_id"].to_pylist(), strict=True):
        found.setdefault(session, []).append(turn)
    return list(found.values())


def test_silence_cuts_and_the_end_of_a_turn_counts():
    turns = [
        Turn("a", "ann", 0.0, "play jazz", end_timestamp=50.0),
        Turn("b", "ann", 100.0, "stop"),  # 50 s of silence
        Turn("c", "ann", 161.0, "play rock"),  # 61 s
        Turn("d", "bob", 162.0, "stop"),
    ]
    assert groups(session_batch(turn_batch(turns, str), 60.0)) == [["a", "b"], ["c"], ["d"]]


def test_the_logs_own_sessions_are_kept_and_two_users_may_share_a_name():
    turns = [
        Turn("a", "ann", 0.0, "x", session_id="s"),
        Turn("b", "ann", 1.0, "x", session_id="t"),
        Turn("c", "ann", 9999.0, "x", session_id="s"),
        Turn("d", "bob", 0.0, "x", session_id="s"),
    ]
    assert groups(session_batch(turn_batch(turns, str), 60.0)) == [["a", "c"], ["b"], ["d"]]


TURNS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.integers(0, 12),
        st.sampled_from([None, "", "s", "t"]),
        st.sampled_from([None, 0, 3]),
    ),
    max_size=12,
)


@given(TURNS, st.integers(1, 5))
def test_same_sessions_as_the_plain_rule(rows, gap_s):
    turns = sorted(
        (
            Turn(f"t{i:02}", user, float(at), "x", name, None if more is None else at + float(more))
            for i, (user, at, name, more) in enumerate(rows)
        ),
        key=lambda turn: (turn.user_id, turn.timestamp, turn.turn_id),
    )
    expected = [[turn.turn_id for turn in session.turns] for session in cut_sessions(turns, float(gap_s))]
    assert groups(session_batch(turn_batch(turns, str), float(gap_s))) == expected
