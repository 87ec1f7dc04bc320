"""Atomic publication: a folder is written beside the old one and swapped in whole, under a lock.

At any moment, whatever is killed, the path holds the old folder or the new one. On Linux the two are exchanged in one
system call (renameat2 with RENAME_EXCHANGE); where that is not to be had, two renames do it, and a reader that comes
between them finds the old folder under its resting name (`resting`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rewrite.errors import BusyError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NOT_TO_BE_HAD = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}


def draft_of(path: Path) -> Path:
    """Where the new folder is written."""
    return path.with_name(path.name + ".draft")


def resting(path: Path) -> Path:
    """Where the old folder rests for the moment of the swap."""
    return path.with_name(path.name + ".previous")


@contextmanager
def locked(path: Path, purpose: str, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock file `<path>.<purpose>.lock`; BusyError where another process holds it. Freed when killed."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.with_name(f"{path.name}.{purpose}.lock")
    with open(name, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise BusyError(
                f"{path} is in use: {holder} holds {name} to {purpose}. Wait until it is done, or choose another path"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def swap_in(draft: Path, path: Path) -> None:
    """Puts the finished draft in the place of `path`, if there is anything, which is then removed."""
    _sync(draft)
    if not path.exists():
        os.rename(draft, path)
    elif _exchange(draft, path):
        shutil.rmtree(draft)
    else:
        old = resting(path)
        shutil.rmtree(old, ignore_errors=True)
        os.rename(path, old)
        os.rename(draft, path)
        shutil.rmtree(old)
    _sync_folder(path.parent)


def write_beside(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _exchange(one: Path, other: Path) -> bool:
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_TO_BE_HAD:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
