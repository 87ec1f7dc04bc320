"""The real misrecognised requests that the online rung is measured on, and bundles to serve them from.

DATA is a folder with `slurp/attempts.jsonl` (recordings of spoken requests: what was heard, what NLU made of it,
whether that was right), `slurp/sentences.jsonl`, `queries/` (other requests), `snips_asr/` and `dstc2/` (further pairs
of what was heard and said, to train from). Goals, the sentences that were read, are dealt into parts by their id: no
sentence is both trained on and measured on, nor is its text among what an encoder is trained with.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dialogue.canonical import Canonicaliser
from rewrite.bundle import write_manifest
from rewrite.config import LearnConfig
from rewrite.dense_serving import FOLDER, RETRIEVER, Population, build_dense
from rewrite.retriever import Retriever, carry
from rewrite.serving import GOOD, PUBLIC, build_serving

CANONICAL = Canonicaliser()


@dataclass(frozen=True)
class Recording:
    """One recording: what was heard (canonical), NLU's reading of it, and whether that was right."""

    heard: str
    nlu: Mapping[str, Any]
    right: bool
    goal: str
    meant: str  # canonical text of the sentence
    frame: str  # key of the right interpretation

    @property
    def part(self) -> int:
        """0 or 1, by the goal."""
        return int(md5(self.goal.encode()).hexdigest(), 16) % 10 // 5


@dataclass(frozen=True)
class World:
    """All of it. `others` are further requests with their interpretation, `pairs` further (heard, meant)."""

    recordings: tuple[Recording, ...]
    others: dict[str, str]
    texts: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, data: Path) -> World:
        """Raises FileNotFoundError where a file is absent."""
        recordings = tuple(
            Recording(
                CANONICAL(raw["text"]), raw["nlu"], raw["gold"]["success"], raw["goal_id"],
                CANONICAL(raw["gold"]["text"]), frame_key(raw["gold"]["frame"]),
            )
            for raw in lines(data / "slurp" / "attempts.jsonl")
        )  # fmt: skip
        others = {CANONICAL(raw["text"]): frame_key(raw["nlu"]) for raw in lines(data / "queries" / "hwu.jsonl")}
        texts = [CANONICAL(_said(raw)) for raw in lines(data / "slurp" / "sentences.jsonl")]
        texts += [CANONICAL(raw["text"]) for raw in lines(data / "queries" / "clinc150.jsonl")]
        heard = [*lines(data / "snips_asr" / "train.jsonl"), *lines(data / "dstc2" / "train.jsonl.gz")]
        pairs = ((CANONICAL(raw["text"]), CANONICAL(_said(raw))) for raw in heard)
        return cls(
            recordings,
            {text: frame for text, frame in others.items() if text},
            tuple(dict.fromkeys(text for text in texts if text)),
            tuple(dict.fromkeys((one, other) for one, other in pairs if one and other and one != other)),
        )

    def of(self, part: int) -> list[Recording]:
        """The recordings of a part."""
        return [each for each in self.recordings if each.part == part]

    def reached(self, recordings: Iterable[Recording]) -> dict[str, str]:
        """The sentences that at least one recording got right, with their interpretations."""
        return {each.meant: each.frame for each in recordings if each.right and each.meant}

    def among(self, reached: Mapping[str, str]) -> dict[str, str]:
        """The same among all other requests."""
        return {**self.others, **reached}

    def without(self, part: int) -> World:
        """What may be trained with where a part is measured on."""
        hidden = {each.meant for each in self.of(part)}
        return World(
            tuple(each for each in self.recordings if each.part != part),
            {text: frame for text, frame in self.others.items() if text not in hidden},
            tuple(text for text in self.texts if text not in hidden),
            tuple(pair for pair in self.pairs if pair[1] not in hidden),
        )

    def without_recorded(self) -> World:
        """What an encoder may be trained with that is measured on any of the recordings."""
        hidden = {each.meant for each in self.recordings}
        return World(
            (),
            {text: frame for text, frame in self.others.items() if text not in hidden},
            tuple(text for text in self.texts if text not in hidden),
            tuple(pair for pair in self.pairs if pair[1] not in hidden),
        )


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file of JSON lines, gzipped or not."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield from map(json.loads, file)


def frame_key(frame: Mapping[str, Any] | None) -> str:
    """An interpretation in one string, its values canonical: those that are the same mean the same."""
    frame = frame or {}
    slots = {name: CANONICAL(str(value)) for name, value in sorted((frame.get("slots") or {}).items())}
    return json.dumps([frame.get("domain"), frame.get("intent"), slots], ensure_ascii=False, separators=(",", ":"))


def write_bundle(folder: Path, texts: Mapping[str, str], retriever: Retriever | None = None) -> Path:
    """A bundle whose requests are these texts, all known to work, with their interpretations; served by `retriever`."""
    said = sorted(texts)
    count = len(said)
    population = pa.table(
        {
            "said": said,
            "surface": said,
            "users": np.full(count, 20),
            "weight": np.full(count, 20_000_000),
            "success": np.full(count, 18_000_000),
            "status": np.full(count, PUBLIC + GOOD, np.uint8),
        }
    )
    build_serving(folder / "index", population, [], [], [])
    told: dict[str, Any] = {}
    if retriever is not None:
        carry(retriever, folder / RETRIEVER)
        whole = Population(said, np.full(count, 20), np.arange(count), {})
        told = build_dense(folder / "index" / FOLDER, whole, dict(texts), retriever)
    parameters = LearnConfig().as_dict()
    write_manifest(
        folder, created="", parameters=parameters, log={}, span={}, counts={"requests": count}, retriever=told
    )
    return folder


def users_of(texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many said each text: nothing is known of that, so as many of each."""
    return np.full(len(texts), 20)


def _said(raw: Mapping[str, Any]) -> str:
    gold = raw.get("gold") or {}
    return str(gold.get("text") or raw.get("text") or "") if gold else str(raw.get("text") or "")
