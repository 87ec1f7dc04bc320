"""From the arguments of a call to what the dense rung is asked: parsed once, forgiving where a caller is careless."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from dialogue.context_tokens import context_tokens
from rewrite.contextual import previous
from rewrite.dense_rung import Request
from rewrite.live_turns import LiveRequest, RecentTurn
from rewrite.reranking import NAN, Interpretation

#: Hypotheses of the recogniser that are looked at.
MOST_HEARD = 10
Canonical = Callable[[str], str]


def asked(
    said: str,
    row: int,
    user: str | None,
    context: Mapping[str, Any] | None,
    nbest: Sequence[str | Mapping[str, Any]],
    nlu: Mapping[str, Any] | None,
    recent: Sequence[RecentTurn],
    live: Sequence[LiveRequest],
    canonical: Canonical,
    asr_confidence: float | None = None,
) -> Request:
    """The request as the dense rung sees it; what is not in the log format is left out."""
    heard = tuple(dict.fromkeys(text for text in map(canonical, _heard(nbest)) if text and text != said))
    understood = _share(nlu.get("confidence")) if isinstance(nlu, Mapping) else NAN
    device = context.get("device_type") if isinstance(context, Mapping) else None
    return Request(
        said, row, user,
        interpretation=interpretation(nlu, canonical),
        nlu_confidence=understood,
        asr_confidence=_share(asr_confidence),
        nbest=heard,
        tokens=context_tokens(context, previous(recent)),
        recent=tuple((each.rewrite or each.said, each.success) for each in recent),
        live=live,
        device=device if isinstance(device, str) else "",
    )  # fmt: skip


def interpretation(nlu: Mapping[str, Any] | None, canonical: Canonical) -> Interpretation | None:
    """An interpretation of the log format, its values canonical; None where there is none."""
    if not isinstance(nlu, Mapping) or (nlu.get("domain") is None and nlu.get("intent") is None):
        return None
    slots = nlu.get("slots")
    domain, intent = (None if (name := nlu.get(part)) is None else str(name) for part in ("domain", "intent"))
    return Interpretation.of(domain, intent, slots if isinstance(slots, Mapping) else {}, canonical)


def _heard(nbest: Sequence[str | Mapping[str, Any]]) -> list[str]:
    if not isinstance(nbest, list | tuple):
        return []
    texts = [each.get("text") if isinstance(each, Mapping) else each for each in nbest[:MOST_HEARD]]
    return [text for text in texts if isinstance(text, str)]


def _share(value: object) -> float:
    """A share, from 0 to 1; NaN for anything else."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    return float(value) if number and 0 <= value <= 1 else NAN  # type: ignore[operator, arg-type]
