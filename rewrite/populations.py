"""Stage 7 of the mining job: the requests known to work, for all and for each user, and own corrections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rewrite import stages
from rewrite.config import GateConfig, LearnConfig
from rewrite.execution import MICRO, Execution
from rewrite.gate import lower_bound, upper_bound
from rewrite.guards import strays, table_guard
from rewrite.mining import Candidate
from rewrite.progress import Progress
from rewrite.serving import FAILING, GOOD, PUBLIC

#: A text whose upper bound of success is below this fails more often than not.
HALF = 0.5

_CORRECTIONS = pa.schema(
    [("user_id", pa.string()), ("said", pa.string()), ("next_said", pa.string()), ("turns", pa.int64())]
)
#: What is counted of a text over all users, in the order of the table `requests`.
REQUEST_FIELDS = [
    ("said", pa.string()),
    ("surface", pa.string()),
    ("users", pa.int64()),
    ("turns", pa.int64()),
    ("weight", pa.int64()),
    ("success", pa.int64()),
    ("last_seen", pa.float64()),
]
_POPULATION = pa.schema(
    [
        ("number", pa.int64()),
        *REQUEST_FIELDS,
        ("status", pa.uint8()),
        ("lower", pa.float64()),
        ("upper", pa.float64()),
    ]
)


def populate(tables: Execution, config: LearnConfig, table: list[Candidate], progress: Progress) -> None:
    """Stage 7: the requests known to succeed, for everyone and for each user, and each user's own corrections."""
    guard = _CorrectionGuard(config.gate.personal_hops)
    status = _StatusJudge(config.gate, frozenset(each.source for each in table))
    with progress.stage("building the populations", 7) as stage:
        tables.query("surfaces", stages.surfaces())
        stage.advance(1)
        tables.query("own_corrections", stages.own_corrections())
        stage.advance(1)
        tables.map("corrections", "own_corrections", guard, _CORRECTIONS, whole="user_id")
        stage.advance(1)
        tables.query("own_requests", stages.own_requests(config.history.per_user))
        stage.advance(1)
        tables.query("requests", stages.requests(config.gate))
        stage.advance(1)
        tables.map("population", "requests", status, _POPULATION, whole="said")
        stage.advance(1)
        tables.query("histories", stages.histories())
        tables.query("correction_rows", stages.correction_rows())
        stage.advance(1)


@dataclass(frozen=True)
class _CorrectionGuard:
    """Keeps a user's own corrections that flip no meaning.

    Words that may as well be a second wish must have been corrected once more than others are asked for.
    """

    personal_hops: int

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = (batch[name].to_pylist() for name in ("said", "next_said", "turns"))
        kept = [self._keeps(*row) for row in zip(*columns, strict=True)]
        return batch.filter(pa.array(kept, pa.bool_())).cast(_CORRECTIONS)

    def _keeps(self, said: str, next_said: str, turns: int) -> bool:
        return table_guard(said, next_said) is None and (turns > self.personal_hops or not strays(said, next_said))


@dataclass(frozen=True)
class _StatusJudge:
    """Marks each text as known to work, known to fail, or neither."""

    gate: GateConfig
    rewritten: frozenset[str]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        success, weight = (np.asarray(batch[name], np.float64) / MICRO for name in ("success", "weight"))
        lower = lower_bound(success, weight, self.gate.confidence)
        upper = upper_bound(success, weight, self.gate.confidence)
        public = np.asarray(batch["users"]) >= self.gate.min_users
        rewritten = np.fromiter((text in self.rewritten for text in batch["said"].to_pylist()), np.bool_, len(lower))
        good = public & (lower >= self.gate.good_floor) & ~rewritten
        failing = rewritten | (public & (upper < HALF))
        status = PUBLIC * (public | rewritten) + GOOD * good + FAILING * failing
        columns = [*batch.columns, pa.array(status, pa.uint8()), pa.array(lower), pa.array(upper)]
        return pa.RecordBatch.from_arrays(columns, schema=_POPULATION)
