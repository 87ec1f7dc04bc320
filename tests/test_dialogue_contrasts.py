"""Words that exclude each other, two words as one, and negations as recognisers write them."""

from __future__ import annotations

import pytest

from dialogue.contrasts import ENGLISH, Stance


@pytest.mark.parametrize(
    ("one", "other", "reverses"),
    [
        ("this week", "next week", True),
        ("next friday", "last friday", True),
        ("this week", "this weekend", False),
        ("set day mode", "set night mode", True),
        ("my nephew", "my niece", True),
        ("at midday", "at midnight", True),
        ("at midday", "at noon", False),
        ("weekly", "biweekly", True),
        ("keep it", "drop it", True),
        ("keep it", "keep that", False),
    ],
)
def test_sides_that_exclude_each_other(one: str, other: str, reverses: bool) -> None:
    mine, theirs = (Stance(False, ENGLISH.sides(text.split())) for text in (one, other))
    assert mine.reverses(theirs) is reverses
    assert theirs.reverses(mine) is reverses


@pytest.mark.parametrize("word", "wasnt werent havent hasnt hadnt mustnt neednt aint hardly barely isn't".split())
def test_a_negation(word: str) -> None:
    assert ENGLISH.negated([word])
    assert ENGLISH.negations_in(["he", word, word]) == 2
