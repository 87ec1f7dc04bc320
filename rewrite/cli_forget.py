"""A user's request to be removed, on the command line: `rewrite forget`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewrite.cli_ask import BundlePath, Json, encodable
from rewrite.console import ConsoleProgress, counted, facts_table, legible, print_json, say, stdout, warn
from rewrite.errors import ConfigError

if TYPE_CHECKING:
    from rewrite.forgetting import Forgotten

#: Unknown ids that a warning names.
IDS_SHOWN = 5


def forget(
    bundle: BundlePath,
    user: Annotated[
        list[str] | None, typer.Option("--user", metavar="ID", help="Whom, as the log names them; may be repeated.")
    ] = None,
    users_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More of them: a text file with one id a line.")
    ] = None,
    json: Json = False,
) -> None:
    """Remove users from a bundle, at their request.

    Afterwards no file of BUNDLE holds their ids, nor a text that only they said, and what is left is what learning
    without them would have made of it: a rewrite that too few others are behind is gone as well. The live history and
    the rejects file beside BUNDLE lose what is theirs, and what killed jobs left there is removed. A learning that was
    cut short begins anew.

    The bundle is published in one step. Killed or interrupted, it is whole, and the same command does what is left.
    Forgetting a user of whom nothing is known changes nothing, says so, and ends with 0: so the command may be run
    twice, but look at what it says, for an id may be mistyped.

    Not touched are the logs: take these users out of them too, or the next `rewrite learn` brings them back. Pins and
    blocks are your own word and stay; those of a text that only these users said are counted. Engines that are running
    forget when they load the bundle anew.

    Example:  [bold]rewrite forget bundle --user u7 --user u12[/bold]

    Example:  [bold]rewrite forget bundle --users-file requests.txt --json[/bold]
    """
    from rewrite.forgetting import forget as forget_users

    users = [encodable(each) for each in user or ()] + (_ids_in(users_file) if users_file else [])
    told = forget_users(bundle, users, progress=ConsoleProgress())
    _warn(told)
    if json:
        print_json(told.as_dict())
    else:
        _print_forgotten(told)


def _ids_in(path: Path) -> list[str]:
    """The ids in a file, one a line; blank lines are none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): give a UTF-8 text file with one user id a line") from error
    return [line.removesuffix("\r") for line in lines if line.strip()]


def _warn(told: Forgotten) -> None:
    if told.unknown:
        named = ", ".join(legible(each, 80) for each in told.unknown[:IDS_SHOWN])
        more = f" and {len(told.unknown) - IDS_SHOWN:,} more" if len(told.unknown) > IDS_SHOWN else ""
        warn(f"nothing is known of {named}{more}: forgotten before, or not the id that the log has")
    if told.doubtful_overrides:
        these = counted(told.doubtful_overrides, "pin or block", "pins and blocks")
        warn(
            f"{these} of a text that nobody else says: kept, as a person's word. `rewrite show BUNDLE` lists"
            " them, `rewrite unpin` and `rewrite unblock` take them away"
        )
    if told.unattributed:
        left = counted(told.unattributed, "line")
        warn(f"{left} left in the rejects file without a user's name, of anybody: look through it, or delete it")


def _print_forgotten(told: Forgotten) -> None:
    users = f"{counted(len(told.users), 'user')}, with {counted(told.turns, 'turn')} that had been counted"
    facts = [("Forgotten", users)]
    if told.turns:
        facts.append(("", f"{counted(told.texts, 'text')} that nobody else says"))
    if told.rewrites_gone:
        more = "fewer" if told.rewrites_gone > 0 else "more"
        facts.append(("", f"{counted(abs(told.rewrites_gone), 'rewrite')} for everyone {more} than before"))
    if told.live_turns:
        facts.append(("Beside it", f"{counted(told.live_turns, 'turn')} of the live history"))
    if told.rejects:
        facts.append(("Beside it", f"{counted(told.rejects, 'line')} of the rejects file"))
    if told.unfinished:
        facts.append(("Beside it", "a learning that was cut short: it begins anew"))
    stdout().print(facts_table(facts))
    if told.users:
        say(stdout(), "\nThe logs still hold them: take them out there too. Running engines: load the bundle anew.")
