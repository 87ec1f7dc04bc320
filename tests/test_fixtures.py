"""The fixtures teach the published examples, and leave alone what must be left alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dialogue.reader import read_log
from dialogue.sessions import cut_sessions
from eval.cases import read_cases
from eval.run import run
from eval.verdict import Verdict
from rephrase_detection import LexicalDetector
from rewrite import Action, Bundle, Reason, RewriteEngine, Source, learn

FIXTURES = Path(__file__).parents[1] / "fixtures"
LEARNED = {
    "play maj and dragons": "play imagine dragons",
    "play sirius x m chill": "play sirius channel 53",
    "play the news from b b see": "play the news from the bbc",
    "play the news from bee bee sea": "play the news from the bbc",
    "play we don't talk": "play we don't talk about bruno",
    "what's the weather in wilkerson": "what's the weather in wilkerson washington",
}

@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    out = tmp_path_factory.mktemp("fixtures") / "bundle"
    learn(FIXTURES / "log.jsonl", out)
    return out


@pytest.fixture(scope="module")
def engine(bundle):
    return RewriteEngine.load(bundle)


@pytest.fixture(scope="module")
def judged(engine):
    every = []
    report = run(engine, read_cases(FIXTURES / "cases.jsonl"), told=every.append)
    return report, every


def test_the_script_writes_the_same_bytes_again(tmp_path):
    subprocess.run([sys.executable, FIXTURES / "make_log.py", tmp_path], check=True)
    for name in ("log.jsonl", "cases.jsonl"):
        assert (tmp_path / name).read_bytes() == (FIXTURES / name).read_bytes()


def test_exactly_the_published_examples_are_learned(bundle):
    rows = list(Bundle.open(bundle).rewrites())
    assert {row["source"]: row["target"] for row in rows} == LEARNED
    assert all(8 <= row["route_users"] <= 15 for row in rows)


def test_a_new_user_gets_what_most_people_mean(engine):
    for said, target in LEARNED.items():
        decision = engine.rewrite(said, "somebody-new")
        assert (decision.text, decision.reason, decision.source) == (target, Reason.LEARNED, Source.PRECOMPUTED)
        assert decision.original == said


@pytest.mark.parametrize(
    ("user", "said", "served", "reason"),
    [
        (
            "user-california",
            "what's the weather in wilkerson",
            "what's the weather in wilkerson california",
            "own_request",
        ),
        ("user-california", "play we don't talk", "play we don't talk about bruno", "learned"),
        ("user-anymore", "play we don't talk", "play we don't talk anymore", "own_request"),
        ("user-anymore", "what's the weather in wilkerson", "what's the weather in wilkerson washington", "learned"),
        ("user-robot", "start the fountain pump", "start the fountain", "own_correction"),
    ],
)
def test_a_users_own_history_comes_before_most_peoples(engine, user, said, served, reason):
    decision = engine.rewrite(said, user)
    assert (decision.text, decision.reason) == (served, reason)


@pytest.mark.parametrize(
    ("reason", "texts"),
    [
        (
            Reason.KNOWN_GOOD,
            [
                *["turn on the light", "turn off the light", "call tom", "call mom", "next", "thank you"],
                *["set an alarm for seven", "set a timer for seventeen minutes"],
                *["play songs by queen", "play songs by prince"],
                *["what's the traffic in seattle", "what's the weather in seattle"],  # the one often follows the other
            ],
        ),
        (Reason.NO_CANDIDATE, ["make me a sandwich", "start the fountain pump", "yes", "the second one"]),
        (Reason.GUARD_POLARITY, ["don't turn on the light", "volume down", "set a timer for seventeen hours"]),
        (Reason.GUARD_NUMBER, ["set an alarm for eleven", "set an alarm for seventeen", "play sirius channel 54"]),
        (Reason.EMPTY, [""]),
    ],
)
def test_what_must_be_left_alone_is_left_alone_for_its_reason(engine, reason, texts):
    decisions = [engine.rewrite(text, "somebody-new") for text in texts]
    assert [(each.action, each.reason, each.text) for each in decisions] == [
        (Action.PASS, reason, text) for text in texts
    ]


def test_one_robot_teaches_nobody_else(bundle):
    assert not [row for row in Bundle.open(bundle).rewrites("candidates") if "fountain" in row["source"]]


def test_three_tries_are_linked_and_the_timer_that_follows_is_not():
    turns = [turn for turns in read_log(FIXTURES / "log.jsonl") for turn in turns]
    first = "play the news from bee bee sea"
    sessions = [each for each in cut_sessions(turns, 350.0) if each.turns[0].text == first]
    assert len(sessions) == 9
    for session in sessions:
        a, b, c, timer = (turn.turn_id for turn in session.turns)
        pairs = {pair.source: pair.rephrase for pair in LexicalDetector().detect_session(session)}
        assert set(pairs) == {a, b}
        assert pairs[a] in (b, c)
        assert pairs[b] == c
        assert timer not in pairs.values()


def test_the_cases_are_of_other_users_and_days_than_the_log():
    log, cases = (
        [json.loads(line) for line in (FIXTURES / name).read_text(encoding="utf-8").splitlines()]
        for name in ("log.jsonl", "cases.jsonl")
    )
    both = {turn["user_id"] for turn in log} & {turn["user_id"] for turn in cases}
    assert both == {"user-california", "user-anymore"}
    assert max(turn["timestamp"] for turn in log) < min(turn["timestamp"] for turn in cases)


def test_every_published_example_is_a_win(judged):
    _, every = judged
    published = [each for each in every if each.case.turn.said in LEARNED]
    assert [each.verdict for each in published] == [Verdict.WIN] * 19


def test_the_harder_forms_are_mostly_won_and_never_wrong(judged):
    report, _ = judged
    assert (report.tally.opportunities, report.tally.guardrails) == (29, 64)
    assert report.tally.wrong == 0
    assert report.tally.wins >= 19 + 4


def test_nothing_that_must_be_left_alone_is_lost(judged):
    _, every = judged
    assert [each.case.turn.said for each in every if each.verdict is Verdict.FALSE_TRIGGER] == []
