"""Reads logs of any length in bounded memory: files -> blocks of lines -> turns and rejects.

The first arrow is `dialogue.blocks`, the second `dialogue.parse`; here they are joined, counted and held to
the limit.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from dialogue.blocks import DAMAGE, Block, blocks_of, log_files
from dialogue.errors import LogError, TooManyRejects
from dialogue.parse import MAX_RECORD_BYTES, Reject, parse_lines
from dialogue.turn import Turn

#: The limit of bad records is checked from this many records on, and at the end.
EARLY_CHECK = 10_000

PathLike = str | os.PathLike[str]
T = TypeVar("T")


@dataclass(frozen=True)
class ReadReport:
    """What was read: records are lines that are not blank; `rejected` counts by reason, commonest first."""

    files: tuple[str, ...]
    accepted: int
    rejected: Mapping[str, int]
    rejects_path: str | None  # None also where nothing was rejected

    @property
    def rejected_records(self) -> int:
        return sum(self.rejected.values())

    @property
    def records(self) -> int:
        return self.accepted + self.rejected_records

    @property
    def rejected_share(self) -> float:
        return self.rejected_records / self.records if self.records else 0.0


def read_log(
    paths: PathLike | Iterable[PathLike],
    *,
    rejects: PathLike | None = None,
    limit: float = 0.05,
    chunk: int = 10_000,
    keep_gold: bool = False,
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> LogReader:
    """A reader over log files in the order given; a directory stands for the log files in it, sorted by name.

    `rejects` is where bad records go, as JSON lines; `limit` the share of them past which reading stops.
    Raises LogError at once where a path is missing or of unknown kind.
    """
    if not 0 <= limit <= 1 or chunk < 1 or max_record_bytes < 1:
        raise ValueError(f"0 <= {limit=} <= 1, {chunk=} >= 1 and {max_record_bytes=} >= 1 are wanted")
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    target = None if rejects is None else Path(rejects)
    files = tuple(file for path in given for file in log_files(Path(path), target))
    if not files:
        raise LogError("No log was named: give at least one file or directory.")
    if target is not None and target.resolve() in {file.resolve() for file in files}:
        raise LogError(f"The rejects file {target} is one of the logs: name another file for the rejects.")
    return LogReader(files, target, limit, chunk, keep_gold, max_record_bytes)


class LogReader:
    """Iterating gives lists of turns; `report`, `bytes_read` and `bytes_total` say how far it came.

    Each iteration reads the log anew. The stop for too many bad records may come after turns were given out.

    >>> reader = read_log("fixtures/log.jsonl")  # doctest: +SKIP
    >>> turns = [turn for turns in reader for turn in turns]  # doctest: +SKIP
    """

    def __init__(
        self,
        files: tuple[Path, ...],
        rejects: Path | None,
        limit: float,
        chunk: int,
        keep_gold: bool,
        max_record_bytes: int,
    ) -> None:
        self._files = files
        self._rejects_path = rejects
        self._limit = limit
        self._chunk = chunk
        self._keep_gold = keep_gold
        self._max_record_bytes = max_record_bytes
        self.bytes_total = sum(file.stat().st_size for file in files)
        self._start()

    def _start(self) -> None:
        self.bytes_read = 0
        self._accepted: Counter[str] = Counter()  # by file
        self._rejected: Counter[str] = Counter()  # by reason
        self._rejected_in: Counter[str] = Counter()  # by file

    @property
    def report(self) -> ReadReport:
        """What was read so far."""
        written = str(self._rejects_path) if self._rejects_path and self._rejected else None
        by_count = sorted(self._rejected.items(), key=lambda item: (-item[1], item[0]))
        return ReadReport(tuple(map(str, self._files)), self._accepted.total(), dict(by_count), written)

    def __iter__(self) -> Iterator[list[Turn]]:
        return self.map(_unchanged)

    def map(
        self,
        work: Callable[[list[Turn]], T],
        imap: Callable[[Callable[[Block], Any], Iterator[Block]], Iterable[Any]] = map,
    ) -> Iterator[T]:
        """`work` on the turns of each block, in order; `imap` may spread parsing and work over processes.

        `imap` is to keep the order and to read ahead by a few blocks only, or memory is not bounded.
        """
        self._start()
        job = partial(_parse_and_work, work, self._keep_gold, self._max_record_bytes)
        with _RejectsFile(self._rejects_path) as rejects_file:
            for file, accepted, rejects, result in imap(job, self._blocks()):
                self._accepted[file] += accepted
                self._rejected_in[file] += len(rejects)
                self._rejected.update(reject.reason for reject in rejects)
                rejects_file.write(rejects)
                self._check_limit(EARLY_CHECK)
                yield result
            self._check_limit(1)
            if not self.report.records:
                raise LogError(f"The log holds no records: {_listed(self._files)}. Check the export.")

    def _check_limit(self, from_records: int) -> None:
        report = self.report
        if report.records >= from_records and report.rejected_share > self._limit:
            raise TooManyRejects(report, self._limit)

    def _blocks(self) -> Iterator[Block]:
        done = 0
        for file in self._files:
            for block in self._whole_blocks(file):
                self.bytes_read = done + block.position
                yield block
            done += file.stat().st_size
            self.bytes_read = done

    def _whole_blocks(self, file: Path) -> Iterator[Block]:
        try:
            yield from blocks_of(file, self._chunk, self._max_record_bytes)
        except DAMAGE as fault:
            whole = self._accepted[str(file)] + self._rejected_in[str(file)]
            raise LogError(_damaged(file, whole, fault)) from fault


def _unchanged(turns: list[Turn]) -> list[Turn]:
    return turns


def _parse_and_work(
    work: Callable[[list[Turn]], T], keep_gold: bool, max_record_bytes: int, block: Block
) -> tuple[str, int, list[Reject], T]:
    turns, rejects = parse_lines(
        block.lines, block.first_line, block.file, keep_gold=keep_gold, max_record_bytes=max_record_bytes
    )
    return block.file, len(turns), rejects, work(turns)


class _RejectsFile:
    """Written beside its place and renamed into it when the reading ends, by a LogError too; never empty."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stream: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, rejects: Sequence[Reject]) -> None:
        if self._path is None or not rejects:
            return
        if self._stream is None:
            self._stream = open(self._beside, "w", encoding="utf-8")  # noqa: SIM115 (closed by __exit__)
        self._stream.writelines(json.dumps(asdict(reject), ensure_ascii=False) + "\n" for reject in rejects)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._path is None:
            return
        if self._stream is not None:
            self._stream.close()
        ended = kind is None or issubclass(kind, LogError)
        if ended and self._stream is not None:
            self._beside.replace(self._path)
        elif ended:
            self._path.unlink(missing_ok=True)  # of an earlier reading: this one rejected nothing
        else:
            self._beside.unlink(missing_ok=True)

    @property
    def _beside(self) -> Path:
        assert self._path is not None
        return self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")


def _damaged(file: Path, whole: int, fault: Exception) -> str:
    said = f"{file} cannot be read on after {whole:,} whole records ({type(fault).__name__}: {fault})."
    if not (file.name.endswith(".gz") and whole):
        return f"{said} The file is damaged or not of the kind that its name says: export it again."
    return (
        f"{said} The gzip file is truncated or damaged. Export it again, or save what is whole with "
        f"`zcat {file.name} | head -n {whole} > {file.name.removesuffix('.gz')}` and pass that."
    )


def _listed(words: Sequence[object]) -> str:
    return ", ".join(map(str, words[:5])) + (", ..." if len(words) > 5 else "")
