"""Fine-tuning of the span model, and its export.

The loss of a window is the negative log-probability of its truth, a slot or none, over the slots whose label is known:

    P(slot j) = exp(l_j) / (1 + sum_i exp(l_i)),   l_j = trees_j + text_j

where the trees' log-odds come from trees that did not see the window's session.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rephrase_detection.errors import DetectorError
from rephrase_detection.span_torch import SpanModel
from rephrase_detection.windows import Ints, Padded

Values = NDArray[np.float64]
#: The trees' log-odds where they are silenced, and what is left of a slot that is none.
SILENCED, NO_SLOT = -2.0, -1e4
#: Batches whose windows are sorted by length together: little padding, yet every epoch mixes them anew.
SORTED_BATCHES = 24
CHECKPOINT = "checkpoint.pt"
#: Loggers of the exporter and of onnxruntime's tools; "" is the root, by which its quantiser warns.
LOUD = ("", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "onnxruntime.transformers")


@dataclass(frozen=True)
class Optimisation:
    """How the encoder is fine-tuned."""

    epochs: int = 2
    batch_windows: int = 32
    learning_rate: float = 5e-5
    head_rate: float = 1e-3
    warm_up: float = 0.1  #: share of the steps
    silence: float = 0.3  #: share of the windows for which the trees are silenced
    kind_weight: float = 0.2  #: of the loss of the kind
    patience: int = 1  #: epochs without a better development loss before it stops
    frozen_layers: int = 0
    bf16: bool | None = None  #: None: where the processor has it
    seed: int = 0


class WindowSet:
    """A `datasets.Dataset` of windows with labels, as padded batches.

    Columns: `input_ids`, `again` [tokens], `start`, `end`, `prior`, `label`, `kind` [slots], `weight`. A label is 1, 0
    or NaN for not known, a kind a place in KINDS or -1.
    """

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        self.lengths: Ints = np.array([len(each) for each in rows["input_ids"]], np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, which: Ints) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What the model reads, and what it is to learn; padding has a label of NaN and a prior of NO_SLOT."""
        rows = self.rows[which.tolist()]
        width, slots = max(map(len, rows["input_ids"])), max(map(len, rows["start"]))
        ids = _stacked(rows["input_ids"], width, 0)
        mask = _stacked([[1] * len(each) for each in rows["input_ids"]], width, 0)
        read = {"input_ids": ids, "attention_mask": mask, "token_type_ids": _stacked(rows["again"], width, 0)}
        read |= {name: _stacked(rows[name], slots, 0) for name in ("start", "end")}
        learn = {"prior": _stacked(rows["prior"], slots, NO_SLOT), "label": _stacked(rows["label"], slots, math.nan)}
        learn["kind"] = _stacked(rows["kind"], slots, -1)
        learn["weight"] = torch.tensor(rows["weight"], dtype=torch.float32)
        return read, learn


def fine_tune(
    model: SpanModel,
    train: WindowSet,
    development: WindowSet,
    how: Optimisation,
    folder: Path,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """Trains the model in place and leaves it as after its best epoch; the development loss before and after each.

    After every epoch a checkpoint is written in `folder`, from which the same call goes on. Raises DetectorError.
    """
    bf16 = _has_bf16() if how.bf16 is None else how.bf16
    steps = math.ceil(len(train) / how.batch_windows)
    optimizer = torch.optim.AdamW(_groups(model, how), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps * how.epochs, how.warm_up))
    losses, best = _resumed(folder, model, optimizer, schedule)
    if not losses:
        losses, best = [_measured(model, development, bf16)], copy.deepcopy(model.state_dict())
    while len(losses) <= how.epochs and len(losses) - 1 - int(np.argmin(losses)) <= how.patience:
        epoch = len(losses) - 1
        rng = np.random.default_rng([how.seed, epoch])
        torch.manual_seed(how.seed * 1000 + epoch)
        model.train()
        for step, which in enumerate(_mixed(train.lengths, how.batch_windows, rng)):
            loss = _loss(model, *train.batch(which), bf16, how, rng)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            told(epoch * steps + step + 1, steps * how.epochs)
        losses.append(_measured(model, development, bf16))
        if not math.isfinite(losses[-1]):
            raise DetectorError(f"training diverged, losses came as {losses}: a lower learning rate is wanted")
        if losses[-1] == min(losses):
            best = copy.deepcopy(model.state_dict())
        _save(folder, model, optimizer, schedule, losses, best)
    model.load_state_dict(best)
    model.eval()
    return losses


def text_scores(model: SpanModel, batch: Padded) -> tuple[Values, Values]:
    """The torch model on a padded batch: text's part of the score, and log-odds of ASR [windows, slots] float64."""
    model.eval()
    read = {name: torch.from_numpy(each) for name, each in batch.model_inputs().items()}
    with torch.inference_mode():
        text, kind = model(**read)
    return text.numpy().astype(np.float64), kind.numpy().astype(np.float64)


def export(model: SpanModel, path: Path, batch: Padded) -> None:
    """The model as an ONNX file, of any number of windows, tokens and slots; `batch` is one to trace it with."""
    read = {name: torch.from_numpy(each) for name, each in batch.model_inputs().items()}
    windows, tokens, slots = (torch.export.Dim(name) for name in ("windows", "tokens", "slots"))
    shapes = {name: {0: windows, 1: slots if name in ("start", "end") else tokens} for name in read}
    model.eval()
    with quiet():
        torch.onnx.export(
            model, (), str(path), kwargs=read, input_names=list(read), output_names=["text", "kind"],
            dynamic_shapes=shapes, dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip


def export_scripted(model: SpanModel, path: Path, batch: Padded) -> None:
    """The same by the older exporter and with plain attention, in a form that onnxruntime's optimiser knows and fuses.

    The model is left as it was.
    """
    read = {name: torch.from_numpy(each) for name, each in batch.model_inputs().items()}
    axes = {name: {0: "windows", 1: "slots" if name in ("start", "end") else "tokens"} for name in read}
    attention = model.encoder.config._attn_implementation
    model.eval()
    try:
        model.encoder.set_attn_implementation("eager")
        with quiet():
            torch.onnx.export(
                model, tuple(read.values()), str(path), input_names=list(read), output_names=["text", "kind"],
                dynamic_axes=axes, dynamo=False, opset_version=17,
            )  # fmt: skip
    finally:
        model.encoder.set_attn_implementation(attention)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporter and onnxruntime's tools tell of their own code and steps, and not of the model."""
    loud = [logging.getLogger(name) for name in LOUD]
    levels = [each.level for each in loud]
    try:
        for each in loud:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loud, levels, strict=True):
            each.setLevel(level)


def _loss(
    model: SpanModel,
    read: dict[str, Tensor],
    learn: dict[str, Tensor],
    bf16: bool,
    how: Optimisation | None = None,
    rng: np.random.Generator | None = None,
) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        text, kind = model(**read)
    prior = learn["prior"]
    if how is not None and rng is not None:
        silent = torch.from_numpy(rng.random(len(prior)) < how.silence)[:, None] & (prior > NO_SLOT)
        prior = torch.where(silent, torch.full_like(prior, SILENCED), prior)
    label = learn["label"]
    odds = torch.where(torch.isnan(label), torch.full_like(prior, NO_SLOT), prior + text.float())
    scores = torch.cat([torch.zeros_like(odds[:, :1]), odds], dim=1)
    positive = label == 1
    truth = torch.where(positive.any(1), positive.float().argmax(1) + 1, 0)
    each = nn.functional.cross_entropy(scores, truth, reduction="none")
    loss = (each * learn["weight"]).sum() / learn["weight"].sum()
    if how is None:
        return loss
    known = learn["kind"] >= 0
    if known.any():
        target = learn["kind"][known].float()
        loss = loss + how.kind_weight * nn.functional.binary_cross_entropy_with_logits(kind.float()[known], target)
    return loss


def _measured(model: SpanModel, windows: WindowSet, bf16: bool) -> float:
    """The mean loss over all windows."""
    model.eval()
    total, weight = 0.0, 0.0
    order = np.argsort(windows.lengths, kind="stable")
    with torch.inference_mode():
        for begin in range(0, len(order), 64):
            read, learn = windows.batch(order[begin : begin + 64])
            share = float(learn["weight"].sum())
            total, weight = total + float(_loss(model, read, learn, bf16)) * share, weight + share
    return total / max(weight, 1e-9)


def _groups(model: SpanModel, how: Optimisation) -> list[dict[str, Any]]:
    """The encoder with its rate, the heads with theirs; what is frozen stays as it is."""
    frozen = tuple(f"encoder.encoder.layer.{number}." for number in range(how.frozen_layers))
    encoder: list[nn.Parameter] = []
    heads: list[nn.Parameter] = []
    for name, weights in model.named_parameters():
        if frozen and name.startswith((*frozen, "encoder.embeddings.")):
            weights.requires_grad_(False)
        else:
            (encoder if name.startswith("encoder.") else heads).append(weights)
    return [{"params": encoder, "lr": how.learning_rate}, {"params": heads, "lr": how.head_rate}]


def _rate(step: int, steps: int, warm_up: float) -> float:
    """The share of the learning rate at a step: up from 0 in a line, then down to 0 in a line."""
    rising = max(round(steps * warm_up), 1)
    return min((step + 1) / rising, max(0.0, (steps - step) / max(steps - rising, 1)))


def _mixed(lengths: Ints, size: int, rng: np.random.Generator) -> Iterator[Ints]:
    """All rows once in batches of like length, in a random order [at most size] int64."""
    order = rng.permutation(len(lengths))
    batches: list[Ints] = []
    for begin in range(0, len(order), size * SORTED_BATCHES):
        part = order[begin : begin + size * SORTED_BATCHES]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[at : at + size] for at in range(0, len(part), size)]
    for place in rng.permutation(len(batches)):
        yield batches[place]


def _stacked(rows: list[list[Any]], width: int, fill: float) -> Tensor:
    """Rows of different lengths as one table; whole numbers where the filling is an int."""
    table = torch.full((len(rows), width), fill, dtype=torch.int64 if isinstance(fill, int) else torch.float32)
    for place, row in enumerate(rows):
        table[place, : len(row)] = torch.tensor(row, dtype=table.dtype)
    return table


def _has_bf16() -> bool:
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _save(folder: Path, model: SpanModel, optimizer: Any, schedule: Any, losses: list[float], best: Any) -> None:
    state = {"model": model.state_dict(), "best": best, "losses": losses}
    state |= {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    beside = folder / f"{CHECKPOINT}.partial"
    torch.save(state, beside)
    beside.replace(folder / CHECKPOINT)


def _resumed(folder: Path, model: SpanModel, optimizer: Any, schedule: Any) -> tuple[list[float], Any]:
    path = folder / CHECKPOINT
    if not path.is_file():
        return [], None
    try:
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        return list(state["losses"]), state["best"]
    except Exception as error:  # torch, pickle and zip files each have errors of their own
        raise DetectorError(f"{path} cannot be read ({error!r:.200}): delete it, and training begins anew") from error
