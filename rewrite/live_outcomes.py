"""How likely a live turn gave the user what they wanted: `dialogue.outcomes`, one turn at a time and without pyarrow.

The same additive model in log-odds with the same weights and phrases, so that what a user just did and what the mining
job makes of it later agree. Left out is what needs the whole session and tells little: `stuck`, `unanswered`,
`abandoned`, `confirmed` and `thanked`; and of a text said again and again, only the repeats soon after are counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from rapidfuzz.distance import Indel

from dialogue.contrasts import ENGLISH
from dialogue.turn import Outcome, Signals, Turn

#: The weights of `dialogue.outcomes.EvidenceWeights` that are used here.
WEIGHTS: Final[Mapping[str, float]] = {
    "prior": 2.25, "succeeded": 3.0, "failed": -5.0, "rated_up": 4.0, "rated_down": -4.5, "clicked": 1.0,
    "engaged": 2.0, "dropped": -1.0, "barge_in": -0.5, "cancelled": -3.0, "taken_back": -1.5, "apology": -4.5,
    "asked_again": -1.0, "denied": -3.0, "repeated": -1.0, "rephrased": -1.5, "moved_on": 0.25, "unsure": -3.5,
    "empty": -4.0,
}  # fmt: skip
#: The phrases of `dialogue.outcomes.Phrases` that are used here.
PHRASES: Final[Mapping[str, tuple[str, ...]]] = {
    "apology": (
        r"\bsorry\b", r"\bi apologi[sz]e\b", r"\bdon'?t (?:know|understand|have)\b",
        r"\bi (?:can'?t|cannot)\b", r"\bcouldn'?t\b", r"\bunable to\b", r"\bnot sure what\b",
        r"\bthere is nothing\b", r"\b(?:an? )?error\b", r"\bsomething went wrong\b", r"\bhaving trouble\b",
    ),
    "courtesy": (
        r"\bsorry (?:to keep you|for (?:the|your) (?:wait|delay)|to hear)\b", r"\b(?:no|without) errors?\b",
    ),
    "asked_again": (
        r"\b(?:please|could you) (?:repeat|rephrase|try again)\b", r"\bsay (?:that|it) again\b",
        r"\b(?:didn'?t|did not|can'?t|couldn'?t) (?:quite )?(?:hear|catch|get|understand)\b",
        r"\btry again\b", r"\blet me try\b", r"\bpardon\b",
    ),
    "confirming": (
        r"\bdid you (?:mean|say)\b", r"\bdo you mean\b", r"\bis that (?:right|correct|what you)\b",
        r"\bi thought you said\b", r"\blet me confirm\b", r"\b(?:right|correct) ?\?",
    ),
    "denied": (
        "no", "nope", "wrong", "incorrect", "that's wrong", "not that", "that's not", "i said", "i didn't say",
    ),
    "taken_back": (
        "stop", "cancel", "cancel that", "never mind", "nevermind", "forget it", "undo", "undo that", "go back",
        "start over", "shut up",
    ),
    "navigation": (
        "next", "previous", "repeat", "go back", "back", "start over", "skip", "more", "again", "continue",
        "pause", "resume", "play", "help", "volume up", "volume down", "louder", "quieter", "turn it up",
        "turn it down", "turn up the volume", "turn down the volume", "anything else", "is there anything else",
        "what else",
    ),
}  # fmt: skip
#: "Soon" is within so many seconds and turns.
LIMIT_S, MAX_TURNS = 120.0, 3
#: Letters alike from which a text counts as a rephrase, and fully.
SIMILAR_FROM, SIMILAR_TO = 0.5, 0.8
#: Seconds of use from which it counts fully, and below which it counts against.
ENGAGED_S, DROPPED_S = 30.0, 10.0
READ_CHARACTERS, COMPARED_CHARACTERS = 600, 300


def _either(name: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in PHRASES[name]), re.IGNORECASE | re.ASCII)


_SOUGHT = {name: _either(name) for name in ("apology", "courtesy", "asked_again", "confirming")}
_WHOLE = {name: frozenset(PHRASES[name]) for name in ("taken_back", "navigation")}
_LEADS = tuple(f"{phrase} " for phrase in PHRASES["denied"])
_NO_SIGNALS = Signals()


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
    odds = WEIGHTS["prior"] + _feedback(turn, signals)
    if not said:
        odds += WEIGHTS["empty"]
    if response and not (_denies(said) or said in _WHOLE["taken_back"]):  # else it is about the turn before
        odds += WEIGHTS["apology"] * bool(_SOUGHT["apology"].search(_SOUGHT["courtesy"].sub("", response)))
        odds += WEIGHTS["asked_again"] * bool(_SOUGHT["asked_again"].search(response))
    observed = turn.outcome is not None or turn.response is not None or signals != _NO_SIGNALS
    return Alone(odds, observed, bool(_SOUGHT["confirming"].search(response)))


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
    odds = sum(WEIGHTS[name] for name, present in amounts.items() if present)
    if (used := signals.engaged_s) is not None:
        odds += WEIGHTS["engaged"] * min(used / ENGAGED_S, 1.0)
        odds += WEIGHTS["dropped"] * max(1.0 - used / DROPPED_S, 0.0)
    confidences = [each.confidence for each in (turn.asr, turn.nlu) if each and each.confidence is not None]
    return odds + (WEIGHTS["unsure"] * (1.0 - min(confidences)) if confidences else 0.0)


def reaction(turn: Said, confirming: bool, later: Sequence[Said]) -> float:
    """The log-odds that the same session's later turns add, which are in order."""
    soon = [each for each in later[:MAX_TURNS] if each.timestamp - turn.timestamp <= LIMIT_S]
    if not soon:
        return 0.0
    odds = 0.0
    if _denies(soon[0].said):
        odds += WEIGHTS["denied"] * (1.0 if confirming else 0.25)
    if soon[0].said in _WHOLE["taken_back"]:
        odds += WEIGHTS["taken_back"]
    return odds + _second_try(turn.said, [each.said for each in soon])


def _second_try(said: str, soon: Sequence[str]) -> float:
    """Whether the user said the same, something like it, or only other things soon after."""
    ordinary = said != "" and said not in _WHOLE["navigation"]
    if again := soon.count(said):
        return WEIGHTS["repeated"] * min(1.0, 2.0 / (1 + again)) if ordinary else 0.0
    nearest = max(_alike(said, other) for other in soon)
    similar = min(max((nearest - SIMILAR_FROM) / (SIMILAR_TO - SIMILAR_FROM), 0.0), 1.0)
    if similar == 0.0:
        return WEIGHTS["moved_on"] if said else 0.0
    return WEIGHTS["rephrased"] * similar if ordinary else 0.0


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
