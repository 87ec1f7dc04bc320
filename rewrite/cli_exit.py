"""How a command ends: an exit code that means something, and one clear message instead of a traceback."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any, NoReturn

import typer

from dialogue.errors import DialogueError
from rewrite.console import legible_lines, say, stderr
from rewrite.errors import BundleError, BusyError, ConfigError, ModelError, RewriteError, TargetError


class ExitCode(IntEnum):
    """What a command ends with; `rewrite --help` lists them."""

    FINE = 0
    FAULT = 1
    USAGE = 2  # or configuration
    LOG = 3
    BUNDLE = 4
    BUSY = 5
    INTERRUPTED = 130


_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (DialogueError, ExitCode.LOG),
    (BundleError, ExitCode.BUNDLE),
    (BusyError, ExitCode.BUSY),
    (ConfigError, ExitCode.USAGE),
    (TargetError, ExitCode.USAGE),
    (ModelError, ExitCode.USAGE),
)

#: Commands that go on where they were.
_RESUMED = {"learn", "batch", "train_detector"}

Command = Callable[..., None]
Debug = Annotated[bool, typer.Option("--debug", help="Show where in the program an error came from.")]


def exit_code(error: BaseException) -> ExitCode:
    """The exit code that stands for an error."""
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "InterruptException":  # the latter: DuckDB's
        return ExitCode.INTERRUPTED
    if _of_a_detector(error):
        return ExitCode.USAGE
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAULT)


def _of_a_detector(error: BaseException) -> bool:
    """Whether it is a DetectorError; told without importing that package, which would load numpy and pyarrow."""
    errors = sys.modules.get("rephrase_detection.errors")
    return errors is not None and isinstance(error, errors.DetectorError)


def clearly(command: Command) -> Command:
    """The command with an option `--debug`, ending in the exit code and the message of whatever it raises."""
    signature = inspect.signature(command, eval_str=True)
    debug_option = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)

    @functools.wraps(command)
    def telling(*args: Any, debug: bool = False, **options: Any) -> None:
        try:
            command(*args, **options)
            sys.stdout.flush()
        except (typer.Exit, typer.BadParameter, typer.Abort):
            raise
        except BrokenPipeError:  # the reader of stdout has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (Exception, KeyboardInterrupt) as error:
            if debug:
                traceback.print_exc()
            _end(error, command.__name__, debug)

    telling.__doc__ = "\n\n".join(" ".join(part.split()) for part in (command.__doc__ or "").split("\n\n"))  # unwrapped
    telling.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), debug_option]
    )
    return telling


def _end(error: BaseException, command: str, debug: bool) -> NoReturn:
    code = exit_code(error)
    if code is ExitCode.INTERRUPTED:
        say(stderr(), "Interrupted." + (" The same command goes on where it was." if command in _RESUMED else ""))
    else:
        known = isinstance(error, RewriteError | DialogueError) or _of_a_detector(error)
        told = str(error) if known else f"{type(error).__name__}: {error}"
        advice = "" if known or debug else "\nAdd --debug to see where this came from."
        say(stderr(), f"Error: {legible_lines(told)}{advice}", "red")
    raise typer.Exit(code)
