"""The commands of a person's word, which beats the learner's: `rewrite pin`, `block`, and their undoing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli_ask import BundlePath, Json, encodable
from rewrite.cli_table import canonical_of, rows_of
from rewrite.cli_words import DOUBTS
from rewrite.console import legible, print_json, say, stdout, warn
from rewrite.errors import ConfigError

if TYPE_CHECKING:
    from rewrite.bundle import Bundle
    from rewrite.overrides import Overrides

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The request, as a user says it.")]


def pin(
    bundle: BundlePath,
    source: Source,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="What to send on instead, to the letter.")],
    json: Json = False,
) -> None:
    """Always rewrite SOURCE to TARGET.

    A person's word: it holds whatever was learned, and for bundles learned later in the same place.

    Example:  [bold]rewrite pin bundle "play sirius x m chill" "play sirius channel 53"[/bold]
    """
    opened, said = _open_for(bundle, source)
    target = encodable(target).strip()
    meant = canonical_of(opened)(target)
    if not meant:
        raise ConfigError("TARGET holds no words: give the text to send on instead of SOURCE")
    if meant == said:
        raise ConfigError("SOURCE and TARGET are the same request: `rewrite block` has it left alone")
    before = opened.overrides
    after = opened.edit(pin=(said, target))
    warnings = _doubts(opened, said, meant)
    _tell(opened, said, before, after, json, f"Pinned: “{legible(said)}” → “{legible(target)}”.", warnings)


def block(bundle: BundlePath, source: Source, json: Json = False) -> None:
    """Never rewrite SOURCE.

    A person's word: it holds whatever was learned, and for bundles learned later in the same place.

    Example:  [bold]rewrite block bundle "play maj and dragons"[/bold]
    """
    opened, said = _open_for(bundle, source)
    before = opened.overrides
    after = opened.edit(block=said)
    learned = _learned(opened, said)
    stops = f"Without that: “{legible(learned['rewrite'])}”." if learned else "No rewrite of it was learned so far."
    _tell(opened, said, before, after, json, f"Blocked: “{legible(said)}” is left alone. {stops}")


def unblock(bundle: BundlePath, source: Source, json: Json = False) -> None:
    """Leave SOURCE to the learner again.

    Takes a block or a pin away.

    Example:  [bold]rewrite unblock bundle "play maj and dragons"[/bold]
    """
    opened, said = _open_for(bundle, source)
    before = opened.overrides
    after = opened.edit(clear=said)
    if said in before.blocked:
        told = f"Unblocked: “{legible(said)}”."
    elif said in before.pinned:
        told = f"Unpinned: “{legible(said)}” was pinned to “{legible(before.pinned[said])}”."
    else:
        told = f"“{legible(said)}” was neither blocked nor pinned: nothing changed."
    _tell(opened, said, before, after, json, told)


def unpin(bundle: BundlePath, source: Source, json: Json = False) -> None:
    """Leave SOURCE to the learner again: the same as `unblock`.

    Example:  [bold]rewrite unpin bundle "play sirius x m chill"[/bold]
    """
    unblock(bundle, source, json)


def _open_for(bundle: Path, source: str) -> tuple[Bundle, str]:
    """The bundle, and the source as it looks requests up."""
    from rewrite.bundle import Bundle

    opened = Bundle.open(bundle)
    said = canonical_of(opened)(encodable(source))
    if not said:
        raise ConfigError("SOURCE holds no words: give the request as a user says it")
    return opened, said


def _learned(opened: Bundle, said: str) -> dict[str, Any] | None:
    return next(iter(rows_of(opened, "rewrites", "source", said)), None)


def _doubts(opened: Bundle, said: str, meant: str) -> list[str]:
    """What speaks against a pin. A person's word stands all the same."""
    from rewrite.guards import table_guard

    guard = table_guard(said, meant)
    doubts = [DOUBTS[guard]] if guard else []
    known = next(iter(rows_of(opened, "requests", "text", meant)), None)
    if known is None:
        doubts.append("no such request as TARGET is in the log: check its spelling")
    elif known["status"] == "failing":
        doubts.append("TARGET itself is known to fail")
    return doubts


def _tell(
    opened: Bundle,
    said: str,
    before: Overrides,
    after: Overrides,
    json: bool,
    told: str,
    doubts: Sequence[str] = (),
) -> None:
    """What was changed; engines read it when they load the bundle."""
    for doubt in doubts:
        warn(doubt)
    if json:
        learned = _learned(opened, said)
        document = {
            "bundle": str(opened.path),
            "source": said,
            "pinned": after.pinned.get(said),
            "blocked": said in after.blocked,
            "learned": learned["rewrite"] if learned else None,
            "changed": before != after,
            "warnings": list(doubts),
        }
        print_json(document)
    else:
        note = "" if before == after else " Engines that are running see it when they load the bundle anew."
        say(stdout(), told + note)
