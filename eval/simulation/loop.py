"""The loop: traffic, then learning from the log so far, then traffic that is served by what was learned.

The folder of a simulation:

    knobs.json           what it depends on: another simulation is never gone on with here
    rounds/N/log.jsonl   what a real log would show; `unseen.jsonl` has the users who are not learned from
    rounds/N/truth.npz   the truth, one row a turn; `rewrites.jsonl` judges every rewrite that was served
    rounds/N/bundle      what was learned after the round
    rounds/N/done.json   written last: the round is finished, and is not run again

All arms share one log and one bundle, as in a live A/B test: they differ in what may be served from it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.simulation.arms import Arm, Server, assign
from eval.simulation.customers import Customers
from eval.simulation.effects import Effects, Table, count
from eval.simulation.errors import ResumeError
from eval.simulation.knobs import Knobs
from eval.simulation.population import Population
from eval.simulation.traffic import Traffic
from eval.simulation.truth import Truth
from rephrase_detection import RephraseDetector

VERSION = 1


@dataclass(frozen=True)
class Progress:
    """Who listens: `turns` hears how many more were simulated, `stage` what is done now."""

    turns: Callable[[int], None] = field(default=lambda _: None)
    stage: Callable[[str], None] = field(default=lambda _: None)


@dataclass(frozen=True)
class RoundResult:
    """One round: the counts of each user [users, Count], and what it took."""

    number: int
    counts: Table
    rewrites: int  # in the bundle that was served
    simulated_s: float
    learned_s: float


@dataclass(frozen=True)
class Result:
    """A simulation's rounds, and who was in which arm: `arm_of` int64 [users]."""

    arms: tuple[Arm, ...]
    arm_of: NDArray[np.int64]
    rounds: tuple[RoundResult, ...]
    knobs: Knobs
    seed: int

    def effects(self, arm: Arm, rounds: Sequence[int] | None = None) -> Effects:
        """The figures of one arm in some rounds (from 1), all where none are named."""
        chosen = [each.counts for each in self.rounds if rounds is None or each.number in rounds]
        counts = np.sum(chosen, axis=0)
        control = None
        if arm is not Arm.CONTROL and Arm.CONTROL in self.arms:
            control = counts[self.arm_of == self.arms.index(Arm.CONTROL)]
        return Effects(counts[self.arm_of == self.arms.index(arm)], control, self.seed)

    @property
    def served_rounds(self) -> list[int]:
        """All rounds but the first, in which nothing was learned yet: there, arms differ by chance alone."""
        return [each.number for each in self.rounds[1:]]


def simulate(
    population: Population,
    out: str | Path,
    *,
    knobs: Knobs | None = None,
    arms: Sequence[Arm] = tuple(Arm),
    seed: int = 0,
    detector: RephraseDetector | None = None,
    progress: Progress | None = None,
) -> Result:
    """Runs a simulation in the folder `out`, or goes on with the one there. The same arguments give the same log.

    `detector` finds the rephrases that the engine learns from; the mining job's own where None is given.

    Raises SimulationError.
    """
    knobs, progress, out, arms = knobs or Knobs(), progress or Progress(), Path(out), tuple(arms)
    told = {"version": VERSION, "seed": seed, "arms": arms, "population": population.digest} | knobs.as_dict()
    _claim(out, told | ({"detector": repr(detector)} if detector else {}))
    customers = Customers(population, knobs, seed)
    arm_of = assign(customers, arms)
    rounds: list[RoundResult] = []
    for number in range(1, knobs.traffic.rounds + 1):
        if not (_folder(out, number) / "done.json").exists():
            _round(customers, out, number, arms, arm_of, detector, progress)
        rounds.append(_load(out, number, knobs.traffic.users))
    return Result(arms, arm_of, tuple(rounds), knobs, seed)


def turns_of(knobs: Knobs, number: int) -> range:
    """The numbers of the turns of a round (from 1)."""
    whole, rounds = knobs.traffic.turns, knobs.traffic.rounds
    return range(whole * (number - 1) // rounds, whole * number // rounds)


def _round(
    customers: Customers,
    out: Path,
    number: int,
    arms: tuple[Arm, ...],
    arm_of: NDArray[np.int64],
    detector: RephraseDetector | None,
    progress: Progress,
) -> None:
    """One round, and what is learned after it."""
    folder, knobs = _folder(out, number), customers.knobs
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    earlier = _folder(out, number - 1) / "bundle" if number > 1 else None
    begun = monotonic()
    progress.stage(f"round {number}: talking")
    turns = turns_of(knobs, number)
    servers = [Server.load(earlier, arm, knobs.learning, (customers.seed, number)) for arm in arms]
    traffic = Traffic(customers, number, servers, arm_of, turns.start)
    with ExitStack() as files:
        log = files.enter_context(open(folder / "log.jsonl", "w", encoding="utf-8", newline="\n"))
        all_learned = bool(customers.learned.all())
        unseen = None
        if not all_learned:
            unseen = files.enter_context(open(folder / "unseen.jsonl", "w", encoding="utf-8", newline="\n"))
        noted = traffic.run(len(turns), log, unseen, progress.turns) if turns else traffic.noted
    noted.truth().save(folder / "truth.npz")
    with open(folder / "rewrites.jsonl", "w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(json.dumps(pair.as_dict(), ensure_ascii=False) + "\n" for pair in noted.judged())
    talked = monotonic()
    if number < knobs.traffic.rounds:
        progress.stage(f"round {number}: learning")
        _learn(out, number, knobs.learning.window, earlier, detector)
    took = {"simulated_s": talked - begun, "learned_s": monotonic() - talked, "rewrites": _rewrites(earlier)}
    (folder / "done.json").write_text(json.dumps(took) + "\n", encoding="utf-8")


def _learn(out: Path, number: int, window: int, earlier: Path | None, detector: RephraseDetector | None) -> None:
    from rewrite import learn  # slow to load, and --help needs none of it

    first = max(1, number - window + 1) if window else number
    logs = [_folder(out, each) / "log.jsonl" for each in range(first, number + 1)]
    learn(logs, _folder(out, number) / "bundle", previous=None if window else earlier, detector=detector)


def _rewrites(bundle: Path | None) -> int:
    if bundle is None:
        return 0
    with open(bundle / "rewrites.jsonl", encoding="utf-8") as lines:
        return sum(1 for _ in lines)


def _load(out: Path, number: int, users: int) -> RoundResult:
    folder = _folder(out, number)
    took = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    return RoundResult(number, count(Truth.load(folder / "truth.npz"), users), **took)


def _folder(out: Path, number: int) -> Path:
    return out / "rounds" / str(number)


def _claim(out: Path, told: dict[str, Any]) -> None:
    """Writes knobs.json, or refuses a folder that holds anything else."""
    wanted, path = json.dumps(told, indent=1) + "\n", out / "knobs.json"
    if path.exists():
        if path.read_text(encoding="utf-8") != wanted:
            raise ResumeError(
                f"{path} has other knobs, arms, seed or recordings: choose another folder, or remove this one to start"
                " afresh"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ResumeError(f"{out} exists and holds no simulation: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(wanted, encoding="utf-8")
