"""Asks a bundle learned from two fixtures the examples in which context decides, each with its contrast.

    rewrite learn fixtures/log.jsonl fixtures/context.jsonl --out build/demo
    python examples/context.py build/demo

What a user did just before is observed, as an assistant would: in a copy of the bundle, so that it stays as it is.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from rewrite import Decision, RewriteEngine


class Example(NamedTuple):
    """What is said, where and by whom, what should go on to NLU, and what that user said `before` seconds earlier."""

    said: str
    where: str
    wanted: str
    context: dict[str, Any] | None = None
    user: str = "someone-new"
    before: tuple[str, str, str, float] | None = None  # text, domain, intent, seconds


TEMPERATURE, GAMES, BREW, MUSIC = "what is the temperature", "play hunger games", "start brewing", "play music"
WILKERSON, BRUNO = "what's the weather in wilkerson", "play we don't talk"
ALARM = ("stop the alarm", "clock", "stop_alarm")
EXAMPLES = (
    Example(TEMPERATURE, "the oven is on", "what is the oven temperature", {"device_state": {"oven": "on"}}),
    Example(TEMPERATURE, "the oven is off", TEMPERATURE, {"device_state": {"oven": "off"}}),
    Example(GAMES, "a screen", "play the hunger games movie", {"device_type": "screen", "has_screen": True}),
    Example(GAMES, "a speaker", "play the hunger games audiobook", {"device_type": "speaker", "has_screen": False}),
    Example(MUSIC, "listens to jazz", "play jazz music", user="user-jazz"),
    Example(MUSIC, "listens to rock", "play rock music", user="user-rock"),
    Example(MUSIC, "listens to anything", MUSIC),
    Example(BREW, "right after the alarm", "start brewing coffee", user="early-bird", before=(*ALARM, 20.0)),
    Example(BREW, "an hour after the alarm", BREW, user="late-riser", before=(*ALARM, 3_600.0)),
    Example(BREW, "out of the blue", BREW),
    Example(WILKERSON, "anyone", WILKERSON + " washington"),
    Example(WILKERSON, "lives in california", WILKERSON + " california", user="user-california"),
    Example(BRUNO, "anyone", BRUNO + " about bruno"),
    Example(BRUNO, "likes another song", BRUNO + " anymore", user="user-anymore"),
)


def answers(bundle: str | Path) -> Iterator[tuple[Example, Decision]]:
    """Each example with the answer of an engine."""
    with tempfile.TemporaryDirectory() as folder:
        engine = RewriteEngine.load(shutil.copytree(bundle, Path(folder) / "bundle"))
        for number, each in enumerate(EXAMPLES):
            if each.before is not None:
                engine.observe(turn_before(f"before-{number}", each.user, *each.before))
            yield each, engine.rewrite(each.said, user_id=each.user, context=each.context)
        if engine.live is not None:
            engine.live.close()


def turn_before(name: str, user: str, text: str, domain: str, intent: str, seconds: float) -> dict[str, Any]:
    """What the user did so many seconds ago, in the log format."""
    nlu = {"domain": domain, "intent": intent, "slots": {}}
    return {
        "turn_id": name, "user_id": user, "timestamp": time() - seconds, "text": text, "nlu": nlu, "outcome": "success",
    }  # fmt: skip


def main(bundle: str) -> int:
    """Prints a table; the exit status is 1 where an answer is not the one wanted."""
    table = Table("said", "where, or by whom", "goes on to NLU", "because", "right", title="What context decides")
    wrong = 0
    for example, decision in answers(bundle):
        right = decision.text == example.wanted
        wrong += not right
        mark = "[green]yes[/]" if right else f"[red]no: {example.wanted}[/]"
        table.add_row(example.said, example.where, decision.text, decision.reason, mark)
    Console().print(table)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
