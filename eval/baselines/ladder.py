"""All rungs that can be run here, and why the others cannot."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from eval.baselines.looked_up import NextSuccess, PlainChain
from eval.baselines.nearest import Bm25, EditDistance, Embedding
from eval.baselines.never import NeverRewrite
from eval.baselines.tables import Tables
from eval.rewriter import Rewriter
from rewrite import Bundle, ModelError


class Baseline(Rewriter, Protocol):
    """A rewriter with a name, and its rule in words."""

    name: str
    told: str


@dataclass(frozen=True)
class Ladder:
    """The rungs, the simplest first, and the names of those that were not run with the reason."""

    rungs: tuple[Baseline, ...]
    absent: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_bundle(cls, bundle: Bundle | str | Path) -> Ladder:
        """Raises BundleError."""
        return cls.from_tables(Tables.from_bundle(bundle))

    @classmethod
    def from_tables(cls, tables: Tables) -> Ladder:
        """The rungs that can be run with what is installed."""
        rungs: list[Baseline] = [NeverRewrite(), NextSuccess(tables), EditDistance(tables), Bm25(tables)]
        absent = {}
        try:
            rungs.append(Embedding(tables))
        except ModelError as error:
            absent[Embedding.name] = str(error)
        return cls((*rungs, PlainChain(tables)), absent)
