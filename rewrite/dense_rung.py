"""The dense rung: what a request that no table has seen may have been meant as, and whether to serve it.

encode once -> this user's own requests, those of a moment ago among them, and everyone's -> rerank with context and
what NLU made of the request -> thresholds of the request's slice of the traffic -> guards, where it would be served.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rewrite.contextual import ContextCounts
from rewrite.decision import Action, Reason
from rewrite.dense_guard import LEAST_HEARD, clear_values, dense_guard
from rewrite.dense_serving import DenseArrays
from rewrite.guards import sounds_the_same
from rewrite.known_values import cuts_value, exchanges_value
from rewrite.loops import makes_loop
from rewrite.nearest import NearestModel
from rewrite.protected import DEFAULT, ProtectedIntents, protects
from rewrite.reranker import Ranked, log_odds
from rewrite.reranking import (
    NAN,
    Asked,
    Floats,
    Interpretation,
    Knowledge,
    Proposal,
    Said,
    features,
    features_of,
    likenesses,
)
from rewrite.serving import GOOD, ON, PUBLIC, ServingArrays
from rewrite.thresholds import SEPARATOR
from rewrite.timings import Stage, Timings

#: Candidates that each layer proposes, and least cosine.
GLOBAL, PERSONAL, LIVE, LEAST = 10, 4, 20, 0.25
#: A request that is right as it was said with more than this probability is left alone, however right a candidate is.
MOST_ALONE = 0.9
#: Least likeness of words that give way to each other where nothing tells whether they are values ("lisbon", "london"):
#: what the request or the target was taken for is not known.
LEAST_UNKNOWN = 0.65
#: Runs of words of which is kept whether they are values of a slot.
CACHED_VALUES = 1 << 16
#: Vectors of texts of live histories that are kept.
CACHED_VECTORS = 4_096
#: Words of which it is kept whether they are known.
CACHED_WORDS = 1 << 15
DAY_S = 86_400.0


class LiveText(Protocol):
    """What a live history says of a text of a user (`rewrite.live_turns.LiveRequest`)."""

    @property
    def said(self) -> str: ...
    @property
    def surface(self) -> str: ...
    @property
    def successes(self) -> float: ...
    @property
    def turns(self) -> int: ...
    @property
    def judged(self) -> int: ...
    @property
    def last_seen(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the dense rung sees it. All texts are canonical."""

    said: str
    row: int = -1  # its own row, which is no candidate
    user: str | None = None
    interpretation: Interpretation | None = None
    nlu_confidence: float = NAN
    asr_confidence: float = NAN
    nbest: tuple[str, ...] = ()  # what else the recogniser heard
    tokens: frozenset[str] = frozenset()  # of its context
    recent: tuple[tuple[str, float], ...] = ()  # (text, P(success)) of what this user said just before
    live: Sequence[LiveText] = ()
    device: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate: its row or -1, its canonical text, how it is written where that is no row's, and whose it is."""

    row: int
    text: str
    surface: str | None
    own: bool
    proposal: Proposal = field(repr=False)


@dataclass(frozen=True, slots=True)
class Judged:
    """The rung's answer: the candidates in order, and what to do with the first."""

    found: tuple[Found, ...]
    ranked: Ranked | None
    action: Action
    reason: Reason


class DenseRung:
    """Proposes and judges candidates over the arrays of one bundle. Thread-safe.

    What a guard refuses is never served. Where it would have been, likely as it is, the user is asked.

    known     whether a request that works for everyone holds a word
    text_of   canonical text of a row
    row_of    row of a canonical text, or -1
    success   [rows] float32: share of turns that succeeded when left alone
    fit       whether a row may be proposed to everyone, as it is known to work
    public    whether enough users said a row that it tells of more than of one of them
    rewritten whether a row is itself rewritten by a table
    """

    def __init__(
        self,
        arrays: DenseArrays,
        contexts: ContextCounts,
        *,
        known: Callable[[str], bool],
        text_of: Callable[[int], str],
        row_of: Callable[[str], int],
        success: NDArray[np.float32],
        fit: Callable[[int], bool],
        public: Callable[[int], bool],
        rewritten: Callable[[int], bool],
        protected: ProtectedIntents,
        nearest: NearestModel,
    ) -> None:
        self.arrays, self.contexts, self.protected, self.nearest = arrays, contexts, protected, nearest
        self._known, self._text_of, self._row_of = lru_cache(CACHED_WORDS)(known), text_of, row_of
        self._success, self._fit, self._public, self._rewritten = success, fit, public, rewritten
        self._ground = Knowledge(self._known, arrays.fluency, arrays.read)
        self._vector = lru_cache(CACHED_VECTORS)(arrays.retriever.encoder.encode_one)
        self._knows_value = lru_cache(CACHED_VALUES)(arrays.knows_value)

    @classmethod
    def over(
        cls,
        dense: DenseArrays,
        arrays: ServingArrays,
        protected: ProtectedIntents = DEFAULT,
        nearest: NearestModel | None = None,
    ) -> DenseRung:
        """The rung over the arrays of a bundle."""
        status, entry, standing = arrays.status, arrays.entry, arrays.standing
        return cls(
            dense,
            arrays.context_counts,
            known=lambda word: dense.words.get(word) >= 0,
            text_of=arrays.texts.key,
            row_of=arrays.texts.get,
            success=arrays.success,
            fit=lambda row: bool(status[row] & GOOD),
            public=lambda row: bool(status[row] & PUBLIC),
            rewritten=lambda row: bool(entry[row] >= 0 and standing[entry[row]] & ON),
            protected=protected,
            nearest=nearest or NearestModel(),
        )

    def warm_up(self) -> None:
        """Goes through every stage once, so that no user waits for what only the first call has to do."""
        request = Request("play some music")
        self.judge(request, self.propose(request, Timings()), Timings(), lambda: False)

    def propose(
        self, request: Request, timings: Timings, *, personal: bool = True, everyone: bool = True
    ) -> list[Found]:
        """The candidates of both layers, the nearest first; what both propose is the user's own."""
        arrays = self.arrays
        query = arrays.retriever.encoder.encode_one(request.said)
        timings.mark(Stage.ENCODE)
        own: dict[int, tuple[float, float]] = {}
        rows: dict[int, bool] = {}
        live: list[tuple[LiveText, NDArray[np.float32]]] = []
        if personal and request.user is not None:
            for each in arrays.personal_layer.search(request.user, query, PERSONAL, LEAST):
                rows[each.row] = True
            own = self._history(request.user, rows)
            live = self._live(request)
            timings.mark(Stage.PERSONAL)
        if everyone:
            for each in arrays.global_layer.search(query, GLOBAL, LEAST):
                rows.setdefault(each.row, False)
            for text in request.nbest:
                if (row := self._row_of(text)) >= 0 and self._fit(row):
                    rows.setdefault(row, False)
            timings.mark(Stage.GLOBAL)
        rows.pop(request.row, None)
        found = self._of_rows(request, query, rows, own)
        latest = max((each.last_seen for each in request.live), default=0.0)
        found += [self._of_live(query, each, vector, latest) for each, vector in live]
        return _merged(found, request.said)

    def judge(self, request: Request, found: Sequence[Found], timings: Timings, late: Callable[[], bool]) -> Judged:
        """Ranks the candidates and decides; `late` says whether the deadline has passed."""
        if not found:
            return Judged((), None, Action.PASS, Reason.NO_CANDIDATE)
        if late():
            return Judged(tuple(found), None, Action.PASS, Reason.DEADLINE)
        ranked = self._ranked(request, found)
        timings.mark(Stage.RERANK)
        ordered = tuple(found[place] for place in ranked.order)
        if ranked.alone > MOST_ALONE:
            return Judged(ordered, ranked, Action.PASS, Reason.NOT_FAILING)
        action = self._action(request, ranked, ordered[0].text)
        if action is Action.PASS:
            return Judged(ordered, ranked, action, Reason.UNSURE)
        refused = self.refusal(request, ordered[0])
        timings.mark(Stage.GUARD)
        if refused is None:
            return Judged(ordered, ranked, action, Reason.NEAR_GOOD)
        asks = action is Action.REWRITE and refused is not Reason.GUARD_LOOP
        return Judged(ordered, ranked, Action.SUGGEST if asks else Action.PASS, refused)

    def refusal(self, request: Request, candidate: Found) -> Reason | None:
        """Why a guard refuses a candidate, however likely it is; None: none does."""
        said, target = request.said, candidate.text
        mine, theirs = request.interpretation, self.arrays.read(candidate.proposal.frame)
        if protects(said, target, _name(mine), _name(theirs), self.protected):
            return Reason.GUARD_PROTECTED
        if makes_loop(said, target, request.recent, rewritten=self._leads_on):
            return Reason.GUARD_LOOP
        if theirs is None:  # what was meant by the target is not known: what was understood of the request must stay
            return dense_guard(said, target, clear=self._clear(mine), floor=LEAST_UNKNOWN)
        words = said.split()
        if mine is not None and cuts_value(words, mine.slots, theirs.slots):
            return Reason.GUARD_VALUE
        if exchanges_value(words, theirs.slots, self._knows_value, target.split()):
            return Reason.GUARD_VALUE
        return dense_guard(said, target, floor=LEAST_HEARD if mine is not None else LEAST_UNKNOWN)

    def _leads_on(self, text: str) -> bool:
        """Whether a text is itself rewritten by a table."""
        row = self._row_of(text)
        return row >= 0 and self._rewritten(row)

    def _action(self, request: Request, ranked: Ranked, target: str) -> Action:
        limits = self.arrays.retriever.thresholds
        if limits is None:  # by likeness alone an unknown word may be a name: only the user can say
            sure = Action.REWRITE if sounds_the_same(request.said, target) else Action.SUGGEST
            return sure if ranked.right >= self.nearest.threshold else Action.PASS
        name = slice_of(request, self.arrays)
        if ranked.score >= limits.rewrite_from(name):
            return Action.REWRITE
        return Action.SUGGEST if ranked.score >= limits.suggest_from(name) else Action.PASS

    def _ranked(self, request: Request, found: Sequence[Found]) -> Ranked:
        reranker = self.arrays.retriever.reranker
        if reranker is None:
            return self._by_likeness(request, found)
        asked, proposals = self.asked(request), [each.proposal for each in found]
        likeness = likenesses(asked, proposals)
        return reranker.rank(likeness, lambda place: features_of(asked, proposals, likeness, place, self._ground))

    def features(self, request: Request, found: Sequence[Found]) -> Floats:
        """What the reranker sees of the candidates [candidates, NAMES] float32."""
        return features(self.asked(request), [each.proposal for each in found], self._ground)

    def _by_likeness(self, request: Request, found: Sequence[Found]) -> Ranked:
        """Without a reranker: the nearest, by the model of letters and sounds."""
        lead = found[0].proposal.cosine - found[1].proposal.cosine if len(found) > 1 else 1.0
        right = self.nearest.probability(request.said, found[0].text, found[0].proposal.cosine, lead)
        return Ranked(tuple(range(len(found))), right, 1.0 - right, log_odds(right), (right,))

    def asked(self, request: Request) -> Asked:
        """The request as the reranker sees it.

        What is known of its text counts where enough users said it: what one user's turn told of it, the trees would
        have been told by the very turn that they were to judge.
        """
        row = request.row if request.row >= 0 and self._public(request.row) else -1
        return Asked(
            Said(request.said),
            request.interpretation,
            request.nlu_confidence,
            request.asr_confidence,
            math.log1p(float(self.arrays.users[row])) if row >= 0 else 0.0,
            float(self._success[row]) if row >= 0 else NAN,
            request.recent[-1][1] if request.recent else NAN,
        )

    def _of_rows(
        self, request: Request, query: NDArray[np.float32], rows: dict[int, bool], own: dict[int, tuple[float, float]]
    ) -> list[Found]:
        if not rows:
            return []
        places = np.fromiter(rows, np.int64, len(rows))
        cosines, meanings, sounds = self._views(query, self.arrays.vectors.vectors(places))
        lifts = self.contexts.lift(places, request.tokens) if request.tokens else np.full(len(places), np.nan)
        heard = {text: 1.0 / (place + 1) for place, text in reversed(list(enumerate(request.nbest)))}
        known = (self._success[places], self.arrays.users[places], self.arrays.chain[places], self.arrays.frame[places])
        columns = [each.tolist() for each in (cosines, meanings, sounds, *known, lifts)]
        found = []
        for (row, mine), *told in zip(rows.items(), *columns, strict=True):
            cosine, meaning, sound, success, users, chain, frame, lift = told
            text = self._text_of(row)
            times, age = own.get(row, (0.0, NAN))
            proposal = Proposal(
                Said(text), cosine, meaning, sound, success, users, chain, times, age,
                frame, heard.get(text, 0.0) if heard else NAN, lift,
            )  # fmt: skip
            found.append(Found(row, text, None, mine or row in own, proposal))
        return found

    def _of_live(
        self, query: NDArray[np.float32], live: LiveText, vector: NDArray[np.float32], latest: float
    ) -> Found:
        cosines, meanings, sounds = self._views(query, vector[None])
        row = self._row_of(live.said)
        frame = int(self.arrays.frame[row]) if row >= 0 else -1
        proposal = Proposal(
            Said(live.said), float(cosines[0]), float(meanings[0]), float(sounds[0]),
            live.successes / max(live.turns, 1), 1.0, own_times=live.successes,
            own_age=(latest - live.last_seen) / DAY_S, frame=frame,
        )  # fmt: skip
        return Found(row, live.said, live.surface, True, proposal)

    def _views(self, query: NDArray[np.float32], vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Cosines as a whole, in meaning and in sound [vectors] float32 each."""
        encoder = self.arrays.retriever.encoder
        width, share = encoder.word_dim, encoder.share
        meaning, sound = vectors[:, :width] @ query[:width], vectors[:, width:] @ query[width:]
        return meaning + sound, meaning / np.float32(share), sound / np.float32(1 - share)

    def _history(self, user: str, rows: dict[int, bool]) -> dict[int, tuple[float, float]]:
        """How often each of a user's own rows worked, and how many days before the user's latest."""
        history = self.arrays.personal_layer.history(user)
        if not rows or not len(history.rows):
            return {}
        places = np.searchsorted(history.rows, list(rows))
        latest = float(history.last_seen.max())
        return {
            row: (float(history.counts[place]), (latest - float(history.last_seen[place])) / DAY_S)
            for row, place in zip(rows, places.tolist(), strict=True)
        }

    def _live(self, request: Request) -> list[tuple[LiveText, NDArray[np.float32]]]:
        """What this user said since the bundle was learned and that worked, with its vectors."""
        working = [each for each in request.live if each.judged and each.successes > each.turns / 2]
        return [(each, self._vector(each.said)) for each in working[:LIVE] if each.said != request.said]

    def _clear(self, interpretation: Interpretation | None) -> frozenset[str]:
        """The slot values of the request that working requests have in the same slot: they were understood."""
        return clear_values(dict(interpretation.slots), self._knows_value) if interpretation else frozenset()


def slice_of(request: Request, arrays: DenseArrays) -> str:
    """The slice of the traffic that a request belongs to: intent, device, and whether the user is known."""
    user = request.user
    known = bool(request.live) or (user is not None and arrays.personal_layer.users.get(user) >= 0)
    parts = (_name(request.interpretation) or "unknown", request.device or "unknown", "known" if known else "new")
    return SEPARATOR.join(part.replace(SEPARATOR, ".") for part in parts)


def _name(interpretation: Interpretation | None) -> str | None:
    """Domain and intent as one name."""
    if interpretation is None:
        return None
    return ".".join(part for part in (interpretation.domain, interpretation.intent) if part)


def _merged(found: Sequence[Found], said: str) -> list[Found]:
    """Each text once, as the user's own where it is, without what was said; the nearest first."""
    by_text: dict[str, Found] = {}
    for each in found:
        before = by_text.get(each.text)
        if each.text != said and (before is None or (each.own and not before.own)):
            by_text[each.text] = each
    return sorted(by_text.values(), key=lambda each: (-each.proposal.cosine, each.row, each.text))
