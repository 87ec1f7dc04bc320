"""Training the dual encoder: (heard, meant) pairs with in-batch and hard negatives, and a teacher for the meaning.

The loss of a pair is that of Karpukhin et al. 2020, eq. 2: the negative log-likelihood of the request that was meant
among all requests of the batch and one hard negative for each, near in letters but not in meaning. Requests that mean
the same as the one meant are no negatives. Real pairs are few, so most of a batch are made up (`retrieval.misheard`).
Beside it the student's words keep the likenesses that the teacher, the whole pretrained model, gives the same requests
(the relations, not the vectors, as the dimensions differ: Park et al., "Relational Knowledge Distillation", CVPR 2019,
eq. 4, with squares).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from retrieval.dual_encoder import MOST_TOKENS
from retrieval.dual_encoder_torch import DualEncoderNetwork, pretrained
from retrieval.encoder import NgramEncoder
from retrieval.misheard import Confusions
from retrieval.sounds import SoundShape

Told = Callable[[int, float], None]
#: Texts are read up to so many tokens in training: few are longer, and all of a batch are padded to the longest.
TRAINED_TOKENS = 24


@dataclass(frozen=True, slots=True)
class EncoderRecipe:
    """How a dual encoder is trained."""

    layers: int | None = 1
    word_dim: int = 256
    sound_dim: int = 128
    batch: int = 96
    steps: int = 1_600
    real_share: float = 0.4  # of a batch's pairs, those that were really heard
    rate: float = 1e-4
    sound_rate: float = 3e-3
    temperature: float = 0.05
    pieces_dropped: float = 0.2  # share of the pieces of sound that each look at a text goes without
    teacher_weight: float = 20.0
    most_texts: int = 20_000  # requests, and pairs, that are learned from
    bf16: bool = True  # of the transformer's products: nearly twice as fast on a processor that has them
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 2 or self.steps < 1 or not 0 <= self.real_share <= 1 or self.temperature <= 0:
            raise ValueError(f"{self} came; a batch of 2 or more, a step or more, a share, a temperature are wanted")


@dataclass(frozen=True)
class EncoderData:
    """What a dual encoder learns from, all canonical.

    pairs     (heard, meant), heard failing and meant working
    requests  texts that are known to work; made-up pairs come of them
    meaning   meaning of a text: texts of one meaning are no negatives of one another; the text itself where not known
    """

    pairs: Sequence[tuple[str, str]]
    requests: Sequence[str]
    meaning: dict[str, str]


def train(
    data: EncoderData,
    folder: Path,
    tokenizer: Any,
    shape: SoundShape,
    recipe: EncoderRecipe,
    told: Told = lambda step, loss: None,
) -> DualEncoderNetwork:
    """The trained network; `folder` holds the pretrained encoder, `tokenizer` is that of `tokenizers`.

    Deterministic under the recipe's seed, on one machine and number of threads.
    """
    torch.manual_seed(recipe.seed)
    data = _sampled(data, recipe)
    texts = list(dict.fromkeys([*data.requests, *(meant for _, meant in data.pairs)]))
    network = DualEncoderNetwork(pretrained(folder, recipe.layers), recipe.word_dim, recipe.sound_dim, shape.buckets)
    teacher = _embedded(pretrained(folder, None), texts, tokenizer)
    network.words.get_input_embeddings().weight.requires_grad_(False)  # rare words learn nothing from few pairs
    sounds = [network.sounds.weight, network.share]
    apart = ("sounds", "share")
    others = [p for n, p in network.named_parameters() if p.requires_grad and not n.startswith(apart)]
    optimiser = torch.optim.AdamW(
        [{"params": others, "lr": recipe.rate}, {"params": sounds, "lr": recipe.sound_rate, "weight_decay": 0.0}]
    )
    steps = recipe.steps
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    batches, place = _Batches(data, texts, recipe), {text: row for row, text in enumerate(texts)}
    network.train()
    for step in range(steps):
        heard, meant, hard = batches.drawn()
        rows = torch.tensor([place[text] for text in meant + hard])
        loss = _loss(network, heard, meant + hard, teacher[rows], data.meaning, tokenizer, shape, recipe)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        optimiser.step()
        schedule.step()
        told(step + 1, float(loss.detach()))
    network.eval()
    return network


def _sampled(data: EncoderData, recipe: EncoderRecipe) -> EncoderData:
    """No more requests and pairs than are drawn in so many steps: each request costs the teacher a look."""
    draw, most = Random(recipe.seed), min(recipe.most_texts, recipe.steps * recipe.batch)
    pairs = list(data.pairs) if len(data.pairs) <= most else draw.sample(data.pairs, most)
    requests = list(data.requests) if len(data.requests) <= most else draw.sample(data.requests, most)
    return EncoderData(pairs, requests, data.meaning)


def untrained(folder: Path, shape: SoundShape, sound_dim: int = 128, seed: int = 0) -> DualEncoderNetwork:
    """The pretrained encoder as it is, all its layers and dimensions, beside a bag of sounds hashed at random."""
    torch.manual_seed(seed)
    words = pretrained(folder, None)
    network = DualEncoderNetwork(words, int(words.config.hidden_size), sound_dim, shape.buckets)
    torch.nn.init.eye_(network.project.weight)
    network.eval()
    return network


def _rate(step: int, steps: int) -> float:
    warm = max(steps // 20, 1)
    return min((step + 1) / warm, (steps - step) / max(steps - warm, 1))


def _loss(
    network: DualEncoderNetwork,
    heard: Sequence[str],
    documents: Sequence[str],
    teacher: Tensor,
    meaning: dict[str, str],
    tokenizer: Any,
    shape: SoundShape,
    recipe: EncoderRecipe,
) -> Tensor:
    texts = [*heard, *documents]
    share, count = torch.sigmoid(network.share), len(heard)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
        words = network.meaning(*tokens(tokenizer, texts, TRAINED_TOKENS)).float()
    pieces, offsets = bags(shape, texts)
    kept = (torch.rand(len(pieces)) >= recipe.pieces_dropped).float()  # or whole words are learned by heart
    sound = network.sound(pieces, offsets, kept)
    likeness = share * words[:count] @ words[count:].T + (1 - share) * sound[:count] @ sound[count:].T
    means = [meaning.get(text, text) for text in documents]
    same = torch.tensor([[means[i] == other and i != j for j, other in enumerate(means)] for i in range(count)])
    scores = (likeness / recipe.temperature).masked_fill(same, -1e4)
    apart = functional.cross_entropy(scores, torch.arange(count))
    for view in (words, sound):  # each must find it alone as well, or one of the two learns nothing
        alone = (view[:count] @ view[count:].T / recipe.temperature).masked_fill(same, -1e4)
        apart = apart + 0.3 * functional.cross_entropy(alone, torch.arange(count))
    kept = functional.mse_loss(words[count:] @ words[count:].T, teacher @ teacher.T)
    return apart + recipe.teacher_weight * kept


class _Batches:
    """Pairs in random order, real and made up, each with a hard negative."""

    def __init__(self, data: EncoderData, texts: list[str], recipe: EncoderRecipe) -> None:
        self.draw = Random(recipe.seed)
        self.confusions = Confusions.learned(data.pairs, texts)
        self.pairs, self.texts = list(data.pairs), texts
        self.real = round(recipe.batch * recipe.real_share) if data.pairs else 0
        self.made = recipe.batch - self.real
        self.near = _near(texts, data.meaning)
        self.place = {text: row for row, text in enumerate(texts)}
        self._real, self._made = self._forever(self.pairs), self._forever(self.texts)

    def _forever(self, items: list[Any]) -> Iterator[Any]:
        while items:
            self.draw.shuffle(items := list(items))
            yield from items

    def drawn(self) -> tuple[list[str], list[str], list[str]]:
        """What was heard, what was meant, and a hard negative of each."""
        pairs = [next(self._real) for _ in range(self.real)]
        made = [next(self._made) for _ in range(self.made)]
        pairs += [(self.confusions.misheard(text, self.draw), text) for text in made]
        hard = [self._hard(meant) for _, meant in pairs]
        return [heard for heard, _ in pairs], [meant for _, meant in pairs], hard

    def _hard(self, meant: str) -> str:
        rows = self.near[self.place[meant]]
        return self.texts[self.draw.choice(rows)] if rows else self.draw.choice(self.texts)


def _near(texts: list[str], meaning: dict[str, str], count: int = 6, block: int = 512) -> list[list[int]]:
    """For each text, the rows of the nearest others in letters that mean something else."""
    from scipy.sparse import csr_array

    rows = NgramEncoder.fit(texts).encode(texts)
    matrix = csr_array((rows.values, rows.indices, rows.indptr), shape=(len(rows), rows.width))
    numbers: dict[str, int] = {}
    means = np.array([numbers.setdefault(meaning.get(text, text), len(numbers)) for text in texts])
    found: list[list[int]] = []
    for at in range(0, len(texts), block):
        likeness = (matrix[at : at + block] @ matrix.T).toarray()
        likeness[means[at : at + block, None] == means[None, :]] = -1.0
        nearest = np.argpartition(-likeness, min(count, len(texts) - 1), axis=1)[:, :count]
        found += [[row for row in near if of[row] > 0.2] for of, near in zip(likeness, nearest.tolist(), strict=True)]
    return found


def tokens(tokenizer: Any, texts: Sequence[str], most: int = MOST_TOKENS) -> tuple[Tensor, Tensor]:
    """Ids and mask [texts, tokens] int64 of some texts, padded to the longest, at most `most`."""
    encoded = [each.ids[:most] for each in tokenizer.encode_batch(list(texts))]
    ids = torch.zeros(len(encoded), max(map(len, encoded)), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, each in enumerate(encoded):
        ids[row, : len(each)] = torch.tensor(each)
        mask[row, : len(each)] = 1
    return ids, mask


def bags(shape: SoundShape, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Pieces [pieces] int64 of some texts, and where each text's begin [texts] int64."""
    pieces = [shape.pieces(text) for text in texts]
    starts = np.cumsum([0, *map(len, pieces)])[:-1]
    return torch.tensor([piece for each in pieces for piece in each], dtype=torch.int64), torch.tensor(starts)


def _embedded(encoder: Any, texts: Sequence[str], tokenizer: Any, block: int = 64) -> Tensor:
    """The means over tokens of a pretrained encoder [texts, hidden] float32 of length 1, in blocks of like length."""
    encoder.eval()
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    found = torch.zeros(len(texts), int(encoder.config.hidden_size))
    for at in range(0, len(order), block):
        rows = order[at : at + block]
        ids, mask = tokens(tokenizer, [texts[row] for row in rows])
        with torch.no_grad():
            hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        found[rows] = functional.normalize((hidden * weights).sum(dim=1) / weights.sum(dim=1), dim=-1)
    return found


def encoded(
    network: DualEncoderNetwork, texts: Sequence[str], tokenizer: Any, shape: SoundShape
) -> NDArray[np.float32]:
    """The vectors of some texts [texts, dim] float32."""
    ids, mask = tokens(tokenizer, texts)
    with torch.no_grad():
        return np.asarray(network(ids, mask, *bags(shape, texts)).numpy(), np.float32)
