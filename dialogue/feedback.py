"""What counts as feedback on a turn, and how much of success it tells.

What two judges share: `dialogue.outcomes` over the Arrow columns of a log, and whoever looks at one turn as it comes,
without pyarrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

#: Apologies and questions stand at one end of a response; a long read-out between them tells nothing.
READ_CHARACTERS = 600
#: "Soon" is within so many seconds and turns.
LIMIT_S, MAX_TURNS = 120.0, 3
#: Letters alike from which a text counts as a rephrase, and from which fully.
SIMILAR_FROM, SIMILAR_TO = 0.5, 0.8
#: Seconds of use from which it counts fully, and below which it counts against.
ENGAGED_S, DROPPED_S = 30.0, 10.0


@dataclass(frozen=True)
class Phrases:
    """The words that count as feedback: English here; a team adds its language with `dataclasses.replace`.

    The first four are regular expressions (RE2, without case) sought anywhere in a response; the others are
    canonical texts of the user's.
    """

    apology: tuple[str, ...] = (
        r"\bsorry\b", r"\bi apologi[sz]e\b", r"\bdon'?t (?:know|understand|have)\b",
        r"\bi (?:can'?t|cannot)\b", r"\bcouldn'?t\b", r"\bunable to\b", r"\bnot sure what\b",
        r"\bthere is nothing\b", r"\b(?:an? )?error\b", r"\bsomething went wrong\b", r"\bhaving trouble\b",
    )  # fmt: skip
    courtesy: tuple[str, ...] = (
        r"\bsorry (?:to keep you|for (?:the|your) (?:wait|delay)|to hear)\b", r"\b(?:no|without) errors?\b",
    )  # fmt: skip
    asked_again: tuple[str, ...] = (
        r"\b(?:please|could you) (?:repeat|rephrase|try again)\b", r"\bsay (?:that|it) again\b",
        r"\b(?:didn'?t|did not|can'?t|couldn'?t) (?:quite )?(?:hear|catch|get|understand)\b",
        r"\btry again\b", r"\blet me try\b", r"\bpardon\b",
    )  # fmt: skip
    confirming: tuple[str, ...] = (
        r"\bdid you (?:mean|say)\b", r"\bdo you mean\b", r"\bis that (?:right|correct|what you)\b",
        r"\bi thought you said\b", r"\blet me confirm\b", r"\b(?:right|correct) ?\?",
    )  # fmt: skip
    affirmed: tuple[str, ...] = (
        "yes", "yeah", "yep", "yup", "correct", "right", "that's right", "sure", "ok", "okay",
    )  # fmt: skip
    denied: tuple[str, ...] = (
        "no", "nope", "wrong", "incorrect", "that's wrong", "not that", "that's not", "i said",
        "i didn't say",
    )  # fmt: skip
    taken_back: tuple[str, ...] = (
        "stop", "cancel", "cancel that", "never mind", "nevermind", "forget it", "undo", "undo that",
        "go back", "start over", "shut up",
    )  # fmt: skip
    thanked: tuple[str, ...] = (
        "thank you", "thanks", "great", "perfect", "goodbye", "good bye", "bye", "bye bye", "good night",
    )  # fmt: skip
    navigation: tuple[str, ...] = (
        "next", "previous", "repeat", "go back", "back", "start over", "skip", "more", "again", "continue",
        "pause", "resume", "play", "help", "volume up", "volume down", "louder", "quieter", "turn it up",
        "turn it down", "turn up the volume", "turn down the volume", "anything else",
        "is there anything else", "what else",
    )  # fmt: skip


@dataclass(frozen=True)
class EvidenceWeights:
    """Log-odds that each piece of evidence adds where it is fully present.

    Measured by `benchmarks/outcomes.py`, rounded, and drawn towards 0 because other assistants differ: prior,
    apology, asked_again, denied, taken_back, rephrased, moved_on, unsure. Present in those logs but too rare,
    or explained by the former there, and so set small: barge_in, confirmed, thanked, stuck, repeated,
    abandoned. The others are set, as no public log has them. Signs and order follow the literature on
    implicit feedback: explicit feedback outweighs the rest, cancelling is the strongest implicit sign, and
    staying with a result tells more than a click.
    """

    prior: float = 2.25

    succeeded: float = 3.0  #: `outcome` is success
    failed: float = -5.0  #: `outcome` is failure
    rated_up: float = 4.0
    rated_down: float = -4.5
    clicked: float = 1.0
    engaged: float = 2.0  #: grows with the seconds of use up to `engaged_s`
    dropped: float = -1.0  #: used for less than `dropped_s`, the more the shorter
    barge_in: float = -0.5  #: background noise does that too
    cancelled: float = -3.0  #: `signals.cancelled`
    taken_back: float = -1.5  #: "stop" or "never mind" comes next
    apology: float = -4.5  #: in the response; to a "no" it is for the turn before, and does not count
    asked_again: float = -1.0
    confirmed: float = 0.5  #: the response asks "is that right?" and a yes comes next
    denied: float = -3.0  #: a "no" comes next: a quarter of it unless the response asked "is that right?"
    thanked: float = 1.0  #: thanks or goodbye come next
    stuck: float = -1.0  #: the same response as to the turn before
    unanswered: float = -0.5  #: no response, where the session has others
    repeated: float = -1.0  #: the same text again soon; less by habit, and not at all for "next" and the like
    rephrased: float = -1.5  #: a similar text soon, the more the more similar
    moved_on: float = 0.25  #: only other requests soon
    abandoned: float = -0.25  #: the session's last turn, and nothing speaks for it
    unsure: float = -3.5  #: 1 less the recogniser's or the interpreter's confidence, whichever is lower
    empty: float = -4.0  #: nothing was recognised

    def __post_init__(self) -> None:
        for item in fields(self):
            weight, default = getattr(self, item.name), getattr(EvidenceWeights, item.name)
            if not math.isfinite(weight):
                raise ValueError(f"weight {item.name} is {weight}: a finite number of log-odds is wanted")
            if item.name != "prior" and weight * default < 0:
                sign = "0 or more" if default > 0 else "0 or less"
                raise ValueError(
                    f"weight {item.name} is {weight}, which turns its meaning round: {sign} is wanted"
                )
