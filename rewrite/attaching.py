"""A retriever attached to a bundle that is there: its requests are encoded and indexed, and nothing is learned anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rewrite.bundle import MANIFEST, Bundle, write_manifest
from rewrite.dense_serving import FOLDER, RETRIEVER, Population
from rewrite.dense_writing import frames_in, write_dense
from rewrite.overrides import FILE as OVERRIDES
from rewrite.progress import Progress
from rewrite.publish import draft_of, locked, real
from rewrite.retriever import Retriever
from rewrite.serving import ServingArrays
from rewrite.writing import publish


def attach(bundle: str | Path, retriever: Retriever, progress: Progress | None = None) -> None:
    """Publishes the bundle again, in one step, served by `retriever` from then on, in place of any that it carries.

    Raises BundleError, BusyError, and LearnError where the retriever is changed meanwhile.
    """
    progress, path = progress or Progress(), real(bundle)
    with locked(path, "learn"):
        opened = Bundle.open(path, verify=True)  # or the new manifest would vouch for what is damaged
        draft = draft_of(path)
        shutil.rmtree(draft, ignore_errors=True)
        with progress.stage("encoding the requests"):
            shutil.copytree(path, draft, copy_function=_linked, ignore=_left_out(path))
            told = write_dense(draft, population_of(opened), frames_in(opened), retriever, opened)
        manifest = opened.manifest
        write_manifest(
            draft, created=manifest.created, parameters=manifest.parameters, log=manifest.log, span=manifest.span,
            counts=manifest.counts, detector=manifest.detector, retriever=told,
        )  # fmt: skip
        publish(draft, path, None, progress)


def population_of(bundle: Bundle) -> Population:
    """The texts of a bundle, as the dense rung is built from them. Raises DamagedBundle, retrieval.FolderError."""
    users = np.array([row["users"] for row in bundle.rewrites("requests")], np.int64)
    return Population.over(ServingArrays.load(bundle.path / "index"), users)


def _linked(source: str, target: str) -> None:
    """A hard link, as the files of a bundle are never written to; a copy where the disk has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _left_out(path: Path) -> Callable[[str, list[str]], set[str]]:
    """What is written anew: the manifest, a person's word, and the parts of an earlier retriever."""
    gone = {(path, MANIFEST), (path, OVERRIDES), (path, RETRIEVER), (path / "index", FOLDER)}
    return lambda folder, names: {name for name in names if (Path(folder), name) in gone}
