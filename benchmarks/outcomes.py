"""Measures P(success) against annotated and hidden outcomes, and prints what the data say about the weights.

    python benchmarks/outcomes.py [DATA]

DATA is the folder of annotated logs (default: $REPRISE_DATA, or shared/data beside the checkout). The calls
of dstc1 (`gold.success`) and the dates of saif (its own `outcome`, hidden from the model) are each cut in two
by a hash of their names: log-odds are fitted to one half, everything else is measured on the other. Needs
scikit-learn.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from dialogue.canonical import Canonicaliser
from dialogue.outcomes import OutcomeModel
from dialogue.table import dialogue_batch
from dialogue.turn import Outcome, Session, Turn

SILENCE_S = 600.0  # cuts the sessions of saif, whose log has none
TURN = TypeAdapter(Turn)
Values = NDArray[np.float64]


def data_folder(arguments: list[str]) -> Path:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(arguments[0] if arguments else os.environ.get("REPRISE_DATA", beside))


def sessions_of(path: Path, silence_s: float = SILENCE_S) -> list[Session]:
    """The log's sessions, by their id or by user and a fixed silence."""

    def place(turn: Turn) -> tuple[str, str, float, str]:
        return turn.user_id, turn.session_id or "", turn.timestamp, turn.turn_id

    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        turns = sorted(map(_turn, lines), key=place)
    found: list[list[Turn]] = []
    for turn in turns:
        last = found[-1][-1] if found else None
        new = last is None or (turn.user_id, turn.session_id) != (last.user_id, last.session_id)
        if new or (turn.session_id is None and turn.timestamp - found[-1][-1].timestamp > silence_s):
            found.append([])
        found[-1].append(turn)
    return [Session(f"{part[0].user_id}/{n}", part[0].user_id, tuple(part)) for n, part in enumerate(found)]


def _turn(line: bytes) -> Turn:
    turn = TURN.validate_json(line, strict=True)
    annotated = frozenset(json.loads(line).get("gold", {}))
    return replace(turn, gold=turn.gold and replace(turn.gold, annotated=annotated))


def first_half(name: str) -> bool:
    """Whether a call or a date is in the half that weights are set on."""
    return sha256(f"setting or reporting: {name}".encode()).digest()[0] < 128


def calibration_error(p: Values, truth: Values, bins: int = 10) -> float:
    """Expected calibration error over equally filled bins."""
    parts = np.array_split(np.argsort(p, kind="stable"), bins)
    return float(sum(len(part) * abs(p[part].mean() - truth[part].mean()) for part in parts) / len(p))


def interval(measure: object, p: Values, truth: Values, groups: NDArray[np.int64], rounds: int = 400) -> str:
    """A measure with its 95 % interval by bootstrap over groups (calls or dates)."""
    rng, members = np.random.default_rng(7), [np.flatnonzero(groups == g) for g in np.unique(groups)]
    draws = []
    for _ in range(rounds):
        rows = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        draws.append(measure(p[rows], truth[rows]))  # type: ignore[operator]
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{measure(p, truth):.3f} [{low:.3f}, {high:.3f}]"  # type: ignore[operator]


MEASURES = {
    "Brier": lambda p, truth: brier_score_loss(truth, p),
    "log loss": lambda p, truth: log_loss(truth, p, labels=[0, 1]),
    "calibration error": calibration_error,
    "AUC": lambda p, truth: roc_auc_score(truth, p),
}


def report(name: str, sessions: list[Session], truth_of: object, hide_outcome: bool) -> None:
    turns = [turn for session in sessions for turn in session.turns]
    if hide_outcome:
        sessions = [replace(s, turns=tuple(replace(t, outcome=None) for t in s.turns)) for s in sessions]
    batch = dialogue_batch(sessions, Canonicaliser())
    model = OutcomeModel()
    truth = np.array([truth_of(turn) for turn in turns])  # type: ignore[operator]  # nan: not known
    known = ~np.isnan(truth)
    users = [turn.user_id for turn in turns]
    setting = known & np.array([first_half(user) for user in users])
    held_out = known & ~setting
    evidence = dict(model.evidence(batch))
    show_weights(name, evidence, truth, setting, model)
    p = model.judge(batch)
    _, groups = np.unique(users, return_inverse=True)
    base = np.full(len(p), truth[setting].mean())
    print(f"\n{name}: {held_out.sum()} turns held out, {truth[held_out].mean():.3f} of them successes")
    for label, measure in MEASURES.items():
        ours = interval(measure, p[held_out], truth[held_out], groups[held_out])
        print(f"  {label:18s} {ours:24s} base rate {measure(base[held_out], truth[held_out]):.3f}")


def show_weights(
    name: str, evidence: dict[str, Values], truth: Values, rows: NDArray[np.bool_], model: OutcomeModel
) -> None:
    seen = {n: amount for n, amount in evidence.items() if amount[rows].sum() >= 15}
    table = np.stack(list(seen.values()), axis=1)
    fit = LogisticRegression(C=1.0, max_iter=2000).fit(table[rows], truth[rows])
    print(f"\n{name}: log-odds fitted on {rows.sum()} turns of the first half, and those in use")
    print(f"  {'prior':12s} {'':>7s} {'':>6s} {fit.intercept_[0]:+.2f}  {model.weights.prior:+.2f}")
    for (n, amount), weight in zip(seen.items(), fit.coef_[0], strict=True):
        share = np.average(truth[rows], weights=amount[rows])
        in_use = getattr(model.weights, n)
        print(f"  {n:12s} {amount[rows].sum():7.0f} {share:6.2f} {weight:+.2f}  {in_use:+.2f}")


def throughput(sample: pa.RecordBatch, turns: int = 1_000_000) -> None:
    """Turns a second over copies of a log: with its own few texts, and with every text different."""
    copies = turns // sample.num_rows + 1
    own = [text for _ in range(copies) for text in sample["said"].to_pylist()]
    different = [f"{text} {n}" for n, text in enumerate(own)]
    for name, said in (("few texts", own), ("all texts different", different)):
        whole = copied(sample, copies, said)
        start = time.perf_counter()
        OutcomeModel().judge(whole)
        took = time.perf_counter() - start
        print(f"throughput, {name}: {whole.num_rows / took:,.0f} turns a second ({whole.num_rows:,} turns)")


def copied(sample: pa.RecordBatch, copies: int, said: list[str]) -> pa.RecordBatch:
    """A dialogue batch of so many copies of its sessions, with these texts."""
    sessions = [f"{copy}/{name}" for copy in range(copies) for name in sample["session"].to_pylist()]
    whole = pa.Table.from_batches([sample] * copies)
    for name, column in (("session", sessions), ("said", said)):
        place = whole.schema.get_field_index(name)
        whole = whole.set_column(place, whole.schema.field(name), [column])
    return whole.combine_chunks().to_batches()[0]


def known_success(turn: Turn) -> float:
    success = turn.gold.success if turn.gold else None
    return np.nan if success is None else float(success)


def own_outcome(turn: Turn) -> float:
    return np.nan if turn.outcome is None else float(turn.outcome is Outcome.SUCCESS)


if __name__ == "__main__":
    folder = data_folder(sys.argv[1:])
    calls = sessions_of(folder / "dstc1" / "dev.jsonl")
    report("dstc1", calls, known_success, hide_outcome=False)
    report("saif", sessions_of(folder / "saif" / "dev.jsonl"), own_outcome, hide_outcome=True)
    print()
    throughput(dialogue_batch(calls, Canonicaliser()))
