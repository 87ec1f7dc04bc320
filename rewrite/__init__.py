"""What should be said to NLU instead, if anything? The face of Reprise.

rephrase       the user's own second try, seen in a log
reformulation  the best target by the chain
entry          what is stored
candidate      what a layer proposes online
rewrite        what is served in place of a query
bundle         all that was learned, on disk
override       a person's word: a pin (always rewrite to this) or a block (never rewrite)
gate           the statistical test of the mining job; a guard is a rule on words that no statistics overrule

Names are imported when first asked for: serving needs neither pyarrow nor duckdb.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewrite.attaching import attach
    from rewrite.bundle import Bundle
    from rewrite.config import (
        ChainConfig,
        DecayConfig,
        GateConfig,
        HistoryConfig,
        LearnConfig,
        LogConfig,
        ResourceConfig,
        TextConfig,
    )
    from rewrite.decision import Action, Alternative, Decision, Reason, Source
    from rewrite.decision_log import DecisionLog, record
    from rewrite.engine import EngineConfig, RewriteEngine
    from rewrite.errors import (
        BadTurn,
        BundleError,
        BusyError,
        ConfigError,
        DamagedBundle,
        ForeignBundle,
        LearnError,
        LiveHistoryError,
        ModelError,
        NewerBundle,
        OlderBundle,
        RewriteError,
    )
    from rewrite.facts import LogFacts, Summary
    from rewrite.forgetting import forget
    from rewrite.job import learn
    from rewrite.live_history import LiveHistory
    from rewrite.models import Model, resolve_model
    from rewrite.protected import ProtectedIntents
    from rewrite.reloading import ReloadingEngine
    from rewrite.retriever import Retriever
    from rewrite.retriever_training import RetrieverRecipe
    from rewrite.timings import StageSummary, Timings

_MODULES = {
    "attaching": ["attach"],
    "bundle": ["Bundle"],
    "config": [
        *["ChainConfig", "DecayConfig", "GateConfig", "HistoryConfig", "LearnConfig", "LogConfig"],
        *["ResourceConfig", "TextConfig"],
    ],
    "decision": ["Action", "Alternative", "Decision", "Reason", "Source"],
    "decision_log": ["DecisionLog", "record"],
    "engine": ["EngineConfig", "RewriteEngine"],
    "errors": [
        *["BadTurn", "BundleError", "BusyError", "ConfigError", "DamagedBundle", "ForeignBundle", "LearnError"],
        *["LiveHistoryError", "ModelError", "NewerBundle", "OlderBundle", "RewriteError"],
    ],
    "facts": ["LogFacts", "Summary"],
    "forgetting": ["forget"],
    "job": ["learn"],
    "live_history": ["LiveHistory"],
    "models": ["Model", "resolve_model"],
    "protected": ["ProtectedIntents"],
    "reloading": ["ReloadingEngine"],
    "retriever": ["Retriever"],
    "retriever_training": ["RetrieverRecipe"],
    "timings": ["StageSummary", "Timings"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Action",
    "Alternative",
    "BadTurn",
    "Bundle",
    "BundleError",
    "BusyError",
    "ChainConfig",
    "ConfigError",
    "DamagedBundle",
    "DecayConfig",
    "Decision",
    "DecisionLog",
    "EngineConfig",
    "ForeignBundle",
    "GateConfig",
    "HistoryConfig",
    "LearnConfig",
    "LearnError",
    "LiveHistory",
    "LiveHistoryError",
    "LogConfig",
    "LogFacts",
    "Model",
    "ModelError",
    "NewerBundle",
    "OlderBundle",
    "ProtectedIntents",
    "Reason",
    "ReloadingEngine",
    "ResourceConfig",
    "Retriever",
    "RetrieverRecipe",
    "RewriteEngine",
    "RewriteError",
    "Source",
    "StageSummary",
    "Summary",
    "TextConfig",
    "Timings",
    "attach",
    "forget",
    "learn",
    "record",
    "resolve_model",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
