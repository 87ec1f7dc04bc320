"""How trees and text go together: answers by hand, and slopes that were planted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rephrase_detection.candidates import Candidates
from rephrase_detection.joining import LEAST, MOST, Joint, best_threshold

NAN = math.nan


def pairs_of(*sizes):
    """Sources 0, 10, 20, ... with so many candidates each."""
    source = np.repeat(np.arange(len(sizes)) * 10, sizes)
    return Candidates(source, source + 1 + np.concatenate([np.arange(0), *(np.arange(size) for size in sizes)]))


# The probability


def test_the_candidates_of_a_source_share_its_probability_with_none():
    """exp of the log-odds: 1 and 2 beside none's 1; 3 alone."""
    found = Joint().probability(pairs_of(2, 1), np.log([1.0, 2.0, 3.0]), np.zeros(3))
    assert found == pytest.approx([1 / 4, 2 / 4, 3 / 4])


def test_slopes_and_the_prior():
    """2 * log 3 + 0.5 * log 16 - log 4 = log 9; without text log 9 - log 4."""
    joint = Joint(trees=2.0, text=0.5, prior=-math.log(4))
    found = joint.probability(pairs_of(1, 1), np.log([3.0, 3.0]), np.array([math.log(16), NAN]))
    assert found == pytest.approx([9 / 10, 9 / 13])


def test_log_odds_beyond_measure_and_no_pair_at_all():
    found = Joint().probability(pairs_of(1, 2), np.array([1e9, -1e9, -1e9]), np.array([1e9, -1e9, NAN]))
    assert found == pytest.approx([1, 0, 0], abs=1e-12)
    assert Joint().probability(pairs_of(), np.zeros(0), np.zeros(0)).tolist() == []


odds = st.lists(st.floats(-20, 20), min_size=1, max_size=4)


@given(st.lists(st.tuples(odds, st.floats(-5, 5)), min_size=1, max_size=5))
def test_the_probabilities_of_a_source_never_exceed_one(sources):
    pairs = pairs_of(*(len(trees) for trees, _ in sources))
    trees = np.concatenate([each for each, _ in sources])
    text = np.repeat([each for _, each in sources], [len(each) for each, _ in sources])
    found = Joint().probability(pairs, trees, text)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.bincount(pairs.source // 10, found) <= 1 + 1e-9).all()


# Its fit


def planted(joint, sources, seed, unasked=0.0):
    """Sources with two candidates each, of which at most one is a rephrase, drawn by `joint`."""
    chance = np.random.default_rng(seed)
    pairs = pairs_of(*[2] * sources)
    trees, text = chance.normal(0, 2, (2, 2 * sources))
    text[np.repeat(chance.random(sources) < unasked, 2)] = NAN
    p = joint.probability(pairs, trees, text).reshape(-1, 2)
    drawn = chance.random(sources)[:, None]
    label = ((drawn < np.cumsum(p, axis=1)) & (drawn >= np.cumsum(p, axis=1) - p)).astype(float).ravel()
    return pairs, label, trees, text


@pytest.mark.parametrize("joint", [Joint(0.5, 1.5, -1.0), Joint(1.2, 0.0, 0.5), Joint(2.0, 0.3, 0.0)])
def test_planted_slopes_are_found(joint):
    found = Joint.fitted(*([each] for each in planted(joint, 6000, seed=3, unasked=0.3)))
    for name in ("trees", "text", "prior"):
        assert getattr(found, name) == pytest.approx(getattr(joint, name), abs=0.12)


def test_text_that_tells_the_wrong_way_is_not_listened_to():
    pairs, label, trees, text = planted(Joint(1.0, 1.0, 0.0), 1000, seed=1)
    assert Joint.fitted([pairs], [label], [trees], [-text]).text == 0.0


def test_few_sources_change_little_and_none_nothing():
    pairs, label, trees, text = planted(Joint(1.0, 1.0, 0.0), 5, seed=1)
    found = Joint.fitted([pairs], [label], [trees], [-text])
    assert found.text > 0.5
    assert Joint.fitted([], [], [], []) == Joint()
    assert Joint.fitted([pairs], [np.full(10, NAN)], [trees], [text]) == Joint()


def test_pairs_of_no_known_label_say_nothing():
    pairs, label, trees, text = planted(Joint(0.5, 1.5, -1.0), 500, seed=1)
    chance = np.random.default_rng(0)
    hidden = np.repeat(chance.random(500) < 0.5, 2)
    whole = Joint.fitted([pairs.among(~hidden)], [label[~hidden]], [trees[~hidden]], [text[~hidden]])
    part = Joint.fitted([pairs], [np.where(hidden, NAN, label)], [trees], [text])
    assert vars(part) == pytest.approx(vars(whole))


def test_every_log_counts_alike():
    """A log ten times as large, in which text says nothing, does not outvote the other."""
    large, small = planted(Joint(1.0, 0.0, 0.0), 5000, seed=1), planted(Joint(1.0, 2.0, 0.0), 500, seed=2)
    found = Joint.fitted(*([a, b] for a, b in zip(large, small, strict=True)))
    swapped = Joint.fitted(*([b, a] for a, b in zip(large, small, strict=True)))
    assert vars(found) == pytest.approx(vars(swapped), abs=1e-3)
    assert 0.4 < found.text < 1.5


# The threshold


def test_the_best_threshold_of_perfect_links_lies_in_the_middle():
    """All between 0.1 and 0.9 are equal, of what was found and of what is expected."""
    found = best_threshold([pairs_of(1, 1, 1, 1)], [np.array([1.0, 1, 0, 0])], [np.array([0.9, 0.9, 0.1, 0.1])])
    assert found == pytest.approx(0.5, abs=0.011)


def test_the_best_threshold_leaves_out_what_is_mostly_wrong():
    """One of three at 0.4 is right: F1 is 8/9 without them and 10/12 with them, and 36/44 and 48/59 are expected."""
    p, label = np.array([0.9] * 4 + [0.4] * 3), np.array([1.0] * 4 + [1, 0, 0])
    found = best_threshold([pairs_of(*[1] * 7)], [label], [p])
    assert 0.4 < found < 0.9


def test_what_was_found_and_what_is_expected_are_averaged():
    """With the less probable links F1 is 1 and 48/64 expected, without 4/6 and 36/44: found outweighs it. Or 6/8 and
    72/86 with them, 4/5 and 36/56 without: what is expected outweighs it."""
    found = best_threshold([pairs_of(*[1] * 4)], [np.ones(4)], [np.array([0.9, 0.9, 0.3, 0.3])])
    assert found <= 0.3
    label, p = np.array([1.0, 1, 1, 0, 0]), np.array([0.9, 0.9, 0.6, 0.6, 0.6])
    assert best_threshold([pairs_of(*[1] * 5)], [label], [p]) <= 0.6


def test_only_the_most_probable_of_a_source_is_a_link():
    """The wrong candidate at 0.6 stands behind the right one at 0.7, so that 0.6 costs nothing."""
    found = best_threshold([pairs_of(2, 1)], [np.array([1.0, 0.0, 1.0])], [np.array([0.7, 0.6, 0.5])])
    assert found <= 0.5


def test_every_log_counts_alike_for_the_threshold():
    sure = (pairs_of(*[1] * 100), np.ones(100), np.full(100, 0.9))
    low = (pairs_of(1), np.ones(1), np.full(1, 0.3))
    found = best_threshold(*([a, b] for a, b in zip(sure, low, strict=True)))
    assert found <= 0.3


def test_without_a_rephrase_the_threshold_is_a_half():
    assert best_threshold([], [], []) == 0.5
    assert best_threshold([pairs_of(1)], [np.zeros(1)], [np.full(1, 0.9)]) == 0.5
    assert best_threshold([pairs_of(1)], [np.full(1, NAN)], [np.full(1, 0.9)]) == 0.5


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0, NAN])), min_size=1, max_size=8))
def test_the_threshold_is_a_share_that_a_link_can_reach(links):
    p, label = np.array([p for p, _ in links]), np.array([label for _, label in links])
    assert LEAST <= best_threshold([pairs_of(*[1] * len(links))], [label], [p]) <= MOST
