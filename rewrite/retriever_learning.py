"""A retriever that is trained while a bundle is learned: from the very turns of the job, on what it just learned.

What is trained lies in the work folder of the job, so that a job that is killed after it does not train again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dialogue.canonical import Canonicaliser
from rephrase_detection import RephraseDetector
from retrieval.errors import FolderError
from rewrite.attempt_reading import AttemptReader
from rewrite.bundle import Bundle
from rewrite.config import LearnConfig
from rewrite.dense_writing import frames_of
from rewrite.errors import ModelError
from rewrite.execution import Execution
from rewrite.progress import Progress
from rewrite.retriever import FILE, Retriever
from rewrite.retriever_training import Attempt, Ground, RetrieverRecipe, train_retriever
from rewrite.table import Table
from rewrite.writing import write_index

#: Where it lies in the work folder, and the arrays that it is trained over.
FOLDER, INDEX = "retriever", "retriever_index"


def learned_retriever(
    tables: Execution,
    work: Path,
    table: Table,
    gap_s: float,
    recipe: RetrieverRecipe,
    config: LearnConfig,
    detector: RephraseDetector,
    earlier: Bundle | None,
    progress: Progress,
) -> Retriever | None:
    """The retriever of a job that has made its tables; the one that an earlier run of the job trained, if it is whole.

    None where no request is known to work for everyone, so that there is nothing to propose. Raises ModelError.
    """
    if (found := _finished(work / FOLDER, recipe)) is not None:
        return found
    for name in (FOLDER, INDEX):
        shutil.rmtree(work / name, ignore_errors=True)
    with progress.stage("laying out the requests"):
        population = write_index(tables, work / INDEX, table)
        frames = frames_of(tables, earlier, set(population.texts), config.gate.min_users)
        ground = Ground(work / INDEX, population.users, frames)
    if not len(population.good):
        return None
    canonical = Canonicaliser(config.text.wake_words, config.text.politeness)
    attempts = _attempts(tables, AttemptReader(ground.arrays(), canonical, detector), gap_s, progress)
    (work / FOLDER).mkdir()
    return train_retriever(ground, attempts, work / FOLDER, recipe, progress)


def fuller(made: Retriever | None, before: Retriever | None) -> Retriever | None:
    """The one that was trained, of a new retriever and an earlier one; the new one where both were.

    From the log of a day alone there may be too little to train: that takes nothing from what was trained before.
    """
    if made is None or before is None:
        return made or before
    return before if _trained(before) > _trained(made) else made


def _trained(retriever: Retriever) -> tuple[bool, bool]:
    """Whether it has trees, and an encoder that was trained."""
    return retriever.reranker is not None, bool(retriever.told.get("encoder", {}).get("trained", False))


def made_by(told: Mapping[str, Any], recipe: RetrieverRecipe) -> bool:
    """Whether this is what a retriever that was trained by the recipe tells of itself."""
    return bool(told.get("recipe") == json.loads(json.dumps(asdict(recipe))))


def _attempts(tables: Execution, reader: AttemptReader, gap_s: float, progress: Progress) -> list[Attempt]:
    """The requests among the job's turns whose fate is known."""
    if not tables.has("ordered"):  # nothing was read
        return []
    total, found = int(str(tables.one("SELECT count(*) FROM ordered")[0])), list[Attempt]()
    with progress.stage("finding requests whose fate is known", total) as stage:
        for turns in tables.groups("ordered", "user_id"):
            found += reader.read_turns(turns, gap_s)
            stage.advance(turns.num_rows)
    return found


def _finished(folder: Path, recipe: RetrieverRecipe) -> Retriever | None:
    """A retriever that was trained by this recipe: its description is written last."""
    if not (folder / FILE).is_file():
        return None
    try:
        found = Retriever.load(folder)
    except (ModelError, FolderError):  # cut short when the machine went down
        return None
    return found if made_by(found.told, recipe) else None
