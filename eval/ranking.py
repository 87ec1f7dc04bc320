"""Average precision and recall at precision over resamples of whole users, sorted once and weighted for each.

`eval.uncertainty.bootstrap` draws figures made from a few totals. These are made from the totals at every threshold,
so that here a draw is a weight for each cluster (a user or a session), and all draws go through the ranking together.

What a missing case scores
    one cluster                                      None: nothing tells how clusters differ
    clusters that do not differ at all               None: resampling them would call the figure certain
    a draw without positives                         left out; where they are more than 1 - level, None

Coverage at 95 % of average precision and of its difference is 92 to 93 % with 20 users and 94 to 95 % from 40 on, where
percentiles of the same draws cover 90 to 92 % and 93 to 95 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eval.arrays import Floats, Ints, fraction
from eval.detection import Credit, Detections
from eval.measures import LEVEL, Interval

#: Numbers held at once in each array while drawing, so that memory stays flat.
AT_ONCE = 500_000


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The sources where a turn was named, the most probable first, in runs of equal probability."""

    cluster: Ints  # of each source [named] int64
    right: Floats  # flagging it is right: 1 or 0 [named] float64
    run: Ints  # which run it belongs to [named] int64
    last: Ints  # its place of the last of each run [runs] int64
    positives: Floats  # of each cluster [clusters] float64

    @classmethod
    def of(cls, detections: Detections, cluster: Ints, clusters: int, credit: Credit) -> Ranking:
        """Of the sources, given the cluster of each [sources] int64."""
        rows = np.flatnonzero(detections.named)
        rows = rows[np.argsort(-detections.probability[rows], kind="stable")]
        ends = np.append(np.diff(detections.probability[rows]) != 0, True)[: len(rows)]
        run = np.cumsum(np.append(0, ends[:-1]))[: len(rows)].astype(np.int64)
        weights = detections.positive.astype(np.float64)
        positives = np.bincount(cluster, weights=weights, minlength=clusters).astype(np.float64)
        right = detections.right(credit)[rows].astype(np.float64)
        return cls(cluster[rows], right, run, np.flatnonzero(ends), positives)

    @property
    def clusters(self) -> int:
        return len(self.positives)

    def totals(self, counts: Floats) -> tuple[Floats, Floats, Floats]:
        """Flagged rightly and flagged in all at each threshold [draws, runs], and positives [draws, 1], float64.

        `counts` says how often each cluster was drawn [draws, clusters] float64.
        """
        weights = counts[:, self.cluster]
        right, flagged = (np.cumsum(each, axis=1)[:, self.last] for each in (weights * self.right, weights))
        return right, flagged, (counts @ self.positives)[:, None]

    def recall_at_precision(self, counts: Floats, wished: float) -> Floats:
        """`eval.detection.recall_at_precision` of each draw [draws] float64; nan without positives."""
        right, flagged, positives = self.totals(counts)
        reached = _over(right, flagged) >= wished
        best = np.max(np.where(reached & (flagged > 0), right, 0.0), axis=1, initial=0.0)
        return np.asarray(np.where(positives[:, 0] > 0, best / np.maximum(positives[:, 0], 1.0), np.nan))

    def average_precision(self, counts: Floats) -> tuple[Floats, Floats]:
        """`eval.detection.average_precision` of each draw [draws] float64, and its slope by how often each cluster was
        drawn [draws, clusters] float64; nan without positives.

        With R and F the right and all flagged at a threshold, D the gain in R and P the positives, it is the sum of
        D R / F over P. One more source in a run moves R and F there and at every later threshold.
        """
        right, flagged, positives = self.totals(counts)
        positives = np.where(positives > 0, positives, np.nan)
        gain = np.diff(right, axis=1, prepend=0.0)
        precision = _over(right, flagged)
        value = np.sum(gain * precision, axis=1, keepdims=True) / positives
        by_right = precision + _from_here_on(_over(gain, flagged))
        by_flagged = _from_here_on(_over(gain * precision, flagged))
        slopes = (self.right * by_right[:, self.run] - by_flagged[:, self.run]) / positives
        return value[:, 0], self._by_cluster(slopes) - self.positives * value / positives

    def _by_cluster(self, slopes: Floats) -> Floats:
        order = np.argsort(self.cluster, kind="stable")
        found, starts = np.unique(self.cluster[order], return_index=True)
        sums = np.zeros((len(slopes), self.clusters))
        if len(found):
            sums[:, found] = np.add.reduceat(slopes[:, order], starts, axis=1)
        return sums


def average_precision_interval(
    this: Ranking, other: Ranking | None = None, *, level: float = LEVEL, seed: int = 0, draws: int
) -> Interval | None:
    """Studentised interval of average precision, or of this one's less the other's over the same draws.

    The standard error is that of the infinitesimal jackknife (Efron, "Nonparametric Standard Errors and Confidence
    Intervals", 1981). The ends are kept to what the figure can be.
    """

    def figure(counts: Floats) -> tuple[Floats, Floats]:
        value, slope = this.average_precision(counts)
        if other is not None:
            less, its_slope = other.average_precision(counts)
            value, slope = value - less, slope - its_slope
        return value, np.sqrt(np.sum(counts * slope**2, axis=1))

    here, error = (float(each[0]) for each in figure(np.ones((1, this.clusters))))
    if this.clusters < 2 or not (np.isfinite(here) and error > 1e-12):
        return None
    drawn = [figure(counts) for counts in _draws(this, draws, seed)]
    values, errors = (np.concatenate([each[part] for each in drawn]) for part in (0, 1))
    known = np.isfinite(values)
    if np.mean(~known) > 1 - fraction("level", level):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (values[known] - here) / errors[known]
    t = np.sort(t[~np.isnan(t)])
    if not len(t):
        return None
    tail = (1 - level) / 2
    low, high = (here - _order(t, share) * error for share in (1 - tail, tail))
    return Interval(float(max(low, 0.0 if other is None else -1.0)), float(min(high, 1.0)))


def recall_at_precision_intervals(
    ranking: Ranking, wished: Sequence[float], *, level: float = LEVEL, seed: int = 0, draws: int
) -> list[Interval | None]:
    """Percentile intervals of the recall at each wished precision, which is not smooth: no standard error holds."""
    if ranking.clusters < 2 or not ranking.positives.any():
        return [None] * len(wished)
    tail = (1 - fraction("level", level)) / 2
    blocks = [
        np.stack([ranking.recall_at_precision(counts, each) for each in wished])
        for counts in _draws(ranking, draws, seed)
    ]
    return [_percentiles(values, tail) for values in np.concatenate(blocks, axis=1)]


def _percentiles(values: Floats, tail: float) -> Interval | None:
    known = values[np.isfinite(values)]
    if len(known) < (1 - 2 * tail) * len(values) or np.ptp(known) == 0:
        return None
    return Interval(*(float(np.quantile(known, share)) for share in (tail, 1 - tail)))


def _draws(ranking: Ranking, draws: int, seed: int) -> Iterator[Floats]:
    """How often each cluster is drawn, with replacement [draws at once, clusters] float64."""
    chance = np.random.default_rng(seed)
    many = ranking.clusters
    step = max(1, AT_ONCE // max(len(ranking.cluster), many))
    for start in range(0, draws, step):
        yield chance.multinomial(many, np.full(many, 1 / many), min(step, draws - start)).astype(np.float64)


def _over(part: Floats, whole: Floats) -> Floats:
    """part / whole, 0 where whole is 0: nothing drawn is flagged at that threshold."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _from_here_on(values: Floats) -> Floats:
    """Sums over this threshold and all later ones [draws, runs]."""
    return np.cumsum(values[:, ::-1], axis=1)[:, ::-1]


def _order(ascending: Floats, share: float) -> float:
    """The order statistic nearest to the quantile: some may be infinite, so that none is drawn between two."""
    return float(ascending[min(max(round(share * (len(ascending) + 1)) - 1, 0), len(ascending) - 1)])
