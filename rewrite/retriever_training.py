"""Training a retriever: the encoder on what was heard and meant, the trees on what it then proposes, the thresholds.

An `Attempt` is a request whose fate is known: right as it was said, or said again in words that worked. The attempts
come from logs (`rewrite.attempt_reading`) or from annotations; what candidates are proposed from is the population of a
bundle, so that the trees see what the engine will see.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import copyfile
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from retrieval.dual_encoder import DualEncoder
from retrieval.errors import FolderError
from retrieval.sounds import SoundShape
from rewrite.dense_rung import DenseRung, Request, slice_of
from rewrite.dense_serving import DenseArrays, Population, build_dense
from rewrite.errors import ModelError
from rewrite.models import PACKAGED, resolve_model
from rewrite.progress import Progress
from rewrite.reranker_training import Example, RerankerRecipe, enough, train_reranker
from rewrite.retriever import ENCODER, RERANKER, Retriever, save
from rewrite.serving import ServingArrays
from rewrite.thresholds import Thresholds
from rewrite.timings import Timings

#: Pairs of what was heard and meant that an encoder is trained from, at least; with fewer it is taken as it is.
LEAST_PAIRS = 200


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request and its fate.

    request   as the dense rung sees it
    alone     whether it is right as it was said
    meant     canonical text of what was meant, where that is another; None: not known
    frame     the right interpretation (`interpretation_key`): a candidate that has it is right too
    group     who said it, or whatever must not be both trained on and measured on
    """

    request: Request
    alone: bool
    meant: str | None = None
    frame: str | None = None
    group: str = ""


@dataclass(frozen=True)
class RetrieverRecipe:
    """How a retriever is trained."""

    model: str = PACKAGED  # folder, Hugging Face id, or "packaged"
    layers: int | None = 1
    steps: int = 1_600
    reranker: RerankerRecipe = field(default_factory=RerankerRecipe)
    seed: int = 0
    encoder_share: float = 0.5  # of the groups, those that the encoder learns from; the trees learn from the others

    def __post_init__(self) -> None:
        if not 0 <= self.encoder_share < 1 or self.steps < 1:
            raise ValueError(f"{self} came; an encoder_share from 0 to below 1 and a step or more are wanted")


@dataclass(frozen=True, slots=True)
class Ground:
    """What candidates are proposed from: the serving arrays of a bundle and the interpretations of its texts."""

    index: Path  # the folder `index` of a bundle
    users: NDArray[Any]  # [rows] how many said each text
    frames: dict[str, str]

    def arrays(self) -> ServingArrays:
        """Maps them. Raises retrieval.FolderError."""
        return ServingArrays.load(self.index)


def train_retriever(
    ground: Ground,
    attempts: Sequence[Attempt],
    out: Path,
    recipe: RetrieverRecipe,
    progress: Progress | None = None,
    *,
    encoder: Path | None = None,
    pairs: Iterable[tuple[str, str]] = (),
    texts: Iterable[str] = (),
    passed: int = 0,
) -> Retriever:
    """Writes a retriever into the empty folder `out`; with `encoder`, the folder of one that was trained before.

    `pairs` are further ones (heard, meant) and `texts` further requests for the encoder; `passed` is how many good
    requests never came to the dense rung, for the budget of harm counts good requests of any kind. Raises ModelError.
    """
    progress = progress or Progress()
    arrays = ground.arrays()
    unseen = list(attempts)
    if encoder is None:
        seen = [each for each in attempts if _for_encoder(each.group, recipe.encoder_share)]
        heard = [(each.request.said, each.meant) for each in seen if not each.alone and each.meant]
        known = list(dict.fromkeys([*Population.over(arrays, ground.users).working, *texts]))
        if not known:
            none = f"no request in {ground.index} is known to work, so that none could be proposed"
            raise ModelError(f"{none}: learn the bundle from a longer log first")
        try:
            told = train_encoder(known, ground.frames, [*heard, *pairs], out / ENCODER, recipe, progress)
        except FolderError as error:
            raise ModelError(f"{recipe.model} cannot be used as an encoder: {error}") from error
        if told["trained"]:
            unseen = [each for each in attempts if not _for_encoder(each.group, recipe.encoder_share)]
    else:
        _copy(encoder, out / ENCODER)
        told = {"taken_from": str(encoder)}
    with tempfile.TemporaryDirectory(dir=out, prefix=".work.") as work:  # removed with the draft, should this be killed
        rung = rung_over(ground, arrays, out / ENCODER, Path(work), progress)
        examples = list(examples_of(rung, unseen, progress))
    thresholds: Thresholds | None = None
    measured: dict[str, Any] = {"examples": len(examples)}
    if enough(examples):
        with progress.stage("growing the trees and choosing the thresholds"):
            thresholds, measured = train_reranker(examples, out / RERANKER, recipe.reranker, passed)
    save(out, thresholds, {"recipe": asdict(recipe), "encoder": told, "reranker": measured})
    return Retriever.load(out)


def train_encoder(
    requests: Sequence[str],
    frames: dict[str, str],
    pairs: Sequence[tuple[str, str]],
    folder: Path,
    recipe: RetrieverRecipe,
    progress: Progress,
) -> dict[str, Any]:
    """Writes a dual encoder: trained where there are pairs enough, as it is otherwise.

    Raises ModelError, or retrieval.FolderError.
    """
    from retrieval.dual_encoder import load_tokenizer
    from retrieval.dual_encoder_export_torch import save_encoder
    from retrieval.dual_encoder_training_torch import EncoderData, EncoderRecipe, train, untrained

    source = resolve_model(recipe.model).path
    tokenizer, shape = load_tokenizer(source / "tokenizer.json"), SoundShape()
    pairs = list(dict.fromkeys((heard, meant) for heard, meant in pairs if heard and meant and heard != meant))
    told: dict[str, Any] = {"trained": len(pairs) >= LEAST_PAIRS, "pairs": len(pairs)}
    if not told["trained"]:
        network = untrained(source, shape)
    else:
        data = EncoderData(pairs, requests, {text: frames[text] for text in requests if text in frames})
        chosen = EncoderRecipe(layers=recipe.layers, steps=recipe.steps, seed=recipe.seed)
        with progress.stage("training the encoder", recipe.steps) as stage:
            network = train(data, source, tokenizer, shape, chosen, lambda step, loss: stage.at(step))
        told["recipe"] = asdict(chosen)
    with progress.stage("exporting the encoder"):
        told["export"] = save_encoder(network, folder, tokenizer, shape, requests)
    return told


def rung_over(ground: Ground, arrays: ServingArrays, encoder: Path, work: Path, progress: Progress) -> DenseRung:
    """The dense rung of a population with an encoder, and no reranker yet; its arrays are written into `work`."""
    retriever = Retriever(encoder.parent, DualEncoder.load(encoder), None, None, {})
    population = Population.over(arrays, ground.users)
    with progress.stage("encoding the requests", len(population.texts)) as stage:
        build_dense(work / "dense", population, ground.frames, retriever, told=stage.at)
    return DenseRung.over(DenseArrays.open(work / "dense", ground.index / "personal", retriever), arrays)


def examples_of(rung: DenseRung, attempts: Sequence[Attempt], progress: Progress) -> Iterator[Example]:
    """What the trees learn from: each attempt that comes to the dense rung, with the candidates that it gets there."""
    with progress.stage("proposing candidates", len(attempts)) as stage:
        for number, attempt in enumerate(attempts):
            if (example := example_of(rung, attempt)) is not None:
                yield example
            if number % 64 == 0:
                stage.at(number)


def example_of(rung: DenseRung, attempt: Attempt) -> Example | None:
    """One attempt with its candidates; None where there are none."""
    request = attempt.request
    found = rung.propose(request, Timings())
    if not found:
        return None
    key = rung.arrays.frame_key
    right = [each.text == attempt.meant or bool(attempt.frame and key(each.row) == attempt.frame) for each in found]
    return Example(
        rung.features(request, found),
        np.array(right, np.bool_),
        np.array([rung.refusal(request, each) is None for each in found], np.bool_),
        attempt.alone,
        attempt.group,
        slice_of(request, rung.arrays),
    )


def _for_encoder(group: str, share: float) -> bool:
    """Whether the encoder learns from a group. What it has seen it finds too easily: trees that learned from that would
    believe it too much."""
    return crc32(group.encode()) % 1_000 < 1_000 * share


def _copy(source: Path, target: Path) -> None:
    DualEncoder.load(source)  # a folder that is no encoder is refused before anything is written
    target.mkdir(parents=True)
    for path in source.iterdir():
        copyfile(path, target / path.name)
