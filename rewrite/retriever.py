"""A trained retriever: the encoder, the reranker and the thresholds that the dense rung of an engine serves with.

    encoder/         the dual encoder (`retrieval.dual_encoder`)
    reranker/        the trees (`rewrite.reranker`); absent where the log had too few examples to train them
    retriever.json   format, version, thresholds by slice (`rewrite.thresholds`), and how all was trained

A bundle carries the retriever that it was learned with, whole, in its folder `retriever/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from typing import Any

from retrieval.dual_encoder import DualEncoder
from rewrite.errors import LearnError, ModelError
from rewrite.publish import write_beside
from rewrite.reranker import Reranker
from rewrite.thresholds import Thresholds

FORMAT, VERSION = "reprise-retriever", 1
FILE, ENCODER, RERANKER = "retriever.json", "encoder", "reranker"


@dataclass(frozen=True)
class Retriever:
    """What proposes and judges candidates; without a reranker, candidates are judged by likeness alone."""

    folder: Path
    encoder: DualEncoder
    reranker: Reranker | None
    thresholds: Thresholds | None
    told: Mapping[str, Any]  # how it was trained and what was measured

    @classmethod
    def load(cls, folder: str | Path) -> Retriever:
        """Opens the folder of a trained retriever. Raises ModelError, or retrieval.FolderError for its encoder."""
        folder = Path(folder).absolute()
        told = _read(folder / FILE)
        if (found := files_digest(folder)) != told["digest"]:
            raise ModelError(f"the files in {folder} are not those that were trained ({found}): copy it anew")
        encoder = DualEncoder.load(folder / ENCODER)
        if not (folder / RERANKER).is_dir():
            if told["thresholds"] is not None:
                raise ModelError(f"{folder} lacks its {RERANKER}: train the retriever again, or copy it anew")
            return cls(folder, encoder, None, None, told["told"])
        thresholds = Thresholds.from_dict(told["thresholds"])
        return cls(folder, encoder, Reranker.load(folder / RERANKER), thresholds, told["told"])

    @cached_property
    def digest(self) -> str:
        """Of all files: 16 hexadecimal digits."""
        return digest_of(self.folder)

    @cached_property
    def encoder_digest(self) -> str:
        """Of the encoder's files: vectors of one encoder can stand beside one another, whatever the trees."""
        return digest_of(self.folder / ENCODER)


def save(folder: Path, thresholds: Thresholds | None, told: Mapping[str, Any]) -> None:
    """Writes the description of a retriever whose encoder and reranker are in `folder` already: the last step."""
    limits = thresholds.as_dict() if thresholds is not None else None
    raw = {
        "format": FORMAT, "version": VERSION, "digest": files_digest(folder), "thresholds": limits, "told": dict(told)
    }  # fmt: skip
    write_beside(folder / FILE, (json.dumps(raw, indent=1, ensure_ascii=False) + "\n").encode())


def told_of(folder: Path) -> dict[str, Any]:
    """How the retriever in a folder was trained and what was measured, without opening it. Raises ModelError."""
    return dict(_read(folder / FILE)["told"])


def digest_of(folder: Path) -> str:
    """Of the files of a folder, by name and content: 16 hexadecimal digits."""
    digest = sha256()
    for name, path in files_of(folder):
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def files_digest(folder: Path) -> str:
    """Of the encoder and the reranker: 16 hexadecimal digits."""
    parts = [digest_of(folder / name) for name in (ENCODER, RERANKER) if (folder / name).is_dir()]
    return sha256("".join(parts).encode()).hexdigest()[:16]


def files_of(folder: Path) -> list[tuple[str, Path]]:
    """The files of a retriever, by their name in its folder."""
    return [(path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file()]


def carry(retriever: Retriever, target: Path) -> None:
    """Copies a retriever into the draft of a bundle. Raises LearnError where it changed meanwhile."""
    for name, path in files_of(retriever.folder):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        copyfile(path, target / name)
    if digest_of(target) != retriever.digest:
        raise LearnError(f"{retriever.folder} was changed while the job ran: run it again when it is left in peace")


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{path.parent} is no trained retriever, it has no {FILE}: give a folder made by `rewrite train-retriever`,"
            " or `train` to `rewrite learn`"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}): train the retriever again, or copy it anew") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT or raw.get("version") != VERSION:
        found = (raw.get("format"), raw.get("version")) if isinstance(raw, dict) else type(raw).__name__
        raise ModelError(f"{path} is {found}; wanted {FORMAT} {VERSION}: train the retriever with this version")
    if missing := sorted({"digest", "thresholds", "told"} - raw.keys()):
        raise ModelError(f"{path} lacks {missing[0]!r}: train the retriever again, or copy it anew")
    return raw
