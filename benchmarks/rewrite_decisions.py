"""Which rewrites are right? The table that `learn` makes against simpler ways, where the truth is planted.

    python benchmarks/rewrite_decisions.py [--seeds 5] [--wishes 140000] [--flipped 0.05 0.1 0.2] [--text-only] [--json]

For each seed and share of flipped outcomes one log is made (`planted.py`), and four ways choose rewrites from it, all
from the same sessions, outcomes and rephrases, those that `learn` finds:

    none      leaves all alone
    one hop   the next try that succeeds most often, where it does so more often than the text itself
    chain     the absorbing chain: the text with the largest N[u,j] R[j,success], where that is not u itself
    ours      the table of `learn`

The middle two ask for MIN_TURNS turns of a text and of a hop. A rewrite is right where it truly beats leaving the text
alone by more than the margin. Reported are, as medians over the seeds with the middle half (or all, of few):

    size, precision     of the whole table of a way
    at n                precision of the n rewrites that a way scores highest, n being the size of ours
    PR area             under precision and recall: each text that FEWEST_USERS users said counts once, with the target
                        that a way scores highest; those that have no right rewrite among them are wrong at any target
    wins, losses        of 1,000 wishes of fresh traffic, expected from the truth, with the whole table

False discoveries of ours are pooled over the seeds, with a Jeffreys interval and one by resampling seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from measure import machine, spread, table, told
from numpy.typing import NDArray
from planted import Feedback, Planted, Robots, Shape, Traffic, World, traffic, write_log

from eval.measures import jeffreys
from markov import AbsorbingChain, Counts, Edges
from rewrite import Bundle, LearnConfig, learn
from rewrite.job import check

MICRO = 1_000_000
MIN_TURNS = 5
FEWEST_USERS = 5
MARGINS = (0.1, 0.0)
WAYS = ("none", "one hop", "chain", "ours")
RESAMPLED = 2_000


@dataclass(frozen=True, slots=True)
class Proposal:
    """The best target of a source by one way; `chosen`: it is in that way's table."""

    source: int
    target: int
    score: float
    chosen: bool


@dataclass(frozen=True, slots=True)
class Steps:
    """What a log shows, turn by turn and uncapped: each text's own turns, and the tries that followed them."""

    COLUMNS: ClassVar = ("said", "success", "ended_well", "next_said", "link")  # what is read of attempts

    texts: list[str]
    turns: NDArray[np.int64]  # [texts]
    success: NDArray[np.float64]  # [texts] sum of P(success)
    ended_well: NDArray[np.float64]  # [texts] sum of P(success and no further try)
    moved_on: NDArray[np.float64]  # [texts] sum of P(further try)
    source: NDArray[np.int64]  # [hops]
    target: NDArray[np.int64]  # [hops]
    weight: NDArray[np.float64]  # [hops]
    seen: NDArray[np.int64]  # [hops] turns

    @classmethod
    def from_attempts(cls, attempts: pa.Table) -> Steps:
        """Of the rows that the mining job makes of turns, with hops of MIN_TURNS turns."""
        own = attempts.group_by("said").aggregate(
            [("success", "count"), ("success", "sum"), ("ended_well", "sum"), ("link", "sum")]
        )
        own = own.filter(pc.greater_equal(own["success_count"], MIN_TURNS)).sort_by("said")
        texts = own["said"].to_pylist()
        hops = attempts.filter(pc.is_valid(attempts["next_said"])).group_by(["said", "next_said"])
        hops = hops.aggregate([("link", "count"), ("link", "sum")])
        hops = hops.sort_by([("said", "ascending"), ("next_said", "ascending")])
        places = [_places(hops[name], texts) for name in ("said", "next_said")]
        seen = hops["link_count"].to_numpy()
        kept = (places[0] >= 0) & (places[1] >= 0) & (seen >= MIN_TURNS)
        sums = (own[name].to_numpy() / MICRO for name in ("success_sum", "ended_well_sum", "link_sum"))
        weight = hops["link_sum"].to_numpy() / MICRO
        return cls(
            texts, own["success_count"].to_numpy(), *sums, places[0][kept], places[1][kept], weight[kept], seen[kept]
        )


def _places(column: pa.ChunkedArray, texts: list[str]) -> NDArray[np.int64]:
    """The place of each text in `texts`, or -1 [rows]."""
    found = pc.index_in(column.combine_chunks(), pa.array(texts, pa.string()))
    return np.asarray(pc.fill_null(found, -1)).astype(np.int64)


def one_hop(steps: Steps, world: World) -> list[Proposal]:
    """Of each text the next try that succeeds most often."""
    score = steps.weight * (steps.success / steps.turns)[steps.target]
    score[steps.source == steps.target] = 0
    order = np.lexsort((steps.target, -score, steps.source))
    best = order[np.insert(steps.source[order][1:] != steps.source[order][:-1], 0, True)] if len(order) else order
    return [
        Proposal(
            world.index[steps.texts[source]], world.index[steps.texts[target]], float(score[hop]),
            bool(score[hop] > steps.ended_well[source]),
        )
        for hop, source, target in zip(best, steps.source[best], steps.target[best], strict=True)
        if score[hop] > 0
    ]  # fmt: skip


def plain_chain(steps: Steps, world: World) -> list[Proposal]:
    """Of each text the other one with the largest N[u,j] R[j,success] (Ponnusamy et al., AAAI 2020)."""
    users = np.ones_like(steps.seen)
    failed = np.maximum(steps.turns - steps.moved_on - steps.ended_well, 0.0)
    edges = Edges(steps.source, steps.target, steps.weight, steps.seen, users)
    if not len(edges):
        return []
    counts = Counts(tuple(steps.texts), edges, steps.ended_well, failed, steps.turns, np.ones_like(steps.turns))
    chain = AbsorbingChain.from_counts(counts)
    found = []
    for each in chain.reformulations():
        source, target = world.index[str(each.source)], world.index[str(each.target)]
        own = chain.visits(each.source)[0, chain.index(each.source)] * each.source_direct
        found.append(Proposal(source, target, each.score, bool(each.score > own)))
    return found


def ours(bundle: Path, world: World) -> list[Proposal]:
    """Of each text the pair of the table, or else the one with the best chance; the score is its place among all.

    Of pairs with the same chance, as those without any, the one with the higher score of the chain comes first.
    """
    opened = Bundle.open(bundle)
    table = {row["source"]: row["target"] for row in opened.rewrites() if row["standing"] == "on"}
    best: dict[str, tuple[bool, float, float, str]] = {}
    for row in opened.rewrites("candidates"):
        source, target = row["source"], row["target"]
        found = (table.get(source) == target, row["chance"], row["chain_score"], target)
        best[source] = max(best.get(source, found), found)
    order = sorted(best, key=lambda source: best[source][1:3])
    places = {source: place for place, source in enumerate(order, 1)}
    return [
        Proposal(world.index[source], world.index[target], places[source], chosen)
        for source, (chosen, _, _, target) in best.items()
    ]


@dataclass(frozen=True)
class Figures:
    """Of one way, seed and share of flipped outcomes. By margin: lists in the order of MARGINS."""

    way: str
    flipped: float
    seed: int
    size: int
    right: list[int]  # of the table
    size_at_n: int  # fewer than n where the table is smaller
    right_at_n: list[int]
    area: list[float]
    wins: float
    losses: float
    wins_at_n: float
    losses_at_n: float
    repairable: list[int]


def figures(
    way: str, proposals: Sequence[Proposal], n: int, world: World, active: NDArray[np.bool_], flipped: float, seed: int
) -> Figures:
    """What the truth says of one way's proposals."""
    chosen = sorted((each for each in proposals if each.chosen), key=lambda each: (-each.score, each.source))

    def right(some: Sequence[Proposal]) -> list[int]:
        return [sum(world.good(each.source, each.target, margin) for each in some) for margin in MARGINS]

    def expected(some: Sequence[Proposal]) -> tuple[float, float]:
        pairs = np.array([world.wins_losses(each.source, each.target) for each in some]).reshape(-1, 2)
        wins, losses = (1_000 * pairs.sum(0)).tolist()
        return wins, losses

    return Figures(
        way, flipped, seed, len(chosen), right(chosen), min(n, len(chosen)), right(chosen[:n]),
        [pr_area(proposals, world, margin, active) for margin in MARGINS], *expected(chosen), *expected(chosen[:n]),
        [int((world.repairable(margin) & active).sum()) for margin in MARGINS],
    )  # fmt: skip


def pr_area(proposals: Sequence[Proposal], world: World, margin: float, active: NDArray[np.bool_]) -> float:
    """Average precision over active sources, each once; equal scores enter together."""
    counted = [each for each in proposals if active[each.source]]
    positives = int((world.repairable(margin) & active).sum())
    if not counted or not positives:
        return 0.0
    score = np.array([each.score for each in counted])
    right = np.array([world.good(each.source, each.target, margin) for each in counted])
    order = np.argsort(-score, kind="stable")
    score, hits = score[order], np.cumsum(right[order])
    last = np.append(score[1:] != score[:-1], True)  # the last of each run of equal scores
    precision, recall = hits[last] / (np.flatnonzero(last) + 1), hits[last] / positives
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def said_by(turns: Traffic, world: World, users: int, people: int) -> NDArray[np.bool_]:
    """Which texts at least so many people said [texts]."""
    human = turns.user < people
    pairs = np.unique(turns.said[human] * (turns.user.max() + 1) + turns.user[human])
    return np.bincount(pairs // (turns.user.max() + 1), minlength=len(world.texts)) >= users


@dataclass(frozen=True)
class Trial:
    """What is run, over and over."""

    shape: Shape
    robots: Robots
    wishes: int
    nlu: bool
    config: LearnConfig


def one_log(trial: Trial, flipped: float, seed: int, folder: Path) -> list[Figures]:
    """The four ways on one log."""
    world = Planted(trial.shape, seed).at()
    turns = traffic(
        world, trial.wishes, seed, users=trial.shape.users, robots=trial.robots, feedback=Feedback(flipped=flipped)
    )
    log = write_log(folder / "log.jsonl", world, turns, nlu=trial.nlu)
    learn(log, folder / "bundle", config=trial.config)
    check(log, folder / "work", config=trial.config)
    steps = Steps.from_attempts(pq.read_table(folder / "work" / "attempts.parquet"))
    proposed = {
        "none": [], "one hop": one_hop(steps, world), "chain": plain_chain(steps, world),
        "ours": ours(folder / "bundle", world),
    }  # fmt: skip
    n = sum(each.chosen for each in proposed["ours"])
    active = said_by(turns, world, FEWEST_USERS, trial.shape.users)
    return [figures(way, proposed[way], n, world, active, flipped, seed) for way in WAYS]


def runs(trial: Trial, shares: Sequence[float], seeds: int) -> Iterator[Figures]:
    """All logs of all seeds."""
    for flipped in shares:
        for seed in range(seeds):
            begun = time.monotonic()
            with TemporaryDirectory() as folder:
                done = one_log(trial, flipped, seed, Path(folder))
            told(
                f"{flipped:.0%} flipped, seed {seed}: {time.monotonic() - begun:.0f} s, "
                + ", ".join(f"{each.way} {each.right[0]} of {each.size}" for each in done[1:])
            )
            yield from done


def report(done: Sequence[Figures], nominal: float) -> str:
    """The tables, in Markdown."""
    parts = []
    for place, margin in enumerate(MARGINS):
        head = ["flipped", "way", "size", "precision", "at n", "PR area", "wins", "losses", "wins : losses"]
        parts.append(f"better by more than {margin:g}:\n\n" + table(head, _rows(done, place)))
    return "\n\n".join([*parts, *_false_discoveries(done, nominal)])


def _rows(done: Sequence[Figures], place: int) -> Iterator[list[object]]:
    for flipped in sorted({each.flipped for each in done}):
        for way in WAYS:
            mine = [each for each in done if (each.flipped, each.way) == (flipped, way)]
            wins, losses = (sum(getattr(each, name) for each in mine) for name in ("wins", "losses"))
            yield [
                f"{flipped:.0%}", way, _spread([each.size for each in mine]),
                _spread([each.right[place] / each.size for each in mine if each.size]),
                _spread([each.right_at_n[place] / each.size_at_n for each in mine if each.size_at_n]),
                _spread([each.area[place] for each in mine]),
                _spread([each.wins for each in mine]), _spread([each.losses for each in mine]),
                f"{wins / losses:.1f}" if losses else "-",
            ]  # fmt: skip


def _spread(values: Sequence[float]) -> str:
    return spread(values) if values else "-"


def _false_discoveries(done: Sequence[Figures], nominal: float) -> Iterator[str]:
    for flipped in sorted({each.flipped for each in done}):
        mine = [each for each in done if (each.flipped, each.way) == (flipped, "ours")]
        repairable = np.median([each.repairable[0] for each in mine])
        for place, margin in enumerate(MARGINS):
            wrong, size = sum(each.size - each.right[place] for each in mine), sum(each.size for each in mine)
            if not size:
                yield f"{flipped:.0%} flipped, margin {margin:g}: ours is empty"
                continue
            interval = jeffreys(wrong, size)
            assert interval is not None
            low, high = resampled(mine, place)
            yield (
                f"{flipped:.0%} flipped, margin {margin:g}: {wrong} of {size} rewrites of ours are false discoveries,"
                f" {wrong / size:.2%} (Jeffreys {interval.low:.2%} to {interval.high:.2%}, by seeds {low:.2%} to"
                f" {high:.2%}; nominal {nominal:.0%}); {repairable:.0f} texts could be repaired"
            )


def resampled(mine: Sequence[Figures], place: int) -> tuple[float, float]:
    """The middle 95 % of the share of false discoveries over resampled seeds."""
    counts = np.array([(each.size - each.right[place], each.size) for each in mine])
    rows = np.random.default_rng(0).integers(0, len(counts), (RESAMPLED, len(counts)))
    wrong, size = counts[rows].sum(1).T
    low, high = np.percentile(wrong / np.maximum(size, 1), [2.5, 97.5]).tolist()
    return low, high


def main(arguments: Sequence[str] | None = None) -> list[Figures]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--wishes", type=int, default=140_000, help="of each log, of some 1.6 turns each")
    parser.add_argument("--flipped", type=float, nargs="+", default=[0.05, 0.1, 0.2], help="shares of outcomes")
    parser.add_argument("--text-only", action="store_true", help="log no interpretations")
    parser.add_argument("--quick", action="store_true", help="one seed of a small world")
    parser.add_argument("--json", action="store_true", help="print the figures of every seed instead of tables")
    given = parser.parse_args(arguments)
    shape, robots, config = Shape(), Robots(), LearnConfig()
    if given.quick:
        shape, robots, given.seeds, given.wishes = Shape(goals=40, users=600), Robots(2, 100), 1, 15_000
    trial = Trial(shape, robots, given.wishes, not given.text_only, config)
    done = list(runs(trial, given.flipped, given.seeds))
    if given.json:
        print(json.dumps([asdict(each) for each in done], indent=1))
        return done
    print(f"{machine('numpy', 'pyarrow', 'duckdb')}; {given.seeds} seeds, {given.wishes:,} wishes a log\n")
    print(report(done, config.gate.false_discoveries))
    return done


if __name__ == "__main__":
    main(sys.argv[1:])
