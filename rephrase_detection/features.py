"""What can be measured on a pair of turns: likeness, sound, time and outcome, and the dialogue around them.

The features come in two groups. Those of the *pair* are what a detector knows that sees two turns and how the first
one fared. Those of the *context* are what only the dialogue tells: what the assistant answered to both, what else the
recogniser had heard, what the other candidates are. Confidences,
interpretations and hypotheses that a log does not have are NaN; feedback and replies that are not there are 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from dialogue.canonical import fold
from dialogue.outcomes import OutcomeModel
from dialogue.similarity import compare, differing_sound, distinct_pairs
from rephrase_detection.candidates import Candidates, Rows
from rephrase_detection.lexical import FIXED, LEAST_FAILURE, LexicalWeights

Values = NDArray[np.float64]

PAIR = (
    "letters", "words", "shared_words", "sound", "part", "differing_sound", "identical", "words_source",
    "words_target", "words_more", "fixed_source", "fixed_target", "gap", "turns_between", "failed", "lexical",
)  # fmt: skip

#: Evidence of the outcome model that both turns of a pair bring as features.
EVIDENCE = (
    "succeeded", "failed", "apology", "asked_again", "stuck", "barge_in", "cancelled", "taken_back", "denied",
    "confirmed", "thanked", "unanswered",
)  # fmt: skip

CONTEXT = (
    *(f"{name}_{turn}" for name in EVIDENCE for turn in ("source", "target")),
    "target_success", "reply_has_source", "reply_has_target", "reply_characters", "target_reply_characters",
    "same_reply", "same_interpretation", "likest_other", "candidates", "followed_likeness", "heard_source",
    "heard_target", "recovered", "recovered_share", "recovered_rank", "likest_alternative", "new_words",
    "content_words", "source_among_alternatives",
)  # fmt: skip

NAMES = (*PAIR, *CONTEXT)

#: Words that say little about what is wanted.
_FUNCTION_WORDS = frozenset(
    "a about an and any are as at be can could d do does for from have hello hi how i i'd i'll i'm in is it it's let"
    " like ll m me my no of oh okay on or please s t that that's the them there there's they this to uh um want was"
    " we what what's where which will with would yes you your".split()
)


def pair_features(batch: pa.RecordBatch, p_success: Values, pairs: Candidates) -> Values:
    """The features of pairs of a dialogue batch, in the order of NAMES [pairs, features] float64.

    `p_success` is P(success) of the batch's turns [turns] float64.
    """
    if len(p_success) != batch.num_rows:
        raise ValueError(f"{len(p_success)} outcomes for {batch.num_rows} turns: one each is wanted")
    if not len(pairs):
        return np.zeros((0, len(NAMES)))
    columns = _likeness(batch, pairs) | _distance(batch, p_success, pairs) | _feedback(batch, p_success, pairs)
    columns["lexical"] = _lexical(columns)
    columns |= _replies(batch, pairs) | _others(columns["letters"], batch, pairs) | _alternatives(batch, pairs)
    return np.stack([columns[name] for name in NAMES], axis=1).astype(np.float64)


def _likeness(batch: pa.RecordBatch, pairs: Candidates) -> dict[str, Values]:
    said = batch["said"].dictionary_encode()
    texts, codes = said.dictionary.to_pylist(), np.asarray(said.indices, np.int64)
    a, b = codes[pairs.source], codes[pairs.target]
    alike = compare(texts, a, b)
    one, other, place = distinct_pairs(a, b, len(texts))
    left, right = [texts[row] for row in one], [texts[row] for row in other]
    part = process.cpdist(left, right, scorer=fuzz.partial_ratio, dtype=np.float32, workers=1) / 100
    length = np.array([len(text.split()) for text in texts], np.float64)
    phrases = {fold(text) for text in FIXED}
    fixed = np.array([text in phrases for text in texts], np.float64)
    return {
        "letters": alike.letters,
        "words": alike.words,
        "shared_words": alike.shared_words,
        "sound": alike.sound,
        "part": part[place],
        "differing_sound": differing_sound(left, right)[place],
        "identical": (a == b).astype(np.float64),
        "words_source": length[a],
        "words_target": length[b],
        "words_more": length[b] - length[a],
        "fixed_source": fixed[a],
        "fixed_target": fixed[b],
    }


def _distance(batch: pa.RecordBatch, p_success: Values, pairs: Candidates) -> dict[str, Values]:
    times = np.asarray(batch["timestamp"], np.float64)
    return {
        "gap": np.log1p(np.maximum(times[pairs.target] - times[pairs.source], 0)),
        "turns_between": (pairs.target - pairs.source - 1).astype(np.float64),
        "failed": np.log(np.maximum(1 - p_success[pairs.source], LEAST_FAILURE)),
    }


def _lexical(columns: dict[str, Values]) -> Values:
    """The log-odds of the lexical rung, whose weights suit any log: where trees go on from [pairs] float64."""
    weights = LexicalWeights()
    same = ("letters", "words", "shared_words", "sound", "identical", "turns_between", "failed")
    odds = weights.prior + weights.gap * columns["gap"] / np.log1p(120.0)
    return np.asarray(odds + sum(getattr(weights, name) * columns[name] for name in same), np.float64)


def _feedback(batch: pa.RecordBatch, p_success: Values, pairs: Candidates) -> dict[str, Values]:
    found = {"target_success": p_success[pairs.target]}
    for name, amount in OutcomeModel().evidence(batch):
        if name in EVIDENCE:
            found |= {f"{name}_source": amount[pairs.source], f"{name}_target": amount[pairs.target]}
    confidence = batch["asr_confidence"].to_numpy(zero_copy_only=False).astype(np.float64)
    return found | {"heard_source": confidence[pairs.source], "heard_target": confidence[pairs.target]}


def _replies(batch: pa.RecordBatch, pairs: Candidates) -> dict[str, Values]:
    said, replies = _word_sets(batch["said"].to_pylist()), batch["response"].to_pylist()
    reply_words = _word_sets([fold(text) if text else "" for text in replies])
    characters = np.array([len(text) if text else 0 for text in replies], np.float64)
    codes = np.asarray(batch["response"].dictionary_encode().indices.fill_null(-1), np.int64)
    taken = batch["interpretation"].dictionary_encode().indices
    meaning = np.asarray(taken.fill_null(-1), np.int64)
    s, t = pairs.source, pairs.target
    known = (meaning[s] >= 0) & (meaning[t] >= 0)
    return {
        "reply_has_source": _covered(said, s, reply_words, s),
        "reply_has_target": _covered(said, t, reply_words, s),
        "reply_characters": np.log1p(characters[s]),
        "target_reply_characters": np.log1p(characters[t]),
        "same_reply": ((codes[s] == codes[t]) & (codes[s] >= 0)).astype(np.float64),
        "same_interpretation": np.where(known, meaning[s] == meaning[t], np.nan),
    }


def _others(letters: Values, batch: pa.RecordBatch, pairs: Candidates) -> dict[str, Values]:
    """The pair beside the other candidates of its source, and beside what the candidate is followed by."""
    group = pairs.group
    size = np.bincount(group)
    place = np.arange(len(pairs)) - np.flatnonzero(pairs.first)[group]
    table = np.full((len(size), int(size.max())), -1.0)
    table[group, place] = letters
    likest = np.full(len(pairs), -1.0)
    for column in range(table.shape[1]):
        others = np.delete(table, column, axis=1).max(axis=1, initial=-1.0)
        here = place == column
        likest[here] = others[group[here]]
    after = np.full(len(pairs), np.nan)  # likeness of the source to the turn after the candidate
    following = (place + 1 < size[group]) & (np.append(pairs.target[1:], -1) == pairs.target + 1)
    after[following] = letters[np.flatnonzero(following) + 1]
    return {"likest_other": likest, "candidates": size[group].astype(np.float64), "followed_likeness": after}


def _alternatives(batch: pa.RecordBatch, pairs: Candidates) -> dict[str, Values]:
    """Whether what the recogniser had also heard of the source is what was then said."""
    said = [words - _FUNCTION_WORDS for words in _word_sets(batch["said"].to_pylist())]
    texts, lists = batch["said"].to_pylist(), [(each or "").split("\n") for each in batch["alternatives"].to_pylist()]
    rows: list[tuple[float, ...]] = []
    for a, b in zip(pairs.source.tolist(), pairs.target.tolist(), strict=True):
        wanted, new = said[b], said[b] - said[a]
        also = [each for each in lists[a] if each]
        heard = [frozenset(each.split()) for each in also]
        ranks = [next((rank for rank, words in enumerate(heard) if word in words), len(heard)) for word in new]
        recovered = sum(rank < len(heard) for rank in ranks)
        back = frozenset(" ".join(lists[b]).split())
        rows.append(
            (
                recovered,
                recovered / max(len(wanted), 1),
                min(ranks, default=len(heard)) if also else np.nan,
                _likest(texts[b], also) if also else np.nan,
                len(new),
                len(wanted),
                len(said[a] & back) / max(len(said[a]), 1) if lists[b][0] else np.nan,
            )
        )
    names = ("recovered", "recovered_share", "recovered_rank", "likest_alternative", "new_words", "content_words")
    return dict(zip((*names, "source_among_alternatives"), np.array(rows, np.float64).T, strict=True))


def _likest(text: str, others: Sequence[str]) -> float:
    return max(fuzz.ratio(text, other) for other in others) / 100


def _word_sets(texts: Sequence[str]) -> list[frozenset[str]]:
    sets = {text: frozenset(text.split()) for text in set(texts)}
    return [sets[text] for text in texts]


def _covered(said: Sequence[frozenset[str]], rows: Rows, replies: Sequence[frozenset[str]], where: Rows) -> Values:
    """The share of the content words of `rows` that the reply to `where` holds [pairs] float64."""
    found = np.zeros(len(rows))
    for place, (row, reply) in enumerate(zip(rows.tolist(), where.tolist(), strict=True)):
        words = said[row] - _FUNCTION_WORDS
        found[place] = len(words & replies[reply]) / max(len(words), 1)
    return found
