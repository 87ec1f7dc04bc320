"""What was decided, as a turn log: the file that the next `learn` reads, so that the loop closes.

A record is a turn in the log format, with `served` where a rewrite was served or held back; what else there is to say
of the decision is under `decision`, which the reader of logs ignores. The log format knows no second record for a turn,
so a turn is written when its outcome is known: after the response, or when the session ends.

Several processes may write to one file. Each record is one appending write, which Linux keeps whole; a process that is
killed leaves at most its last line unfinished, and whoever writes next begins on a line of its own. A full file is
renamed to the next free number, `decisions.000001.jsonl`, so that `learn` on the folder reads all, the oldest first.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from dialogue.turn import Asr, Context, Nlu, Outcome, Signals
from rewrite.decision import Action, Decision
from rewrite.errors import BundleError, BusyError, ConfigError
from rewrite.publish import locked, real
from rewrite.timings import Timings

#: A full or failing disk is tried again after so many seconds; a file that was moved away is noticed as late.
PATIENCE_S = 1.0
#: The reader of logs rejects longer records.
LONGEST_RECORD = 4 << 20
_DAY_S = 86_400

Record = dict[str, Any]


def record(
    decision: Decision,
    *,
    turn_id: str,
    user_id: str,
    timestamp: float | str | datetime,
    session_id: str | None = None,
    end_timestamp: float | str | datetime | None = None,
    asr: Asr | Mapping[str, Any] | None = None,
    nlu: Nlu | Mapping[str, Any] | None = None,
    response: str | None = None,
    signals: Signals | Mapping[str, Any] | None = None,
    outcome: Outcome | str | None = None,
    context: Context | Mapping[str, Any] | None = None,
    timings: Timings | None = None,
) -> Record:
    """The turn about which `decision` was made, in the log format: give what is known of it by now.

    `text` is what went on to NLU, which is what was said where the decision is only a suggestion. Nothing is checked
    here: `DecisionLog.write` does that.
    """
    turn = {
        "session_id": session_id,
        "end_timestamp": end_timestamp.isoformat() if isinstance(end_timestamp, datetime) else end_timestamp,
        "asr": asr,
        "nlu": nlu,
        "response": response,
        "signals": signals,
        "outcome": outcome,
        "context": context,
    }
    suggested = decision.action is Action.SUGGEST
    told = {name: value for name, value in decision.as_dict().items() if name != "original"}
    if timings is not None:
        told["timings_us"] = timings.as_dict()
    made: Record = {
        "turn_id": turn_id,
        "user_id": user_id,
        "timestamp": timestamp.isoformat() if isinstance(timestamp, datetime) else timestamp,
        "text": decision.original if suggested else decision.text,
        **{name: _plain(value) for name, value in turn.items() if value is not None},
    }
    if decision.served is not None:
        made["served"] = decision.served
    return {**made, "decision": told}


class DecisionLog:
    """A log file that is appended to. Threads and processes may share one; nothing that goes wrong is raised.

    `written` counts the records that this process wrote; `errors` those that it could not write, by what was wrong,
    and `last_error` has the last of these in words.

    >>> log = DecisionLog.open("logs/decisions.jsonl")  # doctest: +SKIP
    >>> log.write(record(decision, turn_id="t1", user_id="u1", timestamp=time.time()))  # doctest: +SKIP
    True
    """

    def __init__(self, path: Path, rotate_bytes: int | None, daily: bool, fsync: bool) -> None:
        self.path = path
        self.rotate_bytes = rotate_bytes
        self.daily = daily
        self.fsync = fsync
        self._file: int | None = None
        self._closed = False
        self._begin()

    @classmethod
    def open(
        cls, path: str | Path, *, rotate_bytes: int | None = 256 << 20, daily: bool = False, fsync: bool = False
    ) -> DecisionLog:
        """Opens or makes the file; later trouble with it is counted, not raised.

        A file is set aside before it would exceed `rotate_bytes`, and with `daily` at the first record of a day (UTC).
        With `fsync`, each record is on the disk when `write` returns: milliseconds. Raises ConfigError.
        """
        place = Path(path)
        if place.suffix != ".jsonl":
            raise ConfigError(f"{path} came, a name ending in .jsonl is wanted: `rewrite learn` reads no other")
        if rotate_bytes is not None and rotate_bytes < 1:
            raise ConfigError(f"rotate_bytes is {rotate_bytes}: 1 or more is wanted, or None for no limit")
        log = cls(Path(os.path.abspath(place)), rotate_bytes, daily, fsync)
        try:
            log.path.parent.mkdir(parents=True, exist_ok=True)
            log._open()
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written ({error.strerror or error}): mend its permissions, or choose another place"
            ) from error
        return log

    def _begin(self) -> None:
        """Of this process, which may be a fork."""
        self._process = os.getpid()
        self._lock = Lock()
        self._next_look = self._resume = 0.0
        self.written = 0
        self.errors: Counter[str] = Counter()
        self.last_error: str | None = None

    @property
    def dropped(self) -> int:
        """How many records were not written."""
        return self.errors.total()

    def write(self, record: Mapping[str, Any]) -> bool:
        """Appends a record; False where it was dropped, which is counted."""
        if os.getpid() != self._process:
            self._begin()  # the lock may have been held when this process was forked
        try:
            line = _line(record)
        except Exception as error:
            with self._lock:
                return self._drop("bad record", f"{type(error).__name__}: {error}")
        with self._lock:
            return self._append(line)

    def close(self) -> None:
        """Closes the file; what is written after that is dropped."""
        with self._lock:
            self._closed = True
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def _append(self, line: bytes) -> bool:
        now = time.monotonic()
        if self._closed:
            return self._drop("closed", "the log is closed")
        if now < self._resume:
            return self._drop("waiting", None)
        try:
            file = self._ready(now, len(line))
            line = line if _ends_whole(file) else b"\n" + line
            if os.write(file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.fsync:
                os.fsync(file)
        except OSError as error:
            self._resume = now + PATIENCE_S
            self._next_look = 0.0
            return self._drop(errno.errorcode.get(error.errno or 0, "OSError"), str(error))
        self.written += 1
        return True

    def _drop(self, kind: str, why: str | None) -> bool:
        self.errors[kind] += 1
        self.last_error = why or self.last_error
        return False

    def _ready(self, now: float, size: int) -> int:
        """The open file, with room for so many bytes."""
        if now >= self._next_look:
            self._next_look = now + PATIENCE_S
            if not self._is_in_place():
                self._open()
        file = self._open() if self._file is None else self._file
        return self._rotated(file, size) if self._is_over(os.fstat(file), size) else file

    def _is_over(self, found: os.stat_result, size: int) -> bool:
        if not found.st_size or not stat.S_ISREG(found.st_mode):
            return False
        if self.rotate_bytes is not None and found.st_size + size > self.rotate_bytes:
            return True
        return self.daily and found.st_mtime // _DAY_S < time.time() // _DAY_S

    def _rotated(self, file: int, size: int) -> int:
        """The new file, after the old one was set aside by this process or another; the old where that cannot be."""
        try:
            with locked(self.path, "rotate"):
                if self._is_in_place() and self._is_over(os.fstat(file), size):
                    os.rename(real(self.path), _next_number(real(self.path)))
        except (BusyError, BundleError, OSError):
            return file
        return self._open()

    def _is_in_place(self) -> bool:
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file))
        except OSError:
            return False

    def _open(self) -> int:
        self._let_go()
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        return self._file

    def _let_go(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None


def _next_number(path: Path) -> Path:
    """Where a full file is set aside: after the highest number that is there."""
    taken = [each.name.split(".")[-2] for each in path.parent.glob(f"{path.stem}.*.jsonl")]
    number = 1 + max((int(each) for each in taken if each.isdecimal()), default=0)
    return path.with_name(f"{path.stem}.{number:06}.jsonl")


def _ends_whole(file: int) -> bool:
    """Whether what is appended begins a line: it does not where a writer was killed or its disk was full."""
    size = os.fstat(file).st_size
    return not size or os.pread(file, 1, size - 1) == b"\n"


def _line(record: Mapping[str, Any]) -> bytes:
    """The record as a line of JSON. Raises ValueError or TypeError where the reader of logs would reject it."""
    for name in ("turn_id", "user_id"):
        if not isinstance(record[name], str) or not record[name]:
            raise ValueError(f"{name} is {record[name]!r:.40}: a string that is not empty is wanted")
    if not isinstance(record["text"], str) or isinstance(record["timestamp"], bool | None):
        raise ValueError("text is to be a string, and timestamp seconds since the epoch or an ISO 8601 string")
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):  # numbers of numpy, nan, keys that are no strings
        text = json.dumps(_plain(record), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    line = text.encode("utf-8", "replace") + b"\n"  # half a character would have the record rejected
    if len(line) > LONGEST_RECORD:
        raise ValueError(f"{len(line):,} bytes: longer than {LONGEST_RECORD:,}")
    return line


def _plain(value: Any) -> Any:
    """The value as JSON knows it: records as objects, without what is None in them; no number that is not finite."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(each) for name, each in asdict(value).items() if each is not None}
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, str | bool | int | None):
        return value
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, float):
        return number if math.isfinite(number) else None
    return number if isinstance(number, str | bool | int) else str(value)
