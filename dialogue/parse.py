"""Lines of JSON into turns: what one process of a pool does with one block of a log.

A *reason* is one word of `Reason`, followed by the field it is about where there is one:
`missing_field:user_id`.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from dialogue.turn import Gold, Turn

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

#: A record longer than this is not parsed: a log of utterances that holds one is damaged.
MAX_RECORD_BYTES = 4 << 20
#: Characters of a bad record that the rejects file keeps.
KEPT_CHARACTERS = 2_000


class Reason(StrEnum):
    """Why a record is set aside."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    NOT_UTF8 = "not_utf8"  # bytes that are no UTF-8, or an escape that is half of a surrogate pair
    TOO_LONG = "too_long"
    MISSING_FIELD = "missing_field"  # absent, or null where a value is required
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    BAD_TIMESTAMP = "bad_timestamp"


_OUT_OF_RANGE = {"greater_than_equal", "less_than_equal", "string_too_short", "enum"}
_REQUIRED = {"turn_id", "user_id", "timestamp", "text"}


@dataclass(frozen=True, slots=True)
class Reject:
    """One bad record: where it stood (lines, and rows of Parquet, count from 1), why, and the start of it."""

    file: str
    line: int
    reason: str
    detail: str
    record: str


class Parsed(NamedTuple):
    """What became of the lines of one block; blank lines are in neither list."""

    turns: list[Turn]
    rejects: list[Reject]


def parse_lines(
    lines: Sequence[bytes],
    first_line: int,
    file: str,
    *,
    keep_gold: bool = False,
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> Parsed:
    """Turns and rejects of consecutive lines of one file, in their order; no line raises.

    Gold is always checked. `keep_gold` leaves it on the turn, with `annotated` set to the fields that the
    record had, known or not; otherwise the turn has none, so that nothing that learns can look at it.
    """
    with _collector_paused():
        return _parse(lines, first_line, file, keep_gold, max_record_bytes)


def _parse(
    lines: Sequence[bytes], first_line: int, file: str, keep_gold: bool, max_record_bytes: int
) -> Parsed:
    validate = _adapter().validate_json
    parsed = Parsed([], [])
    for number, line in enumerate(lines, first_line):
        try:
            if len(line) > max_record_bytes and len(line.rstrip(b"\r\n")) > max_record_bytes:
                raise _TooLong(max_record_bytes)
            turn = validate(line, strict=True)
        except (ValidationError, _TooLong) as error:
            if line.strip():
                reason, detail = _explain(error, line)
                parsed.rejects.append(Reject(file, number, reason, detail, _excerpt(line)))
            continue
        if turn.gold is not None:
            gold = _annotated(turn.gold, line) if keep_gold else None
            object.__setattr__(turn, "gold", gold)  # not given out yet, so not yet frozen
        parsed.turns.append(turn)
    return parsed


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Records hold no cycles, and to look for some among thousands of new ones doubles the time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


class _TooLong(Exception):
    def __str__(self) -> str:
        return f"longer than {self.args[0]:,} bytes"


@cache
def _adapter() -> TypeAdapter[Turn]:
    return TypeAdapter(Turn)


def _annotated(gold: Gold, line: bytes) -> Gold:
    return replace(gold, annotated=frozenset(from_json(line)["gold"]))


def _excerpt(line: bytes) -> str:
    start = line.rstrip(b"\r\n")[: 4 * KEPT_CHARACTERS]
    return start.decode("utf-8", "replace")[:KEPT_CHARACTERS]


def _explain(error: ValidationError | _TooLong, line: bytes) -> tuple[str, str]:
    """The reason of the first fault, and the first three faults in words."""
    if isinstance(error, _TooLong):
        return Reason.TOO_LONG, str(error)
    faults = error.errors(include_url=False, include_context=False)
    if faults[0]["type"] == "json_invalid":
        return _why_not_json(faults[0]["msg"], line)
    told = [": ".join(filter(None, (_path(fault), fault["msg"]))) for fault in faults[:3]]
    return _reason(faults[0]), "; ".join(told)


def _why_not_json(message: str, line: bytes) -> tuple[str, str]:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return Reason.NOT_UTF8, f"byte {error.start + 1}: {error.reason}"
    if "hex escape" in message and _is_json(line):
        return Reason.NOT_UTF8, "an escape that is half of a surrogate pair stands for no character"
    return Reason.NOT_JSON, message


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _reason(fault: ErrorDetails) -> str:
    path = _path(fault)
    kind: str = fault["type"]
    if not path:
        return Reason.NOT_AN_OBJECT
    if kind == "missing" or (fault["input"] is None and path in _REQUIRED):
        return f"{Reason.MISSING_FIELD}:{path}"
    if kind == "value_error":
        return f"{Reason.BAD_TIMESTAMP}:{path}"
    return f"{Reason.OUT_OF_RANGE if kind in _OUT_OF_RANGE else Reason.WRONG_TYPE}:{path}"


def _path(fault: ErrorDetails) -> str:
    """The field at fault, without positions in lists, so that the set of reasons stays small."""
    place: tuple[Any, ...] = fault["loc"]
    return ".".join(part for part in place if isinstance(part, str))
