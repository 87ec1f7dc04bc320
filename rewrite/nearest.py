"""How likely a near request is the one that was meant: the calibrated rung for texts that no table has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rapidfuzz.distance import Indel

from dialogue.similarity import sound_key

#: A neighbour that is nearer than the next by more than this is no surer for it.
MOST_LEAD = 0.5


@dataclass(frozen=True, slots=True)
class NearestModel:
    """A logistic model over the likeness of a request and its nearest neighbour.

    The weights are those that `benchmarks/nearest_calibration.py` fits on misrecognised speech, rounded.
    """

    prior: float = -8.75
    cosine: float = 3.0
    letters: float = 3.5  #: similarity of the letters
    sound: float = 5.0  #: similarity of the sounds
    lead: float = 4.0  #: by how much the neighbour is nearer than the next, in cosine
    threshold: float = 0.8
    floor: float = 0.4  #: least cosine of a candidate
    least_lead: float = 0.02
    own_floor: float = 0.55  #: the same two, for a user's own request where the text is known to fail
    own_lead: float = 0.05

    def __post_init__(self) -> None:
        if not (0 < self.threshold <= 1 and 0 <= self.floor <= 1 and 0 <= self.own_floor <= 1):
            raise ValueError(f"{self} came; threshold, floor and own_floor are shares from 0 to 1")

    def probability(self, said: str, candidate: str, cosine: float, lead: float) -> float:
        """P(the candidate is what was meant) for canonical texts."""
        log_odds = (
            self.prior
            + self.cosine * cosine
            + self.letters * Indel.normalized_similarity(said, candidate)
            + self.sound * Indel.normalized_similarity(sound_key(said), sound_key(candidate))
            + self.lead * min(lead, MOST_LEAD)
        )
        return 1.0 / (1.0 + math.exp(-log_odds))
