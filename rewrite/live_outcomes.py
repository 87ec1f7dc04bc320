"""How likely a live turn gave the user what they wanted: `dialogue.outcomes`, one turn at a time and without pyarrow.

The same additive model in log-odds with the same weights and phrases (`dialogue.feedback`), so that what a user just
did and what the mining job makes of it later agree. Left out is what needs the whole session and tells little:
`stuck`, `unanswered`, `abandoned`, `confirmed` and `thanked`; and of a text said again and again, only the repeats
soon after are counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from rapidfuzz.distance import Indel

from dialogue.canonical import fold
from dialogue.contrasts import ENGLISH
from dialogue.feedback import (
    DROPPED_S,
    ENGAGED_S,
    LIMIT_S,
    MAX_TURNS,
    READ_CHARACTERS,
    SIMILAR_FROM,
    SIMILAR_TO,
    EvidenceWeights,
    Phrases,
)
from dialogue.similarity import COMPARED_CHARACTERS
from dialogue.turn import Outcome, Signals, Turn

_WEIGHTS, _PHRASES = EvidenceWeights(), Phrases()
_NO_SIGNALS = Signals()


def _either(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in patterns), re.IGNORECASE | re.ASCII)


_APOLOGY, _COURTESY = _either(_PHRASES.apology), _either(_PHRASES.courtesy)
_ASKED_AGAIN, _CONFIRMING = _either(_PHRASES.asked_again), _either(_PHRASES.confirming)
_TAKEN_BACK, _NAVIGATION = (frozenset(map(fold, each)) for each in (_PHRASES.taken_back, _PHRASES.navigation))
_LEADS = tuple(f"{fold(phrase)} " for phrase in _PHRASES.denied)


class Alone(NamedTuple):
    """What a turn tells by itself."""

    log_odds: float  # of success
    observed: bool  # whether anything was seen of how it went
    confirming: bool  # whether the response asks "is that right?"


class Said(NamedTuple):
    """A canonical text and when it was said, in seconds since the epoch."""

    timestamp: float
    said: str


def alone(turn: Turn, said: str) -> Alone:
    """The evidence on the turn itself, `said` being its canonical text."""
    signals, response = turn.signals or _NO_SIGNALS, (turn.response or "")[:READ_CHARACTERS]
    odds = _WEIGHTS.prior + _feedback(turn, signals)
    if not said:
        odds += _WEIGHTS.empty
    if response and not (_denies(said) or said in _TAKEN_BACK):  # else it is about the turn before
        odds += _WEIGHTS.apology * bool(_APOLOGY.search(_COURTESY.sub("", response)))
        odds += _WEIGHTS.asked_again * bool(_ASKED_AGAIN.search(response))
    observed = turn.outcome is not None or turn.response is not None or signals != _NO_SIGNALS
    return Alone(odds, observed, bool(_CONFIRMING.search(response)))


def _feedback(turn: Turn, signals: Signals) -> float:
    amounts = {
        "succeeded": turn.outcome == Outcome.SUCCESS,
        "failed": turn.outcome == Outcome.FAILURE,
        "rated_up": signals.rating == 1,
        "rated_down": signals.rating == -1,
        "clicked": signals.clicked is True,
        "barge_in": signals.barge_in is True,
        "cancelled": signals.cancelled is True,
    }
    odds: float = sum(getattr(_WEIGHTS, name) for name, present in amounts.items() if present)
    if (used := signals.engaged_s) is not None:
        odds += _WEIGHTS.engaged * min(used / ENGAGED_S, 1.0)
        odds += _WEIGHTS.dropped * max(1.0 - used / DROPPED_S, 0.0)
    confidences = [each.confidence for each in (turn.asr, turn.nlu) if each and each.confidence is not None]
    return odds + (_WEIGHTS.unsure * (1.0 - min(confidences)) if confidences else 0.0)


def reaction(turn: Said, confirming: bool, later: Sequence[Said]) -> float:
    """The log-odds that the same session's later turns add, which are in order."""
    soon = [each for each in later[:MAX_TURNS] if each.timestamp - turn.timestamp <= LIMIT_S]
    if not soon:
        return 0.0
    odds = 0.0
    if _denies(soon[0].said):
        odds += _WEIGHTS.denied * (1.0 if confirming else 0.25)
    if soon[0].said in _TAKEN_BACK:
        odds += _WEIGHTS.taken_back
    return odds + _second_try(turn.said, [each.said for each in soon])


def _second_try(said: str, soon: Sequence[str]) -> float:
    """Whether the user said the same, something like it, or only other things soon after."""
    ordinary = said != "" and said not in _NAVIGATION
    if again := soon.count(said):
        return _WEIGHTS.repeated * min(1.0, 2.0 / (1 + again)) if ordinary else 0.0
    nearest = max(_alike(said, other) for other in soon)
    similar = min(max((nearest - SIMILAR_FROM) / (SIMILAR_TO - SIMILAR_FROM), 0.0), 1.0)
    if similar == 0.0:
        return _WEIGHTS.moved_on if said else 0.0
    return _WEIGHTS.rephrased * similar if ordinary else 0.0


def _alike(said: str, other: str) -> float:
    """Letters alike, 0 to 1; 0 where the one is the opposite of the other: the light on and then off."""
    alike = Indel.normalized_similarity(said[:COMPARED_CHARACTERS], other[:COMPARED_CHARACTERS])
    if alike >= SIMILAR_FROM and ENGLISH.stance(said).reverses(ENGLISH.stance(other)):
        return 0.0
    return float(alike)


def _denies(said: str) -> bool:
    return f"{said} ".startswith(_LEADS)


def probability(log_odds: float) -> float:
    """The probability of these log-odds."""
    return 1.0 / (1.0 + math.exp(-log_odds))
