"""How well does a detector find rephrases, how sure is that, and is it better than another one?

judge      the figures of one detector, each with its interval
compare    the difference of two detectors on the same sources, over the same draws

Both take what gold says (`eval.rephrases.truth_of`) and the links of a detector by the same rows
(`eval.rephrases.predict`: the best of every source, however improbable). Whole users are drawn, or whole sessions where
fewer than 20 users have a source that is measured; intervals are at 95 %.

What a link scores
    its source is not measured           nothing
    it names a turn without annotation   no link, as if the detector had named none; counted as unjudged at or above
                                         the threshold (condensed lists: Sakai, "Alternatives to Bpref", SIGIR 2007)
    anything else                        as `eval.detection` has it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.arrays import Floats, Ints, codes
from eval.detection import (
    Credit,
    Detections,
    average_precision,
    exact_turn,
    f1,
    pointing,
    precision,
    recall,
    recall_at_precision,
)
from eval.measures import Interval, Share
from eval.ranking import Ranking, average_precision_interval, recall_at_precision_intervals
from eval.rephrases import NONE, Truth
from eval.uncertainty import bootstrap, clustered_wilson, difference, ratio, sums_by_user
from rephrase_detection import Links

#: Draws of each interval.
DRAWS = 1_000

#: With fewer users than this, sessions are drawn.
FEWEST_USERS = 20

#: Precisions at which recall is read off.
WISHED = (0.90, 0.95)


class Figure(NamedTuple):
    """A figure, None where it was not measured, and its interval, None where nothing tells how users differ."""

    value: float | None
    interval: Interval | None
    share: Share | None = None  # what it is a share of, for those that are


@dataclass(frozen=True, slots=True)
class Figures:
    """How one detector did on the sources that gold judges."""

    sources: int
    rephrases: int  # sources with a rephrase
    links: int  # sources flagged at the threshold
    unjudged: int  # links at the threshold to turns without annotation, taken as none
    clusters: int  # what was drawn: so many users or sessions with a source
    by: str  # "user" or "session"
    threshold: float
    credit: Credit
    precision: Figure
    recall: Figure
    f1: Figure
    average_precision: Figure
    recall_at_90: Figure  # the best recall of all thresholds with this precision
    recall_at_95: Figure
    exact_turn: Figure
    pointing: Figure
    kind: Figure  # of right links whose kind gold knows, those with that kind


@dataclass(frozen=True, slots=True)
class Comparison:
    """One detector less another, on the same sources: above 0 the first is better."""

    f1: Figure  # at the threshold of each
    average_precision: Figure


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """A detector's links beside gold, a row for each source that is measured."""

    detections: Detections
    same_kind: NDArray[np.bool_]  # [sources] bool
    kind_known: NDArray[np.bool_]  # gold has a kind [sources] bool
    unjudged: Floats  # the probability of a link to a turn without annotation, -1 for none [sources] float64
    cluster: Ints  # [sources] int64
    clusters: int
    by: str


def judge(
    truth: Truth, links: Links, *, threshold: float, credit: Credit = Credit.TURN, seed: int = 0, draws: int = DRAWS
) -> Figures:
    """The figures of a detector whose `score` gave these links, used at this threshold."""
    seen = _seen(truth, links)
    found = seen.detections
    flagged = found.flagged(threshold)
    right, hits = flagged & found.right(credit), flagged & found.positive

    def share(value: Share, part: ArrayLike, whole: ArrayLike) -> Figure:
        return Figure(value.value, _share_interval(seen, part, whole, seed, draws), value)

    known = flagged & found.exact & seen.kind_known
    kind = Share(int((known & seen.same_kind).sum()), int(known.sum()))
    everything = np.ones(len(found))
    exact = np.where(flagged, found.exact, ~found.positive)
    ranking = Ranking.of(found, seen.cluster, seen.clusters, credit)
    at = [recall_at_precision(found, wished, credit) for wished in WISHED]
    ends = recall_at_precision_intervals(ranking, WISHED, seed=seed, draws=draws)
    at_90, at_95 = (Figure(p.recall if p else None, end) for p, end in zip(at, ends, strict=True))
    halves = sums_by_user(seen.cluster, *_f1_parts(found, threshold, credit))
    return Figures(
        sources=len(found),
        rephrases=int(found.positive.sum()),
        links=int(flagged.sum()),
        unjudged=int((seen.unjudged >= threshold).sum()),
        clusters=seen.clusters,
        by=seen.by,
        threshold=threshold,
        credit=credit,
        precision=share(precision(found, threshold, credit), right, flagged),
        recall=share(recall(found, threshold, credit), right, found.positive),
        f1=Figure(f1(found, threshold, credit), _drawn(halves, seed, draws)),
        average_precision=Figure(
            average_precision(found, credit), average_precision_interval(ranking, seed=seed, draws=draws)
        ),
        recall_at_90=at_90,
        recall_at_95=at_95,
        exact_turn=share(exact_turn(found, threshold), exact, everything),
        pointing=share(pointing(found, threshold), hits & found.exact, hits),
        kind=share(kind, known & seen.same_kind, known),
    )


def compare(
    truth: Truth,
    links: Links,
    other: Links,
    *,
    thresholds: tuple[float, float],
    credit: Credit = Credit.TURN,
    seed: int = 0,
    draws: int = DRAWS,
) -> Comparison:
    """The first detector's F1 and average precision less the other's; `thresholds` are those of the two."""
    here, there = _seen(truth, links), _seen(truth, other)
    parts = [
        _f1_parts(each.detections, threshold, credit)
        for each, threshold in zip((there, here), reversed(thresholds), strict=True)
    ]
    sums = sums_by_user(here.cluster, *parts[0], *parts[1])
    values = [f1(each.detections, at, credit) for each, at in zip((here, there), thresholds, strict=True)]
    rankings = [Ranking.of(each.detections, each.cluster, each.clusters, credit) for each in (here, there)]
    return Comparison(
        f1=Figure(_less(values), _drawn(sums, seed, draws)),
        average_precision=Figure(
            _less([average_precision(each.detections, credit) for each in (here, there)]),
            average_precision_interval(*rankings, seed=seed, draws=draws),
        ),
    )


def _seen(truth: Truth, links: Links) -> _Judged:
    probability, target = np.zeros(len(truth)), np.full(len(truth), NONE)
    kind = np.full(len(truth), -1, np.int8)
    probability[links.source], target[links.source], kind[links.source] = links.probability, links.target, links.kind
    blind = target != NONE
    blind[blind] = ~truth.annotated[target[blind]]
    rows = np.flatnonzero(truth.measured)
    named, gold = (target != NONE) & ~blind, truth.rephrase
    found = Detections(probability[rows], named[rows], gold[rows] >= 0, (named & (target == gold))[rows])
    users, sessions = codes(truth.user[rows]), codes(truth.session[rows])
    by_user = users[1] >= FEWEST_USERS
    cluster, clusters = users if by_user else sessions
    unjudged = np.where(blind, probability, -1.0)[rows]
    return _Judged(
        found, (kind == truth.kind)[rows], (truth.kind >= 0)[rows], unjudged, cluster, clusters,
        "user" if by_user else "session",
    )  # fmt: skip


def _f1_parts(found: Detections, threshold: float, credit: Credit) -> tuple[Floats, Floats]:
    """What F1 is a ratio of: 2 right, and flagged + positive [sources] float64."""
    flagged = found.flagged(threshold)
    right = (flagged & found.right(credit)).astype(np.float64)
    return 2 * right, flagged.astype(np.float64) + found.positive.astype(np.float64)


def _share_interval(seen: _Judged, part: ArrayLike, whole: ArrayLike, seed: int, draws: int) -> Interval | None:
    """By bootstrap; where clusters do not differ, so that nothing can be drawn, Wilson's by cluster."""
    sums = sums_by_user(seen.cluster, part, whole)
    drawn = _drawn(sums, seed, draws)
    return clustered_wilson(sums[:, 0], sums[:, 1]) if drawn is None and sums[:, 1].any() else drawn


def _drawn(sums: Floats, seed: int, draws: int) -> Interval | None:
    """Of a ratio [clusters, 2], or of the difference of two [clusters, 4]; its ends kept to what the figure can be.

    Where all clusters pull the figure to the same place, rounding alone would make an interval.
    """
    pulls = [_pull(sums[:, start : start + 2]) for start in range(0, sums.shape[1], 2)]
    if not len(sums) or not (np.abs(pulls[-1] - (pulls[0] if len(pulls) > 1 else 0.0)) > 1e-12).any():
        return None
    statistic, least = (ratio, 0.0) if len(pulls) == 1 else (difference, -1.0)
    found = bootstrap(sums, statistic, seed=seed, draws=draws)
    return None if found is None else Interval(max(found.low, least), min(found.high, 1.0))


def _pull(sums: Floats) -> Floats:
    """How far each cluster moves a ratio [clusters] float64; nan where it is not defined."""
    part, whole = sums.sum(axis=0)
    return np.asarray((sums[:, 0] - sums[:, 1] * part / whole) / whole if whole else np.full(len(sums), np.nan))


def _less(values: Sequence[float | None]) -> float | None:
    first, second = values
    return None if first is None or second is None else first - second


def as_dict(figures: Figures | Comparison) -> dict[str, Any]:
    """For JSON: every figure as its value, its interval, and what it is a share of; null is "not measured"."""
    found: dict[str, Any] = {}
    for name in figures.__dataclass_fields__:
        each = getattr(figures, name)
        if isinstance(each, Figure):
            share = {"part": each.share.part, "whole": each.share.whole} if each.share else {}
            each = {"value": each.value, "interval": list(each.interval) if each.interval else None, **share}
        found[name] = each
    return found
