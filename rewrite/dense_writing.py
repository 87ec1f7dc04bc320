"""Stage 9 for the dense rung: vectors and indexes of the population, and the retriever, into the draft of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from retrieval.errors import FolderError
from rewrite import stages
from rewrite.attempts import WITHOUT_SLOTS
from rewrite.bundle import REMEDY, Bundle
from rewrite.dense_serving import FOLDER, RETRIEVER, EarlierVectors, Population, build_dense
from rewrite.errors import DamagedBundle, ModelError
from rewrite.execution import Execution
from rewrite.retriever import Retriever, carry

#: The interpretations of a bundle's texts, kept so that the next job knows those of texts that its log does not hold.
FRAMES_FILE = "frames"


def write_dense(
    draft: Path, population: Population, frames: Mapping[str, str], retriever: Retriever, earlier: Bundle | None
) -> dict[str, Any]:
    """Writes the dense arrays and the retriever into the draft; what the manifest says of them."""
    known = None
    if earlier is not None:
        known = EarlierVectors.of(earlier.path, retriever.encoder_digest, earlier.manifest.retriever)
    carry(retriever, draft / RETRIEVER)
    return build_dense(draft / "index" / FOLDER, population, frames, retriever, known)


def frames_of(tables: Execution, earlier: Bundle | None, texts: set[str], min_users: int) -> dict[str, str]:
    """How each of `texts` is interpreted, by `min_users` or more: as in the log, or else as in the earlier bundle."""
    frames = {} if earlier is None else {text: key for text, key in frames_in(earlier).items() if text in texts}
    if not tables.has("ordered"):  # nothing was read: what is counted says what is still shared
        return _still_shared(tables, frames, min_users)
    for batch in tables.read(stages.frames(min_users)):
        pairs = zip(batch["said"].to_pylist(), batch["interpretation"].to_pylist(), strict=True)
        frames |= {text: frame for text, frame in pairs if text in texts}
    return frames


def _still_shared(tables: Execution, frames: dict[str, str], min_users: int) -> dict[str, str]:
    """Those of the interpretations that as many users as that have; one without slots says nothing of anybody."""
    shared = {
        (said, state)
        for batch in tables.read(stages.shared_states(min_users))
        for said, state in zip(batch["said"].to_pylist(), batch["state"].to_pylist(), strict=True)
    }
    return {text: key for text, key in frames.items() if key.endswith(WITHOUT_SLOTS) or (text, key) in shared}


def frames_in(bundle: Bundle) -> dict[str, str]:
    """How the texts of a bundle are interpreted; none in a bundle of before this was kept. Raises DamagedBundle."""
    if f"{FRAMES_FILE}.parquet" not in bundle.manifest.files:
        return {}
    return {row["text"]: row["interpretation"] for row in bundle.rewrites(FRAMES_FILE)}


def write_frames(draft: Path, frames: Mapping[str, str]) -> None:
    """Writes them into the draft of a bundle."""
    import pyarrow.parquet as pq

    rows = sorted(frames.items())
    columns = {"text": [text for text, _ in rows], "interpretation": [frame for _, frame in rows]}
    schema = pa.schema([("text", pa.string()), ("interpretation", pa.string())])
    pq.write_table(pa.table(columns, schema=schema), draft / f"{FRAMES_FILE}.parquet", compression="zstd")


def carried(bundle: Bundle | None) -> Retriever | None:
    """The retriever of a bundle; None where it was learned without. Raises DamagedBundle, ModelError."""
    if bundle is None or not bundle.manifest.retriever:
        return None
    retriever = opened(bundle.path / RETRIEVER)
    if retriever.digest != bundle.manifest.retriever.get("digest"):
        raise DamagedBundle(f"the retriever in {retriever.folder} is not that of the manifest. {REMEDY}")
    return retriever


def opened(folder: Path) -> Retriever:
    """A retriever that a person names. Raises ModelError."""
    try:
        return Retriever.load(folder)
    except FolderError as error:
        raise ModelError(f"the retriever in {folder} cannot be used: {error}") from error
