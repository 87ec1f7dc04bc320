"""Puts every case to an engine, and to whatever it is compared with, in one pass; cases are streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from dialogue.turn import Context
from eval.baselines.ladder import Ladder
from eval.cases import CANONICAL, Case, CaseReader, Judging
from eval.comparison import Paired
from eval.count import Count, Users
from eval.errors import CaseError
from eval.harm import Harm, harm_of
from eval.judges import Judge, TextJudge
from eval.known import Known
from eval.overlap import Overlap
from eval.report.document import EXAMPLES, Report, Rung
from eval.rewriter import Rewriter
from eval.slices import Field
from eval.systems import peak_memory
from eval.verdict import LOSSES, Judged
from eval.wording import short
from rewrite import RewriteEngine

#: Letters of a fault of gold that are told.
CUT = 500


def run(
    engine: Rewriter | str | Path,
    cases: Iterable[Case],
    *,
    judge: Judge | None = None,
    known: Known | None = None,
    known_there: Known | None = None,
    against: Rewriter | str | Path | None = None,
    ladder: Ladder | None = None,
    fields: Sequence[Field] = (),
    examples: int = EXAMPLES,
    seed: int = 0,
    names: tuple[str, str] = ("the bundle", "the other"),
    told: Callable[[Judged], None] | None = None,
) -> Report:
    """Judges an engine, or the bundle at a path, on cases; `told` hears of each as it is judged.

    `known` is what the bundle knew before: with it the cases are checked for leaks, and losses for other users' data.
    `known_there` is the same of `against`: rows that were mixed up in one table show by the other.
    `names` are those of the engine and of the one it is compared with, for the report.

    Raises CaseError where there is no case, and rewrite.BundleError for a path without a sound bundle.
    """
    judge, users = judge or TextJudge(), Users()
    this = _Arm(_engine(engine), Count(users, fields, examples, seed))
    other = None if against is None else _Arm(_engine(against), Count(users, fields, examples, seed))
    simpler = ladder.rungs if ladder else ()
    rungs = [_Arm(each, Count(users)) for each in simpler]
    paired = Paired(names[1], users, other.count, examples) if other else None
    overlap = None if known is None else Overlap.with_known(known)
    begun = perf_counter()
    for number, case in enumerate(cases):
        pair = [arm for arm in (this, other) if arm]
        for arm in pair if number % 2 else reversed(pair):  # neither is always the one that warms the caches
            arm.decide(case, judge, known, known_there)
        for rung in rungs:
            rung.decide(case, judge, None)
        if overlap is not None and known is not None:
            overlap.add(case.turn, known)
        if this.judged is None:
            continue
        if paired and other and other.judged:
            paired.add(this.judged, other.judged)
        if told is not None:
            told(this.judged)
    _refuse_nothing(this.count, cases, judge.by)
    report = Report.from_counts(
        this.count,
        judged_by=judge.by,
        unmeasured=cases.unmeasured if isinstance(cases, CaseReader) else 0,
        paired=paired,
        rungs=[Rung(each.name, each.told, arm.count) for each, arm in zip(simpler, rungs, strict=True)],
        absent=ladder.absent if ladder else {},
        overlap=overlap,
        seconds=perf_counter() - begun,
        memory=peak_memory(),
        names=names,
        seed=seed,
    )
    if not isinstance(cases, CaseReader):
        return report
    return replace(
        report,
        contradictory=cases.contradictory,
        unknown_gold=cases.unknown_gold,
        repeated=cases.repeated,
        contradictions=tuple(short(each, CUT) for each in cases.contradictions),
    )


@dataclass
class _Arm:
    """An engine, its counts, and the verdict on the case at hand."""

    engine: Rewriter
    count: Count
    judged: Judged | None = None

    def decide(self, case: Case, judge: Judge, known: Known | None, there: Known | None = None) -> None:
        turn, context = case.turn, _plain(case.turn.context)
        begun = perf_counter()
        decision = self.engine.rewrite(turn.said, turn.user_id, context)
        self.count.time(decision.reason.value, perf_counter() - begun)
        self.judged = judge(case, decision)
        if self.judged is None:
            self.count.unjudged += 1
            return
        self.judged = replace(self.judged, harm=_harm(self.judged, known))
        tables = [each for each in (known, there) if each is not None and self.judged.triggered]
        strayed = any(each.strays_from_table(turn.said, decision.text) for each in tables)
        self.count.add(self.judged, strayed=strayed)


def _harm(judged: Judged, known: Known | None) -> Harm | None:
    if not judged.triggered:
        return None
    turn, served = judged.case.turn, judged.decision.text
    if known is not None and known.is_anothers(turn.user_id, served):
        return Harm.OTHER_USER
    if judged.verdict not in LOSSES:
        return None
    return harm_of(CANONICAL(turn.said), CANONICAL(served), [CANONICAL(text) for text in judged.case.accepted])


def _engine(engine: Rewriter | str | Path) -> Rewriter:
    return RewriteEngine.load(engine) if isinstance(engine, str | Path) else engine


def _refuse_nothing(count: Count, cases: Iterable[Case], by: Judging) -> None:
    if count.reasons:
        return
    if count.unjudged:
        raise CaseError(
            f"none of {count.unjudged:,} cases could be judged by {by.value}: what it asks knows none of their texts"
        )
    if isinstance(cases, CaseReader) and cases.contradictions:
        raise CaseError(f"no case can be measured: {'; '.join(cases.contradictions)}")
    unmeasured = cases.unmeasured if isinstance(cases, CaseReader) else 0
    if by is Judging.FRAMES:
        raise CaseError(f"none of {unmeasured:,} turns has gold.frame, which judging by interpretation wants")
    raise CaseError(
        f"none of {unmeasured:,} turns has gold.rewrite, so there is nothing to measure: list the texts that a"
        " correct rewrite may have, or give an empty list where the turn must be left alone"
    )


def _plain(context: Context | None) -> dict[str, Any] | None:
    """The context as an engine is given it: plain values, without what is not known."""
    if context is None:
        return None
    return {name: value for name, value in asdict(context).items() if value is not None}
