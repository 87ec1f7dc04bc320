"""What does a user's own history add to what everyone's requests repair, and does a user without one lose anything?

    python benchmarks/personalisation.py DATA --out FOLDER [--encoder FOLDER] [--worlds NAME ...] [--seed 0] [--quick]

Three worlds (`benchmarks/personal_worlds.py`), DATA as in `benchmarks/online_world.py`:

    shared    simulated users with a few favourite goals, heard as real people were heard by a real recogniser. Every
              sentence that was ever understood is everyone's, so a history can but tell which is likely
    learned   the same users, but a sentence is everyone's only once as many of them said it as `learn` asks for
    callers   the callers of a restaurant line by time: the earlier half of their calls is the history, the later half
              is measured

What is measured on, sentences, users and callers, neither the encoder nor the trees saw.

Three arms, and one to be sure that the global arm is no straw man:

    none              every request as it was said
    global            what everyone's requests propose (`EngineConfig(sources={PRECOMPUTED, GLOBAL})`)
    global alone      the same, judged by trees that were grown, with thresholds that were chosen, without any history
    + personal        both layers

A *defect* is a request that NLU got wrong. A *win* is a defect that is rewritten to a request with the right
interpretation, a *loss* a right request that is rewritten to one with another. The relative defect reduction is
(wins - losses) / defects. Of suggestions nothing is counted. Intervals are by bootstrap over users, and over sentences
where these are known, as few sentences are asked by many users. What personal adds is counted against the better of the
two global arms.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from measure import machine, table, told  # benchmarks/measure.py
from online_world import CANONICAL, World  # benchmarks/online_world.py
from personal_worlds import Calls, Habits, Town, Try, habitual, users_in, write_town  # benchmarks/personal_worlds.py

from eval.measures import Interval
from eval.uncertainty import bootstrap
from rewrite import Action, Decision, EngineConfig, RewriteEngine, Source
from rewrite.asking import interpretation
from rewrite.config import LearnConfig
from rewrite.dense_rung import Request
from rewrite.progress import Progress
from rewrite.reranker_training import RerankerRecipe
from rewrite.retriever import ENCODER, Retriever
from rewrite.retriever_training import Attempt, Ground, RetrieverRecipe, train_encoder, train_retriever

STEPS, QUICK_STEPS = 700, 4
#: Points of relative defect reduction that the personal layer is to add.
MARK = 0.04
#: Share of the sentences that only those know who said them, where models are trained: every assistant meets such.
PRIVATE = 1 / 3
QUICK = Habits(users=30, later=6)
BOTH = frozenset({Source.PRECOMPUTED, Source.GLOBAL, Source.PERSONAL})
EVERYONES = BOTH - {Source.PERSONAL}
WORLDS = ("shared", "learned", "callers")
#: Users that a request needs to be everyone's, as `learn` has it.
LEAST_USERS = LearnConfig().gate.min_users
ARMS = ("global", "global alone", "+ personal")


# Training


def attempts_of(town: Town, *, personal: bool) -> list[Attempt]:
    """What a retriever learns from: the requests that the gate does not answer."""
    return [
        Attempt(
            Request(
                each.heard,
                user=each.user if personal else None,
                interpretation=interpretation(each.nlu, CANONICAL),
                nbest=each.nbest,
            ),
            alone=each.right,
            meant=None if each.right else each.meant,
            frame=each.frame,
            group=each.group,
        )
        for each in town.tries
        if not town.is_passed(each)
    ]


def retriever_for(town: Town, encoder: Path, folder: Path, seed: int, *, personal: bool) -> Retriever:
    """Trees and thresholds from a town, for an encoder; kept in `folder`."""
    if (folder / "retriever.json").is_file():
        return Retriever.load(folder)
    told(f"training {folder.name}")
    passed = sum(each.right and town.is_passed(each) for each in town.tries)
    known = town if personal else replace(town, histories={})
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        ground = Ground(write_town(Path(work) / "ground", known) / "index", users_in(known), dict(known.frames))
        recipe = RetrieverRecipe(reranker=RerankerRecipe(budget=0.003, seed=seed))
        draft = Path(work) / "draft"
        train_retriever(ground, attempts_of(town, personal=personal), draft, recipe, encoder=encoder, passed=passed)
        draft.rename(folder)
    return Retriever.load(folder)


def encoder_for(world: World, out: Path, steps: int) -> Path:
    """An encoder that saw neither the sentences of part 1 nor the callers that are measured; kept in `out`."""
    if (out / ENCODER / "meta.json").is_file():
        return out / ENCODER
    told("training the encoder")
    known = world.without(1)
    heard = [(each.heard, each.meant) for each in known.recordings if not each.right and each.heard and each.meant]
    frames = known.among(known.reached(known.recordings))
    texts = list(dict.fromkeys([*frames, *known.texts]))
    with tempfile.TemporaryDirectory(dir=out) as work:
        draft = Path(work) / ENCODER
        train_encoder(texts, frames, [*heard, *known.pairs], draft, RetrieverRecipe(steps=steps), Progress())
        draft.rename(out / ENCODER)
    return out / ENCODER


# Measuring


@dataclass(frozen=True)
class Outcome:
    """What an arm did with a request."""

    one: Try
    decision: Decision
    win: bool
    loss: bool
    read_right: bool  # whether the likeliest candidate is what was meant, served or not


def asked(engine: RewriteEngine, town: Town, tries: Sequence[Try], *, known: bool = True) -> list[Outcome]:
    """The outcomes of some requests; `known` off: as if nobody knew who asks."""
    decisions = (
        engine.rewrite(each.heard, each.user if known else None, nlu=each.nlu, nbest=[each.heard, *each.nbest])
        for each in tries
    )
    return [_outcome(each, decision, town.frames) for each, decision in zip(tries, decisions, strict=True)]


def _outcome(one: Try, decision: Decision, frames: Mapping[str, str]) -> Outcome:
    served = decision.action is Action.REWRITE
    others = [each.text for each in decision.alternatives]
    first = next(iter(others), "") if decision.action is Action.PASS else decision.text
    right = bool(first) and (first == one.meant or frames.get(first) == one.frame)
    return Outcome(one, decision, served and right and not one.right, served and not right and one.right, right)


def arms(
    town: Town, personal: Retriever, plain: Retriever, work: Path
) -> tuple[dict[str, list[Outcome]], list[bool]]:
    """The outcomes by arm, and of users without a history, and of those that are not known, whether each request is
    decided the same with and without the personal layer."""
    bundle = write_town(work / "personal", town, personal)
    both = RewriteEngine.load(bundle, config=_config(BOTH))
    everyones = RewriteEngine.load(bundle, config=_config(EVERYONES))
    found = {"global": asked(everyones, town, town.tries), "+ personal": asked(both, town, town.tries)}
    new = [each for each in town.tries if each.user not in town.histories] or town.tries
    pairs = zip(*(asked(engine, town, new, known=False) for engine in (everyones, both)), strict=True)
    same = [one.decision == other.decision for one, other in pairs]
    same += [
        one.decision == other.decision
        for one, other in zip(found["global"], found["+ personal"], strict=True)
        if one.one.user not in town.histories
    ]
    alone = RewriteEngine.load(
        write_town(work / "alone", replace(town, histories={}), plain), config=_config(EVERYONES)
    )
    found["global alone"] = [
        replace(each, win=False, loss=False) if town.is_passed(each.one) else each
        for each in asked(alone, town, town.tries)
    ]  # the gate lets a user's own requests pass in every arm
    return found, same


def _config(sources: frozenset[Source]) -> EngineConfig:
    return EngineConfig(sources=sources, deadline_s=10, live=False)


# Figures


@dataclass(frozen=True)
class Reduction:
    """Of one arm."""

    wins: int
    losses: int
    good: int
    share: float  # relative defect reduction
    interval: Interval | None


@dataclass(frozen=True)
class Added:
    """What one arm repairs more than another, as a share of all defects."""

    share: float
    by_user: Interval | None
    by_group: Interval | None


@dataclass(frozen=True)
class Ambiguous:
    """Defects of which the global layer's likeliest reading is wrong, and the right one is in the user's history."""

    defects: int
    wins: dict[str, int]


def reduction(outcomes: Sequence[Outcome], seed: int) -> Reduction:
    """Relative defect reduction of an arm, its interval over users."""
    sums = _sums([_net(outcomes)], outcomes, [str(each.one.user) for each in outcomes])
    return Reduction(
        sum(each.win for each in outcomes),
        sum(each.loss for each in outcomes),
        sum(each.one.right for each in outcomes),
        float(_share(sums.sum(axis=0))),
        bootstrap(sums, _share, seed=seed),
    )


def added(more: Sequence[Outcome], less: Sequence[Outcome], seed: int) -> Added:
    """By how much the reduction of one arm exceeds that of another: the same requests, so the difference is paired."""
    net = _net(more) - _net(less)
    tables = [
        _sums([net], more, groups)
        for groups in ([str(each.one.user) for each in more], [each.one.group for each in more])
    ]
    return Added(float(_share(tables[0].sum(axis=0))), *(bootstrap(sums, _share, seed=seed) for sums in tables))


def _net(outcomes: Sequence[Outcome]) -> np.ndarray:
    return np.array([float(each.win) - float(each.loss) for each in outcomes])


def _sums(columns: Sequence[np.ndarray], outcomes: Sequence[Outcome], groups: Sequence[str]) -> np.ndarray:
    """Of each group the sums of the columns and the defects [groups, columns + 1] float64."""
    _, place = np.unique(groups, return_inverse=True)
    defects = np.array([float(not each.one.right) for each in outcomes])
    return np.stack([np.bincount(place, column) for column in (*columns, defects)], axis=1)


def _share(totals: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(totals[..., 0] / totals[..., -1])


def ambiguous(found: Mapping[str, Sequence[Outcome]], town: Town) -> Ambiguous:
    """Requests that mean something else for this user than for most."""
    own = {user: {town.frames[text] for text in past} for user, past in town.histories.items()}
    places = [
        place
        for place, each in enumerate(found["global alone"])
        if not each.one.right and not each.read_right and each.one.frame in own.get(each.one.user or "", ())
    ]
    return Ambiguous(len(places), {arm: sum(found[arm][place].win for place in places) for arm in ARMS})


def shown(name: str, town: Town, found: Mapping[str, Sequence[Outcome]], same: Sequence[bool], seed: int) -> str:
    """The table of a world and what to say of it."""
    of = {arm: reduction(found[arm], seed) for arm in ARMS}
    defects = sum(not each.right for each in town.tries)
    rows = [["none", 0, 0, "0.00%", "0.0%"]] + [
        [arm, each.wins, each.losses, f"{each.losses / max(each.good, 1):.2%}", _told(each.share, each.interval)]
        for arm, each in of.items()
    ]
    users = {each.user for each in town.tries}
    text = (
        f"{name}: {len(town.tries):,} requests of {len(users):,} users,"
        f" {len(users - town.histories.keys())} of them without a history; {defects:,} defects\n"
    )
    head = ["", "wins", "losses", "good harmed", "relative defect reduction"]
    better = max(ARMS[:2], key=lambda arm: of[arm].share)
    more = added(found["+ personal"], found[better], seed)
    few = ambiguous(found, town)
    return "\n".join(
        [
            text,
            table(head, rows),
            f"\nPersonal adds {_told(more.share, more.by_user)} by user, {_told(more.share, more.by_group)} by sentence"
            f" or caller, to {better!r}; the mark is {MARK:.0%}: {'met' if more.share >= MARK else 'missed'}.",
            f"Read otherwise by everyone's requests, known from the user's own: {few.defects:,} defects, repaired "
            + ", ".join(f"{arm} {wins}" for arm, wins in few.wins.items())
            + ".",
            f"Without a history: {len(same):,} decisions, {len(same) - sum(same)} differ with the personal layer.\n",
        ]
    )


def _told(share: float, interval: Interval | None) -> str:
    return f"{share:.1%}" + (f" ({interval.low:.1%} to {interval.high:.1%})" if interval else "")


# The run


def towns(
    data: Path, world: World, habits: Habits, seed: int, names: Sequence[str]
) -> Iterator[tuple[str, Town, Town]]:
    """Of each world its name, the town to train from and the one to measure on."""
    others = world.without(1).others
    if names != ["callers"]:
        train = habitual(world, 0, others, replace(habits, private=PRIVATE), seed + 1)
    for name in names:
        if name == "callers":
            yield name, *Calls.read(data).towns()
        elif name == "shared":
            yield name, train, habitual(world, 1, world.others, habits, seed + 2)
        else:
            yield name, train, habitual(world, 1, others, replace(habits, least_users=LEAST_USERS), seed + 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with slurp/, queries/, snips_asr/ and dstc2/")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the models are kept")
    parser.add_argument("--encoder", type=Path, metavar="FOLDER", help="an encoder that is trained already")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps of the encoder (default: %(default)s)")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="few users, an encoder that is hardly trained")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    told(machine("faiss-cpu", "onnxruntime", "lightgbm"))
    world = World.read(given.data)
    encoder = given.encoder or encoder_for(world, given.out, QUICK_STEPS if given.quick else given.steps)
    habits = QUICK if given.quick else Habits()
    for name, train, town in towns(given.data, world, habits, given.seed, given.worlds):
        kind = "callers" if name == "callers" else "habits"
        kept = given.out / f"{kind}-{given.seed}"
        personal = retriever_for(train, encoder, kept.with_name(f"{kept.name}-personal"), given.seed, personal=True)
        plain = retriever_for(train, encoder, kept.with_name(f"{kept.name}-plain"), given.seed, personal=False)
        told(f"measuring {name}")
        with tempfile.TemporaryDirectory(dir=given.out) as work:
            found, same = arms(town, personal, plain, Path(work))
        print(shown(name, town, found, same, given.seed), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
