"""Annotated turns to judge by. `gold.rewrite` of a turn says what it is:

texts        an opportunity: the engine should put one of them in its place
empty list   a guardrail: the engine must leave it alone
absent       not measured, and counted as such

Gold that contradicts itself is not measured either; it is counted, and the first such turns are told with the fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum

from dialogue.canonical import Canonicaliser
from dialogue.errors import TooManyRejects
from dialogue.reader import LogReader, PathLike, read_log
from dialogue.turn import Gold, Turn
from eval.errors import CaseError

#: By which texts count as equal: the engine's own forms may differ, a judge's may not.
CANONICAL = Canonicaliser()

#: Contradictions that are told in words.
TOLD = 5

_KNOWN = frozenset(each.name for each in fields(Gold)) - {"annotated"}


class Kind(StrEnum):
    """What a case asks of the engine."""

    OPPORTUNITY = "opportunity"
    GUARDRAIL = "guardrail"


@dataclass(frozen=True, slots=True)
class Case:
    """One turn, and the texts that a correct rewrite of it may have; none where it must be left alone."""

    turn: Turn
    accepted: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        return Kind.OPPORTUNITY if self.accepted else Kind.GUARDRAIL

    @classmethod
    def from_turn(cls, turn: Turn) -> Case | None:
        """The case that a turn's gold makes of it, or None where gold does not speak of rewriting.

        Raises CaseError where gold contradicts itself or has a field that the format does not know.
        """
        if turn.gold is None:
            return None
        unknown = sorted(turn.gold.annotated - _KNOWN)
        if unknown:
            raise _broken(turn, f"has the unknown field {unknown[0]!r}", f"known are {', '.join(sorted(_KNOWN))}")
        if turn.gold.rewrite is None:
            return None
        _refuse_contradiction(turn, turn.gold.rewrite)
        said = CANONICAL(turn.said)
        return cls(turn, tuple(text for text in turn.gold.rewrite if CANONICAL(text) != said))


class CaseReader:
    """Iterating gives the cases of annotated logs, one by one.

    As it goes, `turns` counts all of them, `unmeasured` those without `gold.rewrite`, and `contradictory` those whose
    gold contradicts itself; `contradictions` are the first of these in words.
    """

    def __init__(self, log: LogReader) -> None:
        self.log = log
        self._start()

    def _start(self) -> None:
        self.turns = self.unmeasured = self.contradictory = 0
        self.contradictions: list[str] = []

    def __iter__(self) -> Iterator[Case]:
        self._start()
        for turn in self._turns():
            self.turns += 1
            try:
                case = Case.from_turn(turn)
            except CaseError as error:
                self.contradictory += 1
                self.contradictions += [str(error)][: TOLD - len(self.contradictions)]
                continue
            if case is None:
                self.unmeasured += 1
            else:
                yield case

    def _turns(self) -> Iterator[Turn]:
        try:
            for turns in self.log:
                yield from turns
        except TooManyRejects as error:
            report = error.report
            reasons = ", ".join(f"{reason} ({count:,})" for reason, count in report.rejected.items())
            raise CaseError(
                f"{report.rejected_records:,} of {report.records:,} records break the log format: {reasons}. A judge"
                " leaves no case out: mend them first; `rewrite check` writes each with its line and reason"
            ) from error


def read_cases(paths: PathLike | Iterable[PathLike]) -> CaseReader:
    """The cases in annotated logs (JSON Lines, also gzipped, or Parquet), streamed; not one record may be bad.

    Raises dialogue.LogError for a file that cannot be read and, while iterating, CaseError.
    """
    return CaseReader(read_log(paths, limit=0.0, keep_gold=True))


def _refuse_contradiction(turn: Turn, accepted: tuple[str, ...]) -> None:
    said = CANONICAL(turn.said)
    for text in accepted:
        if not CANONICAL(text):
            raise _broken(turn, f"accepts {text!r}, which says nothing", "name a request, or give an empty list")
    if accepted and all(CANONICAL(text) == said for text in accepted):
        raise _broken(
            turn,
            f"accepts only {accepted[0]!r}, which is what was said",
            "where the turn must be left alone, give an empty list",
        )
    if accepted and turn.gold and turn.gold.success:
        raise _broken(
            turn,
            f"has success true, and accepts {accepted[0]!r} all the same",
            "a turn that gave the user what they wanted has an empty list, or none",
        )


def _broken(turn: Turn, fault: str, remedy: str) -> CaseError:
    return CaseError(f"turn {turn.turn_id}: gold {fault}: {remedy}")
