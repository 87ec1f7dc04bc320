"""What would a new bundle have done to the users of a log? Estimated before it is shipped, from a log that explored.

The old bundle's rewrites were withheld at random (the *holdback*): the log shows what comes of a request with and
without its rewrite. The new bundle is asked about every turn; it leaves the turn alone, does as the old one would, or
does something *never tried*, of which no log can tell.

    the old bundle        the turn was        propensity      the new bundle may be judged there if it
    leaves it alone       left alone          1               leaves it alone
    rewrites it           rewritten           1 - holdback    leaves it alone, or rewrites it alike
    rewrites it           withheld            holdback        the same

All else is refused or bounded: estimates are for the turns on which the new bundle does something tried, and for all
turns there are bounds, with what was never tried counted once as failures and once as successes.

The answer is for the turns as they came: that a user who is served well does not try again is seen by a live test, or
by the closed loop. Rewards are P(success) as the log lets one observe it; where that is off, so is the estimate, and no
interval covers it.

What a missing case scores
    a log in which nothing was rewritten        EstimateError: it is not the log of that bundle
    propensities that are not 1 - holdback      EstimateError, as are rewrites withheld more or less often than that
    a rewrite that the old bundle does not make EstimateError: another bundle served, or its overrides were changed
    a suggestion, a fault, a passed deadline    as left alone
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dialogue.canonical import Canonicaliser
from dialogue.reader import LogReader, PathLike, read_log
from dialogue.turn import Turn
from eval.arrays import Floats, Ints, flat, fraction
from eval.counterfactual import SHRINKAGE, Estimate, Evaluation, Refusal, cross_fitted, shrunk_means
from eval.counterfactual import OutcomeModel as RewardModel
from eval.errors import EvalError
from eval.feedback import JudgedSessions
from eval.logged import Logged
from eval.measures import Interval
from eval.rewriter import Rewriter
from eval.uncertainty import bootstrap, difference, ratio, sums_by_user
from rewrite import Action, EngineConfig, RewriteEngine, Source

if TYPE_CHECKING:
    from rich.table import Table

#: Time is no part of an estimate: a busy machine must not change what a bundle would do.
NO_DEADLINE = 3_600.0
#: Withholding this unlikely under the holdback that was named is an error.
UNLIKELY = 1e-6
#: Answers of an engine that are kept: the same user says the same again.
REMEMBERED = 100_000
#: Fewer turns than this on which two policies differ, and an interval of their difference is too narrow.
FEW = 30

#: P(success) of a turn, from 0 to 1.
Reward = Callable[[Turn], float]

_CANONICAL = Canonicaliser()
_SOURCES = list(Source)


class EstimateError(EvalError):
    """A log that cannot speak for the new bundle; the message says why and what to do."""


class Estimator(StrEnum):
    """How an estimate is made; the formulas are in `eval.counterfactual`."""

    IPS = "ips"
    SNIPS = "snips"
    DOUBLY_ROBUST = "doubly_robust"


@dataclass(frozen=True, slots=True)
class Change:
    """By how much the new bundle's success rate exceeds another's, both estimated on the same turns."""

    value: float | None
    interval: Interval | None  # None also where both do the same on every turn, or where too few users differ


@dataclass(frozen=True, slots=True)
class Figures:
    """The success rates that one estimator finds, on the turns on which everything was tried."""

    new: Estimate
    old: Estimate  # the old bundle without its holdback
    alone: Estimate  # everything left alone
    against_old: Change
    against_alone: Change


@dataclass(frozen=True)
class Forecast:
    """What a log says of a new bundle."""

    turns: int
    users: int
    holdback: float
    rewritten_by_old: int  # turns that the old bundle would rewrite
    withheld: int  # of those, left alone
    rewritten_by_new: int
    differing: int  # turns on which the two bundles do not do the same
    never_tried: int  # turns on which the new bundle does something that the log never shows
    mean_reward: float  # of the log as it is
    reward: str  # what a success was judged by
    figures: Mapping[Estimator, Figures] = field(default_factory=dict)
    bounds: Interval | None = None  # of the success rate on all turns: doubly robust, with both intervals' ends

    @property
    def share_never_tried(self) -> float:
        return self.never_tried / self.turns

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; null is "not measured"."""
        plain = {
            name: getattr(self, name)
            for name in (
                "turns", "users", "holdback", "rewritten_by_old", "withheld", "rewritten_by_new", "differing",
                "never_tried", "share_never_tried", "mean_reward", "reward",
            )
        }  # fmt: skip
        figures = {estimator.value: _plain(found) for estimator, found in self.figures.items()}
        bounds = list(self.bounds) if self.bounds else None
        return {"format": "reprise-estimate", "version": 1} | plain | {"estimates": figures, "success_bounds": bounds}

    def tables(self) -> Iterator[Table]:
        """What was logged, then the estimates, for people."""
        from rich.table import Table

        log = Table("the log", "", title="What the log has tried", title_justify="left")
        for name, value in (
            ("turns, users", f"{self.turns:,}, {self.users:,}"),
            ("the old bundle would rewrite", f"{self.rewritten_by_old:,}, of which {self.withheld:,} were withheld"),
            ("the new bundle would rewrite", f"{self.rewritten_by_new:,}"),
            ("turns on which they differ", f"{self.differing:,}"),
            ("never tried", f"{self.never_tried:,} ({self.share_never_tried:.2%})"),
            ("rows that count (effective)", _effective(self.figures)),
            ("a success is judged by", self.reward),
        ):
            log.add_row(name, value)
        yield log
        title = "Estimated where everything was tried; changes of the success rate in points"
        table = Table("estimator", "success", "defects", "against old", "against none", title=title)
        table.title_justify = "left"
        for estimator, each in self.figures.items():
            changes = (_points(each.against_old), _points(each.against_alone))
            table.add_row(estimator.value.replace("_", " "), *_rates(each.new), *changes)
        yield table

    @property
    def says(self) -> str:
        """What the estimates cannot tell, in words."""
        found = []
        if self.never_tried:
            span = f"between {self.bounds.low:.1%} and {self.bounds.high:.1%}" if self.bounds else "not bounded"
            found.append(
                f"On {self.never_tried:,} of {self.turns:,} turns ({self.share_never_tried:.2%}) the new bundle does"
                f" something never tried, and is not judged there. Its success rate on all turns is {span}."
            )
        if self.rewritten_by_old and not self.differing:
            found.append("The new bundle does on every turn what the old one does.")
        for differing, other in ((self.differing, "the old bundle"), (self.rewritten_by_new, "leaving all alone")):
            turns = differing - self.never_tried
            if 0 < turns < FEW:
                found.append(
                    f"Only {turns} turns tell the new bundle from {other}: too few to rely on the interval of that"
                    " difference."
                )
        return " ".join(found)


def estimate(
    new: Rewriter | str | Path,
    logs: PathLike | Iterable[PathLike],
    *,
    logged_by: Rewriter | str | Path,
    holdback: float,
    reward: Reward | ArrayLike | None = None,
    evaluation: Evaluation | None = None,
    session_gap_s: float | None = None,
    told: Callable[[LogReader], None] = lambda _: None,
) -> Forecast:
    """Estimates the success rate of a new bundle from a log in which `logged_by` served but for its holdback.

    `reward` is P(success) of each turn, as a callable or as numbers [turns] in the order of the log; by default
    `dialogue.OutcomeModel` over whole sessions, cut at `session_gap_s` of silence or where the log suggests. Raises
    EstimateError, DialogueError, BundleError; ValueError for a holdback that is not strictly between 0 and 1.
    """
    fraction("holdback", holdback)
    evaluation, old = evaluation or Evaluation(), _engine(logged_by)
    rows = _Rows(old, old if new is logged_by else _engine(new), holdback)
    judged = JudgedSessions() if reward is None else None
    reader = read_log(logs)
    for turns in reader:
        for turn in turns:
            rows.add(turn, reward if callable(reward) else None)
        if judged:
            judged.add(turns)
        told(reader)
    given = judged.p_success(session_gap_s) if judged else None if callable(reward) else flat("reward", reward, 0, 1)  # type: ignore[arg-type]
    name = "observable feedback (dialogue.OutcomeModel)" if judged else "outcomes that were given"
    return rows.forecast(given, name, evaluation)


def by_text(text: Ints) -> RewardModel:
    """A reward model that knows what was said: `shrunk_means`, pulled towards by each action's mean after a text.

    `text` is the number of the text of each row, from 0 [rows] int64: a third level below those of `shrunk_means`.
    """

    def model(logged: Logged, training: NDArray[np.bool_]) -> Floats:
        prior = shrunk_means(logged, training)
        shape = (int(text.max()) + 1, logged.actions)
        cell = (text * logged.actions + logged.action)[training]
        rows = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
        gained = np.bincount(cell, weights=logged.reward[training], minlength=rows.size).reshape(shape)
        return np.asarray((gained[text] + SHRINKAGE * prior) / (rows[text] + SHRINKAGE))

    return model


class _Rows:
    """The decisions of a log as flat columns while they are read; each is checked against the old bundle."""

    def __init__(self, old: Rewriter, new: Rewriter, holdback: float) -> None:
        self._old = lru_cache(REMEMBERED)(partial(_answer, old))
        self._new = self._old if new is old else lru_cache(REMEMBERED)(partial(_answer, new))
        self._holdback = holdback
        self._users: dict[str, int] = {}
        self._texts: dict[str, int] = {}
        self._user, self._text = array("q"), array("q")
        self._source = array("b")  # of the old bundle's rewrite, from 1; 0 where it leaves the turn alone
        self._done = array("b")  # 1 where a rewrite was served
        self._does = array("b")  # the new bundle: 0 leaves alone, 1 as the old one would, 2 something never tried
        self._reward = array("d")

    def add(self, turn: Turn, reward: Reward | None) -> None:
        """One more turn, with its reward if that is told turn by turn."""
        said, user = turn.said, turn.user_id
        (would, source), (does, _) = self._old(said, user), self._new(said, user)
        self._user.append(self._users.setdefault(user, len(self._users)))
        self._text.append(self._texts.setdefault(_CANONICAL(said), len(self._texts)))
        self._source.append(source)
        self._done.append(self._checked(turn, would))
        self._does.append(0 if does is None else 1 if does == would else 2)
        if reward:
            self._reward.append(reward(turn))

    def _checked(self, turn: Turn, would: str | None) -> bool:
        """Whether the turn was rewritten; EstimateError where that is not the old bundle's doing."""
        served = turn.served
        if served is None or _CANONICAL(served.rewrite) == _CANONICAL(served.original):
            return False
        if _CANONICAL(served.rewrite) != would:
            makes = "leaves it alone" if would is None else f"rewrites it to {would!r}"
            raise EstimateError(
                f"turn {turn.turn_id}: {served.original!r} was rewritten to {served.rewrite!r}, but the old bundle"
                f" {makes}. Name the bundle, with its overrides, that served this log, or the part of the log that it"
                " served"
            )
        wanted = 1 - self._holdback
        if served.propensity is None or abs(served.propensity - wanted) > 1e-4:
            came = "no propensity" if served.propensity is None else f"propensity {served.propensity:g}"
            raise EstimateError(
                f"turn {turn.turn_id} was rewritten with {came}, but a holdback of {self._holdback:g} makes it"
                f" {wanted:g}. Name the holdback that the log was served with"
            )
        return True

    def forecast(self, reward: Floats | None, judged_by: str, evaluation: Evaluation) -> Forecast:
        """The estimates, once all is read."""
        earned = np.array(self._reward, np.float64) if reward is None else reward
        if len(earned) != len(self._user):
            raise ValueError(f"{len(earned)} rewards came for a log of {len(self._user)} turns: one a turn is wanted")
        source, done, does = (np.array(each, np.int64) for each in (self._source, self._done, self._does))
        would = source > 0
        self._refuse_unexplored(int(would.sum()), int(done.sum()))
        propensity = np.where(would, np.where(done == 1, 1 - self._holdback, self._holdback), 1.0)
        tried = does < 2
        logged = Logged(np.array(self._user), done, propensity, _policy(does == 0, does == 1), earned, source)
        text, old = np.array(self._text), _policy(~would, would)
        return Forecast(
            turns=len(done),
            users=len(self._users),
            holdback=self._holdback,
            rewritten_by_old=int(would.sum()),
            withheld=int(would.sum() - done.sum()),
            rewritten_by_new=int((does > 0).sum()),
            differing=int((does != would).sum()),
            never_tried=int((~tried).sum()),
            mean_reward=float(earned.mean()),
            reward=judged_by,
            figures=_figures(_only(logged, tried), old[tried], by_text(text[tried]), evaluation) if tried.any() else {},
            bounds=_bounds(logged, by_text(text), ~tried, evaluation),
        )

    def _refuse_unexplored(self, would: int, done: int) -> None:
        from scipy.stats import binomtest

        if not done:
            raise EstimateError(
                f"nothing was rewritten in this log of {len(self._user):,} turns, where the old bundle would rewrite"
                f" {would:,}: there is nothing to learn from it. Give a log that the old bundle served"
            )
        if binomtest(would - done, would, self._holdback).pvalue < UNLIKELY:
            raise EstimateError(
                f"of {would:,} turns that the old bundle would rewrite, {would - done:,} were left alone"
                f" ({(would - done) / would:.1%}), but a holdback of {self._holdback:g} was named. Name the holdback"
                " and the bundle that served this log, and leave out users whom it did not serve"
            )


def _answer(engine: Rewriter, said: str, user: str) -> tuple[str | None, int]:
    """The canonical text of an engine's rewrite with the number of its source, or (None, 0) where it makes none."""
    decision = engine.rewrite(said, user)
    text = _CANONICAL(decision.text)
    if decision.action is not Action.REWRITE or text == _CANONICAL(said):
        return None, 0
    return text, 1 + _SOURCES.index(decision.source)


def _engine(given: Rewriter | str | Path) -> Rewriter:
    if isinstance(given, str | Path):
        return RewriteEngine.load(given, config=EngineConfig(deadline_s=NO_DEADLINE))
    return given


def _policy(alone: NDArray[np.bool_], rewritten: NDArray[np.bool_]) -> Floats:
    return np.column_stack([alone, rewritten]).astype(np.float64)


def _only(logged: Logged, rows: NDArray[np.bool_]) -> Logged:
    return Logged(
        np.asarray(logged.user)[rows], logged.action[rows], logged.propensity[rows], logged.policy[rows],
        logged.reward[rows], logged.contexts[rows],
    )  # fmt: skip


def _figures(logged: Logged, old: Floats, model: RewardModel, evaluation: Evaluation) -> dict[Estimator, Figures]:
    """Of three policies on the same rows: the new bundle, the old one [rows, 2] float64, and leaving all alone."""
    alone = np.zeros_like(old)
    alone[:, 0] = 1
    policies = [logged, replace(logged, policy=old), replace(logged, policy=alone)]
    guess = cross_fitted(logged, model, evaluation.seed)
    found = {}
    for estimator in Estimator:
        of_new, of_old, of_none = (_estimate(estimator, each, model, evaluation) for each in policies)
        terms, *others = (_terms(estimator, each, guess, evaluation.clip) for each in policies)
        found[estimator] = Figures(
            of_new, of_old, of_none,
            _change(logged, of_old, of_new, others[0], terms, evaluation),
            _change(logged, of_none, of_new, others[1], terms, evaluation),
        )  # fmt: skip
    return found


def _estimate(estimator: Estimator, logged: Logged, model: RewardModel, evaluation: Evaluation) -> Estimate:
    if estimator is Estimator.DOUBLY_ROBUST:
        return evaluation.doubly_robust(logged, model)
    return evaluation.ips(logged) if estimator is Estimator.IPS else evaluation.snips(logged)


def _terms(estimator: Estimator, logged: Logged, guess: Floats, clip: float) -> tuple[Floats, Floats]:
    """What an estimate is the ratio of totals of, row by row, so that two of them can be compared by user."""
    weights, ones = logged.weights(clip), np.ones(len(logged))
    if estimator is Estimator.DOUBLY_ROBUST:
        error = logged.reward - guess[np.arange(len(logged)), logged.action]
        return (logged.policy * guess).sum(axis=1) + weights * error, ones
    return weights * logged.reward, ones if estimator is Estimator.IPS else weights


def _change(
    logged: Logged,
    other: Estimate,
    new: Estimate,
    before: tuple[Floats, Floats],
    after: tuple[Floats, Floats],
    evaluation: Evaluation,
) -> Change:
    if new.value is None or other.value is None:
        return Change(None, None)
    sums = sums_by_user(logged.user, *before, *after)
    interval = bootstrap(sums, difference, level=evaluation.level, seed=evaluation.seed, draws=evaluation.draws)
    return Change(new.value - other.value, _finite(interval))


def _bounds(logged: Logged, model: RewardModel, untried: NDArray[np.bool_], evaluation: Evaluation) -> Interval | None:
    """Of the success rate on all rows, whatever comes of what was never tried (Manski, "Nonparametric Bounds on
    Treatment Effects", 1990): the outer ends of the intervals of both extremes."""
    guess = cross_fitted(logged, model, evaluation.seed)
    least, ones = _terms(Estimator.DOUBLY_ROBUST, logged, guess, evaluation.clip)
    ends = []
    for reward in (least, least + untried):
        sums = sums_by_user(logged.user, reward, ones)
        drawn = bootstrap(sums, ratio, level=evaluation.level, seed=evaluation.seed, draws=evaluation.draws)
        ends.append(drawn)
    if ends[0] is None or ends[1] is None:
        return None
    return Interval(max(ends[0].low, 0.0), min(ends[1].high, 1.0))


def _finite(interval: Interval | None) -> Interval | None:
    """None in place of an interval without an end: draws without one of the few users that differ have no spread."""
    return interval if interval and np.isfinite(interval).all() else None


def _plain(found: Figures) -> dict[str, Any]:
    def rate(each: Estimate) -> dict[str, Any]:
        span, value = _finite(each.interval), each.value
        return {
            "success": value,
            "success_interval": list(span) if span else None,
            "defects": None if value is None else 1 - value,
            "defects_interval": [1 - span.high, 1 - span.low] if span else None,
            "effective": each.overlap.effective if each.overlap else None,
            "largest_weight": each.overlap.largest_weight if each.overlap else None,
            "mean_weight": each.overlap.mean_weight if each.overlap else None,
            "not_measured": each.refusal.value if each.refusal else None,
        }

    def change(each: Change) -> dict[str, Any]:
        return {"success": each.value, "interval": list(each.interval) if each.interval else None}

    return {
        "new": rate(found.new), "old": rate(found.old), "alone": rate(found.alone),
        "against_old": change(found.against_old), "against_alone": change(found.against_alone),
    }  # fmt: skip


def _rates(each: Estimate) -> tuple[str, str]:
    if each.value is None:
        return each.says, ""
    interval = _finite(each.interval)
    if interval is None:
        return f"{each.value:.2%} (no interval)", f"{1 - each.value:.2%}"
    low, high = interval
    return f"{each.value:.2%} ({low:.2%} to {high:.2%})", f"{1 - each.value:.2%} ({1 - high:.2%} to {1 - low:.2%})"


def _points(change: Change) -> str:
    if change.value is None:
        return "not measured"
    if change.interval is None:
        return f"{100 * change.value:+.2f} (no interval)" if change.value else "0, the same"
    low, high = (100 * end for end in change.interval)
    return f"{100 * change.value:+.2f} ({low:+.2f} to {high:+.2f})"


def _effective(figures: Mapping[Estimator, Figures]) -> str:
    overlap = figures[Estimator.IPS].new.overlap if figures else None
    if overlap is None:
        return Refusal.NO_ROWS.value
    return f"{overlap.effective:,.0f}, largest weight {overlap.largest_weight:.1f}"
