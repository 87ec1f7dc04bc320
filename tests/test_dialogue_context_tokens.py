"""Context tokens: one function for the log and for the request, and one token of a kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.canonical import Canonicaliser
from dialogue.context_batch import with_previous
from dialogue.context_tokens import AFTER_S, LONGEST, Previous, after_token, context_tokens, kind_of
from dialogue.parse import parse_lines
from dialogue.table import TURN_SCHEMA, turn_batch
from tests.logs import jsonl, record

KITCHEN = {
    "device_type": "Screen", "has_screen": True, "activity": "alarm", "local_hour": 7, "locale": "en-US",
    "device_state": {"oven": "on", "volume": 7, "lamp": True, "door": {"garage": "half  open"}},
}  # fmt: skip


def test_a_context_by_hand():
    assert context_tokens(KITCHEN) == {
        "device:screen", "screen:yes", "activity:alarm", "hour:morning", "state:oven=on", "state:lamp=on",
        "state:door.garage=half open",
    }  # fmt: skip


def test_what_went_before_is_its_intent_or_its_words_for_a_while():
    assert context_tokens(None, Previous("clock", "stop_alarm", "stop the alarm", 20.0)) == {"after:clock.stop_alarm"}
    assert context_tokens({}, Previous(None, None, "stop the alarm", AFTER_S)) == {"after:stop the alarm"}
    assert after_token("clock", None, "stop", AFTER_S + 1) is None
    assert after_token("clock", None, "stop", -1.0) is None
    assert after_token(None, None, "", 1.0) is None


@pytest.mark.parametrize(
    ("hour", "name"), [(0, "night"), (4, "night"), (5, "morning"), (10, "morning"), (11, "day"), (16, "day"),
                       (17, "evening"), (21, "evening"), (22, "night"), (23, "night")],
)  # fmt: skip
def test_the_hours(hour: int, name: str):
    assert context_tokens({"local_hour": hour}) == {f"hour:{name}"}


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=100),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=50), inner, max_size=4),
    max_leaves=12,
)
contexts = st.fixed_dictionaries({}, optional=dict.fromkeys(KITCHEN, odd))


@given(contexts)
def test_whatever_comes_no_token_breaks_a_column_or_a_key(context: dict[str, Any]):
    tokens = context_tokens(context)
    assert all(len(each) <= LONGEST and "\n" not in each and "|" not in each for each in tokens)
    assert all(each[0] != "!" and each == each.lower() for each in tokens)
    assert len({kind_of(each) for each in tokens}) == len(tokens)


@pytest.mark.parametrize("context", ["screen", 7, ["device_type"], None])
def test_what_is_no_context_has_no_tokens(context: Any):
    assert context_tokens(context) == frozenset()


def batch_of(*records: dict[str, Any]) -> pa.RecordBatch:
    turns = parse_lines(jsonl(records).splitlines(), 1, "log").turns
    return turn_batch(sorted(turns, key=lambda turn: (turn.user_id, turn.timestamp)), Canonicaliser())


def test_the_column_of_a_log_is_what_a_request_is_served_by():
    alarm = {"domain": "clock", "intent": "stop_alarm", "slots": {"which": "first"}}
    batch = batch_of(
        record(0, "Stop the alarm!", at=0.0, nlu=alarm, context=KITCHEN),
        record(1, "start brewing", at=20.0, context=KITCHEN),
        record(2, "start brewing", at=20.0 + AFTER_S),
        record(3, "start brewing", at=9_000.0),
        record(4, "start brewing", "u2", at=9_001.0),
    )
    column = with_previous(batch)["context"].to_pylist()
    assert with_previous(batch).schema == TURN_SCHEMA
    served = context_tokens(KITCHEN, Previous("clock", "stop_alarm", "stop the alarm", 20.0))
    assert column[0] == "\n".join(sorted(context_tokens(KITCHEN)))
    assert column[1] == "\n".join(sorted(served))
    assert column[2:] == ["after:start brewing", None, None]


def test_no_turns_have_no_context():
    assert with_previous(batch_of()).num_rows == 0


@given(st.lists(st.tuples(contexts, st.floats(0, 400)), min_size=1, max_size=6))
def test_both_halves_agree_on_any_log(told: list[tuple[dict[str, Any], float]]):
    sound = [{name: each for name, each in context.items() if name == "device_state" and isinstance(each, dict)}
             for context, _ in told]  # fmt: skip
    at, records = 0.0, []
    for number, (context, (_, apart)) in enumerate(zip(sound, told, strict=True)):
        at += round(apart, 3)
        records.append(record(number, f"say {number}", at=at, context=context))
    if len(parse_lines(jsonl(records).splitlines(), 1, "log").turns) < len(records):
        return  # JSON has no NaN
    column = with_previous(batch_of(*records))["context"].to_pylist()
    previous: tuple[str, float] | None = None
    for each, context, found in zip(records, sound, column, strict=True):
        before = None if previous is None else Previous(None, None, previous[0], each["timestamp"] - previous[1])
        assert (found or "") == "\n".join(sorted(context_tokens(context, before)))
        previous = (each["text"], each["timestamp"])


def test_serving_needs_no_arrow_for_it():
    program = "import sys, dialogue.context_tokens; print('pyarrow' in sys.modules)"
    root = Path(__file__).parent.parent
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert answer.stdout.strip() == "False"
