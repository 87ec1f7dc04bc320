"""The words of the command line: every reason has its sentence, every error its exit code."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from dialogue import BoundaryMethod, LogError
from dialogue import Reason as RejectReason
from rewrite import Action, BusyError, ConfigError, ForeignBundle, LearnError, Reason
from rewrite.cli import COMMANDS, app
from rewrite.cli_exit import ExitCode, exit_code
from rewrite.cli_words import ACTIONS, DOUBTS, METHODS, REASONS, REJECTS, VERDICTS
from rewrite.console import counted, duration, legible, percent
from rewrite.errors import TargetError
from rewrite.gate import GateReason
from rewrite.reading import DUPLICATE


def test_every_reason_has_its_words() -> None:
    assert set(ACTIONS) == set(Action)
    assert set(REASONS) == set(Reason)
    assert set(VERDICTS) == set(GateReason)
    assert set(METHODS) == set(BoundaryMethod)
    assert set(REJECTS) == {*RejectReason, DUPLICATE}
    assert set(DOUBTS) == {Reason.GUARD_POLARITY, Reason.GUARD_NUMBER}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError(), ExitCode.FAULT),
        (LearnError(), ExitCode.FAULT),
        (ConfigError(), ExitCode.USAGE),
        (TargetError(), ExitCode.USAGE),
        (LogError(), ExitCode.LOG),
        (ForeignBundle(), ExitCode.BUNDLE),
        (BusyError(), ExitCode.BUSY),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
    ],
)
def test_every_error_has_its_exit_code(error: BaseException, code: ExitCode) -> None:
    assert exit_code(error) is code


def test_help_lists_the_commands_and_the_exit_codes() -> None:
    told = CliRunner().invoke(app, ["--help"]).stdout
    for code in ExitCode:
        assert f" {code.value}  " in told
    for command in COMMANDS:
        name = command.__name__.replace("_", "-")
        assert f" {name} " in told
        shown = CliRunner().invoke(app, [name, "--help"]).stdout
        assert f"rewrite {name} " in shown.split("Example:")[1]
        assert "--debug" in shown


def test_figures_in_words() -> None:
    assert [percent(share) for share in (0.0, 0.001, 0.123, 0.999, 1.0)] == ["0%", "<1%", "12%", ">99%", "100%"]
    assert [duration(seconds) for seconds in (0.25, 27, 300, 5_400, 172_800)] == [
        "250 ms",
        "27 s",
        "5 min",
        "1.5 h",
        "2 d",
    ]
    assert [counted(number, "user") for number in (1, 2_000)] == ["1 user", "2,000 users"]


def test_legible_spells_out_what_steers_a_terminal() -> None:
    assert legible("a\x1b[31m\tb\u202ec\x9b") == "a\\u001b[31m\\u0009b\\u202ec\\u009b"
    assert legible("مرحبا 👩‍👩‍👧 [bold]") == "مرحبا 👩‍👩‍👧 [bold]"
    assert legible("x" * 400) == "x" * 299 + "…"
