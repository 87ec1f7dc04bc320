"""A finding: one thing that is wrong with a bundle, how bad it is, the evidence, and where to look.

A finding is severe where a bundle must not ship with it, a warning where somebody should look first, and a note where
it is good to know. In that order they are ranked. Of one weight come first what voids the figures or people's trust,
then faults by themselves, by the cases that they touch, and then what follows from such faults.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """What may be wrong: what voids the figures or people's trust, then faults by themselves, then what follows from
    them."""

    LEAK = "other user's data"
    TRAINED_ON = "judged on its own training data"
    POLARITY = "flipped polarity"
    SWAPPED = "rewrites of other requests"
    NUMBER = "changed numbers"
    BROKEN = "faults inside the engine"
    SLOWER = "slower"
    WORSE = "worse than the other"
    BEATEN = "beaten by a baseline"
    FALSE_TRIGGERS = "false triggers"
    SLICE = "worse in a part"
    REPEATED = "one rewrite that loses again and again"
    CALIBRATION = "scores that promise too much"
    SEEN = "users that it knows"
    NOT_MEASURED = "not measured"


class Weight(StrEnum):
    """How bad."""

    SEVERE = "severe"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    fault: Fault
    weight: Weight
    says: str
    evidence: tuple[str, ...]
    look: str  # where to look
    cases: int = 0

    @property
    def severe(self) -> bool:
        return self.weight is Weight.SEVERE

    @property
    def title(self) -> str:
        return self.fault.value[0].upper() + self.fault.value[1:]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Findings are told in ascending order of this."""
        faults = list(Fault)
        tier = 0 if self.fault in _FIRST else 1 if self.fault in _ITSELF else 2
        return list(Weight).index(self.weight), tier, -self.cases, faults.index(self.fault)


_FIRST = (Fault.LEAK, Fault.TRAINED_ON)
_ITSELF = (Fault.POLARITY, Fault.SWAPPED, Fault.NUMBER, Fault.BROKEN, Fault.SLOWER)
