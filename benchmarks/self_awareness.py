"""Does the loop stay right while it changes its own log? Learn, serve, log, learn again, with a planted truth.

    python benchmarks/self_awareness.py [--rounds 20] [--seeds 2] [--half-life 90] [--window 6] [--text-only]
        [--quick] [--json] [--plot FILE]

Each round is two weeks of traffic (`planted.py`) in a world whose rates drift. In the round of flips (the tenth, or the
middle one) a quarter of the broken texts come to mean another goal for most who say them, so that their right rewrites
become wrong, and a tenth begin to work. Three loops serve a traffic of their own with what they learned before:

    naive   the absorbing chain as published: the text with the largest N[u,j] R[j,success], where that is not u itself.
            Its log does not tell what was served: whatever came of a rewritten turn came of the user's own words. From
            the last rounds of a window, by default as long as the half-life by which `learn` forgets
    blind   the gate of `learn`, from the same kind of log, anew from the last rounds of the same window
    aware   `learn` as it is: the log tells what was served and what was held back, the earlier bundle is added to, and
            some rewrites are held back to go on knowing what they are good for

In every round the rewrites that are on are put to the truth of that round, over the texts that ACTIVE wishes or more
are expected to begin with:

    type I    a text that is rewritten, though that is not better by the margin than leaving it alone now
    type II   a text that is not rewritten to anything better by the margin, though there is something
    errors    both, as a share of the active texts (a text rewritten to the wrong target may be both)
    PR area   of all pairs that a loop ranks, as in `rewrite_decisions.py`
    stale     flipped rewrites that are still on; a rewrite is off after as many rounds as it was wrongly served in
    failed    turns of people that fail
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree
from statistics import mean, median
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import machine, table, told
from planted import BEGIN, DAY, Feedback, Planted, Policy, Robots, Shape, World, traffic, write_log
from rewrite_decisions import Proposal, Steps, ours, plain_chain, pr_area

from rewrite import Action, DecayConfig, Decision, EngineConfig, LearnConfig, Reason, RewriteEngine, Source, learn
from rewrite.decision import rewrite_id
from rewrite.job import check

LOOPS = ("naive", "blind", "aware")
ACTIVE = 10
MARGIN = 0.1
DAYS = 14.0
EXPLORED, TRIED = 0.02, 0.1  # shares of requests: rewrites held back, rewrites on trial served (at most)
LATE = 0.25  # of the rounds, the last
#: The columns of a round: the field and its format.
COLUMNS = {
    "on": ("on", ".0f"), "I": ("type_one", ".1f"), "II": ("type_two", ".1f"), "PR area": ("area", ".3f"),
    "failed": ("failed", ".1%"),
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What all loops have in common."""

    shape: Shape = field(default_factory=lambda: Shape(goals=120, users=1_500, flip_round=9))
    robots: Robots = field(default_factory=lambda: Robots(4, 50))
    feedback: Feedback = field(default_factory=Feedback)
    wishes: int = 15_000  # a round
    rounds: int = 20
    nlu: bool = True
    window: int = 6  # rounds
    half_life_days: float = 90.0  # by which `learn` forgets

    @property
    def config(self) -> LearnConfig:
        """Of all that learns."""
        return LearnConfig(decay=DecayConfig(half_life_days=self.half_life_days))


class Naive:
    """The plain chain over what its log seems to say."""

    aware = False

    def __init__(self, folder: Path, window: int) -> None:
        self.folder, self.window = folder, window
        self.table: dict[str, str] = {}
        self.ranked: list[Proposal] = []
        self._attempts: list[pa.Table] = []

    def learn(self, log: Path, world: World) -> None:
        """From one more round's log."""
        rmtree(self.folder / "work", ignore_errors=True)
        check(log, self.folder / "work")
        attempts = pq.read_table(self.folder / "work" / "attempts.parquet", columns=list(Steps.COLUMNS))
        self._attempts = [*self._attempts, attempts][-self.window :]
        self.ranked = plain_chain(Steps.from_attempts(pa.concat_tables(self._attempts)), world)
        self.table = {world.texts[each.source]: world.texts[each.target] for each in self.ranked if each.chosen}

    def serve(self, text: str, user: str) -> Decision:
        """What the chain says."""
        target = self.table.get(text)
        if target is None:
            return Decision(Action.PASS, text, text, Reason.NO_CANDIDATE)
        name = rewrite_id(text, target)
        return Decision(Action.REWRITE, target, text, Reason.LEARNED, Source.PRECOMPUTED, rewrite_id=name)


class Learner:
    """The gate of `learn`; `aware` of what it served, or not."""

    def __init__(self, folder: Path, setting: Setting, *, aware: bool) -> None:
        self.folder, self.setting, self.aware = folder, setting, aware
        self.table: dict[str, str] = {}
        self.ranked: list[Proposal] = []
        self._engine: RewriteEngine | None = None
        self._logs: list[Path] = []
        self._round = 0

    def learn(self, log: Path, world: World) -> None:
        """From one more round's log."""
        before, out = self.folder / f"bundle-{self._round}", self.folder / f"bundle-{self._round + 1}"
        self._logs = [*self._logs, log][-1 if self.aware else -self.setting.window :]
        previous = before if self.aware and self._round else None
        learn(self._logs, out, config=self.setting.config, previous=previous)
        rmtree(before, ignore_errors=True)
        self._round += 1
        config = EngineConfig(
            sources=frozenset({Source.PRECOMPUTED}),
            explore=EXPLORED if self.aware else 0.0,
            trial=TRIED if self.aware else 0.0,
            seed=self._round,
        )
        self._engine = RewriteEngine.load(out, config=config)
        self.ranked = ours(out, world)
        self.table = {world.texts[each.source]: world.texts[each.target] for each in self.ranked if each.chosen}

    def serve(self, text: str, user: str) -> Decision:
        """What the engine says."""
        if self._engine is None:
            return Decision(Action.PASS, text, text, Reason.NO_CANDIDATE)
        return self._engine.rewrite(text, user)


def loop_of(name: str, folder: Path, setting: Setting) -> Naive | Learner:
    """A new loop."""
    return Naive(folder, setting.window) if name == "naive" else Learner(folder, setting, aware=name == "aware")


@dataclass(frozen=True)
class Round:
    """What the truth says of one loop in one round."""

    loop: str
    seed: int
    number: int
    active: int
    repairable: int
    on: int
    type_one: int
    type_two: int
    area: float
    failed: float
    stale: list[str]  # texts whose flipped rewrite is still on
    mended_on: int  # texts that work now and are still rewritten

    @property
    def errors(self) -> float:
        """Both types, as a share of the active texts."""
        return (self.type_one + self.type_two) / self.active


def judged(loop: Naive | Learner, planted: Planted, number: int, wishes: int) -> dict[str, float]:
    """The rewrites that are on in a round, and the ranking, against its truth."""
    world = planted.at(number)
    active = world.said * wishes >= ACTIVE
    repairable = world.repairable(MARGIN) & active
    on = [(world.index[source], world.index[target]) for source, target in loop.table.items()]
    on = [(source, target) for source, target in on if active[source]]
    right = sum(world.good(source, target, MARGIN) for source, target in on)
    return {
        "active": int(active.sum()),
        "repairable": int(repairable.sum()),
        "on": len(on),
        "type_one": len(on) - right,
        "type_two": int(repairable.sum()) - right,
        "area": pr_area(loop.ranked, world, MARGIN, active),
    }


def run(name: str, setting: Setting, seed: int) -> list[Round]:
    """One loop, round after round."""
    planted, found = Planted(setting.shape, seed), list[Round]()
    flip, flipped_pairs = setting.shape.flip_round, dict[str, str]()
    with TemporaryDirectory() as place:
        loop = loop_of(name, Path(place), setting)
        for number in range(setting.rounds):
            world = planted.at(number)
            figures = judged(loop, planted, number, setting.wishes)
            if number == flip:
                flipped_pairs = spoilt(loop.table, planted, number)
            stale = [source for source, target in flipped_pairs.items() if loop.table.get(source) == target]
            mended = sum(world.texts[text] in loop.table for text in planted.mended) if flipped_pairs else 0
            log = Path(place) / f"round-{number:03d}.jsonl"
            failed = one_round(loop, world, setting, seed, number, log)
            found.append(Round(name, seed, number, **figures, failed=failed, stale=stale, mended_on=mended))  # type: ignore[arg-type]
            loop.learn(log, world)
            told(f"seed {seed}, {name}, round {number + 1}: {found[-1].on} on, {found[-1].errors:.1%} errors")
    return found


def one_round(
    loop: Naive | Learner, world: World, setting: Setting, seed: int, number: int, log: Path
) -> float:
    """Serves a round and writes its log; the share of people's turns that failed."""
    policy: Policy = loop.serve
    turns = traffic(
        world, setting.wishes, 1_000 * seed + number, users=setting.shape.users, robots=setting.robots,
        feedback=setting.feedback, policy=policy, begin=BEGIN + number * DAYS * DAY, days=DAYS,
    )  # fmt: skip
    write_log(log, world, turns, name=f"r{number:03d}-", served=loop.aware, nlu=setting.nlu)
    return float(1 - turns.success[turns.user < setting.shape.users].mean())


def spoilt(on: dict[str, str], planted: Planted, number: int) -> dict[str, str]:
    """The rewrites on that the flips of this round turned from right to wrong."""
    now, before = planted.at(number), planted.at(number - 1)
    pairs = [(now.texts[text], on[now.texts[text]]) for text in planted.flipped if now.texts[text] in on]
    return {
        source: target
        for source, target in pairs
        if before.good(now.index[source], now.index[target], MARGIN)
        and not now.good(now.index[source], now.index[target], MARGIN)
    }


def rounds_until_off(done: Sequence[Round], flip: int) -> list[float]:
    """Of every rewrite that flipped, the rounds in which it was served wrongly; infinite where it never was off."""
    mine = sorted(done, key=lambda each: each.number)
    spoilt_by = next((each.stale for each in mine if each.number == flip), [])
    return [_first_without(source, mine, flip) for source in spoilt_by]


def _first_without(source: str, rounds: Sequence[Round], flip: int) -> float:
    later = (each.number - flip for each in rounds if each.number > flip and source not in each.stale)
    return next(later, math.inf)


def report(done: Sequence[Round], setting: Setting) -> str:
    """Round by round, then the late rounds and the marks, in Markdown."""
    head = ["round", *(f"{loop}: {name}" for loop in LOOPS for name in COLUMNS)]
    rows = (
        [str(number + 1), *(cell for loop in LOOPS for cell in _cells(done, loop, number))]
        for number in range(setting.rounds)
    )
    return "\n\n".join([table(head, rows), _summary(done, setting)])


def _cells(done: Sequence[Round], loop: str, number: int) -> Iterator[object]:
    """Means over the seeds."""
    mine = [each for each in done if (each.loop, each.number) == (loop, number)]
    for name, form in COLUMNS.values():
        yield format(mean(getattr(each, name) for each in mine), form)


def late(setting: Setting) -> range:
    """The last quarter of the rounds."""
    return range(setting.rounds - max(round(LATE * setting.rounds), 1), setting.rounds)


def _summary(done: Sequence[Round], setting: Setting) -> str:
    flip = setting.shape.flip_round or 0
    spans = {"served rounds": range(1, setting.rounds), "late rounds": late(setting)}
    rows: list[list[object]] = []
    for loop in LOOPS:
        row: list[object] = [loop]
        for span in spans.values():
            mine = [each for each in done if each.loop == loop and each.number in span]
            row += [f"{mean(each.errors for each in mine):.1%}", f"{mean(each.area for each in mine):.3f}"]
        off = sorted(off for seed in _seeds(done) for off in rounds_until_off(_of(done, loop, seed), flip))
        rows.append([*row, len(off), f"{median(off):g}" if off else "-", f"{max(off):g}" if off else "-"])
    head = ["loop", *(f"{figure}, {span}" for span in spans for figure in ("errors", "PR area"))]
    parts = [table([*head, "flipped", "rounds until off", "worst"], rows)]
    parts += [_mark(done, span, rounds) for span, rounds in spans.items()]
    return "\n\n".join(parts)


def _mark(done: Sequence[Round], name: str, span: range) -> str:
    """What awareness gains over the naive loop."""

    def by_seed(loop: str, figure: str) -> list[float]:
        whole = [[each for each in _of(done, loop, seed) if each.number in span] for seed in _seeds(done)]
        return [mean(getattr(each, figure) for each in rounds) for rounds in whole]

    cut, more = (
        [mine / theirs - 1 for mine, theirs in zip(by_seed("aware", name), by_seed("naive", name), strict=True)]
        for name in ("errors", "area")
    )
    return (
        f"{name}, aware against naive: {median(cut):+.0%} errors ({min(cut):+.0%} to {max(cut):+.0%} by seeds),"
        f" {median(more):+.0%} PR area ({min(more):+.0%} to {max(more):+.0%})"
    )


def _of(done: Sequence[Round], loop: str, seed: int) -> list[Round]:
    return [each for each in done if (each.loop, each.seed) == (loop, seed)]


def _seeds(done: Sequence[Round]) -> list[int]:
    return sorted({each.seed for each in done})


def plot(done: Sequence[Round], setting: Setting, file: Path) -> None:
    """Errors and PR area by round, means over the seeds with all seeds behind them."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise SystemExit("--plot needs matplotlib: pip install 'matplotlib>=3.9'") from error
    figure = Figure(figsize=(10, 4), layout="constrained")
    titles = {"errors": "type I and II errors, share of active texts", "area": "area under precision and recall"}
    for place, (name, title) in enumerate(titles.items(), 1):
        axes = figure.add_subplot(1, 2, place)
        for loop, colour in zip(LOOPS, ("tab:red", "tab:gray", "tab:blue"), strict=True):
            lines = [[getattr(each, name) for each in _of(done, loop, seed)] for seed in _seeds(done)]
            rounds = range(1, setting.rounds + 1)
            for line in lines if len(lines) > 1 else ():
                axes.plot(rounds, line, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(rounds, np.mean(lines, axis=0), color=colour, label=loop)
        if setting.shape.flip_round is not None:
            axes.axvline(setting.shape.flip_round + 1, color="black", linestyle=":", linewidth=0.8)
        axes.set(title=title, xlabel="round", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].legend()
    figure.savefig(file)


def main(arguments: Sequence[str] | None = None) -> list[Round]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--wishes", type=int, default=15_000, help="of each round, of some 1.6 turns each")
    parser.add_argument("--flipped", type=float, default=Feedback.flipped, help="share of outcomes that are flipped")
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--half-life", type=float, default=Setting.half_life_days, help="days, of `learn`")
    parser.add_argument("--window", type=int, default=Setting.window, help="rounds that naive and blind learn from")
    parser.add_argument("--text-only", action="store_true", help="log no interpretations")
    parser.add_argument("--quick", action="store_true", help="five rounds of one small world")
    parser.add_argument("--json", action="store_true", help="print the figures of every round instead of tables")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them, as .svg or .png")
    given = parser.parse_args(arguments)
    feedback = Feedback(flipped=given.flipped)
    shape = Shape(goals=120, users=1_500, flip_round=given.rounds // 2 - 1)
    memory = {"window": given.window, "half_life_days": given.half_life}
    common = {"feedback": feedback, "nlu": not given.text_only, **memory}
    setting = Setting(shape, wishes=given.wishes, rounds=given.rounds, **common)
    seeds = range(given.seed, given.seed + given.seeds)
    if given.quick:
        shape, seeds = Shape(goals=32, users=400, flip_round=2), range(given.seed, given.seed + 1)
        setting = Setting(shape, Robots(2, 20), wishes=3_000, rounds=5, **common)
    begun = time.monotonic()
    jobs = [(name, setting, seed) for seed in seeds for name in LOOPS]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        done = [each for rounds in pool.map(run, *zip(*jobs, strict=True)) for each in rounds]
    told(f"{time.monotonic() - begun:.0f} s")
    if given.json:
        print(json.dumps([asdict(each) | {"errors": each.errors} for each in done], indent=1))
    else:
        print(f"{machine('numpy', 'pyarrow', 'duckdb')}; {len(seeds)} seeds, {setting.wishes:,} wishes a round\n")
        print(report(done, setting))
    if given.plot:
        plot(done, setting, given.plot)
    return done


if __name__ == "__main__":
    main(sys.argv[1:])
