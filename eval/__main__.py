"""`python -m eval`: the command line of the judge."""

from __future__ import annotations

import typer

from eval.command import run
from eval.detect_command import command as detect
from eval.estimate_command import command as estimate
from eval.simulation.cli import simulate

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Judges a bundle or a detector: does it help, does it harm, and how sure is that?"""


app.command()(run)
app.command()(simulate)
app.command("estimate")(estimate)
app.command("detect")(detect)

if __name__ == "__main__":
    app(prog_name="python -m eval")
