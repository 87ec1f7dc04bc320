"""Contextual rewrites: a text that fails in one context and works in another, or is meant otherwise there.

For each text and each token (`dialogue.context_tokens`) that enough users said it under, the gate (`rewrite.gate`)
judges the turns that carry the token, and the steps that followed them, as it judges all turns of a text. What it
keeps becomes an entry (source, token) -> target where

1. the table, which knows no contexts, does not serve that target anyway;
2. the token matters: the source succeeds less often with it than without, or more of those whom it does not serve mean
   this target. Every token of every text is a test, and most tokens matter to nobody: so those that matter are found
   among all with a false discovery rate (Benjamini & Hochberg, "Controlling the False Discovery Rate", 1995), and each
   with a probability of MATTERS at least;
3. no stronger entry of the same source and target explains it: where ovens are mostly on in the evening, the evening
   seems to matter; of the evenings with the oven off the text works;
4. the expected share of those that are no better than the alternative stays within bounds (`rewrite.discoveries`), as
   in the table; one that was on before stays on down to `keep_confidence`.

An entry without a target says: leave the text alone under this token. It is there for sources that the table, or an
entry, rewrites elsewhere: where the text surely works, or the table's rewrite is surely no better.

Departures from the table's gate: steps are followed once (with the share of those for whom the next text was the last
word), not along the whole chain; and nothing is on trial.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from rewrite.config import GateConfig
from rewrite.context_counts import WITHOUT, context_cell_steps, context_cells, count_contexts
from rewrite.context_entries import ContextEntry, Known
from rewrite.context_evidence import Counted, Key, Row, logit, meant_of, success_of
from rewrite.discoveries import surest
from rewrite.execution import MICRO, Execution
from rewrite.gate import Arms, Evidence, GateReason, Verdict, judge, lower_bound, settled
from rewrite.graph import Graph
from rewrite.guards import strays, table_guard
from rewrite.mining import Candidate
from rewrite.posterior import exceeds

#: Probability, of either of two tests, from which a token matters; half of what one test of 0.95 leaves.
MATTERS = 0.975
#: Targets of each text and token that are judged, those that most went on to first.
TARGETS_TRIED = 2
#: A share of success, or of steps, on turns that a stronger entry does not cover, from which an entry is explained.
EXPLAINED = 0.5
#: Fewer turns than this, of those that a stronger entry does not cover, explain nothing.
LEAST_LEFT = 0.5


def mine_contexts(
    tables: Execution, gate: GateConfig, graph: Graph | None, table: Sequence[Candidate], before: Known = frozenset()
) -> list[ContextEntry]:
    """The entries, in order of source and token. `table` is what is on without contexts, `before` what was on."""
    for _ in count_contexts(tables, gate, [each.source for each in table]):
        pass
    counted = Counted.read(tables, graph)
    served = {each.source: each.target for each in table}
    found = [each for each in _judged(counted, gate, before) if served.get(each.source) != each.target]
    found = [each for each in found if each.target not in served]
    alone = _left_alone(counted, gate, served, {each.source for each in found})
    found = _one_each([*found, *alone])
    found = _unexplained(tables, gate, counted, found)
    return sorted(_surest(found, before, gate), key=lambda each: (each.source, each.token))


def _judged(counted: Counted, gate: GateConfig, before: Known) -> list[ContextEntry]:
    """The pairs that the gate and the guards keep under a token that matters."""
    pairs = [
        (source, token, target)
        for source, token in counted.sides
        if not token.startswith(WITHOUT)
        for target in _targets(counted, source, token)
    ]
    evidence = [counted.evidence(*pair) for pair in pairs]
    entries = _entries(counted, pairs, evidence, judge(evidence, gate))
    tests = [each for each in entries if each.verdict.reason is not GateReason.TOO_FEW_USERS]
    real = _real([each.matters for each in tests], gate)
    found = [each for each, well in zip(tests, real, strict=True) if well and each.verdict.kept and _fits(each)]
    new = {each.key for each in found}
    held = [each for each in entries if each.key in before and each.key not in new and _holds(each, gate)]
    return [*found, *(replace(each, verdict=replace(each.verdict, reason=GateReason.HELD)) for each in held)]


def _real(matters: Sequence[float], gate: GateConfig) -> list[bool]:
    """Rule 2: whether each token matters, where two tests could say so, and of so many tokens."""
    p = np.minimum(2.0 * (1.0 - np.array(matters, np.float64)), 1.0)
    order = np.argsort(p, kind="stable")
    below = np.flatnonzero(p[order] <= gate.false_discoveries * np.arange(1, len(p) + 1) / max(len(p), 1))
    real = np.zeros(len(p), np.bool_)
    real[order[: below[-1] + 1 if len(below) else 0]] = True
    return [bool(sure) and chance >= MATTERS for chance, sure in zip(matters, real, strict=True)]


def _holds(each: ContextEntry, gate: GateConfig) -> bool:
    """Whether an entry that was on stays on."""
    assert each.target is not None
    able = each.verdict.reason in _OPEN and table_guard(each.source, each.target) is None
    return able and each.verdict.chance >= gate.keep_confidence


_OPEN = frozenset({GateReason.KEPT, GateReason.NOT_BETTER, GateReason.OFTEN_WRONG})


def _fits(each: ContextEntry) -> bool:
    """What the guards say of the words, and whether evidence settles what words cannot."""
    assert each.target is not None
    if table_guard(each.source, each.target) is not None:
        return False
    return settled(each.evidence) or not strays(each.source, each.target)


def _targets(counted: Counted, source: str, token: str) -> list[str]:
    """What to judge for a text under a token: of each meaning, the text that most went on to."""
    best: dict[str, Row] = {}
    for text, step in counted.steps.get((source, token), {}).items():
        meant = counted.of(text)
        if text == source or text not in counted.texts or counted.same(source, text):
            continue
        if meant not in best or (-step["weight"], text) < (-best[meant]["weight"], best[meant]["next_said"]):
            best[meant] = step
    ranked = sorted(best.values(), key=lambda step: (-step["weight"], step["next_said"]))
    return [step["next_said"] for step in ranked[:TARGETS_TRIED]]


def _entries(
    counted: Counted,
    pairs: Sequence[tuple[str, str, str]],
    evidence: Sequence[Evidence],
    verdicts: Sequence[Verdict],
) -> list[ContextEntry]:
    """The pairs with what the token has to do with it."""
    if not pairs:
        return []
    alone, elsewhere = (success_of(counted, pairs, side) for side in ("", WITHOUT))
    meant, meant_elsewhere = (meant_of(counted, pairs, side) for side in ("", WITHOUT))
    matters = np.maximum(exceeds(elsewhere, alone), exceeds(meant, meant_elsewhere))
    strength = np.maximum(logit(elsewhere) - logit(alone), logit(meant) - logit(meant_elsewhere))
    rows = zip(
        pairs, verdicts, evidence, matters.tolist(), strength.tolist(), elsewhere.mean.tolist(), strict=True
    )
    return [ContextEntry(*pair, *more) for pair, *more in rows]


def _unexplained(
    tables: Execution, gate: GateConfig, counted: Counted, found: list[ContextEntry]
) -> list[ContextEntry]:
    """Rule 3: the entries of each source, the strongest first, that hold where no stronger one does."""
    schema = pa.schema([pa.field("said", pa.string(), nullable=False)])
    names = [{"said": each} for each in sorted({each.source for each in found})]
    tables.write("contextual", iter([pa.RecordBatch.from_pylist(names, schema=schema)]), schema)
    turns, steps = (_by_text(tables.table(sql(gate))) for sql in (context_cells, context_cell_steps))
    kept: dict[str, list[ContextEntry]] = {}
    for each in sorted(found, key=lambda each: (each.source, -each.strength, each.token, each.target or "")):
        stronger = kept.setdefault(each.source, [])
        others = {other.token for other in stronger if other.target == each.target}
        if not _explained(each, others, counted, turns.get(each.source, []), steps.get(each.source, [])):
            stronger.append(each)
    return [each for entries in kept.values() for each in entries]


def _by_text(table: pa.Table) -> dict[str, list[Row]]:
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in table.to_pylist():
        rows[row["said"]].append({**row, "tokens": frozenset(row["context"].split("\n"))})
    return rows


def _explained(
    each: ContextEntry, others: set[str], counted: Counted, turns: Sequence[Row], steps: Sequence[Row]
) -> bool:
    """Whether, of the turns that carry the token and none of the others, most speak against the entry.

    `others` are the tokens of stronger entries to the same target.
    """
    if not others:
        return False
    left = [row for row in turns if each.token in row["tokens"] and not row["tokens"] & others]
    weight, success = (float(sum(row[name] for row in left)) / MICRO for name in ("weight", "success"))
    if weight < LEAST_LEFT:
        return False
    if each.target is None:
        return success < EXPLAINED * weight
    on = [row for row in steps if each.token in row["tokens"] and not row["tokens"] & others]
    moved = float(sum(row["weight"] for row in on))
    there = float(sum(row["weight"] for row in on if counted.of(row["next_said"]) == counted.of(each.target)))
    return success >= EXPLAINED * weight or (moved > 0 and there < EXPLAINED * moved)


def _one_each(found: Sequence[ContextEntry]) -> list[ContextEntry]:
    """One verdict for each source and token: of two targets the likelier to work, and any before none."""
    best: dict[Key, ContextEntry] = {}
    for each in found:
        other = best.get((each.source, each.token))
        better = other is None or (each.target is not None and each.verdict.rewritten > other.verdict.rewritten)
        if better:
            best[each.source, each.token] = each
    return list(best.values())


def _surest(found: list[ContextEntry], before: Known, gate: GateConfig) -> list[ContextEntry]:
    """Rule 4: what was on before is no find."""
    new = np.array([each.key not in before for each in found], np.bool_)
    chance = np.array([each.verdict.chance for each in found], np.float64)
    sure = surest(chance, new, gate.false_discoveries)
    return [each for each, fresh, well in zip(found, new.tolist(), sure.tolist(), strict=True) if well or not fresh]


def _left_alone(
    counted: Counted, gate: GateConfig, served: Mapping[str, str], contextual: set[str]
) -> list[ContextEntry]:
    """Tokens under which a text that is rewritten elsewhere works, or the table's rewrite is no better."""
    pairs = [
        (source, token, served.get(source, source))
        for source, token in counted.sides
        if not token.startswith(WITHOUT) and (source in served or source in contextual)
        and counted.sides[source, token]["users"] >= gate.min_users
    ]  # fmt: skip
    if not pairs:
        return []
    evidence = [counted.evidence(*pair) for pair in pairs]
    no_better = 1.0 - Arms.of(evidence, replace(gate, margin=0.0)).better
    alone, elsewhere = (success_of(counted, pairs, side) for side in ("", WITHOUT))
    turns = np.array([each.source_turns for each in evidence])
    success = np.array([each.source_success for each in evidence])
    works = lower_bound(success, turns, gate.confidence) >= gate.good_floor
    matters = exceeds(alone, elsewhere)
    listed = [source in served for source, _, _ in pairs]
    chance = np.where(works, 1.0, np.where(listed, no_better, 0.0))
    strength = logit(alone) - logit(elsewhere)
    columns = (chance, matters, strength, alone.mean, elsewhere.mean)
    rows = zip(pairs, evidence, *(each.tolist() for each in columns), strict=True)
    found = [
        ContextEntry(source, token, None, _alone(sure, rate), seen, because, much, without)
        for (source, token, _), seen, sure, because, much, rate, without in rows
    ]
    real = _real(matters.tolist(), gate)
    return [each for each, well in zip(found, real, strict=True) if well and each.verdict.chance >= gate.confidence]


def _alone(chance: float, rate: float) -> Verdict:
    return Verdict(GateReason.GOOD_ALREADY, rate, rate, rate, rate, chance)
