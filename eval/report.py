"""What a run found: as a document for programs and as tables for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from eval.measures import (
    LEVEL,
    Interval,
    Share,
    Tally,
    WinLoss,
    false_trigger_rate,
    precision,
    recall,
    trigger_rate,
    win_loss,
)
from eval.verdict import Judged, Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

FORMAT, VERSION = "reprise-eval", 1
NOT_MEASURED = "not measured"

SHARES = {
    "trigger_rate": trigger_rate,
    "precision": precision,
    "recall": recall,
    "false_trigger_rate": false_trigger_rate,
}
_LABELS = {
    "trigger_rate": ("Triggered", "of all cases"),
    "precision": ("Precision", "wins of triggered"),
    "recall": ("Recall", "wins of opportunities"),
    "false_trigger_rate": ("False triggers", "of guardrails"),
}


@dataclass(frozen=True)
class Report:
    """The verdicts counted, with the first losses and misses in full."""

    tally: Tally
    users: int
    unmeasured: int  # turns without gold.rewrite
    bootstrap: Interval | None  # of wins to losses, by user; None where no loss was seen
    reasons: Mapping[tuple[Verdict, str], int]  # verdict and the engine's reason -> cases
    losses: tuple[Judged, ...]
    misses: tuple[Judged, ...]
    contradictory: int = 0  # turns whose gold contradicts itself
    contradictions: tuple[str, ...] = ()  # the first of them in words

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; null stands for what was not measured and for an interval without an upper end."""
        tally = self.tally
        ratio = win_loss(tally)
        return {
            "format": FORMAT,
            "version": VERSION,
            "judged_by": "accepted texts",
            "cases": {
                "opportunities": tally.opportunities,
                "guardrails": tally.guardrails,
                "not_measured": self.unmeasured,
                "contradictory": self.contradictory,
                "users": self.users,
            },
            "verdicts": asdict(tally),
            "measures": {name: _share(measure(tally)) for name, measure in SHARES.items()}
            | {"win_loss": _ratio(ratio, self.bootstrap)},
            "reasons": [
                {"verdict": verdict.value, "reason": reason, "cases": cases}
                for (verdict, reason), cases in self.reasons.items()
            ],
            "losses": [judged.as_dict() for judged in self.losses],
            "misses": [judged.as_dict() for judged in self.misses],
            "contradictions": list(self.contradictions),
        }

    def as_json(self) -> str:
        """`as_dict` as a JSON document."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=1, allow_nan=False)

    def tables(self) -> Iterator[RenderableType]:
        """What a person reads: the measures, then why cases ended as they did, then losses and misses."""
        yield self._measures()
        yield self._reasons()
        for title, shown, total in (
            ("Losses", self.losses, self.tally.losses),
            ("Misses", self.misses, self.tally.missed),
        ):
            if shown:
                more = f" (the first {len(shown)} of {total:,})" if len(shown) < total else ""
                yield _examples(title + more, shown)

    def _measures(self) -> Table:
        tally = self.tally
        told = f"{tally.opportunities:,} opportunities, {tally.guardrails:,} guardrails, {self.users:,} users"
        if self.unmeasured:
            told += f"; {self.unmeasured:,} turns without gold.rewrite not measured"
        if self.contradictory:
            first = "; ".join(self.contradictions).replace("[", r"\[")
            told += f"\n{self.contradictory:,} turns not measured, since their gold contradicts itself: {first}"
        ratio = win_loss(tally)
        if not ratio.losses:
            told += f"\nWins : losses: {ratio_text(ratio)}"
        table = _table("Measures", "measure", "value", f"{LEVEL:.0%} interval", "cases", caption=told)
        for name, measure in SHARES.items():
            share, (label, meaning) = measure(tally), _LABELS[name]
            table.add_row(f"{label} ({meaning})", *_share_cells(share))
        counts = f"{ratio.wins:,} : {ratio.losses:,}"
        table.add_row("Wins : losses", _ratio_cell(ratio), _interval_text(ratio.interval, "{:.1f}"), counts)
        if self.bootstrap:
            table.add_row("  the same, users resampled", "", _interval_text(self.bootstrap, "{:.1f}"), "")
        return table

    def _reasons(self) -> Table:
        table = _table("Verdicts by the engine's reason", "verdict", "reason", "cases")
        for (verdict, reason), cases in sorted(self.reasons.items(), key=lambda item: (item[0][0], -item[1])):
            table.add_row(verdict.value, reason, f"{cases:,}")
        return table


def ratio_text(ratio: WinLoss) -> str:
    """The ratio in words where it is no number."""
    if ratio.value is None:
        return f"{NOT_MEASURED}: nothing was triggered"
    if ratio.interval and math.isinf(ratio.value):
        return f"no losses seen in {ratio.wins:,}, lower bound {ratio.interval.low:.1f}"
    return f"{ratio.value:.1f}"


def _share(share: Share) -> dict[str, Any]:
    return {"value": share.value, "interval": _ends(share.interval), "part": share.part, "whole": share.whole}


def _ratio(ratio: WinLoss, bootstrap: Interval | None) -> dict[str, Any]:
    return {
        "value": _finite(ratio.value),
        "interval": _ends(ratio.interval),
        "interval_method": "Jeffreys, mapped to odds",
        "interval_by_user": _ends(bootstrap),
        "wins": ratio.wins,
        "losses": ratio.losses,
        "says": ratio_text(ratio),
    }


def _ends(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [_finite(end) for end in interval]


def _finite(number: float | None) -> float | None:
    return None if number is None or math.isinf(number) else number


def _share_cells(share: Share) -> tuple[str, str, str]:
    if share.value is None:
        return NOT_MEASURED, "", "none"
    return f"{share.value:.1%}", _interval_text(share.interval, "{:.1%}"), f"{share.part:,} of {share.whole:,}"


def _ratio_cell(ratio: WinLoss) -> str:
    if ratio.value is None:
        return NOT_MEASURED
    return ratio_text(ratio) if ratio.losses else "no losses seen"


def _interval_text(interval: Interval | None, form: str) -> str:
    if interval is None:
        return ""
    if math.isinf(interval.high):
        return form.format(interval.low) + " or more"
    return " to ".join(form.format(end) for end in interval)


def _examples(title: str, shown: Sequence[Judged]) -> Table:
    from rich.text import Text

    table = _table(title, "turn", "said", "served", "wanted", "why")
    for judged in shown:
        turn, reason = judged.case.turn, judged.decision.reason.value
        cells = (turn.turn_id, turn.said, _served(judged), _wanted(judged.case.accepted), reason)
        table.add_row(*map(Text, cells))  # texts of a log are shown as they are, not read as markup
    return table


def _wanted(accepted: Sequence[str]) -> str:
    if not accepted:
        return "left alone"
    return accepted[0] + (f" (or {len(accepted) - 1} more)" if len(accepted) > 1 else "")


def _served(judged: Judged) -> str:
    """The rewrite, or what came nearest."""
    if judged.verdict is not Verdict.MISSED:
        return judged.decision.text
    nearest = judged.decision.alternatives[:1]
    return f"(left alone; near: {nearest[0].text})" if nearest else "(left alone)"


def _table(title: str, *columns: str, caption: str | None = None) -> Table:
    from rich.table import Table

    return Table(*columns, title=title, caption=caption, title_justify="left", caption_justify="left")
