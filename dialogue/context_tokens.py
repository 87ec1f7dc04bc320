"""What surrounds a turn, as a few words that turns can share: the same where a log is mined and where one is served.

    device:screen            what the user speaks to
    screen:yes | no          whether it can show something
    activity:alarm           what is going on
    hour:morning | day | evening | night     by the user's own clock; without a `local_hour` there is none
    state:oven=on            each entry of `device_state`, nested ones by their path (state:oven.door=open)
    after:clock.stop_alarm   what this user said last, within AFTER_S seconds: its domain and intent, its text without

A token is lower case, of at most LONGEST characters, and a turn has at most one of each *kind*, which is what stands
before the value ("device", "state:oven"). Numbers are left out: a volume or a temperature is no word that turns share.
Nothing here raises: what is not understood is no token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

#: Seconds from the beginning of one turn to that of the next within which the first is what went before.
AFTER_S = 300.0
#: Characters of a token; a longer one is left out.
LONGEST = 80
#: Entries of `device_state` that are looked at, and how deep.
STATES, DEPTH = 16, 3

_HOURS = (("night", 5), ("morning", 11), ("day", 17), ("evening", 22), ("night", 24))
#: Between tokens in a column, and between texts in the job's keys.
_RESERVED = str.maketrans("\n|", "  ")


class Previous(NamedTuple):
    """The turn that this user took before: what it was taken for, what was said (canonical), and how long ago."""

    domain: str | None
    intent: str | None
    said: str
    seconds: float


def context_tokens(context: Mapping[str, Any] | None, previous: Previous | None = None) -> frozenset[str]:
    """The tokens of a turn with this `context` (that of the log format) after the turn `previous`.

    >>> sorted(context_tokens({"device_type": "screen", "device_state": {"oven": "on"}}))
    ['device:screen', 'state:oven=on']
    """
    found = set(_surrounding(context)) if isinstance(context, Mapping) else set()
    if previous is not None and (token := after_token(*previous)):
        found.add(token)
    return frozenset(found)


def after_token(domain: str | None, intent: str | None, said: str, seconds: float) -> str | None:
    """`after:` the turn before, or None where that is too long ago or says nothing."""
    if not 0 <= seconds <= AFTER_S:
        return None
    meant = ".".join(part for part in (domain, intent) if part)
    return _token("after", meant or said)


def kind_of(token: str) -> str:
    """What a token is about: of one kind a turn has one at most.

    >>> kind_of("state:oven=on"), kind_of("after:clock.stop_alarm")
    ('state:oven', 'after')
    """
    name, _, value = token.partition(":")
    return f"{name}:{value.rpartition('=')[0]}" if name == "state" else name


def _surrounding(context: Mapping[str, Any]) -> Iterator[str]:
    screen, hour, state = context.get("has_screen"), context.get("local_hour"), context.get("device_state")
    found = [_token("device", context.get("device_type")), _token("activity", context.get("activity"))]
    if isinstance(screen, bool):
        found.append("screen:yes" if screen else "screen:no")
    if isinstance(hour, int) and 0 <= hour <= 23:
        found.append("hour:" + next(name for name, end in _HOURS if hour < end))
    if isinstance(state, Mapping):
        found += list(_states(state, "", DEPTH))[:STATES]
    yield from (token for token in found if token)


def _states(state: Mapping[Any, Any], path: str, depth: int) -> Iterator[str]:
    for name in sorted(state, key=str):
        value, place = state[name], f"{path}{name}".replace("=", " ")
        if isinstance(value, Mapping):
            yield from _states(value, f"{place}.", depth - 1) if depth > 1 else ()
        elif token := _token("state", _value(value), f"{place}="):
            yield token


def _value(value: object) -> object:
    """Switches are logged as words by some and as truth values by others."""
    return ("on" if value else "off") if isinstance(value, bool) else value


def _token(kind: str, value: object, path: str = "") -> str | None:
    if not isinstance(value, str):
        return None
    words = " ".join(value.translate(_RESERVED).replace("=", " ").lower().split())
    place = " ".join(path.translate(_RESERVED).lower().split())
    return f"{kind}:{place}{words}" if words and len(kind) + 1 + len(place) + len(words) <= LONGEST else None
