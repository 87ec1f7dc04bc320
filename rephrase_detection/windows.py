"""The dialogue around a source as one token sequence, in which whole user turns are the spans that can be pointed at.

    [CLS] [source] play maj and dragons [heard-low] [error] [assistant] sorry i can't find that
          [gap-1] [user] play imagine dragons [done] [assistant] playing imagine dragons
          [gap-4] [user] thank you [SEP]

Marks in brackets are special tokens: who speaks, the time since the source (in buckets), how sure the recogniser
was, and observed feedback. Replies are cut in the middle, since they apologise and ask at their ends; a source that is
too long is cut at its end; *a candidate is never cut*. Candidates that do not fit into one window go into the next,
again behind the source, so that long dialogues slide.

The second segment (token type 1) marks what is said again: tokens of a candidate that the source has, and those of the
source, of its reply and of what else was heard that a candidate has. An encoder that was not pretrained to compare
learns to do so from far fewer examples than by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rephrase_detection.candidates import Candidates
from rephrase_detection.errors import DetectorError

Ints = NDArray[np.int64]

#: Upper ends of the buckets of the time from a source to a candidate, in seconds; the last is open.
GAPS_S = (5.0, 15.0, 30.0, 60.0, 300.0)
#: Upper ends of the buckets of the recogniser's confidence.
CONFIDENCES = (0.4, 0.75)

GAP_MARKS = tuple(f"[gap-{number}]" for number in range(len(GAPS_S) + 1))
CONFIDENCE_MARKS = ("[heard-low]", "[heard-middle]", "[heard-well]")
#: Special tokens with the words whose embeddings they begin with in training.
MARKS = {
    "[source]": "request",
    "[user]": "user says",
    "[assistant]": "answer",
    "[also]": "or maybe",
    **dict(zip(GAP_MARKS, ("now", "soon", "later", "a minute", "minutes", "much later"), strict=True)),
    **dict(zip(CONFIDENCE_MARKS, ("unclear", "fair", "clear"), strict=True)),
    "[error]": "error failed",
    "[done]": "done success",
    "[barge-in]": "interrupted",
    "[cancelled]": "cancelled stop",
}

#: Characters of a reply that are read before it is cut into tokens: a long read-out tells nothing more.
_REPLY_CHARACTERS = 240


@dataclass(frozen=True, slots=True)
class Windows:
    """Token sequences of different lengths, with the spans in them; a *slot* is a candidate in a window."""

    tokens: Ints  # of all windows, one after the other [tokens]
    token_starts: Ints  # where each window begins [windows + 1]
    again: Ints  # 1 for a token that is said again, else 0 [tokens]
    pair: Ints  # the number of each slot's pair [slots]
    start: Ints  # its first token, counted from the window's beginning [slots]
    end: Ints  # its last token [slots]
    slot_starts: Ints  # where each window's slots begin [windows + 1]

    def __len__(self) -> int:
        return len(self.token_starts) - 1

    def among(self, which: Ints) -> Windows:
        """Some of the windows, in this order; pairs keep their numbers."""
        tokens = np.concatenate([np.zeros(0, np.int64), *(np.arange(*self.token_starts[i : i + 2]) for i in which)])
        slots = np.concatenate([np.zeros(0, np.int64), *(np.arange(*self.slot_starts[i : i + 2]) for i in which)])
        starts, slot_starts = (np.append(0, np.cumsum(each[which])) for each in (self.lengths, self.slots))
        spans = (self.pair[slots], self.start[slots], self.end[slots])
        return Windows(self.tokens[tokens], starts, self.again[tokens], *spans, slot_starts)

    def tokens_of(self, window: int) -> slice:
        """Where the tokens of a window are."""
        return slice(*self.token_starts[window : window + 2])

    def slots_of(self, window: int) -> slice:
        """Where the slots of a window are."""
        return slice(*self.slot_starts[window : window + 2])

    @property
    def lengths(self) -> Ints:
        """Tokens of each window [windows] int64."""
        return np.diff(self.token_starts)

    @property
    def slots(self) -> Ints:
        """Slots of each window [windows] int64."""
        return np.diff(self.slot_starts)


@dataclass(frozen=True, slots=True)
class Padded:
    """Some windows of about one length as arrays; padding has a mask of 0, a slot of padding points at token 0."""

    input_ids: Ints  # [windows, tokens] int64
    attention_mask: Ints  # [windows, tokens] int64
    token_type_ids: Ints  # 1 for what is said again [windows, tokens] int64
    start: Ints  # [windows, slots] int64
    end: Ints  # [windows, slots] int64
    pair: Ints  # -1 for padding [windows, slots] int64

    def model_inputs(self) -> dict[str, Ints]:
        """What the model reads, by name."""
        names = ("input_ids", "attention_mask", "token_type_ids", "start", "end")
        return {name: getattr(self, name) for name in names}


class WindowEncoder:
    """Turns pairs of a dialogue batch into windows, with a tokenizer that knows the marks.

    Loads the `tokenizer.json` of a model folder; marks that it does not know are added to it, after its own tokens.
    """

    def __init__(self, tokenizer: Any, max_tokens: int = 128, reply_tokens: tuple[int, int] = (24, 12)) -> None:
        if max_tokens < 32:
            raise ValueError(f"max_tokens came as {max_tokens}: 32 or more are wanted, or no turn has room")
        self.tokenizer, self.max_tokens, self.reply_tokens = tokenizer, max_tokens, reply_tokens
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.add_special_tokens(list(MARKS))
        tokenizer.encode_special_tokens = True  # a reply that reads "[user]" is text, not a mark
        self.mark = {name: tokenizer.token_to_id(name) for name in MARKS}
        self.cls, self.sep = _special(tokenizer, "[CLS]", "<s>"), _special(tokenizer, "[SEP]", "</s>")

    @classmethod
    def from_folder(cls, folder: str | Path, max_tokens: int = 128) -> WindowEncoder:
        """With the tokenizer of a model folder. Raises DetectorError."""
        from tokenizers import Tokenizer

        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise DetectorError(
                f"{folder} has no tokenizer.json: a model with a fast tokenizer is wanted"
                " (transformers writes one with tokenizer.save_pretrained)"
            )
        most = _positions(Path(folder) / "config.json")
        if most is not None and most < max_tokens:
            raise DetectorError(f"the encoder in {folder} reads {most} tokens: max_tokens of {max_tokens} is too many")
        try:
            return cls(Tokenizer.from_file(str(path)), max_tokens)
        except Exception as error:  # the library raises bare Exceptions
            if isinstance(error, DetectorError):
                raise
            raise DetectorError(f"{path} cannot be read as a tokenizer: {error}") from error

    def encode(self, batch: pa.RecordBatch, pairs: Candidates) -> Windows:
        """The windows of the sources of `pairs`, in their order; a candidate that fits in no window has no slot."""
        pieces = _Pieces(self, batch, pairs)
        begins = np.append(np.flatnonzero(pairs.first), len(pairs))
        gathered = _Gathered()
        for begin, stop in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
            self._slide(pieces, pairs, range(begin, stop), gathered)
        return gathered.windows()

    def _slide(self, pieces: _Pieces, pairs: Candidates, numbers: range, gathered: _Gathered) -> None:
        blocks = [pieces.candidate(int(pairs.source[n]), int(pairs.target[n])) for n in numbers]
        longest = max((len(text) + head for head, text, _ in blocks if self._fits(head, text)), default=None)
        if longest is None:
            return
        row = int(pairs.source[numbers[0]])
        source, said = pieces.source(row, self.max_tokens - 1 - longest), frozenset(pieces.said_in(row))
        room = self.max_tokens - len(source) - 1
        tokens = list(source)
        slots: list[tuple[int, int, int]] = []
        for number, (head, text, block) in zip(numbers, blocks, strict=True):
            if not self._fits(head, text):
                continue
            left = room - (len(tokens) - len(source))
            if slots and len(text) + head > left:
                gathered.add([*tokens, self.sep], len(source), slots, said)
                tokens, slots, left = list(source), [], room
            slots.append((number, len(tokens) + head, len(tokens) + head + len(text) - 1))
            tokens += block[:left]
        gathered.add([*tokens, self.sep], len(source), slots, said)

    def _fits(self, head: int, text: Sequence[int]) -> bool:
        return 0 < len(text) <= self.max_tokens - 16 - head


class _Pieces:
    """The token ids of the texts of a batch, each distinct text cut into tokens once."""

    def __init__(self, encoder: WindowEncoder, batch: pa.RecordBatch, pairs: Candidates) -> None:
        self.encoder = encoder
        rows = np.unique(np.concatenate([pairs.source, pairs.target]))
        self.row = {row: place for place, row in enumerate(rows.tolist())}
        part = batch.take(pa.array(rows))
        self.said = self._cut(part["said"].to_pylist())
        replies = [(each or "") for each in part["response"].to_pylist()]
        half = _REPLY_CHARACTERS // 2
        short = [each if len(each) <= 2 * half else f"{each[:half]} {each[-half:]}" for each in replies]
        self.reply = self._cut(short)
        firsts = [(each or "").split("\n")[0] for each in part["alternatives"].to_pylist()]
        self.also = self._cut(firsts)
        self.time = part["timestamp"].to_pylist()
        self.marks = list(self._feedback(part))

    def _cut(self, texts: list[str]) -> list[list[int]]:
        distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        found = self.encoder.tokenizer.encode_batch(list(distinct), add_special_tokens=False)
        ids = [each.ids for each in found]
        return [ids[distinct[text]] for text in texts]

    def _feedback(self, part: pa.RecordBatch) -> Iterator[list[int]]:
        mark = self.encoder.mark
        names = ("asr_confidence", "outcome", "barge_in", "cancelled")
        for heard, outcome, barge_in, cancelled in zip(*(part[name].to_pylist() for name in names), strict=True):
            found = [] if heard is None else [mark[CONFIDENCE_MARKS[int(np.searchsorted(CONFIDENCES, heard))]]]
            found += [mark["[error]"]] if outcome == "failure" else []
            found += [mark["[done]"]] if outcome == "success" else []
            found += [mark["[barge-in]"]] if barge_in else []
            yield [*found, mark["[cancelled]"]] if cancelled else found

    def source(self, row: int, room: int) -> list[int]:
        """The source with its reply and what else was heard, in at most `room` tokens; the text goes before these."""
        at, mark = self.row[row], self.encoder.mark
        text = [self.encoder.cls, mark["[source]"], *self.said[at]]
        tokens = (text + self.marks[at])[:room]
        if self.also[at] and len(tokens) + 1 + len(self.also[at]) <= room // 2:
            tokens += [mark["[also]"], *self.also[at]]
        left = min(room - len(tokens) - 1, self.encoder.reply_tokens[0])
        if self.reply[at] and left > 0:
            tokens += [mark["[assistant]"], *_ends(self.reply[at], left)]
        return tokens

    def said_in(self, row: int) -> list[int]:
        """The tokens of a turn's text."""
        return self.said[self.row[row]]

    def candidate(self, source: int, row: int) -> tuple[int, list[int], list[int]]:
        """How many tokens stand before a candidate's text, its text, and all of its block."""
        at, mark = self.row[row], self.encoder.mark
        gap = self.time[at] - self.time[self.row[source]]
        head = [mark[GAP_MARKS[int(np.searchsorted(GAPS_S, max(gap, 0.0)))]], mark["[user]"]]
        block = head + self.said[at] + self.marks[at]
        if self.reply[at]:
            block += [mark["[assistant]"], *_ends(self.reply[at], self.encoder.reply_tokens[1])]
        return len(head), self.said[at], block


class _Gathered:
    """Windows as they come."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._again: list[int] = []
        self._starts, self._slot_starts = [0], [0]
        self._slots: list[tuple[int, int, int]] = []

    def add(self, tokens: list[int], head: int, slots: list[tuple[int, int, int]], said: frozenset[int]) -> None:
        """A window whose first `head` tokens are the source's block; `said` are the tokens of its text."""
        if not slots:
            return
        answers = frozenset(token for _, start, end in slots for token in tokens[start : end + 1])
        again = [int(token in answers) for token in tokens[:head]] + [0] * (len(tokens) - head)
        for _, start, end in slots:
            again[start : end + 1] = [int(token in said) for token in tokens[start : end + 1]]
        self._tokens += tokens
        self._again += again
        self._slots += slots
        self._starts.append(len(self._tokens))
        self._slot_starts.append(len(self._slots))

    def windows(self) -> Windows:
        slots = np.array(self._slots, np.int64).reshape(-1, 3)
        numbers = (self._tokens, self._starts, self._again)
        tokens, starts, again = (np.array(each, np.int64) for each in numbers)
        pair, start, end = slots.T.copy()
        return Windows(tokens, starts, again, pair, start, end, np.array(self._slot_starts, np.int64))


def padded(windows: Windows, which: Ints, tokens: int | None = None) -> Padded:
    """Some of the windows, padded to the longest of them or to `tokens` [windows, tokens]."""
    width, slots = int(tokens or windows.lengths[which].max()), int(windows.slots[which].max())
    ids = np.zeros((len(which), width), np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    spans = np.zeros((3, len(which), slots), np.int64)
    spans[2] = -1
    for place, window in enumerate(which.tolist()):
        begin, stop = windows.token_starts[window : window + 2]
        ids[place, : stop - begin], mask[place, : stop - begin] = windows.tokens[begin:stop], 1
        types[place, : stop - begin] = windows.again[begin:stop]
        first, last = windows.slot_starts[window : window + 2]
        for row, values in enumerate((windows.start, windows.end, windows.pair)):
            spans[row, place, : last - first] = values[first:last]
    return Padded(ids, mask, types, *spans)


def by_length(lengths: Ints, size: int) -> Iterator[Ints]:
    """The rows in batches of `size`, the shortest first [batch] int64: little of a batch is then padding."""
    order = np.argsort(lengths, kind="stable")
    for begin in range(0, len(order), size):
        yield order[begin : begin + size]


def _ends(tokens: list[int], room: int) -> list[int]:
    if len(tokens) <= room:
        return tokens
    head = room // 3
    return tokens[:head] + tokens[len(tokens) - (room - head) :]


def _positions(config: Path) -> int | None:
    """How many tokens an encoder reads; None where its configuration, which a detector has not, does not say."""
    try:
        found = json.loads(config.read_text(encoding="utf-8")).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, int) else None


def _special(tokenizer: Any, *names: str) -> int:
    for name in names:
        if (found := tokenizer.token_to_id(name)) is not None:
            return int(found)
    raise DetectorError(f"the tokenizer has none of {', '.join(names)}: that of a BERT-like encoder is wanted")
