"""How many cases are enough? Before a test: what it can see, and what it takes to see a wished effect.

Each `cases_for_...` has its inverse `effect_seen_...`: the smallest effect that a given number of cases shows. Tests
are two-sided. Cases of one user tell less than as many users: `design_effect` says how much less, and multiplies the
cases.

An effect of 0 can be shown by no number of cases, and is refused; where even the largest possible effect stays unseen
the inverse is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from eval.arrays import flat, fraction
from eval.measures import LEVEL

POWER = 0.8


def cases_for_two_shares(
    first: float, second: float, *, power: float = POWER, level: float = LEVEL, design: float = 1.0
) -> int:
    """Cases in each of two equal arms that show the difference between two shares (Fleiss, Levin & Paik, "Statistical
    Methods for Rates and Proportions", 3rd ed., 2003, formula 4.14)."""
    if first == second:
        raise ValueError(f"both shares came as {first}: no number of cases shows a difference of 0")
    _shares(first, second)
    return _whole(_two_shares(first, second, power, level) * _design(design))


def effect_seen_between_two_shares(
    first: float, cases: int, *, power: float = POWER, level: float = LEVEL, design: float = 1.0
) -> float | None:
    """The smallest rise above the share `first` that this many cases in each arm show; None where none is."""
    _shares(first, first)
    wanted = cases / _design(design)
    return _smallest(lambda rise: _two_shares(first, first + rise, power, level) - wanted, 1 - first)


def cases_for_paired(
    only_first: float, only_second: float, *, power: float = POWER, level: float = LEVEL, design: float = 1.0
) -> int:
    """Cases that two bundles both answer, to show that one wins `only_first` and the other `only_second` of them alone
    (Connor, "Sample Size for Testing Differences in Proportions for the Paired-Sample Design", 1987)."""
    _shares(only_first, only_second)
    if only_first == only_second or only_first + only_second > 1:
        raise ValueError(f"won alone came as {only_first} and {only_second}: two shares that differ are wanted")
    discordant, effect = only_first + only_second, abs(only_first - only_second)
    return _whole(_paired(discordant, effect, power, level) * _design(design))


def effect_seen_paired(
    discordant: float, cases: int, *, power: float = POWER, level: float = LEVEL, design: float = 1.0
) -> float | None:
    """The smallest difference that this many cases show where the bundles differ on the share `discordant` of them."""
    fraction("discordant", discordant)
    wanted = cases / _design(design)
    return _smallest(lambda effect: _paired(discordant, effect, power, level) - wanted, discordant)


def design_effect(cases_by_user: ArrayLike, alike: float) -> float:
    """By how much users' alikeness, a correlation from 0 to 1, inflates the variance of a mean over all cases [users].

    Kish, "Survey Sampling", 1965, section 5.4; with the unequal clusters of Kerry & Bland, "Unequal Cluster Sizes for
    Trials in English and Welsh General Practice", 2001.
    """
    sizes = flat("cases_by_user", cases_by_user, 0.0)
    if not 0 <= alike <= 1 or not sizes.sum():
        raise ValueError(f"alike came as {alike!r}, cases as {sizes.sum():g}: 0 to 1 and at least one are wanted")
    return float(1 + ((sizes**2).sum() / sizes.sum() - 1) * alike)


def _two_shares(first: float, second: float, power: float, level: float) -> float:
    miss, reach = _quantiles(power, level)
    middle = (first + second) / 2
    under_null = math.sqrt(2 * middle * (1 - middle))
    under_effect = math.sqrt(first * (1 - first) + second * (1 - second))
    return ((reach * under_null + miss * under_effect) / (second - first)) ** 2


def _paired(discordant: float, effect: float, power: float, level: float) -> float:
    miss, reach = _quantiles(power, level)
    return ((reach * math.sqrt(discordant) + miss * math.sqrt(discordant - effect**2)) / effect) ** 2


def _quantiles(power: float, level: float) -> tuple[float, float]:
    from scipy.special import ndtri

    return float(ndtri(fraction("power", power))), float(ndtri((1 + fraction("level", level)) / 2))


def _smallest(surplus: Callable[[float], float], largest: float) -> float | None:
    """Where the cases wanted, which fall as the effect grows, come down to those there are."""
    from scipy.optimize import brentq

    if largest <= 0 or surplus(largest) > 0:
        return None
    return float(brentq(surplus, largest * 1e-9, largest, xtol=1e-12))


def _shares(*shares: float) -> None:
    for share in shares:
        if not 0 <= share <= 1:
            raise ValueError(f"a share came as {share!r}: a number from 0 to 1 is wanted")


def _design(design: float) -> float:
    if not (math.isfinite(design) and design >= 1):
        raise ValueError(f"the design effect came as {design!r}: 1 or more is wanted")
    return design


def _whole(cases: float) -> int:
    return int(np.ceil(cases * (1 - 1e-12)))
