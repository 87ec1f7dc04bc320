"""How likely each turn gave the user what they wanted, judged from everything the log lets one observe.

An additive model in log-odds, so that each probability can be taken apart into named pieces of evidence:

    P(success) = sigmoid(prior + sum_i weight_i * amount_i),   amount_i in [0, 1]

A weight is the log-likelihood ratio of its evidence, rounded. No piece of evidence is proof: a repeat may
follow a success ("next"), an apology may be polite, an assistant may think that it understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dialogue.canonical import Canonicaliser, fold
from dialogue.contrasts import ENGLISH, Contrasts
from dialogue.feedback import (
    DROPPED_S,
    ENGAGED_S,
    LIMIT_S,
    MAX_TURNS,
    READ_CHARACTERS,
    SIMILAR_FROM,
    SIMILAR_TO,
    EvidenceWeights,
    Phrases,
)
from dialogue.similarity import distinct_letters, distinct_pairs
from dialogue.table import dialogue_batch
from dialogue.turn import Session

Amounts = NDArray[np.float64]
Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]

_CANONICAL = Canonicaliser()


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence on one turn: how much of it there is, and the log-odds of the whole of it."""

    name: str
    amount: float
    weight: float

    def __str__(self) -> str:
        return f"{self.name} {self.amount * self.weight:+.2f}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """P(success) of one turn with what led to it; as text, one line."""

    turn_id: str
    p_success: float
    evidence: tuple[Evidence, ...]

    def __str__(self) -> str:
        why = ", ".join(map(str, self.evidence)) or "the prior alone"
        return f"{self.turn_id}: {self.p_success:.2f} from {why}"


@dataclass(frozen=True)
class OutcomeModel:
    """Judges the turns of whole sessions; a turn that a rewriter changed is judged by what it led to.

    "Soon" means within `limit_s` seconds and `max_turns` turns. Texts from `similar_from` letters alike on
    count as rephrases, fully from `similar_to` on.
    """

    weights: EvidenceWeights = field(default_factory=EvidenceWeights)
    phrases: Phrases = field(default_factory=Phrases)
    contrasts: Contrasts = ENGLISH
    limit_s: float = LIMIT_S
    max_turns: int = MAX_TURNS
    similar_from: float = SIMILAR_FROM
    similar_to: float = SIMILAR_TO
    engaged_s: float = ENGAGED_S
    dropped_s: float = DROPPED_S

    def __post_init__(self) -> None:
        if not (self.limit_s > 0 and self.engaged_s > 0 and self.dropped_s > 0):
            raise ValueError("limit_s, engaged_s and dropped_s are seconds greater than 0")
        if self.max_turns < 1:
            raise ValueError(f"max_turns is {self.max_turns}: at least the next turn must be looked at")
        if not 0 <= self.similar_from < self.similar_to <= 1:
            raise ValueError(
                f"0 <= similar_from < similar_to <= 1 is wanted, not {self.similar_from}, {self.similar_to}"
            )

    def judge(self, batch: pa.RecordBatch) -> Amounts:
        """P(success) of every turn of a dialogue batch [turns] float64."""
        log_odds = np.full(batch.num_rows, self.weights.prior)
        for name, amount in self.evidence(batch):
            log_odds += getattr(self.weights, name) * amount
        return 1.0 / (1.0 + np.exp(-log_odds))

    def explain(
        self, session: Session, canonical: Callable[[str], str] = _CANONICAL
    ) -> tuple[Judgement, ...]:
        """The judgement of each turn of a session, with the evidence that is present, strongest first."""
        batch = dialogue_batch([session], canonical)
        evidence = dict(self.evidence(batch))
        return tuple(
            Judgement(turn.turn_id, float(p), self._present(evidence, row))
            for row, (turn, p) in enumerate(zip(session.turns, self.judge(batch), strict=True))
        )

    def evidence(self, batch: pa.RecordBatch) -> Iterator[tuple[str, Amounts]]:
        """The name of each kind of evidence with its amount on every turn, 0 to 1 [turns] float64."""
        if batch.num_rows == 0:
            return
        heard = _Heard(batch, self.phrases, self.limit_s)
        for_it = np.zeros(batch.num_rows, np.bool_)
        for name, amount in self._feedback(batch):
            if name in ("succeeded", "rated_up", "clicked", "engaged"):
                for_it |= amount > 0
            yield name, amount
        yield from self._reply(batch, heard)
        yield from self._reaction(heard)
        yield from self._second_try(batch, heard)
        yield "abandoned", np.asarray(heard.is_last & ~for_it & ~heard.says("thanked"), np.float64)

    def _present(self, evidence: dict[str, Amounts], row: int) -> tuple[Evidence, ...]:
        found = [
            Evidence(name, float(amount[row]), getattr(self.weights, name))
            for name, amount in evidence.items()
            if amount[row] > 0
        ]
        return tuple(sorted(found, key=lambda piece: -abs(piece.amount * piece.weight)))

    def _feedback(self, batch: pa.RecordBatch) -> Iterator[tuple[str, Amounts]]:
        """What the log itself says about a turn."""
        yield "succeeded", _equals(batch["outcome"], "success")
        yield "failed", _equals(batch["outcome"], "failure")
        yield "rated_up", _equals(batch["rating"], 1)
        yield "rated_down", _equals(batch["rating"], -1)
        yield "clicked", _equals(batch["clicked"], True)
        used = _numbers(batch["engaged_s"])
        yield "engaged", np.nan_to_num(np.clip(used / self.engaged_s, 0, 1))
        yield "dropped", np.nan_to_num(np.clip(1 - used / self.dropped_s, 0, 1))
        yield "barge_in", _equals(batch["barge_in"], True)
        yield "cancelled", _equals(batch["cancelled"], True)
        confidence = np.fmin(_numbers(batch["asr_confidence"]), _numbers(batch["nlu_confidence"]))
        yield "unsure", np.nan_to_num(np.clip(1 - confidence, 0, 1))
        yield "empty", _equals(batch["said"], "")

    def _reply(self, batch: pa.RecordBatch, heard: _Heard) -> Iterator[tuple[str, Amounts]]:
        """What the assistant said. An apology to a "no" or a "cancel" is for the turn before."""
        about_this = ~(heard.says("denied") | heard.says("taken_back", whole=True))
        yield "apology", np.asarray(heard.replies("apology", but="courtesy") & about_this, np.float64)
        yield "asked_again", np.asarray(heard.replies("asked_again") & about_this, np.float64)
        yield "stuck", heard.stuck.astype(np.float64)
        yield "unanswered", heard.unanswered.astype(np.float64)

    def _reaction(self, heard: _Heard) -> Iterator[tuple[str, Amounts]]:
        """What the user said next."""
        confirming = heard.replies("confirming")
        yield "confirmed", np.asarray(confirming & heard.next_says("affirmed"), np.float64)
        yield "denied", np.where(heard.next_says("denied"), np.where(confirming, 1.0, 0.25), 0.0)
        yield "taken_back", heard.next_says("taken_back", whole=True).astype(np.float64)
        yield "thanked", heard.next_says("thanked").astype(np.float64)

    def _second_try(self, batch: pa.RecordBatch, heard: _Heard) -> Iterator[tuple[str, Amounts]]:
        """Whether the user said the same, something like it, or only other things soon after."""
        same = np.zeros(batch.num_rows, np.bool_)
        nearest = np.zeros(batch.num_rows)
        followed = np.zeros(batch.num_rows, np.bool_)
        for rows, targets in following(batch, self.limit_s, self.max_turns):
            alike = distinct_letters(heard.texts, heard.codes[rows], heard.codes[targets])
            alike[self._reversed(heard, rows, targets, alike)] = 0
            same[rows] |= heard.codes[rows] == heard.codes[targets]
            nearest[rows] = np.maximum(nearest[rows], alike)
            followed[rows] = True
        ordinary = ~(heard.says("navigation", whole=True) | heard.is_empty)
        similar = np.clip((nearest - self.similar_from) / (self.similar_to - self.similar_from), 0, 1)
        yield "repeated", np.where(same & ordinary, np.minimum(1.0, 2.0 / heard.times_said), 0.0)
        yield "rephrased", np.where(ordinary & ~same, similar, 0.0)
        yield "moved_on", (followed & ~same & (similar == 0) & ~heard.is_empty).astype(np.float64)

    def _reversed(self, heard: _Heard, rows: Rows, targets: Rows, alike: NDArray[np.float32]) -> Rows:
        """Which pairs are alike but opposite [pairs found] int64: the light on and then off is no second try."""
        near = np.flatnonzero((alike >= self.similar_from) & (heard.codes[rows] != heard.codes[targets]))
        said, next_said, place = distinct_pairs(heard.codes[rows[near]], heard.codes[targets[near]], len(heard.texts))
        stance = {code: self.contrasts.stance(heard.texts[code]) for code in {*said, *next_said}}
        turned = [stance[one].reverses(stance[other]) for one, other in zip(said, next_said, strict=True)]
        return near[np.array(turned, np.bool_)[place]]


class _Heard:
    """The texts of a dialogue batch as codes into the distinct ones, and what they say, row by row."""

    def __init__(self, batch: pa.RecordBatch, phrases: Phrases, limit_s: float) -> None:
        said = batch["said"].dictionary_encode()
        self.phrases = phrases
        self.said: pa.Array = said.dictionary
        self.codes: Rows = np.asarray(said.indices, np.int64)
        self.session = session_numbers(batch)
        response = batch["response"].dictionary_encode()
        self.response: pa.Array = pc.utf8_slice_codeunits(response.dictionary, 0, READ_CHARACTERS)
        self.response_codes: Rows = np.asarray(pc.fill_null(response.indices, -1), np.int64)
        self.is_last = np.append(self.session[1:] != self.session[:-1], True)
        times = _numbers(batch["timestamp"])
        self.next_is_soon = ~self.is_last & (np.append(times[1:], np.inf) - times <= limit_s)
        self.is_empty = np.asarray(_equals(batch["said"], ""), np.bool_)

    @cached_property
    def texts(self) -> list[str]:
        texts: list[str] = self.said.to_pylist()
        return texts

    def says(self, name: str, whole: bool = False) -> Flags:
        test = _are if whole else _lead
        return test(self.said, getattr(self.phrases, name))[self.codes]

    def next_says(self, name: str, whole: bool = False) -> Flags:
        return np.append(self.says(name, whole)[1:], False) & self.next_is_soon

    def replies(self, name: str, but: str | None = None) -> Flags:
        unless = getattr(self.phrases, but) if but else ()
        found = _in_responses(self.response, getattr(self.phrases, name), unless)
        return np.append(found, False)[self.response_codes]  # code -1, no response, reads the last

    @property
    def stuck(self) -> Flags:
        same = (self.response_codes[1:] == self.response_codes[:-1]) & (self.response_codes[1:] >= 0)
        other_text = self.codes[1:] != self.codes[:-1]
        return np.insert(same & other_text & ~self.is_last[:-1], 0, False)

    @property
    def unanswered(self) -> Flags:
        silent = np.append(np.asarray(_equals(self.response, ""), np.bool_), True)[self.response_codes]
        answers = np.bincount(self.session, weights=~silent)
        return np.asarray(silent & (answers[self.session] > 0) & ~self.is_last)

    @property
    def times_said(self) -> Amounts:
        """How often each turn's text occurs in its session [turns] float64."""
        keys = self.session * len(self.said) + self.codes
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        return np.asarray(counts[inverse], np.float64)


def session_numbers(batch: pa.RecordBatch) -> Rows:
    """The session of each row as a number, from 0 in the order of the batch [turns] int64."""
    names = batch["session"]
    changes = pc.not_equal(names.slice(1), names.slice(0, max(len(names) - 1, 0)))
    return np.concatenate(
        [np.zeros(min(len(names), 1), np.int64), np.cumsum(np.asarray(changes), dtype=np.int64)]
    )


def following(batch: pa.RecordBatch, limit_s: float, max_turns: int) -> Iterator[tuple[Rows, Rows]]:
    """The pairs of (row, later row of the same session) within both limits, one distance in turns after the
    other.

    Yields two parallel arrays of rows, [pairs] int64, for each distance from 1 to `max_turns`.
    """
    session, times = session_numbers(batch), _numbers(batch["timestamp"])
    for distance in range(1, min(max_turns, batch.num_rows - 1) + 1):
        near = (session[distance:] == session[:-distance]) & (times[distance:] - times[:-distance] <= limit_s)
        rows = np.flatnonzero(near)
        yield rows, rows + distance


def _in_responses(responses: pa.Array, patterns: Sequence[str], but: Sequence[str] = ()) -> Flags:
    """Which responses hold one of the patterns, besides what is of `but`; a missing one holds none [responses]."""
    if but:
        responses = pc.replace_substring_regex(responses, f"(?i){_either(but)}", "")
    return _matches(responses, _either(patterns))


def _lead(said: pa.Array, phrases: Sequence[str]) -> Flags:
    """Which canonical texts are one of the phrases or begin with one ("no i want jazz") [texts] bool."""
    return _matches(said, "^(?:" + "|".join(re.escape(fold(phrase)) for phrase in phrases) + ")(?: |$)")


def _are(said: pa.Array, phrases: Sequence[str]) -> Flags:
    """Which canonical texts are one of the phrases and nothing more [texts] bool."""
    return np.asarray(pc.is_in(said, pa.array([fold(phrase) for phrase in phrases], pa.string())), np.bool_)


def _either(patterns: Sequence[str]) -> str:
    return "|".join(f"(?:{pattern})" for pattern in patterns)


def _matches(texts: pa.Array, pattern: str) -> Flags:
    found = pc.match_substring_regex(
        pc.utf8_slice_codeunits(texts, 0, READ_CHARACTERS), pattern, ignore_case=True
    )
    return np.asarray(pc.fill_null(found, False), np.bool_)


def _equals(column: pa.Array, value: Any) -> Amounts:
    return np.asarray(pc.fill_null(pc.equal(column, pa.scalar(value, column.type)), False), np.float64)


def _numbers(column: pa.Array) -> Amounts:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
