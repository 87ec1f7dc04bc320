import json
import shutil
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from dialogue.turn import Context, Gold, Turn
from eval.__main__ import app
from eval.cases import Case
from eval.command import _names
from eval.errors import CaseError
from eval.measures import Tally
from eval.run import run
from eval.verdict import Verdict, judge
from rewrite import Action, Decision, Reason, RewriteEngine, learn

DRAGONS = "play imagine dragons"


class Answers:
    """A rewriter with fixed answers; what it does not know it leaves alone. Remembers what it was asked."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def rewrite(self, text, user_id=None, context=None):
        self.asked.append((text, user_id, context))
        if text in self.answers:
            return Decision(Action.REWRITE, self.answers[text], text, Reason.LEARNED)
        return Decision(Action.PASS, text, text, Reason.NO_CANDIDATE)


def case(text, *accepted, user="u", context=None):
    turn = Turn(f"t {text}", user, 0.0, text, context=context, gold=Gold(rewrite=accepted))
    return Case(turn, accepted)


# The five cases that are worked by hand in test_eval_measures, and one that is missed.
ENGINE = {"maj": "Play IMAGINE dragons!", "imagin": DRAGONS, "magin": "play magic dragons", "louder": "volume up"}
CASES = [
    case("maj", DRAGONS, "imagine dragons", user="a"),
    case("imagin", DRAGONS, user="a"),
    case("magin", DRAGONS, user="b"),
    case("louder", user="b"),
    case("next", user="c"),
    case("mansion", DRAGONS, user="c"),
]


def test_known_verdicts():
    told = []
    report = run(Answers(ENGINE), CASES, told=told.append)
    assert [each.verdict for each in told] == ["win", "win", "wrong", "false_trigger", "left_alone", "missed"]
    assert report.tally == Tally(wins=2, wrong=1, missed=1, false_triggers=1, left_alone=1)
    assert report.users == 3
    assert [each.case.turn.text for each in report.losses] == ["magin", "louder"]
    assert [each.case.turn.text for each in report.misses] == ["mansion"]


def test_only_a_rewrite_that_changes_the_request_is_triggered():
    asked = case("play dragons")
    suggested = Decision(Action.SUGGEST, DRAGONS, "play dragons", Reason.UNSURE)
    the_same = Decision(Action.REWRITE, "Play dragons.", "play dragons", Reason.PINNED)
    assert judge(asked, suggested).verdict is Verdict.LEFT_ALONE
    assert judge(asked, the_same).verdict is Verdict.LEFT_ALONE


def test_the_engine_is_asked_with_user_and_context_and_never_with_gold():
    engine = Answers({})
    run(engine, [case("next", context=Context(device_type="car", local_hour=8))])
    assert engine.asked == [("next", "u", {"device_type": "car", "local_hour": 8})]


def test_cases_are_streamed_and_examples_limited():
    judged = []

    def cases():
        for number in range(50):
            assert len(judged) == number
            yield case("louder")

    report = run(Answers(ENGINE), cases(), examples=2, told=judged.append)
    assert (report.tally.losses, len(report.losses)) == (50, 2)


@settings(deadline=None)
@given(st.permutations(CASES))
def test_the_order_of_cases_changes_no_measure(mixed):
    before, after = (run(Answers(ENGINE), cases).as_dict() for cases in (CASES, mixed))
    for name in ("cases", "verdicts", "measures", "reasons"):
        assert before[name] == after[name]


def test_nothing_to_measure_is_an_error():
    with pytest.raises(CaseError, match=r"gold\.rewrite"):
        run(Answers({}), [])


def test_without_guardrails_nothing_is_said_about_them():
    report = run(Answers(ENGINE), CASES[:2])
    measures = report.as_dict()["measures"]
    assert measures["false_trigger_rate"] == {"value": None, "interval": None, "part": 0, "whole": 0}
    assert measures["win_loss"]["value"] is None
    assert measures["win_loss"]["interval"][1] is None
    text = printed(report)
    assert "not measured" in text
    assert "no losses seen in 2, lower bound 0.5" in text


def test_the_document_has_every_number_of_the_table():
    document = json.loads(run(Answers(ENGINE), CASES).as_json())
    assert document["verdicts"] == {"wins": 2, "wrong": 1, "missed": 1, "false_triggers": 1, "left_alone": 1}
    assert document["measures"]["precision"]["value"] == 0.5
    assert document["measures"]["recall"]["value"] == 0.5
    assert document["measures"]["win_loss"]["value"] == 1.0
    loss = document["losses"][0]
    assert (loss["said"], loss["accepted"], loss["decision"]["text"]) == ("magin", [DRAGONS], "play magic dragons")
    assert loss["decision"]["reason"] == "learned"


def printed(report):
    page = StringIO()
    Console(file=page, width=100).print(*report.tables())
    return page.getvalue()


# The command line


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """One rewrite, learned from twelve users."""
    folder = tmp_path_factory.mktemp("eval")
    with open(folder / "log.jsonl", "w", encoding="utf-8") as log:
        for user in range(12):
            for second, text, response in ((0, "play maj and dragons", "Sorry, I can't."), (9, DRAGONS, "Here it is.")):
                record = {"turn_id": f"{user}-{second}", "user_id": f"u{user}", "timestamp": user * 9000 + second}
                outcome = "failure" if second == 0 else "success"
                log.write(json.dumps(record | {"text": text, "response": response, "outcome": outcome}) + "\n")
    learn(folder / "log.jsonl", folder / "bundle")
    return folder / "bundle"


def write_cases(path, *texts_and_accepted):
    with open(path, "w", encoding="utf-8") as file:
        for number, (text, accepted) in enumerate(texts_and_accepted):
            record = {"turn_id": f"c{number}", "user_id": "new", "timestamp": number, "text": text}
            file.write(json.dumps(record if accepted is None else record | {"gold": {"rewrite": accepted}}) + "\n")
    return path


def call(*arguments):
    return CliRunner().invoke(app, ["run", *map(str, arguments)])


def test_a_run_from_the_command_line(bundle, tmp_path):
    cases = write_cases(tmp_path / "cases.jsonl", ("play maj and dragons", [DRAGONS]), (DRAGONS, []), ("hello", ["hi"]))
    out, errors = tmp_path / "out.json", tmp_path / "errors.jsonl"
    result = call(bundle, cases, "--out", out, "--errors", errors)
    assert result.exit_code == 0, result.output
    assert "Recall" in result.stdout
    assert "hello" in result.stdout
    document = json.loads(out.read_text())
    assert document["verdicts"] == {"wins": 1, "wrong": 0, "missed": 1, "false_triggers": 0, "left_alone": 1}
    assert [json.loads(line)["said"] for line in errors.read_text().splitlines()] == ["hello"]
    assert json.loads(call(bundle, cases, "--json").stdout) == document


def test_a_run_that_is_stopped_says_so_and_leaves_no_half_file(bundle, tmp_path, monkeypatch):
    def stop(self, text, user_id=None, context=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(RewriteEngine, "rewrite", stop)
    result = call(bundle, write_cases(tmp_path / "cases.jsonl", ("hello", [])), "--out", tmp_path / "report")
    assert result.exit_code == 130
    assert "Stopped: no report was written." in result.stderr
    assert list((tmp_path / "report").iterdir()) == []


def test_a_long_text_is_cut_where_people_read_and_whole_for_programs(bundle, tmp_path):
    text = "hello " * 20_000
    result = call(bundle, write_cases(tmp_path / "cases.jsonl", (text, ["hi"])), "--out", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert len(result.stdout) < 20_000
    assert len((tmp_path / "report" / "index.html").read_text()) < 100_000
    assert json.loads((tmp_path / "report" / "errors.jsonl").read_text())["said"] == text


def test_bundles_of_one_name_are_told_apart_by_the_folders_above(tmp_path):
    assert _names(tmp_path / "a" / "b" / "bundle", tmp_path / "c" / "b" / "bundle") == ("a/b/bundle", "c/b/bundle")
    assert _names(tmp_path / "new", tmp_path / "old") == ("new", "old")
    assert _names(tmp_path / "new", None) == ("new", "the other")


def test_each_kind_of_trouble_has_its_exit_code(bundle, tmp_path):
    cases = write_cases(tmp_path / "cases.jsonl", ("hello", []))
    unlabelled = write_cases(tmp_path / "unlabelled.jsonl", ("hello", None))
    empty = write_cases(tmp_path / "empty.jsonl")
    contradicting = write_cases(tmp_path / "contradicting.jsonl", ("hello", ["Hello!"]))
    assert call(bundle, cases).exit_code == 0
    assert call(bundle).exit_code == 2
    assert call(bundle, cases, "--limit-losses", -1).exit_code == 2
    for bad in (unlabelled, empty, contradicting, tmp_path / "none.jsonl"):
        result = call(bundle, bad)
        assert (result.exit_code, "The cases cannot be used" in result.stderr) == (3, True)
    for bad in (tmp_path / "none", tmp_path):
        result = call(bad, cases)
        assert (result.exit_code, "The bundle cannot be used" in result.stderr) == (4, True)


def test_an_engine_without_losses_is_not_called_perfect():
    report = run(Answers(ENGINE), [CASES[0], CASES[4]])
    ratio = report.as_dict()["measures"]["win_loss"]
    assert ratio["says"].startswith("no losses seen in 1, lower bound 0.")
    assert 0 < ratio["interval"][0] < 1  # a single win does not show that wins are the likelier
    assert ratio["interval_by_user"] is None


def test_the_whole_report_from_the_command_line(bundle, tmp_path):
    cases = write_cases(tmp_path / "cases.jsonl", ("play maj and dragons", [DRAGONS]), (DRAGONS, []), ("hello", ["hi"]))
    options = ("--out", tmp_path / "report", "--against", bundle, "--baselines", "--slice", "context.locale")
    result = call(bundle, cases, *options)
    assert result.exit_code == 0, result.output
    names = {each.name for each in (tmp_path / "report").iterdir()}
    assert names == {"index.html", "metrics.json", "summary.md", "errors.jsonl"}
    document = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert document["comparison"]["wins"] == {"only_this": 0, "only_other": 0, "mcnemar_p": 1.0}
    ladder = {rung["name"]: rung["verdicts"]["wins"] for rung in document["ladder"]}
    assert ladder == ladder | {"never rewrite": 0, "next success": 1, "plain chain": 1}
    assert {part["field"] for part in document["slices"]} >= {"user", "frequency", "length", "context.locale"}
    assert document["overlap"]["blame"] == "same dates"  # the log is of 1970 too
    assert "hello" in (tmp_path / "report" / "errors.jsonl").read_text()


def test_a_broken_bound_ends_with_1_and_is_named(bundle, tmp_path):
    cases = write_cases(tmp_path / "cases.jsonl", ("play maj and dragons", [DRAGONS]), (DRAGONS, []), ("hello", ["hi"]))
    gate = tmp_path / "gate.toml"
    gate.write_text('[bounds]\nprecision_min = 0.9\nlosses_max = 0\n[slices."user_id=new"]\nwins_min = 1\n')
    assert call(bundle, cases, "--gate", gate).exit_code == 0
    gate.write_text("[bounds]\nrecall_min = 0.9\nprecision_lower = 0.9\nlosses_max = 0\n")
    result = call(bundle, cases, "--gate", gate)
    assert result.exit_code == 1
    assert "recall_min is 0.5: at least 0.9 is wanted" in result.stderr
    assert "precision_lower was not measured" in result.stderr  # of one user
    assert "losses_max" not in result.stderr


def test_what_cannot_be_asked_ends_with_2(bundle, tmp_path):
    cases = write_cases(tmp_path / "cases.jsonl", ("hello", []))
    gate = tmp_path / "gate.toml"
    gate.write_text("[bounds]\nprecison_min = 0.9\n")
    for wrong, told in (
        (("--gate", gate), "unknown bound 'precison_min'"),
        (("--slice", "context.lokale"), "no turn has 'lokale'"),
        (("--nlu", "no_such_module:f"), "cannot be had"),
        (("--out", cases), "cannot be written"),
        (("--judge", "frames"), "wants an NLU"),
        (("--nlu", "a:b", "--nlu-log", cases), "one interpreter is wanted"),
    ):
        result = call(bundle, cases, *wrong)
        assert (result.exit_code, told in " ".join(result.stderr.split())) == (2, True), result.stderr


def test_judged_by_interpretation_from_the_command_line(bundle, tmp_path):
    play, stop = {"intent": "play", "slots": {"artist": "imagine dragons"}}, {"intent": "stop", "slots": {}}
    turns = [
        ("play maj and dragons", {"intent": "play", "slots": {"artist": "maj"}}, play),
        (DRAGONS, play, play),
        ("stop", stop, stop),
        ("mumble", None, stop),
    ]
    path = tmp_path / "cases.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for number, (text, nlu, frame) in enumerate(turns):
            turn = {"turn_id": f"c{number}", "user_id": f"u{number}", "timestamp": number, "text": text}
            file.write(json.dumps(turn | {"gold": {"frame": frame}} | ({"nlu": nlu} if nlu else {})) + "\n")
    result = call(bundle, path, "--nlu-log", path, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["judged_by"] == "interpretation"
    assert (document["verdicts"]["wins"], document["verdicts"]["left_alone"]) == (1, 2)
    assert document["cases"]["not_judged"] == 1


def test_a_bundle_of_another_version_cannot_be_judged(bundle, tmp_path):
    newer = tmp_path / "newer"
    shutil.copytree(bundle, newer)
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps(manifest | {"version": 99}))
    result = call(newer, write_cases(tmp_path / "cases.jsonl", ("hello", [])))
    assert result.exit_code == 4
    assert "bundle format 99" in result.stderr
