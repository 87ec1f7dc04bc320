"""The fixtures teach the published examples, and leave alone what must be left alone."""

import json
import subprocess
import sys
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dialogue.reader import read_log
from dialogue.sessions import cut_sessions
from dialogue.similarity import letters
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
def dialogues():
    turns = [turn for turns in read_log(FIXTURES / "dialogues.jsonl", keep_gold=True) for turn in turns]
    return list(cut_sessions(turns, 300.0))


@pytest.fixture(scope="module")
def engine(bundle):
    return RewriteEngine.load(bundle)


@pytest.fixture(scope="module")
def judged(engine):
    every = []
    report = run(engine, read_cases(FIXTURES / "cases.jsonl"), told=every.append)
    return report, every


@pytest.mark.parametrize(
    ("script", "names"), [("make_log.py", ("log.jsonl", "cases.jsonl")), ("make_dialogues.py", ("dialogues.jsonl",))]
)
def test_the_script_writes_the_same_bytes_again(tmp_path, script, names):
    subprocess.run([sys.executable, FIXTURES / script, tmp_path], check=True)
    for name in names:
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


def test_the_dialogues_are_of_other_users_and_later_days_than_the_log_and_the_cases(dialogues):
    others = [
        json.loads(line)
        for name in ("log.jsonl", "cases.jsonl")
        for line in (FIXTURES / name).read_text(encoding="utf-8").splitlines()
    ]
    turns = [turn for session in dialogues for turn in session.turns]
    assert not {turn["user_id"] for turn in others} & {turn.user_id for turn in turns}
    last = max(datetime.fromisoformat(turn["timestamp"]) for turn in others)
    assert last.timestamp() < min(turn.timestamp for turn in turns)


def test_the_dialogues_are_annotated_as_their_table_reads(dialogues):
    turns = {turn.turn_id: turn for session in dialogues for turn in session.turns}
    assert (len(dialogues), len(turns)) == (126, 294)
    assert all("rephrase_of" in turn.gold.annotated for turn in turns.values())
    assert Counter(turn.gold.rephrase_kind for turn in turns.values()) == {None: 217, "command": 45, "asr": 32}
    later = turns["later-039-3"]  # a question came between
    assert turns[later.gold.rephrase_of].text == "call the office"
    corrected = turns["correction-091-2"]
    assert (corrected.text, corrected.gold.rephrase_kind) == ("no i said royals by lorde", "asr")
    assert turns[corrected.gold.rephrase_of].text == "play royals by lorde"


def test_what_is_said_again_failed_earlier_in_the_session_and_is_said_again_once(dialogues):
    for session in dialogues:
        place = {turn.turn_id: number for number, turn in enumerate(session.turns)}
        sources = [turn.gold.rephrase_of for turn in session.turns if turn.gold.rephrase_of]
        assert len(sources) == len(set(sources))
        for number, turn in enumerate(session.turns):
            assert (turn.gold.rephrase_of is None) == (turn.gold.rephrase_kind is None)
            if turn.gold.rephrase_of:
                assert place[turn.gold.rephrase_of] < number <= place[turn.gold.rephrase_of] + 3
                assert session.turns[place[turn.gold.rephrase_of]].gold.success is False


def test_each_kind_of_dialogue_holds_what_it_is_named_for(dialogues):
    links: dict[str, list[int]] = {}
    for session in dialogues:
        place = {turn.turn_id: number for number, turn in enumerate(session.turns)}
        of = links.setdefault(session.turns[0].session_id.rsplit("-", 1)[0], [])
        of += [n - place[turn.gold.rephrase_of] for n, turn in enumerate(session.turns) if turn.gold.rephrase_of]
    assert links["switch"] == []
    assert len(links["repeated"]) == len(links["follow_up"]) == 1
    assert {2, 3} <= set(links["later"])
    assert set(links["paraphrase"]) == set(links["misheard"]) == {1}
    assert len(links["paraphrase"]) + len(links["misheard"]) >= 40


def test_neither_letters_nor_failures_alone_solve_the_dialogues(dialogues):
    pairs = [pair for session in dialogues for pair in pairwise(session.turns)]
    alike = letters([one.said for one, _ in pairs], [other.said for _, other in pairs])
    failed = np.array([one.gold.success is False for one, _ in pairs])
    truth = np.array([other.gold.rephrase_of == one.turn_id for one, other in pairs])
    gold = sum(turn.gold.rephrase_of is not None for session in dialogues for turn in session.turns)

    def f1(found: np.ndarray) -> float:
        return 2 * (found & truth).sum() / (found.sum() + gold)

    boundaries = np.linspace(0, 1, 21)
    assert 0.3 < max(f1(alike >= boundary) for boundary in boundaries) < 0.65
    assert 0.5 < f1(failed) < 0.75
    assert max(f1(failed & (alike >= boundary)) for boundary in boundaries) < 0.8


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
