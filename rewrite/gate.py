"""Is this rewrite better than leaving the request alone? The statistical gate of the mining job.

Left alone, a source u succeeds with the probability alpha that its own turns show. Rewritten to j, it succeeds with

    value = (1 - alpha) f theta_j + alpha c.

Of those whom u does not serve, f wanted j: the share of those who went on from u, and did not just give up, for whom j
was the last word in the end,

    f = N[u,j] (R[j,success] + R[j,failure]) / P(u goes on);

who went on to anything else, to texts that too few users went on to among them, speaks against j, whether they got
there or not. j then works with theta_j. Of those whom u does serve, j serves those for whom NLU takes u as it takes j
(c); of the others nothing is known, and all are counted as lost: a text that means two things serves one half of its
speakers, and the other half goes on. All evidence is counted with a cap per user.

alpha and theta_j have Beta posteriors (`rewrite.posterior`) under priors that are borrowed from texts of the same
interpretation and intent (`rewrite.shrinkage`), f one under Jeffreys' prior (Brown, Cai & DasGupta, "Interval
Estimation for a Binomial Proportion", 2001, sec. 4.3). Products and sums are Betas of the same mean and variance. Once
the rewrite is live, what happened to it (`served`) is the very thing to be known: it updates the value, which is then
believed the less the more turns were served (`LIVE_TURNS`). What counts is

    chance = min( P(value > alpha + margin),  P(f theta_j > rewritten_floor) ),

the floor being there because a wrong rewrite costs more than a missed one: where three targets share a source's goals,
each is better than failing always. Each pair needs a chance of `confidence`, at least `min_users` distinct users who
said u, said j and took every hop of the way; and the share of false discoveries in the table as a whole is kept within
bounds (`rewrite.table`).

On and off are apart (hysteresis): a pair that is on stays on down to `keep_confidence`. A pair between the two that is
not on is on *trial*: an engine that is told to explore may serve it now and then. One that was on and turned bad is
suspended for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewrite.config import GateConfig
from rewrite.posterior import Beta, matched, product, quantile, quantiles

Floats = NDArray[np.float64]

#: Turns (capped) that a rewrite must have been live for before it is its own record that speaks for or against it, and
#: at which the estimate that was made without it is believed half as much.
LIVE_TURNS = 10.0
#: Points at which the posterior of the source's own success is taken.
NODES = 48
#: One-sided; some three users who all agree, or eight of ten.
SETTLED_CONFIDENCE = 0.95


class GateReason(StrEnum):
    """The verdict of the gate, with its reason."""

    KEPT = "kept"
    TOO_FEW_USERS = "too_few_users"
    GOOD_ALREADY = "good_already"
    NOT_BETTER = "not_better"
    OFTEN_WRONG = "often_wrong"
    HELD = "held"  # it was on before, and is still likelier better than not
    MANY_TESTS = "many_tests"  # sure enough alone, but not among as many pairs as were judged
    OTHER_GOAL = "other_goal"  # too few users for words that may as well be another wish
    GUARDED = "guarded"
    FAILED_LIVE = "failed_live"
    OTHER_CHOSEN = "other_chosen"  # another rewrite was chosen, of the source or of the target itself
    SUSPENDED = "suspended"  # turned bad while it was live, not long ago


class Standing(StrEnum):
    """What an engine does with a pair."""

    ON = "on"
    TRIAL = "trial"  # only where it explores
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for one pair. Turns and successes are capped per user; successes are sums of probabilities."""

    source_users: int
    source_turns: float
    source_success: float
    target_users: int
    target_turns: float
    target_success: float
    route_users: int
    went_on: float  # turns of the source that something else was tried after
    share: float  # f: of these, for how many the target was the last word
    alike: float = 0.0  # c: of the source's successes, those that NLU takes as it takes the target
    served_turns: float = 0.0
    served_success: float = 0.0
    source_prior: float = 0.5  # success that texts of the same interpretation or intent lead one to expect
    source_prior_turns: float = 1.0  # as how many turns that counts
    target_prior: float = 0.5
    target_prior_turns: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Both arms with their bounds, the chance that the second is better, and the reason."""

    reason: GateReason
    alone: float
    alone_upper: float
    rewritten: float
    rewritten_lower: float
    chance: float = 0.0
    standing: Standing = Standing.OFF

    @property
    def kept(self) -> bool:
        """Whether the rewrite is safe enough."""
        return self.reason in (GateReason.KEPT, GateReason.HELD)


def lower_bound(success: ArrayLike, turns: ArrayLike, confidence: float) -> NDArray[np.float64]:
    """One-sided lower Jeffreys bound of a success rate; 0 where nothing was seen. Shapes broadcast."""
    from scipy.special import betaincinv

    s, n = np.asarray(success, np.float64), np.asarray(turns, np.float64)
    bound = betaincinv(s + 0.5, np.maximum(n - s, 0) + 0.5, 1 - confidence)
    return np.where(n > 0, bound, 0.0)


def upper_bound(success: ArrayLike, turns: ArrayLike, confidence: float) -> NDArray[np.float64]:
    """One-sided upper Jeffreys bound of a success rate; 1 where nothing was seen. Shapes broadcast."""
    s, n = np.asarray(success, np.float64), np.asarray(turns, np.float64)
    return np.asarray(1.0 - lower_bound(n - s, n, confidence))


@dataclass(frozen=True, slots=True, eq=False)
class Arms:
    """The posteriors of both arms, and the chances that come of them, one for each pair."""

    alone: Beta
    rewritten: Beta
    better: Floats  # [pairs] float64, P(rewritten > alone + margin)
    right: Floats  # [pairs] float64, P(the target is meant by who is not served, and works > rewritten_floor)

    @classmethod
    def of(cls, evidence: Sequence[Evidence], config: GateConfig) -> Arms:
        """By the formulas at the head of this file."""
        column = {each.name: np.array([getattr(one, each.name) for one in evidence], np.float64)
                  for each in fields(Evidence)}  # fmt: skip
        alone, target = (
            Beta.from_mean(np.clip(column[f"{side}_prior"], 1e-6, 1 - 1e-6), column[f"{side}_prior_turns"])
            .updated(*_sound(column[f"{side}_success"], column[f"{side}_turns"]))
            for side in ("source", "target")
        )  # fmt: skip
        jeffreys = Beta.from_mean(np.full(len(evidence), 0.5), 1.0)
        meant = jeffreys.updated(*_sound(column["share"] * column["went_on"], column["went_on"]))
        needed = product(meant, target)
        served = _sound(column["served_success"], column["served_turns"])
        believed = LIVE_TURNS / (LIVE_TURNS + served[1])
        rewritten, better = _value(alone, needed, column["alike"], believed, served, config.margin)
        need = 1.0 - alone.mean  # of what was served, those whom the source does not serve
        spared = np.clip(served[0] - served[1] * alone.mean * column["alike"], 0.0, served[1] * need)
        right = 1.0 - _below(needed.scaled(believed).updated(spared, served[1] * need), config.rewritten_floor)
        return cls(alone, rewritten, better, right)


def _value(
    alone: Beta, needed: Beta, alike: Floats, believed: Floats, served: tuple[Floats, Floats], margin: float
) -> tuple[Beta, Floats]:
    """The posterior of the rewritten arm, and P(it is better than `alone` by the margin) [pairs] float64.

    alpha is in both arms, so that they are not independent: the chance is taken for fixed alpha and averaged over its
    posterior, by Gauss-Legendre quadrature in the quantiles of alpha, to some 1e-4.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    alpha = quantiles(alone, (nodes + 1) / 2)  # [pairs, nodes] float64
    mean = (1 - alpha) * needed.mean[:, None] + alpha * alike[:, None]
    variance = (1 - alpha) ** 2 * needed.variance[:, None]
    given = matched(mean.ravel(), variance.ravel())
    tail = given.scaled(np.repeat(believed, NODES)).updated(*(np.repeat(each, NODES) for each in served))
    wins = (1.0 - _below(tail, np.minimum(alpha + margin, 1.0).ravel())).reshape(alpha.shape)

    def averaged(values: Floats) -> Floats:  # no matrix product: its rounding depends on how many pairs there are
        return np.asarray((values * weights).sum(axis=1) / 2)

    better, m = averaged(wins), averaged(mean)
    both = matched(m, averaged(variance) + averaged((mean - m[:, None]) ** 2))
    return both.scaled(believed).updated(*served), np.clip(better, 0.0, 1.0)


def _sound(success: Floats, turns: Floats) -> tuple[Floats, Floats]:
    """Sums of whole millionths may say a millionth more success than turns."""
    return np.clip(success, 0.0, turns), turns


def _below(beta: Beta, rate: ArrayLike) -> Floats:
    from scipy.special import betainc

    return np.asarray(betainc(beta.a, beta.b, rate), np.float64)


def judge(evidence: Sequence[Evidence], config: GateConfig) -> list[Verdict]:
    """The verdict on each pair by itself; counts only. Guards on the words, and the table as a whole, come after."""
    if not evidence:
        return []
    arms = Arms.of(evidence, config)
    good = quantile(arms.alone, 1 - config.confidence) >= config.good_floor
    bounds = (quantile(arms.alone, config.confidence), quantile(arms.rewritten, 1 - config.confidence))
    columns = (arms.alone.mean, bounds[0], arms.rewritten.mean, bounds[1], arms.better, arms.right, good)
    rows = zip(evidence, *(each.tolist() for each in columns), strict=True)
    return [
        Verdict(_reason(seen, config, better, right, well), alone, upper, rewritten, lower, min(better, right))
        for seen, alone, upper, rewritten, lower, better, right, well in rows
    ]


def settled(evidence: Evidence) -> bool:
    """Whether the users behind a pair, one voice each, show that most of them meant its target; or it was live.

    Asked of pairs whose words would fit a second wish as well as a second try (`guards.strays`), with a confidence of
    its own: a gate may be opened for small logs, but one user who moves on to another wish proves nothing.
    """
    if evidence.served_turns >= LIVE_TURNS:
        return True
    voices = min(evidence.went_on, float(evidence.source_users))
    return bool(lower_bound(evidence.share * voices, voices, SETTLED_CONFIDENCE) > 0.5)


def _reason(seen: Evidence, config: GateConfig, better: float, right: float, good: bool) -> GateReason:
    if min(seen.source_users, seen.target_users, seen.route_users) < config.min_users:
        return GateReason.TOO_FEW_USERS
    if good:
        return GateReason.GOOD_ALREADY
    if min(better, right) >= config.confidence:
        return GateReason.KEPT
    if seen.served_turns >= LIVE_TURNS and min(better, right) < config.keep_confidence:
        return GateReason.FAILED_LIVE
    return GateReason.NOT_BETTER if better < config.confidence else GateReason.OFTEN_WRONG
