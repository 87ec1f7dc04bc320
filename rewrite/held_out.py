"""Requests of users that no training saw, each with its best rewrite: what thresholds are chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

#: Sums of products may miss a whole number by so much.
ROUNDING = 1 + 1e-9


@dataclass(frozen=True, eq=False)
class Held:
    """Requests of users held out, each with the best rewrite that was found for it. All are [n].

    slices         names such as "play|phone|known"; what is left out at the end is the wider slice
    score          float, P(the rewrite succeeds) - P(the request as said succeeds); -inf where there is no rewrite
    repaired       bool, it fails as said and the rewrite would repair it; or the probability of that
    good           bool, it is right as said; or the probability of that
    harmed         bool, it is good and the rewrite would break it
    expected_harm  float, P(good) P(the rewrite is wrong), calibrated; at least one of these two

    Raises ValueError for other lengths, NaN, shares outside 0..1, what is both good and repaired or harmed and not
    good, and where no request is good.
    """

    slices: Sequence[str]
    score: ArrayLike
    repaired: ArrayLike
    good: ArrayLike
    harmed: ArrayLike | None = None
    expected_harm: ArrayLike | None = None

    def __post_init__(self) -> None:
        names = [self.slices] if isinstance(self.slices, str) else list(self.slices)
        if not all(isinstance(name, str) for name in names):
            raise ValueError("slices came that are no strings; wanted names such as 'play|phone|known'")
        object.__setattr__(self, "slices", tuple(map(str, names)))
        if self.harmed is None and self.expected_harm is None:
            raise ValueError("neither harmed nor expected_harm came; wanted at least one, the second if there is one")
        for each in fields(self)[1:]:
            if (values := getattr(self, each.name)) is not None:
                object.__setattr__(self, each.name, _column(each.name, values, len(names)))
        self._agree("repaired and good", self.column("repaired") + self.column("good") > ROUNDING)
        if self.harmed is not None:
            self._agree("harmed and not good", self.column("harmed") > self.column("good") * ROUNDING)
        if not self.column("good").sum() > 0:
            raise ValueError(f"no good request is among the {len(names)} held out: of what harms there is no knowing")

    def _agree(self, what: str, wrong: NDArray[np.bool_]) -> None:
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(
                f"{int(wrong.sum())} of {len(wrong)} requests came as {what}, the first at place {first}, of slice"
                f" {self.slices[first]!r}; wanted requests that are right as said, or fail: judge them again"
            )

    def column(self, name: str) -> Floats:
        """One of the columns, [n] float64."""
        return np.asarray(getattr(self, name), np.float64)


def _column(name: str, values: ArrayLike, length: int) -> Floats:
    column = np.asarray(values, np.float64)
    if column.shape != (length,):
        raise ValueError(f"{name} came with the shape {column.shape} and {length} slices; wanted [{length}]")
    least, most = (-np.inf, np.finfo(np.float64).max) if name == "score" else (0.0, 1.0)
    wrong = ~((column >= least) & (column <= most))
    if wrong.any():
        wanted = "numbers, or -inf where there is no rewrite" if name == "score" else "true, false, or 0 to 1"
        first = int(wrong.argmax())
        raise ValueError(f"{name} came as {column[first]} at place {first}; wanted {wanted}")
    return column
