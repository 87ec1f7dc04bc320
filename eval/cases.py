"""Annotated turns to judge by. `gold.rewrite` of a turn says what it is:

texts        an opportunity: the engine should put one of them in its place
empty list   a guardrail: the engine must leave it alone
absent       not measured, and counted as such

That is judging by accepted texts. By interpretation, `gold.frame` takes the place of `gold.rewrite`, and what NLU makes
of the request left alone says whether it is an opportunity; by simulated outcome every turn is a case.

Gold that contradicts itself, or has a field that is not known, is not measured either; it is counted, and the first
such turns are told with the fault. A turn that comes again, with the same turn_id, is counted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum

from dialogue.canonical import Canonicaliser
from dialogue.errors import TooManyRejects
from dialogue.reader import LogReader, PathLike, read_log
from dialogue.turn import FailurePoint, Gold, Turn
from eval.errors import CaseError, UnknownGold

#: By which texts count as equal: the engine's own forms may differ, a judge's may not.
CANONICAL = Canonicaliser()

#: Contradictions that are told in words.
TOLD = 5

_KNOWN = frozenset(each.name for each in fields(Gold)) - {"annotated"}


class Judging(StrEnum):
    """What wins and losses are judged by."""

    TEXTS = "accepted texts"
    FRAMES = "interpretation"
    OUTCOMES = "simulated outcome"


class Kind(StrEnum):
    """What a case asks of the engine."""

    OPPORTUNITY = "opportunity"
    GUARDRAIL = "guardrail"


@dataclass(frozen=True, slots=True)
class Case:
    """One turn, and the texts that a correct rewrite of it may have; none where it must be left alone.

    Where it is not judged by texts they are there to be read only.
    """

    turn: Turn
    accepted: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        return Kind.OPPORTUNITY if self.accepted else Kind.GUARDRAIL

    @classmethod
    def from_turn(cls, turn: Turn, by: Judging = Judging.TEXTS) -> Case | None:
        """The case that a turn's gold makes of it, or None where gold does not say what it is judged by.

        Raises CaseError where gold contradicts itself or has a field that the format does not know.
        """
        gold = turn.gold
        if gold is None:
            return cls(turn, ()) if by is Judging.OUTCOMES else None
        unknown = sorted(gold.annotated - _KNOWN)
        if unknown:
            fault = f"has the unknown field {unknown[0]!r}"
            raise UnknownGold(_words(turn, fault, f"known are {', '.join(sorted(_KNOWN))}"))
        _refuse_contradiction(turn, gold)
        wanted = {Judging.TEXTS: gold.rewrite, Judging.FRAMES: gold.frame, Judging.OUTCOMES: gold}[by]
        if wanted is None:
            return None
        said = CANONICAL(turn.said)
        return cls(turn, tuple(text for text in gold.rewrite or () if CANONICAL(text) != said))


class CaseReader:
    """Iterating gives the cases of annotated logs, one by one.

    As it goes, `turns` counts all of them, `unmeasured` those whose gold does not say what they are judged by,
    `contradictory` those whose gold contradicts itself, `unknown_gold` those whose gold has a field that is not known,
    and `repeated` those that came before, with the same turn_id: they are counted once. `contradictions` are the first
    of the contradictory and the unknown in words.
    """

    def __init__(self, log: LogReader, by: Judging = Judging.TEXTS) -> None:
        self.log = log
        self.by = by
        self._start()

    def _start(self) -> None:
        self.turns = self.unmeasured = self.contradictory = self.unknown_gold = self.repeated = 0
        self.contradictions: list[str] = []

    def __iter__(self) -> Iterator[Case]:
        self._start()
        seen: set[int] = set()  # hashes: 8 bytes a turn
        for turn in self._turns():
            self.turns += 1
            if (name := hash(turn.turn_id)) in seen:
                self.repeated += 1
                continue
            seen.add(name)
            try:
                case = Case.from_turn(turn, self.by)
            except CaseError as error:
                unknown = isinstance(error, UnknownGold)
                self.unknown_gold += unknown
                self.contradictory += not unknown
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


def read_cases(paths: PathLike | Iterable[PathLike], by: Judging = Judging.TEXTS) -> CaseReader:
    """The cases in annotated logs (JSON Lines, also gzipped, or Parquet), streamed; not one record may be bad.

    Raises dialogue.LogError for a file that cannot be read and, while iterating, CaseError.
    """
    return CaseReader(read_log(paths, limit=0.0, keep_gold=True), by)


def _refuse_contradiction(turn: Turn, gold: Gold) -> None:
    said, accepted = CANONICAL(turn.said), gold.rewrite or ()
    for text in accepted:
        if not CANONICAL(text):
            raise _broken(turn, f"accepts {text!r}, which says nothing", "name a request, or give an empty list")
    if accepted and all(CANONICAL(text) == said for text in accepted):
        raise _broken(
            turn,
            f"accepts only {accepted[0]!r}, which is what was said",
            "where the turn must be left alone, give an empty list",
        )
    if accepted and gold.success:
        raise _broken(
            turn,
            f"has success true, and accepts {accepted[0]!r} all the same",
            "a turn that gave the user what they wanted has an empty list, or none",
        )
    if gold.success is not None and gold.failure_point and gold.success != (gold.failure_point is FailurePoint.CORRECT):
        told = f"has success {str(gold.success).lower()}, and failure_point {gold.failure_point.value!r}"
        raise _broken(turn, told, "a success is 'correct', and nothing else is")


def _broken(turn: Turn, fault: str, remedy: str) -> CaseError:
    return CaseError(_words(turn, fault, remedy))


def _words(turn: Turn, fault: str, remedy: str) -> str:
    return f"turn {turn.turn_id}: gold {fault}: {remedy}"
