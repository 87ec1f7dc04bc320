import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.similarity import (
    COMPARED_CHARACTERS,
    compare,
    differing_sound,
    distinct_letters,
    letters,
    shared_words,
    sound,
    sound_key,
    words,
)

MISHEARD = "play maj and dragons"
MEANT = "play imagine dragons"
texts = st.lists(st.text("abc é", max_size=12), min_size=1, max_size=6)


def test_known_values():
    assert letters(["abcd"], ["abxd"]) == pytest.approx([6 / 8])  # 2 * |abd| / (4 + 4)
    assert words(["lights off"], ["off lights"]) == pytest.approx([1.0])
    assert shared_words([MISHEARD], [MEANT]) == pytest.approx([2 / 5])
    assert sound(["bear"], ["bare"]) == pytest.approx([1.0])
    assert sound_key("knight") == sound_key("night")


def test_differing_sound_hears_only_the_words_that_differ():
    misheard, added, other = differing_sound([MISHEARD, "play", "call tom"], [MEANT, "play jazz", "call sue"])
    assert misheard > 0.4
    assert added == 0
    assert other == 0


def test_two_empty_texts_share_no_words():
    assert shared_words([""], [""]) == [0]
    assert letters([], []).shape == (0,)


@pytest.mark.parametrize("measure", [letters, words, shared_words, sound, differing_sound])
def test_only_the_first_characters_of_a_long_text_are_compared(measure):
    long = "play jazz " * 100_000
    assert measure([long], [long[:COMPARED_CHARACTERS] + "something else"]) == measure([long], [long])


@given(texts, st.data())
def test_compare_gives_what_each_similarity_gives(said, data):
    rows = st.lists(st.integers(0, len(said) - 1), min_size=3, max_size=3)
    left, right = np.array(data.draw(rows)), np.array(data.draw(rows))
    one, other = [said[row] for row in left], [said[row] for row in right]
    found = compare(said, left, right)
    assert np.array_equal(found.letters, letters(one, other))
    assert np.array_equal(found.words, words(one, other))
    assert np.array_equal(found.shared_words, shared_words(one, other))
    assert np.array_equal(found.sound, sound(one, other))
    assert np.array_equal(distinct_letters(said, left, right), letters(one, other))


def test_compare_of_nothing_is_nothing():
    nothing = np.zeros(0, np.int64)
    assert compare([], nothing, nothing).letters.shape == (0,)
