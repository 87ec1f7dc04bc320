"""The rejects file beside a bundle, without the lines of users that are forgotten.

A rejected record is kept as it came, so that it may be anything: one that can be read is of the user whom it names.
Any other is of a user whose id stands in it, or in the name of its file, as a word of its own: a line too many is
dropped rather than one too few.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dropped:
    """Lines that are gone, lines that stay and name no user, and the users that were found."""

    lines: int = 0
    unattributed: int = 0
    users: frozenset[str] = frozenset()


def drop_rejects(path: Path, users: Collection[str]) -> Dropped:
    """Drops the lines of a rejects file that are of these users: the file is written anew whole or not at all."""
    if not path.exists():
        return Dropped()
    found: set[str] = set()
    dropped = unattributed = kept = 0
    names = {form: user for user in users for form in (user, json.dumps(user)[1:-1])}
    words = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})(?!\w)")
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(path, "rb") as old, open(beside, "wb") as new:
            for line in old:
                owner, told = _owner(line)
                theirs = {owner} & set(users) if owner is not None else {names[each] for each in words.findall(told)}
                found |= theirs
                dropped += bool(theirs)
                if not theirs:
                    new.write(line)
                    kept += 1
                    unattributed += owner is None
            new.flush()
            os.fsync(new.fileno())
        if dropped and kept:
            os.replace(beside, path)
        elif dropped:
            path.unlink()
    finally:
        beside.unlink(missing_ok=True)
    return Dropped(dropped, unattributed, frozenset(found))


def _owner(line: bytes) -> tuple[str | None, str]:
    """The user whom the record of a line names, and what of the line may hold an id: file, detail and record."""
    text = line.decode("utf-8", "replace")
    try:
        raw = json.loads(text)
        told = "\n".join(str(raw.get(name)) for name in ("file", "detail", "record"))
    except (ValueError, AttributeError, RecursionError):
        return None, text
    try:
        user = json.loads(raw["record"])["user_id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None, told
    return (str(user), told) if isinstance(user, str | int) and user != "" else (None, told)
