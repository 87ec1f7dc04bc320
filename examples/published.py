"""Asks a bundle learned from fixtures/log.jsonl the examples of the published work, and says whether it answers right.

    rewrite learn fixtures/log.jsonl --out build/demo
    python examples/published.py build/demo
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from rewrite import Decision, RewriteEngine

#: what is said, by whom, what should go on to NLU
EXAMPLES = [
    ("play maj and dragons", "someone-new", "play imagine dragons"),
    ("play sirius x m chill", "someone-new", "play sirius channel 53"),
    ("what's the weather in wilkerson", "someone-new", "what's the weather in wilkerson washington"),
    ("what's the weather in wilkerson", "user-california", "what's the weather in wilkerson california"),
    ("play we don't talk", "someone-new", "play we don't talk about bruno"),
    ("play we don't talk", "user-anymore", "play we don't talk anymore"),
    ("play imagine dragons", "someone-new", "play imagine dragons"),
    ("turn off the light", "someone-new", "turn off the light"),
    ("call tom", "someone-new", "call tom"),
]


def main(bundle: str) -> int:
    """Prints a table; the exit status is 1 where an answer is not the one wanted."""
    engine = RewriteEngine.load(bundle)
    table = Table("said", "by", "goes on to NLU", "because", "right", title="The published examples")
    wrong = 0
    for said, user, wanted in EXAMPLES:
        decision: Decision = engine.rewrite(said, user_id=user)
        right = decision.text == wanted
        wrong += not right
        mark = "[green]yes[/]" if right else f"[red]no: {wanted}[/]"
        table.add_row(said, user, decision.text, decision.reason, mark)
    Console().print(table)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
