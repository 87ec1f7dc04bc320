"""A bundle on disk: what was learned, for the machine and for people, with a manifest that vouches for it.

manifest.json         format, version, parameters, counts, the size and SHA-256 of every file, and its own SHA-256
rewrites.parquet      the table of rewrites, for the machine
rewrites.jsonl        the same for people: sorted, one rewrite a line, with its evidence
candidates.parquet    every pair that was judged, with the verdict
requests.parquet      the population: texts with users, turns and success
frames.parquet        how its texts are interpreted
histories.parquet     each user's own requests that worked
corrections.parquet   each user's own corrections
contexts.parquet      what to do with single texts in single contexts (rewrite.context_mining)
suspensions.parquet   rewrites that turned bad while they were live, and until when they are not tried again
states.parquet        the chain: its states, with what came of them
transitions.parquet   and the steps between them that enough users took
counts/               what each user did, in sums: an update adds to them (rewrite.own_counts)
detector/             the trained detector that found the rephrases; none where the lexical did
retriever/            the trained retriever that proposes rewrites online (`rewrite.retriever`); none without one
overrides.json        a person's word; may change at any time, so the manifest does not vouch for it
index/                arrays for serving, mapped into memory; derived from the tables

A bundle is published whole (`rewrite.publish`) and is then read only, but for the overrides.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rewrite.errors import BundleError, DamagedBundle, ForeignBundle, NewerBundle, OlderBundle
from rewrite.overrides import FILE as OVERRIDES
from rewrite.overrides import Overrides
from rewrite.publish import locked, real, restore, steadily, write_beside

FORMAT = "reprise-bundle"
VERSION = 2
MANIFEST = "manifest.json"
COUNTS = "counts"
DETECTOR = "detector"

#: Bundles up to this size are checked by digest when they are opened; larger ones by the sizes of their files. The
#: detector is left out: whoever uses it checks it (`rewrite.detectors.carried`), and serving does not.
DIGESTED_BYTES = 64 << 20

REMEDY = "Learn it again, or restore it from a copy"


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself."""

    format: str
    version: int
    software: str
    created: str  # ISO 8601, UTC
    parameters: Mapping[str, Any]
    log: Mapping[str, Any]  # the latest: files, records, rejects, time span, session boundary
    span: Mapping[str, Any]  # all logs up to the latest (`rewrite.facts.Span`)
    counts: Mapping[str, int]
    files: Mapping[str, Mapping[str, Any]]  # path in the bundle -> {"bytes", "sha256"}
    #: What found the rephrases: "name" and "digest", which only a trained one has; empty where it was not written down.
    detector: Mapping[str, str | None] = field(default_factory=dict)
    #: Of the trained retriever that it serves with: its digest, and the size and recall of the index; empty for none.
    retriever: Mapping[str, Any] = field(default_factory=dict)


def software_version() -> str:
    """The installed version of this distribution."""
    try:
        return version("reprise-rewrite")
    except PackageNotFoundError:
        return "not installed"


def write_manifest(
    folder: Path,
    *,
    created: str,
    parameters: Mapping[str, Any],
    log: Mapping[str, Any],
    span: Mapping[str, Any],
    counts: Mapping[str, int],
    detector: Mapping[str, str | None] | None = None,
    retriever: Mapping[str, Any] | None = None,
) -> None:
    """Digests every file of a finished folder and writes the manifest: the last step before publication."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in (folder / MANIFEST, folder / OVERRIDES)
    }
    software = software_version()
    manifest = Manifest(
        FORMAT, VERSION, software, created, parameters, log, span, counts, files, detector or {}, retriever or {}
    )
    raw = json.loads(json.dumps(asdict(manifest)))
    raw["sha256"] = _digest_of(raw)
    write_beside(folder / MANIFEST, (json.dumps(raw, ensure_ascii=False, indent=1) + "\n").encode())


def is_ours(path: Path) -> bool:
    """Whether a folder is a bundle, be it damaged or of a newer format."""
    try:
        _manifest(path)
    except ForeignBundle:
        return False
    except (NewerBundle, OlderBundle):
        return True
    except DamagedBundle:  # of a manifest that cannot be read, the files beside it must speak
        return (path / "rewrites.jsonl").is_file() and (path / "index").is_dir()
    return True


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. `path` is where it was read; `asked`, what was asked for: the same but during a swap."""

    path: Path
    manifest: Manifest
    asked: Path

    @classmethod
    def open(cls, path: str | Path, *, verify: bool | None = None) -> Bundle:
        """Opens a bundle and checks it; `verify` says whether by digest (None: where that takes a moment only).

        Raises ForeignBundle, NewerBundle, DamagedBundle, or BundleError where there is nothing.
        """
        asked = Path(path)
        return steadily(asked, lambda place: cls.read(place, asked, verify=verify))

    @classmethod
    def read(cls, path: Path, asked: Path, *, verify: bool | None = None) -> Bundle:
        """`open` without a care for swaps: for those who read more than the bundle itself in one `steadily`."""
        if not path.is_dir():
            raise BundleError(f"no bundle at {path}: a folder made by `rewrite learn LOG --out {path}` is wanted")
        bundle = cls(path, _manifest(path), asked)
        bundle.check(digests=bundle.quickly_digested() if verify is None else bundle.manifest.files if verify else ())
        Overrides.load(path)
        return bundle

    def quickly_digested(self) -> set[str]:
        """The files whose digest takes a moment only: all but the models' and vectors, unless they are large together.

        A retriever checks its own files when it is opened.
        """
        files = self.manifest.files
        served = {name for name in files if not name.startswith((f"{DETECTOR}/", "retriever/", "index/dense/"))}
        return served if sum(files[name]["bytes"] for name in served) <= DIGESTED_BYTES else set()

    def check(self, *, digests: Container[str]) -> None:
        """Raises DamagedBundle unless every file is there with its size, and those named with their digest."""
        for name, wanted in self.manifest.files.items():
            path = self.path / name
            if not path.is_file():
                raise DamagedBundle(f"{self.path} lacks the file {name}. {REMEDY}")
            if path.stat().st_size != wanted["bytes"]:
                raise DamagedBundle(
                    f"{path} has {path.stat().st_size:,} bytes, the manifest says {wanted['bytes']:,}. {REMEDY}"
                )
            if name in digests and _digest(path) != wanted["sha256"]:
                raise DamagedBundle(f"the content of {path} is not what the manifest vouches for. {REMEDY}")

    @property
    def overrides(self) -> Overrides:
        """The person's word, as it stands now."""
        return Overrides.load(self.path)

    def edit(self, change: Mapping[str, Any] | None = None, **edits: str | tuple[str, str]) -> Overrides:
        """Applies `pin=(source, target)`, `block=source` or `clear=source` (canonical) and keeps the result."""
        path = real(self.asked)
        with locked(path, "edit", wait=True):
            restore(path)
            overrides = Overrides.load(path)
            for verb, value in {**(change or {}), **edits}.items():
                overrides = getattr(overrides, verb)(*([value] if isinstance(value, str) else value))
            overrides.save(path)
        return overrides

    def rewrites(self, name: str = "rewrites") -> Iterator[dict[str, Any]]:
        """The rows of a table of the bundle (`rewrites`, `candidates`, `requests`, ...), streamed."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path / f"{name}.parquet"
        try:
            with pq.ParquetFile(path) as table:
                for batch in table.iter_batches(10_000):
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise DamagedBundle(f"{path} cannot be read: {error}. {REMEDY}") from error


def _manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ForeignBundle(
            f"{path} holds no {MANIFEST}: a folder made by `rewrite learn` is wanted"
        ) from error
    except (ValueError, OSError, RecursionError) as error:
        raise DamagedBundle(f"{file} is not readable: {error}. {REMEDY}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ForeignBundle(f"{file} is not the manifest of a {FORMAT}: a folder made by `rewrite learn` is wanted")
    if isinstance(raw.get("version"), int) and raw["version"] > VERSION:
        raise NewerBundle(
            f"{path} is in bundle format {raw['version']}, this is reprise-rewrite {software_version()}, which"
            f" reads up to {VERSION}: upgrade reprise-rewrite, or learn the bundle again with this version"
        )
    if isinstance(raw.get("version"), int) and raw["version"] < VERSION:
        raise OlderBundle(
            f"{path} is in bundle format {raw['version']}, this is reprise-rewrite {software_version()}, which reads"
            f" {VERSION}: learn the bundle again from its logs (its pins and blocks, in {OVERRIDES}, are kept)"
        )
    names = {each.name: each.default_factory is MISSING for each in fields(Manifest)}
    missing = sorted(name for name, wanted in names.items() if wanted and name not in raw)
    if missing:
        raise DamagedBundle(f"{file} lacks {missing[0]!r}. {REMEDY}")
    if raw.pop("sha256", None) != _digest_of(raw):
        raise DamagedBundle(f"{file} is not as it was written: its digest is another. {REMEDY}")
    return Manifest(**{name: raw[name] for name in names if name in raw})


def _digest_of(raw: Mapping[str, Any]) -> str:
    return sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    digest = sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
