"""The role: given sessions and P(success) of their turns, find for each failed turn what says it again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dialogue.canonical import Canonicaliser
from dialogue.outcomes import OutcomeModel
from dialogue.table import dialogue_batch
from dialogue.turn import RephraseKind, Session
from rephrase_detection.pairs import RephrasePair

#: The kinds in the order of their codes in `Links.kind`; -1 stands for a kind that is not known.
KINDS = (RephraseKind.COMMAND, RephraseKind.ASR)

_CANONICAL = Canonicaliser()


@dataclass(frozen=True, slots=True)
class Links:
    """The pairs found in a dialogue batch, in parallel arrays ordered by source; a source has one target."""

    source: NDArray[np.int64]  # row of the failed turn [links] int64
    target: NDArray[np.int64]  # row of the turn that says it again, later in the same session [links] int64
    probability: NDArray[np.float64]  # [links] float64
    kind: NDArray[np.int8]  # place in KINDS, or -1 [links] int8

    def __len__(self) -> int:
        return len(self.source)

    def above(self, threshold: float) -> Links:
        """Those with a probability of the threshold or more."""
        kept = self.probability >= threshold
        return Links(self.source[kept], self.target[kept], self.probability[kept], self.kind[kept])


class RephraseDetector(ABC):
    """Finds rephrases. An implementation says how to `score`; `detect_session` is for people and small programs."""

    #: The probability from which a link is one.
    threshold: float

    @abstractmethod
    def score(self, batch: pa.RecordBatch, p_success: NDArray[np.float64]) -> Links:
        """The most probable target of every source that has a candidate, however improbable.

        Takes a dialogue batch and P(success) of its turns [turns] float64.
        """

    def detect(self, batch: pa.RecordBatch, p_success: NDArray[np.float64]) -> Links:
        """The links of a dialogue batch, given P(success) of its turns [turns] float64."""
        return self.score(batch, p_success).above(self.threshold)

    def detect_session(
        self,
        session: Session,
        p_success: NDArray[np.float64] | None = None,
        canonical: Callable[[str], str] = _CANONICAL,
    ) -> list[RephrasePair]:
        """The pairs of one session, in order; by the default model's outcomes where none are given."""
        batch = dialogue_batch([session], canonical)
        links = self.detect(batch, OutcomeModel().judge(batch) if p_success is None else p_success)
        rows = zip(links.source, links.target, links.probability, links.kind, strict=True)
        return [
            RephrasePair(
                session.turns[a].turn_id, session.turns[b].turn_id, float(p), KINDS[k] if k >= 0 else None
            )
            for a, b, p, k in rows
        ]
