"""Do counterfactual estimates hold the truth? Many exploring logs of simulated customers, each with its truth.

    python benchmarks/counterfactual.py [--runs 100] [--turns 8000] [--users 400] [--holdback 0.3]

One bundle is learned from simulated traffic. Other customers are served by it, but for its holdback, and are parted
into as many logs as there are runs. From each log alone the new bundle, which is the old one without a part of its
rewrites, is estimated. The simulator knows what each turn would have come to under the new bundle: on the turns of that
log, and on those of all customers of all logs. An interval should hold the first nearly always, as it also allows for
other customers having come, and the second as often as its level says. First the reward of a turn is what truly came of
it; then it is what the log lets one observe, and what is off there is the bias of judging by feedback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.counterfactual import Evaluation
from eval.estimate import NO_DEADLINE, Estimator, Forecast, estimate
from eval.measures import Interval
from eval.rewriter import Rewriter
from eval.simulation.arms import Arm, Server
from eval.simulation.customers import Customers
from eval.simulation.knobs import Knobs
from eval.simulation.loop import simulate
from eval.simulation.population import Population
from eval.simulation.traffic import Traffic
from eval.simulation.truth import Kind, Truth
from rewrite import Action, Decision, EngineConfig, Reason, RewriteEngine

#: What is learned from, once.
LEARNED = {"turns": 12_000, "users": 400, "rounds": 2}
#: Of the old bundle's rewrites, by their ids: those that the new one drops.
DROPPED = 0.5
FIGURES = ("success rate", "against the old", "against none")


@dataclass
class Remembered:
    """An engine whose answers are looked up once."""

    engine: Rewriter
    known: dict[tuple[str, str | None], Decision] = field(default_factory=dict)

    def rewrite(self, text: str, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> Decision:
        """What the engine says."""
        if (text, user_id) not in self.known:
            self.known[text, user_id] = self.engine.rewrite(text, user_id)
        return self.known[text, user_id]


@dataclass(frozen=True)
class Dropping:
    """An engine without a share of its rewrites, as if they had been blocked."""

    engine: Rewriter
    share: float = DROPPED

    def rewrite(self, text: str, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> Decision:
        """What the engine says, unless that is dropped."""
        decision = self.engine.rewrite(text, user_id, context)
        if decision.action is Action.REWRITE and int(decision.rewrite_id or "0", 16) / 16**16 < self.share:
            return Decision(Action.PASS, text, text, Reason.BLOCKED)
        return decision


@dataclass(frozen=True)
class Explored:
    """A log that explored, with its truth."""

    log: Path
    truth: Truth
    said: list[str]


def learned(folder: Path, population: Population) -> RewriteEngine:
    """The bundle that all runs are served by."""
    simulate(population, folder / "learned", knobs=Knobs().having(**LEARNED), arms=(Arm.PERSONAL,))
    bundle = folder / "learned" / "rounds" / "1" / "bundle"
    return RewriteEngine.load(bundle, config=EngineConfig(deadline_s=NO_DEADLINE))


def explore(engine: Rewriter, population: Population, knobs: Knobs, seed: int, log: Path) -> Explored:
    """One round of other customers, served by the engine but for the holdback."""
    heard: list[str] = []

    class Listening(Server):
        def answer(self, text: str, user: str) -> Any:
            heard.append(text)
            return super().answer(text, user)

    server = Listening(engine, Arm.PERSONAL)  # type: ignore[arg-type]
    arm_of = np.zeros(knobs.traffic.users, np.int64)
    traffic = Traffic(Customers(population, knobs, seed), 1, [server], arm_of, 0)
    with open(log, "w", encoding="utf-8", newline="\n") as lines:
        truth = traffic.run(knobs.traffic.turns, lines, None, lambda _: None).truth()
    return Explored(log, truth, heard)


def parted(whole: Explored, parts: int) -> list[Explored]:
    """The same as logs of different customers."""
    part_of = whole.truth.user % parts
    logs = [whole.log.with_name(f"{part}.jsonl") for part in range(parts)]
    with ExitStack() as stack:
        files = [stack.enter_context(open(log, "w", encoding="utf-8", newline="\n")) for log in logs]
        for line, part in zip(stack.enter_context(open(whole.log, encoding="utf-8")), part_of, strict=True):
            files[part].write(line)
    found = []
    for part, log in enumerate(logs):
        rows = np.flatnonzero(part_of == part)
        columns = {each.name: getattr(whole.truth, each.name)[rows] for each in fields(Truth)}
        found.append(Explored(log, Truth(**columns), [whole.said[row] for row in rows]))
    return found


def outcomes(engine: Rewriter | None, explored: Explored, population: Population) -> NDArray[np.float64]:
    """What truly comes of each turn under an engine, or with every turn left alone [turns] float64."""
    truth = explored.truth
    came = truth.would.astype(np.float64)
    if engine is None:
        return came
    for row, (said, user, goal) in enumerate(zip(explored.said, truth.user, truth.goal, strict=True)):
        decision = engine.rewrite(said, f"u{user:07d}")
        if decision.action is Action.REWRITE and decision.text != said:
            came[row] = truth.kind[row] != Kind.FOLLOW_UP and population.reaches(decision.text, int(goal))
    return came


@dataclass(frozen=True)
class Run:
    """One log: the truth of each of FIGURES, and what was estimated from true outcomes and from feedback."""

    truth: tuple[float, ...]  # on the turns of this log
    truth_of_all: tuple[float, ...]  # on those of all logs
    from_outcomes: Forecast
    from_feedback: Forecast


def runs(count: int, knobs: Knobs, folder: Path, evaluation: Evaluation, seed: int = 1) -> list[Run]:
    """So many logs, each of as many turns and customers as the knobs say, and each estimated twice."""
    population = Population.from_table()
    old = Remembered(learned(folder, population))
    new = Dropping(old)
    many = knobs.having(turns=count * knobs.traffic.turns, users=count * knobs.traffic.users)
    whole = explore(old, population, many, seed, folder / "log.jsonl")
    truth_of_all = truth(new, old, whole, population)
    found = []
    for explored in parted(whole, count):
        both = [
            estimate(
                new, explored.log, logged_by=old, holdback=knobs.learning.holdback, reward=reward, evaluation=evaluation
            )
            for reward in (explored.truth.success.astype(np.float64), None)
        ]
        found.append(Run(truth(new, old, explored, population), truth_of_all, *both))
    return found


def truth(new: Rewriter, old: Rewriter, explored: Explored, population: Population) -> tuple[float, ...]:
    """The truth of each of FIGURES."""
    mine, theirs, alone = (float(outcomes(each, explored, population).mean()) for each in (new, old, None))
    return mine, mine - theirs, mine - alone


def estimated(forecast: Forecast, estimator: Estimator) -> list[tuple[float | None, Interval | None]]:
    """Each of FIGURES with its interval."""
    figures = forecast.figures[estimator]
    return [(each.value, each.interval) for each in (figures.new, figures.against_old, figures.against_alone)]


@dataclass(frozen=True)
class Coverage:
    """Of one estimator and one figure, over all runs."""

    held: int  # runs whose interval holds the truth of their turns
    held_of_all: int  # runs whose interval holds the truth of all customers
    runs: int
    bias: float  # mean of estimate less truth
    width: float  # median of the intervals: a robot makes a few very wide


def coverage(done: Sequence[Run], estimator: Estimator, figure: int, feedback: bool = False) -> Coverage:
    """How often the intervals of an estimator held the truth."""
    held, held_of_all, errors, widths = 0, 0, [], []
    for run in done:
        value, interval = estimated(run.from_feedback if feedback else run.from_outcomes, estimator)[figure]
        if value is None or interval is None:
            continue  # no interval holds nothing
        held += interval.low <= run.truth[figure] <= interval.high
        held_of_all += interval.low <= run.truth_of_all[figure] <= interval.high
        errors.append(value - run.truth[figure])
        widths.append(interval.high - interval.low)
    if not errors:
        return Coverage(0, 0, len(done), float("nan"), float("nan"))
    return Coverage(held, held_of_all, len(done), float(np.mean(errors)), float(np.median(widths)))


def main(arguments: list[str]) -> list[Run]:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("runs", 100), ("turns", 8_000), ("users", 400)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--holdback", type=float, default=0.3)
    asked = parser.parse_args(arguments)
    knobs = Knobs().having(turns=asked.turns, users=asked.users, rounds=1, holdback=asked.holdback)
    with TemporaryDirectory() as folder:
        done = runs(asked.runs, knobs, Path(folder), Evaluation())
    first = [run.from_outcomes for run in done]
    mean = {
        name: np.mean([getattr(each, name) for each in first]) for name in ("rewritten_by_old", "withheld", "differing")
    }
    print(
        f"{len(done)} logs of {asked.turns:,} turns and {asked.users} users, holdback {asked.holdback:g}; on average"
        f" {mean['rewritten_by_old']:.0f} turns that the old bundle rewrites, {mean['withheld']:.0f} withheld,"
        f" {mean['differing']:.0f} on which the new one differs; true {FIGURES[1]} {points(done, 1):+.2f} points,"
        f" {FIGURES[2]} {points(done, 2):+.2f}"
    )
    for feedback in (False, True):
        print(f"\nreward: {'observable feedback' if feedback else 'true outcomes'}")
        print(f"{'estimator':14}" + "".join(f"{name + ': held, of all, bias, width':>46}" for name in FIGURES))
        for estimator in Estimator:
            cells = [coverage(done, estimator, figure, feedback) for figure in range(len(FIGURES))]
            told = (f"{c.held}, {c.held_of_all}, {100 * c.bias:+.2f}, {100 * c.width:.2f}" for c in cells)
            print(f"{estimator.value:14}" + "".join(f"{each:>46}" for each in told))
    return done


def points(done: Sequence[Run], figure: int) -> float:
    """The mean truth of a figure, in points."""
    return 100 * float(np.mean([run.truth[figure] for run in done]))


if __name__ == "__main__":
    main(sys.argv[1:])
