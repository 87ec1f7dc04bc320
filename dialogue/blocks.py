"""Log files into blocks of lines: JSON Lines, also gzipped, and Parquet.

A *block* is some consecutive records of one file as lines of JSON, whatever the kind of the file: rows of
Parquet are written out as JSON, so that one parser and one set of reasons serve all. Of a Parquet row, a null
inside a struct counts as absent, as Arrow cannot tell the two apart; where it matters, write the column as
JSON strings.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic_core import from_json, to_json

from dialogue.errors import LogError
from dialogue.turn import Turn

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
#: A block ends early when its lines reach this size.
BLOCK_BYTES = 32 << 20
#: What damaged files raise while they are read.
DAMAGE = (EOFError, zlib.error, pa.ArrowException, OSError, UnicodeDecodeError)

_FIELDS = tuple(field.name for field in fields(Turn))
_REQUIRED = ("turn_id", "user_id", "timestamp", "text")
_OBJECTS = {"asr", "nlu", "signals", "context", "served", "gold"}
_BOM = b"\xef\xbb\xbf"


class Block(NamedTuple):
    """Consecutive records of one file; `position` is how many bytes of it are read by now."""

    file: str
    first_line: int
    lines: list[bytes]
    position: int


def log_files(path: Path, rejects: Path | None = None) -> Iterator[Path]:
    """The path itself, or the log files of a directory by name, but for the rejects file and hidden ones."""
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES) and file.is_file())
        found = [file for file in inside if not file.name.startswith(".")]
        found = [file for file in found if rejects is None or file.resolve() != rejects.resolve()]
        if not found:
            raise LogError(
                f"No log files in directory {path}: names ending in {', '.join(SUFFIXES)} are wanted."
            )
        yield from found
    elif not path.exists():
        raise LogError(f"No such log: {path}. Check the path.")
    elif not path.name.endswith(SUFFIXES):
        raise LogError(f"Unknown kind of log: {path}. Names ending in {', '.join(SUFFIXES)} are read.")
    else:
        yield path


def blocks_of(file: Path, chunk: int, max_record_bytes: int) -> Iterator[Block]:
    """Blocks of at most `chunk` records of a log file, read by its kind."""
    if file.name.endswith(".parquet"):
        return _parquet_blocks(file, chunk)
    return _jsonl_blocks(file, chunk, max_record_bytes)


def _jsonl_blocks(file: Path, chunk: int, max_record_bytes: int) -> Iterator[Block]:
    with open(file, "rb", buffering=1 << 20) as raw:
        zipped = file.name.endswith(".gz")
        stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[assignment]
        lines: list[bytes] = []
        first, size = 1, 0
        damage: Exception | None = None
        while True:
            try:
                line = _bounded_line(stream, max_record_bytes + 1)
            except DAMAGE as fault:  # what came before it is still given out
                line, damage = b"", fault
            if not line or len(lines) == chunk or size >= BLOCK_BYTES:
                if lines:
                    yield Block(str(file), first, lines, raw.tell())
                first, lines, size = first + len(lines), [], 0
            if damage:
                raise damage
            if not line:
                return
            lines.append(line.removeprefix(_BOM) if first == 1 and not lines else line)
            size += len(line)


def _bounded_line(stream: IO[bytes], most: int) -> bytes:
    """The next line; of one longer than `most` bytes only the start, its rest is skipped."""
    line = stream.readline(most)
    if len(line) == most and not line.endswith(b"\n"):
        while (rest := stream.readline(1 << 20)) and not rest.endswith(b"\n"):
            pass
    return line


def _parquet_blocks(file: Path, chunk: int) -> Iterator[Block]:
    size = file.stat().st_size
    with pq.ParquetFile(file) as parquet:
        names = parquet.schema_arrow.names
        absent = [name for name in _REQUIRED if name not in names]
        if absent:
            raise LogError(
                f"{file} has no column {', '.join(absent)}; its columns are {', '.join(names) or 'none'}. "
                "Rename or add what is missing: docs/log-format.md has the format."
            )
        rows = max(parquet.metadata.num_rows, 1)
        stored = sum(parquet.metadata.row_group(i).total_byte_size for i in range(parquet.num_row_groups))
        batch_size = max(1, min(chunk, BLOCK_BYTES * rows // max(stored, 1)))
        done = 0
        for batch in parquet.iter_batches(batch_size, columns=[name for name in _FIELDS if name in names]):
            lines = [to_json(row, inf_nan_mode="constants") for row in _rows(batch)]
            yield Block(str(file), done + 1, lines, size * (done + len(lines)) // rows)
            done += len(lines)


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    names = batch.schema.names
    columns = [_values(name, column) for name, column in zip(names, batch.columns, strict=True)]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _values(name: str, column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        micros = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        values: list[Any] = pc.divide(micros.cast(pa.float64()), 1e6).to_pylist()
        return values
    if pa.types.is_nested(kind):
        return [_without_nulls(value) for value in column.to_pylist(maps_as_pydicts="lossy")]
    values = column.to_pylist()
    return [_from_json(value) for value in values] if name in _OBJECTS else values


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(part) for name, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value


def _from_json(text: Any) -> Any:
    """The value that a JSON string column holds; what is no JSON stays as it is, which the parser rejects."""
    try:
        return from_json(text) if text else None
    except (ValueError, TypeError):
        return text
