"""An utterance transformer of Open Voice OS: the recogniser's hypotheses in, the same with the rewrite first out.

    "utterance_transformers": {"reprise": {"bundle": "/path/to/bundle"}}

Beside `bundle`, the configuration may have `engine` (as in `rewrite.adapters.engine_config`) and `user_id`, for a
device with one user; a `user_id` in the message's context or in its session comes first. A session's own name is no
user: it lives as long as a connection. The decision is added to the context as `reprise`; a suggestion is there only,
for a skill to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewrite.adapters import Rewriter, decide, open_engine, text_to_use
from rewrite.decision import Action

try:
    from ovos_plugin_manager.templates.transformers import UtteranceTransformer
except ImportError as error:
    raise ImportError('ovos-plugin-manager is missing: pip install "reprise-rewrite[ovos]"') from error

NAME = "reprise"


class RepriseTransformer(UtteranceTransformer):
    """Puts the rewrite before the hypotheses. Raises BundleError or ConfigError when made without a good bundle."""

    def __init__(
        self,
        name: str = NAME,
        priority: int = 50,
        config: dict[str, Any] | None = None,
        engine: Rewriter | None = None,
    ) -> None:
        super().__init__(name, priority, config)
        self.engine = engine or open_engine(self.config.get("bundle"), self.config.get("engine"))

    def transform(
        self, utterances: list[str], context: dict[str, Any] | None = None
    ) -> tuple[list[str], dict[str, Any]]:
        """The hypotheses, best first, and what to add to the context."""
        try:
            return self._transform(utterances, context or {})
        except Exception as error:
            return utterances, {NAME: {"action": "pass", "reason": "fault", "evidence": {"fault": repr(error)}}}

    def _transform(self, utterances: list[str], context: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
        if not utterances:
            return utterances, {}
        session = _session(context)
        user = context.get("user_id") or session.get("user_id") or self.config.get("user_id")
        decision = decide(self.engine, utterances[0], user, _told(context, session), utterances)
        if decision.action is Action.REWRITE:
            utterances = list(dict.fromkeys([text_to_use(decision), *utterances]))
        return utterances, {NAME: decision.as_dict()}


def _session(context: Mapping[str, Any]) -> Mapping[str, Any]:
    session = context.get("session")
    return session if isinstance(session, Mapping) else {}


def _told(context: Mapping[str, Any], session: Mapping[str, Any]) -> dict[str, Any]:
    """What Open Voice OS knows of the context, in the words of the log format."""
    locale, place = context.get("lang") or session.get("lang"), session.get("site_id")
    known = {"locale": locale, "location": None if place == "unknown" else place}
    return {name: value for name, value in known.items() if value}
