"""The command line: `rewrite check | learn | show | query | batch | verify | pin | unpin | block | unblock |
forget`, and `rewrite train-detector`.

Each command is a function in a file of its own kind: `cli_check`, `cli_learn` and `cli_train_detector` read logs,
`cli_ask` asks a bundle, `cli_show` looks at one, `cli_overrides` holds a person's word, `cli_forget` takes users out.
Data goes to stdout; progress, warnings and errors go to stderr.
"""

from __future__ import annotations

from typing import Annotated

import typer

from rewrite.cli_ask import batch, query
from rewrite.cli_check import check
from rewrite.cli_exit import clearly
from rewrite.cli_forget import forget
from rewrite.cli_learn import learn
from rewrite.cli_overrides import block, pin, unblock, unpin
from rewrite.cli_show import show, verify
from rewrite.cli_train_detector import train_detector
from rewrite.cli_train_retriever import attach, train_retriever

COMMANDS = (
    check, learn, show, query, batch, verify, pin, unpin, block, unblock, forget, train_detector, train_retriever,
    attach,
)  # fmt: skip

app = typer.Typer(
    name="rewrite",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from rewrite.bundle import software_version

        typer.echo(f"reprise-rewrite {software_version()}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Learns from an assistant's own logs which requests fail, and what to say to it instead.

    A log is JSON Lines (.jsonl, .jsonl.gz) or Parquet, one record a turn; docs/log-format.md has the fields.

    \b
    Begin with:
      rewrite check log.jsonl                 what is in the log?
      rewrite learn log.jsonl --out bundle    learn from it
      rewrite show bundle                     what was learned?
      rewrite query bundle "play maj and dragons"

    \b
    Exit codes:
        0  fine
        1  unexpected fault
        2  wrong usage or configuration
        3  the log is bad
        4  the bundle is bad
        5  busy: somebody else is at work on it
      130  interrupted
    """


for _command in COMMANDS:
    app.command(no_args_is_help=True)(clearly(_command))


if __name__ == "__main__":
    app(prog_name="rewrite")
