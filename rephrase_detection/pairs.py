"""What detection finds: a turn, the later turn that says it again, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from dialogue.turn import RephraseKind


@dataclass(frozen=True, slots=True)
class RephrasePair:
    """The turn `rephrase` says again what the earlier, failed turn `source` said; both are turn ids."""

    source: str
    rephrase: str
    probability: float
    kind: RephraseKind | None = None
