"""From judged pairs to the table: many tests at once, what was on before, what is tried, what is suspended.

1. Of the pairs that the gate keeps and that the other rules choose, the surest are turned on, as far as the expected
share
   of false discoveries among them stays within bounds (`rewrite.discoveries`).
2. Pairs that were on stay on down to `keep_confidence`. One that falls below after its own record spoke is suspended,
   be it that it was on until now, or that it had fallen back to trial.
3. A source has one rewrite: the one that was on, unless a new one surely beats it; and none to a text that is itself
   rewritten.
4. What is likelier better than not, but not surely, is on trial where its source has no rewrite.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from rewrite.bundle import Bundle
from rewrite.config import GateConfig
from rewrite.context_entries import ContextEntry, Known, entries_before
from rewrite.discoveries import surest
from rewrite.gate import LIVE_TURNS, GateReason, Standing
from rewrite.mining import Alone, Candidate, Pair

DAY_S = 86_400.0
#: Verdicts of pairs that may yet turn out to be better.
_OPEN = frozenset({GateReason.NOT_BETTER, GateReason.OFTEN_WRONG, GateReason.MANY_TESTS})
#: Verdicts that shut a pair out whatever its chance.
_SHUT = frozenset({GateReason.TOO_FEW_USERS, GateReason.GOOD_ALREADY, GateReason.GUARDED, GateReason.SUSPENDED})


@dataclass(frozen=True, slots=True)
class Suspension:
    """A rewrite that turned bad while it was live: not tried again before `until` (seconds since the epoch)."""

    source: str
    target: str
    since: float
    until: float
    times: int  # how often it turned bad by now; each time doubles the length
    fresh: bool = True  # found by this very learning: the next one forgets what the source meant before

    @property
    def pair(self) -> Pair:
        """Source and target."""
        return self.source, self.target

    def forgotten_at(self, as_of: float) -> bool:
        """Whether it has been over for as long as it lasted: then it is as if it had never been."""
        return as_of - self.until > self.until - self.since


SUSPENSION_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("target", pa.string()),
        ("since", pa.float64()),
        ("until", pa.float64()),
        ("times", pa.int64()),
        ("fresh", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Standings:
    """What an earlier bundle did: the pairs that were on, those that had been and fell back, and those suspended."""

    on: Mapping[Pair, Alone] = field(default_factory=dict)
    fallen: Mapping[Pair, Alone] = field(default_factory=dict)
    suspended: Mapping[Pair, Suspension] = field(default_factory=dict)
    contextual: Known = frozenset()  # entries for single contexts that were on

    @classmethod
    def of(cls, earlier: Bundle | None) -> Standings:
        """Read from a bundle; nothing where there is none."""
        if earlier is None:
            return cls()
        known: dict[bool, dict[Pair, Alone]] = {True: {}, False: {}}
        for row in earlier.rewrites("candidates"):
            if row["known_turns"] > 0:
                pair, alone = (row["source"], row["target"]), Alone(row["known_alone"], row["known_turns"])
                known[row["standing"] == Standing.ON][pair] = alone
        suspended = [Suspension(**row) for row in earlier.rewrites("suspensions")]
        return cls(known[True], known[False], {each.pair: each for each in suspended}, entries_before(earlier))

    def among(self, texts: Collection[str]) -> Standings:
        """Without suspensions of texts that fewer users said than it takes by now."""
        kept = {pair: each for pair, each in self.suspended.items() if pair[0] in texts and pair[1] in texts}
        return replace(self, suspended=kept)


@dataclass(frozen=True)
class Table:
    """All pairs with their standing, in order of source and score, and what is suspended, in order."""

    candidates: list[Candidate]
    suspensions: list[Suspension]
    contexts: list[ContextEntry] = field(default_factory=list)  # by source and token (`rewrite.context_mining`)

    @property
    def rewrites(self) -> list[Candidate]:
        """What is on, by source: one for each."""
        return [each for each in self.candidates if each.verdict.standing is Standing.ON]

    @property
    def trials(self) -> list[Candidate]:
        """What is on trial, by source: one for each, and none of a source that is rewritten."""
        return [each for each in self.candidates if each.verdict.standing is Standing.TRIAL]


def decide(candidates: Sequence[Candidate], before: Standings, gate: GateConfig, as_of: float) -> Table:
    """The table at `as_of` (seconds since the epoch) by the four rules at the head of this file."""
    judged = [_suspended(each, before.suspended, as_of) for each in candidates]
    judged = [each.standing_at(Standing.ON) if each.verdict.kept else each for each in judged]
    judged, turned_bad = _held(judged, before, gate)
    judged = _one_each(judged, before.on)
    judged = _without_chance_finds(judged, before.on, gate)
    judged = [_known(each, before) for each in _on_trial(judged, gate)]
    told = before.suspended.items()
    old = {pair: replace(each, fresh=False) for pair, each in told if not each.forgotten_at(as_of)}
    for pair in turned_bad:
        times = old[pair].times + 1 if pair in old else 1
        until = as_of + gate.suspension_days * DAY_S * 2.0 ** (times - 1)
        old[pair] = Suspension(*pair, as_of, until, times)
    return Table(judged, [old[pair] for pair in sorted(old)])


def _suspended(each: Candidate, suspended: Mapping[Pair, Suspension], as_of: float) -> Candidate:
    told = suspended.get(each.pair)
    if told is None or told.until <= as_of or each.verdict.reason in _SHUT:
        return each
    return each.standing_at(Standing.OFF, GateReason.SUSPENDED)


def _without_chance_finds(judged: list[Candidate], on: Collection[Pair], gate: GateConfig) -> list[Candidate]:
    """Rule 1, for what the other rules chose: the least sure go where there would be too many chance finds.

    What was on before is no find: it is held.
    """
    found = [each.verdict.standing is Standing.ON and each.verdict.reason is GateReason.KEPT for each in judged]
    chance = np.array([each.verdict.chance for each in judged], np.float64)
    real = surest(chance, np.array(found, np.bool_), gate.false_discoveries)
    return [
        each if sure or not new
        else each.standing_at(Standing.ON, GateReason.HELD) if each.pair in on
        else each.standing_at(Standing.OFF, GateReason.MANY_TESTS)
        for each, new, sure in zip(judged, found, real.tolist(), strict=True)
    ]  # fmt: skip


def _held(judged: list[Candidate], before: Standings, gate: GateConfig) -> tuple[list[Candidate], list[Pair]]:
    """Rule 2: the pairs with their standing, and those that turned bad."""
    result, bad = [], []
    for each in judged:
        able = each.guard is None and each.verdict.reason not in _SHUT
        doubtful = each.verdict.standing is Standing.OFF and able
        if doubtful and each.pair in before.on and each.verdict.chance >= gate.keep_confidence:
            each = each.standing_at(Standing.ON, GateReason.HELD)
        elif doubtful and (each.pair in before.on or each.pair in before.fallen) and _turned_bad(each, gate):
            each = each.standing_at(Standing.OFF, GateReason.FAILED_LIVE)
            bad.append(each.pair)
        result.append(each)
    return result, bad


def _turned_bad(each: Candidate, gate: GateConfig) -> bool:
    """Whether it is its own record that speaks against a pair."""
    return each.evidence.served_turns >= LIVE_TURNS and each.verdict.chance < gate.keep_confidence


def _known(each: Candidate, before: Standings) -> Candidate:
    """The pair with what was known of its source when it was turned on: as it was then, for as long as it matters."""
    if each.verdict.standing is Standing.OFF:
        return each
    known = before.on.get(each.pair) or before.fallen.get(each.pair)
    if known is None and each.verdict.standing is Standing.ON:
        known = Alone(each.verdict.alone, each.evidence.source_turns + each.evidence.source_prior_turns)
    return each if known is None else replace(each, known=known)


def _one_each(judged: list[Candidate], on: Collection[Pair]) -> list[Candidate]:
    """Rule 3: each source's pairs in order of preference, the sources whose rewrite works best first."""
    wanted: dict[str, list[Candidate]] = {}
    for each in judged:
        if each.verdict.standing is Standing.ON:
            ranked = wanted.setdefault(each.source, [])
            ranked.insert(next((n for n, other in enumerate(ranked) if _beats(each, other, on)), len(ranked)), each)
    chosen: dict[str, Candidate] = {}
    targets: set[str] = set()
    for source in sorted(wanted, key=lambda source: (-wanted[source][0].verdict.rewritten, source)):
        free = (each for each in wanted[source] if each.target not in chosen and source not in targets)
        if best := next(free, None):
            chosen[source] = best
            targets.add(best.target)
    return [_unless_chosen(each, chosen) for each in judged]


def _unless_chosen(each: Candidate, chosen: Mapping[str, Candidate]) -> Candidate:
    if each.verdict.standing is not Standing.ON or chosen.get(each.source) is each:
        return each
    return each.standing_at(Standing.OFF, GateReason.OTHER_CHOSEN)


def _beats(each: Candidate, other: Candidate, on: Collection[Pair]) -> bool:
    """Whether a pair, less by the chain's score than `other`, takes its place all the same."""
    if each.pair in on:
        return not other.verdict.rewritten_lower > each.verdict.rewritten
    return other.pair in on and each.verdict.rewritten_lower > other.verdict.rewritten


def _on_trial(judged: list[Candidate], gate: GateConfig) -> list[Candidate]:
    """Rule 4."""
    taken = {each.source for each in judged if each.verdict.standing is Standing.ON}
    best: dict[str, Candidate] = {}
    for each in judged:
        able = each.verdict.reason in _OPEN and each.guard is None and each.verdict.chance >= gate.keep_confidence
        if able and each.source not in taken and each.target not in taken:
            other = best.get(each.source)
            if other is None or each.verdict.chance > other.verdict.chance:
                best[each.source] = each
    return [each.standing_at(Standing.TRIAL) if best.get(each.source) is each else each for each in judged]
