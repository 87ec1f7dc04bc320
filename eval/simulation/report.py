"""What a simulation showed: a document for programs, lines by round, and tables for people."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.measures import Interval, Share, WinLoss
from eval.simulation.arms import Arm
from eval.simulation.effects import Count, Effects, Estimate
from eval.simulation.knobs import KNOBS
from eval.simulation.loop import Result

if TYPE_CHECKING:
    from rich.table import Table

FORMAT, VERSION = "reprise-simulation", 1
NOT_MEASURED = "not measured"


def as_dict(result: Result) -> dict[str, Any]:
    """Everything, as plain values. `served` is over all rounds but the first, in which nothing was learned yet."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "judged_by": "recorded outcome of what was said and of what was served",
        "seed": result.seed,
        "knobs": result.knobs.as_dict(),
        "served": {arm.value: result.effects(arm, result.served_rounds).as_dict() for arm in _served_arms(result)},
        "rounds": [
            {
                "round": each.number,
                "rewrites_in_bundle": each.rewrites,
                "arms": {arm.value: result.effects(arm, [each.number]).as_dict() for arm in result.arms},
            }
            for each in result.rounds
        ],
    }


def write(result: Result, out: Path) -> None:
    """Writes simulation.json and rounds.csv into the folder of a simulation."""
    told = json.dumps(as_dict(result), indent=1, allow_nan=False)
    (out / "simulation.json").write_text(told + "\n", encoding="utf-8")
    with open(out / "rounds.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["round", "arm", *(each.name.lower() for each in Count)])
        for each in result.rounds:
            for arm in result.arms:
                effects = result.effects(arm, [each.number])
                rows.writerow([each.number, arm.value, *(effects.total(column) for column in Count)])


def tables(result: Result) -> Iterator[Table]:
    """What a person reads: the trial, the rewrites behind it, and how it went round by round."""
    if result.served_rounds:
        yield _trial(result)
        yield _rewrites(result)
    yield _by_round(result)


def knob_table() -> Table:
    """Every knob with its unit, range, default and origin."""
    from rich.table import Table

    table = Table("knob", "default", "unit", "range", "meaning", "origin", title="Knobs", title_justify="left")
    for each in KNOBS.values():
        span = f"{each.low:g} to {each.high:g}"
        table.add_row(each.name, f"{each.default:g}", each.unit, span, each.meaning, each.origin)
    return table


def _served_arms(result: Result) -> tuple[Arm, ...]:
    return result.arms if result.served_rounds else ()


def _trial(result: Result) -> Table:
    rounds = result.served_rounds
    title = f"Defects in rounds {rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else f"Defects in round {rounds[0]}"
    table = _table(
        title, "arm", "users", "turns", "failed turns", "against control", "saved, turn by turn", "failed goals",
        "goals against control", "given up",
    )  # fmt: skip
    for arm in result.arms:
        effects = result.effects(arm, rounds)
        table.add_row(
            arm.value, f"{effects.users:,}", f"{effects.total(Count.TURNS):,}",
            _estimate(effects.defect_rate), _points(effects.difference),
            "" if arm is Arm.CONTROL else _estimate(effects.saved),
            _estimate(effects.goal_defect_rate), _points(effects.goal_difference), _estimate(effects.abandonment),
        )  # fmt: skip
    return table


def _rewrites(result: Result) -> Table:
    table = _table(
        "Rewrites", "arm", "rewritten", "wins", "losses", "vain", "harmless", "wins : losses",
        "wins : losses + vain", "false triggers", "precision",
    )  # fmt: skip
    for arm in result.arms:
        effects = result.effects(arm, result.served_rounds)
        if arm is Arm.CONTROL:
            continue
        numbers = (Count.WINS, Count.LOSSES, Count.VAIN, Count.HARMLESS)
        table.add_row(
            arm.value, f"{effects.total(Count.REWRITTEN):,}", *(f"{effects.total(each):,}" for each in numbers),
            _ratio(effects.win_loss, effects.win_loss_by_user), _ratio(effects.win_harm),
            _share(effects.false_triggers), _share(effects.precision),
        )  # fmt: skip
    return table


def _by_round(result: Result) -> Table:
    table = _table("Round by round: failed turns (wins : losses : vain)", "round", "in the table", *result.arms)
    for each in result.rounds:
        cells = [_round_cell(result.effects(arm, [each.number])) for arm in result.arms]
        table.add_row(str(each.number), f"{each.rewrites:,}", *cells)
    return table


def _round_cell(effects: Effects) -> str:
    turns = effects.total(Count.TURNS)
    told = f"{effects.total(Count.DEFECTS) / turns:.1%}" if turns else NOT_MEASURED
    if not effects.total(Count.REWRITTEN):
        return told
    return f"{told} ({':'.join(str(effects.total(each)) for each in (Count.WINS, Count.LOSSES, Count.VAIN))})"


def _estimate(estimate: Estimate) -> str:
    if estimate.value is None or estimate.interval is None:
        return NOT_MEASURED
    return f"{estimate.value:.1%} ({estimate.interval.low:.1%} to {estimate.interval.high:.1%})"


def _points(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None or estimate.interval is None:
        return ""
    low, high = estimate.interval
    return f"{100 * estimate.value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) points"


def _share(share: Share) -> str:
    return NOT_MEASURED if share.value is None else f"{share.value:.2%}{_span(share.interval, '{:.2%}')}"


def _ratio(ratio: WinLoss, by_user: Interval | None = None) -> str:
    if not ratio.wins and not ratio.losses:
        return NOT_MEASURED
    value = f"{ratio.wins / ratio.losses:.1f}" if ratio.losses else "no losses"
    return value + _span(by_user or ratio.interval, "{:.1f}")


def _span(interval: Interval | None, form: str) -> str:
    if interval is None:
        return ""
    low = form.format(interval.low)
    return f" ({low} or more)" if interval.high == float("inf") else f" ({low} to {form.format(interval.high)})"


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    return Table(*columns, title=title, title_justify="left")
