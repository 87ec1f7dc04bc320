"""What is kept of a stream says the same as the measures on all of it, and does not grow."""

import random
import tracemalloc

import pytest

from dialogue.turn import Context, Gold, Turn
from eval import outcomes
from eval.cases import Case
from eval.count import ROWS, Count, Sample, Scores, Users
from eval.errors import FieldError
from eval.estimates import estimates
from eval.measures import Tally, jeffreys
from eval.run import run
from eval.slices import NONE, OTHERS, VALUES, length, named_fields, usual_fields
from eval.verdict import Judged, Verdict, judge
from rewrite import Action, Decision, Reason

GOOD = "play imagine dragons"


def case(text="maj", *accepted, user="u", name="t", success=None, **more):
    turn = Turn(name, user, 0.0, text, gold=Gold(rewrite=accepted, success=success), **more)
    return Case(turn, accepted)


def decided(text, served=GOOD, score=None):
    return Decision(Action.REWRITE, served, text, Reason.LEARNED, score=score)


class Always:
    """Rewrites everything to the same."""

    def rewrite(self, text, user_id=None, context=None):
        return decided(text, score=0.9)


def test_scores_of_a_stream_are_those_of_the_arrays():
    chance, scores = random.Random(1), Scores()
    pairs = [(chance.random(), chance.random() < 0.6) for _ in range(500)] + [(0.0, False), (1.0, True), (0.3, True)]
    for score, won in pairs:
        scores.add(score, Judged(case("maj", GOOD), decided("maj"), Verdict.WIN if won else Verdict.WRONG))
    said, won = zip(*pairs, strict=True)
    assert scores.brier == pytest.approx(outcomes.brier(said, won), abs=1e-12)
    assert scores.calibration_error == pytest.approx(outcomes.calibration_error(said, won), abs=1e-12)
    curve = outcomes.reliability(said, won)
    assert scores.reliability.said == pytest.approx(curve.said)
    assert scores.reliability.turns.tolist() == curve.turns.tolist()


def test_thresholds_count_what_would_still_be_served():
    scores = Scores()
    for score, verdict in ((0.9, Verdict.WIN), (0.5, Verdict.WRONG), (None, Verdict.WIN), (0.5, Verdict.WIN)):
        scores.add(score, Judged(case("maj", GOOD), decided("maj"), verdict))
    assert (scores.scored, scores.unscored) == (3, 1)
    at = {round(step, 2): counts for step, *counts in scores.thresholds}  # a rewrite without a score always is
    assert at == {0.0: [3, 1], 0.51: [2, 0], 0.91: [1, 0]}


def test_without_scores_nothing_is_said_of_them():
    assert (Scores().brier, Scores().calibration_error) == (None, None)


def test_users_beyond_the_rows_share_them_and_are_still_counted():
    users = Users()
    rows = [users.row(f"u{number}") for number in range(3 * ROWS)]
    assert len(users) == 3 * ROWS
    assert rows[:ROWS] == list(range(ROWS))
    assert rows == [users.row(f"u{number}") for number in range(3 * ROWS)]
    assert 0 <= min(rows[ROWS:]) <= max(rows[ROWS:]) < ROWS


def test_a_sample_keeps_the_order_while_it_keeps_all_and_is_even_after():
    small = Sample(5, seed=0)
    for each in range(4):
        small.add(each)
    assert small.kept == [0, 1, 2, 3]
    first = sum(0 in _sample(seed).kept for seed in range(400))
    assert 60 < first < 140  # a quarter of 400


def _sample(seed):
    sample = Sample(5, seed)
    for each in range(20):
        sample.add(each)
    return sample


def test_a_failing_guardrail_is_a_defect_before_and_after():
    count = Count(Users())
    for each in (case("maj", success=False, user="a"), case("maj", success=True, user="b")):
        count.add(judge(each, Decision(Action.PASS, "maj", "maj", Reason.UNSURE)))
    total = count.tallies.total
    assert (total.defects_before, total.defects_after) == (1, 1)


def test_intervals_count_users_and_not_cases():
    alone = [Tally(wins=1) for _ in range(30)] + [Tally(wrong=1) for _ in range(10)]
    alike = [Tally(wins=10) for _ in range(3)] + [Tally(wrong=10)]
    total = Tally(wins=30, wrong=10)
    by_case, by_user = (estimates(total, users)["precision"] for users in (alone, alike))
    assert by_case.value == by_user.value == 0.75
    assert by_user.high - by_user.low > 1.5 * (by_case.high - by_case.low)
    assert by_case.interval == pytest.approx(jeffreys(30, 40), abs=0.03)
    assert estimates(total, [total])["precision"].interval is None  # one user


def test_parts_add_up_and_name_what_is_absent():
    cases = [case(user=f"u{n}", context=Context(device_type="car") if n % 2 else None) for n in range(60)]
    report = run(Always(), cases, fields=[*usual_fields(), *named_fields(["context.locale", "gold.success"])])
    parts = {part.name: part.tally.cases for part in report.parts}
    assert parts["device_type=car"] == parts[f"device_type={NONE}"] == 30
    assert parts["length=1 word"] == 60
    assert parts[f"context.locale={NONE}"] == 60


def test_small_parts_are_marked_and_not_measured():
    report = run(Always(), [case(user=f"u{n}") for n in range(29)], fields=usual_fields())
    part = next(each for each in report.as_dict()["slices"] if each["field"] == "length")
    assert (part["too_small"], part["measures"]) == (True, None)


def test_a_field_of_too_many_values_keeps_the_first():
    cases = (case(user=f"u{n}", text=f"maj {n}") for n in range(VALUES + 30))
    report = run(Always(), cases, fields=named_fields(["text"]))
    assert len(report.parts) == VALUES + 1
    assert next(part for part in report.parts if part.value == OTHERS).tally.cases == 30


def test_a_field_that_no_turn_can_have_is_an_error():
    for path, told in (("contxt.locale", "contxt"), ("context.lokale", "lokale"), ("text.length", "has no fields")):
        with pytest.raises(FieldError, match=told):
            named_fields([path])
    read = named_fields(["nlu.slots.artist"])[0]
    assert read.value(Turn("t", "u", 0.0, "x")) == NONE


def test_length_in_words():
    texts = ("", "stop", "Alexa, play jazz!", "play some jazz for me", "a b c d e f g", "a b c d e f g h i j k")
    assert [length(text) for text in texts] == [
        *["no words", "1 word", "2 or 3 words", "4 to 6 words", "7 to 10 words", "11 words or more"]
    ]


def test_memory_does_not_grow_with_the_cases():
    def peak(number):
        cases = (case("maj", GOOD, user=f"u{n % 500}", name=f"t{n}") for n in range(number))
        tracemalloc.start()
        run(Always(), cases, fields=usual_fields())
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(100)
    few, many = peak(1_000), peak(8_000)
    assert many - few < 7_000 * 16 + 200_000  # a time is 8 bytes, kept twice while the array grows
