"""What users just did, kept beside the bundle so that the very next request can use it, until `rewrite learn` takes it
in.

A *live request* is a text that a user said since the last learn, with how it went; a *recent turn* is one of the last
things that they said. How likely each turn gave the user what they wanted is judged as in the mining job
(`rewrite.live_outcomes`), and judged anew when the turns after it come.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from sqlite3 import Connection
from typing import Any, NamedTuple

from dialogue.canonical import Canonicaliser
from dialogue.feedback import LIMIT_S
from dialogue.turn import Turn
from rewrite.live_outcomes import Said, alone, probability, reaction
from rewrite.live_store import LiveStore
from rewrite.live_turns import (
    MOST_TURNS,
    RECENT_S,
    LiveRequest,
    RecentTurn,
    parsed_turn,
    requests_of,
    stored_turn,
)
from rewrite.publish import real

#: Users whose turns a thread remembers.
REMEMBERED = 1_000
#: Writers of more than a moment (learning, forgetting) wait so long for the others, in seconds.
LONG_WAIT_S = 20.0
#: After so many changes, old turns are looked for.
PRUNE_EVERY = 256
DAY_S = 86_400.0


def live_path(bundle: str | Path) -> Path:
    """Where the live history of a bundle is: `<bundle>.live.sqlite` beside it, links followed."""
    bundle = real(bundle)
    return bundle.with_name(f"{bundle.name}.live.sqlite")


class Exported(NamedTuple):
    """How far an export went: in which history, up to which change."""

    history: str  # its random name; empty where there was none
    place: int
    turns: int


class _Known:
    """One user's turns as they were at one version."""

    def __init__(self, version: int, turns: tuple[RecentTurn, ...], until: float) -> None:
        self.version = version
        self.turns = turns
        self.times = [turn.timestamp for turn in turns]
        self.until = until  # when the first of them is too old

    @cached_property
    def requests(self) -> tuple[LiveRequest, ...]:
        return requests_of(self.turns)


_NOTHING = _Known(-1, (), 0.0)


def _within(known: _Known, within_s: float, at: float | None) -> tuple[RecentTurn, ...]:
    if not known.turns:
        return ()
    begin = bisect_left(known.times, (time.time() if at is None else at) - within_s)
    return known.turns[begin : None if at is None else bisect_right(known.times, at)]


class LiveHistory:
    """What users just did, in one SQLite file that threads and processes share.

    >>> history = LiveHistory.open(live_path("bundle"), canonical=Canonicaliser())  # doctest: +SKIP
    >>> history.observe({"turn_id": "1", "user_id": "u", "timestamp": 1.8e9, "text": "play jazz"})  # doctest: +SKIP
    >>> [request.said for request in history.requests("u")]  # doctest: +SKIP
    ['play jazz']
    """

    def __init__(self, store: LiveStore, canonical: Canonicaliser, keep_days: float) -> None:
        if not keep_days > 0:
            raise ValueError(f"keep_days is {keep_days}: a number of days above 0 is wanted")
        self.path = store.path
        self.canonical = canonical
        self.keep_s = keep_days * DAY_S
        self._store = store

    @classmethod
    def open(
        cls, path: str | Path, *, canonical: Canonicaliser, keep_days: float = 30.0, busy_ms: float = 1_000.0
    ) -> LiveHistory:
        """The history at `path`, of which nothing is made before the first `observe`.

        Turns are kept for `keep_days` days from when they were observed, at most; a writer waits `busy_ms` milliseconds
        for others before it gives up.
        """
        return cls(LiveStore(Path(os.path.abspath(path)), busy_ms / 1_000.0), canonical, keep_days)

    def observe(self, turn: Turn | Mapping[str, Any]) -> None:
        """Keeps one turn, a `Turn` or a record of the log format; committed when this returns.

        The same turn of the same user seen again replaces the earlier: what is known of it later is known better.
        Raises BadTurn where it breaks the format, and LiveHistoryError where the file cannot be written.
        """
        parsed, record = parsed_turn(turn)
        user, now = parsed.user_id, time.time()
        row = self._row(parsed)
        with self._store.writing() as tables:
            place = _tick(tables)
            key = (user, parsed.turn_id)
            before = tables.execute(f"SELECT timestamp, place FROM turns WHERE {_THIS}", key).fetchone()
            if before is not None:
                tables.execute(f"DELETE FROM turns WHERE {_THIS}", key)
                tables.execute("DELETE FROM records WHERE place = ?", (before[1],))
            tables.execute(_INSERT, (user, parsed.timestamp, parsed.turn_id, place, now, *row))
            tables.execute("INSERT INTO records VALUES (?, ?, ?, ?)", (place, user, now, record))
            _changed(tables, user, place)
            _judge(tables, user, parsed.timestamp)
            if before is not None and before[0] != parsed.timestamp:
                _judge(tables, user, before[0])
            if place % PRUNE_EVERY == 0:
                self._prune(tables, now)

    def requests(self, user_id: str) -> tuple[LiveRequest, ...]:
        """This user's own distinct texts since the last learn, the latest first."""
        return self._known(user_id).requests

    def recent(self, user_id: str, within_s: float = RECENT_S, at: float | None = None) -> tuple[RecentTurn, ...]:
        """This user's turns of the last `within_s` seconds up to `at` (seconds since the epoch), in order.

        Without `at`: up to now, clocks that run ahead included.
        """
        return _within(self._known(user_id), within_s, at)

    def latest(
        self, user_id: str, within_s: float = RECENT_S
    ) -> tuple[tuple[LiveRequest, ...], tuple[RecentTurn, ...]]:
        """`requests` and `recent` up to now, of one moment, for the price of one."""
        known = self._known(user_id)
        return known.requests, _within(known, within_s, None)

    def forget(self, user_id: str) -> int:
        """Removes all turns of a user, and every byte of them from the file and its log; says how many there were.

        Raises LiveHistoryError where a byte may be left: forget again then.
        """
        with self._store.told():
            if self._store.reading(LONG_WAIT_S) is None:
                return 0
        with self._store.writing(LONG_WAIT_S) as tables:
            turns = tables.execute("DELETE FROM turns WHERE user_id = ?", (user_id,)).rowcount
            tables.execute("DELETE FROM records WHERE user_id = ?", (user_id,))
            tables.execute("DELETE FROM users WHERE user_id = ?", (user_id,))
            _tick(tables)
        self._store.wipe(LONG_WAIT_S)
        return turns

    def export(self, out: str | Path) -> Exported:
        """Writes the turns as JSON Lines in the log format, in the order in which they came; whole or not at all."""
        out = Path(out)
        beside = out.with_name(f"{out.name}.{os.getpid()}.part")
        with self._store.told():
            held = self._store.reading(LONG_WAIT_S)
            try:
                with open(beside, "w", encoding="utf-8") as file:
                    exported = Exported("", 0, 0) if held is None else _copy(held.connection, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(beside, out)
            finally:
                beside.unlink(missing_ok=True)
        return exported

    def merged(self, exported: Exported, up_to: Mapping[str, tuple[float, str]] | None = None) -> int:
        """Removes the turns of an export that were learned from, and says how many.

        With `up_to`, of each user only those up to (timestamp, turn id), and of other users none. What was observed
        since the export stays, be it a turn that came in it, seen again.
        """
        removed = 0
        users = iter(self._users(exported))
        while some := list(islice(users, PRUNE_EVERY)):
            with self._store.writing(LONG_WAIT_S) as tables:
                for user in some:
                    until = (float("inf"), "") if up_to is None else up_to.get(user)
                    if until is not None:
                        within = f"{_OF_USER} AND place <= ? AND (timestamp, turn_id) <= (?, ?)"
                        removed += _remove(tables, user, within, (user, exported.place, *until))
        return removed

    def users(self) -> tuple[str, ...]:
        """Whose turns there are, in order."""
        with self._store.told():
            held = self._store.reading(LONG_WAIT_S)
            if held is None:
                return ()
            return tuple(user for (user,) in held.connection.execute("SELECT user_id FROM users ORDER BY user_id"))

    def close(self) -> None:
        """Closes this thread's connection; the next call opens one anew."""
        self._store.close()

    def _users(self, exported: Exported) -> tuple[str, ...]:
        """The users there are, if this still is the history that was exported."""
        with self._store.told():
            held = self._store.reading(LONG_WAIT_S)
            name = None if held is None else held.connection.execute("SELECT name FROM clock").fetchone()[0]
        return self.users() if name == exported.history else ()

    def _known(self, user_id: str) -> _Known:
        with self._store.told():
            held = self._store.reading()
            if held is None:
                return _NOTHING
            row = held.connection.execute("SELECT version FROM users WHERE user_id = ?", (user_id,)).fetchone()
            if row is None:
                held.cache.pop(user_id, None)
                return _NOTHING
            known: _Known | None = held.cache.get(user_id)
            if known is None or known.version != row[0] or known.until < time.time():
                known = self._load(held.connection, user_id, row[0])
                if len(held.cache) >= REMEMBERED:
                    held.cache.pop(next(iter(held.cache)))
                held.cache[user_id] = known
            return known

    def _load(self, tables: Connection, user_id: str, version: int) -> _Known:
        """The user's latest turns; should they change meanwhile, the version is of before and they are read again."""
        rows = tables.execute(_SELECT, (user_id, time.time() - self.keep_s, MOST_TURNS)).fetchall()
        turns = tuple(stored_turn(row[:-1]) for row in reversed(rows))
        return _Known(version, turns, min((row[-1] for row in rows), default=0.0) + self.keep_s)

    def _row(self, turn: Turn) -> tuple[Any, ...]:
        """What is kept of a turn beside its key: the columns of `turns` from `session` on."""
        said = self.canonical(turn.said)
        rewrite = self.canonical(turn.text) if turn.served else said
        told = alone(turn, said)
        return (
            turn.session_id or "", said, turn.said, None if rewrite == said else rewrite,
            _intent(turn), told.log_odds, told.observed, told.confirming, probability(told.log_odds), told.observed,
        )  # fmt: skip

    def _prune(self, tables: Connection, now: float) -> None:
        """Removes turns that are too old, of the oldest changes."""
        oldest = "SELECT user_id, place FROM records WHERE kept < ? AND place IN"
        some = f"{oldest} (SELECT place FROM records ORDER BY place LIMIT {2 * PRUNE_EVERY})"
        for user, place in tables.execute(some, (now - self.keep_s,)).fetchall():
            _remove(tables, user, f"{_OF_USER} AND place = ?", (user, place))


_OF_USER, _THIS = "user_id = ?", "user_id = ? AND turn_id = ?"
_INSERT = f"INSERT INTO turns VALUES ({', '.join('?' * 15)})"
_SELECT = """
    SELECT turn_id, timestamp, said, surface, rewrite, intent, success, judged, kept FROM turns
    WHERE user_id = ? AND kept >= ? ORDER BY timestamp DESC, turn_id DESC LIMIT ?"""
_WINDOW = """
    SELECT timestamp, turn_id, session, said, log_odds, observed, confirming FROM turns
    WHERE user_id = ? AND timestamp BETWEEN ? AND ? ORDER BY timestamp, turn_id"""


def _intent(turn: Turn) -> str | None:
    """What the turn was taken for, with its domain, as in a token of what it comes before."""
    parts = (turn.nlu.domain, turn.nlu.intent) if turn.nlu else ()
    return ".".join(part for part in parts if part) or None


def _tick(tables: Connection) -> int:
    """Counts one change."""
    tables.execute("UPDATE clock SET now = now + 1")
    return int(tables.execute("SELECT now FROM clock").fetchone()[0])


def _changed(tables: Connection, user: str, version: int) -> None:
    tables.execute("INSERT OR REPLACE INTO users VALUES (?, ?)", (user, version))


def _judge(tables: Connection, user: str, moment: float) -> None:
    """Judges anew the turns up to `moment` for which something that happened then comes soon after."""
    by_session: dict[str, list[tuple[Any, ...]]] = {}
    for row in tables.execute(_WINDOW, (user, moment - LIMIT_S, moment + LIMIT_S)):
        by_session.setdefault(row[2], []).append(row)
    for rows in by_session.values():
        said = [Said(row[0], row[3]) for row in rows]
        for place, (timestamp, turn_id, _, _, log_odds, observed, confirming) in enumerate(rows):
            if timestamp <= moment:
                followed = place + 1 < len(said) and said[place + 1].timestamp - timestamp <= LIMIT_S
                odds = log_odds + reaction(said[place], bool(confirming), said[place + 1 : place + 4])
                tables.execute(
                    "UPDATE turns SET success = ?, judged = ? WHERE user_id = ? AND timestamp = ? AND turn_id = ?",
                    (probability(odds), bool(observed) or followed, user, timestamp, turn_id),
                )


def _remove(tables: Connection, user: str, where: str, values: Sequence[object]) -> int:
    """Removes some turns of one user with their records, and the user with the last."""
    tables.execute(f"DELETE FROM records WHERE place IN (SELECT place FROM turns WHERE {where})", values)
    removed = tables.execute(f"DELETE FROM turns WHERE {where}", values).rowcount
    if tables.execute("SELECT 1 FROM turns WHERE user_id = ? LIMIT 1", (user,)).fetchone() is None:
        tables.execute("DELETE FROM users WHERE user_id = ?", (user,))
    elif removed:
        _changed(tables, user, _tick(tables))
    return removed


def _copy(tables: Connection, file: Any) -> Exported:
    """Writes the records of one moment."""
    tables.execute("BEGIN")
    try:
        name, place = tables.execute("SELECT name, now FROM clock").fetchone()
        turns = 0
        for (record,) in tables.execute("SELECT record FROM records ORDER BY place"):
            file.write(record + "\n")
            turns += 1
        return Exported(name, place, turns)
    finally:
        tables.execute("COMMIT")
