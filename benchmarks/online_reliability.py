"""Does the online rung hold for an hour: reloads, kills, observations from several processes, and nobody else's words?

    python benchmarks/online_reliability.py [--seconds 3600] [--calls 2000000] [--processes 4] [--retriever FOLDER]

Processes answer calls by a ReloadingEngine and observe turns, all over one bundle and one live history, until the
seconds are over or the calls are made. Meanwhile the bundle is published anew every minute, and now and then a process
is killed (SIGKILL) and started again. Each user has requests that nobody else said, each with a word that only this
user has: in the bundle, and in what is observed. Others ask for all but the same. Counted are

    leaks       decisions that hold another user's word, in whatever part
    refused     turns that `observe` did not take, and said so, as others held the file for more than a second
    lost        turns whose `observe` returned and that are not in the live history at the end
    faults      decisions with Reason.FAULT; `late` are those that passed their deadline
    errors      exceptions, and processes that ended by themselves
    growth      memory of a process of its own, MB an hour, by a line through the second half of its life
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from measure import MB, machine, resident, table, told  # benchmarks/measure.py
from online_requests import distinct, misheard, untrained_retriever, user_name, world_of  # benchmarks/

REQUESTS, QUERIES, USERS, PRIVATE = 3_000, 2_000, 100, 6
#: Shares of the calls that observe a turn, and that ask for what some user says alone.
OBSERVE, ABOUT_PRIVATE = 0.1, 0.4
#: Growth that is flat, MB an hour, and the least life of a process that is looked at, in seconds.
FLAT, LEAST_LIFE_S = 30.0, 60.0
TOLD_EVERY = 20  # calls
_WORD = re.compile(r"owner\d{4}x")


@dataclass
class Counts:
    """What the processes saw, and what was found at the end."""

    calls: int = 0
    observed: int = 0
    refused: int = 0
    leaks: int = 0
    lost: int = 0
    faults: int = 0
    late: int = 0
    errors: int = 0
    own: int = 0  # decisions that hold the user's own word: what is personal is in use
    reloads: int = 0
    published: int = 0
    kills: int = 0
    seconds: float = 0.0
    growth: float = 0.0  # the most of any process
    reasons: dict[str, int] = field(default_factory=dict)
    first_leak: str = ""
    first_fault: str = ""

    @property
    def sound(self) -> bool:
        """Whether all happened that was to, and nothing that must not."""
        happened = self.calls and self.observed and self.own and self.reloads
        return bool(happened) and not (self.leaks or self.lost or self.faults or self.errors)


def word_of(user: int) -> str:
    """A word that only this user says."""
    return f"owner{user:04d}x"


def private(user: int, texts: list[str]) -> list[str]:
    """What only this user says: requests with the user's word."""
    draw = random.Random(user)
    return [f"{draw.choice(texts)} for {word_of(user)}" for _ in range(PRIVATE)]


# A process that answers


def work(folder: Path, number: int, seed: int, check_every_s: float) -> None:
    """Answers and observes until it is killed or told to stop; tells what it saw in files that outlive it."""
    from rewrite.errors import LiveHistoryError
    from rewrite.reloading import ReloadingEngine

    told_of = json.loads((folder / "queries.json").read_text(encoding="utf-8"))
    caller = Caller(told_of["texts"], told_of["private"], told_of["queries"], random.Random(seed))
    counts, name = caller.counts, f"{number}-{os.getpid()}"
    with (
        ReloadingEngine(folder / "bundle", check_every_s=check_every_s) as engine,
        open(folder / "observed" / name, "ab", buffering=0) as observed,
    ):
        gc.collect()
        gc.freeze()
        while not (folder / "stop").exists():
            for _ in range(TOLD_EVERY):
                if caller.draw.random() < OBSERVE:
                    turn = caller.turn(f"{name}-{counts.observed}")
                    try:
                        engine.observe(turn)
                    except LiveHistoryError:  # other processes held the file for too long: the turn was not taken
                        counts.refused += 1
                    else:
                        counts.observed += 1
                        observed.write(f"{turn['turn_id']}\n".encode())
                caller.call(engine)
            counts.reloads = engine.reloads
            _tell(folder, name, counts)


@dataclass
class Caller:
    """Calls of users, drawn at random, and what came of them."""

    texts: list[str]
    private: dict[str, list[str]]  # user -> what this user says alone
    queries: list[tuple[str, dict[str, Any]]]  # with what NLU makes of them
    draw: random.Random
    counts: Counts = field(default_factory=Counts)

    def call(self, engine: Any) -> None:
        """One call, and a look at all that the decision holds."""
        user, (text, nlu) = self.draw.randrange(USERS), self.draw.choice(self.queries)
        if self.draw.random() < ABOUT_PRIVATE:
            text = self._nearly(self.draw.choice(self.private[user_name(self.draw.randrange(USERS))]))
        who = user_name(user) if self.draw.random() < 0.8 else None
        decision = engine.rewrite(text, who, nlu=nlu)
        counts, reason, held = self.counts, decision.reason.value, words_in(json.dumps(asdict(decision), default=str))
        counts.calls += 1
        counts.reasons[reason] = counts.reasons.get(reason, 0) + 1
        counts.late += reason == "deadline"
        counts.own += who is not None and word_of(user) in held
        if reason == "fault":
            counts.faults += 1
            counts.first_fault = counts.first_fault or str(decision.evidence)
        if held - ({word_of(user)} if who is not None else set()):
            counts.leaks += 1
            counts.first_leak = counts.first_leak or f"{who} asked {text!r}: {decision}"

    def turn(self, name: str) -> dict[str, Any]:
        """A turn that worked, in words that only its user says."""
        user = self.draw.randrange(USERS)
        return {
            "turn_id": name, "user_id": user_name(user), "timestamp": time.time(), "outcome": "success",
            "text": f"{self.draw.choice(self.texts)} for {word_of(user)}", "response": "Here you are.",
        }  # fmt: skip

    def _nearly(self, text: str) -> str:
        """What a user says alone, without the user's word, and with a wrong letter."""
        words = text.split()[:-1]
        place = self.draw.randrange(len(words))
        words[place] = words[place][:-1] + self.draw.choice("aeiou")
        return " ".join([*words, "owner"])


def words_in(text: str) -> set[str]:
    """The users' words that a text holds."""
    return set(_WORD.findall(text))


def _tell(folder: Path, name: str, counts: Counts) -> None:
    part = folder / "counts" / f"{name}.part"
    part.write_text(json.dumps(asdict(counts)), encoding="utf-8")
    part.replace(part.with_suffix(".json"))


# Those that publish, kill and count


@dataclass
class Watched:
    """One process and the memory of its own that it had, (seconds, bytes)."""

    process: subprocess.Popen[bytes]
    samples: list[tuple[float, int]] = field(default_factory=list)

    def sample(self) -> None:
        """Once more."""
        held = resident(self.process.pid)
        if held["rss"]:
            self.samples.append((time.monotonic(), held["rss"] - held["file"]))

    @property
    def growth(self) -> float:
        """MB an hour over the second half of its life; 0 where that was short."""
        half = np.array(self.samples[len(self.samples) // 2 :], np.float64)
        if len(half) < 5 or half[-1, 0] - half[0, 0] < LEAST_LIFE_S / 2:
            return 0.0
        return float(np.polyfit(half[:, 0], half[:, 1], 1)[0]) * 3_600 / MB


def run(folder: Path, given: argparse.Namespace) -> Counts:
    """Starts the processes, publishes and kills until the time is over or the calls are made, and counts."""
    for name in ("observed", "counts"):
        (folder / name).mkdir()
    crew = Crew(folder, given.seed, given.publish_every)
    alive = [crew.start(number) for number in range(given.processes)]
    while not all(crew.answers(each) for each in alive):  # the time begins when all answer
        time.sleep(0.2)
    begun = time.monotonic()
    counts, draw = Counts(), random.Random(given.seed)
    until, next_publish, next_kill = (begun + each for each in (given.seconds, given.publish_every, given.kill_every))
    while (now := time.monotonic()) < until and _calls(folder) < given.calls:
        time.sleep(min(1.0, given.publish_every / 4))
        for each in alive:
            each.sample()
        if now >= next_publish:
            next_publish += given.publish_every
            _publish(folder / "bundle")
            counts.published += 1
        if now >= next_kill:
            next_kill += given.kill_every
            place = draw.randrange(len(alive))
            counts.errors += alive[place].process.poll() is not None
            crew.kill(alive[place])
            alive[place] = crew.start(place)
            counts.kills += 1
    (folder / "stop").touch()
    counts.errors += sum(each.process.wait() != 0 for each in alive)
    counts.seconds = time.monotonic() - begun
    counts.growth = max(each.growth for each in crew.all)
    _add_up(folder, counts)
    counts.lost = len(observed_in(folder) - kept_in(folder))
    return counts


@dataclass
class Crew:
    """All processes that there ever were."""

    folder: Path
    seed: int
    publish_every: float
    all: list[Watched] = field(default_factory=list)

    def start(self, number: int) -> Watched:
        """One more."""
        seed = self.seed + len(self.all)
        command = [sys.executable, __file__, "--work", str(self.folder), "--number", str(number), "--seed", str(seed)]
        command += ["--publish-every", str(self.publish_every)]
        self.all.append(Watched(subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})))
        return self.all[-1]

    def answers(self, one: Watched) -> bool:
        """Whether it has begun to answer. Raises SystemExit where it has ended instead."""
        if one.process.poll() is not None:
            raise SystemExit(f"a process ended with {one.process.returncode} before it answered: see above")
        return any((self.folder / "counts").glob(f"*-{one.process.pid}.json"))

    def kill(self, one: Watched) -> None:
        """At once, whatever it is doing."""
        one.process.send_signal(signal.SIGKILL)
        one.process.wait()


def _publish(bundle: Path) -> None:
    """The same bundle anew, as `rewrite learn` puts it in place."""
    from rewrite.publish import draft_of, swap_in

    draft = draft_of(bundle)
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(bundle, draft)
    swap_in(draft, bundle)


def _calls(folder: Path) -> int:
    return sum(json.loads(path.read_text(encoding="utf-8"))["calls"] for path in (folder / "counts").glob("*.json"))


def _add_up(folder: Path, counts: Counts) -> None:
    reasons = Counter[str]()
    for path in (folder / "counts").glob("*.json"):
        seen = json.loads(path.read_text(encoding="utf-8"))
        for name in ("calls", "refused", "leaks", "faults", "late", "own", "reloads"):
            setattr(counts, name, getattr(counts, name) + seen[name])
        reasons.update(seen["reasons"])
        counts.first_leak = counts.first_leak or seen["first_leak"]
        counts.first_fault = counts.first_fault or seen["first_fault"]
    counts.reasons = dict(reasons)
    counts.observed = len(observed_in(folder))


def observed_in(folder: Path) -> set[str]:
    """The turns whose `observe` returned: whole lines only, as a process may have been killed while it wrote one."""
    found: set[str] = set()
    for path in (folder / "observed").iterdir():
        found.update(path.read_text(encoding="utf-8").split("\n")[:-1])
    return found


def kept_in(folder: Path) -> set[str]:
    """The turns in the live history."""
    from dialogue.canonical import Canonicaliser
    from rewrite.live_history import LiveHistory, live_path

    out = folder / "exported.jsonl"
    LiveHistory.open(live_path(folder / "bundle"), canonical=Canonicaliser()).export(out)
    with open(out, encoding="utf-8") as lines:
        return {json.loads(line)["turn_id"] for line in lines}


def write_bundle(folder: Path, retriever: Path) -> None:
    """The bundle, public requests and each user's own that nobody else said; and what will be asked."""
    requests = distinct(REQUESTS, 0)
    texts = list(requests)
    own = {user_name(user): private(user, texts) for user in range(USERS)}
    world_of(folder, requests, {}, own, retriever)
    queries = [(each.text, each.nlu) for each in misheard(list(requests.values()), requests, QUERIES, 1)]
    told_of = {"texts": texts, "private": own, "queries": queries}
    (folder / "queries.json").write_text(json.dumps(told_of), encoding="utf-8")


def report(counts: Counts) -> str:
    """A table and verdicts, for people."""
    told_of = {name: value for name, value in asdict(counts).items() if isinstance(value, int | float)}
    lines = [table(("counted", ""), told_of.items()), ""]
    for name in ("leaks", "lost", "faults", "errors"):
        value = getattr(counts, name)
        lines.append(f"{'MISSED' if value else 'met'}: {name} {value:,}, none is wanted")
    told_flat = "met" if counts.growth < FLAT else "MISSED"
    lines.append(f"{told_flat}: growth {counts.growth:.1f} MB an hour, less than {FLAT:.0f} is wanted")
    if not (counts.calls and counts.observed and counts.own and counts.reloads):
        lines.append("MISSED: calls, observations, users' own words and reloads are wanted, one at least of each")
    lines.append("answers: " + ", ".join(f"{name} {count:,}" for name, count in counts.reasons.items()))
    return "\n".join([*lines, *(each for each in (counts.first_leak, counts.first_fault) if each)])


def main(arguments: Iterable[str] | None = None) -> Counts | None:
    """Makes the bundle, runs, prints, and returns the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3_600.0)
    parser.add_argument("--calls", type=int, default=2_000_000, help="of all processes")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--publish-every", type=float, default=60.0, help="seconds")
    parser.add_argument("--kill-every", type=float, default=150.0, help="seconds")
    parser.add_argument("--retriever", type=Path, help="a trained one (default: one that is hardly trained)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="some seconds of two processes")
    parser.add_argument("--json", action="store_true", help="counts as JSON, instead of a table")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(None if arguments is None else list(arguments))
    if given.work:
        work(given.work, given.number, given.seed, min(1.0, given.publish_every / 4))
        return None
    if given.quick:
        vars(given).update(seconds=6.0, processes=2, publish_every=1.5, kill_every=2.5)
    with _folder() as folder:
        write_bundle(folder, given.retriever or untrained_retriever(folder / "retriever"))
        told("running")
        counts = run(folder, given)
    if given.json:
        print(json.dumps(asdict(counts), indent=1))
    else:
        print(machine("numpy", "onnxruntime"), "", report(counts), sep="\n")
    return counts


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


if __name__ == "__main__":
    found = main()
    sys.exit(found is not None and not found.sound)
