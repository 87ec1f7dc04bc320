"""Candidates, what is measured on them, and what is known about them: answers checked by hand, then laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.canonical import Canonicaliser
from dialogue.outcomes import OutcomeModel
from dialogue.table import dialogue_batch
from dialogue.turn import Asr, Gold, Hypothesis, Nlu, Outcome, RephraseKind, Session, Signals, Turn
from rephrase_detection.boosted_lightgbm import features_among
from rephrase_detection.candidates import Candidates, Reach, candidates
from rephrase_detection.features import CONTEXT, NAMES, PAIR, pair_features
from rephrase_detection.labels import WeakRules, folds, gold_labels, weak_labels
from rephrase_detection.lexical import LexicalDetector
from rephrase_detection.pairwise import LabelledPairs

FAILED, WORKED = {"outcome": Outcome.FAILURE}, {"outcome": Outcome.SUCCESS}


def session(*turns, name="s", user="u", gap=9.0):
    """A session of texts or of (text, fields), `gap` seconds apart; turn ids are the name and the place."""
    parts = [turn if isinstance(turn, tuple) else (turn, {}) for turn in turns]
    made = (Turn(f"{name}{n}", user, n * gap, text, **fields) for n, (text, fields) in enumerate(parts))
    return Session(name, user, tuple(made))


def batch_of(*sessions):
    return dialogue_batch(sessions, Canonicaliser())


def rows(pairs):
    return list(zip(pairs.source.tolist(), pairs.target.tolist(), strict=True))


def measured(*turns, p_success=None, reach=None, gap=9.0):
    """The features of the pairs of one session by (source, target)."""
    batch = batch_of(session(*turns, gap=gap))
    pairs = candidates(batch, reach or Reach())
    p = np.full(len(turns), 0.5) if p_success is None else np.array(p_success)
    found = pair_features(batch, p, pairs)
    return {pair: dict(zip(NAMES, row.tolist(), strict=True)) for pair, row in zip(rows(pairs), found, strict=True)}


def part(found, *names):
    return tuple(found[name] for name in names)


# Candidates


def test_candidates_are_the_next_turns_of_the_session_in_time():
    batch = batch_of(session("a", "b", "c", "d"), session("e", "f", name="t"), session("g", name="v"))
    assert rows(candidates(batch, Reach(20.0, 2))) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (4, 5)]
    assert rows(candidates(batch, Reach(9.0, 3))) == [(0, 1), (1, 2), (2, 3), (4, 5)]
    assert rows(candidates(batch, Reach(8.9, 3))) == []


def test_some_sources_only():
    batch = batch_of(session("a", "b", "c"))
    assert rows(candidates(batch, Reach(), np.array([False, True, True]))) == [(1, 2)]


def test_empty_and_long_turns_are_neither_sources_nor_candidates():
    batch = batch_of(session("a", "", "x" * 300, "x" * 301, "b"))
    assert rows(candidates(batch, Reach(600.0, 4))) == [(0, 2), (0, 4), (2, 4)]
    assert rows(candidates(batch, Reach(600.0, 4, 301))) == [(0, 2), (0, 3), (0, 4), (2, 3), (2, 4), (3, 4)]


def test_the_first_of_each_source_and_those_that_are_kept():
    pairs = Candidates(np.array([0, 0, 1, 4]), np.array([1, 2, 2, 5]))
    assert pairs.first.tolist() == [True, False, True, True]
    assert rows(pairs.among(np.array([False, True, True, False]))) == [(0, 2), (1, 2)]
    assert Candidates(np.zeros(0, np.int64), np.zeros(0, np.int64)).first.tolist() == []


def test_a_learned_reach_holds_the_share_and_a_quarter_more_of_time():
    """98 of 100 rephrases come within 80 s, and one turn later; of ten all are wanted to make 98 per cent."""
    gaps, turns = np.array([80.0] * 98 + [5_000.0] * 2), np.array([1] * 98 + [4] * 2)
    assert Reach.covering(gaps, turns, 0.98, 60.0) == Reach(100.0, 1)
    assert Reach.covering(gaps[90:], turns[90:], 0.98, 60.0) == Reach(6_250.0, 4)
    assert Reach.covering(np.array([1.0]), np.array([1]), 0.98, 60.0) == Reach(60.0, 1)
    assert Reach.covering(np.array([1e9]), np.array([99]), 0.98, 60.0) == Reach(21_600.0, 8)
    assert Reach.covering(np.zeros(0), np.zeros(0, np.int64)) == Reach()


@given(st.lists(st.tuples(st.floats(0, 17_000), st.integers(1, 8)), min_size=1, max_size=40), st.floats(0.5, 1.0))
def test_a_learned_reach_holds_the_share_of_either(found, share):
    gaps, turns = np.array([gap for gap, _ in found]), np.array([turn for _, turn in found])
    reach = Reach.covering(gaps, turns, share)
    assert (gaps <= reach.limit_s).mean() >= share - 1e-9
    assert (turns <= reach.max_turns).mean() >= share - 1e-9


@pytest.mark.parametrize("limits", [(0.0, 1), (math.nan, 1), (-1.0, 3), (1.0, 0), (1.0, 1, 0)])
def test_a_reach_of_nothing_is_refused(limits):
    with pytest.raises(ValueError, match="seconds above 0, and whole numbers from 1 on are wanted"):
        Reach(*limits)


# What is measured


def test_the_likeness_of_a_pair():
    """7 letters in common of 8 and 9; L and T and one O of LTON and LTOF; the best part of the longer is "light o"."""
    found = measured("light on", "light off", p_success=[0.75, 0.5])[0, 1]
    assert part(found, "letters", "words", "shared_words", "sound", "part") == pytest.approx(
        (14 / 17, 14 / 17, 1 / 3, 6 / 8, 14 / 15)
    )
    assert found["differing_sound"] == pytest.approx(1 / 2)  # ON and OF
    assert part(found, "identical", "words_source", "words_target", "words_more") == (0, 2, 2, 0)
    assert part(found, "gap", "turns_between", "failed") == pytest.approx((math.log(10), 0, math.log(0.25)))
    odds = -2 + 3.5 * 14 / 17 + 1 / 3 + 2 * 6 / 8 - 0.5 * math.log(10) / math.log(121) + math.log(0.25)
    assert found["lexical"] == pytest.approx(odds)


def test_distance_and_identity_and_fixed_phrases():
    found = measured("next", "play some jazz", "Next!", p_success=[1.0, 0.5, 0.5])
    assert part(found[0, 2], "identical", "letters", "turns_between", "gap") == pytest.approx((1, 1, 1, math.log(19)))
    assert [part(found[pair], "fixed_source", "fixed_target") for pair in sorted(found)] == [(1, 0), (1, 1), (0, 1)]
    assert found[0, 1]["words_more"] == 2
    assert found[0, 1]["failed"] == pytest.approx(math.log(0.01))  # nothing is certain to have worked


def test_what_the_assistant_answered():
    found = measured(
        ("play maj and dragons", {"response": "I can't find maj dragons"}),
        ("play imagine dragons", {"response": "Playing Imagine Dragons."}),
        "stop",
    )
    first = found[0, 1]
    assert first["reply_has_source"] == pytest.approx(2 / 3)  # maj and dragons of play, maj, dragons
    assert first["reply_has_target"] == pytest.approx(1 / 3)
    assert part(first, "reply_characters", "target_reply_characters") == pytest.approx((math.log(25),) * 2)
    assert first["same_reply"] == 0
    assert part(found[1, 2], "same_reply", "target_reply_characters", "reply_has_target") == (0, 0, 0)
    again = measured(("play jazz", {"response": "Sorry?"}), ("play jass", {"response": "Sorry?"}))
    assert again[0, 1]["same_reply"] == 1


def test_the_other_candidates():
    found = measured("light on", "jazz", "light off", "light on", reach=Reach(600.0, 3))
    alike = 14 / 17
    assert [found[0, n]["candidates"] for n in (1, 2, 3)] == [3, 3, 3]
    assert [found[0, n]["likest_other"] for n in (1, 2, 3)] == pytest.approx([1, 1, alike])
    assert [found[0, n]["followed_likeness"] for n in (1, 2)] == pytest.approx([alike, 1])
    assert math.isnan(found[0, 3]["followed_likeness"])
    assert part(found[2, 3], "candidates", "likest_other") == (1, -1)


def test_a_gap_between_candidates_is_not_what_a_candidate_is_followed_by():
    found = measured("light on", "jazz", "", "light on")
    assert sorted(found) == [(0, 1), (0, 3), (1, 3)]
    assert math.isnan(found[0, 1]["followed_likeness"])


def test_what_else_was_heard():
    """Of the two new words, one is in the first alternative; the target's alternative has all of the source."""
    heard = Asr(0.5, tuple(map(Hypothesis, ("play maj and dragons", "play imagine dragons", "play a magic dragon"))))
    later = Asr(0.75, tuple(map(Hypothesis, ("play imagine dragons now", "play maj and dragons"))))
    found = measured(("play maj and dragons", {"asr": heard}), ("play imagine dragons now", {"asr": later}))[0, 1]
    assert part(found, "heard_source", "heard_target") == (0.5, 0.75)
    assert part(found, "recovered", "recovered_share", "recovered_rank") == pytest.approx((1, 1 / 4, 0))
    assert part(found, "new_words", "content_words") == (2, 4)
    assert found["likest_alternative"] == pytest.approx(2 * 20 / 44)
    assert found["source_among_alternatives"] == 1


def test_what_the_log_cannot_give_is_no_number():
    found = measured("play maj and dragons", "play imagine dragons")[0, 1]
    missing = {name for name, value in found.items() if math.isnan(value)}
    assert missing == {
        "heard_source", "heard_target", "same_interpretation", "recovered_rank", "likest_alternative",
        "source_among_alternatives", "followed_likeness",
    }  # fmt: skip
    assert (found["recovered"], found["new_words"]) == (0, 1)


def test_interpretations():
    jazz, rock = ({"nlu": Nlu("music", "play", {"genre": genre})} for genre in ("jazz", "rock"))
    found = measured(("a", jazz), ("b", jazz), ("c", rock), "d")
    same = {pair: found[pair]["same_interpretation"] for pair in found}
    assert (same[0, 1], same[0, 2], same[1, 2]) == (1, 0, 0)
    assert all(math.isnan(same[pair]) for pair in same if 3 in pair)


def test_evidence_of_both_turns():
    found = measured(
        ("play jazz", {**FAILED, "response": "Sorry, I can't.", "signals": Signals(cancelled=True)}),
        ("play jass", {**WORKED, "signals": Signals(barge_in=True)}),
        p_success=[0.25, 0.75],
    )[0, 1]
    names = ("failed", "cancelled", "apology", "succeeded", "barge_in")
    assert [found[f"{name}_source"] for name in names] == [1, 1, 1, 0, 0]
    assert [found[f"{name}_target"] for name in names] == [0, 0, 0, 1, 1]
    assert found["target_success"] == 0.75


def test_names_are_told_apart():
    assert len(set(NAMES)) == len(NAMES) == len(PAIR) + len(CONTEXT)


def test_labelled_pairs_are_measured_beside_all_candidates():
    """In any order, and with a pair beyond the reach of 10 s."""
    batch, p_success = batch_of(session("light on", "jazz", "light off", "light on")), np.full(4, 0.5)
    source, target = np.array([2, 0, 0]), np.array([3, 3, 1])
    known = LabelledPairs(batch, p_success, source, target, np.array([0.0, 1.0, 0.0]), np.ones(3))
    found = features_among(known, Reach(18.0, 3))
    pairs = Candidates(np.array([0, 0, 0, 1, 1, 2]), np.array([1, 2, 3, 2, 3, 3]))
    assert found == pytest.approx(pair_features(batch, p_success, pairs)[[5, 2, 0]], nan_ok=True)


def test_outcomes_of_other_turns_are_refused():
    batch = batch_of(session("a", "b"))
    with pytest.raises(ValueError, match="3 outcomes for 2 turns: one each is wanted"):
        pair_features(batch, np.zeros(3), candidates(batch, Reach()))


def test_no_pair_has_no_features():
    for batch in (batch_of(), batch_of(session("a"))):
        found = pair_features(batch, np.zeros(batch.num_rows), candidates(batch, Reach()))
        assert found.shape == (0, len(NAMES))


text = st.sampled_from(["", "next", "play jazz", "play jass", "light on", "light off", "играй джаз", "now play jazz"])
fields = st.sampled_from([{}, FAILED, WORKED, {"response": "sorry"}, {"asr": Asr(0.2)}])
dialogues = st.lists(st.lists(st.tuples(text, fields), min_size=1, max_size=6), max_size=4)


@given(dialogues)
def test_features_do_not_depend_on_the_rest_of_the_log(dialogues):
    sessions = [session(*turns, name=f"s{n}-") for n, turns in enumerate(dialogues)]
    batch = batch_of(*sessions)
    found = pair_features(batch, OutcomeModel().judge(batch), candidates(batch, Reach()))
    batches = [batch_of(each) for each in sessions]
    alone = [pair_features(each, OutcomeModel().judge(each), candidates(each, Reach())) for each in batches]
    assert found == pytest.approx(np.concatenate([np.zeros((0, len(NAMES))), *alone]), nan_ok=True)


@given(dialogues)
def test_one_feature_is_what_the_lexical_rung_says(dialogues):
    batch = batch_of(*(session(*turns, name=f"s{n}-") for n, turns in enumerate(dialogues)))
    p_success = OutcomeModel().judge(batch)
    links = LexicalDetector(failing_below=1.0, fixed=()).score(batch, p_success)
    pairs = candidates(batch, Reach(120.0, 3))
    odds = pair_features(batch, p_success, pairs)[:, NAMES.index("lexical")]
    of = dict(zip(rows(pairs), odds.tolist(), strict=True))
    for source, target, p in zip(links.source.tolist(), links.target.tolist(), links.probability, strict=True):
        assert 1 / (1 + math.exp(-of[source, target])) == pytest.approx(p, rel=1e-5)


# What is known: annotations


def annotated(of=None, kind=None):
    return {"gold": Gold(rephrase_of=of, rephrase_kind=kind, annotated=frozenset({"rephrase_of"}))}


def labelled(*turns, reach=None):
    """What annotations say of the pairs: (source, target): label, and kinds that are known."""
    one = session(*turns)
    pairs = candidates(batch_of(one), reach or Reach(600.0, 5))
    found = gold_labels([one], pairs)
    label = [None if math.isnan(each) else int(each) for each in found.label]
    kinds = {pair: int(kind) for pair, kind in zip(rows(pairs), found.kind, strict=True) if kind >= 0}
    return dict(zip(rows(pairs), label, strict=True)), kinds


def test_a_chain_of_rephrases():
    """c says b again and b says a: of a and c nothing is said by c, but a is said again by b already."""
    found, kinds = labelled("a", ("b", annotated("s0", RephraseKind.ASR)), ("c", annotated("s1", RephraseKind.COMMAND)))
    assert found == {(0, 1): 1, (0, 2): 0, (1, 2): 1}
    assert kinds == {(0, 1): 1, (1, 2): 0}


def test_of_two_turns_that_name_a_source_the_nearest_is_its_rephrase():
    found, _ = labelled("a", ("b", annotated("s0")), ("c", annotated("s0")))
    assert found == {(0, 1): 1, (0, 2): None, (1, 2): 0}


def test_a_target_that_says_a_turn_between_again_says_nothing_of_earlier_ones():
    found, _ = labelled("a", "b", ("c", annotated("s1")))
    assert found == {(0, 1): None, (0, 2): None, (1, 2): 1}


def test_a_turn_stepped_over_is_none_and_so_are_all_other_targets_of_a_source():
    found, _ = labelled("a", ("no", annotated()), ("b", annotated("s0")), "c")
    assert found == {(0, 1): 0, (0, 2): 1, (0, 3): 0, (1, 2): 0, (1, 3): None, (2, 3): None}


def test_no_annotation_says_nothing_and_an_annotation_of_none_says_none():
    assert labelled("a", "b", ("c", {"gold": Gold(success=True, annotated=frozenset({"success"}))}))[0] == {
        (0, 1): None, (0, 2): None, (1, 2): None
    }  # fmt: skip
    assert labelled("a", ("b", annotated()), ("c", annotated("elsewhere")))[0] == {(0, 1): 0, (0, 2): 0, (1, 2): 0}


def test_a_rephrase_beyond_reach_labels_nothing_within():
    found, _ = labelled("a", "b", ("c", annotated("s0")), reach=Reach(600.0, 1))
    assert found == {(0, 1): None, (1, 2): 0}


def test_annotations_of_several_sessions_keep_to_theirs():
    sessions = [session("a", "b"), session("c", ("d", annotated("t0")), name="t")]
    found = gold_labels(sessions, candidates(batch_of(*sessions), Reach()))
    assert [None if math.isnan(each) else each for each in found.label] == [None, 1.0]


# What is known: several signs


def weakly(*sessions, p_success, **rules):
    """Labels by (source, target) where several signs agree, and None."""
    batch = batch_of(*sessions)
    pairs = candidates(batch, Reach())
    p = np.array(p_success, float)
    found = weak_labels(batch, p, pairs, pair_features(batch, p, pairs), WeakRules(**rules))
    label = [None if math.isnan(each) else int(each) for each in found.label]
    return dict(zip(rows(pairs), label, strict=True)), found.kind.tolist()


def test_a_failure_and_something_alike_are_a_rephrase():
    found, kind = weakly(session("play maj and dragons", "play imagine dragons"), p_success=[0.2, 0.95])
    assert found == {(0, 1): 1}
    assert kind == [1]  # misheard


def test_a_success_has_no_rephrase_and_what_lies_between_is_left_open():
    one = session("play maj and dragons", "play imagine dragons")
    assert weakly(one, p_success=[0.95, 0.95]) == ({(0, 1): 0}, [-1])
    assert weakly(one, p_success=[0.7, 0.95]) == ({(0, 1): None}, [-1])


def test_unlike_texts_and_fixed_phrases_are_none():
    assert weakly(session("zip", "call my mother now"), p_success=[0.2, 0.9])[0] == {(0, 1): 0}
    assert weakly(session("next", "next"), p_success=[0.2, 0.95])[0] == {(0, 1): 0}


def test_the_same_again_counts_where_it_worked():
    assert weakly(session("play jazz", "play jazz"), p_success=[0.2, 0.95])[0] == {(0, 1): 1}
    assert weakly(session("play jazz", "play jazz"), p_success=[0.2, 0.5])[0] == {(0, 1): None}


def test_the_nearest_of_several_is_the_rephrase():
    found, _ = weakly(session("play jaz", "play jazz", "play jazzz"), p_success=[0.2, 0.95, 0.95])
    assert found == {(0, 1): 1, (0, 2): None, (1, 2): 0}


def test_a_step_that_many_users_took_counts_however_unlike():
    sessions = [session("zip", "call my mother now", name=f"{n}-", user=f"u{n}") for n in range(3)]
    others = [session("light on", name=f"o{n}-") for n in range(40)]
    p_success = [0.2, 0.9] * 3 + [0.9] * 40
    assert set(weakly(*sessions, *others, p_success=p_success)[0].values()) == {1}
    assert set(weakly(*sessions, *others, p_success=p_success, users=4)[0].values()) == {0}
    one_user = [session("zip", "call my mother now", name=f"{n}-") for n in range(3)]
    assert set(weakly(*one_user, *others, p_success=p_success)[0].values()) == {0}
    common = [session("zip" if n == 0 else "call my mother now", name=f"o{n}-") for n in range(40)]
    assert set(weakly(*sessions, *common, p_success=p_success)[0].values()) == {0}  # no more often than by chance


def test_all_of_a_session_are_in_one_fold():
    batch = batch_of(*(session("a", "b", "c", name=f"{n}-") for n in range(10)))
    pairs = candidates(batch, Reach())
    found = folds(batch, pairs, 5)
    assert sorted(set(found.tolist())) == [0, 1, 2, 3, 4]
    assert all(len(set(found[pairs.source // 3 == n])) == 1 for n in range(10))
    assert np.bincount(found).tolist() == [6] * 5
