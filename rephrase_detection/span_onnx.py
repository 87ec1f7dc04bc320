"""The exported span model: onnxruntime, int8 where it agrees with the model it came from.

The parts of each layer are fused (attention, normalisation with what is added to it, bias with activation) where
onnxruntime's optimiser knows the architecture; elsewhere the graph stays as it is. Matrix products are quantised,
weights per channel; nothing else is. The scale of activations is that of all that is run at once, so that a window's
score would depend on its neighbours: windows are run one by one, which on a processor is hardly slower than in batches,
and needs no padding. An int8 file is accepted only if it says what the torch model says, on windows that training did
not see (`Agreement`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rephrase_detection.errors import DetectorError
from rephrase_detection.windows import Padded, Windows, by_length, padded

Values = NDArray[np.float64]
MODEL_FILE = "model.onnx"
#: On how many windows an export is checked.
CHECKED = 512
#: How far an int8 file may be from the model: share of windows that point elsewhere, mean difference of log-odds.
MOST_FLIPS, MOST_DIFFERENCE = 0.05, 0.25


@dataclass(frozen=True, slots=True)
class Agreement:
    """How near an exported file is to the model that it came from."""

    windows: int
    flips: float  # share of windows whose best candidate, or none, is another one
    difference: float  # mean absolute difference of log-odds

    @property
    def close(self) -> bool:
        return self.flips <= MOST_FLIPS and self.difference <= MOST_DIFFERENCE


class OnnxSpanModel:
    """An ONNX file with the text's part of the score. Thread-safe; pickled by its path."""

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self.path = Path(path)
        self.threads = threads
        self._session: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxSpanModel, (self.path, self.threads)

    @property
    def session(self) -> Any:
        """onnxruntime's, opened when first asked for. Raises DetectorError."""
        if self._session is None:
            self._session = _opened(self.path, self.threads)
        return self._session

    def run(self, batch: Padded) -> tuple[Values, Values]:
        """Text's part of the scores and log-odds of kind ASR of a padded batch [windows, slots] float64 each."""
        text, kind = self.session.run(["text", "kind"], batch.model_inputs())
        return text.astype(np.float64), kind.astype(np.float64)

    def scores(self, windows: Windows, pairs: int, at_once: int = 1) -> tuple[Values, Values]:
        """The same for every pair [pairs] float64; NaN for a pair without a slot. Windows go in by length."""
        found = np.full((2, pairs), np.nan)
        for which in by_length(windows.lengths, at_once):
            batch = padded(windows, which)
            there = batch.pair >= 0
            for row, values in enumerate(self.run(batch)):
                found[row, batch.pair[there]] = values[there]
        return found[0], found[1]


def exported(model: Any, windows: Sequence[Windows], folder: Path) -> tuple[OnnxSpanModel, dict[str, Any]]:
    """The torch model as a file in `folder`, int8 if that agrees, and what was found. Raises DetectorError.

    The fused graph comes first; the plain one stands in where there is none or where it does not agree.
    """
    from rephrase_detection.span_training_torch import export, text_scores

    sample = _sample(windows)
    wanted = [text_scores(model, each)[0] for each in sample]
    whole, small = folder / "float32.onnx", folder / "int8.onnx"
    for fused in (True, False):
        if not fused:
            export(model, whole, sample[0])
        elif not _fused(model, whole, sample[0]):
            continue
        float32 = _agreement(OnnxSpanModel(whole), sample, wanted)
        if float32.close:
            _quantise(whole, small, fused)
            int8 = _agreement(OnnxSpanModel(small), sample, wanted)
            if int8.close or not fused:
                break
    else:
        raise DetectorError(f"the exported model says something else than the one that was trained: {float32}")
    shutil.copyfile(small if int8.close else whole, folder / MODEL_FILE)
    told = {"kind": "int8" if int8.close else "float32", "int8": asdict(int8), "float32": asdict(float32)}
    return OnnxSpanModel(folder / MODEL_FILE), {**told, "fused": fused}


def _sample(windows: Sequence[Windows]) -> list[Padded]:
    """Some windows of every log, in padded batches."""
    share = max(CHECKED // max(len(windows), 1), 8)
    found = []
    for each in windows:
        rows = np.arange(len(each))[:: max(len(each) // share, 1)][:share]
        found += [padded(each, rows[which]) for which in by_length(each.lengths[rows], 16)] if len(rows) else []
    if not found:
        raise DetectorError("there is no window to check the export with: a longer log is wanted")
    return found


def _agreement(model: OnnxSpanModel, sample: Sequence[Padded], wanted: Sequence[Values]) -> Agreement:
    flips, differences, windows = 0, [], 0
    for batch, right in zip(sample, wanted, strict=True):
        found, there = model.run(batch)[0], batch.pair >= 0
        best = [
            np.where(each.max(axis=1) > 0, each.argmax(axis=1), -1)
            for each in (np.where(there, found, -np.inf), np.where(there, right, -np.inf))
        ]
        flips += int((best[0] != best[1]).sum())
        windows += len(found)
        differences.append(np.abs(found - right)[there])
    return Agreement(windows, flips / max(windows, 1), float(np.concatenate(differences).mean()))


def _fused(model: Any, path: Path, batch: Padded) -> bool:
    """Writes the model with every layer fused; False, and nothing is written, where an architecture has other parts."""
    from onnxruntime.transformers.optimizer import optimize_model

    from rephrase_detection.span_training_torch import export_scripted, quiet

    scripted, config = path.with_name("scripted.onnx"), model.encoder.config
    try:
        with quiet():
            export_scripted(model, scripted, batch)
            found = optimize_model(
                str(scripted), "bert", config.num_attention_heads, config.hidden_size, opt_level=0, use_gpu=False
            )
    except Exception:  # exporter and optimiser go by the form of a graph, and fail on another in ways of their own
        return False
    counted = found.get_fused_operator_statistics()
    if counted["Attention"] != config.num_hidden_layers:
        return False
    found.save_model_to_file(str(path))
    return True


def _quantise(whole: Path, small: Path, fused: bool) -> None:
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from rephrase_detection.span_training_torch import quiet

    ready = whole
    if not fused:  # which is ready as it is, and shapes cannot be inferred through what was fused
        ready = whole.with_name("ready.onnx")
        quant_pre_process(str(whole), str(ready), skip_symbolic_shape=True)
    with quiet():
        quantize_dynamic(
            str(ready), str(small), per_channel=True, weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm", "Attention"],
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )  # fmt: skip


def _opened(path: Path, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DetectorError('the span detector needs onnxruntime: pip install "reprise-rewrite[detect]"') from error
    if not path.is_file():
        raise DetectorError(f"{path} is missing: train or copy the detector again")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    asked = os.environ.get("OMP_NUM_THREADS", "")  # may be a list, one number for each level of nesting
    options.intra_op_num_threads = threads or int(asked if asked.isdecimal() else 0)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no public root
        raise DetectorError(f"{path} cannot be read as a model ({error}): train or copy the detector again") from error
    names = {each.name for each in session.get_inputs()}
    wanted = {"input_ids", "attention_mask", "token_type_ids", "start", "end"}
    if names != wanted:
        raise DetectorError(f"{path} reads {sorted(names)}: a model that reads {sorted(wanted)} is wanted")
    return session
