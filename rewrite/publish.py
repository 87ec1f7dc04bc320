"""Atomic publication: a folder is written beside the old one and swapped in whole, under a lock.

At any moment, whatever is killed, the path holds the old folder or the new one. On Linux the two are exchanged in one
system call (renameat2 with RENAME_EXCHANGE); where that is not to be had, two renames do it, and a reader that comes
between them finds the old folder under its resting name (`resting`), from where the next writer puts it back.

A path that is a symbolic link stands for the folder it points to: that is what is locked and swapped, the link stays.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from rewrite.errors import BundleError, BusyError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NOT_TO_BE_HAD = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: How often a reader begins anew that is overtaken by swaps.
_READ_ATTEMPTS = 20

_T = TypeVar("_T")


def real(path: str | Path) -> Path:
    """The absolute path of what a path stands for, links followed."""
    return Path(os.path.realpath(path))


def draft_of(path: Path) -> Path:
    """Where the new folder is written."""
    return path.with_name(path.name + ".draft")


def resting(path: Path) -> Path:
    """Where the old folder rests for the moment of the swap."""
    return path.with_name(path.name + ".resting")


def restore(path: Path) -> None:
    """Puts back what a killed swap left resting. To be called under the lock of those who swap."""
    if not path.exists() and resting(path).exists():
        os.rename(resting(path), path)


def steadily(path: Path, read: Callable[[Path], _T]) -> _T:
    """What `read` makes of the folder at `path`, or resting beside it; anew where it was swapped meanwhile."""
    for _ in range(_READ_ATTEMPTS):
        beside = resting(real(path))
        place = path if path.exists() or not beside.exists() else beside
        with _held(place) as before:
            try:
                result = read(place)
            except Exception:
                if _identity(place) == before:
                    raise
                continue
            if _identity(place) == before:
                return result
    raise BundleError(f"{path} was replaced again and again while it was read: try again when it is left in peace")


@contextmanager
def locked(path: Path, purpose: str, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock file `<path>.<purpose>.lock`; BusyError where another process holds it. Freed when killed.

    Raises BundleError where no file can be made beside `path`.
    """
    import fcntl

    path = real(path)
    name = path.with_name(f"{path.name}.{purpose}.lock")
    handle = _open_lock(name)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            holder = os.pread(handle, 100, 0).decode("utf-8", "replace").strip() or "another process"
            raise BusyError(
                f"{path} is in use: {holder} holds {name} to {purpose}. Wait until it is done, or choose another path"
            ) from error
        with suppress(OSError):  # a full disk: the name of the holder is a courtesy
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()}".encode(), 0)
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _open_lock(name: Path) -> int:
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        return os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise BundleError(
            f"nothing can be written in {name.parent} ({error.strerror}): mend its permissions, or choose another path"
        ) from error


def swap_in(draft: Path, path: Path) -> None:
    """Puts the finished draft in the place of `path`, if there is anything, which is then removed."""
    _sync(draft)
    restore(path)
    if not path.exists():
        os.rename(draft, path)
    elif _exchange(draft, path):
        _sync_folder(path.parent)
        shutil.rmtree(draft)
    else:
        swap_by_renames(draft, path)
    _sync_folder(path.parent)


def swap_by_renames(draft: Path, path: Path) -> None:
    """The swap where the two cannot be exchanged at once: the old folder rests for the moment between two renames."""
    old = resting(path)
    shutil.rmtree(old, ignore_errors=True)
    os.rename(path, old)
    os.rename(draft, path)
    _sync_folder(path.parent)
    shutil.rmtree(old)


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


@contextmanager
def _held(folder: Path) -> Iterator[tuple[int, int] | None]:
    """The identity of a folder, which no other can be given as long as this one is held open."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        yield _identity(folder)
        return
    try:
        found = os.fstat(handle)
        yield found.st_dev, found.st_ino
    finally:
        os.close(handle)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sync(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            with open(Path(place) / name, "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(place))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
