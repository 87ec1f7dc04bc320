"""The online half: one request in, one decision out, in microseconds where the answer is stored.

The order in which a request is looked at:

    empty, too long           -> pass
    pinned, blocked           -> a person's word
    contextual rewrites       -> what it means, or that it works, in this context (`rewrite.context_mining`)
    known good                -> pass: this user's own, or everyone's where this user did not correct it time and again
    own correction            -> this user said it again this way before
    precomputed table         -> most people's correction, unless this user's own requests say otherwise; an engine that
                                 explores holds it back now and then, and tries what is on trial
    said before, not failing  -> pass
    near a good request       -> a broken form of one of this user's own requests, or of everyone's. With a trained
                                 retriever (`rewrite.dense_rung`): rewritten, suggested or left by its thresholds.
                                 Without: rewritten where both sound the same, suggested otherwise

What a user did since the bundle was learned counts from the next request on, where it is observed (`observe`).

Nothing raises but `observe`: a fault inside, or a passed deadline, lets the query through unchanged with the reason.
Neither torch nor pyarrow is imported here. Threads may share an engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dialogue.canonical import Canonicaliser
from dialogue.context_tokens import context_tokens
from dialogue.turn import Turn
from retrieval import Candidate, Layer
from rewrite.bundle import Bundle
from rewrite.call import Asked, Call, arguments
from rewrite.contextual import ALONE, previous
from rewrite.decision import Action, Alternative, Decision, Reason, Source, passed, rewrite_id
from rewrite.errors import BundleError, DamagedBundle, ModelError
from rewrite.exploring import drawn, propensity
from rewrite.guards import sounds_the_same
from rewrite.live_history import LiveHistory, live_path
from rewrite.nearest import NearestModel
from rewrite.protected import DEFAULT, ProtectedIntents
from rewrite.publish import steadily
from rewrite.serving import FAILING, GOOD, ON, PUBLIC, ServingArrays
from rewrite.sparse_rung import nearby, nearest, own_request
from rewrite.timings import Stage, Timings

if TYPE_CHECKING:
    from rewrite.dense_rung import DenseRung, Found, Judged, Request

#: Longer requests are not looked up: the mining job stores none.
LONGEST_REQUEST = 1_000


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Which sources may propose rewrites, and how bold the engine is where no table has the answer."""

    sources: frozenset[Source] = frozenset({Source.PRECOMPUTED, Source.PERSONAL, Source.GLOBAL})
    deadline_s: float = 0.005  # past this much time after the tables, no model is run and no layer searched any more
    nearest: NearestModel = NearestModel()  # noqa: RUF009  (frozen)
    personal_hops: int = 2  # times a user must have corrected a request that is not known to fail for everyone
    explore: float = 0.0  # share of requests for which a rewrite of the table is held back; 0.02 finds what went stale
    trial: float = 0.0  # greatest share of requests for which a rewrite that is on trial is served; 0.1 settles most
    seed: int | None = None  # of these draws; None: the system's
    alternatives: int = 3  # candidates that a decision tells of, at most
    live: bool = True  # whether what users did since the bundle was learned counts, where it is observed
    protected: ProtectedIntents = DEFAULT  # what a merely likely rewrite never leads into or out of

    def __post_init__(self) -> None:
        if not self.deadline_s > 0 or self.personal_hops < 1:
            raise ValueError(f"{self} came; deadline_s above 0 and personal_hops of 1 or more are wanted")
        if not (0 <= self.explore <= 0.5 and 0 <= self.trial <= 1):
            raise ValueError(f"{self} came; explore is a share from 0 to 0.5, trial one from 0 to 1")


class RewriteEngine:
    """Answers from one bundle.

    >>> engine = RewriteEngine.load("bundle")  # doctest: +SKIP
    >>> engine.rewrite("play maj and dragons").text  # doctest: +SKIP
    'play imagine dragons'
    """

    def __init__(
        self,
        bundle: Bundle,
        arrays: ServingArrays,
        config: EngineConfig | None = None,
        dense: DenseRung | None = None,
    ) -> None:
        self.bundle = bundle
        self.config = config or EngineConfig()
        text = bundle.manifest.parameters["text"]
        self.canonical = Canonicaliser(tuple(text["wake_words"]), tuple(text["politeness"]))
        self.live = LiveHistory.open(live_path(bundle.asked), canonical=self.canonical) if self.config.live else None
        self._arrays, self._dense = arrays, dense
        self._draw = Random(self.config.seed).random
        overrides = bundle.overrides
        self._pinned, self._blocked = dict(overrides.pinned), overrides.blocked

    @classmethod
    def load(
        cls, path: str | Path, *, config: EngineConfig | None = None, verify: bool | None = None
    ) -> RewriteEngine:
        """Opens a bundle: its arrays are mapped, not read. `verify` as in `Bundle.open`. Raises BundleError."""
        asked = Path(path)
        return steadily(asked, lambda place: cls._of(Bundle.read(place, asked, verify=verify), config))

    @classmethod
    def _of(cls, bundle: Bundle, config: EngineConfig | None) -> RewriteEngine:
        try:
            arrays = ServingArrays.load(bundle.path / "index")
            return cls(bundle, arrays, config, _dense_rung(bundle, arrays, config or EngineConfig()))
        except (BundleError, ModelError):
            raise
        except Exception as error:
            raise DamagedBundle(f"{bundle.path} cannot be served from: {error}") from error

    def rewrite(
        self,
        text: str,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        nbest: Sequence[str | Mapping[str, Any]] = (),
        nlu: Mapping[str, Any] | None = None,
        asr_confidence: float | None = None,
        deadline_s: float | None = None,
        timings: Timings | None = None,
    ) -> Decision:
        """What to send to NLU for `text`, and why.

        `context` is that of the log format. `nbest` is what the recogniser heard, best first, as texts or as the log
        format has it, `asr_confidence` how sure it was, from 0 to 1 (`asr.confidence` there), and `nlu` what NLU makes
        of the request as it was said. Each makes the answer surer where it is known. `deadline_s` is that of this call
        alone; `timings` is filled with what each stage took.
        """
        timings = timings or Timings()
        try:
            wait = self.config.deadline_s if deadline_s is None else deadline_s
            return self._decide(Call(text, user_id, context, nbest, nlu, asr_confidence, timings, wait, self.live))
        except Exception as error:
            said = text if isinstance(text, str) else _as_text(text)
            fault = f"{type(error).__name__}: {error}"
            return Decision(Action.PASS, said, said, Reason.FAULT, evidence={"fault": fault})

    def observe(self, turn: Turn | Mapping[str, Any]) -> None:
        """Keeps what a user just did, a `Turn` or a record of the log format, so that the next request can use it.

        Kept when this returns, for all processes that serve this bundle, and taken in by the next `learn`. The same
        turn may come again when more is known of it. Raises BadTurn, LiveHistoryError, or ValueError where
        `config.live` is off.
        """
        if self.live is None:
            raise ValueError("this engine keeps no live history: load it with EngineConfig(live=True) to observe turns")
        self.live.observe(turn)

    def rewrite_batch(
        self, texts: Iterable[str], user_ids: Iterable[str | None] | None = None, **more: Any
    ) -> list[Decision]:
        """`rewrite` of each text, in order; one user id for each text where they are given.

        `more` is the same for all of them: what each has of its own goes through `pipe`.
        """
        texts = list(texts)
        users = [None] * len(texts) if user_ids is None else list(user_ids)
        if len(users) != len(texts):
            raise ValueError(f"{len(texts)} texts and {len(users)} user ids came: one id (or None) a text is wanted")
        return [self.rewrite(text, user, **more) for text, user in zip(texts, users, strict=True)]

    def pipe(self, requests: Iterable[Asked]) -> Iterator[Decision]:
        """`rewrite` of a stream of (text, user id), or of mappings of its arguments: `{"text": ..., "nbest": ...}`."""
        for each in requests:
            yield self.rewrite(**arguments(each))

    def _decide(self, call: Call) -> Decision:
        text = call.text
        if len(text) > LONGEST_REQUEST:
            return passed(text, Reason.TOO_LONG)
        call.said = said = self.canonical(text)
        call.timings.mark(Stage.CANONICALISE)
        if not said:
            return passed(text, Reason.EMPTY)
        if said in self._pinned:
            target = self._pinned[said]
            return _rewritten(text, target, Reason.PINNED, Source.PINNED, rewrite_id(said, target))
        if said in self._blocked:
            return passed(text, Reason.BLOCKED)
        call.row = self._arrays.texts.get(said)
        call.late_at = perf_counter() + call.deadline_s
        known = self._known(call) if call.row >= 0 else self._just_worked(call)
        call.timings.mark(Stage.TABLES)
        if known is not None:
            return known
        return self._nearest(call) if self._dense is None else self._densely(call, self._dense)

    def _just_worked(self, call: Call) -> Decision | None:
        """A pass where this very text worked for this user since the bundle was learned."""
        if (success := call.just_worked()) is None:
            return None
        evidence = {"success": round(success, 4), "own": True}
        return Decision(Action.PASS, call.text, call.text, Reason.KNOWN_GOOD, evidence=evidence)

    def _densely(self, call: Call, dense: DenseRung) -> Decision:
        """What the trained retriever makes of a request that no table has the answer to."""
        if call.late():
            return passed(call.text, Reason.DEADLINE)
        request, sources = self._request(call), self.config.sources
        personal, everyone = Source.PERSONAL in sources, Source.GLOBAL in sources
        found = dense.propose(request, call.timings, personal=personal, everyone=everyone)
        judged = dense.judge(request, found, call.timings, call.late)
        decision = self._in_words(call, judged)
        call.timings.mark(Stage.DECIDE)
        return decision

    def _request(self, call: Call) -> Request:
        from rewrite.asking import asked

        live, recent = call.lately()
        return asked(
            call.said, call.row, call.user, call.context, call.nbest, call.nlu, recent, live, self.canonical,
            call.asr_confidence,
        )  # fmt: skip

    def _surface(self, found: Found) -> str:
        return found.surface or self._arrays.surface(found.row)

    def _in_words(self, call: Call, judged: Judged) -> Decision:
        """A judgement of the dense rung as a decision."""
        text, ranked = call.text, judged.ranked
        others = tuple(
            Alternative(self._surface(each), _source(each.own), round(each.proposal.cosine, 4))
            for each in judged.found[: self.config.alternatives]
        )
        if ranked is None:
            return Decision(Action.PASS, text, text, judged.reason, alternatives=others)
        first = judged.found[0]
        evidence = {"similarity": round(first.proposal.cosine, 4), "right": round(ranked.right, 4),
                    "alone": round(ranked.alone, 4), "score": round(ranked.score, 4)}  # fmt: skip
        if judged.action is Action.PASS:
            return Decision(
                Action.PASS, text, text, judged.reason, score=ranked.alone, alternatives=others, evidence=evidence
            )
        decision = _rewritten(
            text, self._surface(first), judged.reason, _source(first.own), rewrite_id(call.said, first.text),
            ranked.right, ranked.right - ranked.alone, others[1:], evidence,
        )  # fmt: skip
        return decision if judged.action is Action.REWRITE else replace(decision, action=judged.action)

    def _known(self, call: Call) -> Decision | None:
        """What is stored for this very text."""
        arrays, text, said, row, user = self._arrays, call.text, call.said, call.row, call.user
        if (told := self._in_context(call)) is not None:
            return told
        status, entry = arrays.status[row], arrays.entry[row]
        own = arrays.personal_layer.rows_of(user) if user is not None else None
        sources = self.config.sources
        corrected = self._own_correction(row, user) if Source.PERSONAL in sources else None
        if corrected is not None and arrays.contextual.depends(row, corrected[0]):
            corrected = None  # that was right in its context
        if (worked := self._just_worked(call)) is not None:
            return worked
        mine = corrected is not None and corrected[1] >= self.config.personal_hops  # it fails this user, if nobody else
        if (status & GOOD and not mine) or (own is not None and row in own):
            evidence = {"success": round(float(arrays.success[row]), 4), "own": not status & GOOD}
            return Decision(
                Action.PASS, text, text, Reason.KNOWN_GOOD, score=float(arrays.success[row]), evidence=evidence
            )
        if corrected is not None:
            target, times = corrected
            if mine or (entry >= 0 and arrays.standing[entry] & ON):
                return self._served(text, said, target, Reason.OWN_CORRECTION, Source.PERSONAL, {"times": times})
        share = propensity(arrays, int(entry), self.config.explore, self.config.trial)
        if not share or Source.PRECOMPUTED not in sources:
            known = status & PUBLIC and not status & FAILING  # what few others said is as if nobody had
            return passed(text, Reason.NOT_FAILING) if known else None
        if Source.PERSONAL in sources and (requested := self._own_request(call)):
            return requested
        if call.just_failed(arrays.texts.key(int(arrays.target[entry]))):
            return passed(text, Reason.GUARD_LOOP)
        evidence = {"users": int(arrays.users[entry]), "alone": round(float(arrays.success[row]), 4)}
        served = self._served(
            text, said, int(arrays.target[entry]), Reason.LEARNED, Source.PRECOMPUTED, evidence,
            float(arrays.score[entry]), float(arrays.margin[entry]),
        )  # fmt: skip
        return drawn(served, share, self._draw)

    def _in_context(self, call: Call) -> Decision | None:
        """What is stored for this very text in this context, unless this user's own correction says otherwise."""
        entries, row, sources = self._arrays.contextual, call.row, self.config.sources
        if Source.PRECOMPUTED not in sources or not entries.knows(row):
            return None
        found = entries.find(row, context_tokens(call.context, previous(call.lately()[1])))
        if found is None:
            return None
        own = self._own_correction(row, call.user) if Source.PERSONAL in sources else None
        if own is not None and own[1] >= self.config.personal_hops and not entries.depends(row, own[0]):
            return None
        evidence = {"context": found.token, "users": found.users, "chance": round(found.chance, 4)}
        if found.target == ALONE:
            return Decision(
                Action.PASS, call.text, call.text, Reason.KNOWN_GOOD, score=found.score, evidence=evidence
            )
        served = self._served(
            call.text, call.said, found.target, Reason.CONTEXTUAL, Source.PRECOMPUTED, evidence, found.score,
            found.margin,
        )  # fmt: skip
        return drawn(served, 1.0 - self.config.explore, self._draw)

    def _own_correction(self, row: int, user: str | None) -> tuple[int, int] | None:
        """(row of the target, times) of this user's own correction of a text."""
        owner = self._arrays.owners.get(user) if user is not None else -1
        if owner < 0:
            return None
        begin, end = self._arrays.correction_offsets[owner], self._arrays.correction_offsets[owner + 1]
        for source, target, times in self._arrays.corrections[begin:end].tolist():
            if source == row:
                return target, times
        return None

    def _own_request(self, call: Call) -> Decision | None:
        """Where most people's correction is known: what this user's own requests say instead, if one stands out."""
        if call.user is None or call.late():
            return None
        found = own_request(self._arrays, self.config.nearest, call.said, call.user)
        if found is None:
            return None
        evidence = {"similarity": round(found.similarity, 4)}
        return self._served(call.text, call.said, found.row, Reason.OWN_REQUEST, Source.PERSONAL, evidence)

    def _nearest(self, call: Call) -> Decision:
        """What is stored for texts like this one: this user's own first, then everyone's."""
        text, said, arrays = call.text, call.said, self._arrays
        model, sources = self.config.nearest, self.config.sources
        if call.late():
            return passed(text, Reason.DEADLINE)
        user = call.user if Source.PERSONAL in sources else None
        found = nearby(arrays, said, call.row, model.floor, user=user, everyone=Source.GLOBAL in sources)
        if not found:
            return passed(text, Reason.NO_CANDIDATE)
        near = nearest(arrays, model, said, found)
        best, others = near.candidate, tuple(self._alternative(each) for each in found)
        if near.refused is not None:
            return Decision(Action.PASS, text, text, near.refused, alternatives=others)
        evidence = {"similarity": round(best.similarity, 4), "lead": round(near.lead, 4)}
        source = _source(best.layer is Layer.PERSONAL)
        served = self._served(text, said, best.row, Reason.NEAR_GOOD, source, evidence, near.score, None, others[1:])
        if sounds_the_same(said, arrays.texts.key(best.row)):
            return served
        return replace(served, action=Action.SUGGEST)  # an unknown word may be a name: only the user can say

    def _served(
        self,
        text: str,
        said: str,
        target: int,
        reason: Reason,
        source: Source,
        evidence: dict[str, Any],
        score: float | None = None,
        margin: float | None = None,
        alternatives: tuple[Alternative, ...] = (),
    ) -> Decision:
        """The rewrite to a row, unless that says what was said already."""
        arrays = self._arrays
        canonical = arrays.texts.key(target)
        if canonical == said:
            return passed(text, Reason.NO_CANDIDATE)
        score = float(arrays.success[target]) if score is None or math.isnan(score) else score
        name = rewrite_id(said, canonical)
        return _rewritten(
            text, arrays.surface(target), reason, source, name, score, margin, alternatives, evidence
        )

    def _alternative(self, candidate: Candidate) -> Alternative:
        source = _source(candidate.layer is Layer.PERSONAL)
        return Alternative(self._arrays.surface(candidate.row), source, round(candidate.similarity, 4))


def _dense_rung(bundle: Bundle, arrays: ServingArrays, config: EngineConfig) -> DenseRung | None:
    """The dense rung of a bundle that carries a retriever; the libraries that it needs are loaded for it alone."""
    if not (bundle.path / "index" / "dense").is_dir():
        return None
    from rewrite.dense_rung import DenseRung
    from rewrite.dense_serving import DenseArrays

    dense = DenseArrays.load(bundle.path)
    if dense is None:
        return None
    rung = DenseRung.over(dense, arrays, config.protected, config.nearest)
    rung.warm_up()
    return rung


def _source(own: bool) -> Source:
    return Source.PERSONAL if own else Source.GLOBAL


def _as_text(odd: object) -> str:
    try:
        return str(odd)
    except Exception:  # an object that cannot even say what it is
        return object.__repr__(odd)


def _rewritten(
    text: str,
    rewrite: str,
    reason: Reason,
    source: Source,
    name: str,
    score: float | None = None,
    margin: float | None = None,
    alternatives: tuple[Alternative, ...] = (),
    evidence: dict[str, Any] | None = None,
) -> Decision:
    return Decision(
        Action.REWRITE, rewrite, text, reason, source, score, margin, name, alternatives, evidence or {}
    )

