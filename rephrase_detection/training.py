"""From logs to a span detector: `train_detector` reads from top to bottom as the story of it.

Labels come from annotations where a log has them and from several signs that agree where not (`labels`). The trees
learn first, the encoder learns what they leave, both are joined and calibrated on sessions that neither saw, and the
threshold is where the expected F1 is best. The folder of a detector is written beside and then renamed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dialogue.canonical import Canonicaliser
from dialogue.feedback import EvidenceWeights
from dialogue.outcomes import OutcomeModel
from dialogue.table import dialogue_batch
from dialogue.turn import Session
from rephrase_detection.boosted_lightgbm import Trees
from rephrase_detection.candidates import Candidates, Reach, candidates
from rephrase_detection.contrast import contrast_sessions, user_once
from rephrase_detection.detector_folder import refuse_other
from rephrase_detection.errors import DetectorError
from rephrase_detection.features import pair_features
from rephrase_detection.joining import Joint, best_threshold
from rephrase_detection.labels import PairLabels, WeakRules, folds, gold_labels, weak_labels
from rephrase_detection.span import SpanDetector, SpanParameters, asked_about, write_detector
from rephrase_detection.windows import WindowEncoder, Windows

if TYPE_CHECKING:
    from rephrase_detection.span_training_torch import Optimisation, WindowSet

Values = NDArray[np.float64]
Told = Callable[[str, int, int], None]

#: Outcomes without what is read from the user's second try: labels must not come from what they are to explain.
BLIND = OutcomeModel(replace(EvidenceWeights(), repeated=0.0, rephrased=0.0, moved_on=0.0))
#: The widest reach that is looked at when the reach is learned.
WIDEST = Reach(limit_s=86_400.0, max_turns=5)
FOLDS = 5
#: No log is read less far: in another one a second try may come later, and weak labels hold the nearest ones only.
LEAST_TURNS = 3
#: Where nobody annotated anything: the encoder has half a say.
UNCALIBRATED = Joint(1.0, 0.5, 0.0)


@dataclass(frozen=True)
class TrainingLog:
    """The sessions of one log. Where a turn of it has `gold.rephrase_of`, only annotated turns are learned from; a log
    without any gets weak labels.
    """

    name: str
    sessions: tuple[Session, ...]
    made_up: bool = False  # from another log's turns
    annotated: bool | None = None  # None: as the turns are

    @property
    def gold(self) -> bool:
        """Whether a person annotated it."""
        return (_annotated(self) if self.annotated is None else self.annotated) and not self.made_up


@dataclass(frozen=True)
class Recipe:
    """How a detector is trained. The same recipe, logs and software give the same detector."""

    seed: int = 0
    epochs: int = 2
    layers: int | None = None  #: of the encoder, counted from the input; None: all
    batch_windows: int = 32
    learning_rate: float = 1e-4
    max_windows: int = 6000  #: of a log, with all that hold a rephrase and a sample of the others
    max_tokens: int = 128
    patience: int = 1
    development: float = 0.15  #: share of the sessions held back, where no development logs are given
    contrast: int = 1500  #: sessions made from the turns of each log without annotation
    surely_none: float = -5.0  #: log-odds of the trees below which a window is not asked about
    canonical: Canonicaliser = field(default_factory=Canonicaliser)
    rules: WeakRules = field(default_factory=WeakRules)

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "batch_windows": self.batch_windows, "max_windows": self.max_windows}
        for name, value in counts.items():
            if value < (0 if name == "epochs" else 1):
                raise DetectorError(f"{name} came as {value}: a whole number from 1 on is wanted (epochs from 0)")
        if not 0 < self.development < 1:
            raise DetectorError(f"development came as {self.development}: a share between 0 and 1 is wanted")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A log as pairs with features and labels."""

    name: str
    batch: pa.RecordBatch
    p_success: Values  # [turns] float64
    pairs: Candidates
    features: Values  # [pairs, features] float64
    labels: PairLabels
    weight: Values  # of each pair beside the others of its log [pairs] float64
    annotated: bool
    made_up: bool  # of contrast sessions

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether a pair's label is known [pairs] bool."""
        return ~np.isnan(self.labels.label)


def train_detector(
    logs: Sequence[TrainingLog],
    out: str | Path,
    *,
    encoder: str | Path,
    development: Sequence[TrainingLog] = (),
    recipe: Recipe | None = None,
    told: Told = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Trains a span detector from the pretrained encoder of a folder and writes it to `out`; the metrics.

    A killed training goes on after its last whole epoch, from the folder `out` + ".work". Without `development`, a
    share of the sessions is held back, by user. Raises DetectorError.
    """
    recipe = recipe or Recipe()
    from rephrase_detection import span_training_torch as torch_part
    from rephrase_detection.span_onnx import exported
    from rephrase_detection.span_torch import span_model

    refuse_other(out)
    window_encoder = WindowEncoder.from_folder(encoder, recipe.max_tokens)
    train, held = _parts(logs, development, recipe)
    told("labelling", 0, 3)
    reach = learned_reach(train, recipe)
    told("labelling", 1, 3)
    train, held = with_contrast(train, recipe, 0), with_contrast(held, recipe, 1)
    seen = [prepare(log, reach, recipe) for log in train]
    unseen = [prepare(log, reach, recipe) for log in held]
    _refuse_useless(seen, unseen)
    told("labelling", 3, 3)
    trees, own = grown(seen, recipe.seed, told)

    work = _work_folder(Path(out), logs, development, encoder, recipe)
    windows = [window_encoder.encode(each.batch, each.pairs) for each in seen]
    learned = _window_set(seen, windows, own, recipe)
    there = [window_encoder.encode(each.batch, each.pairs) for each in unseen]
    priors = [trees.log_odds(each.features) for each in unseen]
    checked = _window_set(unseen, there, priors, recipe)
    model = span_model(encoder, window_encoder.tokenizer, recipe.layers, recipe.seed)
    how = _optimisation(torch_part, recipe)
    losses = torch_part.fine_tune(model, learned, checked, how, work, lambda done, total: told("training", done, total))

    told("exporting", 0, 1)
    onnx, agreement = exported(model, there, work)
    told("exporting", 1, 1)
    joint, measured = _joined(onnx, unseen, there, priors, recipe)
    sources = np.concatenate([each.p_success[each.pairs.source[each.labels.label == 1]] for each in seen])
    asked = min(max(float(np.quantile(sources, 0.999)) + 0.005, 0.9), 1.0)
    parameters = SpanParameters(
        reach=reach, joint=joint, threshold=measured["threshold"], asked_below=asked, max_tokens=recipe.max_tokens,
        surely_none=recipe.surely_none, kind_heard=int(np.argmin(losses)) > 0,
    )  # fmt: skip
    metrics = {
        "logs": {each.name: _counted(each) for each in seen},
        "development": measured | {"loss": losses},
        "export": agreement,
        "recipe": _told(recipe),
    }
    write_detector(Path(out), parameters, trees, onnx, window_encoder, metrics)
    shutil.rmtree(work, ignore_errors=True)
    return metrics


def recalibrated(detector: SpanDetector, logs: Sequence[TrainingLog], recipe: Recipe | None = None) -> SpanDetector:
    """The same detector, joined and with a threshold for annotated logs that it did not learn from.

    What is rare in one assistant's dialogues is common in another's: a detector that was trained on several should be
    calibrated where it is to be used. Raises DetectorError where no log is annotated.
    """
    recipe, parameters = recipe or Recipe(), detector.parameters
    known = [prepare(log, parameters.reach, recipe) for log in logs if log.gold]
    if not known:
        raise DetectorError("no annotated log came: gold.rephrase_of is wanted to calibrate on")
    parts = [detector.parts(each.batch, each.p_success, each.pairs) for each in known]
    pairs, labels = [each.pairs for each in known], [each.labels.label for each in known]
    joint = Joint.fitted(pairs, labels, [trees for trees, _ in parts], [text for _, text in parts], parameters.joint)
    found = [joint.probability(each.pairs, *part) for each, part in zip(known, parts, strict=True)]
    threshold = best_threshold(pairs, labels, found, calibrated=True)
    return replace(detector, parameters=replace(parameters, joint=joint, threshold=threshold))


def prepare(log: TrainingLog, reach: Reach, recipe: Recipe) -> Prepared:
    """The pairs of a log with features and labels."""
    batch = dialogue_batch(log.sessions, recipe.canonical)
    p_success = OutcomeModel().judge(batch)
    pairs = candidates(batch, reach)
    features = pair_features(batch, p_success, pairs)
    annotated = log.gold
    if annotated or log.made_up:
        found, weight = gold_labels(log.sessions, pairs), np.ones(len(pairs))
    else:
        found = weak_labels(batch, BLIND.judge(batch), pairs, features, recipe.rules)
        users, said = (batch[name].to_pylist() for name in ("user_id", "said"))
        weight = user_once(users, said, pairs.source, pairs.target)
    return Prepared(log.name, batch, p_success, pairs, features, found, weight, annotated, log.made_up)


def with_contrast(logs: Sequence[TrainingLog], recipe: Recipe, part: int) -> list[TrainingLog]:
    """The logs, and after each that has no annotation made-up sessions that have."""
    found = []
    for log in logs:
        found.append(log)
        if recipe.contrast and not log.made_up and not log.gold:
            p_success = OutcomeModel().judge(dialogue_batch(log.sessions, recipe.canonical))
            count = recipe.contrast if part == 0 else max(recipe.contrast // 4, 50)
            made = contrast_sessions(log.sessions, p_success, count, recipe.seed * 2 + part)
            found += [TrainingLog(f"{log.name}, contrast", made, made_up=True)] if made else []
    return found


def learned_reach(logs: Sequence[TrainingLog], recipe: Recipe) -> Reach:
    """The least reach that holds nearly all known rephrases of every log; the farthest of the logs counts."""
    found = []
    for log in logs:
        each = prepare(log, WIDEST, recipe)
        pairs = each.pairs.among(each.labels.label == 1)
        times = np.asarray(each.batch["timestamp"], np.float64)
        if len(pairs) >= 10:
            learned = Reach.covering(times[pairs.target] - times[pairs.source], pairs.target - pairs.source)
            found.append(learned)
    if not found:
        return Reach()
    return Reach(max(each.limit_s for each in found), max(LEAST_TURNS, *(each.max_turns for each in found)))


def balanced(logs: Sequence[Prepared]) -> list[Values]:
    """Weights of the known pairs by which every log counts alike [known pairs] float64, one array a log."""
    found = [each.weight[each.known] for each in logs]
    return [weight * (2000.0 / max(float(weight.sum()), 1.0)) for weight in found]


def grown(
    logs: Sequence[Prepared], seed: int, told: Told = lambda stage, done, total: None
) -> tuple[Trees, list[Values]]:
    """Trees of all known pairs, and for every log the log-odds by trees that did not see a pair's session [pairs]."""
    weights = balanced(logs)
    parts = [folds(each.batch, each.pairs, FOLDS) for each in logs]
    own = [np.zeros(len(each.pairs)) for each in logs]
    for fold in range(FOLDS):
        told("growing trees", fold, FOLDS + 1)
        trees = _fitted(logs, weights, [part != fold for part in parts], seed)
        for odds, each, part in zip(own, logs, parts, strict=True):
            odds[part == fold] = trees.log_odds(each.features[part == fold])
    told("growing trees", FOLDS, FOLDS + 1)
    trees = _fitted(logs, weights, [np.ones(len(part), np.bool_) for part in parts], seed)
    told("growing trees", FOLDS + 1, FOLDS + 1)
    return trees, own


def _fitted(logs: Sequence[Prepared], weights: list[Values], used: list[NDArray[np.bool_]], seed: int) -> Trees:
    """Trees of what was said; made-up sessions are for the encoder, since trees would learn how they were made."""
    rows = [each.known & part & (not each.made_up) for each, part in zip(logs, used, strict=True)]
    features = np.concatenate([each.features[row] for each, row in zip(logs, rows, strict=True)])
    label = np.concatenate([each.labels.label[row] for each, row in zip(logs, rows, strict=True)])
    weight = np.concatenate([w[row[each.known]] for each, row, w in zip(logs, rows, weights, strict=True)])
    weak = not any(each.annotated for each in logs)
    return Trees.fitted(features, label, weight, seed=seed, weak=weak)


def _window_set(
    logs: Sequence[Prepared], windows: Sequence[Windows], priors: Sequence[Values], recipe: Recipe
) -> WindowSet:
    """The windows that are worth learning from, as one `datasets.Dataset`; every log counts alike."""
    from datasets import Dataset

    from rephrase_detection.span_training_torch import WindowSet

    rows: dict[str, list[Any]] = {
        name: [] for name in ("input_ids", "again", "start", "end", "prior", "label", "kind", "weight")
    }
    for number, (log, own, prior) in enumerate(zip(logs, windows, priors, strict=True)):
        chosen, weight = _chosen(log, own, prior, recipe, number)
        share = 1000.0 / max(float(weight.sum()), 1.0)
        for window, amount in zip(chosen.tolist(), weight.tolist(), strict=True):
            tokens, slots = own.tokens_of(window), own.slots_of(window)
            pair = own.pair[slots]
            values = (own.tokens[tokens], own.again[tokens], own.start[slots], own.end[slots], prior[pair])
            labels = (log.labels.label[pair], log.labels.kind[pair])
            for name, each in zip(rows, (*values, *labels, amount * share), strict=True):
                rows[name].append(each)
    if not rows["weight"]:
        raise DetectorError("no window is left to learn from: more annotated or failing turns are wanted")
    return WindowSet(Dataset.from_dict(rows))


def _chosen(
    log: Prepared, windows: Windows, prior: Values, recipe: Recipe, number: int
) -> tuple[NDArray[np.int64], Values]:
    """The windows of a log that are learned from, and the weight of each: a sample stands for the rest."""
    label = log.labels.label[windows.pair]
    starts = windows.slot_starts[:-1]
    if not len(windows):
        return np.zeros(0, np.int64), np.zeros(0)
    known = np.logical_or.reduceat(~np.isnan(label), starts)
    positive = np.maximum.reduceat(np.nan_to_num(label), starts) > 0
    open_ = np.maximum.reduceat(prior[windows.pair], starts) >= recipe.surely_none
    asked = known & (positive | open_)
    weight = np.maximum.reduceat(log.weight[windows.pair], starts)
    others = np.flatnonzero(asked & ~positive)
    room = max(recipe.max_windows - int(positive.sum()), 1)
    if len(others) > room:
        kept = np.random.default_rng([recipe.seed, number]).permutation(others)[:room]
        asked[np.setdiff1d(others, kept)] = False
        weight[kept] *= len(others) / room
    rows = np.flatnonzero(asked)
    return rows, weight[rows]


def _joined(
    onnx: Any, logs: Sequence[Prepared], windows: Sequence[Windows], priors: Sequence[Values], recipe: Recipe
) -> tuple[Joint, dict[str, Any]]:
    """How trees and text go together on the sessions held back, and what the two then reach there.

    Weak labels calibrate nothing, as they are those of a rule: without an annotated log UNCALIBRATED stands.
    """
    texts = [onnx.scores(each, len(log.pairs))[0] for each, log in zip(windows, logs, strict=True)]
    for log, prior, text in zip(logs, priors, texts, strict=True):  # as in serving, where these are not asked about
        text[~asked_about(log.pairs, prior, recipe.surely_none)] = np.nan
    told = [place for place, log in enumerate(logs) if log.annotated]
    joint, threshold = UNCALIBRATED, 0.5
    if told:
        pairs, labels = [logs[n].pairs for n in told], [logs[n].labels.label for n in told]
        joint = Joint.fitted(pairs, labels, [priors[n] for n in told], [texts[n] for n in told])
        there = [joint.probability(logs[n].pairs, priors[n], texts[n]) for n in told]
        threshold = best_threshold(pairs, labels, there, calibrated=True)
    probabilities = [
        joint.probability(log.pairs, prior, text) for log, prior, text in zip(logs, priors, texts, strict=True)
    ]
    reported = [n for n in told or range(len(logs)) if not logs[n].made_up]
    found = [_best_known(logs[n], probabilities[n]) for n in reported]
    best, label = (np.concatenate([each[row] for each in found]) for row in (0, 1))
    right, positives = float(label[best >= threshold].sum()), sum(float(each[2]) for each in found)
    return joint, {
        "threshold": threshold,
        "sources": len(best),
        "rephrases": int(positives),
        "precision": right / max(int((best >= threshold).sum()), 1),
        "recall": right / max(positives, 1),
        "calibrated": bool(told),
        "joint": asdict(joint),
    }


def _best_known(log: Prepared, probability: Values) -> tuple[Values, Values, float]:
    """The most probable known pair of every source, its label, and how many rephrases there are."""
    pairs, label, p = log.pairs.among(log.known), log.labels.label[log.known], probability[log.known]
    best = pairs.best(p)
    return p[best], label[best], float(label.sum())


def _parts(
    logs: Sequence[TrainingLog], development: Sequence[TrainingLog], recipe: Recipe
) -> tuple[list[TrainingLog], list[TrainingLog]]:
    """What is learned from, and what is held back: a share of each log's users, or of its sessions if users are few."""
    train = [log for log in logs if log.sessions]
    if not train:
        raise DetectorError("no session came: a log with turns is wanted")
    if development:
        return train, [log for log in development if log.sessions]
    seen: list[TrainingLog] = []
    held: list[TrainingLog] = []
    for log in train:
        by_user = len({session.user_id for session in log.sessions}) >= 20
        aside = [_aside(session.user_id if by_user else session.session_id, recipe) for session in log.sessions]
        chosen = list(zip(log.sessions, aside, strict=True))
        for part, wanted in ((seen, False), (held, True)):
            some = tuple(session for session, away in chosen if away is wanted)
            part.append(TrainingLog(log.name, some, annotated=log.gold))
    return [log for log in seen if log.sessions], [log for log in held if log.sessions]


def _aside(name: str, recipe: Recipe) -> bool:
    return crc32(f"{recipe.seed} {name}".encode()) / 2**32 < recipe.development


def _annotated(log: TrainingLog) -> bool:
    turns = (turn for session in log.sessions for turn in session.turns)
    return any(turn.gold is not None and "rephrase_of" in turn.gold.annotated for turn in turns)


def _refuse_useless(seen: Sequence[Prepared], unseen: Sequence[Prepared]) -> None:
    for where, logs in (("to learn from", seen), ("held back for calibration", unseen)):
        label = np.concatenate([np.zeros(0), *(each.labels.label for each in logs)])
        positive, negative = int((label == 1).sum()), int((label == 0).sum())
        if positive < 5 or negative < 5:
            raise DetectorError(
                f"{positive} rephrases and {negative} other pairs are {where}: at least 5 of each are wanted. Give a"
                " longer log, or annotated dialogues (gold.rephrase_of)"
            )


def _counted(log: Prepared) -> dict[str, Any]:
    label = log.labels.label
    return {
        "turns": log.batch.num_rows,
        "labels": "made up" if log.made_up else "gold" if log.annotated else "weak",
        "rephrases": int((label == 1).sum()),
        "others": int((label == 0).sum()),
        "unknown": int(np.isnan(label).sum()),
    }


def _optimisation(torch_part: Any, recipe: Recipe) -> Optimisation:
    how: Optimisation = torch_part.Optimisation(
        epochs=recipe.epochs, batch_windows=recipe.batch_windows, learning_rate=recipe.learning_rate,
        patience=recipe.patience, seed=recipe.seed,
    )  # fmt: skip
    return how


def _told(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name, value in asdict(recipe).items() if isinstance(value, int | float | None)}


def _work_folder(
    out: Path,
    logs: Sequence[TrainingLog],
    development: Sequence[TrainingLog],
    encoder: str | Path,
    recipe: Recipe,
) -> Path:
    """The folder of this very training, empty unless it was begun before."""
    whole = hashlib.sha256()
    for part in (logs, development):
        for log in part:
            whole.update(f"{log.name} {len(log.sessions)}\n".encode())
            for session in log.sessions:
                whole.update(repr(session).encode(errors="surrogatepass"))
        whole.update(b"development follows")
    for path in (*sorted(Path(encoder).glob("*.*")), *sorted(Path(__file__).parent.glob("*.py"))):
        whole.update(f"{path.name} {path.stat().st_size}\n".encode())
        whole.update(path.read_bytes() if path.suffix in (".py", ".json") else b"")
    job = json.dumps({"turns": whole.hexdigest(), "encoder": str(encoder), "recipe": repr(recipe)})
    work = out.absolute().with_name(out.name + ".work")
    name = work / "job.json"
    if work.exists() and not name.is_file() and (not work.is_dir() or any(work.iterdir())):
        raise DetectorError(f"{work} is in the way and holds no training: name another folder to train into")
    if not name.is_file() or name.read_text(encoding="utf-8") != job:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        name.write_text(job, encoding="utf-8")
    return work
