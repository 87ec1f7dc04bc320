"""How many misrecognised requests does the online rung repair, at what harm, beside simpler ways?

    python benchmarks/online_quality.py DATA --out FOLDER [--steps 1600] [--quick]

DATA as in `benchmarks/online_world.py`. Sentences are dealt into two halves; each half is measured with trees and
thresholds of the other, so that every recording counts once. The encoder of both has seen none of these sentences, but
other requests, and other pairs of what was heard and said. Three indexes:

    covered              the sentences that at least one recording got right
    among distractors    these among all of `queries/hwu`
    uncovered            all of these but the sentences of the half that is measured; recordings without a right answer

A *defect* is a recording that NLU got wrong. It is repairable where the sentence that was read is in the index; it is
*repaired* (a win) where it is rewritten to a request with the right interpretation. A recording that NLU got right is
*harmed* (a loss) where it is rewritten to a request with another interpretation. Recordings whose text is in the index
pass by the known-good gate, in every system. Shares are of repairable defects, and of recordings that are right;
intervals by bootstrap over sentences. "At a budget" reads each system's curve at the score where that share of right
recordings is harmed, all systems alike; "as served" is by the thresholds that were chosen on the other half.
"Rewritten" is with all guards; "rewritten or asked" counts what a guard refuses and the user is asked instead ("did you
mean").

Encoder and trees are kept in FOLDER and used again by the next run; without them the run takes half an hour on two
cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine, table, told  # benchmarks/measure.py
from numpy.typing import NDArray
from online_world import CANONICAL, Recording, World, users_of, write_bundle  # benchmarks/online_world.py

from eval.uncertainty import bootstrap, ratio
from rewrite import Action, EngineConfig, Reason, RewriteEngine
from rewrite.asking import interpretation
from rewrite.dense_rung import DenseRung, Request
from rewrite.dense_serving import DenseArrays
from rewrite.progress import Progress, Stage
from rewrite.retriever import Retriever
from rewrite.retriever_training import Attempt, Ground, RetrieverRecipe, train_encoder, train_retriever
from rewrite.serving import ServingArrays
from rewrite.timings import Timings

BUDGETS = (0.001, 0.003, 0.01)
#: The share of repairable defects to be repaired at each budget.
MARKS = {"covered": (58, 63, 72), "among distractors": (48, 52, 62)}
STEPS, QUICK_STEPS = 1_600, 4
CANDIDATES = 10


@dataclass(frozen=True)
class Answer:
    """What a system proposes for a recording, best first, and how sure it is; empty: nothing, or the gate."""

    recording: Recording
    frames: tuple[str, ...] = ()
    score: float = -np.inf
    served: bool = False  # as the system's own thresholds have it
    gate: bool = False
    suggested: bool = False
    unguarded: float = -np.inf  # the score, the guards' refusals included: of these the user is asked


def attempts_of(recordings: Sequence[Recording], texts: Mapping[str, str]) -> list[Attempt]:
    """What a retriever is trained from: the recordings that come to the dense rung."""
    return [
        Attempt(
            Request(each.heard, interpretation=interpretation(each.nlu, CANONICAL)),
            alone=each.right,
            meant=None if each.right else each.meant,
            frame=each.frame,
            group=each.goal,
        )
        for each in recordings
        if each.heard and each.heard not in texts
    ]


def partly(texts: Mapping[str, str], reached: Mapping[str, str]) -> dict[str, str]:
    """An index without every third of the sentences, so that the trees meet requests that no index knows, good and bad,
    as every assistant does."""
    hidden = {text for text in reached if int(md5(text.encode()).hexdigest(), 16) % 3 == 0}
    return {text: frame for text, frame in texts.items() if text not in hidden}


def encoder_for(world: World, out: Path, steps: int) -> Path:
    """The encoder of both halves, kept in `out`: it saw no sentence of either, but other requests and other pairs."""
    folder = out / "encoder"
    if not (folder / "meta.json").is_file():
        told("training the encoder")
        recipe = RetrieverRecipe(steps=steps)
        with tempfile.TemporaryDirectory(dir=out) as work:
            draft = Path(work) / "encoder"
            other = world.without_recorded()
            texts = list(dict.fromkeys([*other.others, *other.texts]))
            train_encoder(texts, other.others, other.pairs, draft, recipe, Telling())
            draft.rename(folder)
    return folder


def retriever_for(world: World, part: int, name: str, texts: Mapping[str, str], out: Path, steps: int) -> Retriever:
    """The retriever that measures `part` over an index of that name, its trees grown on the other; kept in `out`."""
    folder = out / f"retriever-{part}-{name.replace(' ', '-')}"
    if (folder / "retriever.json").is_file():
        return Retriever.load(folder)
    encoder = encoder_for(world, out, steps)
    known = world.without(part)
    told(f"training the retriever for half {part + 1}, {name}")
    with tempfile.TemporaryDirectory(dir=out) as work:
        shown = partly(texts, known.reached(known.recordings))
        index = write_bundle(Path(work) / "ground", shown) / "index"
        ground = Ground(index, users_of(list(shown)), shown)
        draft = Path(work) / "draft"
        train_retriever(
            ground, attempts_of(known.recordings, shown), draft, RetrieverRecipe(steps=steps), encoder=encoder,
            passed=sum(each.right and each.heard in shown for each in known.recordings),
        )  # fmt: skip
        draft.rename(folder)
    return Retriever.load(folder)


def ours(
    world: World, part: int, name: str, texts: Mapping[str, str], retriever: Retriever, work: Path
) -> list[Answer]:
    """The engine's answers to the recordings of a part."""
    config = EngineConfig(deadline_s=10, live=False, alternatives=CANDIDATES)
    bundle = write_bundle(work / f"{part}-{name}", texts, retriever)
    dense = DenseArrays.load(bundle)
    assert dense is not None
    rung = DenseRung.over(dense, ServingArrays.load(bundle / "index"))
    engine = RewriteEngine.load(bundle, config=config)
    return [_asked(engine, rung, each, texts) for each in world.of(part)]


def _asked(engine: RewriteEngine, rung: DenseRung, recording: Recording, texts: Mapping[str, str]) -> Answer:
    """The engine's answer. Below its thresholds it asks no guard; what one would say is asked here."""
    decision = engine.rewrite(recording.heard, nlu=recording.nlu)
    if decision.reason in (Reason.KNOWN_GOOD, Reason.EMPTY):
        return Answer(recording, gate=True)
    if "score" not in decision.evidence:
        return Answer(recording)
    first = [] if decision.action is Action.PASS else [decision.text]
    found = [*first, *(each.text for each in decision.alternatives)]
    unguarded = -np.inf if decision.reason is Reason.NOT_FAILING else decision.evidence["score"]
    served = decision.reason is Reason.NEAR_GOOD
    if decision.reason is Reason.UNSURE:
        served = not _refuses(rung, recording, found[0])
    score = unguarded if served else -np.inf
    rewritten, suggested = decision.action is Action.REWRITE, decision.action is Action.SUGGEST
    frames = tuple(texts[text] for text in found)
    return Answer(recording, frames, score, rewritten, suggested=suggested, unguarded=unguarded)


def _refuses(rung: DenseRung, recording: Recording, text: str) -> bool:
    """Whether a guard refuses a candidate."""
    request = Request(recording.heard, interpretation=interpretation(recording.nlu, CANONICAL))
    found = [each for each in rung.propose(request, Timings()) if each.text == text]
    return bool(found) and rung.refusal(request, found[0]) is not None


class Telling(Progress):
    """Tells of the encoder's training, which takes most of the run."""

    def stage(self, name: str, total: float | None = None) -> Stage:
        return _Told(name, total)


class _Told(Stage):
    def at(self, done: float) -> None:
        if int(done) % 100 == 0:
            told(f"{self.name}: {int(done):,} of {int(self.total or 0):,}")


# Simpler ways


def simpler(recordings: Sequence[Recording], texts: Mapping[str, str]) -> dict[str, list[Answer]]:
    """What edit distance, BM25 and off-the-shelf sentence vectors propose: the nearest request, as sure as it is near.
    """
    known = sorted(texts)
    asked = [each for each in recordings if each.heard and each.heard not in texts]
    ways: dict[str, Callable[[list[str], list[str]], NDArray[np.float32]]] = {
        "edit distance": _letters, "BM25": _bm25, "sentence vectors": _vectors,
    }  # fmt: skip
    found = {}
    for name, way in ways.items():
        scores = way([each.heard for each in asked], known)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :CANDIDATES]
        of = {
            id(each): Answer(each, tuple(texts[known[place]] for place in places), float(row[places[0]]))
            for each, places, row in zip(asked, order.tolist(), scores, strict=True)
        }
        found[name] = [of.get(id(each), Answer(each, gate=True)) for each in recordings]
    return found


def _letters(asked: list[str], known: list[str]) -> NDArray[np.float32]:
    from rapidfuzz import process
    from rapidfuzz.distance import Indel

    return np.asarray(process.cdist(asked, known, scorer=Indel.normalized_similarity, dtype=np.float32))


def _bm25(asked: list[str], known: list[str], k1: float = 1.2, b: float = 0.75) -> NDArray[np.float32]:
    """Over the score of the request with itself, so that long requests are no surer than short ones."""
    from sklearn.feature_extraction.text import CountVectorizer

    words = CountVectorizer(token_pattern=r"\S+").fit([*known, *asked])
    counts, queries = words.transform(known).tocsr().astype(np.float64), words.transform(asked).tocsr()
    held = np.asarray((counts > 0).sum(axis=0)).ravel()
    idf = np.log(1 + (len(known) - held + 0.5) / (held + 0.5))
    mean = float(counts.sum(axis=1).mean())

    def weighed(table: Any) -> Any:
        rows = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
        lengths = np.asarray(table.sum(axis=1)).ravel()[rows]
        weights = table.copy().astype(np.float64)
        weights.data = weights.data * (k1 + 1) / (weights.data + k1 * (1 - b + b * lengths / mean)) * idf[table.indices]
        return weights

    one = (queries > 0).astype(np.float64)
    itself = np.asarray(one.multiply(weighed(queries)).sum(axis=1)).ravel()
    return np.asarray((one @ weighed(counts).T).toarray() / np.maximum(itself, 1e-9)[:, None], np.float32)


def _vectors(asked: list[str], known: list[str]) -> NDArray[np.float32]:
    from sentence_transformers import SentenceTransformer

    from rewrite import resolve_model

    model = SentenceTransformer(str(resolve_model().path), device="cpu")
    one, other = (model.encode(texts, normalize_embeddings=True, show_progress_bar=False) for texts in (asked, known))
    return np.asarray(one @ other.T, np.float32)


# Figures


@dataclass(frozen=True)
class Figures:
    """Of one system over one index. Shares, with the interval of the first."""

    repaired: dict[float, tuple[float, float, float]]  # budget -> share, low, high
    recall_1: float
    recall_10: float
    mrr: float
    repairable: int
    good: int


def figures(answers: Sequence[Answer], reached: Mapping[str, str], seed: int = 0) -> Figures:
    """Reads a system's curve at the budgets; what it ranks is measured on the repairable defects."""
    repairable = np.array([not each.recording.right and each.recording.meant in reached for each in answers])
    good = np.array([each.recording.right for each in answers])
    top = np.array([bool(each.frames) and each.frames[0] == each.recording.frame for each in answers])
    score = np.array([each.score for each in answers])
    proposed = np.array([bool(each.frames) for each in answers]) & np.isfinite(score)
    wins, harms = repairable & top & ~good, good & ~top & proposed
    ranks = [
        each.frames.index(each.recording.frame) + 1 if each.recording.frame in each.frames else 0
        for each, counts in zip(answers, repairable, strict=True) if counts
    ]  # fmt: skip
    goals = np.array([each.recording.goal for each in answers])
    found = {}
    for budget in BUDGETS:
        least = _threshold(score, harms, budget * good.sum())
        share = (wins & (score >= least) & np.isfinite(score)).astype(float)
        found[budget] = _with_interval(share, repairable.astype(float), goals, seed)
    return Figures(
        found,
        float(np.mean([rank == 1 for rank in ranks])),
        float(np.mean([0 < rank <= 10 for rank in ranks])),
        float(np.mean([1 / rank if rank else 0.0 for rank in ranks])),
        int(repairable.sum()),
        int(good.sum()),
    )


def _threshold(score: NDArray[np.float64], harms: NDArray[np.bool_], allowed: float) -> float:
    """The lowest score at which no more are harmed than allowed."""
    harmful = np.sort(score[harms])[::-1]
    if len(harmful) <= allowed:
        return -np.inf
    return float(np.nextafter(harmful[int(allowed)], np.inf))


def _with_interval(
    part: NDArray[np.float64], whole: NDArray[np.float64], goals: NDArray[Any], seed: int
) -> tuple[float, float, float]:
    _, place = np.unique(goals, return_inverse=True)
    sums = np.stack([np.bincount(place, part), np.bincount(place, whole)], axis=1)
    interval = bootstrap(sums, ratio, seed=seed)
    share = float(part.sum() / whole.sum())
    return share, interval.low if interval else share, interval.high if interval else share


@dataclass(frozen=True)
class Served:
    """What our engine does with the thresholds that it was given. Shares and counts."""

    frame_accuracy: tuple[float, float]  # before and after
    intent_accuracy: tuple[float, float]
    wins: int
    losses: int
    rewritten: float  # of all
    false_triggers: float  # of the recordings that are right, those that are rewritten, to whatever
    suggested: float


def served(answers: Sequence[Answer]) -> Served:
    """Before and after rewriting. A recording that is rewritten gets the interpretation of the request it becomes."""
    total = len(answers)
    before = np.array([each.recording.right for each in answers])
    right_intent = np.array([_intent_of(each.recording.nlu) == _intent(each.recording.frame) for each in answers])
    rewritten = np.array([each.served for each in answers])
    hit = np.array([each.served and each.frames[0] == each.recording.frame for each in answers])
    intent = np.array([each.served and _intent(each.frames[0]) == _intent(each.recording.frame) for each in answers])
    after, after_intent = np.where(rewritten, hit, before), np.where(rewritten, intent, right_intent)
    return Served(
        (float(before.mean()), float(after.mean())),
        (float(right_intent.mean()), float(after_intent.mean())),
        int((after & ~before).sum()),
        int((before & ~after).sum()),
        float(rewritten.sum() / total),
        float((rewritten & before).sum() / max(before.sum(), 1)),
        float(np.mean([each.suggested for each in answers])),
    )


def _intent(key: str) -> tuple[Any, Any]:
    domain, intent, _ = json.loads(key)
    return domain, intent


def _intent_of(nlu: Mapping[str, Any]) -> tuple[Any, Any]:
    return nlu.get("domain"), nlu.get("intent")


# The run


def measured(world: World, out: Path, steps: int) -> dict[str, Any]:
    """All figures, by index and system."""
    found: dict[str, Any] = {"served": {}, "curves": {}, "uncovered": {}}
    everything = world.reached(world.recordings)
    for name in MARKS:
        texts = everything if name == "covered" else world.among(everything)
        answers: dict[str, list[Answer]] = {}
        for part in (0, 1):
            known = world.without(part)
            train = known.reached(known.recordings)
            train = train if name == "covered" else known.among(train)
            retriever = retriever_for(world, part, name, train, out, steps)
            told(f"measuring half {part + 1}, {name}")
            with tempfile.TemporaryDirectory(dir=out) as work:
                one = ours(world, part, name, texts, retriever, Path(work))
                uncovered = ours(world, part, f"{name}, uncovered", train, retriever, Path(work))
            found["uncovered"].setdefault(name, []).extend(
                (each.served, each.suggested) for each in uncovered if each.recording.frame not in set(train.values())
            )
            asked = [replace(each, score=each.unguarded) for each in one]
            systems = {"ours, rewritten": one, "ours, rewritten or asked": asked, **simpler(world.of(part), texts)}
            for system, these in systems.items():
                answers.setdefault(system, []).extend(these)
        found["curves"][name] = {system: figures(these, everything) for system, these in answers.items()}
        found["served"][name] = served(answers["ours, rewritten"])
    return found


def shown(found: Mapping[str, Any]) -> str:
    """The tables of the documentation."""
    parts = []
    for name, systems in found["curves"].items():
        head = ["", *(f"{budget:.1%} harmed" for budget in BUDGETS), "recall at 1", "at 10", "MRR"]
        rows = [
            [
                system,
                *(_share(of.repaired[budget]) for budget in BUDGETS),
                *(f"{value:.3f}" for value in (of.recall_1, of.recall_10, of.mrr)),
            ]
            for system, of in systems.items()
        ]
        any_of = next(iter(systems.values()))
        parts.append(f"{name}: {any_of.repairable:,} repairable defects, {any_of.good:,} right recordings\n")
        marks = ", ".join(f"{mark} %" for mark in MARKS[name])
        parts += [table(head, rows), f"Marks: {marks}.\n"]
        does: Served = found["served"][name]
        (before, after), (intent, intent_after) = does.frame_accuracy, does.intent_accuracy
        parts.append(
            f"As served: frame accuracy {before:.3f} -> {after:.3f}, intent {intent:.3f} -> {intent_after:.3f};"
            f" {does.wins} wins, {does.losses} losses; {does.rewritten:.1%} rewritten, of right recordings"
            f" {does.false_triggers:.2%}; {does.suggested:.1%} suggested\n"
        )
        out_of = found["uncovered"][name]
        false = sum(served for served, _ in out_of)
        share = false / max(len(out_of), 1)
        told_of = f"{len(out_of):,} recordings without a right answer, {false} rewritten ({share:.2%})"
        parts.append(f"Uncovered: {told_of}\n")
    return "\n".join(parts)


def _share(value: tuple[float, float, float]) -> str:
    share, low, high = value
    return f"{share:.1%} ({low:.1%} to {high:.1%})"


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with slurp/, queries/, snips_asr/ and dstc2/")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the retrievers are kept")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the encoder's training (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="encoders that are hardly trained, to see that all runs")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    told(machine("faiss-cpu", "onnxruntime", "lightgbm", "torch"))
    found = measured(World.read(given.data), given.out, QUICK_STEPS if given.quick else given.steps)
    print(shown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
