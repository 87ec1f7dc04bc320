"""What a bundle knew before the cases came: from its own tables, not from the engine that is judged.

Texts and users are kept as hashes of 8 bytes, so that a million requests take some 30 MB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np

from dialogue.canonical import Canonicaliser
from eval.arrays import Ints
from rewrite.bundle import Bundle

#: Shares of all turns that the head, and head and torso together, make up.
HEAD, TORSO = 0.5, 0.9


class Frequency(StrEnum):
    """How common a text was in the log that a bundle was learned from."""

    HEAD = "head"  # the commonest texts, which make up half of its turns
    TORSO = "torso"  # those that make up the next 40 %
    TAIL = "tail"  # the others
    UNSEEN = "not in the log"


@dataclass(frozen=True, eq=False)
class Known:
    """A bundle's texts, users and own requests; the methods take texts as they are written."""

    canonical: Canonicaliser
    texts: Ints  # hashes of texts, ascending [texts] int64
    turns: Ints  # turns of each of `texts` [texts] int64
    public: Ints  # hashes of texts that are everyone's, ascending
    private: Ints  # hashes of texts that are in some user's own requests
    own: Ints  # hashes of (user, text)
    users: Ints  # hashes of users with requests or corrections of their own
    targets: dict[str, str]  # the table of rewrites: canonical source -> canonical target
    pinned: frozenset[str]  # canonical texts that a person serves
    first_seen: float | None
    last_seen: float | None

    @classmethod
    def from_bundle(cls, bundle: Bundle | str | Path) -> Known:
        """Reads a bundle's tables. Raises BundleError."""
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        parameters = opened.manifest.parameters["text"]
        canonical = Canonicaliser(tuple(parameters["wake_words"]), tuple(parameters["politeness"]))
        counts: dict[int, int] = {}
        public, private, own, users = [], [], [], []
        for row in opened.rewrites("requests"):
            counts[hash(row["text"])] = row["turns"]
            if row["status"] != "private":
                public.append(hash(row["text"]))
        for name, column in (("histories", "text"), ("corrections", "target")):
            for row in opened.rewrites(name):
                private.append(hash(row[column]))
                own.append(hash((row["user_id"], row[column])))
                users.append(hash(row["user_id"]))
        texts = _sorted(counts)
        return cls(
            canonical=canonical,
            texts=texts,
            turns=np.array([counts[int(text)] for text in texts], np.int64),
            public=_sorted(public),
            private=_sorted(private),
            own=_sorted(own),
            users=_sorted(users),
            targets={row["source"]: row["target"] for row in opened.rewrites()},
            pinned=frozenset(canonical(text) for text in opened.overrides.pinned.values()),
            first_seen=_seconds(opened.manifest.log.get("first_seen")),
            last_seen=_seconds(opened.manifest.log.get("last_seen")),
        )

    def frequency(self, text: str) -> Frequency:
        """Head, torso, tail, or not in the log."""
        place = _place(self.texts, hash(self.canonical(text)))
        if place is None:
            return Frequency.UNSEEN
        head, torso = self._floors
        turns = self.turns[place]
        return Frequency.HEAD if turns >= head else Frequency.TORSO if turns >= torso else Frequency.TAIL

    def knows_text(self, text: str) -> bool:
        return _place(self.texts, hash(self.canonical(text))) is not None

    def knows_user(self, user: str) -> bool:
        """Whether the user has requests or corrections of their own in the bundle."""
        return _place(self.users, hash(user)) is not None

    def is_anothers(self, user: str, text: str) -> bool:
        """Whether a text is to be found in other users' own requests only."""
        said = self.canonical(text)
        if said in self.pinned or _place(self.public, hash(said)) is not None:
            return False
        return _place(self.private, hash(said)) is not None and _place(self.own, hash((user, said))) is None

    def strays_from_table(self, said: str, served: str) -> bool:
        """Whether what was served is the table's rewrite of another request, and not of this one."""
        target = self.canonical(served)
        here = self.targets.get(self.canonical(said))
        return here is not None and here != target and target in self._served_targets

    @cached_property
    def _served_targets(self) -> frozenset[str]:
        return frozenset(self.targets.values())

    @cached_property
    def _floors(self) -> tuple[float, float]:
        """The fewest turns of a text of the head, and of the torso."""
        ordered = np.sort(self.turns)[::-1]
        before = np.cumsum(ordered) - ordered
        ends = (np.flatnonzero(before < share * ordered.sum()) for share in (HEAD, TORSO))
        head, torso = (float(ordered[each[-1]]) if each.size else np.inf for each in ends)
        return head, torso


def _sorted(hashes: Iterable[int]) -> Ints:
    return np.unique(np.fromiter(hashes, np.int64))


def _place(ascending: Ints, value: int) -> int | None:
    place = int(np.searchsorted(ascending, value))
    return place if place < len(ascending) and ascending[place] == value else None


def _seconds(moment: object) -> float | None:
    try:
        return datetime.fromisoformat(str(moment)).timestamp() if moment else None
    except ValueError:  # before the year 1
        return None
