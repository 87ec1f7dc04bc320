"""Windows: known answers in words, and laws for any dialogue."""

import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from dialogue.canonical import Canonicaliser
from dialogue.table import dialogue_batch
from dialogue.turn import Asr, Hypothesis, Outcome, Session, Signals, Turn
from rephrase_detection.candidates import Candidates, Reach, candidates
from rephrase_detection.errors import DetectorError
from rephrase_detection.windows import MARKS, WindowEncoder, by_length, padded

WORDS = (
    "play maj and imagine dragons sorry no playing it thank you jazz stop music weather in boston a b c d e f g user"
    " assistant ok".split()
)
NUMBERS = [f"w{n}" for n in range(40)]


def tokenizer(*special, unknown="[UNK]"):
    words = [unknown, *(special or ("[PAD]", "[CLS]", "[SEP]")), *WORDS, *NUMBERS]
    found = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token=unknown))
    found.normalizer = normalizers.Replace("ё", "")
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    return found


def session(*turns, name="s"):
    """A session of (seconds, text, fields)."""
    made = (Turn(f"{name}-{n}", "u", at, text, **dict(*more)) for n, (at, text, *more) in enumerate(turns))
    return Session(name, "u", tuple(made))


def texts(*said, gap=10.0, name="s"):
    return session(*((gap * n, text) for n, text in enumerate(said)), name=name)


def encoded(*sessions, max_tokens=128, reach=None, **more):
    """The encoder, the pairs and the windows of sessions."""
    encoder = WindowEncoder(tokenizer(), max_tokens, **more)
    batch = dialogue_batch(sessions, Canonicaliser())
    pairs = candidates(batch, reach or Reach())
    return encoder, pairs, encoder.encode(batch, pairs)


def words(encoder, ids):
    return " ".join(encoder.tokenizer.id_to_token(int(token)) for token in ids)


def told(encoder, windows):
    """The windows as text."""
    cuts = zip(windows.token_starts[:-1], windows.token_starts[1:], strict=True)
    return [words(encoder, windows.tokens[slice(*cut)]) for cut in cuts]


def spans(encoder, windows):
    """The text of every slot, by the number of its pair."""
    window = np.repeat(np.arange(len(windows)), windows.slots)
    begin = windows.token_starts[window]
    cuts = zip(windows.pair.tolist(), begin + windows.start, begin + windows.end + 1, strict=True)
    return {pair: words(encoder, windows.tokens[first:after]) for pair, first, after in cuts}


# Known answers

MISHEARD = session(
    (0.0, "Play maj and dragons", {"asr": Asr(0.3), "outcome": Outcome.FAILURE, "response": "sorry no"}),
    (10.0, "play imagine dragons", {"asr": Asr(0.9), "outcome": Outcome.SUCCESS, "response": "playing it"}),
    (400.0, "thank you", {}),
)


def test_a_dialogue_in_words():
    encoder, pairs, windows = encoded(MISHEARD)
    assert told(encoder, windows) == [
        "[CLS] [source] play maj and dragons [heard-low] [error] [assistant] sorry no"
        " [gap-1] [user] play imagine dragons [heard-well] [done] [assistant] playing it"
        " [gap-5] [user] thank you [SEP]",
        "[CLS] [source] play imagine dragons [heard-well] [done] [assistant] playing it [gap-5] [user] thank you [SEP]",
    ]
    assert (pairs.source.tolist(), pairs.target.tolist()) == ([0, 0, 1], [1, 2, 2])
    assert windows.pair.tolist() == [0, 1, 2]
    assert windows.start.tolist() == [13, 23, 12]
    assert windows.end.tolist() == [15, 24, 13]
    assert windows.slot_starts.tolist() == [0, 2, 3]
    assert windows.token_starts.tolist() == [0, 26, 41]
    assert windows.lengths.tolist() == [26, 15]


def test_what_is_said_again_is_marked_on_both_sides():
    encoder, _, windows = encoded(MISHEARD)
    assert words(encoder, windows.tokens[windows.again == 1]) == "play dragons play dragons"
    assert np.flatnonzero(windows.again).tolist() == [2, 5, 13, 15]


def test_a_reply_and_what_else_was_heard_are_marked_where_a_candidate_says_them():
    heard = Asr(0.5, (Hypothesis("play jazz"), Hypothesis("stop music"), Hypothesis("stop")))
    dialogue = session(
        (0.0, "play jazz", {"asr": heard, "response": "stop jazz", "signals": Signals(barge_in=True, cancelled=True)}),
        (3.0, "stop music"),
    )
    encoder, _, windows = encoded(dialogue)
    assert told(encoder, windows) == [
        "[CLS] [source] play jazz [heard-middle] [barge-in] [cancelled] [also] stop music [assistant] stop jazz"
        " [gap-0] [user] stop music [SEP]"
    ]
    assert words(encoder, windows.tokens[windows.again == 1]) == "stop music stop"


@pytest.mark.parametrize(
    ("seconds", "mark"),
    [(0, 0), (5, 0), (5.1, 1), (15, 1), (30, 2), (31, 3), (60, 3), (300, 4), (301, 5)],
)
def test_buckets_of_time(seconds, mark):
    encoder, _, windows = encoded(session((0.0, "a"), (float(seconds), "b")))
    assert told(encoder, windows) == [f"[CLS] [source] a [gap-{mark}] [user] b [SEP]"]


@pytest.mark.parametrize(
    ("confidence", "mark"), [(0.0, "low"), (0.4, "low"), (0.41, "middle"), (0.75, "middle"), (1.0, "well")]
)
def test_buckets_of_confidence(confidence, mark):
    encoder, _, windows = encoded(session((0.0, "a", {"asr": Asr(confidence)}), (1.0, "b")))
    assert told(encoder, windows) == [f"[CLS] [source] a [heard-{mark}] [gap-0] [user] b [SEP]"]


def test_a_reply_is_cut_at_its_middle():
    """A source's reply has room for 24 tokens, 8 of its beginning and 16 of its end; a candidate's for 4 and 8."""
    reply = {"response": " ".join(NUMBERS)}
    encoder, _, windows = encoded(session((0.0, "a", reply), (1.0, "b", reply)))
    assert told(encoder, windows) == [
        f"[CLS] [source] a [assistant] {' '.join(NUMBERS[:8] + NUMBERS[24:])}"
        f" [gap-0] [user] b [assistant] {' '.join(NUMBERS[:4] + NUMBERS[32:])} [SEP]"
    ]


def test_a_long_read_out_is_read_at_its_ends():
    reply = "b " * 60 + "c " * 5000 + "d " * 59 + "d"
    encoder, _, windows = encoded(session((0.0, "a", {"response": reply}), (1.0, "e")))
    ends = "b " * 8 + "d " * 16
    assert told(encoder, windows) == [f"[CLS] [source] a [assistant] {ends}[gap-0] [user] e [SEP]"]


def test_long_dialogues_slide():
    """32 tokens less 4 of the source and the end are 27: two candidates of 10 tokens, and then a new window."""
    said = [" ".join(NUMBERS[n : n + 8]) for n in range(5)]
    encoder, pairs, windows = encoded(texts("play jazz", *said, gap=1.0), max_tokens=32, reach=Reach(60.0, 5))
    first = np.flatnonzero(pairs.source[windows.pair[windows.slot_starts[:-1]]] == 0)
    assert windows.slots[first].tolist() == [2, 2, 1]
    head = "[CLS] [source] play jazz"
    blocks = [f"[gap-0] [user] {text}" for text in said]
    assert told(encoder, windows)[:3] == [
        f"{head} {blocks[0]} {blocks[1]} [SEP]", f"{head} {blocks[2]} {blocks[3]} [SEP]", f"{head} {blocks[4]} [SEP]"
    ]  # fmt: skip
    assert [spans(encoder, windows)[pair] for pair in range(5)] == said


def test_a_source_gives_way_to_a_long_candidate():
    """A candidate of 14 words and its head leave 15 of 32 tokens to a source of 20."""
    long = " ".join(NUMBERS[:14])
    encoder, _, windows = encoded(texts(" ".join(NUMBERS[20:40]), long), max_tokens=32)
    source = "[CLS] [source] " + " ".join(NUMBERS[20:33])
    assert told(encoder, windows) == [f"{source} [gap-1] [user] {long} [SEP]"]
    assert windows.lengths.tolist() == [32]


def test_a_candidate_that_fits_in_no_window_has_no_slot_and_harms_nobody():
    encoder, pairs, windows = encoded(texts("a", " ".join(NUMBERS[:15]), "b"), max_tokens=32)
    assert (pairs.source.tolist(), pairs.target.tolist()) == ([0, 0, 1], [1, 2, 2])
    assert spans(encoder, windows) == {1: "b", 2: "b"}
    assert told(encoder, windows)[0] == "[CLS] [source] a [gap-2] [user] b [SEP]"


def test_a_turn_of_two_thousand_words_is_neither_source_nor_candidate():
    read_out = " ".join(NUMBERS * 50)
    encoder, pairs, windows = encoded(texts("a", read_out, "b"))
    assert (pairs.source.tolist(), pairs.target.tolist()) == ([0], [2])
    assert told(encoder, windows) == ["[CLS] [source] a [gap-2] [user] b [SEP]"]
    encoder, pairs, windows = encoded(texts("a", read_out, "b"), reach=Reach(max_characters=100_000))
    assert len(pairs) == 3
    assert spans(encoder, windows) == {1: "b", 2: "b"}
    assert windows.lengths.max() == 128


def test_empty_turns_and_sessions_of_one_turn_have_no_windows():
    alone = (texts("a"), texts("b", name="t"))
    for sessions in ((), (texts("a"),), (texts("", ""),), (texts("a", ""),), (texts("", "a"),), alone):
        _, pairs, windows = encoded(*sessions)
        assert len(pairs) == len(windows) == len(windows.tokens) == len(windows.pair) == 0
        assert windows.token_starts.tolist() == windows.slot_starts.tolist() == [0]
    encoder, _, windows = encoded(texts("a", "", "b"))
    assert told(encoder, windows) == ["[CLS] [source] a [gap-2] [user] b [SEP]"]


def test_a_language_that_the_tokenizer_does_not_know():
    encoder, _, windows = encoded(texts("играй джаз", "джаз играй пожалуйста"))
    assert told(encoder, windows) == ["[CLS] [source] [UNK] [UNK] [gap-1] [user] [UNK] [UNK] [UNK] [SEP]"]
    assert (windows.start.tolist(), windows.end.tolist()) == ([6], [8])


def test_a_text_in_which_the_tokenizer_finds_nothing_has_no_slot():
    encoder, pairs, windows = encoded(texts("a", "ёё", "b"))
    assert len(pairs) == 3
    assert spans(encoder, windows) == {1: "b", 2: "b"}
    _, _, windows = encoded(texts("a", "ёё"))
    assert len(windows) == 0


def test_marks_in_the_text_of_a_reply_are_text():
    encoder, _, windows = encoded(session((0.0, "a", {"response": "[user] ok [SEP]"}), (1.0, "b")))
    (text,) = told(encoder, windows)
    assert re.findall(r"\[(?:user|SEP)\]", text) == ["[user]", "[SEP]"]
    assert "[assistant] [UNK] user [UNK] ok" in text
    assert spans(encoder, windows) == {0: "b"}


def test_a_session_of_500_turns():
    said = [f"play {NUMBERS[n % 40]} {NUMBERS[n * 7 % 40]}" for n in range(500)]
    begun = time.perf_counter()
    encoder, pairs, windows = encoded(texts(*said))
    assert time.perf_counter() - begun < 5
    assert len(pairs) == 3 * 500 - 6
    assert len(windows) == 499
    assert spans(encoder, windows) == {pair: said[row] for pair, row in enumerate(pairs.target.tolist())}


# Windows as arrays


def three_windows():
    return encoded(texts("a", "b c", "d"), texts("e", "f g a b", name="t"))


def test_padding_is_masked_and_points_at_nothing():
    encoder, _, windows = three_windows()
    assert windows.lengths.tolist() == [11, 8, 10]
    batch = padded(windows, np.array([1, 0]))
    assert batch.attention_mask.tolist() == [[1] * 8 + [0] * 3, [1] * 11]
    assert batch.input_ids[0, 8:].tolist() == [0, 0, 0]
    assert words(encoder, batch.input_ids[0, :8]) == told(encoder, windows)[1]
    assert batch.pair.tolist() == [[2, -1], [0, 1]]
    assert batch.start.tolist() == [[6, 0], [5, 9]]
    assert batch.end.tolist() == [[6, 0], [6, 9]]
    assert padded(windows, np.array([1]), 20).input_ids.shape == (1, 20)
    assert list(batch.model_inputs()) == ["input_ids", "attention_mask", "token_type_ids", "start", "end"]


def test_some_of_the_windows_in_another_order():
    encoder, _, windows = three_windows()
    some = windows.among(np.array([2, 0]))
    assert told(encoder, some) == [told(encoder, windows)[2], told(encoder, windows)[0]]
    assert some.pair.tolist() == [3, 0, 1]
    assert spans(encoder, some) == {3: "f g a b", 0: "b c", 1: "d"}
    assert len(windows.among(np.zeros(0, np.int64))) == 0


def test_batches_of_like_length():
    batches = [each.tolist() for each in by_length(np.array([5, 1, 5, 3, 1]), 2)]
    assert batches == [[1, 4], [3, 0], [2]]


# Laws

turn = st.lists(st.sampled_from([*WORDS, "[user]", "ёё", "фы"]), max_size=14).map(" ".join)
dialogues = st.lists(st.lists(st.tuples(turn, turn, st.floats(0, 500)), max_size=6), max_size=4)


@given(dialogues, st.sampled_from([32, 33, 48, 128]), st.integers(1, 6))
def test_spans_are_whole_candidates_and_windows_are_bounded(dialogues, max_tokens, turns):
    sessions = []
    for n, each in enumerate(dialogues):
        at = np.cumsum([gap for *_, gap in each])
        turns_of = [(at[k], said, {"response": reply}) for k, (said, reply, _) in enumerate(each)]
        sessions.append(session(*turns_of, name=f"s{n}"))
    batch = dialogue_batch(sessions, Canonicaliser())
    encoder, pairs, windows = encoded(*sessions, max_tokens=max_tokens, reach=Reach(1000.0, turns))
    said = batch["said"].to_pylist()
    ids = [encoder.tokenizer.encode(text, add_special_tokens=False).ids for text in said]
    fitting = [pair for pair, row in enumerate(pairs.target.tolist()) if 0 < len(ids[row]) <= max_tokens - 18]
    assert sorted(windows.pair.tolist()) == fitting  # each has one slot, and no other has one
    assert spans(encoder, windows) == {pair: words(encoder, ids[pairs.target[pair]]) for pair in fitting}
    assert (windows.lengths <= max_tokens).all()
    assert windows.token_starts[-1] == len(windows.tokens) == len(windows.again)
    cls, sep, user = (encoder.tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]", "[user]"))
    assert (windows.tokens[windows.token_starts[:-1]] == cls).all()
    assert (windows.tokens[windows.token_starts[1:] - 1] == sep).all()
    assert (windows.tokens == user).sum() == len(windows.pair)
    sources = pairs.source[windows.pair]
    for begin, after in zip(windows.slot_starts[:-1], windows.slot_starts[1:], strict=True):
        assert after > begin
        assert len(set(sources[begin:after].tolist())) == 1


@given(dialogues)
def test_a_window_does_not_depend_on_the_rest_of_the_log(dialogues):
    sessions = [texts(*(said for said, *_ in each), name=f"s{n}") for n, each in enumerate(dialogues)]
    encoder, _, windows = encoded(*sessions)
    alone = [text for each in sessions for text in told(*encoded(each)[::2])]
    assert told(encoder, windows) == alone


# Failing


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: WindowEncoder(tokenizer(), 31), ValueError, "max_tokens came as 31: 32 or more are wanted"),
        (lambda: WindowEncoder(tokenizer("[PAD]", "[SEP]")), DetectorError, r"none of \[CLS\], <s>"),
        (lambda: WindowEncoder(tokenizer("[PAD]", "[CLS]")), DetectorError, r"none of \[SEP\], </s>"),
    ],
)
def test_misuse_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_folder_without_a_readable_tokenizer_is_told(tmp_path):
    with pytest.raises(DetectorError, match=r"has no tokenizer\.json"):
        WindowEncoder.from_folder(tmp_path)
    for content in (b"", b"{}", b"\xff\x00", b'{"version": "1.0", "model": {"type": "Other"}}'):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(DetectorError, match=r"tokenizer\.json cannot be read as a tokenizer"):
            WindowEncoder.from_folder(tmp_path)


def test_a_tokenizer_of_the_other_family_and_one_that_knows_the_marks(tmp_path):
    encoder = WindowEncoder(tokenizer("<s>", "</s>"))
    assert (encoder.cls, encoder.sep) == (1, 2)
    encoder.tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = WindowEncoder.from_folder(tmp_path)
    assert again.mark == encoder.mark
    assert sorted(again.mark.values()) == list(range(3 + len(WORDS) + 40, 3 + len(WORDS) + 40 + len(MARKS)))
    assert again.tokenizer.encode("[user]", add_special_tokens=False).tokens == ["[UNK]", "user", "[UNK]"]


def test_pairs_out_of_nothing():
    encoder = WindowEncoder(tokenizer())
    none = Candidates(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert len(encoder.encode(dialogue_batch([texts("a", "b")], Canonicaliser()), none)) == 0
