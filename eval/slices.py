"""Parts of the cases that are looked at by themselves: by intent, device, how often it is said, or any field.

A part with fewer than CASES cases or USERS users is too small to tell anything, and is shown as that.

What a missing case scores
    a turn without the field      in the part "(none)", so that the parts add up
    a value beyond the first 200  in the part "(other values)"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from dialogue.turn import Asr, Context, Gold, Nlu, Served, Signals, Turn
from eval.cases import CANONICAL
from eval.errors import FieldError
from eval.known import Known

#: Cases and users that a part must have to be shown as more than too small.
CASES, USERS = 30, 5
#: Values of one field that are told apart.
VALUES = 200

NONE, OTHERS = "(none)", "(other values)"

_NESTED: Mapping[str, type] = {
    "asr": Asr, "nlu": Nlu, "signals": Signals, "context": Context, "served": Served, "gold": Gold,
}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """Something about a case by which cases are parted."""

    name: str
    read: Callable[[Turn], object]

    def value(self, turn: Turn) -> str:
        """The value as text, for a table."""
        value = self.read(turn)
        if value is None or value == "":
            return NONE
        if isinstance(value, StrEnum):
            return value.value
        return str(value).lower() if isinstance(value, bool) else str(value)


def usual_fields(known: Known | None = None) -> tuple[Field, ...]:
    """Intent, domain, device and length; with a bundle's tables also new or known users and the frequency of texts."""
    plain = (
        Field("intent", lambda turn: _frame(turn, "intent")),
        Field("domain", lambda turn: _frame(turn, "domain")),
        Field("device_type", lambda turn: turn.context.device_type if turn.context else None),
        Field("length", lambda turn: length(turn.said)),
    )
    if known is None:
        return plain
    return (
        *plain,
        Field("user", lambda turn: "known" if known.knows_user(turn.user_id) else "new"),
        Field("frequency", lambda turn: known.frequency(turn.said)),
    )


def named_fields(paths: Sequence[str]) -> tuple[Field, ...]:
    """Fields by dotted path: context.locale, nlu.slots.artist, user_id. Raises FieldError for what no turn can have."""
    return tuple(Field(path, _reader(path)) for path in paths)


def length(text: str) -> str:
    """The number of words, in five classes."""
    words = len(CANONICAL(text).split())
    for last, name in ((0, "no words"), (1, "1 word"), (3, "2 or 3 words"), (6, "4 to 6 words"), (10, "7 to 10 words")):
        if words <= last:
            return name
    return "11 words or more"


def _frame(turn: Turn, name: str) -> object:
    """From the right interpretation where gold has one, else from the log's."""
    frame = turn.gold.frame if turn.gold and turn.gold.frame else turn.nlu
    return getattr(frame, name, None)


def _reader(path: str) -> Callable[[Turn], object]:
    first, *rest = path.split(".")
    _refuse_unknown(path, first, Turn)
    if rest and first not in _NESTED:
        raise FieldError(f"slice {path}: {first} of a turn has no fields: leave out .{'.'.join(rest)}")
    if rest:
        _refuse_unknown(path, rest[0], _NESTED[first])

    def read(turn: Turn) -> object:
        value: object = turn
        for name in (first, *rest):
            value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        return value

    return read


def _refuse_unknown(path: str, name: str, kind: type) -> None:
    names = [each.name for each in fields(kind) if each.name != "annotated"]
    if name not in names:
        raise FieldError(f"slice {path}: no turn has {name!r} there; known are {', '.join(names)}")
