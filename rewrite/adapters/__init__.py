"""The engine in other people's pipelines, one thin file for each framework, and what these files share.

spacy_component    a spaCy component, and a front that rewrites before the tokenizer
rasa_component     a Rasa 3 component, before the tokenizer
ovos_transformer   an utterance transformer of Open Voice OS

A framework is imported by its own file alone. In all of them a query goes through unchanged where anything breaks; only
a bundle that cannot be opened is an error, at the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol

from rewrite.decision import Action, Alternative, Decision, Reason, Source
from rewrite.engine import EngineConfig
from rewrite.errors import ConfigError
from rewrite.reloading import ReloadingEngine

#: One hypothesis of a recogniser: its text, or an object of `asr.nbest` in the log format.
Hypothesis = str | Mapping[str, Any]


class Rewriter(Protocol):
    """What decides: a `RewriteEngine`, a `ReloadingEngine`, or anything that answers like one."""

    def rewrite(
        self,
        text: str,
        user_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        nbest: Sequence[Hypothesis] = (),
        asr_confidence: float | None = None,
    ) -> Decision:
        """What to send to NLU for `text`; `nbest` is what the recogniser heard, `asr_confidence` how sure it was."""


def decide(
    engine: Rewriter,
    text: str,
    user_id: object = None,
    context: object = None,
    nbest: Sequence[Hypothesis] = (),
    asr_confidence: object = None,
) -> Decision:
    """The decision on `text`; where anything breaks it is to pass, with the fault.

    A user, a context or a confidence that is none is as if it were not given; a whole number is a user's name as well.
    """
    try:
        named = isinstance(user_id, str | int) and not isinstance(user_id, bool) and user_id != ""
        user = str(user_id) if named else None
        known = context if isinstance(context, Mapping) else None
        more: dict[str, Any] = {"nbest": nbest} if len(nbest) > 1 else {}
        if isinstance(asr_confidence, int | float) and not isinstance(asr_confidence, bool):
            more["asr_confidence"] = asr_confidence
        return engine.rewrite(text, user, known, **more)
    except Exception as error:
        return faulted(text, error)


def faulted(text: str, error: Exception) -> Decision:
    """The decision to pass because of an error."""
    return Decision(Action.PASS, text, text, Reason.FAULT, evidence={"fault": f"{type(error).__name__}: {error}"})


def text_to_use(decision: Decision) -> str:
    """What goes on to NLU: the rewrite, or what was said where the decision is to pass or only to suggest."""
    return decision.text if decision.action is Action.REWRITE else decision.original


def open_engine(bundle: object, settings: Mapping[str, Any] | None = None) -> ReloadingEngine:
    """The engine over a folder, which follows what is learned into it; `settings` as in `engine_config`.

    Raises ConfigError, or BundleError where there is no usable bundle.
    """
    if not isinstance(bundle, str) or not bundle:
        raise ConfigError(f"bundle is {bundle!r}: the folder made by `rewrite learn LOG --out FOLDER` is wanted")
    return ReloadingEngine(bundle, engine_config(settings))


def engine_config(settings: Mapping[str, Any] | None = None) -> EngineConfig:
    """The configuration in plain values, as a framework's own files hold it: `sources` is a list of names there.

    Raises ConfigError.

    >>> engine_config({"deadline_s": 0.01, "sources": ["precomputed"]}).deadline_s
    0.01
    """
    wanted = dict(settings or {})
    known = {each.name for each in fields(EngineConfig)} - {"nearest", "protected"}  # those two are no plain values
    if unknown := sorted(wanted.keys() - known):
        raise ConfigError(f"engine has the key {unknown[0]!r}: those known are {', '.join(sorted(known))}")
    try:
        if "sources" in wanted:
            wanted["sources"] = frozenset(Source(name) for name in wanted["sources"])
        return EngineConfig(**wanted)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"engine is {settings}, which cannot be used: {error}") from error


def from_plain(plain: Mapping[str, Any]) -> Decision:
    """The decision of which `plain` is the `as_dict`."""
    values = {each.name: plain[each.name] for each in fields(Decision) if each.name in plain}
    others = (Alternative(each["text"], Source(each["source"]), each["score"]) for each in plain["alternatives"])
    names = {"action": Action(plain["action"]), "reason": Reason(plain["reason"]), "source": Source(plain["source"])}
    return Decision(**{**values, **names, "alternatives": tuple(others)})
