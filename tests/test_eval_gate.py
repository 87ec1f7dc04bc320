from dataclasses import replace

import pytest

from eval.errors import GateError
from eval.gate import KNOWN, PARTIAL, Gate
from eval.run import run
from eval.ship import Ship
from eval.slices import usual_fields
from tests.test_eval_run import CASES, ENGINE, Answers, case


def gate(tmp_path, text):
    path = tmp_path / "gate.toml"
    path.write_text(text, encoding="utf-8")
    return Gate.from_file(path)


@pytest.fixture(scope="module")
def report():
    """Two wins, two losses, one missed, one left alone: precision 0.5, wins : losses 1."""
    return run(Answers(ENGINE), CASES, fields=usual_fields())


def test_every_bound_against_what_was_measured(tmp_path, report):
    bounds = """
        [bounds]
        precision_min = 0.5
        precision_lower = 0.4
        win_loss_min = 1
        win_loss_upper = 1000
        losses_max = 1
        harm_polarity_max = 0
        [slices."length=1 word"]
        wins_min = 3
        recall_max = 0.5
    """
    checks = gate(tmp_path, bounds).check(report)
    assert {check.bound.full_name: check.held for check in checks} == {
        "precision_min": True,
        "precision_lower": False,  # by its interval only
        "win_loss_min": True,
        "win_loss_upper": False,  # it has no upper end
        "losses_max": False,
        "harm_polarity_max": True,
        "length=1 word: wins_min": False,
        "length=1 word: recall_max": True,
    }
    by_name = {check.bound.name: check for check in checks}
    assert (by_name["precision_lower"].doubtful, by_name["losses_max"].doubtful) == (True, False)
    assert by_name["losses_max"].says == "losses_max is 2: at most 1 is wanted"


def test_what_was_not_measured_breaks_a_bound_unless_it_is_allowed(tmp_path):
    alone = run(Answers(ENGINE), [case("maj", "play imagine dragons")])  # no guardrail, and one user
    for bound in ("false_trigger_rate_max", "recall_lower", "latency_p999_ms", "brier_max", "difference_lower"):
        (check,) = gate(tmp_path, f"[bounds]\n{bound} = 1").check(alone)
        assert (check.held, check.value) == (False, None)
        assert "was not measured" in check.says
        for allowed in ("true", f'["{bound}"]'):
            assert gate(tmp_path, f"allow_not_measured = {allowed}\n[bounds]\n{bound} = 1").check(alone)[0].held
    missing = gate(tmp_path, '[slices."device_type=boat"]\nwins_min = 1').check(alone)[0]
    assert (missing.held, missing.says) == (False, "device_type=boat: wins_min was not measured: at least 1 is wanted")


def test_a_figure_that_breaks_a_bound_needs_no_interval(tmp_path):
    harmed = [case("stop", user="a") for _ in range(50)]
    report = run(Answers({"stop": "play magic dragons"}), harmed)  # one user: no interval
    assert report.estimates["false_trigger_rate"].interval is None
    text = "allow_not_measured = true\n[bounds]\nfalse_trigger_rate_upper = 0.02\nrecall_lower = 0.5"
    checks = gate(tmp_path, text).check(report)
    assert [(each.held, each.value, each.doubtful) for each in checks] == [(False, 1.0, False), (True, None, True)]
    assert report.answer.ship is Ship.NO
    assert replace(report, gate=gate(tmp_path, text)).answer.ship is Ship.NO
    assert "no figure" not in report.answer.says


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[bounds]\nprecison_lower = 0.9", "unknown bound 'precison_lower': known are .*precision_lower"),
        ('[slices."device_type=car"]\nlatency_p99_ms = 5', "'latency_p99_ms'; it is known of all cases only"),
        ("[slices.car]\nprecision_lower = 0.5", "names no slice: field=value is wanted"),
        ('[bounds]\nprecision_lower = "0.9"', "is '0.9': a number is wanted"),
        ("[bounds]\nprecision_lower = true", "a number is wanted"),
        ("[bounds]\nprecision_lower = 90", "is 90: a number from 0 to 1 is wanted"),
        ("[bounds]\nprecision_lower = nan", "is nan: a number from 0 to 1 is wanted"),
        ("[bounds]\nwin_loss_lower = inf", "is inf: a number of 0 or more is wanted"),
        ("[bounds]\nlatency_p99_ms = -1", "is -1: a number of 0 or more is wanted"),
        ("[bounds]\nrelative_reduction_min = 30", "is 30: a number of at most 1 is wanted"),
        ('[slices."device_type=car"]\nrecall_min = 90', "is 90: a number from 0 to 1"),
        ("[bound]\nprecision_lower = 0.9", "unknown table 'bound'"),
        ("allow_not_measured = 3\n[bounds]\nlosses_max = 1", "true, false or a list"),
        ('allow_not_measured = ["x"]\n[bounds]\nlosses_max = 1', "unknown bound 'x'"),
        ("bounds = 3", "no table of bounds"),
        ("slices = 3", "slices is no table"),
        ("", "has no bounds"),
        ("bounds = [", "no TOML file"),
    ],
)
def test_a_gate_file_that_cannot_be_used_says_why(tmp_path, text, told):
    with pytest.raises(GateError, match=told):
        gate(tmp_path, text)


def test_a_missing_gate_file_is_an_error(tmp_path):
    with pytest.raises(GateError, match="no TOML file that can be read"):
        Gate.from_file(tmp_path / "none.toml")


def test_every_known_bound_can_be_checked(tmp_path, report):
    whole = "\n".join(f"{name} = 0" for name in KNOWN)
    part = "\n".join(f"{name} = 0" for name in PARTIAL)
    checks = gate(tmp_path, f'[bounds]\n{whole}\n[slices."length=1 word"]\n{part}').check(report)
    assert len(checks) == len(KNOWN) + len(PARTIAL)


def test_the_answer_is_no_where_a_figure_breaks_and_unproven_where_only_intervals_do(report):
    assert report.answer.ship is Ship.NO
    assert len(report.answer.reasons) == 3
    few = run(Answers(ENGINE), [CASES[0], CASES[4], case("imagin", "play imagine dragons", user="d")])
    assert few.answer.ship is Ship.UNPROVEN
    assert few.answer.says.startswith("Not proven yet: no figure of the bundle breaks the usual rules")
