"""The folder of a saved detector: `detector.json` with its parameters, and what else it needs beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from rephrase_detection.candidates import Reach
from rephrase_detection.errors import DetectorError
from rephrase_detection.pairwise import PairWeights

FILE = "detector.json"
VERSION = 1


@contextmanager
def written_beside(folder: str | Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` when all is written, and is gone if that fails.

    Only a folder of a detector or an empty one is replaced: DetectorError for any other.
    """
    whole = refuse_other(folder)
    whole.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(mkdtemp(prefix=f".{whole.name}-", dir=whole.parent))
    try:
        beside.chmod(0o755)
        yield beside
        _take_place(beside, whole)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def refuse_other(folder: str | Path) -> Path:
    """The absolute path, if nothing is there, or a detector, or an empty folder. Raises DetectorError for any other."""
    whole = Path(folder).absolute()
    if whole.exists() and not (whole / FILE).is_file() and (not whole.is_dir() or any(whole.iterdir())):
        raise DetectorError(f"{whole} is there and holds no detector: name a new folder, or the folder of a detector")
    return whole


def write_parameters(
    folder: Path, kind: str, weights: PairWeights, threshold: float, reach: Reach, more: Mapping[str, Any] | None = None
) -> None:
    """Write `detector.json` of a pairwise detector: `kind` is the name of the format."""
    whole = {"format": kind, "version": VERSION, "threshold": threshold}
    whole |= {"weights": asdict(weights), "reach": asdict(reach), **(more or {})}
    (folder / FILE).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def read_parameters(folder: str | Path, kind: str) -> tuple[PairWeights, float, Reach, dict[str, Any]]:
    """Weights, threshold, reach and the whole of a `detector.json` of this kind. Raises DetectorError."""
    path, found = Path(folder) / FILE, read_file(folder)
    if (found.get("format"), found.get("version")) != (kind, VERSION):
        raise DetectorError(
            f"{path} is of format {found.get('format')!r}, version {found.get('version')!r}; {kind!r}, version"
            f" {VERSION}, is wanted: load it with the detector that wrote it, or train it again"
        )
    try:
        threshold = checked_threshold(float(found["threshold"]))
        return PairWeights(**found["weights"]), threshold, Reach(**found["reach"]), found
    except (KeyError, TypeError, ValueError) as error:
        raise DetectorError(f"{path} lacks or has wrong parameters ({error!r}): save the detector again") from error


def read_file(folder: str | Path) -> dict[str, Any]:
    """What the `detector.json` of a folder holds; nothing where that is no object. Raises DetectorError."""
    path = Path(folder) / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DetectorError(f"{path} is missing: the folder of a trained detector is wanted") from error
    except (OSError, ValueError) as error:
        raise DetectorError(f"{path} cannot be read ({error}): train or copy the detector again") from error
    return found if isinstance(found, dict) else {}


def checked_threshold(threshold: float) -> float:
    """The threshold, if it is a probability. Raises DetectorError."""
    if not 0 < threshold < 1:
        raise DetectorError(f"a threshold of {threshold} came: a probability between 0 and 1 is wanted")
    return threshold


def _take_place(beside: Path, whole: Path) -> None:
    if not whole.exists():
        beside.rename(whole)
        return
    old = Path(mkdtemp(prefix=f".{whole.name}-old-", dir=whole.parent)) / "was"
    whole.rename(old)
    try:
        beside.rename(whole)
    except OSError:
        old.rename(whole)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)
