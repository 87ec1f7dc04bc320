"""The dual encoder as it is served: words through onnxruntime, sounds through a table, side by side in one vector.

On disk, in one folder:

    words.onnx      the transformer, its pooling and projection: token ids to [1, word_dim]
    tokenizer.json  of the `tokenizers` library, without padding or truncation
    sounds.npy      [buckets, sound_dim] float16: what each piece of sound or letters weighs (`retrieval.sounds`)
    meta.json       the share of the words, the shape of the pieces, and how the export agreed with its model

Texts are encoded one by one, for an index as for a query: int8 scales of activations are those of all that is run at
once, so that in a batch a text's vector would depend on its neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.dense import DenseRows
from retrieval.encoder import Encoder
from retrieval.errors import DamagedFolderError, MissingFileError
from retrieval.folder import REMEDY, Folder
from retrieval.model_onnxruntime import OnnxSession
from retrieval.sounds import CACHED_WORDS, SoundShape
from retrieval.vectors import Float32s

KIND = "dual encoder"
WORDS_FILE, TOKENIZER_FILE = "words.onnx", "tokenizer.json"
#: Tokens of a request that are read, special ones among them.
MOST_TOKENS = 48
BLOCK = 4096  # texts encoded at a time for a table


class DualEncoder(Encoder[Float32s]):
    """Canonical texts to unit vectors [word_dim + sound_dim] float32. Thread-safe; loads neither torch nor
    transformers.

    share   weight of the words in a cosine, 0 to 1; the rest is the weight of the sound
    """

    def __init__(
        self, session: OnnxSession, tokenizer: Any, sounds: NDArray[np.float16], shape: SoundShape, share: float
    ) -> None:
        self._session, self._ids = session, _ids_by_word(tokenizer) or _ids_of_texts(tokenizer)
        self._sounds = sounds.astype(np.float32)  # half as wide they would have to be widened at each call
        self.shape, self.share = shape, share
        self.word_dim = session.width
        self.dim = self.word_dim + sounds.shape[1]
        self._scales = np.float32(share**0.5), np.float32((1 - share) ** 0.5)

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> DualEncoder:
        """Opens a saved encoder; `threads` for one text. Raises FolderError."""
        saved = Folder(folder, KIND)
        shape, share, width = _told(saved)
        sounds = saved.array("sounds", np.float16, dimensions=2)
        saved.require(len(sounds) == shape.buckets, f"{len(sounds)} weights for {shape.buckets} buckets")
        saved.require(0 < share < 1, f"a share of {share}, where one between 0 and 1 is wanted")
        session = OnnxSession(folder / WORDS_FILE, threads)
        saved.require(session.width == width, f"{WORDS_FILE} gives {session.width} dimensions, {width} are wanted")
        return cls(session, load_tokenizer(folder / TOKENIZER_FILE), sounds, shape, share)

    def encode(self, texts: Iterable[str]) -> DenseRows:
        """One row a text, in order. For a table that does not fit into memory, `DenseRows.write` of `blocks`."""
        blocks = list(self.blocks(texts))
        return DenseRows.from_vectors(np.concatenate(blocks) if blocks else np.zeros((0, self.dim), np.float32))

    def blocks(self, texts: Iterable[str], block: int = BLOCK) -> Iterator[NDArray[np.float32]]:
        """The vectors of texts, in order, in arrays [up to `block`, dim] float32."""
        stream = iter(texts)
        while held := list(islice(stream, block)):
            yield np.stack([self.encode_one(text) for text in held])

    def encode_one(self, text: str) -> Float32s:
        """The vector of one text [dim] float32, of length 1; zeros for an empty text."""
        if not text:
            return np.zeros(self.dim, np.float32)
        ids = self._ids(text)[:MOST_TOKENS]
        words = self._session.run(np.array([ids], np.int64))[0]
        vector = np.empty(self.dim, np.float32)
        vector[: self.word_dim] = words * (self._scales[0] / _length(words))
        sound = self._sounds.take(self.shape.pieces(text), 0).sum(axis=0)
        vector[self.word_dim :] = sound * (self._scales[1] / _length(sound))
        return vector

    def views(self, cosines: Float32s, meanings: Float32s) -> Float32s:
        """The cosines in sound alone, from those of whole vectors and those of their words [n] float32 each."""
        return np.asarray((cosines - self.share * meanings) / (1 - self.share), np.float32)


def _ids_of_texts(tokenizer: Any) -> Callable[[str], Sequence[int]]:
    def ids(text: str) -> Sequence[int]:
        found: list[int] = tokenizer.encode(text).ids
        return found

    return ids


def _ids_by_word(tokenizer: Any) -> Callable[[str], Sequence[int]] | None:
    """The ids of a text, from those of its words, which are kept; None for a tokenizer that looks past a space.

    BERT's never does: a text of known words is then read in a tenth of the time.
    """
    parts = json.loads(tokenizer.to_str())
    kinds = [(parts.get(name) or {}).get("type") for name in ("model", "pre_tokenizer", "normalizer")]
    if kinds != ["WordPiece", "BertPreTokenizer", "BertNormalizer"] or len(around := tokenizer.encode("").ids) != 2:
        return None
    first, last = around

    @lru_cache(CACHED_WORDS)
    def of_word(word: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(word, add_special_tokens=False).ids)

    def ids(text: str) -> Sequence[int]:
        found = [first]
        for word in text.split(" "):
            found += of_word(word)
        found.append(last)
        return found

    return ids


def _length(vector: Float32s) -> np.float32:
    return np.sqrt(vector.dot(vector)) or np.float32(1.0)


def _told(saved: Folder) -> tuple[SoundShape, float, int]:
    """The shape of the pieces, the share of the words and their dimensions, as meta.json has them."""
    names = ("shortest", "longest", "buckets", "share", "word_dim")
    facts = [saved.fact(name) for name in names]
    try:
        return SoundShape(*map(int, facts[:3])), float(facts[3]), int(facts[4])
    except (TypeError, ValueError) as error:  # InputError among them
        raise DamagedFolderError(f"{saved.path / 'meta.json'}: {error}: {REMEDY}") from error


def load_tokenizer(path: Path) -> Any:
    """A tokenizer without padding and truncation. Raises FolderError."""
    from retrieval.model_onnxruntime import missing

    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise missing("tokenizers") from error
    if not path.is_file():
        raise MissingFileError(f"{path} is missing: {REMEDY}")
    try:
        found = Tokenizer.from_file(str(path))
    except Exception as error:  # the library's errors have no root of their own
        raise DamagedFolderError(f"{path} cannot be read as a tokenizer ({error}): {REMEDY}") from error
    found.no_padding()
    found.no_truncation()
    return found
