"""What context changes, in the arrays that an engine serves from: contextual rewrites, and where each request works.

`ContextualEntries` says for a text and the tokens of a turn (`dialogue.context_tokens`) what to say instead, or that
the text is to be left alone there. `ContextCounts` says how well each request of the population fits the tokens.

Both grow with what enough users share: the entries with the texts that context changes, few of a population; the
counts with the public texts times the tokens that enough users said each under, some ten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dialogue.context_tokens import Previous, kind_of
from retrieval import KeyTable
from retrieval.folder import Folder, write_folder

KIND, COUNTS_KIND = "contextual rewrites", "context counts"

#: The target of an entry that leaves the text alone.
ALONE = -1
#: Turns, as of any request, that are added to what is known of a request: one seen twice says little.
SMOOTHING = 5.0

if TYPE_CHECKING:
    from rewrite.live_turns import RecentTurn

Ints = NDArray[np.int32]
Shares = NDArray[np.float32]


def previous(recent: Sequence[RecentTurn]) -> Previous | None:
    """The turn that this user took before, of what they did lately, in order; its intent is named with its domain."""
    if not recent:
        return None
    last = recent[-1]
    return Previous(None, last.intent, last.said, max(time() - last.timestamp, 0.0))


class ContextualEntry(NamedTuple):
    """What to do with a text under a token; `target` is a row of texts, or ALONE."""

    source: int  # row of texts
    token: str
    target: int
    score: float  # success that is expected of it
    margin: float  # by how much that surely exceeds the text left alone
    users: int
    chance: float  # that it is right
    strength: float  # by how much the token changes things, in log-odds


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ContextualEntries:
    """All entries, in order of source and of strength.

    tokens    key table of the tokens that entries have
    source, token, target, users    [entries] int32
    score, margin, chance, strength [entries] float32
    """

    tokens: KeyTable
    source: Ints
    token: Ints
    target: Ints
    users: Ints
    score: Shares
    margin: Shares
    chance: Shares
    strength: Shares

    @classmethod
    def build(cls, entries: Iterable[ContextualEntry]) -> ContextualEntries:
        """The entries, in any order."""
        rows = sorted(entries, key=lambda each: (each.source, -each.strength, each.target != ALONE, each.token))
        names = sorted({each.token for each in rows})
        number = {name: place for place, name in enumerate(names)}
        arrays: dict[str, Any] = {
            name: np.array([getattr(each, name) for each in rows], kind) for name, kind in _ENTRIES.items()
        }
        tokens = np.array([number[each.token] for each in rows], np.int32)
        return cls(tokens=KeyTable.build(names), token=tokens, **arrays)

    def save(self, folder: Path) -> None:
        """Writes the arrays into `folder`."""
        arrays = {name: getattr(self, name) for name in ("token", *_ENTRIES)}
        write_folder(folder, KIND, arrays, {"entries": len(self)})
        self.tokens.save(folder / "tokens")

    @classmethod
    def load(cls, folder: Path) -> ContextualEntries:
        """Maps the arrays in `folder`; where there is none, no entries. Raises retrieval.FolderError."""
        if not folder.exists():  # a bundle made before there were any
            return cls.build([])
        saved = Folder(folder, KIND)
        arrays: dict[str, Any] = {name: saved.array(name, kind) for name, kind in _ENTRIES.items()}
        arrays["token"] = saved.array("token", np.int32)
        lengths = {len(each) for each in arrays.values()}
        saved.require(lengths == {saved.fact("entries")}, f"the arrays have {sorted(lengths)} entries")
        return cls(tokens=KeyTable.load(folder / "tokens"), **arrays)

    def __len__(self) -> int:
        return len(self.source)

    def knows(self, row: int) -> bool:
        """Whether context changes anything for the text in `row`."""
        return len(self._of(row)) > 0

    def find(self, row: int, tokens: Collection[str]) -> ContextualEntry | None:
        """What to do with the text in `row` of a turn with these tokens: of all entries that fit, the strongest."""
        if not tokens:
            return None
        for place in self._of(row):
            token = self.tokens.key(int(self.token[place]))
            if token in tokens:
                return self._entry(place, token)
        return None

    def depends(self, row: int, target: int) -> bool:
        """Whether the text in `row` is rewritten to `target` under some token: elsewhere it means something else."""
        return any(self.target[place] == target for place in self._of(row))

    def _of(self, row: int) -> range:
        # The type of the array: for any other, numpy would copy all of it.
        begin, end = (int(self.source.searchsorted(np.int32(row), side)) for side in ("left", "right"))
        return range(begin, end)

    def _entry(self, place: int, token: str) -> ContextualEntry:
        found: dict[str, Any] = {name: getattr(self, name)[place].item() for name in _ENTRIES}
        return ContextualEntry(token=token, **found)


_ENTRIES: dict[str, Any] = {
    "source": np.int32,
    "target": np.int32,
    "users": np.int32,
    "score": np.float32,
    "margin": np.float32,
    "chance": np.float32,
    "strength": np.float32,
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ContextCounts:
    """How often each request succeeded under each token that enough users said it under.

    tokens   key table of the tokens
    kind     [tokens] int32: what each is about; the tokens of one kind exclude one another
    share    [tokens] float32: of the successes with a token of its kind, those with this one
    offsets  [rows + 1] int64: where each row's counts begin
    token    [counts] int32, success [counts] float32: a row's tokens and successes, each user capped
    """

    tokens: KeyTable
    kind: Ints
    share: Shares
    offsets: NDArray[np.int64]
    token: Ints
    success: Shares

    @classmethod
    def build(cls, rows: int, counts: Iterable[tuple[int, str, float]]) -> ContextCounts:
        """From (row, token, successes), in any order, for a population of `rows` texts. Raises ValueError."""
        told = sorted(counts)
        if told and not 0 <= told[0][0] <= told[-1][0] < rows:
            raise ValueError(f"counts came for the rows {told[0][0]} to {told[-1][0]}; wanted rows from 0 below {rows}")
        names = sorted({token for _, token, _ in told})
        number = {name: place for place, name in enumerate(names)}
        token = np.array([number[name] for _, name, _ in told], np.int32)
        success = np.array([each for *_, each in told], np.float32)
        kinds = {each: place for place, each in enumerate(sorted({kind_of(name) for name in names}))}
        kind = np.array([kinds[kind_of(name)] for name in names], np.int32)
        total = np.bincount(token, success, len(names)) + 1.0
        share = total / np.bincount(kind, total, len(kinds))[kind] if names else total
        offsets = np.cumsum(np.bincount([row + 1 for row, *_ in told], minlength=rows + 1)).astype(np.int64)
        return cls(KeyTable.build(names), kind, share.astype(np.float32), offsets, token, success)

    def save(self, folder: Path) -> None:
        """Writes the arrays into `folder`."""
        arrays = {name: getattr(self, name) for name in _COUNTS}
        write_folder(folder, COUNTS_KIND, arrays, {"rows": len(self.offsets) - 1})
        self.tokens.save(folder / "tokens")

    @classmethod
    def load(cls, folder: Path, rows: int) -> ContextCounts:
        """Maps the arrays in `folder`, of a population of `rows` texts; where there is none, nothing is known.

        Raises retrieval.FolderError.
        """
        if not folder.exists():
            return cls.build(rows, [])
        saved = Folder(folder, COUNTS_KIND)
        arrays = {name: saved.array(name, kind) for name, kind in _COUNTS.items()}
        known = saved.fact("rows")
        saved.require(known == rows == len(arrays["offsets"]) - 1, f"counts of {known} rows came for {rows} texts")
        return cls(tokens=KeyTable.load(folder / "tokens"), **arrays)

    def lift(self, rows: Sequence[int] | NDArray[Any], tokens: Collection[str]) -> Shares:
        """log P(tokens | request) / P(tokens) of each of `rows`, [rows] float32, as if tokens were independent.

        0 says that nothing is known, or that the request is said here as often as others. Only tokens that are
        known count, each within its kind: a request that was never said on a screen, but often on a speaker, loses.
        """
        wanted = np.array(sorted(place for name in tokens if (place := self.tokens.get(name)) >= 0), np.int64)
        rows = np.asarray(rows, np.int64)
        if not len(wanted) or not len(rows):
            return np.zeros(len(rows), np.float32)
        begin = self.offsets[rows]
        count = self.offsets[rows + 1] - begin
        of = np.repeat(np.arange(len(rows)), count)
        place = np.arange(len(of)) - np.repeat(np.cumsum(count) - count - begin, count)
        token, success = self.token[place], self.success[place]
        wanted = wanted[np.argsort(self.kind[wanted], kind="stable")]
        kinds = self.kind[wanted]
        column = np.minimum(np.searchsorted(kinds, self.kind[token]), len(wanted) - 1)  # of a kind there is one
        cell, same = of * len(wanted) + column, kinds[column] == self.kind[token]
        with_it, of_kind = (
            np.bincount(cell, np.where(fits, success, 0.0), len(rows) * len(wanted)).reshape(len(rows), -1)
            for fits in (same & (token == wanted[column]), same)
        )
        share = self.share[wanted].astype(np.float64)
        fits = (with_it + SMOOTHING * share) / (of_kind + SMOOTHING)
        return np.asarray(np.log(fits / share).sum(axis=1), np.float32)


_COUNTS: dict[str, Any] = {
    "kind": np.int32,
    "share": np.float32,
    "offsets": np.int64,
    "token": np.int32,
    "success": np.float32,
}
