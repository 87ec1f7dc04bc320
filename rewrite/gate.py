"""Is this rewrite better than leaving the request alone? The statistical gate of the mining job.

Two arms for a source u. *Left alone*, it succeeds with the probability theta_u that its own turns show. *Rewritten*
to j, it succeeds if j is what its speaker wanted and j works: theta_uj = f_uj * theta_j, where f_uj is the share of
u's goals that ended in j,

    f_uj = N[u,j] R[j,success] / (sum_k N[u,k] R[k,success] + sum_k N[u,k] e_k),

u's own successes being among the k, since whoever was content with u did not want j, and e_k being the probability of
going on from k to a text that too few users went on to: those who did so did not want j either. All evidence is
counted with a cap per user. With Jeffreys intervals (Brown, Cai & DasGupta, "Interval Estimation for a Binomial
Proportion", 2001, sec. 4.3),

    rewrite  iff  lower(f_uj) * lower(theta_j) > upper(theta_u) + margin  and  >= rewritten_floor,

and at least `min_users` distinct users said u, said j and took every hop of the way. The floor is there because a wrong
rewrite costs more than a missed one: where three targets share a source's goals, each is better than failing always.
Where the rewrite has been live long enough, what happened to it (`served`) takes the place of the product: that is the
very thing to be known.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewrite.config import GateConfig

#: Turns (capped) that a rewrite must have been live for before its own record replaces the estimate.
LIVE_TURNS = 10.0
#: One-sided; some three users who all agree, or eight of ten.
SETTLED_CONFIDENCE = 0.95


class GateReason(StrEnum):
    """The verdict of the gate, with its reason."""

    KEPT = "kept"
    TOO_FEW_USERS = "too_few_users"
    GOOD_ALREADY = "good_already"
    NOT_BETTER = "not_better"
    OFTEN_WRONG = "often_wrong"
    OTHER_GOAL = "other_goal"  # too few users for words that may as well be another wish
    GUARDED = "guarded"
    FAILED_LIVE = "failed_live"


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
    goals: float  # the source's goals that ended in success or elsewhere, in turns
    share: float  # f_uj
    served_turns: float = 0.0
    served_success: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Both arms with their bounds, and the reason."""

    reason: GateReason
    alone: float
    alone_upper: float
    rewritten: float
    rewritten_lower: float

    @property
    def kept(self) -> bool:
        """Whether the rewrite is safe enough."""
        return self.reason is GateReason.KEPT


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


def judge(evidence: Evidence, config: GateConfig) -> Verdict:
    """The verdict on one pair; counts only, the guards on the words are the caller's."""
    seen = evidence
    alone = seen.source_success / seen.source_turns if seen.source_turns else 0.0
    alone_upper = float(upper_bound(seen.source_success, seen.source_turns, config.confidence))
    live = seen.served_turns >= LIVE_TURNS
    if live:
        rewritten = seen.served_success / seen.served_turns
        rewritten_lower = float(lower_bound(seen.served_success, seen.served_turns, config.confidence))
    else:
        rewritten = seen.share * (seen.target_success / seen.target_turns if seen.target_turns else 0.0)
        rewritten_lower = float(
            lower_bound(seen.share * seen.goals, seen.goals, config.confidence)
            * lower_bound(seen.target_success, seen.target_turns, config.confidence)
        )
    return Verdict(
        _reason(seen, config, alone_upper, rewritten_lower, live), alone, alone_upper, rewritten, rewritten_lower
    )


def settled(evidence: Evidence) -> bool:
    """Whether the users behind a pair, one voice each, show that most of them meant its target; or it was live.

    Asked of pairs whose words would fit a second wish as well as a second try (`guards.strays`), with a confidence of
    its own: a gate may be opened for small logs, but one user who moves on to another wish proves nothing.
    """
    if evidence.served_turns >= LIVE_TURNS:
        return True
    voices = min(evidence.goals, float(evidence.source_users))
    return bool(lower_bound(evidence.share * voices, voices, SETTLED_CONFIDENCE) > 0.5)


def _reason(seen: Evidence, config: GateConfig, alone_upper: float, rewritten_lower: float, live: bool) -> GateReason:
    if min(seen.source_users, seen.target_users, seen.route_users) < config.min_users:
        return GateReason.TOO_FEW_USERS
    if lower_bound(seen.source_success, seen.source_turns, config.confidence) >= config.good_floor:
        return GateReason.GOOD_ALREADY
    if rewritten_lower <= alone_upper + config.margin:
        return GateReason.FAILED_LIVE if live else GateReason.NOT_BETTER
    if rewritten_lower < config.rewritten_floor:
        return GateReason.FAILED_LIVE if live else GateReason.OFTEN_WRONG
    return GateReason.KEPT
