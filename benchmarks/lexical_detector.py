"""Fits the weights of the lexical detector and measures it on calls, dates and callers not in the fit.

    python benchmarks/lexical_detector.py [DATA] [--fitted]

DATA is the folder of annotated logs (default: $REPRISE_DATA, or shared/data beside the checkout). Fitted
together on the earlier half of saif's dates, half of dstc1's calls and dstc2 train: saif, labelled by people,
counts twice as much as dstc1, whose labels are derived, and dstc2, where lost words rather than likeness make
a link, a third of that. Measured on the later half of saif's dates, the other half of dstc1's calls and dstc2
dev. The weights printed first are fitted, those in use are rounded from them; --fitted measures the former
too. Needs scikit-learn.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from outcomes import calibration_error, copied, data_folder, first_half, sessions_of  # benchmarks/outcomes.py
from scipy.optimize import minimize
from sklearn.metrics import average_precision_score, f1_score

from dialogue.canonical import Canonicaliser
from dialogue.feedback import EvidenceWeights
from dialogue.outcomes import OutcomeModel
from dialogue.similarity import letters
from dialogue.table import dialogue_batch
from dialogue.turn import Outcome, RephraseKind, Session, Turn
from rephrase_detection import KINDS, LexicalDetector, LexicalWeights

Values = NDArray[np.float64]
Rows = NDArray[np.int64]

NONE = -1  # this source has no rephrase
UNKNOWN = -2  # nobody said
FALLING = {"gap", "turns_between"}
FREE = {"prior", "identical"}
#: The outcome model without what it reads from the user's own second try.
BLIND = OutcomeModel(replace(EvidenceWeights(), repeated=0.0, rephrased=0.0, moved_on=0.0))


@dataclass(frozen=True)
class Part:
    """A set of whole sessions with the row of each source's rephrase, NONE or UNKNOWN [turns]."""

    name: str
    turns: list[Turn]
    batch: pa.RecordBatch
    truth: Rows
    pairs_only: bool  # saif: only neighbours were labelled
    weight: float  # in the fit

    @classmethod
    def from_sessions(
        cls, name: str, sessions: list[Session], weight: float, pairs_only: bool = False
    ) -> Part:
        turns = [turn for session in sessions for turn in session.turns]
        batch = dialogue_batch(sessions, Canonicaliser())
        return cls(name, turns, batch, _truth(sessions, 1 if pairs_only else 3), pairs_only, weight)

    def labels(self, source: Rows, target: Rows) -> Values:
        """1, 0 or nan (not known) for each pair; one that says again a turn between is not known."""
        row_of = {turn.turn_id: row for row, turn in enumerate(self.turns)}
        found = np.full(len(source), np.nan)
        for place, (a, b) in enumerate(zip(source, target, strict=True)):
            gold = self.turns[b].gold
            if gold is None or "rephrase_of" not in gold.annotated or (self.pairs_only and b - a > 1):
                continue
            said_again = row_of.get(gold.rephrase_of or "", NONE)
            if said_again <= a:
                found[place] = float(said_again == a)
        return found


def _truth(sessions: list[Session], reach: int) -> Rows:
    found: list[int] = []
    for session in sessions:
        start, row_of = len(found), {turn.turn_id: row for row, turn in enumerate(session.turns)}
        annotated = [turn.gold is not None and "rephrase_of" in turn.gold.annotated for turn in session.turns]
        within = range(len(session.turns))
        truth = [NONE if all(annotated[i + 1 : i + 1 + reach]) else UNKNOWN for i in within]
        if reach == 1 and truth:
            truth[-1] = UNKNOWN
        for row in reversed(within):
            gold = session.turns[row].gold
            if gold is not None and gold.rephrase_of in row_of:
                truth[row_of[gold.rephrase_of]] = start + row
        found += truth
    return np.array(found, np.int64)


def parts(folder: Path) -> tuple[list[Part], list[Part]]:
    """What is fitted and what is measured."""
    saif = sessions_of(folder / "saif" / "dev.jsonl", np.inf)  # a date is a session
    calls = sessions_of(folder / "dstc1" / "dev.jsonl")
    early = [call for call in calls if first_half(call.user_id)]
    late = [call for call in calls if not first_half(call.user_id)]
    train = sessions_of(folder / "dstc2" / "train.jsonl.gz")
    fitted = [
        Part.from_sessions("saif, earlier dates", saif[: len(saif) // 2], 2.0, pairs_only=True),
        Part.from_sessions("dstc1, half of calls", early, 1.0),
        Part.from_sessions("dstc2 train", train, 0.3),
    ]
    measured = [
        Part.from_sessions("saif, later dates", saif[len(saif) // 2 :], 2.0, pairs_only=True),
        Part.from_sessions("dstc1, other calls", late, 1.0),
        Part.from_sessions("dstc2 dev", sessions_of(folder / "dstc2" / "dev.jsonl"), 0.3),
    ]
    return fitted, measured


def fit(fitted: list[Part], model: OutcomeModel) -> LexicalWeights:
    """Logistic weights by penalised likelihood: likeness may only raise P, distance only lower it."""
    tables, labels, shares = [], [], []
    for part in fitted:
        every_turn = LexicalDetector(failing_below=1.0)
        source, target, features = every_turn.candidates(part.batch, model.judge(part.batch))
        label = part.labels(source, target)
        if not part.pairs_only:  # in the calls the system sets the pace, or the times are made up
            features = {**features, "gap": np.full(len(label), 0.5)}
        known = ~np.isnan(label)
        tables.append(
            np.stack([np.ones(known.sum()), *(amount[known] for amount in features.values())], axis=1)
        )
        labels.append(label[known])
        shares.append(np.full(known.sum(), 1000 * part.weight / known.sum()))
        print(f"  {part.name}: {known.sum()} pairs, {int(label[known].sum())} of them rephrases")
    table, label, share = np.concatenate(tables), np.concatenate(labels), np.concatenate(shares)
    names = ["prior", *features]

    def loss(weights: Values) -> tuple[float, Values]:
        odds = table @ weights
        p = 1 / (1 + np.exp(-odds))
        penalty = np.append(0, weights[1:])  # of strength 1, but none on the prior
        value = share @ (np.logaddexp(0, odds) - label * odds) + 0.5 * penalty @ penalty
        return float(value), table.T @ (share * (p - label)) + penalty

    bounds = [(None if n in FREE | FALLING else 0, 0 if n in FALLING else None) for n in names]
    found = minimize(loss, np.zeros(len(names)), jac=True, bounds=bounds, method="L-BFGS-B").x
    return LexicalWeights(**dict(zip(names, found.tolist(), strict=True)))


def measure(part: Part, detector: LexicalDetector, model: OutcomeModel, rounds: int = 300) -> None:
    links = replace(detector, threshold=1e-9).detect(part.batch, model.judge(part.batch))
    score, choice = np.zeros(len(part.turns)), np.full(len(part.turns), NONE)
    score[links.source], choice[links.source] = links.probability, links.target
    known = np.flatnonzero(part.truth != UNKNOWN)
    users = np.unique([turn.user_id for turn in part.turns], return_inverse=True)[1]
    draws, rng = [], np.random.default_rng(7)
    members = [known[users[known] == user] for user in np.unique(users[known])]
    for _ in range(rounds):
        rows = np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])
        draws.append(figures(score[rows], choice[rows], part.truth[rows], detector.threshold))
    whole = figures(score[known], choice[known], part.truth[known], detector.threshold)
    print(f"\n{part.name}: {len(known)} sources, {(part.truth[known] >= 0).sum()} of them with a rephrase")
    for name, value in whole.items():
        low, high = np.percentile([draw[name] for draw in draws], [2.5, 97.5])
        print(f"  {name:20s} {value:.3f} [{low:.3f}, {high:.3f}]")
    if part.pairs_only:
        kinds(part, links.source, links.target, links.kind)
        baseline(part, known)


def figures(score: Values, choice: Rows, truth: Rows, threshold: float) -> dict[str, float]:
    has, found = truth >= 0, score >= threshold
    right = int((has & found).sum())
    precision, recall = right / max(found.sum(), 1), right / max(has.sum(), 1)
    exact = int((found & (choice == truth)).sum())
    return {
        "precision": precision,
        "recall": recall,
        "F1": 2 * precision * recall / max(precision + recall, 1e-9),
        "average precision": average_precision_score(has, score),
        "exact turn, of found": exact / max(right, 1),
        "exact turn, F1": 2 * exact / max(int(found.sum() + has.sum()), 1),
        "calibration error": calibration_error(score, has.astype(np.float64)),
    }


def baseline(part: Part, known: Rows) -> None:
    """Letters in common with the next turn, where the assistant itself returned an error."""
    said = part.batch["said"].to_pylist()
    alike = letters([said[row] for row in known], [said[row + 1] for row in known])
    failed = np.array([part.turns[row].outcome is Outcome.FAILURE for row in known])
    precision = average_precision_score(part.truth[known] >= 0, alike * failed)
    print(f"  letters times failure alone: average precision {precision:.3f}")


def kinds(part: Part, source: Rows, target: Rows, kind: NDArray[np.int8]) -> None:
    golds = [part.turns[row].gold for row in target]
    both = [
        (KINDS[code], gold.rephrase_kind)
        for a, b, code, gold in zip(source, target, kind, golds, strict=True)
        if part.truth[a] == b and gold is not None and gold.rephrase_kind is not None
    ]
    right = sum(ours == theirs for ours, theirs in both)
    most = max(sum(theirs == each for _, theirs in both) for each in KINDS)
    share, commonest = right / len(both), most / len(both)
    asr, ours_asr = (
        [theirs is RephraseKind.ASR for _, theirs in both],
        [ours is RephraseKind.ASR for ours, _ in both],
    )
    print(f"  kind asr, F1         {f1_score(asr, ours_asr):.3f}")
    print(f"  kind right           {share:.3f} of {len(both)} pairs (always the commonest: {commonest:.3f})")


def throughput(sample: pa.RecordBatch, batches: int = 10, turns: int = 100_000) -> None:
    """Turns a second over sessions whose texts are all different: every pair is worked on."""
    copies, took = turns // sample.num_rows + 1, 0.0
    said = [text for _ in range(copies) for text in sample["said"].to_pylist()]
    for number in range(batches):
        batch = copied(sample, copies, [f"{text} {number} {n}" for n, text in enumerate(said)])
        p = np.where(np.random.default_rng(number).random(batch.num_rows) < 0.3, 0.2, 0.95)
        start = time.perf_counter()
        LexicalDetector().detect(batch, p)
        took += time.perf_counter() - start
    print(f"\nthroughput: {batches * batch.num_rows / took:,.0f} turns a second, 30 % of them failing")


if __name__ == "__main__":
    fitted, measured = parts(data_folder([each for each in sys.argv[1:] if each != "--fitted"]))
    for name, model in (("all evidence", OutcomeModel()), ("without the user's second try", BLIND)):
        print(f"\nfitted, P(success) from {name}:")
        weights = fit(fitted, model)
        for item in fields(weights):
            in_use = getattr(LexicalWeights(), item.name)
            print(f"  {item.name:14s} {getattr(weights, item.name):+.2f}  in use {in_use:+.2f}")
        if "--fitted" in sys.argv:
            for part in measured:
                measure(part, LexicalDetector(weights), model, rounds=2)
    for part in measured:
        measure(part, LexicalDetector(), OutcomeModel())
    throughput(measured[1].batch)
