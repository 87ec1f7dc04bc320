"""How many wrong rewrites may a table hold? The false discovery rate of the table as a whole.

A gate that asks each pair for a chance of 0.9 may, at worst, let one wrong pair into ten. The table as a whole is held
to less: the expected share of its rewrites that are no better than leaving the request alone stays below a rate.
`chance` is each pair's posterior chance of being better, [pairs] float64 within 0..1; since it holds what is known of
the pair beside all others, the mean of 1 - chance over the table is that share, however many pairs were looked at to
find them (Newton, Noueiry, Sarkar & Ahlquist, "Detecting differential gene expression with a semiparametric
hierarchical mixture method", Biostatistics 5, 2004; Müller, Parmigiani & Rice, "FDR and Bayesian Multiple Comparisons
Rules", Bayesian Statistics 8, 2007). The step-up procedure of Benjamini & Hochberg (1995) on 1 - chance counts every
hopeless pair as a test, and most pairs of a log are hopeless: at the same nominal rate it kept a twentieth of the
rewrites, and neither kept a wrong one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.bool_]


def expected_false_share(chance: ArrayLike, mask: ArrayLike) -> float:
    """The share of the pairs in `mask` that are not better, expected a posteriori: the mean of 1 - chance; 0 for
    none."""
    sound = _checked(chance)
    kept = _checked_mask("mask", mask, len(sound))
    return float(np.mean(1 - sound[kept])) if kept.any() else 0.0


def surest(chance: ArrayLike, able: ArrayLike, rate: float) -> Mask:
    """Of the pairs in the mask `able`, as many as keep `expected_false_share` within `rate`, the surest first.

    [pairs] bool; equal chances by position.
    """
    sound = _checked(chance)
    may = np.flatnonzero(_checked_mask("able", able, len(sound)))
    may = may[np.argsort(-sound[may], kind="stable")]
    share = np.cumsum(1 - sound[may]) / np.arange(1, len(may) + 1)  # rises
    kept = np.zeros(len(sound), np.bool_)
    kept[may[share <= _checked_rate(rate)]] = True
    return kept


def _checked(chance: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(chance, np.float64)
    if values.ndim != 1:
        raise ValueError(f"chances came in the shape {values.shape}; wanted one per pair, [pairs]")
    sound = (values >= 0) & (values <= 1)
    if not sound.all():
        raise ValueError(f"a chance is {values[~sound][0]}; wanted within 0..1")
    return values


def _checked_rate(rate: float) -> float:
    if not 0 < rate < 1:
        raise ValueError(f"the false discovery rate is {rate}; wanted above 0 and below 1")
    return rate


def _checked_mask(name: str, mask: ArrayLike, pairs: int) -> Mask:
    values = np.asarray(mask)
    if values.dtype != np.bool_ or values.shape != (pairs,):
        raise ValueError(f"{name} is {values.dtype} of shape {values.shape}; wanted bool of shape ({pairs},)")
    return values
