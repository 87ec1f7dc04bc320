"""Child processes for tests: to be killed, at a known point or at any."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

from rewrite.progress import Progress, Stage

#: One clean process forks them all, so that a child costs milliseconds and inherits no thread.
CHILDREN = get_context("forkserver")
CHILDREN.set_forkserver_preload(["rewrite.job", "rewrite.engine", "tests.logs"])

KILLED = -signal.SIGKILL


def run(target: Callable[..., None], *args: Any) -> int | None:
    """Runs a function of a module in a child and gives its exit code."""
    child = CHILDREN.Process(target=target, args=args)
    child.start()
    child.join(60)
    return child.exitcode


def die() -> None:
    """Kills this process, with no chance to tidy up."""
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(Progress):
    """Kills the process when a stage begins."""

    def __init__(self, at: str) -> None:
        self.at = at

    def stage(self, name: str, total: float | None = None) -> Stage:
        if name == self.at:
            die()
        return super().stage(name, total)


def die_before(event: str, part: str = "", place: int = 1) -> None:
    """This process is killed right before its `place`-th audit event of this name with `part` in its arguments.

    Python tells such events of everything that touches files: "os.rename", "open", "shutil.rmtree", "ctypes.dlsym".
    """
    seen = 0

    def listen(name: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if name == event and part in repr(args):
            seen += 1
            if seen == place:
                die()

    sys.addaudithook(listen)
