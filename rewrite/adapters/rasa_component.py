"""A Rasa 3 component that rewrites a message before the tokenizer sees it.

    pipeline:
      - name: rewrite.adapters.rasa_component.RepriseRewriter
        bundle: build/bundle
      - name: WhitespaceTokenizer

The user is the tracker's sender; the message's metadata may hold `context` and `asr` as in the log format. The
decision, and with it what was said, is added to the metadata and to what the parser gives out, both as `reprise`. The
text changes where the decision is to rewrite, and only then: a suggestion is for the assistant to ask. Commands
(`/restart`, `/inform{...}`) are left alone, and so are the examples in training.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from rewrite.adapters import Rewriter, decide, open_engine, text_to_use

try:
    from rasa.engine.graph import ExecutionContext, GraphComponent
    from rasa.engine.recipes.default_recipe import DefaultV1Recipe
    from rasa.engine.storage.resource import Resource
    from rasa.engine.storage.storage import ModelStorage
    from rasa.shared.core.trackers import DialogueStateTracker
    from rasa.shared.nlu.training_data.message import Message
    from rasa.shared.nlu.training_data.training_data import TrainingData
except ImportError as error:
    raise ImportError("Rasa 3 is missing: pip install rasa, on a Python that it supports") from error

logger = logging.getLogger(__name__)

NAME = "reprise"
COMMAND = "/"


class RepriseRewriter(GraphComponent):
    """Rewrites messages; `config` has `bundle`, a folder, and `engine` as in `rewrite.adapters.engine_config`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    @classmethod
    def create(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> RepriseRewriter:
        """The component for training, which needs no bundle."""
        return cls(config)

    @classmethod
    def load(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
        **kwargs: Any,
    ) -> RepriseRewriter:
        """The component for serving. Raises BundleError or ConfigError where the bundle cannot be opened."""
        component = cls(config)
        _ = component.engine  # opened now, so that what is wrong with it shows at the start
        return component

    @staticmethod
    def get_default_config() -> dict[str, Any]:
        """The configuration where none is given; `bundle` must be."""
        return {"bundle": None, "engine": {}}

    @cached_property
    def engine(self) -> Rewriter:
        """What decides."""
        return open_engine(self.config.get("bundle"), self.config.get("engine"))

    def process_training_data(self, training_data: TrainingData) -> TrainingData:
        """The examples as they are: they say what they should."""
        return training_data

    def process(self, messages: list[Message], tracker: DialogueStateTracker | None = None) -> list[Message]:
        """The messages, each with the text to use."""
        user = getattr(tracker, "sender_id", None)
        for message in messages:
            try:
                self._rewrite(message, user)
            except Exception:
                logger.exception("a message was left unchanged")
        return messages

    def _rewrite(self, message: Message, user: str | None) -> None:
        said = message.get("text")
        if not isinstance(said, str) or said.startswith(COMMAND):
            return
        metadata = dict(message.get("metadata") or {})
        asr = metadata.get("asr") or {}
        decision = decide(
            self.engine, said, user, metadata.get("context"), asr.get("nbest") or (), asr.get("confidence")
        )
        plain = decision.as_dict()
        message.set("metadata", {**metadata, NAME: plain})
        message.set(NAME, plain, add_to_output=True)
        use = text_to_use(decision)
        if use != said and not use.startswith(COMMAND):  # what a user says must not become a command
            message.set("text", use)


DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.MESSAGE_FEATURIZER, is_trainable=False)(RepriseRewriter)
