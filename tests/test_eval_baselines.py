"""The ladder: each rung answers as its rule says, from a bundle's tables alone."""

import math
from importlib.util import find_spec

import pytest

from dialogue.canonical import Canonicaliser
from eval.baselines.ladder import Ladder
from eval.baselines.looked_up import NextSuccess, PlainChain
from eval.baselines.nearest import Bm25, EditDistance
from eval.baselines.never import NeverRewrite
from eval.baselines.tables import Tables
from rewrite import Action, Reason

GOOD = {"play imagine dragons": "Play Imagine Dragons", "play the news": "play the news", "stop": "stop"}
TABLES = Tables(
    canonical=Canonicaliser(),
    surfaces=GOOD,
    candidates=(
        {"source": "play maj", "target": "stop", "chain_score": 0.2},
        {"source": "play maj", "target": "play imagine dragons", "chain_score": 0.7},
    ),
    corrections={"play maj": {"play the news": 3, "stop": 1}, "once": {"stop": 1}},
)
EVERY = [NeverRewrite(), NextSuccess(TABLES), EditDistance(TABLES), Bm25(TABLES), PlainChain(TABLES)]


@pytest.mark.parametrize("engine", EVERY, ids=lambda each: each.name)
def test_what_works_or_is_empty_or_far_from_all_is_left_alone(engine):
    for text in ("Play the news", "", "open the garage door"):
        decision = engine.rewrite(text, "u", {})
        assert (decision.action, decision.text, decision.original) == (Action.PASS, text, text)


@pytest.mark.parametrize(
    ("engine", "said", "served"),
    [
        (NextSuccess(TABLES), "play maj", "play the news"),  # the most frequent
        (NextSuccess(TABLES), "once", None),  # once only
        (PlainChain(TABLES), "Play maj", "Play Imagine Dragons"),  # the best score, as it is most often written
        (EditDistance(TABLES), "play imagin dragon", "Play Imagine Dragons"),
        (EditDistance(TABLES), "play maj", None),
        (Bm25(TABLES), "dragons imagine play", "Play Imagine Dragons"),  # words in any order
        (Bm25(TABLES), "play xyz", None),
    ],
)
def test_each_rung_by_its_rule(engine, said, served):
    decision = engine.rewrite(said)
    assert (decision.text, decision.action is Action.REWRITE) == (served or said, served is not None)


def test_bm25_by_hand():
    # Three requests of 3, 3 and 1 words, 7/3 in the mean; "dragons" is in one: idf = ln(1 + 2.5 / 1.5). It stands once
    # in a request of 3 words: 2.2 / (1 + 1.2 (0.25 + 0.75 * 3 / (7/3))).
    weight = math.log(1 + 2.5 / 1.5) * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 9 / 7))
    assert Bm25(TABLES)._weight("dragons", 1, 3) == pytest.approx(weight)


def test_tables_without_a_request_answer_all_the_same():
    empty = Tables(Canonicaliser(), {}, (), {})
    for engine in (NextSuccess(empty), EditDistance(empty), Bm25(empty), PlainChain(empty)):
        assert engine.rewrite("play maj").reason is Reason.NO_CANDIDATE


def test_a_rung_that_cannot_be_run_is_named_with_the_reason():
    ladder = Ladder.from_tables(TABLES)
    names = [rung.name for rung in ladder.rungs]
    assert [name for name in names if name != "embedding"] == [each.name for each in EVERY]
    assert ("embedding" in names) != ("embedding" in ladder.absent)
    if find_spec("sentence_transformers") is None:
        assert "pip install sentence-transformers" in ladder.absent["embedding"]
