import json
import re

import pytest

from dialogue.errors import LogError
from dialogue.turn import FailurePoint, Gold, Nlu, Served, Turn
from eval.cases import Case, Judging, Kind, read_cases
from eval.errors import CaseError

SAID = "play maj and dragons"


def turn(text=SAID, name="t1", **gold):
    return Turn(name, "u", 0.0, text, gold=Gold(**gold, annotated=frozenset(gold)))


def cases_file(tmp_path, *golds):
    """A file of one user's turns "request 1", "request 2", ..., with these annotations; None: without."""
    path = tmp_path / "cases.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for number, gold in enumerate(golds, 1):
            record = {"turn_id": f"t{number}", "user_id": "u", "timestamp": number, "text": f"request {number}"}
            file.write(json.dumps(record if gold is None else record | {"gold": gold}) + "\n")
    return path


def test_gold_makes_an_opportunity_a_guardrail_or_nothing():
    opportunity = Case.from_turn(turn(rewrite=("play imagine dragons",)))
    assert (opportunity.kind, opportunity.accepted) == (Kind.OPPORTUNITY, ("play imagine dragons",))
    assert Case.from_turn(turn(rewrite=())).kind is Kind.GUARDRAIL
    assert Case.from_turn(turn(success=False)) is None
    assert Case.from_turn(Turn("t1", "u", 0.0, SAID)) is None


def test_what_makes_a_case_depends_on_what_it_is_judged_by():
    framed, bare = turn(frame=Nlu(intent="play")), Turn("t1", "u", 0.0, SAID)
    made = {by: [Case.from_turn(each, by) is not None for each in (framed, bare)] for by in Judging}
    assert made == {Judging.TEXTS: [False] * 2, Judging.FRAMES: [True, False], Judging.OUTCOMES: [True] * 2}
    with pytest.raises(CaseError, match="unknown field 'frames'"):
        Case.from_turn(Turn("t1", "u", 0.0, SAID, gold=Gold(annotated=frozenset({"frames"}))), Judging.FRAMES)


def test_a_file_is_read_case_by_case_and_what_is_not_measured_is_counted(tmp_path):
    reader = read_cases(cases_file(tmp_path, {"rewrite": ["a song"]}, None, {"success": True}, {"rewrite": []}))
    for _ in range(2):  # each reading counts anew
        cases = list(reader)
        assert [(each.turn.turn_id, each.kind) for each in cases] == [
            ("t1", Kind.OPPORTUNITY),
            ("t4", Kind.GUARDRAIL),
        ]
        assert (reader.turns, reader.unmeasured) == (4, 2)


@pytest.mark.parametrize(
    ("gold", "told"),
    [
        ({"rewrite": ("Alexa, play Maj and Dragons!",)}, "t1: gold accepts only .* which is what was said"),
        ({"rewrite": ("...",)}, "t1: gold accepts '...', which says nothing"),
        ({"rewrite": ("a song",), "success": True}, "t1: gold has success true"),
        ({"rewrite": (), "success": True, "failure_point": FailurePoint.ASR}, "success true, and failure_point 'asr'"),
        ({"success": False, "failure_point": FailurePoint.CORRECT}, "success false, and failure_point 'correct'"),
    ],
)
def test_gold_that_contradicts_itself_is_refused_by_name(gold, told):
    with pytest.raises(CaseError, match=told):
        Case.from_turn(turn(**gold))


def test_what_was_said_counts_and_not_what_a_rewriter_made_of_it():
    served = Served(original=SAID, rewrite="play imagine dragons")
    gold = Gold(rewrite=("play imagine dragons",), annotated=frozenset({"rewrite"}))
    assert Case.from_turn(Turn("t1", "u", 0.0, "play imagine dragons", served=served, gold=gold))


def test_an_accepted_text_that_is_what_was_said_is_passed_over_where_others_remain():
    assert Case.from_turn(turn(rewrite=("Play maj and dragons", "a song"))).accepted == ("a song",)


def test_what_contradicts_itself_or_is_unknown_is_counted_and_told_and_not_taken_for_none(tmp_path):
    golds = [{"rewrite": []}, {"rewrites": ["a song"]}, {"rewrite": ["request 3"]}, {"rewrite": ["a song"]}]
    reader = read_cases(cases_file(tmp_path, *golds))
    assert [case.turn.turn_id for case in reader] == ["t1", "t4"]
    assert (reader.turns, reader.unmeasured, reader.contradictory, reader.unknown_gold) == (4, 0, 1, 1)
    assert re.match(r"turn t2: gold has the unknown field 'rewrites': known are .*rewrite", reader.contradictions[0])
    assert re.match(r"turn t3: gold accepts only 'request 3'", reader.contradictions[1])


def test_a_turn_that_comes_again_counts_once(tmp_path):
    path = cases_file(tmp_path, {"rewrite": []}, {"rewrite": ["a song"]})
    reader = read_cases([path, path])
    for _ in range(2):
        assert [case.turn.turn_id for case in reader] == ["t1", "t2"]
        assert (reader.turns, reader.repeated) == (4, 2)


def test_a_broken_record_is_no_case_to_be_left_out(tmp_path):
    path = cases_file(tmp_path, {"rewrite": []}, {"rewrite": "a song"})
    with pytest.raises(CaseError, match=r"1 of 2 records .*wrong_type:gold.rewrite \(1\)"):
        list(read_cases(path))


def test_an_empty_file_and_a_missing_one_are_errors_of_the_log(tmp_path):
    with pytest.raises(LogError, match="holds no records"):
        list(read_cases(cases_file(tmp_path)))
    with pytest.raises(LogError):
        read_cases(tmp_path / "none.jsonl")
