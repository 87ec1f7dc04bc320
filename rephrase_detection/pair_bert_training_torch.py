"""Fine-tuning of the pairwise BERT: AdamW, a linear warm-up and decay, early stopping on pairs held back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dialogue.outcomes import session_numbers
from rephrase_detection.errors import DetectorError
from rephrase_detection.pair_bert_torch import PairClassifier
from rephrase_detection.pairwise import LabelledPairs, labels

#: Batches whose pairs are sorted by length together: little padding, yet every epoch mixes them anew.
SORTED_BATCHES = 32

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Training:
    """How the network is trained; the defaults suit a small encoder, as MiniLM is, and some thousand pairs.

    For an encoder as large as BERT base, a learning rate of 2e-5 to 5e-5 is usual, and fewer epochs for more pairs.
    """

    epochs: int = 8
    batch_pairs: int = 16
    learning_rate: float = 1e-4
    warm_up: float = 0.1  #: share of the steps
    weight_decay: float = 0.01
    clip: float = 1.0  #: largest norm of a step's gradient
    patience: int = 2  #: epochs without a lower loss on the development pairs, before it stops
    held_back: float = 0.15  #: share of the sessions that are development pairs, where none are given
    max_tokens: int = 64  #: of a pair
    seed: int = 7
    bf16: bool = False

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "batch_pairs": self.batch_pairs, "patience": self.patience}
        for name, value in counts.items():
            if value < 1:
                raise DetectorError(f"{name} came as {value}: 1 or more is wanted")
        if not (self.learning_rate > 0 and 0 <= self.warm_up < 1 and 0 < self.held_back < 1 and self.max_tokens > 4):
            raise DetectorError(f"{self}: a rate above 0, shares between 0 and 1, and more than 4 tokens are wanted")


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """What the network reads and learns: tokens of each pair, label and weight [pairs] float32."""

    ids: dict[str, list[list[int]]]
    label: Tensor
    weight: Tensor

    @property
    def lengths(self) -> Rows:
        return np.array([len(each) for each in self.ids["input_ids"]], np.int64)


def held_back(
    examples: Sequence[LabelledPairs], share: float, seed: int
) -> tuple[list[LabelledPairs], list[LabelledPairs]]:
    """The examples in two: to train on, and of this share of the sessions, for development. Raises DetectorError.

    Sessions are never cut in two; of those with a rephrase and of those without, the same share is held back.
    """
    rng = np.random.default_rng(seed)
    aside = [_drawn(each, share, rng) for each in examples]
    parts = ([each.among(~far) for each, far in zip(examples, aside, strict=True)],
             [each.among(far) for each, far in zip(examples, aside, strict=True)])  # fmt: skip
    try:
        for part in parts:
            labels(part)
    except DetectorError as error:
        raise DetectorError(f"{error}, on both sides of the split: give development pairs, or more sessions") from error
    return parts


def trained(
    examples: Sequence[LabelledPairs],
    development: Sequence[LabelledPairs],
    encoder: str | Path,
    training: Training,
    device: torch.device,
) -> tuple[PairClassifier, list[float]]:
    """The network after its best epoch, and the mean loss on the development pairs after each epoch [epochs run].

    The best epoch is the one with the least such loss. Global random state is left alone. Raises DetectorError.
    """
    labels(development)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(training.seed)
        classifier = PairClassifier.from_encoder(encoder, training.max_tokens, training.bf16)
        classifier.network.to(device)
        losses = _train(classifier, _pairs(classifier, examples), _pairs(classifier, development), training)
    return classifier, losses


def _train(classifier: PairClassifier, pairs: _Pairs, development: _Pairs, training: Training) -> list[float]:
    network, rng = classifier.network, np.random.default_rng(training.seed)
    optimizer = torch.optim.AdamW(_groups(network, training.weight_decay), lr=training.learning_rate, fused=True)
    steps = training.epochs * math.ceil(len(pairs.label) / training.batch_pairs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps, training.warm_up))
    losses: list[float] = []
    kept = _copied(network)
    while len(losses) < training.epochs and len(losses) - _best(losses) <= training.patience:
        network.train()
        for rows in by_length(pairs.lengths, training.batch_pairs, rng):
            optimizer.zero_grad(set_to_none=True)
            _loss(classifier, pairs, rows).backward()
            nn.utils.clip_grad_norm_(network.parameters(), training.clip)
            optimizer.step()
            schedule.step()
        losses.append(_measured(classifier, development))
        if not math.isfinite(losses[-1]):
            raise DetectorError(f"training diverged, losses came as {losses}: a lower learning_rate is wanted")
        if _best(losses) == len(losses) - 1:
            kept = _copied(network)
    network.load_state_dict(kept)
    network.eval()
    return losses


def _best(losses: Sequence[float]) -> int:
    """The place of the least, the earliest of equals; 0 of none."""
    return int(np.argmin(losses)) if losses else 0


def rate(step: int, steps: int, warm_up: float) -> float:
    """The share of the learning rate at a step: up from 0 in a line, then down to 0 in a line."""
    rising = round(steps * warm_up)
    if step < rising:
        return (step + 1) / (rising + 1)
    return max(0.0, (steps - step) / max(steps - rising, 1))


def by_length(lengths: Rows, batch: int, rng: np.random.Generator) -> Iterator[Rows]:
    """All rows once in batches of like length, in a random order [at most batch] int64."""
    order = rng.permutation(len(lengths))
    batches = []
    for begin in range(0, len(order), batch * SORTED_BATCHES):
        part = order[begin : begin + batch * SORTED_BATCHES]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[at : at + batch] for at in range(0, len(part), batch)]
    for place in rng.permutation(len(batches)):
        yield batches[place]


def _drawn(example: LabelledPairs, share: float, rng: np.random.Generator) -> Flags:
    """Which pairs are of the sessions drawn [pairs] bool."""
    session = session_numbers(example.batch)[example.source]
    with_rephrase = np.unique(session[example.label == 1])
    drawn = []
    for group in (with_rephrase, np.setdiff1d(session, with_rephrase)):
        count = min(max(round(share * len(group)), 1), len(group) - 1) if len(group) else 0
        drawn.append(rng.choice(group, count, replace=False))
    return np.isin(session, np.concatenate(drawn))


def _pairs(classifier: PairClassifier, examples: Sequence[LabelledPairs]) -> _Pairs:
    label, weight = labels(examples)
    left, right = [], []
    for each in examples:
        said = each.batch["said"].to_pylist()
        left += [said[row] for row in each.source]
        right += [said[row] for row in each.target]
    numbers = (torch.tensor(each, dtype=torch.float32, device=classifier.device) for each in (label, weight))
    return _Pairs(classifier.tokens(left, right), *numbers)


def _loss(classifier: PairClassifier, pairs: _Pairs, rows: Rows) -> Tensor:
    place = torch.from_numpy(rows).to(pairs.label.device)
    logits = classifier(pairs.ids, rows)
    return nn.functional.binary_cross_entropy_with_logits(logits, pairs.label[place], pairs.weight[place])


def _measured(classifier: PairClassifier, pairs: _Pairs) -> float:
    """The mean loss over all pairs."""
    classifier.network.eval()
    order = np.argsort(pairs.lengths, kind="stable")
    parts = [order[at : at + classifier.batch_pairs] for at in range(0, len(order), classifier.batch_pairs)]
    with torch.inference_mode():
        return sum(float(_loss(classifier, pairs, rows)) * len(rows) for rows in parts) / len(order)


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices only: not for biases and layer norms."""
    matrices = [each for each in network.parameters() if each.ndim > 1]
    others = [each for each in network.parameters() if each.ndim < 2]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
