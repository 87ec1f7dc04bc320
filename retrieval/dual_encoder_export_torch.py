"""From the trained network to the folder that is served: ONNX, int8 per channel, accepted only if neighbours agree.

Per channel, as one scale for a whole weight matrix loses neighbours; with the layers fused where they are a BERT's
(`retrieval.fusing_onnxruntime`). The check: of some requests, the nearest among the others must be the same under the
served encoder as under the network.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from retrieval.dual_encoder import KIND, TOKENIZER_FILE, WORDS_FILE, DualEncoder
from retrieval.dual_encoder_torch import DualEncoderNetwork
from retrieval.dual_encoder_training_torch import encoded
from retrieval.errors import ModelFolderError
from retrieval.folder import write_folder
from retrieval.fusing_onnxruntime import fuse
from retrieval.sounds import SoundShape

#: Least share of checked requests with the same nearest neighbour, and of the ten nearest that are the same.
LEAST_SAME, LEAST_SHARED = 0.97, 0.93
#: Loggers of the exporter and of onnxruntime's tools; "" is the root, by which its quantiser warns.
LOUD = ("", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "onnxruntime.transformers")
#: Version of the operators in which a graph is fused: the optimiser knows its forms.
OPSET = 17
#: What is quantised; the last two are fused.
OPERATORS = ["MatMul", "Gemm", "Gather", "Attention", "EmbedLayerNormalization"]
#: Requests that are checked, and among how many.
CHECKED, AMONG = 200, 2_000


@dataclass(frozen=True, slots=True)
class NeighbourAgreement:
    """How the neighbours of an exported encoder are those of its network."""

    requests: int
    same_nearest: float  # share of requests whose nearest is the same, or as near
    shared_of_ten: float  # mean share of the ten nearest that are the same

    @property
    def close(self) -> bool:
        return self.same_nearest >= LEAST_SAME and self.shared_of_ten >= LEAST_SHARED


class _Words(nn.Module):
    """Token ids of one text, none of them padding, to the words' part of its vector."""

    def __init__(self, network: DualEncoderNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.network.words(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).last_hidden_state
        return functional.normalize(self.network.project(hidden.mean(dim=1)), dim=-1)


def save_encoder(
    network: DualEncoderNetwork, folder: Path, tokenizer: Any, shape: SoundShape, texts: Sequence[str]
) -> dict[str, Any]:
    """Writes the encoder into `folder`, int8 and fused where that agrees on `texts`, and says what was found.

    Raises ModelFolderError where not even the unquantised export agrees.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER_FILE).write_text(tokenizer.to_str(), encoding="utf-8")
    told: dict[str, Any] = {}
    for kind, path in _exports(network, folder):
        path.replace(folder / WORDS_FILE)
        _write(network, folder, shape, {"precision": kind})
        agreement = _agreement(network, DualEncoder.load(folder), tokenizer, shape, texts)
        told[kind] = asdict(agreement)
        if agreement.close:
            break
    else:
        raise ModelFolderError(f"the exported encoder finds other neighbours than the one that was trained: {told}")
    for path in folder.glob("*.part"):
        path.unlink()
    facts = {f"agreement_{name}": value for name, value in told[kind].items()}
    _write(network, folder, shape, {"precision": kind, **facts})
    return {"precision": kind, **told}


def _exports(network: DualEncoderNetwork, folder: Path) -> Iterator[tuple[str, Path]]:
    """The network as model files, the fastest first, each made when it is asked for."""
    traced, fused, whole, small = (folder / f"{name}.part" for name in ("traced", "fused", "float32", "int8"))
    with _quiet():
        ready = _trace(network, traced) and fuse(traced, fused, **_sizes(network))
    if ready:
        _quantise(fused, small, fused=True)
        yield "int8, fused", small
    _export(network, whole)
    _quantise(whole, small)
    yield "int8", small
    yield "float32", whole


def _sizes(network: DualEncoderNetwork) -> dict[str, int]:
    config = network.words.config
    return {
        "layers": int(config.num_hidden_layers),
        "heads": int(config.num_attention_heads),
        "hidden": int(config.hidden_size),
    }


def _write(network: DualEncoderNetwork, folder: Path, shape: SoundShape, more: dict[str, Any]) -> None:
    facts = {name: getattr(shape, name) for name in ("shortest", "longest", "buckets")}
    share = float(torch.sigmoid(network.share.detach()))
    sounds = network.sounds.weight.detach().numpy().astype(np.float16)
    facts |= {"share": share, "word_dim": int(network.project.out_features), **more}
    write_folder(folder, KIND, {"sounds": sounds}, facts)


def _export(network: DualEncoderNetwork, path: Path) -> None:
    with _quiet():
        torch.onnx.export(
            _Words(network).eval(), (_ids(),), str(path), input_names=["input_ids"], output_names=["meaning"],
            dynamic_shapes=({1: torch.export.Dim("tokens", min=2, max=512)},), dynamo=True, external_data=False,
            verbose=False,
        )  # fmt: skip


def _ids() -> Tensor:
    """Tokens that any encoder knows: the export does not depend on which."""
    return torch.tensor([[0, 1, 2, 3]])


def _trace(network: DualEncoderNetwork, path: Path) -> bool:
    """Exports by tracing, attention written out: the form that can be fused. False: it cannot be traced."""
    words: Any = network.words
    before = words.config._attn_implementation
    try:
        words.set_attn_implementation("eager")
        torch.onnx.export(
            _Words(network).eval(), (_ids(),), str(path), input_names=["input_ids"], output_names=["meaning"],
            dynamic_axes={"input_ids": {1: "tokens"}}, dynamo=False, opset_version=OPSET,
        )  # fmt: skip
    except Exception:  # models of other forms fail in their own ways, and are exported the other way
        return False
    finally:
        words.set_attn_implementation(before)
    return True


def _quantise(whole: Path, small: Path, *, fused: bool = False) -> None:
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = whole if fused else whole.with_name("ready.part")  # what is fused is ready: shapes stop at its operators
    if not fused:
        quant_pre_process(str(whole), str(ready), skip_symbolic_shape=True)
    with _quiet():
        quantize_dynamic(
            str(ready), str(small), per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=OPERATORS,
            extra_options={"DefaultTensorType": TensorProto.FLOAT},  # where a fused operator hides it
        )  # fmt: skip


def _agreement(
    network: DualEncoderNetwork, served: DualEncoder, tokenizer: Any, shape: SoundShape, texts: Sequence[str]
) -> NeighbourAgreement:
    texts = list(dict.fromkeys(text for text in texts if text))[:AMONG]
    rows = np.arange(0, len(texts), max(len(texts) // CHECKED, 1))
    wanted = np.concatenate([encoded(network, [text], tokenizer, shape) for text in texts])
    found = np.stack([served.encode_one(text) for text in texts])
    return neighbour_agreement(wanted, found, rows)


def neighbour_agreement(
    wanted: NDArray[np.float32], found: NDArray[np.float32], rows: NDArray[np.int64], count: int = 10
) -> NeighbourAgreement:
    """Of the texts in `rows`, the nearest others by vectors `wanted` and `found` [texts, dim] float32 each."""
    count = min(count, len(wanted) - 1)
    if count < 1:
        return NeighbourAgreement(0, 1.0, 1.0)
    same, shared = 0, 0.0
    for row in rows.tolist():
        one, other = (vectors @ vectors[row] for vectors in (wanted, found))
        one[row] = other[row] = -2.0
        first, second = (np.argsort(-scores, kind="stable")[:count] for scores in (one, other))
        same += bool(one[second[0]] >= one[first[0]] - 0.01)  # as near: texts may be all but the same
        shared += len(np.intersect1d(first, second)) / count
    return NeighbourAgreement(len(rows), same / len(rows), shared / len(rows))


@contextmanager
def _quiet() -> Iterator[None]:
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
