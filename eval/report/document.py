"""All that a run found. What is read off it is in `metrics`, `terminal`, `summary` and `page`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from eval.cases import Judging
from eval.comparison import Difference, Paired
from eval.count import Count
from eval.estimates import Estimate, estimates
from eval.finding import Finding
from eval.findings import find
from eval.gate import Check, Gate
from eval.measures import Interval, Tally, bootstrap_by_user
from eval.overlap import Overlap
from eval.ship import Answer, answer
from eval.slices import CASES, USERS
from eval.systems import Memory
from eval.verdict import Judged, Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Losses, and as many misses and wins, that a report tells in full.
EXAMPLES = 20


@dataclass(frozen=True)
class Rung:
    """A baseline's name, its rule in words, and what became of the cases with it."""

    name: str
    told: str
    count: Count

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        tallies = self.count.tallies
        return estimates(tallies.total, tallies.by_user)


@dataclass(frozen=True)
class Part:
    """One slice: a field's value, and the figures of its cases."""

    field: str
    value: str
    tally: Tally
    users: int
    estimates: Mapping[str, Estimate]

    @property
    def name(self) -> str:
        """As gate files name it."""
        return f"{self.field}={self.value}"

    @property
    def too_small(self) -> bool:
        return self.tally.cases < CASES or self.users < USERS


@dataclass(frozen=True)
class Report:
    """The verdicts counted, with the first losses and misses in full."""

    count: Count
    judged_by: Judging = Judging.TEXTS
    unmeasured: int = 0  # turns without gold.rewrite
    contradictory: int = 0  # turns whose gold contradicts itself
    unknown_gold: int = 0  # turns whose gold has a field that is not known
    contradictions: tuple[str, ...] = ()  # the first of both in words
    repeated: int = 0  # turns that came again with the same turn_id, counted once
    paired: Paired | None = None
    rungs: Sequence[Rung] = ()
    absent: Mapping[str, str] = field(default_factory=dict)  # rungs that were not run, and why
    overlap: Overlap | None = None
    seconds: float = 0.0
    memory: Memory = Memory(None, None)  # noqa: RUF009  (frozen)
    names: tuple[str, str] = ("the bundle", "the other")
    seed: int = 0
    gate: Gate = field(default_factory=Gate.usual)

    @classmethod
    def from_counts(cls, count: Count, **more: Any) -> Report:
        """From what a run counted."""
        return cls(count, **more)

    @property
    def tally(self) -> Tally:
        return self.count.tallies.total

    @property
    def users(self) -> int:
        return len(self.count.users)

    @property
    def reasons(self) -> Mapping[tuple[Verdict, str], int]:
        """Verdict and the engine's reason -> cases."""
        return dict(sorted(self.count.reasons.items()))

    @property
    def losses(self) -> tuple[Judged, ...]:
        return tuple(self.count.losses.kept)

    @property
    def misses(self) -> tuple[Judged, ...]:
        return tuple(self.count.misses.kept)

    @property
    def wins(self) -> tuple[Judged, ...]:
        return tuple(self.count.wins.kept)

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        return estimates(self.tally, self.count.tallies.by_user, self.seed)

    @cached_property
    def bootstrap(self) -> Interval | None:
        """Of wins to losses, users resampled; None where no loss was seen."""
        by_user = self.count.tallies.by_user
        return bootstrap_by_user([(user.wins, user.losses) for user in by_user], seed=self.seed)

    @cached_property
    def difference(self) -> Difference | None:
        return self.paired.difference(self.seed) if self.paired else None

    @cached_property
    def parts(self) -> list[Part]:
        """Every slice, by field, the largest first."""
        found = []
        for name, values in self.count.slices.items():
            rows = []
            for value, tallies in values.items():
                by_user, total = tallies.by_user, tallies.total
                rows.append(Part(name, value, total, len(by_user), estimates(total, by_user, self.seed)))
            found += sorted(rows, key=lambda part: (-part.tally.cases, part.value))
        return found

    @cached_property
    def findings(self) -> list[Finding]:
        return find(self)

    @cached_property
    def checks(self) -> list[Check]:
        return self.gate.check(self)

    @cached_property
    def answer(self) -> Answer:
        return answer(self)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: what is the same whenever the same bundle is put to the same cases.

        null stands for what was not measured and for an interval without an upper end.
        """
        from eval.report.metrics import document

        return document(self)

    def as_json(self) -> str:
        """`as_dict` as a JSON document."""
        from eval.report.metrics import as_json

        return as_json(self.as_dict())

    def tables(self) -> Iterator[RenderableType]:
        """What a person reads in a terminal."""
        from eval.report.terminal import tables

        return tables(self)

    @cached_property
    def other_estimates(self) -> dict[str, Estimate]:
        """Of the engine that this one is compared with."""
        if self.paired is None:
            return {}
        tallies = self.paired.other.tallies
        return estimates(tallies.total, tallies.by_user, self.seed)
