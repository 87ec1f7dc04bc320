"""Whether a rewrite puts one known value in the place of another: "play thriller" -> "play killer".

Which words are a name no rule can tell, but working requests can: where the candidate has a value in a slot, and the
request says another one that working requests have in the same slot, the user said a value, and said it clearly. A
misheard value is hardly ever a known value of the very same slot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rewrite.dense_guard import same_but_for_spelling

#: Words of the longest value that is looked for.
LONGEST_VALUE = 8


def exchanges_value(said: Sequence[str], slots: Sequence[tuple[str, str]], known: Callable[[str, str], bool]) -> bool:
    """Whether the words `said` hold a value that is known in a slot of the target, which has another there.

    `slots` are those of the target, several values joined with ";"; `known(slot, value)` says what working requests
    have. A longer or a shorter value is another one ("taylor", "taylor swift"), another spelling is not.
    """
    runs = _runs(said)
    whole = f" {' '.join(said)} "
    for slot, joined in slots:
        values = [value.strip() for value in joined.split(";") if value.strip()]
        kept = [value for value in values if f" {value} " in whole]
        for run in dict.fromkeys(runs):
            if known(slot, run) and _said(run, runs) > _left(run, values, kept):
                return True
    return False


def _said(run: str, runs: Sequence[str]) -> int:
    """How often a value was said, in whatever spelling."""
    return sum(same_but_for_spelling(run, other) for other in runs)


def _left(run: str, values: Sequence[str], kept: Sequence[str]) -> int:
    """How often the target has it: as a value, or inside a longer one that was said as well ("york" in "new york")."""
    inside = sum(f" {value} ".count(f" {run} ") for value in kept if not same_but_for_spelling(run, value))
    return sum(same_but_for_spelling(run, value) for value in values) + inside


def _runs(words: Sequence[str]) -> list[str]:
    """All runs of up to LONGEST_VALUE words."""
    count = len(words)
    return [
        " ".join(words[first:last])
        for first in range(count)
        for last in range(first + 1, min(first + LONGEST_VALUE, count) + 1)
    ]
