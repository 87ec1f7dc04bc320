"""Rewrites that lead nowhere: back to what just failed, on to what is itself rewritten, or to what was said already."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rewrite.guards import bare_content
from rewrite.spoken import bare_words, numbers, spoken_words

#: A request of the session counts as failed where it is less likely than this to have succeeded.
FAILED_BELOW = 0.5


def undoes(said: str, target: str, recent: Sequence[tuple[str, float]], *, failed_below: float = FAILED_BELOW) -> bool:
    """Whether the target is what this user said before in the session, failed with, and has now put otherwise.

    `recent` holds (canonical text, P(success)) of the session so far, in order; the last word on the target counts.
    """
    outcomes = [success for text, success in recent if text == target or same_request(text, target)]
    return bool(outcomes) and outcomes[-1] < failed_below and not same_request(said, target)


def makes_loop(
    said: str, target: str, recent: Sequence[tuple[str, float]] = (), *, rewritten: Callable[[str], bool] | None = None
) -> bool:
    """Whether a rewrite leads back: the target just failed, or is rewritten itself, as `rewritten` says of a text."""
    return (rewritten is not None and rewritten(target)) or undoes(said, target, recent)


def same_request(said: str, target: str) -> bool:
    """Whether two canonical texts are one request but for fillers, the spelling of numbers, and apostrophes.

    "uh wake me at 7:30" and "wake me at seven thirty" are; "jon" and "john" are not.
    """
    if said == target:
        return True
    mine, theirs = spoken_words(said), spoken_words(target)
    return _content(mine) == _content(theirs) and numbers(mine) == numbers(theirs)


def _content(words: Sequence[str]) -> str:
    """The words with content, joined: where words end is no difference ("west life")."""
    return "".join(bare_content(bare_words(words)))
