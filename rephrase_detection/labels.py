"""What is known about pairs without asking anybody, and what annotations say: the labels that detectors learn from.

Gold, where a log has it: the later turn names the earlier one, or says that it names none. Where it has not, a pair is
labelled only if several signs agree:

a rephrase     the source probably failed, the target is like it in letters, words or sound, or several users took the
               same step far more often than by chance; nothing that the two say is opposite; where both say the same,
               the target worked
no rephrase    the source probably worked, one of them is an answer or navigation, the two say the opposite, or they are
               unlike in letters, words and sound and the step is nobody else's

Everything between is left open, and no detector learns from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dialogue.contrasts import ENGLISH
from dialogue.outcomes import session_numbers
from dialogue.turn import Session
from rephrase_detection.candidates import Candidates, Rows
from rephrase_detection.detector import KINDS
from rephrase_detection.features import NAMES
from rephrase_detection.lexical import LexicalDetector

Values = NDArray[np.float64]


@dataclass(frozen=True)
class WeakRules:
    """From where on signs are taken as labels. P(success) of a source is judged without its second try."""

    failed_below: float = 0.5
    worked_from: float = 0.9
    alike_from: float = 0.75  #: the largest of the likenesses of a rephrase
    unlike_below: float = 0.35  #: of all likenesses of what is no rephrase
    users: int = 3  #: that took the same step from one text to another
    lift: float = 5.0  #: how much more often than the target is said otherwise


@dataclass(frozen=True, slots=True, eq=False)
class PairLabels:
    """Labels of some pairs: 1, 0 or NaN for not known; the place of the kind in KINDS or -1 [pairs]."""

    label: Values
    kind: NDArray[np.int8]


def gold_labels(sessions: Sequence[Session], pairs: Candidates) -> PairLabels:
    """What the annotations of the sessions say; rows number their turns in order.

    A pair is 1 where the target names the source, 0 where the target names no turn or another, or where the source is
    named by another turn; but a target that says again a turn *between* the two says nothing about the pair.
    """
    turns = [turn for session in sessions for turn in session.turns]
    row_of = {turn.turn_id: row for row, turn in enumerate(turns)}
    named = np.full(len(turns), -2, np.int64)  # -2 not annotated, -1 none
    kinds = np.full(len(turns), -1, np.int8)
    for row, turn in enumerate(turns):
        if turn.gold is not None and "rephrase_of" in turn.gold.annotated:
            named[row] = row_of.get(turn.gold.rephrase_of or "", -1)
            if turn.gold.rephrase_kind is not None:
                kinds[row] = KINDS.index(turn.gold.rephrase_kind)
    said_again = named[pairs.target]
    label = np.where(said_again == pairs.source, 1.0, 0.0)
    label[(said_again == -2) | (said_again > pairs.source)] = np.nan
    found = np.zeros(len(turns), np.bool_)
    found[pairs.source[label == 1]] = True
    label[np.isnan(label) & found[pairs.source]] = 0.0
    label[(label == 1) & ~_nearest(pairs, label == 1)] = np.nan  # named by two: a source has one rephrase, the nearest
    return PairLabels(label, np.where(label == 1, kinds[pairs.target], -1).astype(np.int8))


def weak_labels(
    batch: pa.RecordBatch, p_success: Values, pairs: Candidates, features: Values, rules: WeakRules
) -> PairLabels:
    """What several signs agree on; `p_success` is judged without what the user said next [turns] float64."""
    column = {name: features[:, place] for place, name in enumerate(NAMES)}
    likeness = np.max([column[name] for name in ("letters", "words", "sound", "shared_words")], axis=0)
    shared = _shared_steps(batch, pairs, rules)
    source, target = p_success[pairs.source], p_success[pairs.target]
    fixed = ((column["fixed_source"] + column["fixed_target"]) > 0) | _reversed(batch, pairs)
    positive = (source < rules.failed_below) & ~fixed & ((likeness >= rules.alike_from) | shared)
    positive &= (column["identical"] == 0) | (target >= rules.worked_from)
    negative = (source >= rules.worked_from) | fixed | ((likeness < rules.unlike_below) & ~shared)
    label = np.where(positive, 1.0, np.where(negative, 0.0, np.nan))
    nearest = _nearest(pairs, positive)
    label[positive & ~nearest] = np.nan
    kind = np.where(column["differing_sound"] >= LexicalDetector.misheard_from, 1, 0)
    return PairLabels(label, np.where(label == 1, kind, -1).astype(np.int8))


def _reversed(batch: pa.RecordBatch, pairs: Candidates) -> NDArray[np.bool_]:
    """Whether a pair says the opposite: the light on and then off is no second try [pairs] bool."""
    said = batch["said"].dictionary_encode()
    stances = [ENGLISH.stance(text) for text in said.dictionary.to_pylist()]
    codes = np.asarray(said.indices, np.int64)
    both = zip(codes[pairs.source].tolist(), codes[pairs.target].tolist(), strict=True)
    return np.array([stances[a].reverses(stances[b]) for a, b in both], np.bool_)


def _nearest(pairs: Candidates, positive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a pair is the nearest positive of its source [pairs] bool."""
    places = np.flatnonzero(positive)
    first = np.append(True, np.diff(pairs.source[places]) != 0) if len(places) else np.zeros(0, np.bool_)
    found = np.zeros(len(pairs), np.bool_)
    found[places[first]] = True
    return found


def _shared_steps(batch: pa.RecordBatch, pairs: Candidates, rules: WeakRules) -> NDArray[np.bool_]:
    """Whether several users went from the one text to the other, far more often than chance [pairs] bool."""
    said = batch["said"].dictionary_encode()
    codes: Rows = np.asarray(said.indices, np.int64)
    users: Rows = np.asarray(batch["user_id"].dictionary_encode().indices, np.int64)
    step = codes[pairs.source] * len(said.dictionary) + codes[pairs.target]
    steps, place = np.unique(step, return_inverse=True)
    by_user = np.unique(place * (users.max(initial=0) + 1) + users[pairs.source])
    takers = np.bincount(by_user // (users.max(initial=0) + 1), minlength=len(steps))
    times = np.bincount(codes, minlength=len(said.dictionary))
    taken = np.bincount(place, minlength=len(steps))[place]
    chance = times[codes[pairs.target]] / max(batch.num_rows, 1)
    often = taken / np.maximum(times[codes[pairs.source]], 1) >= np.minimum(rules.lift * chance, 1.0)
    changed = codes[pairs.source] != codes[pairs.target]
    return np.asarray((takers[place] >= rules.users) & often & changed, np.bool_)


def folds(batch: pa.RecordBatch, pairs: Candidates, count: int) -> Rows:
    """A fold for every pair, all of a session in one [pairs] int64."""
    return np.asarray(session_numbers(batch)[pairs.source] * 7919 % count, np.int64)
