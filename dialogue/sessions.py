"""Where does a session end? At a silence longer than a boundary, which the log's own silences set.

The *gap* before a turn is its timestamp less the moment at which the turn before it ended. On a scale of
log-seconds gaps fall into heaps: seconds between the tries of one exchange, then the hours and days between
errands. After Halfaker et al., "User Session Identification Based on Strong Regularities in Inter-activity
Time" (WWW 2015), heaps are Gaussians fitted by EM, and the boundary lies where a gap belongs to either side
with probability 1/2.

Departures from the paper:

1. The fit reads a histogram, so that logs of any length, and engines that only count, give the same boundary.
2. Three Gaussians are tried as well and win by BIC: visits of one day and days apart are often two heaps, and
   the gaps within an exchange are skewed, for which a second Gaussian stands. Of several boundaries the
   shortest that is believable ends the exchange; that is what attempts at one goal are looked for in.
3. A boundary is believed only between heaps that a valley parts (Ashman's D >= 2, medians a factor e apart),
   and from 30 seconds to 2 hours. Otherwise it is 300 seconds, and the method says why.

Why 300 seconds: of the human-labelled rephrases in a log of spoken commands with a real clock, 97 % come
within 300 seconds of the command that failed (75 % within 27; the two Gaussians there, which no valley parts,
would cross at 41 and lose 14 %); within live telephone calls no gap is longer than 75 seconds; and in logs
drawn from known mixtures the estimates lie between 80 and 470 seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations, groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from dialogue.turn import Session, Turn

_Array = NDArray[np.float64]

#: The grid of the histogram: bin i holds gaps with GRID_LOW + i * BIN_WIDTH <= ln(seconds) < GRID_LOW + (i +
#: 1) * BIN_WIDTH, from 2.5 ms to 2 years; the first and the last bin also hold what lies beyond. In SQL:
#: greatest(0, least(383, cast(floor((ln(gap) + 6.0) * 16.0) as integer))). Gaps <= 0 are counted apart.
GRID_LOW = -6.0
BIN_WIDTH = 1 / 16
BINS = 384

FALLBACK_SECONDS = 300.0
SHORTEST_SECONDS, LONGEST_SECONDS = 30.0, 7200.0
#: Fewer positive gaps than this are not fitted.
FEWEST_GAPS = 200

_CENTRES: _Array = GRID_LOW + BIN_WIDTH * (np.arange(BINS, dtype=np.float64) + 0.5)
_LEAST_SPREAD = 0.25  # of a Gaussian, in log-seconds: clocks of whole seconds make spikes
_LEAST_D = 2.0  # Ashman, Bird and Zepf, "Detecting bimodality in astronomical datasets" (1994)
_FIRST_CUTS = np.log([5, 20, 60, 240, 1_000, 4_000, 16_000, 64_000, 256_000])  # seconds; where EM starts from
_EM_STEPS = 300


@dataclass(frozen=True)
class GapHistogram:
    """Counts of gaps on the fixed grid; histograms of parts of a log add up."""

    counts: tuple[int, ...] = (0,) * BINS
    not_positive: int = 0  # clocks that run backwards, speech over the end of the turn before

    def __post_init__(self) -> None:
        if len(self.counts) != BINS:
            raise ValueError(f"{len(self.counts)} bins came, {BINS} of {BIN_WIDTH} log-seconds are wanted")

    @classmethod
    def from_gaps(cls, seconds: _Array) -> GapHistogram:
        """Of gaps [gaps] in seconds."""
        positive = seconds[seconds > 0]
        bins = np.clip(np.floor((np.log(positive) - GRID_LOW) / BIN_WIDTH), 0, BINS - 1).astype(np.int64)
        counts = np.bincount(bins, minlength=BINS)
        return cls(tuple(counts.tolist()), len(seconds) - len(positive))

    @classmethod
    def from_turns(cls, turns: Iterable[Turn]) -> GapHistogram:
        """Of the gaps between consecutive turns of one user; order as for `cut_sessions`."""
        gaps = [gap(a, b) for a, b in pairwise(_in_order(turns)) if a.user_id == b.user_id]
        return cls.from_gaps(np.array(gaps, dtype=np.float64))

    def __add__(self, other: GapHistogram) -> GapHistogram:
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return GapHistogram(counts, self.not_positive + other.not_positive)

    @property
    def total(self) -> int:
        return sum(self.counts) + self.not_positive

    def share_below(self, seconds: float) -> float:
        """Share of the gaps below so many seconds, by whole bins."""
        below = sum(self.counts[: int(np.searchsorted(_CENTRES, np.log(seconds)))])
        return (below + self.not_positive) / self.total if self.total else 1.0


@dataclass(frozen=True)
class Mixture:
    """Gaussians over log-seconds, by rising mean: share, mean and standard deviation of each."""

    shares: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    bic: float  # lower is better

    @property
    def medians_s(self) -> tuple[float, ...]:
        """The median gap of each Gaussian, in seconds."""
        return tuple(float(np.exp(mean)) for mean in self.means)


class BoundaryMethod(StrEnum):
    """How a boundary came about: given, by a mixture, or the fallback with the reason for it."""

    GIVEN = "given"
    BEFORE = "before"  # that of the log before, which this one goes on from
    TWO_GAUSSIANS = "two_gaussians"
    THREE_GAUSSIANS = "three_gaussians"
    TOO_FEW_GAPS = "too_few_gaps"
    ONE_GAUSSIAN = "one_gaussian"  # BIC sees one heap only
    NO_VALLEY = "no_valley"  # heaps too close to be told apart
    OUT_OF_RANGE = "out_of_range"  # no boundary between 30 seconds and 2 hours


@dataclass(frozen=True)
class SessionBoundary:
    """A session ends at a silence longer than `seconds`; `share_below` of the log's gaps are shorter."""

    seconds: float
    method: BoundaryMethod = BoundaryMethod.GIVEN
    mixture: Mixture | None = None
    share_below: float | None = None

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ValueError(f"a boundary of {self.seconds} seconds came; more than 0 are wanted")


def estimate_boundary(histogram: GapHistogram, *, fallback_s: float = FALLBACK_SECONDS) -> SessionBoundary:
    """The silence that ends an exchange, or `fallback_s` with the reason where the gaps do not show one."""
    counts = np.array(histogram.counts, dtype=np.float64)
    if counts.sum() < FEWEST_GAPS:
        return SessionBoundary(
            fallback_s, BoundaryMethod.TOO_FEW_GAPS, None, histogram.share_below(fallback_s)
        )
    fits = [fit for size in (1, 2, 3) if (fit := fit_mixture(counts, size)) is not None]
    mixture = min(fits, key=lambda fit: fit.bic)
    method, seconds = _believable(mixture)
    seconds = fallback_s if seconds is None else seconds
    return SessionBoundary(seconds, method, mixture, histogram.share_below(seconds))


def _believable(mixture: Mixture) -> tuple[BoundaryMethod, float | None]:
    """The shortest boundary that holds, or why there is none."""
    size = len(mixture.means)
    if size == 1:
        return BoundaryMethod.ONE_GAUSSIAN, None
    parted = [i for i in range(size - 1) if _valley_follows(mixture, i)]
    crossings = [crossing for i in parted if (crossing := _crossing(mixture, i)) is not None]
    if not crossings:
        return BoundaryMethod.NO_VALLEY, None
    inside = [seconds for seconds in crossings if SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS]
    if not inside:
        return BoundaryMethod.OUT_OF_RANGE, None
    return BoundaryMethod.TWO_GAUSSIANS if size == 2 else BoundaryMethod.THREE_GAUSSIANS, min(inside)


def _valley_follows(mixture: Mixture, i: int) -> bool:
    distance = mixture.means[i + 1] - mixture.means[i]
    spread = float(np.hypot(mixture.deviations[i], mixture.deviations[i + 1])) / np.sqrt(2)
    return bool(distance >= 1 and distance >= _LEAST_D * spread)


def _crossing(mixture: Mixture, i: int) -> float | None:
    """Seconds from which on a gap belongs to the Gaussians after `i` with probability 1/2 or more."""
    places = np.linspace(mixture.means[i], mixture.means[i + 1], 10_001)
    logs = _log_densities(places, np.array([mixture.shares, mixture.means, mixture.deviations]))
    later = np.logaddexp.reduce(logs[i + 1 :], 0) >= np.logaddexp.reduce(logs[: i + 1], 0)
    if later[0] or not later[-1]:
        return None
    return round(float(np.exp(places[np.argmax(later)])), 3)


def fit_mixture(counts: _Array, size: int) -> Mixture | None:
    """The likeliest mixture of `size` Gaussians for counts [BINS] by EM, from every start of a fixed set."""
    starts = [
        _expectation_maximisation(counts, np.array(cuts)) for cuts in combinations(_FIRST_CUTS, size - 1)
    ]
    fitted = [fit for fit in starts if fit is not None]
    if not fitted:
        return None
    likelihood, parameters = max(fitted, key=lambda fit: fit[0])
    shares, means, deviations = parameters[:, np.argsort(parameters[1], kind="stable")].tolist()
    bic = (3 * size - 1) * float(np.log(counts.sum())) - 2 * likelihood
    return Mixture(tuple(shares), tuple(means), tuple(deviations), bic)


def _expectation_maximisation(counts: _Array, cuts: _Array) -> tuple[float, _Array] | None:
    """Log-likelihood and parameters [3, Gaussians]; None where a Gaussian is left without gaps."""
    belongs = (np.searchsorted(cuts, _CENTRES) == np.arange(len(cuts) + 1)[:, None]).astype(np.float64)
    before = -np.inf
    for _ in range(_EM_STEPS):
        weights = belongs * counts  # [Gaussians, BINS]
        mass = weights.sum(1)
        if (mass < 1).any():
            return None
        means = weights @ _CENTRES / mass
        spread = (weights * (_CENTRES - means[:, None]) ** 2).sum(1) / mass
        deviations = np.sqrt(np.maximum(spread, _LEAST_SPREAD**2))
        parameters: _Array = np.stack([mass / counts.sum(), means, deviations]).astype(np.float64)
        logs = _log_densities(_CENTRES, parameters)
        total = np.logaddexp.reduce(logs, 0)
        belongs = np.exp(logs - total)
        likelihood = float(counts @ total)
        if likelihood - before < 1e-8 * abs(likelihood):
            break
        before = likelihood
    return likelihood, parameters


def _log_densities(places: _Array, parameters: _Array) -> _Array:
    """ln(share * density) at places, [Gaussians, places]; parameters are [3, Gaussians]."""
    shares, means, deviations = parameters[:, :, None]
    standard: _Array = (places - means) / deviations
    return np.asarray(np.log(shares / deviations) - 0.5 * standard**2 - 0.5 * np.log(2 * np.pi))


def gap(before: Turn, after: Turn) -> float:
    """Seconds of silence between two turns: from the later of `before`'s two times to `after`'s timestamp."""
    ended = before.timestamp if before.end_timestamp is None else max(before.timestamp, before.end_timestamp)
    return after.timestamp - ended


def cut_sessions(turns: Iterable[Turn], boundary: SessionBoundary | float) -> Iterator[Session]:
    """Sessions user by user, each user's in the order of their first turns.

    The rule: turns are ordered by (user_id, timestamp, turn_id). A turn with a session_id that is neither
    null nor empty belongs to the session (user_id, session_id), whatever its times, and the session is named
    session_id. The other turns of a user, taken by themselves in order, are cut: the first opens session 1,
    and a turn opens the next one when its timestamp less greatest(timestamp, end_timestamp) of the turn
    before it among them (less its timestamp where end_timestamp is null) is greater than the boundary; gaps
    of zero or below therefore never cut. Such a session is named `<user_id>/<ordinal>`, counted from 1. A
    session is known by (user_id, name): two users may share a name. A list or tuple may have any order; other
    iterables must be in order already, are held one user at a time, and raise ValueError where the order is
    broken.
    """
    seconds = boundary.seconds if isinstance(boundary, SessionBoundary) else boundary
    for user_id, own in groupby(_in_order(turns), key=lambda turn: turn.user_id):
        yield from _sessions_of(user_id, own, seconds)


def _sessions_of(user_id: str, turns: Iterable[Turn], seconds: float) -> Iterator[Session]:
    given: dict[str, list[Turn]] = {}
    cut: list[list[Turn]] = []
    in_order: list[tuple[str, list[Turn]]] = []
    for turn in turns:
        if turn.session_id:
            if turn.session_id not in given:
                given[turn.session_id] = []
                in_order.append((turn.session_id, given[turn.session_id]))
            given[turn.session_id].append(turn)
        else:
            if not cut or gap(cut[-1][-1], turn) > seconds:
                cut.append([])
                in_order.append((f"{user_id}/{len(cut)}", cut[-1]))
            cut[-1].append(turn)
    for name, members in in_order:
        yield Session(name, user_id, tuple(members))


def _in_order(turns: Iterable[Turn]) -> Iterable[Turn]:
    return sorted(turns, key=_place) if isinstance(turns, Sequence) else _checked(turns)


def _place(turn: Turn) -> tuple[str, float, str]:
    return turn.user_id, turn.timestamp, turn.turn_id


def _checked(turns: Iterable[Turn]) -> Iterator[Turn]:
    before: tuple[str, float, str] | None = None
    for turn in turns:
        place = _place(turn)
        if before is not None and place < before:
            raise ValueError(
                f"turns must be in order of (user_id, timestamp, turn_id): {place} came after {before}"
            )
        before = place
        yield turn
