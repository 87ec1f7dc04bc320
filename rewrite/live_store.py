"""The file of a live history: SQLite in WAL mode, shared by the threads and processes of one machine.

clock     one row: the random name of this history, and a count of its changes
users     of each user, the count at the last change: what a reader's copy is checked against
turns     what is asked for, a user's rows side by side in order of time
records   the turns as they came, for the next `rewrite learn`

A commit survives the death of any process at any moment; a power cut may take the last ones. Deleted content is
overwritten with zeros.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from rewrite.errors import BundleError, LiveHistoryError
from rewrite.publish import locked

VERSION = 2
#: Readers wait no longer for a lock, in seconds: they are on the way of a request, and in WAL mode hardly ever wait.
READ_WAIT_S = 0.002
_SCHEMA = f"""
    CREATE TABLE clock (name TEXT NOT NULL, now INTEGER NOT NULL);
    CREATE TABLE users (user_id TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE turns (
        user_id TEXT NOT NULL, timestamp REAL NOT NULL, turn_id TEXT NOT NULL, place INTEGER NOT NULL,
        kept REAL NOT NULL, session TEXT NOT NULL, said TEXT NOT NULL, surface TEXT NOT NULL, rewrite TEXT,
        intent TEXT, log_odds REAL NOT NULL, observed INTEGER NOT NULL, confirming INTEGER NOT NULL,
        success REAL NOT NULL, judged INTEGER NOT NULL,
        PRIMARY KEY (user_id, timestamp, turn_id)) WITHOUT ROWID;
    CREATE UNIQUE INDEX turn_of_user ON turns (user_id, turn_id);
    CREATE TABLE records (place INTEGER PRIMARY KEY, user_id TEXT NOT NULL, kept REAL NOT NULL, record TEXT NOT NULL);
    INSERT INTO clock VALUES (lower(hex(randomblob(8))), 0);
    PRAGMA user_version = {VERSION};
"""
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR}

_T = TypeVar("_T")


class Held:
    """One thread's connection, what file it is to, and what the thread read of it."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(
            f"{path.as_uri()}?mode=rw", uri=True, timeout=READ_WAIT_S, isolation_level=None
        )
        for pragma in ("synchronous = NORMAL", "secure_delete = ON", "temp_store = MEMORY"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.file = _file(path)
        self.process = os.getpid()
        self.cache: dict[str, Any] = {}
        _OPEN.add(self)


#: A child must not close what it inherited through a fork, not even when it is collected: it keeps it for good.
_OPEN: WeakSet[Held] = WeakSet()
_INHERITED: list[Held] = []
os.register_at_fork(before=lambda: _INHERITED.extend(_OPEN), after_in_parent=_INHERITED.clear)


class LiveStore:
    """Connections to the file at `path`, one a thread, and its transactions. Nothing is made before the first write."""

    def __init__(self, path: Path, wait_s: float) -> None:
        self.path = path
        self.wait_s = wait_s
        self._mine = threading.local()

    def reading(self, wait_s: float = 0.0) -> Held | None:
        """This thread's connection; None where there is no history yet. Opening it may have to wait for others."""
        held: Held | None = getattr(self._mine, "held", None)
        try:
            file = _file(self.path)
        except FileNotFoundError:
            self.close()
            return None
        if held is not None and held.process == os.getpid() and held.file == file:
            return held
        self.close()
        held = Held(self.path)
        made = False
        try:
            made = patiently(lambda: _made(held.connection, self.path), wait_s)
        finally:
            if not made:
                held.connection.close()
        self._mine.held = held if made else None
        return held if made else None

    @contextmanager
    def writing(self, wait_s: float | None = None) -> Iterator[sqlite3.Connection]:
        """A transaction, which is durable when this ends, or undone where it raises; waits for other writers."""
        wait_s = self.wait_s if wait_s is None else wait_s
        with self.told():
            connection = (self.reading(wait_s) or self._create(wait_s)).connection
            patiently(lambda: connection.execute("BEGIN IMMEDIATE"), wait_s)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @property
    def logs(self) -> tuple[Path, Path]:
        """The two files that SQLite keeps beside it while it is open."""
        return Path(f"{self.path}-wal"), Path(f"{self.path}-shm")

    def close(self) -> None:
        """Closes this thread's connection, if it has one of its own."""
        held: Held | None = getattr(self._mine, "held", None)
        self._mine.held = None
        if held is not None and held.process == os.getpid():
            held.connection.close()

    def wipe(self, wait_s: float) -> None:
        """Writes the file anew without what was deleted, and empties its log: no byte of it is left in either."""
        with self.told():
            held = self.reading(wait_s)
            if held is None:
                return
            connection = held.connection
            patiently(lambda: connection.execute("VACUUM"), wait_s)
            patiently(lambda: _truncated(connection), wait_s)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turns what SQLite and the file system say into an error that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise LiveHistoryError(_in_words(self.path, error)) from error
        except OSError as error:
            raise LiveHistoryError(f"{self.path} cannot be used ({error.strerror or error}): {_MEND}") from error

    def _create(self, wait_s: float) -> Held:
        """Puts a whole, empty file in its place, unless another process just did."""
        part = Path(f"{self.path}.part")
        try:
            with locked(self.path, "create", wait=True):
                if (held := self.reading(wait_s)) is not None:
                    return held
                for leftover in (part, Path(f"{part}-journal"), *self.logs):  # of one that was removed, or half made
                    leftover.unlink(missing_ok=True)
                _make(part)
                os.replace(part, self.path)
                held = self.reading(wait_s)
        except BundleError as error:
            raise LiveHistoryError(f"{self.path} cannot be made: {error}") from error
        if held is None:
            raise LiveHistoryError(f"{self.path} was removed as soon as it was made: leave it alone, and try again")
        return held


def _make(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.executescript(f"PRAGMA synchronous = FULL; PRAGMA journal_mode = WAL; BEGIN; {_SCHEMA} COMMIT;")
    finally:
        connection.close()  # with which its log is gone


def patiently(call: Callable[[], _T], wait_s: float) -> _T:
    """The call, again and again while another holds the lock; short sleeps are fairer than SQLite's own long ones."""
    until = time.monotonic() + wait_s
    while True:
        try:
            return call()
        except sqlite3.OperationalError as error:
            if code_of(error) not in _BUSY or time.monotonic() > until:
                raise
        time.sleep(random.uniform(0.0001, 0.001))


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _truncated(connection: sqlite3.Connection) -> None:
    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:  # a reader is in the middle of it
        refused = sqlite3.OperationalError("database is locked")
        refused.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise refused


def _made(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is a live history; not yet where it is empty."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise LiveHistoryError(
            f"{path} is a live history in version {version}, this program reads up to {VERSION}: upgrade"
            " reprise-rewrite"
        )
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    ours = version > 0 and tables >= {"clock", "users", "turns", "records"}
    if ours and version < VERSION:
        _upgrade(connection)
    if tables and not ours:
        raise LiveHistoryError(f"{path} is another program's database: move it away")
    return bool(tables)


def _upgrade(connection: sqlite3.Connection) -> None:
    """Brings a history of version 1 to this one, unless another process just did."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] == 1:
            connection.execute("ALTER TABLE turns DROP COLUMN context")  # which nobody read
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _file(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


_MEND = "mend the permissions or the disk, or move the file away; requests are answered without it meanwhile"


def _in_words(path: Path, error: sqlite3.Error) -> str:
    code = code_of(error)
    if code in _BUSY:
        return (
            f"{path} is locked by another process ({error}), so that nothing was changed: try again, and look for a"
            " process that keeps it open in a transaction if this goes on"
        )
    if code in _DAMAGED:
        return (
            f"{path} is damaged or no live history ({error}): move it away with its -wal and -shm, and a new one is"
            " made; what it held since the last `rewrite learn` is then in the logs alone"
        )
    if code == sqlite3.SQLITE_FULL:
        return f"no space left on the disk of {path} ({error}), so that nothing was changed: free some and try again"
    return f"{path} cannot be used ({error}): {_MEND}"
