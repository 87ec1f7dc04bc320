import json
import math
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from dialogue.canonical import Canonicaliser
from dialogue.table import dialogue_batch
from dialogue.turn import Session, Turn
from rephrase_detection.candidates import Reach
from rephrase_detection.cosine import CosineDetector, cosines
from rephrase_detection.edit_distance import EditDistanceDetector
from rephrase_detection.errors import DetectorError
from rephrase_detection.pair_bert_torch import PairBertDetector, PairClassifier
from rephrase_detection.pair_bert_training_torch import Training, by_length, held_back, rate, trained
from rephrase_detection.pairwise import PENALTY, LabelledPairs, PairWeights, pair_likeness

WORDS = "play stop jazz rock light on off music news weather door call again the".split()
PLANES = {"a": (1.0, 0.0), "b": (3.0, 4.0), "c": (0.0, 0.0)}


def batch_of(*sessions, gap=10.0):
    """A dialogue batch of sessions of texts, `gap` seconds apart."""
    turns = [
        Session(f"s{n}", "u", tuple(Turn(f"{n}-{at}", "u", at * gap, text) for at, text in enumerate(texts)))
        for n, texts in enumerate(sessions)
    ]
    return dialogue_batch(turns, Canonicaliser())


def pairs_of(texts, label, p_success=0.0, weight=None):
    """One labelled pair a session of two texts."""
    batch, rows = batch_of(*texts), np.arange(len(texts)) * 2
    p = np.broadcast_to(np.asarray(p_success, float), len(texts)).repeat(2)
    weight = np.ones(len(texts)) if weight is None else np.array(weight, float)
    return LabelledPairs(batch, p, rows, rows + 1, np.array(label, float), weight)


def sigmoid(odds):
    return 1 / (1 + math.exp(-odds))


def encode(texts):
    return np.array([PLANES[text] for text in texts], np.float32)


# What can be checked by hand


def test_the_probability_of_an_edit_distance():
    """The longest common part of "light on" and "light off" is "light o": 7 of 8 and of 9 letters."""
    detector = EditDistanceDetector(PairWeights(prior=-2, alike=4, failed=1))
    links = detector.score(batch_of(["light on", "light off"]), np.array([0.5, 1.0]))
    assert (links.source.tolist(), links.target.tolist(), links.kind.tolist()) == ([0], [1], [-1])
    assert links.probability == pytest.approx([sigmoid(-2 + 4 * 14 / 17 + math.log(0.5))])


def test_the_probability_of_a_cosine():
    detector = CosineDetector(encode, PairWeights(prior=-1, alike=2, failed=1))
    links = detector.score(batch_of(["a", "b"]), np.zeros(2))
    assert links.probability == pytest.approx([sigmoid(-1 + 2 * 0.6)])
    assert cosines(encode, ["a", "a", "b"], ["a", "c", "b"]).tolist() == pytest.approx([1, 0, 1])


def test_weights_where_nothing_but_the_prior_tells():
    """Nothing in common, all failed: three rephrases to one other pair are log-odds of log 3."""
    example = pairs_of([["aa", "bb"]] * 2, [1, 0], weight=[3, 1])
    found = PairWeights.fitted([example], lambda left, _: np.zeros(len(left)))
    assert asdict(found) == pytest.approx({"prior": math.log(3), "alike": 0, "failed": 0}, abs=1e-4)


def test_the_learning_rate_goes_up_and_down():
    assert [rate(step, 10, 0.2) for step in (0, 1, 2, 6, 9)] == pytest.approx([1 / 3, 2 / 3, 1, 0.5, 0.125])


# The frame


def test_each_source_gets_its_best_target_and_the_nearer_of_equals():
    batch = batch_of(["jazz", "rock", "jazz", "jazz"], ["jazz"], ["", "news"])
    links = EditDistanceDetector().score(batch, np.zeros(batch.num_rows))
    assert list(zip(links.source.tolist(), links.target.tolist(), strict=True)) == [(0, 2), (1, 2), (2, 3)]


def test_the_reach_bounds_the_seconds_and_the_turns():
    batch = batch_of(["jazz", "rock", "news", "jazz"], gap=10.0)
    for reach, target in ((Reach(60.0, 3), 3), (Reach(60.0, 2), 1), (Reach(29.0, 3), 1)):
        links = EditDistanceDetector(reach=reach).score(batch, np.zeros(4))
        assert links.target[links.source == 0].tolist() == [target]


def test_detect_is_score_from_the_threshold_on():
    batch, p = batch_of(["jazz", "jazz", "news"]), np.zeros(3)
    detector = EditDistanceDetector(threshold=0.6)
    assert detector.score(batch, p).source.tolist() == [0, 1]
    assert detector.detect(batch, p).source.tolist() == [0]


def test_each_distinct_pair_is_looked_at_once():
    asked = []

    def likeness(left, right):
        asked.extend(zip(left, right, strict=True))
        return np.arange(len(left), dtype=float)

    batch = batch_of(["a", "b", "a", "b"])
    found = pair_likeness(batch, np.array([0, 2, 1]), np.array([1, 3, 2]), likeness)
    assert asked == [("a", "b"), ("b", "a")]
    assert found.tolist() == [0, 0, 1]


def test_an_empty_batch_has_no_links():
    assert len(EditDistanceDetector().score(batch_of(), np.zeros(0))) == 0


def test_weights_agree_with_scikit_learn():
    rng = np.random.default_rng(3)
    alike, p_success, weight = rng.random(400), rng.random(400) * 0.95, rng.random(400) + 0.5
    label = (rng.random(400) < 1 / (1 + np.exp(-(-1 + 4 * alike + np.log(1 - p_success))))).astype(float)
    texts = [[f"source {n}", f"target {n}"] for n in range(400)]
    example = pairs_of(texts, label, p_success, weight)
    found = PairWeights.fitted([example], lambda left, _: alike[[int(text.split()[1]) for text in left]])
    table = np.stack([alike, np.log(1 - p_success)], axis=1)
    oracle = LogisticRegression(C=1 / PENALTY, tol=1e-8).fit(table, label, sample_weight=weight / weight.mean())
    assert [found.prior, found.alike, found.failed] == pytest.approx([*oracle.intercept_, *oracle.coef_[0]], abs=2e-3)


def test_only_the_proportions_of_weights_count():
    texts, label = [["jazz", "jazz"], ["jazz", "rock"], ["news", "new"]], [1, 0, 0]
    one, other = (EditDistanceDetector.fitted([pairs_of(texts, label, weight=w)]) for w in ([1, 2, 3], [50, 100, 150]))
    assert asdict(one.weights) == pytest.approx(asdict(other.weights), rel=1e-4)


def test_likeness_never_speaks_against_a_rephrase():
    example = pairs_of([["news", "news"], ["jazz", "door"]], [0, 1])
    assert EditDistanceDetector.fitted([example]).weights.alike == 0


@pytest.mark.parametrize("fitted", [EditDistanceDetector.fitted, lambda each: CosineDetector.fitted(each, encode)])
def test_fitting_needs_both_labels(fitted):
    with pytest.raises(DetectorError, match="2 rephrases and 0 other pairs"):
        fitted([pairs_of([["a", "b"], ["b", "a"]], [1, 1])])


def test_labelled_pairs_say_what_is_wrong():
    with pytest.raises(DetectorError, match="1 labels"):
        replace(pairs_of([["a", "b"]] * 2, [1, 0]), label=np.zeros(1))
    with pytest.raises(DetectorError, match="leave out unknown"):
        pairs_of([["a", "b"]], [float("nan")])


def test_faults_of_the_caller():
    batch = batch_of(["a", "b"])
    with pytest.raises(DetectorError, match="1 outcomes for 2 turns"):
        EditDistanceDetector().score(batch, np.zeros(1))
    with pytest.raises(DetectorError, match=r"threshold of 1\.5"):
        EditDistanceDetector(threshold=1.5)
    with pytest.raises(DetectorError, match=r"shape \(3,\) came for 2 texts"):
        CosineDetector(lambda texts: np.zeros(3)).score(batch, np.zeros(2))
    with pytest.raises(DetectorError, match="finite number"):
        CosineDetector(lambda texts: np.full((2, 2), np.nan)).score(batch, np.zeros(2))


# The folder


def test_what_was_saved_is_loaded(tmp_path):
    edit = EditDistanceDetector(PairWeights(-1, 2, 0.5), 0.4, Reach(50.0, 2))
    edit.save(tmp_path / "new" / "edit")
    assert EditDistanceDetector.load(tmp_path / "new" / "edit") == edit
    cosine = CosineDetector(encode, PairWeights(-1, 2, 0.5), 0.4, model="some/model")
    cosine.save(tmp_path / "new" / "edit")
    assert CosineDetector.load(tmp_path / "new" / "edit", encode) == cosine
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["edit"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")
    for place in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(DetectorError, match="holds no detector"):
            EditDistanceDetector().save(place)
    assert (tmp_path / "letter.txt").read_text(encoding="utf-8") == "dear"


def test_a_save_that_fails_leaves_what_was_there(tmp_path):
    EditDistanceDetector(threshold=0.3).save(tmp_path / "d")
    with pytest.raises(TypeError):
        CosineDetector(encode, model=object()).save(tmp_path / "d")
    assert EditDistanceDetector.load(tmp_path / "d").threshold == 0.3
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(DetectorError, match="is missing"):
        EditDistanceDetector.load(tmp_path)
    EditDistanceDetector().save(tmp_path / "d")
    with pytest.raises(DetectorError, match="format 'edit-distance', version 1; 'cosine'"):
        CosineDetector.load(tmp_path / "d", encode)
    path = tmp_path / "d" / "detector.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    faults = {
        "version 2;": json.dumps({**whole, "version": 2}),
        "format None": "[]",
        "cannot be read": "{",
        "wrong parameters": json.dumps({**whole, "weights": {"prior": 1}}),
        "threshold of 2": json.dumps({**whole, "threshold": 2}),
    }
    for message, text in faults.items():
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DetectorError, match=message):
            EditDistanceDetector.load(tmp_path / "d")


def test_a_cosine_without_a_model_needs_the_embeddings(tmp_path):
    CosineDetector(encode).save(tmp_path / "d")
    with pytest.raises(DetectorError, match="give load the function"):
        CosineDetector.load(tmp_path / "d")


def test_without_the_library_the_error_says_what_to_install():
    program = (
        "import sys; sys.modules['sentence_transformers'] = None  # as if it were not installed\n"
        "from rephrase_detection.cosine_sentence_transformers import sentence_encoder; sentence_encoder('any')"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 'DetectorError: sentence embeddings need sentence-transformers: pip install "' in answer.stderr


# The pairwise BERT


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT of one layer, drawn from a seed, with a tokenizer of whole words."""
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    names = ["input_ids", "token_type_ids", "attention_mask"]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, **marks).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        BertModel(config).save_pretrained(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads only wait for each other on so small a network
    yield folder
    torch.set_num_threads(threads)


def again(number, seed):
    """Pairs of which those are rephrases whose target says "again": no likeness of letters or of the words tells."""
    rng = np.random.default_rng(seed)
    label = np.arange(number) % 2
    drawn = zip(rng.choice(WORDS[:-2], (number, 4)), ["the", "again"] * (number // 2), strict=True)
    texts = [[f"{a} {b}", f"{c} {telling} {d}"] for (a, b, c, d), telling in drawn]
    return pairs_of(texts, label, p_success=0.5)


QUICK = Training(epochs=6, batch_pairs=8, learning_rate=5e-3, held_back=0.2)


@pytest.fixture(scope="module")
def learned(bert):
    """Trained beside pairs of no weight whose labels are all wrong."""
    wrong = replace(again(80, 1), label=1 - again(80, 1).label, weight=np.zeros(80))
    return PairBertDetector.fitted([again(80, 1), wrong], bert, training=QUICK)


def test_a_pair_is_read_as_cls_source_sep_target_sep(bert):
    classifier = PairClassifier.from_encoder(bert)
    ids = classifier.tokens(["play jazz"], ["stop"])
    assert ids["input_ids"] == [[2, 4, 6, 3, 5, 3]]
    assert ids["token_type_ids"] == [[0, 0, 0, 0, 1, 1]]
    network = classifier.network.eval()
    with torch.inference_mode():
        hidden = network.encoder(**{name: torch.tensor(each) for name, each in ids.items()}).last_hidden_state
        by_hand = float(hidden[0, 0] @ network.head.weight[0] + network.head.bias[0])
    assert classifier.logits(["play jazz"], ["stop"]) == pytest.approx([by_hand], abs=1e-5)


def test_the_longer_text_is_cut(bert):
    classifier = PairClassifier.from_encoder(bert, max_tokens=8)
    (ids,) = classifier.tokens(["play " * 20], ["stop jazz"])["input_ids"]
    assert ids == [2, 4, 4, 4, 3, 5, 6, 3]


def test_logits_do_not_depend_on_the_batch(learned):
    left = ["play", "stop the music on", "news", "call the door"]
    right = ["play jazz again", "off", "weather the news", "door"]
    whole = learned.classifier.logits(left, right)
    single = replace(learned.classifier, batch_pairs=1).logits(left[::-1], right[::-1])
    assert whole == pytest.approx(single[::-1], abs=1e-5)
    assert len(learned.classifier.logits([], [])) == 0


def test_training_finds_the_word_that_tells(learned):
    new = again(40, 2)
    links = learned.score(new.batch, new.p_success)
    assert links.source.tolist() == new.source.tolist()
    assert ((links.probability >= 0.5) == (new.label == 1)).all()


def test_bert_weighs_how_the_source_fared(learned):
    detector, batch = replace(learned, weights=PairWeights(0, 1, 1)), batch_of(["play", "jazz again rock"])
    logit = learned.classifier.logits(["play"], ["jazz again rock"])[0]
    for p_success in (0.0, 0.5):
        links = detector.score(batch, np.array([p_success, 1.0]))
        assert links.probability == pytest.approx([sigmoid(logit + math.log(1 - p_success))])


def test_a_seed_gives_one_network_and_global_random_state_is_left_alone(bert):
    heads = []
    for seed, elsewhere in ((7, 1), (7, 2), (8, 1)):
        with torch.random.fork_rng([]):
            before = torch.manual_seed(elsewhere).get_state()
            detector = PairBertDetector.fitted([again(30, 1)], bert, training=replace(QUICK, epochs=1, seed=seed))
            assert torch.equal(torch.random.get_rng_state(), before)
        heads.append(detector.classifier.network.head.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_it_stops_when_patience_is_at_an_end_and_keeps_the_best_epoch(bert):
    """Development labels are turned round, so that what is learned makes it worse."""
    development = replace(again(20, 3), label=1 - again(20, 3).label)
    training = replace(QUICK, epochs=20, patience=2)
    classifier, losses = trained([again(40, 1)], [development], bert, training, torch.device("cpu"))
    assert len(losses) == np.argmin(losses) + 1 + 2 < 20
    odds = pair_likeness(development.batch, development.source, development.target, classifier.logits)
    loss = np.logaddexp(0, odds) - development.label * odds
    assert loss.mean() == pytest.approx(min(losses), abs=1e-5)


def test_each_step_moves_by_the_learning_rate_of_its_time(bert):
    """While the slope of the loss is constant, a step of Adam is as long as the rate (Kingma and Ba, section 2.1)."""
    example = pairs_of([["play", "jazz"]] * 80, [0] + [1] * 79, weight=[1e-6] + [1] * 79)
    training = Training(epochs=1, batch_pairs=8, learning_rate=1e-5, warm_up=0.2)
    classifier, _ = trained([example], [again(2, 1)], bert, training, torch.device("cpu"))
    with torch.random.fork_rng([]):
        torch.manual_seed(training.seed)
        begun = PairClassifier.from_encoder(bert)
    moved = float((classifier.network.head.bias - begun.network.head.bias).detach())
    assert moved == pytest.approx(1e-5 * sum(rate(step, 10, 0.2) for step in range(10)), rel=0.05)


def test_held_back_sessions_are_whole():
    batch = batch_of(*[["play", "jazz", "rock"]] * 20)
    source = np.sort(np.concatenate([np.arange(20) * 3, np.arange(20) * 3 + 1]))
    label = (np.arange(40) % 8 == 0).astype(float)
    example = LabelledPairs(batch, np.zeros(60), source, source + 1, label, np.ones(40))
    (train,), (development,) = held_back([example], 0.2, 7)
    assert (len(train), len(development)) == (32, 8)
    assert not set(train.source // 3) & set(development.source // 3)
    assert development.label.sum() == 1
    with pytest.raises(DetectorError, match="give development pairs"):
        held_back([pairs_of([["a", "b"], ["b", "a"]], [1, 0])], 0.2, 7)


def test_batches_are_of_like_length_and_hold_every_row_once():
    lengths = np.random.default_rng(1).integers(1, 60, 64)
    batches = list(by_length(lengths, 8, np.random.default_rng(2)))
    assert sorted(np.concatenate(batches).tolist()) == list(range(64))
    assert sum(lengths[rows].max() - lengths[rows].min() for rows in batches) <= 60


def test_a_trained_bert_comes_back_as_it_was(learned, tmp_path):
    learned.save(tmp_path / "d")
    loaded = PairBertDetector.load(tmp_path / "d")
    new = again(10, 4)
    assert loaded.score(new.batch, new.p_success).probability == pytest.approx(
        learned.score(new.batch, new.p_success).probability, abs=1e-6
    )
    assert (loaded.weights, loaded.threshold, loaded.reach) == (learned.weights, learned.threshold, learned.reach)
    assert sorted(path.suffix for path in (tmp_path / "d").iterdir() if path.suffix != ".json") == [".safetensors"]
    (tmp_path / "d" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(DetectorError, match="cannot be read as a BERT"):
        PairBertDetector.load(tmp_path / "d")


def test_a_folder_without_a_bert(tmp_path):
    with pytest.raises(DetectorError, match=r"has no config\.json"):
        PairBertDetector.fitted([again(30, 1)], tmp_path)
    with pytest.raises(DetectorError, match="epochs came as 0"):
        Training(epochs=0)


def test_sentence_transformers_embed_and_are_found_again(bert, tmp_path):
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    from rephrase_detection.cosine_sentence_transformers import sentence_encoder

    detector = CosineDetector(sentence_encoder(bert), model=str(bert))
    batch, p = batch_of(["play jazz", "play rock"]), np.zeros(2)
    detector.save(tmp_path / "d")
    links = CosineDetector.load(tmp_path / "d").score(batch, p)
    classifier = PairClassifier.from_encoder(bert)
    with torch.inference_mode():
        left, right = (
            classifier.network.eval().encoder(**classifier.tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            for text in ("play jazz", "play rock")
        )
    cosine = float(torch.cosine_similarity(left.mean(0), right.mean(0), dim=0))
    weights = detector.weights
    assert links.probability == pytest.approx([sigmoid(weights.prior + weights.alike * cosine)], abs=1e-5)
    with pytest.raises(DetectorError, match="cannot be loaded as a sentence-transformers model"):
        sentence_encoder(tmp_path / "none")
