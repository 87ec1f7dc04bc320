"""Who judges: the accepted texts of gold, an interpreter, or a simulation.

texts     a served text is right where gold accepts it
frames    a text works where NLU understands it as gold does, so that other words for the same wish are right too
outcomes  a text works where a callable says that the turn would have succeeded with it

The last two ask of the request left alone as well: it is an opportunity where that does not work, a guardrail where it
does. A case is not judged, and counted as such, where they cannot say that, whatever an engine makes of it: so every
engine is judged on the same cases. A served text that they do not know does not work.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from dialogue.reader import PathLike, read_log
from dialogue.turn import Nlu, Turn
from eval.cases import CANONICAL, Case, Judging
from eval.errors import JudgeError
from eval.verdict import Judged, Verdict, judge, triggered
from rewrite.decision import Decision

#: What a text is understood as; None where that is not known.
Interpreter = Callable[[str], Nlu | None]
#: Whether a turn would have succeeded had this text gone on to NLU; None where that is not known.
Works = Callable[[Turn, str], bool | None]


class Judge(Protocol):
    """Gives the verdict on a decision, or None where it cannot."""

    @property
    def by(self) -> Judging: ...

    def __call__(self, case: Case, decision: Decision) -> Judged | None: ...


@dataclass(frozen=True)
class TextJudge:
    """By accepted texts."""

    by: Judging = field(default=Judging.TEXTS, init=False)

    def __call__(self, case: Case, decision: Decision) -> Judged | None:
        return judge(case, decision)


@dataclass(frozen=True)
class OutcomeJudge:
    """By what would have come of it."""

    works: Works
    by: Judging = field(default=Judging.OUTCOMES, init=False)

    def __call__(self, case: Case, decision: Decision) -> Judged | None:
        return _judged(self.works, case, decision)


@dataclass(frozen=True)
class FrameJudge:
    """By interpretation: the log's own of what went to NLU in the log, else `nlu`'s."""

    nlu: Interpreter
    by: Judging = field(default=Judging.FRAMES, init=False)

    def __call__(self, case: Case, decision: Decision) -> Judged | None:
        return _judged(self._works, case, decision)

    def _works(self, turn: Turn, text: str) -> bool | None:
        wanted = turn.gold.frame if turn.gold else None
        frame = turn.nlu if turn.nlu and text == turn.text else self.nlu(text)
        return None if wanted is None or frame is None else same_frame(frame, wanted)


def same_frame(frame: Nlu, wanted: Nlu) -> bool:
    """Whether two interpretations ask for the same: intent and slots, and the domain where both name one."""
    domains = {frame.domain, wanted.domain} - {None}
    return len(domains) < 2 and frame.intent == wanted.intent and _slots(frame) == _slots(wanted)


@dataclass(frozen=True)
class RecordedNlu:
    """The interpretations that logs hold: for each canonical text the one that it most often had."""

    frames: dict[str, Nlu]

    @classmethod
    def from_logs(cls, paths: PathLike | Iterable[PathLike]) -> RecordedNlu:
        """Raises JudgeError where no turn has an interpretation."""
        seen: dict[str, Counter[Any]] = {}
        frames: dict[tuple[str, Any], Nlu] = {}
        for turn in (turn for turns in read_log(paths) for turn in turns if turn.nlu):
            assert turn.nlu
            text, key = CANONICAL(turn.text), (turn.nlu.domain, turn.nlu.intent, _slots(turn.nlu))
            seen.setdefault(text, Counter())[key] += 1
            frames.setdefault((text, key), turn.nlu)
        if not frames:
            raise JudgeError(f"no turn of {paths} has an interpretation: give a log with the field nlu")
        return cls({text: frames[text, counts.most_common(1)[0][0]] for text, counts in seen.items()})

    def __call__(self, text: str) -> Nlu | None:
        return self.frames.get(CANONICAL(text))


def load_interpreter(name: str) -> Interpreter:
    """The callable `module:function`, also of a module in the working directory. Raises JudgeError."""
    module, _, function = name.partition(":")
    if not function:
        raise JudgeError(f"--nlu came as {name!r}: module:function is wanted, such as my_nlu:interpret")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise JudgeError(f"--nlu {name} cannot be had: {error}") from error
    if not callable(found):
        raise JudgeError(f"--nlu {name} is no callable: a function of a text that gives a dialogue.Nlu is wanted")
    return _checked(name, found)


def _checked(name: str, function: Callable[[str], object]) -> Interpreter:
    def interpret(text: str) -> Nlu | None:
        frame = function(text)
        if frame is None or isinstance(frame, Nlu):
            return frame
        raise JudgeError(f"--nlu {name} gave {frame!r:.80} for {text!r}: a dialogue.Nlu or None is wanted")

    return interpret


def _judged(works: Works, case: Case, decision: Decision) -> Judged | None:
    before = works(case.turn, case.turn.said)
    if before is None:
        return None
    if not triggered(decision):
        return Judged(case, decision, Verdict.LEFT_ALONE if before else Verdict.MISSED)
    after = bool(works(case.turn, decision.text))
    if before:
        return Judged(case, decision, Verdict.UNHARMED if after else Verdict.FALSE_TRIGGER)
    return Judged(case, decision, Verdict.WIN if after else Verdict.WRONG)


def _slots(frame: Nlu) -> tuple[tuple[str, str], ...]:
    """Slots in order, their values in canonical text."""
    return tuple(sorted((name, CANONICAL(str(value))) for name, value in frame.slots.items() if value is not None))
