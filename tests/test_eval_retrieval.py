import math

import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from eval.retrieval import Mean, mean, ndcg_at, ranking, recall_at, reciprocal_rank

# By hand: a and d are relevant, a twice as much; the ranking is b, a, c, d.
#
#   recall at 2       a of a and d                                 1/2
#   reciprocal rank   a is second                                  1/2
#   nDCG at 4         2/log2(3) + 1/log2(5)  of  2/log2(2) + 1/log2(3)
#   nDCG at 1         b is not relevant                            0
GRADES = {"a": 2, "b": 0, "d": 1}
RANKED = ["b", "a", "c", "d"]

entries = [f"e{number}" for number in range(12)]
scores = st.dictionaries(st.sampled_from(entries), st.integers(0, 5).map(float), min_size=1)
grades = st.dictionaries(st.sampled_from(entries), st.integers(0, 4), min_size=1)


def test_four_entries_by_hand():
    assert recall_at(2, RANKED, GRADES) == 0.5
    assert recall_at(1, RANKED, GRADES) == 0.0
    assert recall_at(9, RANKED, GRADES) == 1.0
    assert reciprocal_rank(RANKED, GRADES) == 0.5
    wanted = (2 / math.log2(3) + 1 / math.log2(5)) / (2 + 1 / math.log2(3))
    assert ndcg_at(4, RANKED, GRADES) == pytest.approx(wanted, abs=1e-15)
    assert ndcg_at(1, RANKED, GRADES) == 0.0


def test_equal_scores_are_ranked_by_id_the_greater_first():
    assert ranking({"a": 1.0, "b": 1.0, "c": 2.0}) == ["c", "b", "a"]
    assert ranking({"e9": 0.0, "e10": 0.0}) == ["e9", "e10"]
    assert ranking({}) == []


def test_the_mean_leaves_out_what_could_not_be_measured_and_says_so():
    assert mean([0.5, None, 1.0]) == Mean(0.75, 2, 1)
    assert mean([None]) == Mean(None, 0, 1)
    assert mean([]) == Mean(None, 0, 0)


def test_a_query_without_relevant_entries_is_not_measured():
    for nothing in ({}, {"a": 0}):
        assert recall_at(3, RANKED, nothing) is None
        assert reciprocal_rank(RANKED, nothing) is None
        assert ndcg_at(3, RANKED, nothing) is None


def test_an_empty_ranking_scores_0():
    assert (recall_at(3, [], GRADES), reciprocal_rank([], GRADES), ndcg_at(3, [], GRADES)) == (0.0, 0.0, 0.0)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="k came as 0"):
        recall_at(0, RANKED, GRADES)
    with pytest.raises(ValueError, match="'a' is ranked twice"):
        ndcg_at(3, ["a", "b", "a"], GRADES)
    with pytest.raises(ValueError, match="'a' came as -1"):
        reciprocal_rank(RANKED, {"a": -1})
    with pytest.raises(ValueError, match="'a' came as nan"):
        ndcg_at(3, RANKED, {"a": math.nan})
    with pytest.raises(ValueError, match="score of 'a' came as nan"):
        ranking({"a": math.nan})


@given(scores, grades)
def test_they_agree_with_trec_eval(scores, grades):
    wanted = pytrec_eval.RelevanceEvaluator({"q": grades}, {"recall.1,3,5", "recip_rank", "ndcg_cut.1,3,5"})
    found, ranked = wanted.evaluate({"q": scores})["q"], ranking(scores)
    if not any(grades.values()):
        assert mean([ndcg_at(3, ranked, grades)]).value is None
        return
    assert reciprocal_rank(ranked, grades) == pytest.approx(found["recip_rank"], abs=1e-12)
    for k in (1, 3, 5):
        assert recall_at(k, ranked, grades) == pytest.approx(found[f"recall_{k}"], abs=1e-12)
        assert ndcg_at(k, ranked, grades) == pytest.approx(found[f"ndcg_cut_{k}"], abs=1e-12)


@given(st.permutations(entries), grades)
def test_the_best_order_scores_1_and_more_places_never_hurt_recall(ranked, grades):
    if not any(grades.values()):
        return
    best = ranking({entry: float(grades.get(entry, 0)) for entry in ranked})
    assert ndcg_at(5, best, grades) == pytest.approx(1.0, abs=1e-12)
    assert ndcg_at(5, ranked, grades) <= 1 + 1e-12
    found = [recall_at(k, ranked, grades) for k in range(1, 13)]
    assert found == sorted(found)
    assert found[-1] == 1.0
