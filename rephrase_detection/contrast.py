"""Made-up sessions from a log's own turns, for logs without annotation: what a few rephrases seen cannot teach.

    misheard     a failed turn with a corrupted text, then the same request as it is, which works: a rephrase
    cut short    a failed turn that lacks a part of the request, then the whole of it: a rephrase
    swapped      a failed turn of one session, then turns of another: none
    look-alike   a turn that worked, then one of another session that shares words and worked: none
    asked anew   a turn that worked, then the same again: none

Replies, outcomes and silences are drawn from turns of the log that fared the same way. Texts are corrupted word by
word: a word becomes one of the log's that sounds like it, is cut in two, runs into its neighbour, or is lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from dialogue.similarity import sound_key
from dialogue.turn import Gold, RephraseKind, Session, Turn

Values = NDArray[np.float64]
Rows = NDArray[np.int64]

#: From which likeness of sound on (0 to 100) one word may be taken for another.
SOUNDS_LIKE = 60.0


@dataclass(frozen=True)
class _Stock:
    """What the sessions are made of."""

    worked: list[Turn]
    failed: list[Turn]
    gaps: Values  # silences between turns of a session, in seconds
    words: list[str]
    sounds: list[str]

    @classmethod
    def of(cls, sessions: Sequence[Session], p_success: Values) -> _Stock:
        turns = [turn for session in sessions for turn in session.turns]
        first: dict[tuple[str, str], Turn] = {}
        for turn in turns:  # each text of a user once: who repeats a request a hundred times says it once
            first.setdefault((turn.user_id, turn.said), turn)
        fared = {turn.turn_id: p for turn, p in zip(turns, p_success.tolist(), strict=True)}
        once = [turn for turn in first.values() if turn.said.split() and len(turn.said) <= 120]
        gaps = [b.timestamp - a.timestamp for each in sessions for a, b in pairwise(each.turns)]
        words = sorted({word for turn in once for word in turn.said.lower().split() if len(word) > 2})
        return cls(
            [turn for turn in once if fared[turn.turn_id] >= 0.8],
            [turn for turn in once if fared[turn.turn_id] < 0.5],
            np.array([gap for gap in gaps if 0 < gap < 300] or [10.0]),
            words,
            [sound_key(word) for word in words],
        )


def contrast_sessions(sessions: Sequence[Session], p_success: Values, count: int, seed: int) -> tuple[Session, ...]:
    """So many annotated sessions made from a log's; `p_success` of its turns in order [turns] float64.

    None where the log has no turn that worked, or none that failed.
    """
    stock = _Stock.of(sessions, p_success)
    if len(stock.worked) < 2 or not stock.failed:
        return ()
    maker = _Maker(stock, np.random.default_rng(seed))
    return tuple(maker.session(number) for number in range(count))


class _Maker:
    def __init__(self, stock: _Stock, chance: np.random.Generator) -> None:
        self.stock, self.chance = stock, chance
        self.sharing: dict[str, list[Turn]] = defaultdict(list)
        for turn in stock.worked:
            for word in set(turn.said.lower().split()):
                self.sharing[word].append(turn)

    def session(self, number: int) -> Session:
        """A session of one of the sorts, with other turns before or between now and then."""
        sort = self.chance.choice(5, p=[0.35, 0.15, 0.2, 0.2, 0.1])
        first, second, kind = (self._misheard, self._cut_short, self._swapped, self._lookalike, self._anew)[sort]()
        between = [self._drawn(self.stock.worked)] if self.chance.random() < 0.12 else []
        before = [self._drawn(self.stock.worked)] if self.chance.random() < 0.2 else []
        after = [self._drawn(self.stock.worked)] if self.chance.random() < 0.3 else []
        name, clock = f"contrast-{number}", 0.0
        turns: list[Turn] = []
        for place, turn in enumerate([*before, first, *between, second, *after]):
            is_second = place == len(before) + 1 + len(between)
            source = f"{name}-{len(before)}" if is_second and kind is not None else None
            gold = Gold(
                rephrase_of=source, rephrase_kind=kind if source else None, annotated=frozenset({"rephrase_of"})
            )
            turns.append(
                replace(
                    turn, turn_id=f"{name}-{place}", user_id=name, session_id=name, timestamp=clock, end_timestamp=None,
                    served=None, text=turn.said, gold=gold,
                )
            )  # fmt: skip
            clock += float(self.chance.choice(self.stock.gaps))
        return Session(session_id=name, user_id=name, turns=tuple(turns))

    def _misheard(self) -> tuple[Turn, Turn, RephraseKind | None]:
        right = self._drawn(self.stock.worked)
        return self._failing(self._corrupted(right.said)), right, RephraseKind.ASR

    def _cut_short(self) -> tuple[Turn, Turn, RephraseKind | None]:
        right = self._drawn(self.stock.worked)
        words = right.said.split()
        if len(words) < 3:
            return self._misheard()
        lost = int(self.chance.integers(1, max(len(words) // 2, 2)))
        kept = words[:-lost] if self.chance.random() < 0.7 else words[lost:]
        return self._failing(" ".join(kept)), right, RephraseKind.COMMAND

    def _swapped(self) -> tuple[Turn, Turn, RephraseKind | None]:
        return self._failing(self._drawn(self.stock.failed).said), self._drawn(self.stock.worked), None

    def _lookalike(self) -> tuple[Turn, Turn, RephraseKind | None]:
        one = self._drawn(self.stock.worked)
        shared = [turn for word in one.said.lower().split() for turn in self.sharing[word] if turn.said != one.said]
        return one, self._drawn(shared or self.stock.worked), None

    def _anew(self) -> tuple[Turn, Turn, RephraseKind | None]:
        one = self._drawn(self.stock.worked)
        return one, one, None

    def _failing(self, text: str) -> Turn:
        """A turn with this text that fared as one of those that failed."""
        like = self._drawn(self.stock.failed)
        return replace(like, text=text, served=None, nlu=None)

    def _corrupted(self, text: str) -> str:
        words = text.split()
        times = 1 + int(self.chance.random() < 0.4)
        for _ in range(times):
            place = int(self.chance.integers(len(words)))
            words[place : place + 1] = self._mistaken(words, place)
        heard = " ".join(words)
        return heard if heard not in ("", text) else text[:-1] or text + text  # never heard right

    def _mistaken(self, words: list[str], place: int) -> list[str]:
        word, way = words[place], self.chance.random()
        if way < 0.6 and len(word) > 2:
            return [self._sounding_like(word)]
        if way < 0.8 and len(word) > 4:
            at = int(self.chance.integers(2, len(word) - 1))
            return [word[:at], word[at:]]
        return [] if len(words) > 2 else [word + str(self.chance.choice(self.stock.words or [""]))[:2]]

    def _sounding_like(self, word: str) -> str:
        found = process.extract(
            sound_key(word.lower()), self.stock.sounds, scorer=fuzz.ratio, limit=6, score_cutoff=SOUNDS_LIKE
        )
        others = [self.stock.words[place] for _, _, place in found if self.stock.words[place] != word.lower()]
        if others:
            return str(self.chance.choice(others))
        at = int(self.chance.integers(len(word)))
        return word[:at] + word[at + 1 :]

    def _drawn(self, turns: Sequence[Turn]) -> Turn:
        return turns[int(self.chance.integers(len(turns)))]


def user_once(users: Sequence[str], said: Sequence[str], source: Rows, target: Rows) -> Values:
    """Weights by which a user's step from one text to another counts once, however often it was taken [pairs]."""
    keys = [(users[a], said[a], said[b]) for a, b in zip(source.tolist(), target.tolist(), strict=True)]
    times: dict[tuple[str, str, str], int] = defaultdict(int)
    for key in keys:
        times[key] += 1
    return np.array([1.0 / times[key] for key in keys])

