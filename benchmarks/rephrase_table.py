"""Every detector on every set of annotated dialogues, with the set's domain in training and without it.

    python benchmarks/rephrase_detection.py [DATA] --out FOLDER [--only SETS] [--detectors NAMES] [--quick]

DATA is the folder of annotated logs (default: $REPRISE_DATA, or shared/data beside the checkout). Sets are made by
`benchmarks/rephrase_sets.py`, under FOLDER/sets. A *domain* is saif, dstc1, dstc2 (two sets) or slurp (three). One
detector of each sort is trained on the training parts of all sets ("with") and one for each domain on all sets but
those of the domain ("without"). Thresholds and calibration come from the development part of the measured set ("with")
or from those of the sets trained on ("without"), for all detectors alike. What is measured is no part of any training.
Detectors are kept in FOLDER and not trained again, so that a killed run goes on.

Pairwise baselines: edit distance with outcome, cosine of sentence embeddings, a pairwise BERT without context, boosted
trees on the features of the pair. The last, with the features of the context added, is the strongest baseline.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine, table, told  # benchmarks/measure.py
from outcomes import data_folder
from rephrase_sets import make_sets

from dialogue.reader import read_log
from eval.detect import Comparison, Figure, Figures, as_dict, compare, judge
from eval.rephrases import predict, read_dialogues, truth_of
from rephrase_detection import LexicalDetector, RephraseDetector
from rephrase_detection.boosted_lightgbm import BoostedDetector
from rephrase_detection.candidates import Candidates, Reach
from rephrase_detection.cosine import CosineDetector
from rephrase_detection.cosine_sentence_transformers import sentence_encoder
from rephrase_detection.edit_distance import EditDistanceDetector
from rephrase_detection.features import CONTEXT, PAIR
from rephrase_detection.joining import best_threshold
from rephrase_detection.loading import load_detector
from rephrase_detection.pairwise import LabelledPairs
from rephrase_detection.span import SpanDetector
from rephrase_detection.training import (
    Prepared,
    Recipe,
    TrainingLog,
    balanced,
    prepare,
    recalibrated,
    train_detector,
)
from rewrite.models import resolve_model

DOMAINS = {
    "saif": ["saif"],
    "dstc1": ["dstc1"],
    "dstc2": ["dstc2-clear", "dstc2-noisy"],
    "slurp": ["slurp-low", "slurp-medium", "slurp-high"],
}
SETS = [name for names in DOMAINS.values() for name in names]
PAIRWISE = ["edit distance", "cosine", "pair BERT", "boosted, pair"]
DETECTORS = ["lexical", *PAIRWISE, "boosted, context", "span"]
#: In saif only neighbours were labelled; elsewhere the next three turns.
TURNS_ANNOTATED = {"saif": 1}
WIDE = Reach(21_600.0, 3)
#: Windows of each set that the span model learns from, and how often: with all domains, and without one. (Two cores
#: take twelve minutes for the former.)
WINDOWS, EPOCHS, FEWER_WINDOWS, FEWER_EPOCHS = 4000, 2, 700, 1
#: Pairs of each set that the pairwise BERT learns from: all rephrases, and a sample of the others.
PAIRS_OF_A_SET = 1000


class Sets:
    """The parts of the sets, read once."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.names = folder, names
        self._logs: dict[tuple[str, str], TrainingLog] = {}
        self._prepared: dict[tuple[str, str], Prepared] = {}

    def log(self, name: str, part: str) -> TrainingLog:
        if (name, part) not in self._logs:
            log = read_log([self.folder / name / f"{part}.jsonl"], limit=0.0, keep_gold=True)
            self._logs[name, part] = TrainingLog(name, read_dialogues(log).sessions)
        return self._logs[name, part]

    def prepared(self, name: str, part: str) -> Prepared:
        if (name, part) not in self._prepared:
            self._prepared[name, part] = prepare(self.log(name, part), WIDE, Recipe())
        return self._prepared[name, part]

    def pairs(self, names: Sequence[str], part: str) -> list[LabelledPairs]:
        """The known pairs of some sets, every set with the same weight."""
        logs = [self.prepared(name, part) for name in names]
        return [
            LabelledPairs(
                log.batch, log.p_success, log.pairs.source[log.known], log.pairs.target[log.known],
                log.labels.label[log.known], weight,
            )
            for log, weight in zip(logs, balanced(logs), strict=True)
        ]  # fmt: skip


def sampled(examples: Sequence[LabelledPairs], most: int) -> list[LabelledPairs]:
    """All rephrases, and so many of the other pairs that `most` are left, which then stand for all."""
    found = []
    for number, each in enumerate(examples):
        chance = np.random.default_rng([7, number])
        others = np.flatnonzero(each.label == 0)
        kept = chance.permutation(others)[: max(most - int(each.label.sum()), 200)]
        weight = each.weight.copy()
        weight[kept] *= len(others) / max(len(kept), 1)
        found.append(replace(each, weight=weight).among((each.label == 1) | np.isin(np.arange(len(each)), kept)))
    return found


def train(sort: str, sets: Sets, names: Sequence[str], out: Path, quick: bool) -> RephraseDetector:
    """A detector of one sort, trained on some sets, or read from `out` where it was trained before."""
    if sort == "lexical":
        return LexicalDetector()
    if (out / "detector.json").is_file():
        return load_detector(out)
    encoder = resolve_model().path
    examples = sets.pairs(names, "train")
    made: Callable[[float], RephraseDetector]
    if sort == "span":
        most, epochs = (WINDOWS, EPOCHS) if len(names) == len(SETS) else (FEWER_WINDOWS, FEWER_EPOCHS)
        recipe = Recipe(epochs=1 if quick else epochs, max_windows=200 if quick else most, patience=2)
        train_detector(
            [sets.log(name, "train") for name in names], out, encoder=encoder,
            development=[sets.log(name, "dev") for name in names], recipe=recipe, told=_progress(),
        )  # fmt: skip
        return load_detector(out)
    if sort == "edit distance":
        first: RephraseDetector = EditDistanceDetector.fitted(examples, reach=WIDE)
    elif sort == "cosine":
        first = CosineDetector.fitted(examples, sentence_encoder(encoder, device="cpu"), reach=WIDE, model=str(encoder))
    elif sort == "pair BERT":
        from rephrase_detection.pair_bert_torch import PairBertDetector
        from rephrase_detection.pair_bert_training_torch import Training

        how = Training(epochs=1 if quick else 2, batch_pairs=32, bf16=True)
        few = sampled(examples, 100 if quick else PAIRS_OF_A_SET)
        first = PairBertDetector.fitted(few, encoder, sampled(sets.pairs(names, "dev"), 500), how, reach=WIDE)
    else:
        features = PAIR if sort == "boosted, pair" else (*PAIR, *CONTEXT)
        first = BoostedDetector.fitted(examples, features, reach=WIDE)
    made = lambda threshold: replace(first, threshold=threshold)  # type: ignore[type-var]  # noqa: E731
    detector = made(calibrated_threshold(first, sets, names))
    detector.save(out)  # type: ignore[attr-defined]
    return detector


def at_home(detector: RephraseDetector, sets: Sets, name: str) -> RephraseDetector:
    """The detector with a threshold for the set, from its development part."""
    if isinstance(detector, SpanDetector):
        return recalibrated(detector, [sets.log(name, "dev")])
    if isinstance(detector, LexicalDetector):
        return detector
    return replace(detector, threshold=calibrated_threshold(detector, sets, [name]))  # type: ignore[type-var]


def calibrated_threshold(detector: RephraseDetector, sets: Sets, names: Sequence[str]) -> float:
    """Where the mean F1 over the development parts is best, as for the span detector."""
    pairs, labels, found = [], [], []
    for name in names:
        log = sets.prepared(name, "dev")
        links = detector.score(log.batch, log.p_success)
        best = dict(zip(zip(links.source.tolist(), links.target.tolist(), strict=True), links.probability, strict=True))
        keys = zip(log.pairs.source.tolist(), log.pairs.target.tolist(), strict=True)
        pairs.append(Candidates(log.pairs.source, log.pairs.target))
        labels.append(log.labels.label)
        found.append(np.array([best.get(key, 0.0) for key in keys]))
    return best_threshold(pairs, labels, found)


def _progress() -> Callable[[str, int, int], None]:
    last = [time.monotonic()]

    def hear(stage: str, done: int, total: int) -> None:
        if time.monotonic() - last[0] > 60 or done in (0, total):
            last[0] = time.monotonic()
            told(f"    {stage}: {done} of {total}")

    return hear


def measure(sets: Sets, name: str, detectors: dict[str, RephraseDetector]) -> dict[str, tuple[Figures, Comparison]]:
    """The figures of every detector on the test part of a set, and how the span detector compares with it."""
    sessions = sets.log(name, "test").sessions
    truth = truth_of(sessions, TURNS_ANNOTATED.get(name, 3))
    links = dict(zip(detectors, predict(sessions, *detectors.values()), strict=True))
    found = {}
    for sort, detector in detectors.items():
        figures = judge(truth, links[sort], threshold=detector.threshold)
        strong = "span" if "span" in detectors else sort
        thresholds = (detectors[strong].threshold, detector.threshold)
        found[sort] = (figures, compare(truth, links[strong], links[sort], thresholds=thresholds))
    return found


def show(name: str, trained: str, found: dict[str, tuple[Figures, Comparison]]) -> None:
    """One table a set: figures with intervals, and the span detector's lead."""
    some = next(iter(found.values()))[0]
    print(f"\n### {name}, {trained} its domain in training: {some.sources} sources, {some.rephrases} with a rephrase\n")
    head = ["detector", "precision", "recall", "F1", "average precision", "recall at 90 %", "at 95 %", "exact turn",
            "span less this: F1", "average precision"]  # fmt: skip
    rows = [
        [sort, *map(cell, (f.precision, f.recall, f.f1, f.average_precision, f.recall_at_90, f.recall_at_95,
                           f.exact_turn)), *([cell(c.f1), cell(c.average_precision)] if sort != "span" else ["", ""])]
        for sort, (f, c) in found.items()
    ]  # fmt: skip
    print(table(head, rows))
    scores = {sort: f.f1.value or 0.0 for sort, (f, _) in found.items()}
    pairwise = {sort: scores[sort] for sort in PAIRWISE if sort in scores}
    if pairwise and "span" in scores:
        best = max(pairwise, key=lambda sort: pairwise[sort])
        gain = scores["span"] / max(pairwise[best], 1e-9) - 1
        print(f"\nF1 of span is {100 * gain:+.1f} % of that of the best pairwise baseline ({best}).", flush=True)


def summary(document: Sequence[dict[str, Any]]) -> None:
    """F1 and average precision of every detector, a row a set, and what the span detector adds to the strongest."""
    for held_out in (False, True):
        chosen = [each for each in document if bool(each["without"]) is held_out]
        if not chosen:
            continue
        sorts = list(chosen[0]["detectors"])
        print(f"\n### F1 / average precision, {'without' if held_out else 'with'} the domain in training\n")
        rows = []
        for each in chosen:
            found = {sort: each["detectors"][sort]["figures"] for sort in sorts}
            best = max((sort for sort in PAIRWISE if sort in found), key=lambda sort: found[sort]["f1"]["value"])
            gain = found["span"]["f1"]["value"] / found[best]["f1"]["value"] - 1
            less = each["detectors"]["boosted, context"]["span_less"]["f1"]
            low, high = less["interval"] or (float("nan"), float("nan"))
            ends = f"{100 * less['value']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
            pairs = [(f["f1"]["value"], f["average_precision"]["value"]) for f in found.values()]
            cells = [f"{100 * one:.1f} / {100 * other:.1f}" for one, other in pairs]
            rows.append([each["set"], *cells, f"{100 * gain:+.0f} %", ends])
        print(table(["set", *sorts, "F1 over best pairwise", "F1 less boosted, context"], rows))


def cell(figure: Figure) -> str:
    """The value with its interval, in hundredths."""
    if figure.value is None:
        return "-"
    ends = f" ({100 * figure.interval.low:.1f} to {100 * figure.interval.high:.1f})" if figure.interval else ""
    return f"{100 * figure.value:.1f}{ends}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("build/rephrase_detection"))
    parser.add_argument("--only", default=",".join(SETS), help="names of sets, with commas")
    parser.add_argument("--detectors", default=";".join(DETECTORS), help="sorts of detectors, with semicolons")
    parser.add_argument("--show", action="store_true", help="only the summary of a finished run in --out")
    parser.add_argument("--quick", action="store_true", help="little training, for a look")
    options = parser.parse_args()
    if options.show:
        summary(json.loads((options.out / "figures.json").read_text(encoding="utf-8")))
        return
    names, sorts = options.only.split(","), options.detectors.split(";")
    folder = options.out / "sets"
    if not all((folder / name / "test.jsonl").is_file() for name in SETS):
        make_sets(data_folder(options.data), folder, 0)
    sets = Sets(folder, SETS)
    print(machine("torch", "transformers", "onnxruntime", "lightgbm"), flush=True)
    document = []
    for held_out in [None, *DOMAINS]:
        training = [name for name in SETS if held_out is None or name not in DOMAINS[held_out]]
        measured = [name for name in names if held_out is None or name in DOMAINS[held_out]]
        if not measured:
            continue
        detectors = {}
        for sort in sorts:
            begun = time.monotonic()
            place = options.out / (f"without-{held_out}" if held_out else "with-all") / sort.replace(", ", "-")
            detectors[sort] = train(sort, sets, training, place, options.quick)
            told(f"{place}: {time.monotonic() - begun:.0f} s")
        for name in measured:
            own = {sort: each if held_out else at_home(each, sets, name) for sort, each in detectors.items()}
            found = measure(sets, name, own)
            show(name, "without" if held_out else "with", found)
            rows = {sort: {"figures": as_dict(f), "span_less": as_dict(c)} for sort, (f, c) in found.items()}
            document.append({"set": name, "without": held_out, "detectors": rows})
    (options.out / "figures.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    summary(document)


if __name__ == "__main__":
    main()
