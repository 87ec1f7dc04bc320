"""`python -m rewrite`: the command line, where the console script is not on the path."""

from rewrite.cli import app

if __name__ == "__main__":
    app(prog_name="python -m rewrite")
