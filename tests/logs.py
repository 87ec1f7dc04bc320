"""Little logs for tests: records as dicts, scenes of failing and saying it again, files of every kind."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Record = dict[str, Any]

FIRST = 1_772_000_000.0  # seconds since the epoch: a day in February 2026
SORRY = "Sorry, I don't know that."


def record(number: int, text: str = "play jazz", user: str = "u1", at: float | None = None, **more: Any) -> Record:
    """One record; it is said at `at` seconds after FIRST, a minute after the one numbered before it unless given."""
    when = FIRST + (60.0 * number if at is None else at)
    return {"turn_id": f"t{number:06}", "user_id": user, "timestamp": when, "text": text, **more}


def retries(
    source: str, target: str, users: int = 12, *, times: int = 2, first: int = 0, name: str = "user", at: float = 0.0
) -> list[Record]:
    """`users` people say `source`, hear an apology, and say `target` ten seconds later, which works; `times` times."""
    records = []
    for turn, (user, again) in enumerate(itertools.product(range(users), range(times))):
        begun, number = at + 7_200.0 * again + user, first + 2 * turn
        who = f"{name}-{user:02}"
        records.append(record(number, source, who, begun, response=SORRY))
        good = {"response": "Here you are.", "signals": {"engaged_s": 90.0}}
        records.append(record(number + 1, target, who, begun + 10, **good))
    return records


def small_log() -> list[Record]:
    """48 records from which one rewrite is learned: "play maj and dragons" -> "play imagine dragons"."""
    return retries("play maj and dragons", "play imagine dragons")


#: What was said, what was said next, and by how many users: `varied_log` and what is learned from it.
SCENES = (
    ("play maj and dragons", "play imagine dragons", 14),
    ("play sirius x m chill", "play sirius channel 53", 12),
    ("weather in wilkerson", "weather in wilkerson washington", 13),
    ("turn on the lamb", "turn on the lamp", 11),
    ("set timer foreign minutes", "set timer for ten minutes", 10),
)
OWN_SCENES = (
    ("call my bother", "call my brother"),
    ("play the smith", "play the smiths"),
    ("start vacum", "start vacuum"),
)
FINE = ("play jazz", "stop the music", "what time is it", "turn off the lights")


def varied_log(seed: int = 1) -> list[Record]:
    """Some 700 records from which several rewrites and own corrections are learned.

    The signals vary, so that hardly two turns have the same probability of success.
    """
    chance = random.Random(seed)
    numbers = itertools.count()
    records: list[Record] = []

    def say(user: str, at: float, text: str, works: bool, **more: Any) -> None:
        confidence = round(chance.uniform(0.3, 0.7) if not works else chance.uniform(0.8, 1.0), 3)
        signals = {"engaged_s": round(chance.uniform(5, 60), 2)} if works else {"barge_in": chance.random() < 0.3}
        heard = {"asr": {"confidence": confidence}, "response": "Here you are." if works else SORRY}
        spoken = text.capitalize() if chance.random() < 0.3 else text
        records.append(record(next(numbers), spoken, user, at, signals=signals, **heard, **more))

    for user, again in itertools.product(range(14), range(3)):
        who, day = f"user-{user:02}", again * 86_400.0 + user * 37.25
        for place, (source, target, users) in enumerate(SCENES):
            if user < users and chance.random() < 0.9:
                at = day + place * 7_200 + round(chance.uniform(0, 900), 3)
                say(who, at, source, False)
                say(who, at + round(chance.uniform(4, 20), 3), target, True)
        source, target = OWN_SCENES[user % len(OWN_SCENES)]
        say(who, day + 50_000, f"{source} {user}", False)
        say(who, day + 50_000 + round(chance.uniform(4, 20), 3), f"{target} {user}", True)
        for place, text in enumerate(FINE):
            say(who, day + 60_000 + place * 3_600, text, True, session_id=f"{who}-{again}-{place}")
    return records


def jsonl(records: Iterable[Record | bytes]) -> bytes:
    """The records as lines; bytes stand for themselves."""
    lines = (each if isinstance(each, bytes) else json.dumps(each, ensure_ascii=False).encode() for each in records)
    return b"".join(line + b"\n" for line in lines)


def write_log(path: Path, records: Sequence[Record | bytes]) -> Path:
    """Writes a log of the kind that the name says: .jsonl, .jsonl.gz or .parquet (dicts only); gives the path."""
    if path.name.endswith(".parquet"):
        nested = {"asr", "nlu", "signals", "context", "served", "gold"}
        names = sorted({name for each in records if isinstance(each, dict) for name in each})
        rows = [
            {name: json.dumps(each[name]) if name in nested and name in each else each.get(name) for name in names}
            for each in records
            if isinstance(each, dict)
        ]
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        raw = jsonl(records)
        path.write_bytes(gzip.compress(raw, mtime=0) if path.name.endswith(".gz") else raw)
    return path
