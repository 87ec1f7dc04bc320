"""A tiny retriever for tests: real files, made in a moment from a seed, without torch.

The words of its encoder have vectors at random and a text is their mean; sounds are hashed at random. So requests are
alike that share words, or sound alike, and nothing else is known of them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
from onnx import helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from retrieval import HistoryEntry
from retrieval.dual_encoder import KIND, TOKENIZER_FILE, WORDS_FILE, DualEncoder
from retrieval.folder import write_folder
from retrieval.sounds import SoundShape
from rewrite.bundle import write_manifest
from rewrite.calibration import Calibration
from rewrite.config import LearnConfig
from rewrite.contextual import ContextCounts
from rewrite.dense_serving import FOLDER, RETRIEVER, Population, build_dense
from rewrite.reranker import ALONE_FILE, BEST, BEST_FILE, ORDER
from rewrite.reranker import FILE as RERANKER_FILE
from rewrite.reranker import VERSION as RERANKER_VERSION
from rewrite.reranking import NAMES
from rewrite.retriever import ENCODER, RERANKER, Retriever, carry, save
from rewrite.serving import GOOD, Correction, TableEntry, build_serving
from rewrite.thresholds import Thresholds

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
SHAPE = SoundShape(buckets=1 << 12)
WORD_DIM, SOUND_DIM = 16, 64


def tokenizer(words: Iterable[str]) -> Tokenizer:
    """A tokenizer that knows these words, and puts marks around a text as BERT's do."""
    known = {word: number for number, word in enumerate(dict.fromkeys([*SPECIAL, *words]))}
    made = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", known["[CLS]"]), ("[SEP]", known["[SEP]"])]
    )
    return made


def tiny_encoder(folder: Path, words: Sequence[str], share: float = 0.4, seed: int = 0) -> Path:
    """Writes a dual encoder that knows these words into `folder`."""
    draw, known = np.random.default_rng(seed), tokenizer(words)
    folder.mkdir(parents=True, exist_ok=True)
    vectors = draw.normal(size=(known.get_vocab_size(), WORD_DIM)).astype(np.float32)
    vectors[: len(SPECIAL)] = 0.01  # a mark or an unknown word says next to nothing
    _write_mean(folder / WORDS_FILE, vectors)
    known.save(str(folder / TOKENIZER_FILE))
    sounds = draw.normal(size=(SHAPE.buckets, SOUND_DIM), scale=SOUND_DIM**-0.5).astype(np.float16)
    facts = {name: getattr(SHAPE, name) for name in ("shortest", "longest", "buckets")}
    write_folder(folder, KIND, {"sounds": sounds}, {**facts, "share": share, "word_dim": WORD_DIM})
    return folder


def tiny_retriever(folder: Path, words: Sequence[str], seed: int = 0) -> Path:
    """Writes a retriever without a reranker into `folder`: likeness alone decides."""
    tiny_encoder(folder / ENCODER, words, seed=seed)
    save(folder, None, {"made": "by hand"})
    return folder


def judging_retriever(folder: Path, words: Sequence[str], thresholds: Thresholds, by: str = "cosine") -> Path:
    """One with a reranker that goes by one feature alone: its log-odds of the right candidate are 10 (value - 0.5)."""
    tiny_encoder(folder / ENCODER, words)
    (folder / RERANKER).mkdir()
    column = NAMES.index(by)
    _write_line(folder / RERANKER / BEST_FILE, len(BEST), column, 10.0)
    _write_line(folder / RERANKER / ALONE_FILE, len(BEST), column, -10.0)
    as_it_is = Calibration((-20.0, 20.0), (0.001, 0.999)).as_dict()
    told = {"version": RERANKER_VERSION, "features": list(NAMES), "weights": {"of_right": 1.0, "of_alone": 1.0}}
    told["order"] = {name: 10.0 * (name == by) for name in ORDER}
    told |= {"right_calibration": as_it_is, "alone_calibration": as_it_is}
    (folder / RERANKER / RERANKER_FILE).write_text(json.dumps(told))
    save(folder, thresholds, {"made": "by hand"})
    return folder


def words_of(texts: Iterable[str]) -> list[str]:
    """The words of some texts, in order."""
    return sorted({word for text in texts for word in text.split()})


def bundle_of(
    folder: Path,
    texts: Sequence[tuple[str, str, float, int]],
    retriever: Path,
    *,
    table: Sequence[TableEntry] = (),
    histories: Sequence[HistoryEntry] = (),
    corrections: Sequence[Correction] = (),
    contexts: Iterable[tuple[int, str, float]] = (),
    frames: dict[str, str] | None = None,
) -> Path:
    """A bundle with a retriever over some texts: (canonical, as written, share of success, status), in order."""
    said, surface, success, status = zip(*texts, strict=True)
    population = pa.table(
        {
            "said": pa.array(said),
            "surface": pa.array(surface),
            "weight": pa.array([1_000_000] * len(texts), pa.int64()),
            "success": pa.array([round(1_000_000 * share) for share in success], pa.int64()),
            "status": pa.array(status, pa.uint8()),
        }
    )
    build_serving(folder / "index", population, table, list(histories), list(corrections))
    ContextCounts.build(len(texts), contexts).save(folder / "index" / "context" / "counts")
    opened = Retriever.load(retriever)
    carry(opened, folder / RETRIEVER)
    good = np.array([row for row, each in enumerate(status) if each & GOOD], np.int64)
    targets = {each.target: each.score for each in table}
    whole = Population(list(said), np.full(len(texts), 9, np.int64), good, targets)
    told = build_dense(folder / "index" / FOLDER, whole, frames or {}, opened)
    write_manifest(
        folder, created="2020-01-01", parameters=LearnConfig().as_dict(), log={}, span={}, counts={}, retriever=told
    )
    return folder


def encoder_of(folder: Path) -> DualEncoder:
    """The encoder of a retriever or of a bundle."""
    return DualEncoder.load((folder / RETRIEVER if (folder / RETRIEVER).is_dir() else folder) / ENCODER)


def cosines(encoder: DualEncoder, texts: Sequence[str]) -> dict[tuple[str, str], float]:
    """Of each two texts."""
    vectors = {text: encoder.encode_one(text) for text in texts}
    return {(one, other): float(vectors[one] @ vectors[other]) for one, other in itertools.product(texts, texts)}


def _write_line(path: Path, width: int, column: int, slope: float) -> None:
    """slope (value - 0.5) of one column as a model, 0 where it is NaN: [rows, width] to [rows, 1] float32."""
    numbers = {"half": np.float32(0.5), "slope": np.float32(slope), "zero": np.float32(0)}
    constants = {"column": np.array([column]), **numbers}
    nodes = [
        helper.make_node("Gather", ["features", "column"], ["value"], axis=1),
        helper.make_node("Sub", ["value", "half"], ["above"]),
        helper.make_node("Mul", ["above", "slope"], ["line"]),
        helper.make_node("IsNaN", ["line"], ["unknown"]),
        helper.make_node("Where", ["unknown", "zero", "line"], ["log_odds"]),
    ]
    graph = helper.make_graph(
        nodes,
        "line",
        [helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info("log_odds", onnx.TensorProto.FLOAT, ["rows", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    _write(path, graph)


def _write(path: Path, graph: onnx.GraphProto) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _write_mean(path: Path, vectors: np.ndarray) -> None:
    """The mean of the vectors of some tokens as a model: [1, tokens] int64 to [1, dim] float32."""
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["each"]),
        helper.make_node("ReduceMean", ["each"], ["meaning"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, [1, "tokens"])],
        [helper.make_tensor_value_info("meaning", onnx.TensorProto.FLOAT, [1, vectors.shape[1]])],
        [numpy_helper.from_array(vectors, "vectors")],
    )
    _write(path, graph)


def tiny_bert(folder: Path, words: Iterable[str], layers: int = 2, seed: int = 0) -> Path:
    """Writes a BERT that knows these words and nothing of them, as `transformers` saves one, and its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    known = tokenizer(words)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=known.get_vocab_size(), hidden_size=32, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    known.save(str(folder / "tokenizer.json"))
    return folder
