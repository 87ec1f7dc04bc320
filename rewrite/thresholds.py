"""The scores from which on to rewrite and to ask, slice by slice of the traffic, and what that does.

A slice is named by its parts, "play|phone|known"; what is left out at the end is the wider slice, "" the whole traffic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rewrite.errors import ModelError

VERSION = 1
SEPARATOR = "|"
TABLES = ("rewrite", "suggest")
NEVER = math.inf


@dataclass(frozen=True, slots=True)
class SliceFigures:
    """What the thresholds of one slice do, on the requests held out."""

    slice: str
    requests: int
    goods: float
    repairable: float  # what the best rewrites would repair, were all of them served
    rewrite_from: float  # infinite: never
    repaired: float
    harmed: float  # expected where expectations were given, counted otherwise
    budget_spent: float  # share of the whole budget
    floor_met: bool
    suggest_from: float
    asked: float  # good requests that are asked "did you mean"
    suggested: float  # repairable ones that are


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of every slice, and what they do. A slice that was never seen has those of the wider one.

    `bound` is the upper bound of the share of good requests that is harmed, `asked_bound` of those that are asked;
    `sure` and `asked_sure` say whether they are within their budgets. Where they are not, the data were too few to
    know, and thresholds are above every request that was seen to be harmed.
    """

    rewrite: Mapping[str, float]
    suggest: Mapping[str, float]
    figures: tuple[SliceFigures, ...] = ()
    budget: float = 0.0
    bound: float = 0.0
    sure: bool = True
    suggest_budget: float = 0.0
    asked_bound: float = 0.0
    asked_sure: bool = True

    def __post_init__(self) -> None:
        if "" not in self.rewrite or self.rewrite.keys() != self.suggest.keys():
            raise ValueError("thresholds came that lack the slice '', or slices in one of both; wanted '' and as many")
        for name, threshold in self.rewrite.items():
            if not self.suggest[name] <= threshold:  # nor NaN
                raise ValueError(
                    f"the slice {name!r} came with {self.suggest[name]} to suggest from and {threshold} to rewrite"
                    " from; wanted numbers, the first no higher"
                )

    def rewrite_from(self, name: str) -> float:
        """The score from which a request of the slice is rewritten; infinite: never. About a microsecond or less."""
        return _of_slice(self.rewrite, name)

    def suggest_from(self, name: str) -> float:
        """The score from which the user is asked "did you mean"; never above `rewrite_from`."""
        return _of_slice(self.suggest, name)

    @property
    def repaired(self) -> float:
        """Requests held out that the rewrites repair."""
        return sum(each.repaired for each in self.figures)

    @property
    def harmed(self) -> float:
        """Requests held out that the rewrites harm."""
        return sum(each.harmed for each in self.figures)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; what is infinite is null."""
        raw = asdict(self)
        for table in (raw["rewrite"], raw["suggest"], *raw["figures"]):
            table.update({key: None for key, value in table.items() if value == NEVER})
        return {"version": VERSION, **raw, "figures": list(raw["figures"])}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Thresholds:
        """From what `as_dict` gave. Raises ModelError for anything else."""
        try:
            if raw["version"] != VERSION:
                raise ValueError(f"they are of version {raw['version']}, this software reads {VERSION}")
            rest = {each.name: raw[each.name] for each in fields(cls)}
            tables = {name: {key: float(value) for key, value in _endless(rest[name])} for name in TABLES}
            figures = tuple(SliceFigures(**dict(_endless(each))) for each in rest["figures"])
            return cls(**{**rest, **tables, "figures": figures})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ModelError(f"these are no thresholds: {error!r}. Choose them again, or restore a copy") from error


def _of_slice(thresholds: Mapping[str, float], name: str) -> float:
    """The threshold of a slice, or of the nearest wider one that has any."""
    found = thresholds.get(name)
    while found is None:
        name = name.rpartition(SEPARATOR)[0]
        found = thresholds.get(name)
    return found


def _endless(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, NEVER if value is None else value) for key, value in table.items())
