"""Repairs against harm: the curve of one slice of the traffic, and the convex program that spends one budget over many.

Going down the scores of a slice, every further request that is rewritten may be a defect repaired or a good request
harmed. With f_s(h) the repairs that slice s gives for h harmed requests, concave and never falling, what is wanted is

    most  sum_s f_s(h_s)    where  sum_s h_s <= total,  lower_s <= h_s <= upper_s.

The program is convex and its variables meet in one constraint only, so that there is one price of a harmed request,
the same for all slices: each goes on for as long as its next harmed request brings more repairs than the price, and
the price is such that the total is spent (Boyd & Vandenberghe, "Convex Optimization", 2004, sections 5.5.3 and 5.5.5).
This is how SLIDR spends one budget of false positives over slices of ad clicks (Muralidhar, Chitlangia, Agarwal &
Ahmed, "Real-Time Detection of Robotic Traffic in Online Advertising", IAAI 2023), which fits a quadratic to each slice;
beside it stands the concave hull of the counted curve, which needs no fit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Points, evenly over the harm, that a quadratic is fitted to.
POINTS = 33
#: A request harmed with less probability is not harmed: slopes stay finite.
LEAST = 1e-12
#: The price is known to this factor.
PRICES = 1 + 1e-10


class Fit(StrEnum):
    """What stands for the curve of a slice."""

    HULL = "hull"
    QUADRATIC = "quadratic"


class Curve(Protocol):
    """Repairs as a concave, never falling function of harm."""

    @property
    def steepest(self) -> float:
        """Repairs per harmed request at no harm."""

    def spend(self, price: float) -> float:
        """The most harm of which every bit brings more than `price` repairs."""

    def repaired(self, harm: float) -> float:
        """Repairs at this harm."""


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """What is repaired and harmed above each threshold of one slice; the first is infinite, above which is nothing.

    All are [points] float64: `threshold` falls; `harm`, `squares` (of each request's harm), `largest` (harm of one
    request) and `repaired` are over all requests at or above it, and never fall.
    """

    threshold: Floats
    harm: Floats
    squares: Floats
    largest: Floats
    repaired: Floats

    @classmethod
    def of(cls, score: Floats, repaired: Floats, harm: Floats) -> Counted:
        """From requests, each [n] float64; those of one score stand and fall together."""
        order = np.argsort(-score, kind="stable")
        score, repaired, harm = score[order], repaired[order], np.where(harm < LEAST, 0.0, harm)[order]
        ends = np.flatnonzero(np.append(score[1:] != score[:-1], True)[: len(score)])

        def at_ends(running: Floats) -> Floats:
            return np.append(0.0, running[ends])

        return cls(
            np.append(np.inf, score[ends]),
            at_ends(np.cumsum(harm)),
            at_ends(np.cumsum(harm**2)),
            at_ends(np.maximum.accumulate(harm)),
            at_ends(np.cumsum(repaired)),
        )

    def cut(self, harm: float) -> int:
        """The point of most repairs at this harm; of several the highest, as no more is repaired below."""
        last = int(np.searchsorted(self.harm, harm, "right")) - 1
        return int(np.searchsorted(self.repaired, self.repaired[last], "left"))

    def harm_for(self, repaired: float) -> float:
        """The least harm with so many repairs; infinite where there are not so many."""
        place = int(np.searchsorted(self.repaired, repaired * (1 - 1e-12), "left"))
        return float(self.harm[place]) if place < len(self.harm) else float("inf")


@dataclass(frozen=True, slots=True)
class Hull:
    """The least concave curve above what was counted: points of it, joined by straight lines."""

    harm: tuple[float, ...]  # ascending from 0
    gained: tuple[float, ...]  # repairs there
    falls: tuple[float, ...]  # slope of each line, with its sign turned: ascending

    @classmethod
    def of(cls, counted: Counted) -> Hull:
        """By Andrew, "Another Efficient Algorithm for Convex Hulls in Two Dimensions", 1979: the upper chain."""
        x: list[float] = []
        y: list[float] = []
        for h, r in zip(counted.harm.tolist(), counted.repaired.tolist(), strict=True):
            if x and h == x[-1]:
                x.pop()
                y.pop()
            elif y and r <= y[-1]:
                continue
            while len(x) > 1 and (r - y[-1]) * (x[-1] - x[-2]) >= (y[-1] - y[-2]) * (h - x[-1]):
                x.pop()
                y.pop()
            x.append(h)
            y.append(r)
        falls = -np.diff(y) / np.diff(x)
        return cls(tuple(x), tuple(y), tuple(np.maximum.accumulate(falls).tolist()))

    @property
    def steepest(self) -> float:
        """Repairs per harmed request at no harm."""
        return -self.falls[0] if self.falls else 0.0

    def spend(self, price: float) -> float:
        """The most harm of which every bit brings more than `price` repairs."""
        return self.harm[bisect_left(self.falls, -price)]

    def repaired(self, harm: float) -> float:
        """Repairs at this harm."""
        return float(np.interp(harm, self.harm, self.gained))


@dataclass(frozen=True, slots=True)
class Quadratic:
    """base + linear u + curved (2 u - u^2), with u = harm / most within 0..1 and no coefficient below 0.

    These are all the quadratics that are concave and do not fall up to `most`; beyond it the curve is level.
    """

    most: float
    base: float
    linear: float
    curved: float

    @classmethod
    def of(cls, counted: Counted, most: float) -> Quadratic:
        """By least squares to what was counted, at points that lie evenly over the harm from 0 to `most`."""
        from scipy.optimize import nnls

        most = min(most, float(counted.harm[-1]))
        u = np.linspace(0.0, 1.0, POINTS)
        gained = counted.repaired[np.searchsorted(counted.harm, u * most, "right") - 1]
        if most <= 0:
            return cls(0.0, float(gained[0]), 0.0, 0.0)
        base, linear, curved = nnls(np.column_stack([np.ones(POINTS), u, 2 * u - u * u]), gained)[0].tolist()
        return cls(most, base, linear, curved)

    @property
    def steepest(self) -> float:
        """Repairs per harmed request at no harm."""
        return (self.linear + 2 * self.curved) / self.most if self.most > 0 else 0.0

    def spend(self, price: float) -> float:
        """The most harm of which every bit brings more than `price` repairs."""
        asked = price * self.most - self.linear
        if asked < 0:
            return self.most
        return self.most * max(0.0, 1.0 - asked / (2 * self.curved)) if self.curved > 0 else 0.0

    def repaired(self, harm: float) -> float:
        """Repairs at this harm."""
        u = min(harm / self.most, 1.0) if self.most > 0 else 0.0
        return self.base + self.linear * u + self.curved * (2 * u - u * u)


def solve(curves: Sequence[Curve], lower: Sequence[float], upper: Sequence[float], total: float) -> list[float]:
    """The harm of each slice [slices] that repairs most, by bisection for the price of a harmed request.

    Raises ValueError where `lower` is above `upper`, below 0, or together above `total`.
    """
    if any(not 0 <= low <= high for low, high in zip(lower, upper, strict=True)) or sum(lower) > total:
        raise ValueError(
            f"harm from {list(lower)} to {list(upper)} came with a total of {total}; wanted 0 <= lower <= upper, and"
            " the lower together within the total: lower the floors, or raise the budget"
        )

    def spent(price: float) -> list[float]:
        rows = zip(curves, lower, upper, strict=True)
        return [min(max(curve.spend(price), low), high) for curve, low, high in rows]

    cheap = spent(0.0)
    if sum(cheap) <= total:
        return cheap
    high = 2 * max(curve.steepest for curve in curves)
    low, dear = high * 1e-30, spent(high)
    while high > low * PRICES:
        price = (low * high) ** 0.5
        if not low < price < high:
            break
        if sum(now := spent(price)) > total:
            low, cheap = price, now
        else:
            high, dear = price, now
    return _filled(dear, cheap, total)


def _filled(dear: Sequence[float], cheap: Sequence[float], total: float) -> list[float]:
    """What all slices take at the price, and of what is as good as the price, one after the other what still fits."""
    room = total - sum(dear)
    filled = []
    for least, most in zip(dear, cheap, strict=True):
        fits = most - least <= room
        filled.append(most if fits else least + max(room, 0.0))
        room = room - (most - least) if fits else 0.0
    return filled


def upper_harm(curves: Sequence[Counted], cuts: Sequence[int], confidence: float, *, least_event: float = 0.0) -> float:
    """The upper bound, one-sided, of the harm to be expected of the thresholds at `cuts`, on as much traffic again.

    The gamma bound for weighted sums of Poisson counts (Fay & Feuer, "Confidence Intervals for Directly Standardized
    Rates", Statistics in Medicine 16, 1997): a gamma variable whose mean is the harm that was found and one event more,
    and whose variance is that of these. One departure: the event more is added for every slice that rewrites at all.
    Thresholds are chosen on the very requests that are counted, and one that was drawn just above the next harmed
    request has as much harm above it as an order statistic says, one event more than was counted. The event is the
    largest harm of one request above the threshold, `least_event` at least: 1 for counts. For counts and one slice
    this is the exact Poisson bound (Garwood, 1936).
    """
    from scipy.special import gammaincinv

    mean = variance = 0.0
    for curve, cut in zip(curves, cuts, strict=True):
        if cut:
            event = max(float(curve.largest[cut]), least_event)
            mean += float(curve.harm[cut]) + event
            variance += float(curve.squares[cut]) + event**2
    if variance <= 0:
        return mean
    return float(gammaincinv(mean**2 / variance, confidence) * variance / mean)
