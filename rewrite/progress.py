"""How far a long job is: the job tells stages and amounts, and whoever listens shows them."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Stage:
    """One stage of a job; `total` is None where its length is not known. A context manager."""

    def __init__(self, name: str, total: float | None = None) -> None:
        self.name = name
        self.total = total
        self.done = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def advance(self, amount: float) -> None:
        """So much more is done."""
        self.at(self.done + amount)

    def at(self, done: float) -> None:
        """So much is done by now."""
        self.done = done


class Progress:
    """A listener; a subclass shows what it is told."""

    def stage(self, name: str, total: float | None = None) -> Stage:
        """A new stage begins."""
        return Stage(name, total)
