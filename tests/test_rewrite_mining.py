"""From counts to judged pairs: a chain that can be followed by hand, and the verdicts on its reformulations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from rewrite import mining
from rewrite.config import ChainConfig, GateConfig
from rewrite.decision import rewrite_id
from rewrite.gate import GateReason
from rewrite.graph import Graph, Tables, graph_of
from rewrite.mining import REWRITE_SCHEMA, Alone, Candidate, judge_all, records
from rewrite.posterior import Beta
from tests.counts import hops, interpreted, meanings, served, steps, tables, texts

GATE = GateConfig()

#: Of 20 who say "play maj", one is content, 16 go on to "play imagine dragons", which works 57 of 60 times.
MAJ = tables(
    texts(play_maj=(20, 1, 1, 16), play_imagine_dragons=(60, 57, 57)),
    hops(("play maj", "play imagine dragons", 16)),
)


def graph(counted: Tables) -> Graph:
    found = graph_of(counted, np.zeros(counted.texts.num_rows), ChainConfig())
    assert found is not None
    return found


def jeffreys(counted: Tables) -> Beta:
    return Beta.from_mean(np.full(counted.texts.num_rows, 0.5), 1.0)


def judged(counted: Tables, gate: GateConfig = GATE, live: tuple[tuple[str, str], ...] = ()) -> list[Candidate]:
    known = dict.fromkeys(live, Alone(0.05, 20.0))
    return judge_all(graph(counted), counted, jeffreys(counted), gate, known)


def kept(candidates: list[Candidate]) -> list[tuple[str, str]]:
    return [each.pair for each in candidates if each.verdict.kept]


def test_a_verdict_by_hand():
    (candidate,) = judged(MAJ)
    assert candidate.pair == ("play maj", "play imagine dragons")
    assert candidate.score == pytest.approx(0.76)  # N[u, j] R[j, success] = 16/20 * 57/60
    assert candidate.evidence.went_on == pytest.approx(16)
    assert candidate.evidence.share == pytest.approx(1.0)  # it was the last word of all of these
    assert candidate.evidence.route_users == 16
    assert candidate.verdict.reason is GateReason.KEPT
    alone, meant, works = 1.5 / 21, 16.5 / 17, 57.5 / 61  # Jeffreys: half a success and half a failure more
    assert candidate.verdict.alone == pytest.approx(alone)
    assert candidate.verdict.rewritten == pytest.approx((1 - alone) * meant * works, abs=1e-5)


def test_a_target_two_steps_away():
    counted = tables(
        texts(bee_sea=(20, 0, 0, 18), bee_see=(20, 0, 0, 18), the_bbc=(60, 57, 57)),
        hops(("bee sea", "bee see", 18), ("bee see", "the bbc", 18)),
    )
    candidates = judged(counted)
    assert kept(candidates) == [("bee sea", "the bbc"), ("bee see", "the bbc")]
    assert next(each for each in candidates if each.source == "bee sea").route == ("bee sea", "bee see", "the bbc")


def test_a_flip_is_guarded_however_well_it_does():
    counted = tables(
        texts(turn_it_on=(20, 1, 1, 16), turn_it_off=(60, 57, 57)), hops(("turn it on", "turn it off", 16))
    )
    (candidate,) = judged(counted)
    assert candidate.verdict.reason is GateReason.GUARDED
    assert candidate.guard == "guard_polarity"


def test_goals_that_scatter_are_no_rewrite():
    counted = tables(
        texts(play=(40, 0, 0, 36), jazz=(60, 57, 57), rock=(60, 57, 57), folk=(60, 57, 57)),
        hops(("play", "jazz", 12), ("play", "rock", 12), ("play", "folk", 12)),
    )
    assert {each.verdict.reason for each in judged(counted)} == {GateReason.OFTEN_WRONG}


def test_steps_that_too_few_users_took_speak_against_the_target():
    # 100 fail, 60 say something else, 7 of these the same thing and 53 each another: 7 of 60 meant the target
    (candidate,) = judged(tables(texts(play=(100, 0, 0, 60), jazz=(60, 57, 57)), hops(("play", "jazz", 7))))
    assert candidate.evidence.share == pytest.approx(7 / 60)
    assert candidate.evidence.went_on == pytest.approx(60)
    assert not candidate.verdict.kept


def test_who_tried_again_and_never_got_there_speaks_against_the_target():
    # of 40 who went on 20 tried "jazz", and 20 tried "jaz" and gave up: whoever got anything got jazz, but half did not
    counted = tables(
        texts(djass=(50, 0, 0, 40), jaz=(30, 0, 0, 0), jazz=(60, 57, 57)), hops(("djass", "jazz", 20), ("djass", "jaz",
        20))
    )
    (candidate,) = judged(counted)
    assert candidate.evidence.share == pytest.approx(0.5)
    assert candidate.verdict.reason is GateReason.OFTEN_WRONG


def test_two_texts_that_nlu_takes_in_the_same_way_are_one_target():
    # Half go on to each of two wordings: neither has most of the goals by itself, their interpretation has.
    said = texts(maj=(20, 0, 0, 18), play_imagine=(30, 28, 28), put_imagine_on=(60, 58, 58))
    apart = tables(said, hops(("maj", "play imagine", 9), ("maj", "put imagine on", 9)))
    assert kept(judged(apart)) == []
    together = tables(
        said,
        hops(("maj", '["music"]', 18)),
        readings=interpreted(("play imagine", '["music"]', 30), ("put imagine on", '["music"]', 60)),
        meant=meanings({'["music"]': (90, 86, 86)}),
        text_steps=steps(("maj", '["music"]', "play imagine", 9), ("maj", '["music"]', "put imagine on", 9)),
    )
    lower = np.array([0.0, 0.8, 0.9])  # in order of the texts
    found = graph_of(together, lower, ChainConfig())
    (candidate,) = judge_all(found, together, jeffreys(together), GATE)
    assert candidate.pair == ("maj", "put imagine on")  # the wording that surely works best
    assert candidate.verdict.kept
    (candidate,) = judge_all(found, together, jeffreys(together), GATE, {("maj", "play imagine"): Alone(0.05, 20.0)})
    assert candidate.pair == ("maj", "play imagine")  # what is on is not exchanged for its like


def test_what_nobody_went_on_to_say_is_not_served_for_what_they_meant():
    # "who is" and "how old is" are one interpretation; all who failed said "how old is", whatever works better
    counted = tables(
        texts(how_old=(20, 0, 0, 18), how_old_is=(30, 26, 26), who_is=(60, 60, 60)),
        hops(("how old", '["person"]', 18)),
        readings=interpreted(("how old is", '["person"]', 30), ("who is", '["person"]', 60)),
        meant=meanings({'["person"]': (90, 86, 86)}),
        text_steps=steps(("how old", '["person"]', "how old is", 17), ("how old", '["person"]', "who is", 1)),
    )
    lower = np.array([0.0, 0.7, 0.95])
    (candidate,) = judge_all(graph_of(counted, lower, ChainConfig()), counted, jeffreys(counted), GATE)
    assert candidate.target == "how old is"
    scattered = [("how old", '["person"]', f"text {n}", 4.5) for n in range(4)]
    counted = replace(counted, text_steps=steps(*scattered))
    assert judge_all(graph_of(counted, lower, ChainConfig()), counted, jeffreys(counted), GATE) == []


def meaning_alike(share: float) -> list[Candidate]:
    """Forty say "play it", and half are content; of their turns a share is taken as "play that" is."""
    counted = tables(
        texts(play_it=(40, 20, 20, 16), play_that=(60, 58, 58)),
        hops(("play it", '["play"]', 16)),
        readings=interpreted(
            *sorted([("play it", '["play"]', 40 * share), ("play it", '["other"]', 40 * (1 - share))],
                    key=lambda row: -row[2]),
            ("play that", '["play"]', 60),
        ),
        meant=meanings({'["play"]': (60 + 40 * share, 58 + 20, 58 + 20)}),
        text_steps=steps(("play it", '["play"]', "play that", 16)),
    )  # fmt: skip
    return judged(counted)


def test_a_text_is_not_rewritten_to_one_that_is_always_taken_as_it_is():
    assert meaning_alike(0.95) == []


def test_whom_the_source_serves_the_target_serves_as_far_as_both_are_taken_alike():
    (mostly,), (hardly,) = meaning_alike(0.8), meaning_alike(0.0)
    assert (mostly.evidence.alike, hardly.evidence.alike) == (pytest.approx(0.8), 0.0)
    assert mostly.verdict.rewritten - hardly.verdict.rewritten == pytest.approx(0.8 * mostly.verdict.alone, abs=0.01)
    assert mostly.verdict.kept  # half of them need it, and it harms few of the others
    assert not hardly.verdict.kept  # for all that is known the other half would lose what they have


def test_its_own_record_is_what_counts():
    live = served({("play maj", "play imagine dragons"): (30, 6, 6)})
    counted = tables(MAJ.texts, MAJ.text_hops, live=live)
    (candidate,) = judged(counted, live=(("play maj", "play imagine dragons"),))
    assert candidate.verdict.reason is GateReason.FAILED_LIVE
    assert candidate.verdict.rewritten < 0.45  # 6 of 30, and what is left of an estimate of 85 %


def test_what_was_known_of_a_live_request_is_remembered():
    # Nine half-lives on, a tenth of a turn left alone is left of what turned it on; its record is as good as ever.
    pair = ("play maj", "play imagine dragons")
    counted = tables(
        texts(play_maj=(0.1, 0, 0, 0.1), play_imagine_dragons=(60, 57, 57)), hops((*pair, 0.1)),
        live=served({pair: (40, 38, 38)}),
    )  # fmt: skip
    gate = GateConfig(min_users=1)
    counted = replace(counted, texts=counted.texts.set_column(1, "users", pa.array([60, 16])))
    (forgotten,) = judge_all(graph(counted), counted, jeffreys(counted), gate)
    (remembered,) = judge_all(graph(counted), counted, jeffreys(counted), gate, {pair: Alone(0.05, 30.0)})
    assert forgotten.evidence.source_prior_turns == 1.0
    assert (remembered.evidence.source_prior, remembered.evidence.source_prior_turns) == (0.05, 10.0)
    assert remembered.verdict.chance > 0.99 > forgotten.verdict.chance
    assert remembered.verdict.alone == pytest.approx(0.5 / 10.1)


def test_in_a_large_component_only_what_could_be_kept_is_searched(monkeypatch: pytest.MonkeyPatch):
    said = texts(once=(1, 0, 0, 1), play_maj=(20, 1, 1, 16), play_imagine_dragons=(60, 57, 57))
    steps = hops(("once", "play imagine dragons", 1), ("play maj", "play imagine dragons", 16))
    gate = GateConfig(min_users=1)
    everything = judged(tables(said, steps), gate)
    assert [each.source for each in everything] == ["once", "play maj"]
    monkeypatch.setattr(mining, "LARGE_COMPONENT", 2)
    assert judged(tables(said, steps), gate) == everything[1:]
    live = (("once", "play imagine dragons"),)
    assert [each.source for each in judged(tables(said, steps), gate, live)] == ["once", "play maj"]


def test_a_candidate_as_it_is_written():
    (candidate,) = judged(MAJ)
    (row,) = records([candidate], {"play imagine dragons": "Play Imagine Dragons"})
    assert list(row) == REWRITE_SCHEMA.names
    assert row["rewrite"] == "Play Imagine Dragons"
    assert row["rewrite_id"] == rewrite_id("play maj", "play imagine dragons")
    assert row["chance"] == round(candidate.verdict.chance, 6)
