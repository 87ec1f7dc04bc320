from dataclasses import replace

import pytest

from dialogue.turn import Gold, Nlu, Turn
from eval.cases import Case, Judging, Kind
from eval.errors import CaseError, JudgeError
from eval.harm import Harm, harm_of
from eval.judges import FrameJudge, OutcomeJudge, RecordedNlu, load_interpreter, same_frame
from eval.measures import Tally, defect_rate_after, defect_rate_before, relative_reduction
from eval.run import run
from eval.ship import Ship
from eval.verdict import Verdict
from rewrite import Action, Decision, Reason
from tests.logs import record, write_log

PLAY, STOP = Nlu("music", "play", {"artist": "Imagine Dragons"}), Nlu("music", "stop")
UNDERSTOOD = {
    "play imagine dragons": PLAY,
    "imagine dragons please": Nlu("music", "play", {"artist": "imagine dragons!"}),
    "play maj": Nlu("music", "play", {"artist": "maj"}),
    "stop": STOP,
    "halt": STOP,
}


def case(text, frame=PLAY, nlu=None):
    turn = Turn(f"t {text}", "u", 0.0, text, nlu=nlu, gold=Gold(frame=frame, annotated=frozenset({"frame"})))
    return Case.from_turn(turn, Judging.FRAMES)


def decided(text, served):
    if served is None:
        return Decision(Action.PASS, text, text, Reason.NO_CANDIDATE)
    return Decision(Action.REWRITE, served, text, Reason.LEARNED)


@pytest.mark.parametrize(
    ("said", "served", "frame", "verdict"),
    [
        ("play maj", "play imagine dragons", PLAY, Verdict.WIN),
        ("play maj", "imagine dragons please", PLAY, Verdict.WIN),  # other words, the same wish
        ("play maj", "stop", PLAY, Verdict.WRONG),
        ("play maj", None, PLAY, Verdict.MISSED),
        ("stop", "play maj", STOP, Verdict.FALSE_TRIGGER),
        ("stop", "halt", STOP, Verdict.UNHARMED),
        ("stop", None, STOP, Verdict.LEFT_ALONE),
    ],
)
def test_by_interpretation(said, served, frame, verdict):
    assert FrameJudge(UNDERSTOOD.get)(case(said, frame), decided(said, served)).verdict is verdict


def test_a_served_text_that_the_interpreter_does_not_know_does_not_work():
    judge = FrameJudge(UNDERSTOOD.get)
    assert judge(case("play maj"), decided("play maj", "mumble")).verdict is Verdict.WRONG
    assert judge(case("stop", STOP), decided("stop", "mumble")).verdict is Verdict.FALSE_TRIGGER


def test_an_engine_that_serves_gibberish_is_judged_on_the_same_cases_and_does_not_ship():
    class Gibberish:
        def rewrite(self, text, user_id=None, context=None):
            return decided(text, "mumble" if text == "halt" else None)

    class Silent:
        def rewrite(self, text, user_id=None, context=None):
            return decided(text, None)

    cases = [case(text, STOP) for text in ("stop", "halt", "stop") * 20]
    cases = [
        replace(each, turn=replace(each.turn, user_id=f"u{place % 7}", turn_id=f"t{place}"))
        for place, each in enumerate(cases)
    ]
    heard = []
    report = run(Gibberish(), cases, judge=FrameJudge(UNDERSTOOD.get), against=Silent(), told=heard.append)
    assert (report.tally, report.count.unjudged) == (Tally(false_triggers=20, left_alone=40), 0)
    assert report.paired.cases == report.paired.other.tallies.total.cases == report.tally.cases == 60
    assert sum(each.verdict is Verdict.FALSE_TRIGGER for each in heard) == 20  # as errors.jsonl has it
    assert report.answer.ship is Ship.NO


def test_what_the_interpreter_does_not_know_as_said_is_not_judged_and_counted():
    judge = FrameJudge(UNDERSTOOD.get)
    assert judge(case("mumble"), decided("mumble", None)) is None
    assert judge(case("mumble"), decided("mumble", "play maj")) is None

    class Silent:
        def rewrite(self, text, user_id=None, context=None):
            return decided(text, None)

    report = run(Silent(), [case("mumble"), case("play maj")], judge=judge)
    assert (report.tally, report.count.unjudged) == (Tally(missed=1), 1)
    assert report.as_dict()["cases"]["not_judged"] == 1
    assert report.as_dict()["judged_by"] == "interpretation"
    with pytest.raises(CaseError, match="none of 1 cases could be judged by interpretation"):
        run(Silent(), [case("mumble")], judge=judge)


def test_the_logs_own_interpretation_comes_before_the_interpreters():
    logged = case("play maj", nlu=PLAY)  # what was acted on in the log was right
    assert FrameJudge(UNDERSTOOD.get)(logged, decided("play maj", None)).verdict is Verdict.LEFT_ALONE


def test_frames_are_equal_by_intent_slots_and_known_domains():
    assert same_frame(PLAY, Nlu(None, "play", {"artist": "imagine  DRAGONS"}, confidence=0.1))
    assert not same_frame(PLAY, Nlu("radio", "play", {"artist": "Imagine Dragons"}))
    assert not same_frame(PLAY, Nlu("music", "play", {"artist": "Imagine Dragons", "room": "kitchen"}))
    assert not same_frame(PLAY, STOP)


def test_by_simulated_outcome_every_turn_is_a_case():
    turn = Turn("t", "u", 0.0, "play maj")
    judge = OutcomeJudge(lambda turn, text: text.endswith("dragons"))
    judged = judge(Case.from_turn(turn, Judging.OUTCOMES), decided("play maj", "play imagine dragons"))
    assert (judged.verdict, judged.kind) == (Verdict.WIN, Kind.OPPORTUNITY)


def test_a_recorded_interpretation_is_the_one_a_text_mostly_had(tmp_path):
    frames = [{"intent": "stop"}, {"intent": "play"}, {"intent": "stop", "confidence": 0.3}, None]
    records = [record(place, "Stop!", nlu=frame) for place, frame in enumerate(frames)]
    recorded = RecordedNlu.from_logs(write_log(tmp_path / "log.jsonl", records))
    assert recorded("stop").intent == "stop"
    assert recorded("go") is None
    with pytest.raises(JudgeError, match=r"no turn of .* has an interpretation"):
        RecordedNlu.from_logs(write_log(tmp_path / "bare.jsonl", [record(1)]))


def test_an_interpreter_by_name(tmp_path, monkeypatch):
    (tmp_path / "own_nlu.py").write_text(
        "from dialogue.turn import Nlu\nneither = 1\ndef interpret(text): return Nlu(intent=text)\n"
        "def wrong(text): return text\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_interpreter("own_nlu:interpret")("go").intent == "go"
    with pytest.raises(JudgeError, match="gave 'go' for 'go'"):
        load_interpreter("own_nlu:wrong")("go")
    for name in ("own_nlu", "own_nlu:absent", "no_such_module:f", "own_nlu:neither"):
        with pytest.raises(JudgeError, match=r"module:function|cannot be had|no callable"):
            load_interpreter(name)


@pytest.mark.parametrize(
    ("said", "served", "wanted", "kind"),
    [
        ("turn on the lamb", "turn off the lamp", ["turn on the lamp"], Harm.POLARITY),
        ("turn on the lamp", "turn off the lamp", [], Harm.POLARITY),
        ("set an alarm for seven", "set an alarm for eleven", [], Harm.NUMBER),
        ("play songs by queen", "play songs by prince", [], Harm.SLOT),
        ("play maj", "what time is it", ["play imagine dragons"], Harm.OTHER),
    ],
)
def test_harm_by_kind(said, served, wanted, kind):
    assert harm_of(said, served, wanted) is kind


def test_defects_before_and_after_by_hand():
    # 10 cases: 4 opportunities (3 won, 1 missed), 6 guardrails, of which 1 was harmed, and 2 failed anyway and are left
    # alone. Before: 4 + 2 = 6 defects; after: 1 missed + 1 harmed + 2 that nothing repairs = 4.
    tally = Tally(wins=3, missed=1, false_triggers=1, left_alone=5, failing_left_alone=2)
    assert (defect_rate_before(tally).value, defect_rate_after(tally).value) == (0.6, 0.4)
    assert relative_reduction(tally) == pytest.approx(1 / 3)
    assert relative_reduction(Tally(left_alone=3)) is None
