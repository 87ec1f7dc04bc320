"""What kind of harm is a loss? One kind for each loss, the worst that fits, from the top:

other user's data   a text that only another user's history holds; this one is told of wins as well
polarity            on for off, monday for tuesday, a negation that comes or goes
number              a number, a time or an amount that is missing or another one
slot or entity      another request of much the same words: another song, another place
other request       nothing in common with what was said or wanted

The words behind polarity and numbers are those of `rewrite.guards`, so that a contrast which they do not know shows up
here as a slot: still as a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from rewrite.guards import FILLERS, changes_numbers, exchanges_meaning
from rewrite.spoken import spoken_words


class Harm(StrEnum):
    """The kinds, the worst first."""

    OTHER_USER = "other user's data"
    POLARITY = "polarity"
    NUMBER = "number"
    SLOT = "slot or entity"
    OTHER = "other request"


def harm_of(said: str, served: str, wanted: Sequence[str]) -> Harm:
    """The kind of a loss, but for other users' data; all texts are canonical, `wanted` is empty for a guardrail.

    It is measured against what was wanted, where that is known: every one of these texts must be harmed.
    """
    proposed = spoken_words(served)
    meant = [spoken_words(text) for text in wanted or (said,)]
    if all(exchanges_meaning(words, proposed) for words in meant):
        return Harm.POLARITY
    if all(changes_numbers(words, proposed, may_add=False) for words in meant):
        return Harm.NUMBER
    content = set(proposed) - FILLERS
    return Harm.SLOT if any(content & set(words) for words in [spoken_words(said), *meant]) else Harm.OTHER
