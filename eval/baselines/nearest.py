"""The nearest known-good request, by letters, by words or by meaning. One threshold each, and no guards."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel
from scipy.sparse import csr_array

from eval.baselines.tables import Tables, left_alone, replaced
from rewrite import Decision, ModelError, Reason, resolve_model


class EditDistance:
    """By the share of letters in common, in order (Indel similarity)."""

    THRESHOLD = 0.85
    name, told = "edit distance", f"the known-good request with the most letters in common, {THRESHOLD} or more"

    def __init__(self, tables: Tables) -> None:
        self._tables, self._texts = tables, sorted(tables.surfaces)

    def rewrite(self, text: str, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> Decision:
        settled = self._tables.settled(text)
        if settled is not None:
            return settled
        said = self._tables.canonical(text)
        similarity = Indel.normalized_similarity
        best = process.extractOne(said, self._texts, scorer=similarity, score_cutoff=self.THRESHOLD)
        return _answer(self._tables, text, said, best[0] if best else None)


class Bm25:
    """By words: the BM25 score over the score that the request has with itself.

    Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, section 3.4, with its usual k1
    and b; a word that no request holds is as rare as one that a single request holds.
    """

    K1, B = 1.2, 0.75
    THRESHOLD = 0.6
    name, told = "BM25", f"the best known-good request by BM25, {THRESHOLD} or more of the request's score with itself"

    def __init__(self, tables: Tables) -> None:
        self._tables, self._texts = tables, sorted(tables.surfaces)
        documents = [Counter(text.split()) for text in self._texts]
        held = Counter(word for words in documents for word in words)
        self._place = {word: place for place, word in enumerate(sorted(held))}
        self._rarity = {word: self._idf(number) for word, number in held.items()}
        lengths = [sum(words.values()) for words in documents]
        self._mean = sum(lengths) / len(lengths) if lengths else 1.0
        cells = [
            (place, self._place[word], self._weight(word, times, length))
            for place, (words, length) in enumerate(zip(documents, lengths, strict=True))
            for word, times in words.items()
        ]
        rows, columns, weights = (list(column) for column in zip(*cells, strict=True)) if cells else ([], [], [])
        shape = (len(documents), len(self._place))
        self._weights = csr_array((weights, (rows, columns)), shape=shape).tocsc()  # [requests, words]

    def rewrite(self, text: str, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> Decision:
        settled = self._tables.settled(text)
        if settled is not None:
            return settled
        said = self._tables.canonical(text)
        words = said.split()
        columns = [self._place[word] for word in words if word in self._place]
        best = None
        if columns:
            scores = np.asarray(self._weights[:, columns].sum(axis=1)).ravel()
            place = int(scores.argmax())
            counts = Counter(words)
            itself = sum(self._weight(word, counts[word], len(words)) for word in words)
            best = self._texts[place] if scores[place] >= self.THRESHOLD * itself else None
        return _answer(self._tables, text, said, best)

    def _weight(self, word: str, times: int, length: int) -> float:
        saturated = times * (self.K1 + 1) / (times + self.K1 * (1 - self.B + self.B * length / self._mean))
        return self._rarity.get(word, self._idf(1)) * saturated

    def _idf(self, holding: int) -> float:
        return math.log(1 + (len(self._texts) - holding + 0.5) / (holding + 0.5)) if self._texts else 0.0


class Embedding:
    """By the cosine of sentence vectors of the packaged MiniLM. Raises ModelError where that cannot be had."""

    THRESHOLD = 0.8
    name, told = "embedding", f"the known-good request with the nearest MiniLM vector, cosine {THRESHOLD} or more"

    def __init__(self, tables: Tables) -> None:
        try:
            library = import_module("sentence_transformers")
        except ImportError as error:
            raise ModelError("sentence-transformers is not installed (pip install sentence-transformers)") from error
        self._tables, self._texts = tables, sorted(tables.surfaces)
        self._model = library.SentenceTransformer(str(resolve_model().path), device="cpu")
        self._vectors = self._encode(self._texts)  # [requests, dim] float32

    def rewrite(self, text: str, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> Decision:
        settled = self._tables.settled(text)
        if settled is not None:
            return settled
        said = self._tables.canonical(text)
        if not self._texts:
            return left_alone(text, Reason.NO_CANDIDATE)
        cosines = self._vectors @ self._encode([said])[0]
        place = int(cosines.argmax())
        return _answer(self._tables, text, said, self._texts[place] if cosines[place] >= self.THRESHOLD else None)

    def _encode(self, texts: Sequence[str]) -> Any:
        return self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


def _answer(tables: Tables, text: str, said: str, target: str | None) -> Decision:
    if target is None:
        return left_alone(text, Reason.NO_CANDIDATE)
    return replaced(text, said, target, tables.surfaces[target], Reason.NEAR_GOOD)
