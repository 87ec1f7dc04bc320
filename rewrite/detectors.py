"""Which detector finds the rephrases of a job: one that is given, one that the earlier bundle carries, or the lexical.

A bundle carries the trained detector that it was learned with, whole, in its folder `detector/`; the manifest has its
name and its digest. What is serving a bundle does not read it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rephrase_detection import LexicalDetector, Links, RephraseDetector
from rephrase_detection.detector_folder import FILE
from rephrase_detection.errors import DetectorError
from rephrase_detection.loading import LEXICAL, load_detector
from rephrase_detection.span import SpanDetector
from rewrite.bundle import DETECTOR, REMEDY, Bundle
from rewrite.errors import BundleError, ConfigError, DamagedBundle, LearnError, TargetError

#: The name of the span detector of an earlier bundle; a folder of that name is "./span".
SPAN = "span"


@dataclass(frozen=True, eq=False, repr=False)
class TrainedDetector(RephraseDetector):
    """A detector with the folder that it was read from. Picklable: another process reads the folder, and only once."""

    inner: RephraseDetector
    folder: Path
    name: str  # of its kind, such as "span"
    digest: str  # of all its files, 16 hexadecimal digits
    threads: int | None = None  # of an encoder, in each of the other processes that read the folder; None: all cores

    @classmethod
    def load(cls, folder: str | Path) -> TrainedDetector:
        """From the folder of a trained detector. Raises DetectorError."""
        folder = Path(folder).absolute()
        return cls.of(load_detector(folder), folder)

    def among(self, processes: int) -> TrainedDetector:
        """The same for so many processes at once, which share the cores."""
        return replace(self, threads=max(1, (os.cpu_count() or 1) // processes))

    @classmethod
    def of(cls, detector: RephraseDetector, folder: Path) -> TrainedDetector:
        """A detector that was read from this folder."""
        return cls(detector, folder, _kind(folder), digest_of(folder))

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.folder, self.digest, self.threads)

    def __repr__(self) -> str:
        return f"TrainedDetector({self.name}, {self.digest})"

    @property
    def threshold(self) -> float:  # type: ignore[override]
        return self.inner.threshold

    def score(self, batch: pa.RecordBatch, p_success: NDArray[np.float64]) -> Links:
        """The most probable target of every source that the detector looks at."""
        return self.inner.score(batch, p_success)


@lru_cache(maxsize=4)
def _opened(folder: Path, digest: str, threads: int | None) -> TrainedDetector:
    """The detector of a folder, kept open: a job sends its detector along with every batch of turns."""
    if not (folder / FILE).is_file() or digest_of(folder) != digest:
        raise DetectorError(_changed(folder))
    kind = _kind(folder)
    inner = SpanDetector.load(folder, threads) if kind == SPAN else load_detector(folder)
    return TrainedDetector(inner, folder, kind, digest, threads)


def digest_of(folder: Path) -> str:
    """A name of what the files of a folder hold, 16 hexadecimal digits; the folder's own name does not matter."""
    found = sha256()
    for name, path in _files(folder):
        found.update(f"{name} {path.stat().st_size}\n".encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()[:16]


def refuse_no_detector(out: Path) -> None:
    """Raises TargetError where a detector must not be put: nothing that is none is ever replaced."""
    if out.is_dir() and (out / FILE).is_file():
        return
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise TargetError(f"{out} exists and is no detector: choose another --out, or empty it first")


def named(name: str, previous: Path | None, out: Path) -> RephraseDetector:
    """The detector that a person names: "lexical"; "span", of the earlier bundle or of one at `out`; or a folder.

    Raises DetectorError, ConfigError where neither bundle carries a span detector, BundleError.
    """
    if name == LEXICAL:
        return LexicalDetector()
    if name != SPAN:
        return TrainedDetector.load(name)
    earlier = [Bundle.open(previous, verify=False)] if previous else []
    for opened in (*earlier, _replaced(out)):
        found = carried(opened) if opened and opened.manifest.detector.get("name") == SPAN else None
        if found is not None:
            return found
    raise ConfigError(
        "no bundle here carries a span detector: train one with `rewrite train-detector LOG --out DIR`, and give its"
        " folder as --detector DIR; the bundle then carries it on"
    )


def used(detector: RephraseDetector | None, earlier: Bundle | None, workers: int = 1) -> RephraseDetector:
    """The detector of a job: the one given, else the one that the earlier bundle carries, else the lexical.

    Raises DetectorError, DamagedBundle.
    """
    if detector is None:
        detector = carried(earlier) or LexicalDetector()
    folder = getattr(detector, "folder", None)
    if isinstance(folder, Path) and not isinstance(detector, TrainedDetector):
        detector = TrainedDetector.of(detector, folder)
    return detector.among(workers) if isinstance(detector, TrainedDetector) else detector


def carried(bundle: Bundle | None) -> TrainedDetector | None:
    """The trained detector of a bundle; None where it was learned with none. Raises DetectorError, DamagedBundle."""
    digest = bundle.manifest.detector.get("digest") if bundle else None
    if bundle is None or digest is None:
        return None
    folder = bundle.path / DETECTOR
    if not folder.is_dir() or digest_of(folder) != digest:
        raise DamagedBundle(f"the detector in {folder} is not the one that the manifest vouches for. {REMEDY}")
    try:
        return TrainedDetector.load(folder)
    except DetectorError as error:
        told = f"the detector that {bundle.path} carries cannot be used: {error}; or go on with --detector lexical"
        raise DetectorError(told) from error


def carry(detector: RephraseDetector, draft: Path) -> dict[str, str | None]:
    """Copies a trained detector into the draft of a bundle; what the manifest says of any. Raises LearnError."""
    if isinstance(detector, TrainedDetector):
        try:
            for name, path in _files(detector.folder):
                target = draft / DETECTOR / name
                target.parent.mkdir(parents=True, exist_ok=True)
                copyfile(path, target)
        except FileNotFoundError as error:
            raise LearnError(_changed(detector.folder)) from error
        if not (draft / DETECTOR).is_dir() or digest_of(draft / DETECTOR) != detector.digest:
            raise LearnError(_changed(detector.folder))
    return identity(detector)


def identity(detector: RephraseDetector) -> dict[str, str | None]:
    """Name and digest; only a trained detector has a digest, and any that is none of ours goes by its class."""
    if isinstance(detector, TrainedDetector):
        return {"name": detector.name, "digest": detector.digest}
    return {"name": LEXICAL if isinstance(detector, LexicalDetector) else type(detector).__name__, "digest": None}


@dataclass(frozen=True)
class Detection:
    """Which detector found the rephrases of a log, and what that took."""

    name: str
    digest: str | None = None
    turns: int = 0
    windows: int | None = None  # that an encoder read; None: there is none, or it read in other processes
    seconds: float | None = None  # with the judging of outcomes; None: found by an earlier run of the same job

    @classmethod
    def of(cls, detector: RephraseDetector, turns: int, before: tuple[int, int], seconds: float | None) -> Detection:
        """What it took to look at so many turns, given what was `asked` of the detector before."""
        name, digest = identity(detector).values()
        heard, read = (now - then for now, then in zip(asked(detector), before, strict=True))
        return cls(str(name), digest, turns, read if heard == turns > 0 else None, seconds)

    @property
    def turns_per_second(self) -> float | None:
        return _rate(self.turns, self.seconds)

    @property
    def windows_per_second(self) -> float | None:
        return _rate(self.windows, self.seconds)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = {name: getattr(self, name) for name in ("name", "digest", "turns", "windows", "seconds")}
        return plain | {"turns_per_second": self.turns_per_second, "windows_per_second": self.windows_per_second}


def asked(detector: RephraseDetector) -> tuple[int, int]:
    """Turns and distinct windows that a detector looked at in this process so far; none where it does not count."""
    inner = detector.inner if isinstance(detector, TrainedDetector) else detector
    count = getattr(inner, "asked", None)
    return (0, 0) if count is None else (int(count.turns), int(count.distinct))


def _rate(amount: int | None, seconds: float | None) -> float | None:
    return amount / seconds if amount is not None and seconds else None


def _files(folder: Path) -> list[tuple[str, Path]]:
    return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())


def _kind(folder: Path) -> str:
    return str(json.loads((folder / FILE).read_text(encoding="utf-8"))["format"])


def _changed(folder: Path) -> str:
    return f"the detector in {folder} was changed while the job used it: run the same command again"


def _replaced(out: Path) -> Bundle | None:
    """The bundle that a new one takes the place of; None where there is none, or one that is past use."""
    try:
        return Bundle.open(out, verify=False)
    except BundleError:
        return None
