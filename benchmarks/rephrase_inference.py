"""How fast the span model reads windows: int8 by onnxruntime beside the torch model it was made from, in one run.

    python benchmarks/rephrase_inference.py [DATA] [--detector DIR] [--runs N] [--windows N] [--accuracy SET]

Windows are those of dstc1's calls (default: $REPRISE_DATA, or shared/data beside the checkout). Compared are, on the
same two threads and with the runs taking turns: torch float32 with every window padded to 128 tokens, onnxruntime with
the same padding, and onnxruntime with the windows as they are: 32 of about one length at once, and one by one, as the
detector runs them. Without --detector an untrained model
of the same shape is exported, which costs the same time; with one, its own model is used, and the share of the windows
on which it points elsewhere than float32 is told. At last the whole detector is timed over the calls, with the windows
that it asked about.

With --accuracy, a folder with the annotated train.jsonl, dev.jsonl and test.jsonl of a set, as
`benchmarks/rephrase_sets.py` makes them, nothing is timed: a detector is trained on the set, shortly, and its F1 on the
test part is told with the torch model and with the exported one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import numpy as np
import torch
from measure import machine, table
from outcomes import data_folder, sessions_of

from dialogue.canonical import Canonicaliser
from dialogue.outcomes import OutcomeModel
from dialogue.reader import read_log
from dialogue.table import dialogue_batch
from eval.rephrases import read_dialogues
from rephrase_detection.candidates import Reach, candidates
from rephrase_detection.span import SpanDetector
from rephrase_detection.span_onnx import OnnxSpanModel, exported
from rephrase_detection.span_torch import SpanModel, span_model
from rephrase_detection.span_training_torch import CHECKPOINT, text_scores
from rephrase_detection.training import Recipe, TrainingLog, prepare, train_detector
from rephrase_detection.windows import WindowEncoder, Windows, by_length, padded
from rewrite.models import resolve_model

THREADS = 2
WIDTH = 128
AT_ONCE = 32


def batches(count: int) -> list[np.ndarray]:
    return [np.arange(begin, min(begin + AT_ONCE, count)) for begin in range(0, count, AT_ONCE)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*")
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--windows", type=int, default=512)
    parser.add_argument("--accuracy", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    folder = resolve_model().path
    if options.accuracy:
        accuracy(options.accuracy, folder)
        return
    encoder = WindowEncoder.from_folder(folder, WIDTH)
    batch = dialogue_batch(sessions_of(data_folder(options.data) / "dstc1" / "dev.jsonl"), Canonicaliser())
    windows = encoder.encode(batch, candidates(batch, Reach(60.0, 3)))
    windows = windows.among(np.random.default_rng(0).permutation(len(windows))[: options.windows])
    model = span_model(folder, encoder.tokenizer)
    with TemporaryDirectory() as scratch:
        onnx, told = exported(model, [windows], Path(scratch))
        print(machine("torch", "onnxruntime"))
        print(f"{len(windows)} windows of dstc1, {windows.lengths.mean():.0f} tokens in the mean; export: {told}\n")
        speeds = measure(windows, model, OnnxSpanModel(onnx.path, THREADS), options.runs)
    first = statistics.median(speeds["torch float32, padded to 128"])
    rows = [
        [name, f"{statistics.median(each):.0f}", f"{min(each):.0f} to {max(each):.0f}",
         f"{statistics.median(each) / first:.2f}"]
        for name, each in speeds.items()
    ]  # fmt: skip
    print(table(["", "windows a second", "of all runs", "times torch"], rows))
    if options.detector:
        whole(options.detector, batch)


def measure(windows: Windows, model: object, onnx: OnnxSpanModel, runs: int) -> dict[str, list[float]]:
    """Windows a second of every way, run by run in turn."""
    wide = [padded(windows, which, WIDTH) for which in batches(len(windows))]

    def on(one: Callable[[object], object]) -> Callable[[], None]:
        return lambda: [one(each) for each in wide] and None

    ways: dict[str, Callable[[], object]] = {
        "torch float32, padded to 128": on(lambda each: text_scores(model, each)),  # type: ignore[arg-type]
        "onnxruntime, padded to 128": on(lambda each: onnx.run(each)),  # type: ignore[arg-type]
        "onnxruntime, 32 at once, by length": lambda: onnx.scores(windows, int(windows.pair.max()) + 1, AT_ONCE),
        "onnxruntime, one by one, as used": lambda: onnx.scores(windows, int(windows.pair.max()) + 1),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    onnx.run(wide[0])
    for _ in range(runs):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            speeds[name].append(len(windows) / (time.perf_counter() - begun))
    return speeds


def whole(folder: Path, batch: object) -> None:
    """A trained detector over all calls: what it asked, and how long it took."""
    detector = SpanDetector.load(folder, THREADS)
    p_success = OutcomeModel().judge(batch)  # type: ignore[arg-type]
    begun = time.perf_counter()
    detector.score(batch, p_success)  # type: ignore[arg-type]
    took, asked = time.perf_counter() - begun, detector.asked
    print(f"\n{detector}: {asked.turns / took:,.0f} turns a second, {asked.distinct / took:,.0f} windows"
          f" a second; of {asked.turns:,} turns {asked.windows:,} windows could hold a rephrase, {asked.distinct:,} of"
          " them distinct")  # fmt: skip


class TorchScores:
    """The torch model in the place of the exported one."""

    threads = THREADS

    def __init__(self, model: SpanModel) -> None:
        self.model = model

    def scores(self, windows: Windows, pairs: int) -> np.ndarray:
        found = np.full((2, pairs), np.nan)
        for which in by_length(windows.lengths, AT_ONCE):
            each = padded(windows, which)
            there = each.pair >= 0
            for row, values in enumerate(text_scores(self.model, each)):
                found[row, each.pair[there]] = values[there]
        return found


def accuracy(folder: Path, encoder: Path) -> None:
    """F1 of one short training's detector on a labelled set, with torch's scores and with those of its file."""
    parts = {}
    for part in ("train", "dev", "test"):
        log = read_log([folder / f"{part}.jsonl"], limit=0.0, keep_gold=True)
        parts[part] = TrainingLog(folder.name, read_dialogues(log).sessions)
    with TemporaryDirectory() as scratch:
        out, kept = Path(scratch) / "detector", Path(scratch) / CHECKPOINT

        def told(stage: str, done: int, total: int) -> None:
            if (stage, done) == ("exporting", 0):  # the weights are deleted after it
                copyfile(out.with_name(out.name + ".work") / CHECKPOINT, kept)

        recipe = Recipe(epochs=1, max_windows=300)
        metrics = train_detector(
            [parts["train"]], out, encoder=encoder, development=[parts["dev"]], recipe=recipe, told=told
        )
        exported_one = SpanDetector.load(out, THREADS)
        model = span_model(encoder, exported_one.encoder.tokenizer)
        model.load_state_dict(torch.load(kept, weights_only=True)["best"])
        measured = {
            "torch float32": replace(exported_one, model=TorchScores(model)),  # type: ignore[arg-type]
            f"exported, {metrics['export']['kind']}": exported_one,
        }
        found = [[name, *f1_of(detector, parts["test"])] for name, detector in measured.items()]
    print(f"\n{folder.name}, annotated; losses {metrics['development']['loss']}\n")
    print(table(["", "F1, %", "rephrases found", "sources flagged"], found))


def f1_of(detector: SpanDetector, log: TrainingLog) -> list[str]:
    """F1 over the sources of a log whose label is known, that a pair is both the best and over the threshold."""
    known = prepare(log, detector.parameters.reach, Recipe())
    trees, text = detector.parts(known.batch, known.p_success, known.pairs)
    p = detector.parameters.joint.probability(known.pairs, trees, text)[known.known]
    label = known.labels.label[known.known]
    best = known.pairs.among(known.known).best(p)
    flagged = p[best] >= detector.threshold
    right = float(label[best][flagged].sum())
    f1 = 2 * right / max(flagged.sum() + label.sum(), 1)
    return [f"{100 * f1:.2f}", f"{right:.0f} of {label.sum():.0f}", str(int(flagged.sum()))]


if __name__ == "__main__":
    main()
