"""What came of one or two detectors on annotated dialogues, told to programs and to people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from eval.detect import Comparison, Figure, Figures, as_dict
from eval.detection import Credit
from eval.rephrases import Dialogues, Truth
from eval.wording import NOT_MEASURED, counted, share_text

#: Name -> what people read, and what it is a share of.
LABELS = {
    "precision": ("Precision", "links"),
    "recall": ("Recall", "rephrases"),
    "f1": ("F1", ""),
    "average_precision": ("Average precision", "over all thresholds"),
    "recall_at_90": ("Recall, 90% precise", "at the best threshold"),
    "recall_at_95": ("Recall, 95% precise", "at the best threshold"),
    "exact_turn": ("Exact turn or none", "sources"),
    "pointing": ("Pointing", "found"),
    "kind": ("Kind", "right links"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Each detector's name and figures; the difference is the first's less the second's."""

    dialogues: Dialogues
    truth: Truth
    figures: tuple[tuple[str, Figures], ...] = ()  # none where nothing can be measured
    difference: Comparison | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        truth, dialogues = self.truth, self.dialogues
        return {
            "dialogues": {
                "turns": len(truth), "sessions": len(dialogues.sessions), "users": dialogues.users,
                "annotated": int(truth.annotated.sum()), "measured": int(truth.measured.sum()),
                "out_of_reach": truth.out_of_reach, "repeated": dialogues.repeated,
            },
            "detectors": [{"name": name, **as_dict(figures)} for name, figures in self.figures],
            "difference": as_dict(self.difference) if self.difference else None,
        }  # fmt: skip

    def tables(self) -> list[Table]:
        """A table for each detector."""
        return [_table(name, figures) for name, figures in self.figures]

    def says(self) -> list[str]:
        """What else is to be known, in sentences; the last ones say which detector is ahead."""
        if fault := unmeasured(self.truth):
            return [f"No figures: {fault}."]
        return [*self._measured(), *self._left_out(), *self._verdicts()]

    def _measured(self) -> Iterator[str]:
        first, read = self.figures[0][1], self.dialogues
        turns = f"{first.sources:,} of {counted(len(self.truth), 'turn')}"
        yield f"Measured are {turns} ({counted(read.users, 'user')}, {counted(len(read.sessions), 'session')})."
        why = "" if first.by == "user" else ", as there are too few users"
        yield f"Intervals draw whole {first.by}s{why}: {counted(first.clusters, first.by)} with a measured source."
        if first.credit is Credit.SOURCE:
            yield "Right is that there is a rephrase, whichever turn is named; the last three figures want the turn."

    def _left_out(self) -> Iterator[str]:
        for name, figures in self.figures:
            if figures.unjudged:
                links = counted(figures.unjudged, "link names a turn", "links name turns")
                yield f"{name}: {links} without annotation: unjudged, and taken as no link."
        if self.truth.out_of_reach:
            turns = counted(self.truth.out_of_reach, "turn names", "turns name")
            yield f"{turns} in gold.rephrase_of no turn before it in its session: out of reach, and no rephrase."
        if self.dialogues.repeated:
            yield f"{counted(self.dialogues.repeated, 'record')} with a turn_id that came before: counted once."

    def _verdicts(self) -> Iterator[str]:
        if self.difference:
            (first, _), (second, _) = self.figures
            yield _verdict(first, second, "F1", self.difference.f1)
            yield _verdict(first, second, "average precision", self.difference.average_precision)


def unmeasured(truth: Truth) -> str | None:
    """Why there is nothing to measure by, if so."""
    if truth.measured.any():
        return None
    turns = counted(len(truth), "turn")
    if not truth.annotated.any():
        return f"none of {turns} has gold.rephrase_of, so nothing says which turns are rephrases: annotate some"
    return (
        f"{int(truth.annotated.sum()):,} of {turns} are annotated, but no turn has enough annotated turns right after"
        " it in its session to be known to have a rephrase or none: see session_id, --session-gap and --reach"
    )


def _table(name: str, figures: Figures) -> Table:
    title = (
        f"{name} at threshold {figures.threshold:.3g}: {counted(figures.sources, 'source')},"
        f" {figures.rephrases:,} with a rephrase, {counted(figures.links, 'link')} made"
    )
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column("")
    for column in ("figure", "95% interval"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("of")
    for key, (label, whole) in LABELS.items():
        figure: Figure = getattr(figures, key)
        count = f"{figure.share.part:,} of {figure.share.whole:,} " if figure.share else ""
        value = NOT_MEASURED if figure.value is None else share_text(figure.value)
        table.add_row(label, value, _ends(figure), count + whole)
    return table


def _ends(figure: Figure) -> str:
    return f"{share_text(figure.interval.low)} to {share_text(figure.interval.high)}" if figure.interval else ""


def _verdict(first: str, second: str, label: str, figure: Figure) -> str:
    """Which of the two is ahead, if the interval excludes zero."""
    what, ends = f"{first} less {second}, {label}", figure.interval
    if figure.value is None:
        return f"{what}: {NOT_MEASURED}."
    points = f"{100 * figure.value:+.1f} points"
    if ends is None:
        return f"{what}: {points}, without an interval: nothing tells how users differ."
    ahead = "ahead" if ends.low > 0 else "behind" if ends.high < 0 else ""
    said = f"{first} is {ahead}" if ahead else "the interval holds zero, so neither is ahead"
    return f"{what}: {points} (95%: {100 * ends.low:+.1f} to {100 * ends.high:+.1f}): {said}."
