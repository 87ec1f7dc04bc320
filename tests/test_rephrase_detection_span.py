"""The span detector from end to end: a tiny encoder from a seed, and dialogues in which one word decides.

Somebody asks for two things, fails, and goes on with two other things after "noto" (that is what they had meant) or
after "tono" (that is something else): letters, sound, time and outcome say nothing about which of the two it is.
"""

import copy
import json
import math
import pickle
import random
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset
from onnx import load
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel, RobertaConfig, RobertaModel

from dialogue.canonical import Canonicaliser
from dialogue.outcomes import OutcomeModel
from dialogue.table import dialogue_batch
from dialogue.turn import Gold, Outcome, RephraseKind, Session, Turn
from rephrase_detection.boosted_lightgbm import BoostedDetector, Trees, digests
from rephrase_detection.candidates import Candidates, Reach, candidates
from rephrase_detection.errors import DetectorError
from rephrase_detection.features import NAMES, pair_features
from rephrase_detection.lexical import LexicalDetector
from rephrase_detection.loading import load_detector
from rephrase_detection.span import FILES, SpanDetector, SpanParameters, distinct_windows, write_detector
from rephrase_detection.span_onnx import MOST_DIFFERENCE, MOST_FLIPS, Agreement, exported
from rephrase_detection.span_torch import SpanModel, span_model
from rephrase_detection.span_training_torch import (
    CHECKPOINT,
    NO_SLOT,
    Optimisation,
    WindowSet,
    fine_tune,
    text_scores,
)
from rephrase_detection.training import Recipe, TrainingLog, _work_folder, prepare, train_detector
from rephrase_detection.windows import WindowEncoder, padded

WORDS = "lamp door jazz news rain fish moon tree road coin bird milk".split()
RECIPE = Recipe(epochs=3, learning_rate=3e-3, batch_windows=16, max_tokens=48)
ANNOTATED = frozenset({"rephrase_of"})


class Stopped(Exception):
    """Stands for a kill."""


def planted(count, seed, annotated=True, prefix="s"):
    """Sessions of two turns, and which of them are a rephrase."""
    chance = random.Random(seed)
    sessions, truth = [], []
    for n in range(count):
        again = chance.random() < 0.5
        first, second = (" ".join(chance.sample(WORDS, 2)) for _ in range(2))
        name, user = f"{prefix}{n}", f"u{n % 40}"
        source = Turn(f"{name}-0", user, 0.0, first, response="sorry", outcome=Outcome.FAILURE)
        text = f"{'noto' if again else 'tono'} {second}"
        target = Turn(f"{name}-1", user, 10.0, text, response="fine", outcome=Outcome.SUCCESS)
        if annotated:
            gold = Gold(
                rephrase_of=source.turn_id if again else None,
                rephrase_kind=RephraseKind.COMMAND if again else None,
                annotated=ANNOTATED,
            )
            source, target = replace(source, gold=Gold(annotated=ANNOTATED)), replace(target, gold=gold)
        sessions.append(Session(name, user, (source, target)))
        truth.append(again)
    return tuple(sessions), np.array(truth)


def judged(sessions):
    batch = dialogue_batch(sessions, Canonicaliser())
    return batch, OutcomeModel().judge(batch)


def rows(links):
    return [links.source.tolist(), links.target.tolist(), links.probability.tolist(), links.kind.tolist()]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The folder of a BERT that knows a dozen words and nothing else."""
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "noto", "tono", "sorry", "fine", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


LOG = TrainingLog("planted", planted(400, seed=0)[0])


def trained_until(out, encoder, stage, done, log=LOG):
    """Trains until a stage has done so much, and is killed there; the checkpoint that it leaves."""

    def told(now, count, total):
        if (now, count) == (stage, done):
            raise Stopped

    with pytest.raises(Stopped):
        train_detector([log], out, encoder=encoder, recipe=RECIPE, told=told)
    checkpoint = out.with_name(out.name + ".work") / CHECKPOINT
    return torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None


@pytest.fixture(scope="module")
def trained(tmp_path_factory, encoder):
    """A detector whose training was killed in its second epoch and then went on; metrics; steps; losses at the kill."""
    out = tmp_path_factory.mktemp("trained") / "detector"
    steps = []
    first_epoch = trained_until(out, encoder, "training", 30)
    metrics = train_detector([LOG], out, encoder=encoder, recipe=RECIPE, told=lambda *step: steps.append(step))
    return out, metrics, steps, first_epoch["losses"]


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of it that may be damaged."""
    return shutil.copytree(trained[0], tmp_path / "copy")


# What can be checked by hand


def window_set(*windows):
    """Windows of three tokens; each is (priors, labels, weight), its slots all at the second token."""
    columns = {name: [] for name in ("input_ids", "again", "start", "end", "prior", "label", "kind", "weight")}
    for prior, label, weight in windows:
        slots = [1] * len(prior)
        values = ([2, 8, 3], [0, 1, 0], slots, slots, prior, label, [-1] * len(prior), weight)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return WindowSet(Dataset.from_dict(columns))


def test_the_loss_of_a_model_that_has_learned_nothing(encoder, tmp_path):
    """Its text says 0, so that the trees decide: P is 1/2, then 1/4 three times; a slot not known is left out."""
    windows = window_set(([0.0, 5.0], [1.0, math.nan], 1.0), ([math.log(3)], [0.0], 3.0))
    model = span_model(encoder, WindowEncoder.from_folder(encoder, 48).tokenizer)
    losses = fine_tune(model, windows, windows, Optimisation(epochs=0, bf16=False), tmp_path)
    assert losses == pytest.approx([(math.log(2) + 3 * math.log(4)) / 4])


def test_windows_are_padded_to_the_largest_of_a_batch():
    windows = window_set(([0.5], [1.0], 1.0), ([0.25, 0.75], [0.0, math.nan], 2.0))
    read, learn = windows.batch(np.array([0, 1]))
    assert read["start"].tolist() == [[1, 0], [1, 1]]
    assert read["token_type_ids"].tolist() == [[0, 1, 0]] * 2
    assert learn["prior"].tolist() == [[0.5, NO_SLOT], [0.25, 0.75]]
    assert learn["label"].isnan().tolist() == [[False, True], [False, True]]
    assert learn["weight"].tolist() == [1.0, 2.0]


def test_agreement_is_close_up_to_a_share_of_flips_and_a_difference():
    assert Agreement(50, MOST_FLIPS, MOST_DIFFERENCE).close
    assert not Agreement(50, MOST_FLIPS + 0.01, 0.0).close
    assert not Agreement(50, 0.0, MOST_DIFFERENCE + 0.01).close


# What was planted is found


def test_planted_rephrases_are_found(trained):
    sessions, truth = planted(200, seed=1, annotated=False)
    batch, p_success = judged(sessions)
    detector = load_detector(trained[0])
    links = detector.detect(batch, p_success)
    found = np.isin(np.arange(200) * 2, links.source)
    assert (links.target == links.source + 1).all()
    assert (found == truth).mean() >= 0.97


def test_it_is_the_text_that_tells_them_apart(trained):
    sessions, truth = planted(200, seed=1, annotated=False)
    batch, p_success = judged(sessions)
    detector = SpanDetector.load(trained[0])
    pairs = candidates(batch, detector.parameters.reach)
    trees = detector.trees.log_odds(pair_features(batch, p_success, pairs))
    alone = detector.parameters.joint.probability(pairs, trees, np.full(len(pairs), np.nan))
    both = detector.score(batch, p_success).probability
    assert ((both >= 0.5) == truth).mean() > ((alone >= 0.5) == truth).mean() + 0.1


def test_the_first_of_a_kind_is_asked_for_all(trained):
    sessions = planted(5, seed=2)[0]
    twins = tuple(
        replace(each, session_id=f"twin-{each.session_id}", turns=tuple(
            replace(turn, turn_id=f"twin-{turn.turn_id}") for turn in each.turns
        ))
        for each in sessions
    )  # fmt: skip
    detector = SpanDetector.load(trained[0])
    links = detector.score(*judged((*sessions, *twins)))
    assert (detector.asked.windows, detector.asked.distinct) == (10, 5)
    assert links.probability[:5].tolist() == links.probability[5:].tolist()
    assert links.kind[:5].tolist() == links.kind[5:].tolist()
    assert (detector.asked.turns, detector.asked.pairs) == (20, 10)


def test_windows_that_the_trees_rule_out_are_not_asked(trained):
    batch, p_success = judged(planted(5, seed=2)[0])
    detector = SpanDetector.load(trained[0])
    sure = replace(detector, parameters=replace(detector.parameters, surely_none=9.5))
    links = sure.score(batch, p_success)
    pairs = candidates(batch, sure.parameters.reach)
    trees = sure.trees.log_odds(pair_features(batch, p_success, pairs))
    assert sure.asked.windows == sure.asked.distinct == 0
    alone = sure.parameters.joint.probability(pairs, trees, np.full(5, np.nan))
    assert links.probability == pytest.approx(alone)
    sound = pair_features(batch, p_success, pairs)[:, NAMES.index("differing_sound")]
    assert links.kind.tolist() == (sound >= 0.4).astype(int).tolist()  # where the encoder is silent, sound tells


def test_a_source_that_surely_worked_is_not_looked_at(trained):
    batch, _ = judged(planted(5, seed=2)[0])
    detector = SpanDetector.load(trained[0])
    looked = replace(detector, parameters=replace(detector.parameters, asked_below=0.9))
    assert len(looked.score(batch, np.full(10, 0.95))) == 0
    assert len(looked.score(batch, np.full(10, 0.85))) == 5


@pytest.mark.parametrize("sessions", [(), (Session("s", "u", (Turn("a", "u", 0.0, "lamp"),)),)])
def test_nothing_to_link(trained, sessions):
    batch, p_success = judged(sessions)
    assert len(load_detector(trained[0]).score(batch, p_success)) == 0


def test_text_of_unknown_words_and_candidates_too_long_for_a_window(trained):
    texts = ("ёлка гори", "гори ёлка", "а " * 140, "ёлка", "")
    turns = tuple(Turn(str(n), "u", 10.0 * n, text) for n, text in enumerate(texts))
    batch, _ = judged((Session("s", "u", turns),))
    detector = SpanDetector.load(trained[0])
    links = detector.score(batch, np.zeros(5))
    assert (links.source.tolist(), links.target.tolist()) == ([0, 1, 2], [1, 2, 3])
    pairs = candidates(batch, Reach(60.0, 1))
    text = detector.parts(batch, np.zeros(5), pairs)[1]
    assert np.isnan(text).tolist() == [False, True, False]  # of the long one, the trees alone speak
    assert ((links.probability > 0) & (links.probability < 1)).all()


# The same again


def test_a_killed_training_goes_on_where_it_was_and_ends_where_it_would_have(trained, encoder, tmp_path):
    _, metrics, steps, first_epoch = trained
    loss = metrics["development"]["loss"]
    assert first_epoch == loss[:2]
    assert min(done for stage, done, _ in steps if stage == "training") == 23  # 22 steps were done
    assert trained_until(tmp_path / "other", encoder, "exporting", 0)["losses"] == loss
    assert loss[-1] < 0.1 < loss[0]


def test_a_killed_training_is_not_gone_on_with_where_the_labels_are_others(encoder, tmp_path):
    out = tmp_path / "detector"
    trained_until(out, encoder, "training", 23)
    first, *others = LOG.sessions
    worked = tuple(replace(turn, outcome=Outcome.SUCCESS) for turn in first.turns)
    log = TrainingLog(LOG.name, (replace(first, turns=worked), *others))
    trained_until(out, encoder, "training", 1, log)


def test_nothing_is_left_of_the_training(trained):
    assert [path.name for path in trained[0].parent.iterdir()] == ["detector"]
    assert sorted(path.name for path in trained[0].iterdir()) == sorted(FILES)


def test_the_same_links_after_pickling_and_from_another_folder(trained, folder):
    batch, p_success = judged(planted(20, seed=3)[0])
    detector = load_detector(trained[0])
    wanted = rows(detector.score(batch, p_success))
    moved = load_detector(folder)
    assert rows(pickle.loads(pickle.dumps(detector)).score(batch, p_success)) == wanted
    assert rows(moved.score(batch, p_success)) == wanted
    assert repr(moved) == repr(detector) == f"SpanDetector({detector.digest})"


def test_several_threads_at_once(trained):
    detector = load_detector(trained[0])
    logs = [judged(planted(20, seed=seed)[0]) for seed in range(8)]
    wanted = [rows(detector.score(*log)) for log in logs]
    with ThreadPoolExecutor(4) as threads:
        assert [rows(links) for links in threads.map(lambda log: detector.score(*log), logs)] == wanted


@pytest.mark.parametrize("threads", ["", "1", "2,1"])
def test_threads_by_the_environment(trained, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    batch, p_success = judged(planted(2, seed=3)[0])
    assert len(load_detector(trained[0]).score(batch, p_success)) == 2


def test_what_was_measured_is_kept(trained):
    out, metrics, *_ = trained
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert metrics["logs"]["planted"]["labels"] == "gold"
    assert metrics["development"]["precision"] == metrics["development"]["recall"] == 1.0
    assert metrics["export"]["kind"] == "int8"
    for kind in ("int8", "float32"):
        assert Agreement(**metrics["export"][kind]).close
    assert load_detector(out).threshold == metrics["development"]["threshold"]


# The export


@pytest.fixture(scope="module")
def model_and_windows(encoder):
    maker = WindowEncoder.from_folder(encoder, 48)
    batch, _ = judged(planted(30, seed=4)[0])
    pairs = Candidates(np.arange(30) * 2, np.arange(30) * 2 + 1)
    return span_model(encoder, maker.tokenizer), maker.encode(batch, pairs)


def test_padding_says_nothing(model_and_windows):
    model, windows = model_and_windows
    with torch.no_grad():
        torch.nn.init.normal_(model.span.weight)
    few = np.arange(4)
    close, wide = (text_scores(model, padded(windows, few, tokens))[0] for tokens in (None, 40))
    assert close == pytest.approx(wide, abs=1e-5)
    assert np.ptp(close) > 0.1


@pytest.fixture
def telling(model_and_windows):
    """The same model with heads that tell windows apart."""
    model = copy.deepcopy(model_and_windows[0])
    torch.manual_seed(1)
    for layer in (model.span, model.none, model.mix[-1]):
        torch.nn.init.normal_(layer.weight)
    return model, model_and_windows[1]


def operators(onnx):
    return Counter(node.op_type for node in load(onnx.path).graph.node)


def test_layers_are_fused_and_say_the_same_however_wide_the_padding(telling, tmp_path):
    model, windows = telling
    onnx, told = exported(model, [windows], tmp_path)
    assert (told["kind"], told["fused"]) == ("int8", True)
    found = operators(onnx)
    assert (found["QAttention"], found["SkipLayerNormalization"], found["MatMul"]) == (1, 2, 0)
    assert model.encoder.config._attn_implementation == "sdpa"
    batch = padded(windows, np.arange(5), 40)
    scores, kinds = onnx.run(batch)
    right = text_scores(model, batch)
    assert scores == pytest.approx(right[0], abs=0.1)
    assert kinds == pytest.approx(right[1], abs=0.1)
    assert np.ptp(right[0]) > 0.5


@pytest.mark.parametrize("other", ["albert", "roberta"])
def test_an_encoder_of_another_architecture_is_exported_too(model_and_windows, other, tmp_path):
    """Albert runs one layer several times, which cannot be fused; Roberta counts places from the padding."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 64, "type_vocab_size": 2,
    }  # fmt: skip
    if other == "albert":
        encoder = AlbertModel(AlbertConfig(**sizes, embedding_size=16), add_pooling_layer=False)
    else:
        encoder = RobertaModel(RobertaConfig(**sizes, pad_token_id=0), add_pooling_layer=False)
    model, windows = SpanModel(encoder), model_and_windows[1]
    for layer in (model.span, model.none, model.mix[-1]):
        torch.nn.init.normal_(layer.weight, std=0.3)
    onnx, told = exported(model, [windows], tmp_path)
    assert told["fused"] is (other == "roberta")
    assert Agreement(**told["int8"]).close
    batch = padded(windows, np.arange(5), 40)
    right = text_scores(model, batch)[0]
    assert np.abs(onnx.run(batch)[0] - right).mean() < 0.1
    assert np.ptp(right) > 0.1


def test_where_int8_says_something_else_float32_is_kept(model_and_windows, tmp_path):
    """One feature a hundred thousand times as large as the others, which alone tell: int8 sees it and nothing else."""
    model, windows = model_and_windows
    with torch.no_grad():
        model.encoder.encoder.layer[-1].output.LayerNorm.weight[0] = 1e5
        for layer in (model.span, model.none, model.mix[0]):
            torch.nn.init.normal_(layer.weight)
            layer.weight[:, :: 32] = 0
    onnx, told = exported(model, [windows], tmp_path)
    assert told["kind"] == "float32"
    assert not Agreement(**told["int8"]).close
    wanted = text_scores(model, padded(windows, np.arange(30)))[0][:, 0]
    assert onnx.scores(windows, 30)[0] == pytest.approx(wanted, abs=0.01)


def test_windows_that_differ_in_their_marks_alone_are_not_taken_for_the_same(model_and_windows):
    windows = model_and_windows[1].among(np.array([0, 0, 1]))
    assert distinct_windows(windows) == ([0, 2], [0, 0, 1])
    again = windows.again.copy()
    again[0] = 1
    assert distinct_windows(replace(windows, again=again)) == ([0, 1, 2], [0, 1, 2])


# Failing


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_told(folder, name):
    (folder / name).unlink()
    with pytest.raises(DetectorError, match=f"{name}"):
        load_detector(folder)


@pytest.mark.parametrize("name", ["trees.txt", "model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_a_file_cut_off_is_told(folder, name, part):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(DetectorError, match=f"{name} is not as it was written: train or copy the detector again"):
        load_detector(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("trees.txt", "none", "trees.txt cannot be read"),
        ("model.onnx", "none", "model.onnx cannot be read as a model"),
        ("tokenizer.json", "{}", "tokenizer.json cannot be read as a tokenizer"),
    ],
)
def test_a_file_of_something_else_is_told(folder, name, content, message):
    (folder / name).write_text(content)
    manifest = json.loads((folder / "detector.json").read_text())
    (folder / "detector.json").write_text(json.dumps({**manifest, "files": digests(folder, list(manifest["files"]))}))
    with pytest.raises(DetectorError, match=message):
        load_detector(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"of format \('span', 2\): 'span', version 1, is wanted"),
        ({"format": "other"}, "of format 'other': one of span, boosted"),
        ({"threshold": 1.5}, "threshold of 1.5"),
        ({"threshold": "high"}, "wrong parameters"),
        ({"joint": {"trees": "x"}}, "wrong parameters"),
        ({"joint": None}, "wrong parameters"),
        ({"reach": {"limit_s": -1}}, "wrong parameters"),
        ({"max_tokens": None}, "wrong parameters"),
        ({"max_tokens": 8}, "32 or more are wanted"),
    ],
)
def test_a_manifest_that_says_something_else_is_told(folder, change, message):
    path = folder / "detector.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DetectorError, match=message):
        load_detector(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"version": 1}'])
def test_a_damaged_manifest_is_told(folder, content):
    (folder / "detector.json").write_bytes(content)
    with pytest.raises(DetectorError, match=r"detector.json cannot be read .*: train or copy the detector again"):
        load_detector(folder)


def test_detectors_by_name(tmp_path):
    assert load_detector("lexical") == LexicalDetector()
    with pytest.raises(DetectorError, match=r"'lexicl' is no folder: \"lexical\", or the folder"):
        load_detector("lexicl")
    with pytest.raises(DetectorError, match=r"has no detector\.json: the folder of a trained detector is wanted"):
        load_detector(tmp_path)


class FullDisk(Trees):
    """Trees that cannot be written."""

    def save(self, path):
        path.write_text("tre")
        raise OSError("no space left on device")


def test_an_interrupted_write_leaves_the_old_detector_whole(folder):
    detector = SpanDetector.load(folder)
    broken = FullDisk(detector.trees.booster, detector.trees.names)
    with pytest.raises(OSError, match="no space left"):
        write_detector(folder, SpanParameters(), broken, detector.model, detector.encoder, {})
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert SpanDetector.load(folder).digest == detector.digest
    write_detector(folder, SpanParameters(threshold=0.25), detector.trees, detector.model, detector.encoder, {})
    assert SpanDetector.load(folder).threshold == 0.25


def test_a_folder_of_something_else_is_not_replaced(trained, tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    detector = SpanDetector.load(trained[0])
    with pytest.raises(DetectorError, match="is there and holds no detector"):
        write_detector(tmp_path, SpanParameters(), detector.trees, detector.model, detector.encoder, {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_outcomes_of_other_turns_are_refused(trained):
    batch, _ = judged(planted(2, seed=2)[0])
    with pytest.raises(ValueError, match="3 outcomes for 4 turns"):
        load_detector(trained[0]).score(batch, np.zeros(3))


def test_a_damaged_checkpoint_is_told(encoder, tmp_path):
    windows = window_set(([0.0], [1.0], 1.0))
    (tmp_path / CHECKPOINT).write_bytes(b"cut off")
    model = span_model(encoder, WindowEncoder.from_folder(encoder, 48).tokenizer)
    with pytest.raises(DetectorError, match=r"checkpoint\.pt cannot be read .*: delete it, and training begins anew"):
        fine_tune(model, windows, windows, Optimisation(epochs=1), tmp_path)


def test_training_that_diverges_is_told(encoder, tmp_path):
    windows = window_set(([0.0], [1.0], 1.0))
    model = span_model(encoder, WindowEncoder.from_folder(encoder, 48).tokenizer)
    with pytest.raises(DetectorError, match="a lower learning rate is wanted"):
        fine_tune(model, windows, windows, Optimisation(epochs=1, learning_rate=math.inf, bf16=False), tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_an_encoder_without_a_tokenizer_or_weights_or_segments_is_told(encoder, tmp_path):
    with pytest.raises(DetectorError, match=r"has no tokenizer\.json: a model with a fast tokenizer is wanted"):
        WindowEncoder.from_folder(tmp_path)
    with pytest.raises(DetectorError, match="reads 64 tokens: max_tokens of 65 is too many"):
        WindowEncoder.from_folder(encoder, 65)
    tokenizer = WindowEncoder.from_folder(encoder, 64).tokenizer
    with pytest.raises(DetectorError, match="cannot be read as an encoder"):
        span_model(tmp_path, tokenizer)
    config = BertConfig(
        vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, type_vocab_size=1
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    with pytest.raises(DetectorError, match="has no second segment"):
        span_model(tmp_path, tokenizer)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (TrainingLog("none", ()), "no session came: a log with turns is wanted"),
        (
            TrainingLog("fine", tuple(
                Session(f"s{n}", f"u{n}", (Turn(f"t{n}", f"u{n}", 0.0, "play jazz", outcome=Outcome.SUCCESS),))
                for n in range(50)
            )),
            "0 rephrases and 0 other pairs are to learn from: at least 5 of each are wanted. Give a longer log",
        ),
        (
            TrainingLog("alone", tuple(
                Session(f"s{n}", "u", (Turn(f"t{n}", "u", 0.0, f"play {n}", outcome=list(Outcome)[n % 2]),))
                for n in range(50)
            )),
            "give a longer log, or annotated dialogues|Give a longer log, or annotated dialogues",
        ),
    ],
)  # fmt: skip
def test_a_log_that_teaches_nothing_is_told(encoder, tmp_path, log, message):
    with pytest.raises(DetectorError, match=message):
        train_detector([log], tmp_path / "detector", encoder=encoder, recipe=RECIPE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"), [({"epochs": -1}, "epochs came as -1"), ({"development": 1.0}, "development came as 1.0")]
)
def test_a_recipe_out_of_range_is_told(change, message):
    with pytest.raises(DetectorError, match=message):
        Recipe(**change)


def test_trees_alone_are_saved_and_come_back(tmp_path):
    chance = np.random.default_rng(0)
    features = chance.random((60, len(NAMES)))
    detector = BoostedDetector(Trees.fitted(features, (features[:, 0] > 0.5).astype(float), np.ones(60)), 0.25)
    detector.save(tmp_path / "boosted")
    loaded = load_detector(tmp_path / "boosted")
    assert isinstance(loaded, BoostedDetector)
    assert (loaded.threshold, loaded.reach) == (0.25, detector.reach)
    assert loaded.trees.log_odds(features).tolist() == detector.trees.log_odds(features).tolist()
    other = (tmp_path / "boosted" / "trees.txt").read_text().replace("shared_words", "mood")
    (tmp_path / "other.txt").write_text(other)
    with pytest.raises(DetectorError, match=r"other\.txt reads mood, which is not measured: train the detector again"):
        Trees.load(tmp_path / "other.txt")
    cut = tmp_path / "boosted" / "trees.txt"
    cut.write_bytes(cut.read_bytes()[:2000])
    with pytest.raises(DetectorError, match=r"trees.txt is not as it was written"):
        load_detector(tmp_path / "boosted")


# What a fresh reader broke


def test_a_detector_calibrated_elsewhere_stays_so_when_pickled_and_saved(trained, tmp_path):
    detector = SpanDetector.load(trained[0])
    other = replace(detector, parameters=replace(detector.parameters, threshold=0.9))
    assert pickle.loads(pickle.dumps(other)).threshold == 0.9
    assert repr(other) != repr(detector)
    other.save(tmp_path / "other")
    assert load_detector(tmp_path / "other").threshold == 0.9


def test_sessions_of_one_name_are_not_one():
    turns = [Turn(str(n), f"u{n}", float(n), text) for n, text in enumerate(("play jazz", "play jaz"))]
    log = TrainingLog("log", tuple(Session("1", turn.user_id, (turn,)) for turn in turns))
    assert len(prepare(log, Reach(), Recipe()).pairs) == 0


def test_a_score_does_not_depend_on_what_else_is_scored(trained):
    sessions = planted(8, seed=4)[0]
    detector = SpanDetector.load(trained[0])
    together = detector.score(*judged(sessions)).probability
    alone = [detector.score(*judged((session,))).probability for session in sessions]
    assert np.concatenate(alone).tolist() == together.tolist()


@pytest.mark.parametrize("damage", [{"files": None}, {"files": [1]}, {"files": {}}, {"prior": math.nan}])
def test_a_manifest_of_wrong_parts_is_told(folder, damage):
    whole = json.loads((folder / "detector.json").read_text())
    (whole["joint"] if "prior" in damage else whole).update(damage)
    (folder / "detector.json").write_text(json.dumps(whole))
    with pytest.raises(DetectorError):
        load_detector(folder)


def test_another_split_of_the_same_logs_is_another_training(tmp_path):
    """What one training learned from must not be what another is judged by."""
    one, other = (TrainingLog(name, (Session(name, name, (Turn(name, name, 0.0, "a"),)),)) for name in "ab")
    (tmp_path / "encoder").mkdir()
    first = _work_folder(tmp_path / "out", [one, other], [], tmp_path / "encoder", Recipe())
    (first / "checkpoint.pt").write_text("begun")
    assert (_work_folder(tmp_path / "out", [one, other], [], tmp_path / "encoder", Recipe()) / "checkpoint.pt").exists()
    again = _work_folder(tmp_path / "out", [one], [other], tmp_path / "encoder", Recipe())
    assert not (again / "checkpoint.pt").exists()
    (tmp_path / "mine.work").mkdir()
    (tmp_path / "mine.work" / "notes").write_text("a person's")
    with pytest.raises(DetectorError, match="in the way"):
        _work_folder(tmp_path / "mine", [one], [], tmp_path / "encoder", Recipe())
