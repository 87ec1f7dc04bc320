"""One run of the mining job: its work folder, what makes it the same job as before, and where it may write."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path

from dialogue.blocks import log_files
from dialogue.reader import PathLike
from rephrase_detection import RephraseDetector
from rewrite.bundle import Bundle, is_ours, software_version
from rewrite.config import LearnConfig
from rewrite.duckdb_execution import DuckDBExecution, Workers
from rewrite.errors import BundleError, ForeignBundle, LearnError, TargetError
from rewrite.overrides import Overrides
from rewrite.publish import DISK_FULL, locked, restore


class Run:
    """The work folder of one job, with the execution and the pool in it."""

    def __init__(self, folder: Path, config: LearnConfig) -> None:
        self.folder = folder
        self.workers = Workers(config.resources.workers)
        self.tables: DuckDBExecution = DuckDBExecution(
            folder,
            threads=config.resources.threads,
            memory_limit=config.resources.memory_limit,
            workers=self.workers,
        )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.tables.close()
        self.workers.close()

    def finish(self) -> None:
        """Removes the work folder: the bundle is published."""
        self.tables.close()
        (self.folder / "job.json").unlink(missing_ok=True)  # first: nobody goes on with half of it
        shutil.rmtree(self.folder, ignore_errors=True)


def working_on(
    out: Path,
    paths: list[PathLike],
    config: LearnConfig,
    detector: RephraseDetector,
    earlier: Bundle | None,
    live: Path | None = None,
) -> Run:
    """The work folder beside `out`, emptied unless it belongs to the very same job."""
    with locked(out, "edit", wait=True):
        restore(out)
        Overrides.load(out)  # a person's word that cannot be read is told now, not after the work
    for leftover in partial_rejects(out):
        leftover.unlink(missing_ok=True)
    folder = work_of(out)
    name = folder / "job.json"
    job = _job(out, paths, config, detector, earlier, live)
    if not name.exists() or name.read_text(encoding="utf-8") != job:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        name.write_text(job, encoding="utf-8")
    return Run(folder, config)


def _job(
    out: Path,
    paths: list[PathLike],
    config: LearnConfig,
    detector: RephraseDetector,
    earlier: Bundle | None,
    live: Path | None,
) -> str:
    """What makes two jobs the same: the files as they are, the earlier bundle, parameters, detector and software.

    A live history counts by its place: it changes all the time, and a job keeps to what it took of it.
    """
    files = [file for path in paths for file in log_files(Path(path), rejects_of(out))]
    parameters = config.as_dict()
    del parameters["resources"]
    told = {
        "files": [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files],
        "parameters": parameters,
        "previous": asdict(earlier.manifest) if earlier else None,
        "live": None if live is None else str(live),
        "detector": repr(detector),
        "software": software_version(),
        "code": _code_digest(),
    }
    return json.dumps(told, indent=1)


def rejects_of(out: Path) -> Path:
    """Where the bad records of a job are written: beside the bundle."""
    return out.with_name(out.name + ".rejects.jsonl")


def partial_rejects(out: Path) -> list[Path]:
    """What killed readings left of that."""
    return list(out.parent.glob(f".{glob.escape(rejects_of(out).name)}.*.partial"))


def work_of(out: Path) -> Path:
    """The work folder of a job, beside the bundle."""
    return out.with_name(out.name + ".work")


def _code_digest() -> str:
    """Of all our code: a job begun by another version of it is not gone on with."""
    house = Path(__file__).parent.parent
    packages = ("dialogue", "markov", "rephrase_detection", "retrieval", "rewrite")
    texts = [path for package in packages for path in sorted((house / package).rglob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in texts)).hexdigest()


def refuse_foreign(out: Path) -> None:
    """Raises TargetError where a bundle must not be put: nothing that is not ours is ever replaced."""
    if out.is_dir() and any(out.iterdir()):
        try:
            Bundle.open(out, verify=False)
        except ForeignBundle as error:
            raise TargetError(f"{out} exists and is no bundle: choose another --out, or empty it first") from error
        except BundleError as error:  # a bundle past use may be learned anew
            if not is_ours(out):
                raise TargetError(f"{out} exists and is no bundle: choose another --out, or empty it first") from error
    elif out.exists() and not out.is_dir():
        raise TargetError(f"{out} is a file: give a folder that is a bundle or does not exist yet as --out")
    if os.path.ismount(out):
        raise TargetError(f"{out} is a mount point, which cannot be replaced: give a folder inside it as --out")


#: What libraries say that drop the number of the error: pyarrow, and numpy where it writes an array.
_FULL_DISK = re.compile(r"No space left|File too large|Disk quota|\d+ requested and \d+ written")


class disk_space:
    """Turns "no space left" from any library into an error that says what to do."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and (error.errno in DISK_FULL or _FULL_DISK.search(str(error))):
            raise LearnError(
                f"no space left on the disk of {self.out.parent}: {error}. The bundle at {self.out} is as it was. Free"
                " some space and run the same command again: it goes on from the last finished stage"
            ) from error
