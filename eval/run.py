"""Puts every case to an engine and counts: cases are streamed, only counters and the first examples are kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from dialogue.turn import Context
from eval.cases import Case, CaseReader
from eval.errors import CaseError
from eval.measures import Tally, bootstrap_by_user
from eval.report import Report
from eval.verdict import LOSSES, Judged, Verdict, judge
from rewrite import Decision, RewriteEngine

#: Losses, and as many misses, that a report tells in full.
EXAMPLES = 20


class Rewriter(Protocol):
    """What is judged: an engine, a baseline, or a fake."""

    def rewrite(self, text: str, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> Decision:
        """What to send to NLU for `text`."""


def run(
    engine: Rewriter | str | Path,
    cases: Iterable[Case],
    *,
    examples: int = EXAMPLES,
    seed: int = 0,
    told: Callable[[Judged], None] | None = None,
) -> Report:
    """Judges an engine, or the bundle at a path, on cases; `told` hears of each as it is judged.

    Raises CaseError where there is no case, and rewrite.BundleError for a path without a sound bundle.
    """
    engine = RewriteEngine.load(engine) if isinstance(engine, str | Path) else engine
    count = _Count(examples)
    for case in cases:
        judged = judge(case, engine.rewrite(case.turn.said, case.turn.user_id, _plain(case.turn.context)))
        count.add(judged)
        if told is not None:
            told(judged)
    reader = cases if isinstance(cases, CaseReader) else None
    unmeasured = reader.unmeasured if reader else 0
    if not count.verdicts and reader and reader.contradictions:
        raise CaseError(f"no case can be measured: {'; '.join(reader.contradictions)}")
    if not count.verdicts:
        raise CaseError(
            f"none of {unmeasured:,} turns has gold.rewrite, so there is nothing to measure: list the texts that a"
            " correct rewrite may have, or give an empty list where the turn must be left alone"
        )
    report = count.report(unmeasured, seed)
    if reader is None:
        return report
    return replace(report, contradictory=reader.contradictory, contradictions=tuple(reader.contradictions))


class _Count:
    """What a run keeps of the cases that it has seen."""

    def __init__(self, examples: int) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.reasons: Counter[tuple[Verdict, str]] = Counter()
        self.by_user: defaultdict[str, Counter[Verdict]] = defaultdict(Counter)
        self.examples = examples
        self.losses: list[Judged] = []
        self.misses: list[Judged] = []

    def add(self, judged: Judged) -> None:
        verdict = judged.verdict
        self.verdicts[verdict] += 1
        self.reasons[verdict, judged.decision.reason.value] += 1
        self.by_user[judged.case.turn.user_id][verdict] += 1
        kept = self.losses if verdict in LOSSES else self.misses if verdict is Verdict.MISSED else None
        if kept is not None and len(kept) < self.examples:
            kept.append(judged)

    def report(self, unmeasured: int, seed: int) -> Report:
        users = [Tally.from_counts(counts) for counts in self.by_user.values()]
        return Report(
            tally=Tally.from_counts(self.verdicts),
            users=len(users),
            unmeasured=unmeasured,
            bootstrap=bootstrap_by_user([(user.wins, user.losses) for user in users], seed=seed),
            reasons=dict(sorted(self.reasons.items())),
            losses=tuple(self.losses),
            misses=tuple(self.misses),
        )


def _plain(context: Context | None) -> dict[str, Any] | None:
    """The context as an engine is given it: plain values, without what is not known."""
    if context is None:
        return None
    return {name: value for name, value in asdict(context).items() if value is not None}
