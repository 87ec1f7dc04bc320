"""From counts to rewrites: a chain that can be followed by hand, and the verdicts on its reformulations."""

from __future__ import annotations

import pyarrow as pa
import pytest

from rewrite import mining
from rewrite.config import GateConfig
from rewrite.decision import rewrite_id
from rewrite.execution import MICRO
from rewrite.gate import GateReason
from rewrite.mining import REWRITE_SCHEMA, candidate_from_record, chain_of, chosen, judge_all, records

GATE = GateConfig()


def states(**rows: tuple[float, ...]) -> pa.Table:
    """name -> (turns, success, ended well, gone on, if that is more than the hops); each user said everything once."""
    names = sorted(rows)
    columns = {
        "said": pa.array([name.replace("_", " ") for name in names]),
        "users": pa.array([round(rows[name][0]) for name in names], pa.int64()),
        "turns": pa.array([round(rows[name][0]) for name in names], pa.int64()),
    }
    for place, name in enumerate(("weight", "success", "ended_well", "moved_on")):
        figures = [(*rows[each], 0)[place] for each in names]
        columns[name] = pa.array([round(figure * MICRO) for figure in figures], pa.int64())
    return pa.table(columns)


def hops(*rows: tuple[str, str, float]) -> pa.Table:
    """(from, to, turns), each by another user."""
    return pa.table(
        {
            "said": pa.array([row[0] for row in rows], pa.string()),
            "next_said": pa.array([row[1] for row in rows], pa.string()),
            "users": pa.array([round(row[2]) for row in rows], pa.int64()),
            "turns": pa.array([round(row[2]) for row in rows], pa.int64()),
            "weight": pa.array([round(row[2] * MICRO) for row in rows], pa.int64()),
        }
    )


NOT_SERVED = pa.table({"said": [], "rewrite": [], "weight": [], "success": []})

#: Of 20 who say "play maj", one is content, 16 go on to "play imagine dragons", which works 57 of 60 times.
MAJ = states(play_maj=(20, 1, 1), play_imagine_dragons=(60, 57, 57))
TO_IMAGINE = hops(("play maj", "play imagine dragons", 16))


def test_the_chain_by_hand():
    chain = chain_of(MAJ, TO_IMAGINE)
    assert chain is not None
    # from "play maj": 16/20 go on and 57/60 of them succeed; 1/20 succeed there and then; 3/20 give up
    assert chain.success("play maj") == pytest.approx(0.8 * 0.95 + 0.05)
    assert chain.success("play imagine dragons") == pytest.approx(0.95)


def test_a_verdict_by_hand():
    chain = chain_of(MAJ, TO_IMAGINE)
    (candidate,) = judge_all(chain, MAJ, NOT_SERVED, GATE)
    assert (candidate.source, candidate.target) == ("play maj", "play imagine dragons")
    assert candidate.score == pytest.approx(0.76)  # N[u, j] R[j, success] = 0.8 * 0.95
    assert candidate.evidence.goals == pytest.approx(20 * 0.81)
    assert candidate.evidence.share == pytest.approx(0.76 / 0.81)
    assert candidate.evidence.route_users == 16
    assert candidate.verdict.reason is GateReason.KEPT
    assert candidate.verdict.alone == pytest.approx(0.05)
    assert candidate.verdict.rewritten == pytest.approx(0.76 / 0.81 * 0.95)


def test_a_target_two_steps_away():
    table = states(bee_sea=(20, 0, 0), bee_see=(20, 0, 0), the_bbc=(60, 57, 57))
    steps = hops(("bee sea", "bee see", 18), ("bee see", "the bbc", 18))
    candidates = judge_all(chain_of(table, steps), table, NOT_SERVED, GATE)
    pairs = [(each.source, each.target) for each in chosen(candidates)]
    assert pairs == [("bee sea", "the bbc"), ("bee see", "the bbc")]
    assert next(each for each in candidates if each.source == "bee sea").route == ("bee sea", "bee see", "the bbc")


def test_a_flip_is_guarded_however_well_it_does():
    table = states(turn_it_on=(20, 1, 1), turn_it_off=(60, 57, 57))
    (candidate,) = judge_all(chain_of(table, hops(("turn it on", "turn it off", 16))), table, NOT_SERVED, GATE)
    assert candidate.verdict.reason is GateReason.GUARDED
    assert candidate.guard == "guard_polarity"
    assert chosen([candidate]) == []


def test_goals_that_scatter_are_no_rewrite():
    table = states(play=(40, 0, 0), jazz=(60, 57, 57), rock=(60, 57, 57), folk=(60, 57, 57))
    split = hops(("play", "jazz", 12), ("play", "rock", 12), ("play", "folk", 12))
    candidates = judge_all(chain_of(table, split), table, NOT_SERVED, GATE)
    assert {each.verdict.reason for each in candidates} == {GateReason.OFTEN_WRONG}


def test_steps_that_too_few_users_took_speak_against_the_target():
    # 100 fail, 60 say something else, 7 of these the same thing and 53 each another: 7 of 60 meant the target
    table = states(play=(100, 0, 0, 60), jazz=(60, 57, 57))
    (candidate,) = judge_all(chain_of(table, hops(("play", "jazz", 7))), table, NOT_SERVED, GATE)
    assert candidate.evidence.share == pytest.approx(0.07 * 0.95 / (0.07 * 0.95 + 0.53))
    assert candidate.evidence.goals == pytest.approx(100 * (0.07 * 0.95 + 0.53))
    assert candidate.verdict.reason is GateReason.OFTEN_WRONG or not candidate.verdict.kept


def test_its_own_record_beats_the_estimate():
    live = pa.table(
        {
            "said": ["play maj"],
            "rewrite": ["play imagine dragons"],
            "weight": pa.array([30 * MICRO], pa.int64()),
            "success": pa.array([6 * MICRO], pa.int64()),
        }
    )
    (candidate,) = judge_all(chain_of(MAJ, TO_IMAGINE), MAJ, live, GATE)
    assert candidate.verdict.reason is GateReason.FAILED_LIVE
    assert candidate.verdict.rewritten == pytest.approx(0.2)


def test_in_a_large_component_only_what_could_be_kept_is_searched(monkeypatch: pytest.MonkeyPatch):
    table = states(once=(1, 0, 0), play_maj=(20, 1, 1), play_imagine_dragons=(60, 57, 57))
    chain = chain_of(table, hops(("once", "play imagine dragons", 1), ("play maj", "play imagine dragons", 16)))
    gate = GateConfig(min_users=1)
    everything = judge_all(chain, table, NOT_SERVED, gate)
    assert [each.source for each in everything] == ["once", "play maj"]
    monkeypatch.setattr(mining, "LARGE_COMPONENT", 2)
    assert judge_all(chain, table, NOT_SERVED, gate) == everything[1:]
    live = pa.table(
        {
            "said": ["once"],
            "rewrite": ["play imagine dragons"],
            "weight": pa.array([30 * MICRO], pa.int64()),
            "success": pa.array([27 * MICRO], pa.int64()),
        }
    )
    assert [each.source for each in judge_all(chain, table, live, gate)] == ["once", "play maj"]


def test_no_hops_make_no_chain():
    assert chain_of(MAJ, hops()) is None


def test_a_candidate_written_and_read_back():
    (candidate,) = judge_all(chain_of(MAJ, TO_IMAGINE), MAJ, NOT_SERVED, GATE)
    (row,) = records([candidate], {"play imagine dragons": "Play Imagine Dragons"})
    assert list(row) == REWRITE_SCHEMA.names
    assert row["rewrite"] == "Play Imagine Dragons"
    assert row["rewrite_id"] == rewrite_id("play maj", "play imagine dragons")
    again = candidate_from_record(row)
    assert again.carried
    assert (again.source, again.target, again.route) == (candidate.source, candidate.target, candidate.route)
    assert again.verdict.rewritten == pytest.approx(candidate.verdict.rewritten, abs=1e-6)
