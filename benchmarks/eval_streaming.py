"""How long does `python -m eval run` take for many cases, and how much memory?

    python benchmarks/eval_streaming.py [--cases 10000] [--cases 100000] [--seed 0]

Learns a bundle from fixtures/, draws the cases of fixtures/cases.jsonl again until there are so many, each with a
turn_id and one of many users of its own, and judges them in a fresh process for each number.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
CASES = (10_000, 100_000)

#: What the fresh process does: the whole command, then one line of JSON.
_PROGRAM = """
import json, sys
from time import perf_counter
from eval.cases import read_cases
from eval.known import Known
from eval.run import run
from eval.slices import usual_fields
begun = perf_counter()
known = Known.from_bundle(sys.argv[1])
report = run(sys.argv[1], read_cases(sys.argv[2]), known=known, fields=usual_fields(known))
report.as_json()
told = {"cases": report.tally.cases, "users": report.users, "seconds": perf_counter() - begun}
print(json.dumps(told | {"bytes": report.memory.own}))
"""


def draw(path: Path, cases: int, seed: int = 0) -> None:
    """Writes so many cases, drawn with replacement from the fixtures'; users grow with the root of the number."""
    records = [json.loads(line) for line in (FIXTURES / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    chance, users = random.Random(seed), max(2, round(8 * cases**0.5))
    with open(path, "w", encoding="utf-8") as file:
        for number in range(cases):
            drawn = chance.choice(records)
            again = {"turn_id": f"case {number}", "user_id": f"user {chance.randrange(users)}", "session_id": None}
            file.write(json.dumps(drawn | again) + "\n")


def measure(bundle: Path, cases: Path) -> dict[str, float]:
    """Cases, users, seconds and peak bytes of one run."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(bundle), str(cases)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cases", type=int, action="append", help="how many; may be given again")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args(arguments)
    from rewrite import learn

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        learn(FIXTURES / "log.jsonl", folder / "bundle")
        for number in asked.cases or CASES:
            draw(folder / "cases.jsonl", number, asked.seed)
            found = measure(folder / "bundle", folder / "cases.jsonl")
            print(
                f"{found['cases']:,} cases of {found['users']:,} users: {found['seconds']:.1f} s,"
                f" {(found['bytes'] or 0) / 1e6:.0f} MB"
            )


if __name__ == "__main__":
    main()
