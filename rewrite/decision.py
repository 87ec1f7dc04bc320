"""The answer of the engine: what to send to NLU, and why. "No rewrite" is a reason, not None."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any


class Action(StrEnum):
    """What to do with the request."""

    REWRITE = "rewrite"  # send `text` to NLU instead of what was said
    SUGGEST = "suggest"  # ask the user "did you mean `text`?"
    PASS = "pass"  # send what was said


class Reason(StrEnum):
    """Why; a closed set."""

    PINNED = "pinned"  # a person's word: always rewrite this
    LEARNED = "learned"  # the precomputed table: many users corrected it this way
    CONTEXTUAL = "contextual"  # in this context, most users meant this
    OWN_CORRECTION = "own_correction"  # this user corrected it this way before
    OWN_REQUEST = "own_request"  # known to fail, and close to a request of this user's own that works
    NEAR_GOOD = "near_good"  # a broken form of a request that is known to work
    BLOCKED = "blocked"  # a person's word: never rewrite this
    KNOWN_GOOD = "known_good"  # works as it is
    NOT_FAILING = "not_failing"  # said before and not known to fail, or most likely right as it is
    HELD_BACK = "held_back"  # the engine explores: what the table says was left undone, to see how that goes
    NO_CANDIDATE = "no_candidate"  # nothing close is known
    AMBIGUOUS = "ambiguous"  # two candidates are about as close
    UNSURE = "unsure"  # the best candidate is not likely enough to be right
    GUARD_POLARITY = "guard_polarity"  # the candidate would flip or exchange a meaning
    GUARD_NUMBER = "guard_number"  # the candidate would change a number, a time or an amount
    GUARD_WORD = "guard_word"  # the candidate would change a word that was understood
    GUARD_VALUE = "guard_value"  # the candidate would change a value that was said clearly
    GUARD_PROTECTED = "guard_protected"  # the candidate, or what was said, buys, calls, sends, unlocks, deletes ...
    GUARD_LOOP = "guard_loop"  # the candidate leads back to what just failed, or is itself rewritten
    EMPTY = "empty"  # nothing was said
    TOO_LONG = "too_long"  # longer than any request that is stored
    DEADLINE = "deadline"  # no time left to look further
    FAULT = "fault"  # something broke inside; `evidence` says what


class Source(StrEnum):
    """Where the candidate came from."""

    PINNED = "pinned"
    PRECOMPUTED = "precomputed"
    PERSONAL = "personal"
    GLOBAL = "global"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Alternative:
    """A candidate that was not served."""

    text: str
    source: Source
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one request. `original` is what was said, to the letter, whatever the action.

    `score` is the probability that the request as it goes on succeeds, where one is known; `margin` is by how much
    that exceeds the request left alone; `propensity` is the probability with which this action was chosen.
    """

    action: Action
    text: str
    original: str
    reason: Reason
    source: Source = Source.NONE
    score: float | None = None
    margin: float | None = None
    rewrite_id: str | None = None
    alternatives: tuple[Alternative, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)
    propensity: float = 1.0

    @property
    def served(self) -> dict[str, Any] | None:
        """What to log as `served` with this turn, so that the next learning knows what was done; None: nothing was.

        Of a rewrite that was held back as well: it is how what happens without it stays known.
        """
        if self.action is not Action.REWRITE and self.reason is not Reason.HELD_BACK:
            return None
        return {
            "original": self.original,
            "rewrite": self.text,
            "source": self.source.value,
            "rewrite_id": self.rewrite_id,
            "propensity": self.propensity,
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "action": self.action.value,
            "text": self.text,
            "original": self.original,
            "reason": self.reason.value,
            "source": self.source.value,
            "score": self.score,
            "margin": self.margin,
            "rewrite_id": self.rewrite_id,
            "alternatives": [
                {"text": each.text, "source": each.source.value, "score": each.score} for each in self.alternatives
            ],
            "evidence": self.evidence,
            "propensity": self.propensity,
        }


def rewrite_id(source: str, target: str) -> str:
    """The name of the pair (canonical source, canonical target): 16 hexadecimal digits, the same everywhere."""
    return blake2b(f"{source}\0{target}".encode(), digest_size=8).hexdigest()


def passed(text: str, reason: Reason) -> Decision:
    """The decision to leave a text as it is."""
    return Decision(Action.PASS, text, text, reason)
