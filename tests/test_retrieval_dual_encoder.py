"""The dual encoder: trained from a tiny BERT, exported, and served as it was trained."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.dual_encoder import (
    KIND,
    MOST_TOKENS,
    TOKENIZER_FILE,
    WORDS_FILE,
    DualEncoder,
    _ids_by_word,
    load_tokenizer,
)
from retrieval.dual_encoder_export_torch import NeighbourAgreement, neighbour_agreement, save_encoder
from retrieval.dual_encoder_torch import DualEncoderNetwork, pretrained
from retrieval.dual_encoder_training_torch import (
    EncoderData,
    EncoderRecipe,
    _loss,
    _near,
    _rate,
    bags,
    encoded,
    tokens,
    train,
    untrained,
)
from retrieval.errors import (
    DamagedFolderError,
    FolderError,
    ForeignFolderError,
    MissingFileError,
    ModelFolderError,
)
from rewrite.models import PACKAGED, resolve_model
from tests.dense import SHAPE, tiny_bert, tiny_encoder, words_of

REQUESTS = [f"{verb} {thing}" for verb in ("play", "stop", "find") for thing in "jazz news rain lamp door road".split()]
HEARD = [(text.replace("jazz", "chess").replace("rain", "train"), text) for text in REQUESTS]
PAIRS = [(heard, meant) for heard, meant in HEARD if heard != meant]
WORDS = words_of([*REQUESTS, *(heard for heard, _ in PAIRS)])
RECIPE = EncoderRecipe(
    layers=1, word_dim=16, sound_dim=16, batch=12, steps=30, rate=3e-3, sound_rate=3e-2, bf16=False,
)  # fmt: skip
DATA = EncoderData(PAIRS, REQUESTS, {"play jazz": "music", "find jazz": "music"})


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"), WORDS)


@pytest.fixture(scope="module")
def trained(bert: Path) -> tuple[DualEncoderNetwork, list[float]]:
    losses: list[float] = []
    tokenizer = load_tokenizer(bert / TOKENIZER_FILE)
    network = train(DATA, bert, tokenizer, SHAPE, RECIPE, lambda step, loss: losses.append(loss))
    return network, losses


@pytest.fixture(scope="module")
def served(
    bert: Path, trained: tuple[DualEncoderNetwork, list[float]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("served")
    return folder, save_encoder(trained[0], folder, load_tokenizer(bert / TOKENIZER_FILE), SHAPE, REQUESTS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder made by hand, for what needs no training."""
    return tiny_encoder(tmp_path_factory.mktemp("plain"), WORDS)


@pytest.fixture(scope="module")
def encoder(plain: Path) -> DualEncoder:
    return DualEncoder.load(plain)


# Served


def test_a_cosine_is_the_weighed_mean_of_those_in_meaning_and_in_sound(encoder: DualEncoder):
    one, other = encoder.encode_one("play jazz"), encoder.encode_one("play chess")
    width = encoder.word_dim
    assert encoder.dim == len(one) == width + 64
    assert np.linalg.norm(one[:width]) ** 2 == pytest.approx(encoder.share, abs=1e-6)
    assert np.linalg.norm(one[width:]) ** 2 == pytest.approx(1 - encoder.share, abs=1e-6)
    meaning = float(one[:width] @ other[:width])
    sound = encoder.views(np.array([one @ other], np.float32), np.array([meaning / encoder.share], np.float32))
    assert sound[0] == pytest.approx(float(one[width:] @ other[width:]) / (1 - encoder.share), abs=1e-5)


def test_an_empty_text_has_a_vector_of_zeros_and_any_other_one_of_length_one(encoder: DualEncoder):
    assert not encoder.encode_one("").any()
    assert np.linalg.norm(encoder.encode_one("x")) == pytest.approx(1.0, abs=1e-5)
    rows = encoder.encode(["play jazz", "", "stop news"])
    assert len(rows) == 3
    assert not rows.row(1).any()
    assert rows.row(2) == pytest.approx(encoder.encode_one("stop news"), abs=0.01)
    assert len(encoder.encode([])) == 0


@settings(max_examples=30)
@given(before=st.lists(st.sampled_from(REQUESTS), max_size=4), text=st.text(min_size=1, max_size=60))
def test_a_vector_does_not_depend_on_what_came_before(encoder: DualEncoder, before: list[str], text: str):
    alone = encoder.encode_one(text)
    for other in before:
        encoder.encode_one(other)
    again = encoder.encode_one(text)
    assert np.array_equal(alone, again)
    assert np.array_equal(alone, np.concatenate(list(encoder.blocks([*before, text], block=2)))[-1])


@pytest.fixture(scope="module")
def packaged() -> Any:
    return load_tokenizer(resolve_model(PACKAGED).path / TOKENIZER_FILE)


@settings(max_examples=300)
@given(st.lists(st.one_of(st.sampled_from([*REQUESTS, "[SEP]", "unaffable"]), st.text(max_size=6))).map(" ".join))
def test_tokens_word_by_word_are_those_of_the_text(packaged: Any, text: str):
    by_word = _ids_by_word(packaged)
    assert by_word is not None
    assert by_word(text) == packaged.encode(text).ids


def test_a_tokenizer_that_looks_past_spaces_is_asked_for_the_whole_text(plain: Path):
    from tokenizers import pre_tokenizers

    tokenizer = load_tokenizer(plain / TOKENIZER_FILE)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    assert _ids_by_word(tokenizer) is None


def test_threads_may_share_an_encoder(encoder: DualEncoder):
    wanted = [encoder.encode_one(text) for text in REQUESTS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoder.encode_one, REQUESTS * 10))
    assert all(np.array_equal(vector, wanted[place % len(wanted)]) for place, vector in enumerate(found))


def test_a_long_text_is_read_as_far_as_it_counts(encoder: DualEncoder):
    long = " ".join(["jazz"] * (MOST_TOKENS - 1))
    same = encoder.encode_one(long)[: encoder.word_dim], encoder.encode_one(f"{long} news")[: encoder.word_dim]
    assert np.array_equal(*same)


# Trained


def test_training_lowers_the_loss_and_moves_what_was_heard_to_what_was_meant(
    trained: tuple[DualEncoderNetwork, list[float]], bert: Path
):
    network, losses = trained
    assert len(losses) == RECIPE.steps
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    tokenizer = load_tokenizer(bert / TOKENIZER_FILE)
    fresh = DualEncoderNetwork(pretrained(bert, 1), 16, 16, SHAPE.buckets).eval()
    assert _found(network, tokenizer) > _found(fresh, tokenizer)


def _found(network: DualEncoderNetwork, tokenizer: Any) -> float:
    """Of the pairs, the mean lead of what was meant over all else."""
    documents = encoded(network, REQUESTS, tokenizer, SHAPE)
    scores = encoded(network, [heard for heard, _ in PAIRS], tokenizer, SHAPE) @ documents.T
    meant = [REQUESTS.index(text) for _, text in PAIRS]
    return float(np.mean([row[place] - np.delete(row, place).max() for row, place in zip(scores, meant, strict=True)]))


def test_training_is_the_same_for_the_same_seed(trained: tuple[DualEncoderNetwork, list[float]], bert: Path):
    short, tokenizer = EncoderRecipe(**{**_fields(RECIPE), "steps": 3}), load_tokenizer(bert / TOKENIZER_FILE)
    runs = []
    for _ in range(2):
        told: list[float] = []
        train(DATA, bert, tokenizer, SHAPE, short, lambda step, loss, told=told: told.append(loss))
        runs.append(told)
    assert runs[0] == runs[1]


def _fields(recipe: EncoderRecipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in recipe.__slots__}


def test_requests_of_one_meaning_are_no_negatives(bert: Path):
    network, tokenizer = untrained(bert, SHAPE, 16), load_tokenizer(bert / TOKENIZER_FILE)
    documents = ["play jazz", "find jazz", "stop news", "stop road"]
    teacher = torch.eye(4)
    same = {"play jazz": "music", "find jazz": "music"}
    with torch.no_grad():
        apart = _loss(network, documents[:2], documents, teacher, {}, tokenizer, SHAPE, RECIPE)
        alike = _loss(network, documents[:2], documents, teacher, same, tokenizer, SHAPE, RECIPE)
    assert float(alike) < float(apart)


def test_hard_negatives_are_near_in_letters_and_mean_something_else():
    near = _near(REQUESTS, {"play jazz": "music", "find jazz": "music"})
    place = REQUESTS.index("play jazz")
    assert REQUESTS.index("stop jazz") in near[place]
    assert REQUESTS.index("find jazz") not in near[place]
    assert all(row not in rows for row, rows in enumerate(near))


def test_the_rate_rises_and_falls():
    rates = [_rate(step, 40) for step in range(40)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] > 0


def test_texts_are_padded_and_their_pieces_lie_one_after_the_other(bert: Path):
    ids, mask = tokens(load_tokenizer(bert / TOKENIZER_FILE), ["play jazz", "stop"])
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert ids[1, 3] == 0
    pieces, starts = bags(SHAPE, ["play jazz", "stop"])
    assert starts.tolist() == [0, len(SHAPE.pieces("play jazz"))]
    assert pieces.tolist() == [*SHAPE.pieces("play jazz"), *SHAPE.pieces("stop")]


def test_the_last_layers_are_kept(bert: Path):
    whole, half = pretrained(bert, None), pretrained(bert, 1)
    assert len(half.encoder.layer) == half.config.num_hidden_layers == 1
    kept = half.encoder.layer[0].state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in whole.encoder.layer[-1].state_dict().items())
    assert len(pretrained(bert, 5).encoder.layer) == 2


def test_a_folder_that_is_no_bert_is_refused(tmp_path: Path):
    with pytest.raises(ModelFolderError, match="cannot be read as an encoder"):
        pretrained(tmp_path, None)


@pytest.mark.parametrize("wrong", [{"batch": 1}, {"steps": 0}, {"real_share": 1.5}, {"temperature": 0.0}])
def test_a_recipe_without_sense_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="are wanted"):
        EncoderRecipe(**wrong)


# Exported


def test_the_served_encoder_gives_the_vectors_of_the_network(
    served: tuple[Path, dict[str, Any]], trained: tuple[DualEncoderNetwork, list[float]], bert: Path
):
    folder, told = served
    encoder, tokenizer = DualEncoder.load(folder), load_tokenizer(bert / TOKENIZER_FILE)
    wanted = np.concatenate([encoded(trained[0], [text], tokenizer, SHAPE) for text in REQUESTS])
    found = np.stack([encoder.encode_one(text) for text in REQUESTS])
    assert (wanted * found).sum(axis=1).min() > 0.99  # the cosine of a text with itself
    assert told["precision"] == "int8, fused"
    assert told["int8, fused"]["same_nearest"] >= 0.97
    assert sorted(path.name for path in folder.iterdir()) == ["meta.json", "sounds.npy", TOKENIZER_FILE, WORDS_FILE]
    facts = json.loads((folder / "meta.json").read_text())["facts"]
    assert facts["agreement_requests"] == len(REQUESTS)
    assert facts["share"] == pytest.approx(float(torch.sigmoid(trained[0].share.detach())))


def test_a_berts_layers_are_fused_and_what_is_there_for_padding_is_gone(
    served: tuple[Path, dict[str, Any]], trained: tuple[DualEncoderNetwork, list[float]]
):
    import onnx

    layers = trained[0].words.config.num_hidden_layers
    nodes = onnx.load(served[0] / WORDS_FILE).graph.node
    attention = [node for node in nodes if node.op_type == "QAttention"]
    assert len(attention) == layers
    assert all(len(node.input) < 6 or not node.input[5] for node in attention)  # the mask
    assert not {"Where", "ConstantOfShape", "Softmax"} & {node.op_type for node in nodes}


def test_an_encoder_of_another_form_is_served_as_it_is(bert: Path, tmp_path: Path):
    from transformers import AlbertConfig, AlbertModel

    tokenizer = load_tokenizer(bert / TOKENIZER_FILE)
    torch.manual_seed(0)
    config = AlbertConfig(
        vocab_size=tokenizer.get_vocab_size(), embedding_size=16, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    network = DualEncoderNetwork(AlbertModel(config, add_pooling_layer=False), 16, 16, SHAPE.buckets).eval()
    told = save_encoder(network, tmp_path, tokenizer, SHAPE, REQUESTS)
    assert told["precision"] in ("int8", "float32")
    assert "int8, fused" not in told
    found = DualEncoder.load(tmp_path).encode_one("play jazz")
    assert encoded(network, ["play jazz"], tokenizer, SHAPE)[0] @ found > 0.99


def test_agreement_counts_neighbours_by_hand():
    line = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.8, 0.6]], np.float32)
    turned = line[[0, 2, 1, 3]]
    rows = np.arange(4)
    assert neighbour_agreement(line, line, rows, 1) == NeighbourAgreement(4, 1.0, 1.0)
    far = neighbour_agreement(line, turned, rows, 1)
    assert far.same_nearest < 1.0
    assert not far.close
    assert neighbour_agreement(line[:1], line[:1], rows[:1]) == NeighbourAgreement(0, 1.0, 1.0)


# Faults


def spoiled(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "encoder"))


@pytest.mark.parametrize("name", ["meta.json", "sounds.npy", WORDS_FILE, TOKENIZER_FILE])
def test_a_missing_file_is_named(plain: Path, tmp_path: Path, name: str):
    folder = spoiled(plain, tmp_path)
    (folder / name).unlink()
    with pytest.raises(MissingFileError, match=f"{name} is missing"):
        DualEncoder.load(folder)


@pytest.mark.parametrize("name", ["meta.json", "sounds.npy", WORDS_FILE, TOKENIZER_FILE])
def test_a_cut_file_is_named(plain: Path, tmp_path: Path, name: str):
    folder = spoiled(plain, tmp_path)
    (folder / name).write_bytes((folder / name).read_bytes()[:40])
    with pytest.raises(DamagedFolderError, match=name):
        DualEncoder.load(folder)


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [
        ("share", 1.0, "a share of 1.0"),
        ("share", "half", "half"),
        ("buckets", 7, "weights for 7 buckets"),
        ("buckets", -7, "buckets"),
        ("word_dim", 9, "9 are wanted"),
        ("shortest", None, "shortest|int"),
    ],
)
def test_facts_that_cannot_be_are_refused(plain: Path, tmp_path: Path, fact: str, value: Any, said: str):
    folder = spoiled(plain, tmp_path)
    meta = json.loads((folder / "meta.json").read_text())
    meta["facts"][fact] = value
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DamagedFolderError, match=said):
        DualEncoder.load(folder)


def test_a_folder_of_another_kind_is_refused(plain: Path, tmp_path: Path):
    folder = spoiled(plain, tmp_path)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "kind": "dense rows"}))
    with pytest.raises(ForeignFolderError, match=KIND):
        DualEncoder.load(folder)
    with pytest.raises(FolderError):
        DualEncoder.load(tmp_path / "nowhere")
