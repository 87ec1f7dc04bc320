"""A contextual rewrite as the mining job holds it, and as a bundle tells it to people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from rewrite.bundle import Bundle
from rewrite.decision import rewrite_id
from rewrite.gate import Evidence, Verdict

#: (source, token, target) of entries; the target is None where the source is left alone.
Known = frozenset[tuple[str, str, str | None]]


@dataclass(frozen=True, slots=True)
class ContextEntry:
    """What to do with a text under a token. Texts are canonical; `target` is None where it is left alone."""

    source: str
    token: str
    target: str | None
    verdict: Verdict
    evidence: Evidence
    matters: float  # P(the token makes the difference)
    strength: float  # by how much, in log-odds of success or of the target
    without: float  # success of the source without the token

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What makes an entry."""
        return self.source, self.token, self.target


CONTEXT_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("token", pa.string()),
        ("rewrite", pa.string()),  # the target as it is most often written; null: left alone
        ("target", pa.string()),
        ("rewrite_id", pa.string()),
        ("reason", pa.string()),
        ("chance", pa.float64()),
        ("matters", pa.float64()),
        ("strength", pa.float64()),
        ("alone", pa.float64()),
        ("alone_without", pa.float64()),
        ("rewritten", pa.float64()),
        ("margin", pa.float64()),
        ("share", pa.float64()),
        ("source_users", pa.int64()),
        ("source_turns", pa.float64()),
        ("source_success", pa.float64()),
        ("route_users", pa.int64()),
        ("served_turns", pa.float64()),
        ("served_success", pa.float64()),
    ]
)


def context_records(entries: Sequence[ContextEntry], surface: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """The entries as rows of CONTEXT_SCHEMA; shares to six digits, so that the text is stable."""
    for each in entries:
        seen, verdict, target = each.evidence, each.verdict, each.target
        row: dict[str, object] = {
            "source": each.source,
            "token": each.token,
            "rewrite": None if target is None else surface.get(target, target),
            "target": target,
            "rewrite_id": None if target is None else rewrite_id(each.source, target),
            "reason": verdict.reason.value,
            "chance": verdict.chance,
            "matters": each.matters,
            "strength": each.strength,
            "alone": verdict.alone,
            "alone_without": each.without,
            "rewritten": verdict.rewritten,
            "margin": verdict.rewritten_lower - verdict.alone_upper,
            **{name: getattr(seen, name) for name in _SHOWN},
        }
        yield {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}


_SHOWN = (
    "share", "source_users", "source_turns", "source_success", "route_users", "served_turns", "served_success",
)  # fmt: skip


def entries_before(earlier: Bundle) -> Known:
    """The entries of an earlier bundle; none where it was made before there were any."""
    if not (earlier.path / "contexts.parquet").exists():
        return frozenset()
    return frozenset((row["source"], row["token"], row["target"]) for row in earlier.rewrites("contexts"))
