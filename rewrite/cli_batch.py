"""Decides every turn of a log, in order, in bounded memory, going on after a kill where it was.

The output grows in `OUT.part` and is renamed when whole; `OUT.part.json` says of which input and bundle it is. After
a kill the part is cut behind its last whole record (of gzip: behind its last whole member, which is one block), the
records before are counted, and the input is read on from there: the output is the same to the byte.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from dialogue.blocks import DAMAGE, blocks_of, log_files
from dialogue.errors import LogError
from dialogue.parse import MAX_RECORD_BYTES, Reason, parse_lines
from dialogue.turn import Asr, Turn
from rewrite.bundle import MANIFEST, software_version
from rewrite.decision import Decision
from rewrite.engine import RewriteEngine
from rewrite.errors import ConfigError
from rewrite.overrides import FILE as OVERRIDES
from rewrite.progress import Progress
from rewrite.publish import locked, write_beside

#: Records that are decided and written together.
BLOCK_RECORDS = 5_000
_ADDED = (b'"decision"', b'"error"')


@dataclass
class Tally:
    """Records by what became of them."""

    actions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        return self.actions.total() + self.bad.total()

    def add(self, action: str | None, reason: str) -> None:
        """One decision; or, without an action, one bad record."""
        if action is None:
            self.bad[reason] += 1
        else:
            self.actions[action] += 1
            self.reasons[reason] += 1


@dataclass(frozen=True)
class BatchSummary:
    """What a run decided; `resumed_after` records were there from a run before."""

    out: Path
    tally: Tally
    resumed_after: int


def decide_log(
    engine: RewriteEngine, log: Path, out: Path, progress: Progress | None = None, *, block: int = BLOCK_RECORDS
) -> BatchSummary:
    """Writes each record of `log` with its decision to `out`, gzipped where the name ends in `.gz`.

    `block` is how many lines of the log are decided and written together.
    """
    files = list(log_files(log, rejects=out))
    _refuse_target(files, out)
    with locked(out, "batch"):
        part = out.with_name(out.name + ".part")
        compressed = out.name.endswith(".gz")
        tally, end = _begun(part, _job(engine, files, block), compressed)
        before = tally.records
        total = sum(file.stat().st_size for file in files)
        with open(part, "ab") as stream, (progress or Progress()).stage("deciding", total) as stage:
            stream.truncate(end)
            for lines, source, position in _left(files, before, block):
                written = b"".join(_decided(engine, lines, source, tally))
                stream.write(gzip.compress(written, 6, mtime=0) if compressed else written)
                stream.flush()
                stage.at(position)
            if compressed and not tally.records:
                stream.write(gzip.compress(b"", 6, mtime=0))
            os.fsync(stream.fileno())
        os.replace(part, out)
        _note_of(part).unlink(missing_ok=True)
    return BatchSummary(out, tally, before)


def _refuse_target(files: list[Path], out: Path) -> None:
    if out.resolve() in {file.resolve() for file in files}:
        raise ConfigError(f"{out} is the log itself: give another file as OUT")
    if not out.parent.is_dir():
        raise ConfigError(f"no folder {out.parent}: give an OUT in a folder that exists")
    if out.is_dir() or out.suffix == ".parquet":
        raise ConfigError(f"{out} cannot be OUT: give a file of JSON Lines, such as decided.jsonl or decided.jsonl.gz")


# One block


def _decided(engine: RewriteEngine, lines: list[bytes], file: str, tally: Tally) -> Iterator[bytes]:
    """The lines of the output for lines of the input, neither of them blank."""
    turns, rejects = parse_lines(lines, 0, file)
    bad = {reject.line: reject for reject in rejects}
    following = iter(turns)
    for number, line in enumerate(lines):
        if number in bad:
            reason = bad[number].reason
            tally.add(None, reason)
            yield _with(line, bad[number].record if reason == Reason.TOO_LONG else None, decision=None, error=reason)
        else:
            decision = _decide(engine, next(following))
            tally.add(decision.action, decision.reason)
            yield _with(line, None, decision=decision.as_dict())


def _decide(engine: RewriteEngine, turn: Turn) -> Decision:
    """By what is known of a turn before it is acted on; how it was understood may be that of a rewrite."""
    heard = turn.asr or Asr()
    return engine.rewrite(
        turn.said, turn.user_id, asdict(turn.context) if turn.context else None,
        nbest=[asdict(each) for each in heard.nbest], asr_confidence=heard.confidence,
        nlu=asdict(turn.nlu) if turn.nlu and turn.served is None else None,
    )  # fmt: skip


def _with(line: bytes, excerpt: str | None, **added: Any) -> bytes:
    """The record with more fields at its end and otherwise as it came; what is no object becomes `record` of one."""
    line = line.strip()
    more = json.dumps(added, ensure_ascii=False)[1:].encode()
    record = None if excerpt is not None else _object(line)
    if record is None:
        kept = excerpt if excerpt is not None else line.decode("utf-8", "replace")
        return b'{"record": ' + json.dumps(kept).encode() + b", " + more + b"\n"
    if not record or any(name in line for name in _ADDED):  # nothing to follow on, or a field to take the place of
        return json.dumps({**record, **added}).encode() + b"\n"
    return line[:-1].rstrip() + b", " + more + b"\n"


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _left(files: list[Path], done: int, most: int) -> Iterator[tuple[list[bytes], str, int]]:
    """What is not decided yet: lines that are not blank, their file, and at how many bytes of the log they end."""
    before, seen = 0, 0
    for file in files:
        try:
            for block in blocks_of(file, most, MAX_RECORD_BYTES):
                lines = [line for line in block.lines if line.strip()]
                fresh = lines[max(0, done - seen) :]
                seen += len(lines)
                if fresh:
                    yield fresh, block.file, before + block.position
        except DAMAGE as fault:
            raise LogError(
                f"{file} cannot be read on after {seen:,} records ({type(fault).__name__}: {fault}). The file is"
                " truncated, damaged or not of the kind that its name says: export it again, and run the same command"
            ) from fault
        before += file.stat().st_size


# The part that a run before has written


def _begun(part: Path, job: str, compressed: bool) -> tuple[Tally, int]:
    """What is whole of the part, if it is of the same job, and where that ends; else a fresh beginning."""
    note = _note_of(part)
    if part.exists() and note.exists() and note.read_text(encoding="utf-8") == job:
        return _whole(part, compressed)
    part.unlink(missing_ok=True)
    write_beside(note, job.encode())
    return Tally(), 0


def _whole(part: Path, compressed: bool) -> tuple[Tally, int]:
    tally, end = Tally(), 0
    with open(part, "rb") as stream:
        for size, records in _members(stream) if compressed else _lines(stream):
            try:
                found = [_outcome(record) for record in records]
            except (ValueError, KeyError, TypeError):  # a disk that lost power may leave anything
                break
            for outcome in found:
                tally.add(*outcome)
            end += size
    return tally, end


def _outcome(record: bytes) -> tuple[str | None, str]:
    """The action and the reason of a record of the output; of a bad one, none and its error."""
    written = json.loads(record)
    decision = written["decision"]
    return (None, str(written["error"])) if decision is None else (decision["action"], decision["reason"])


def _lines(stream: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    for line in stream:
        if not line.endswith(b"\n"):
            return
        yield len(line), [line]


def _members(stream: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """The whole members of a gzip file: size, and the lines in it."""
    held = b""
    while True:
        inflate, content, size = zlib.decompressobj(wbits=31), bytearray(), 0
        while not inflate.eof:
            held = held or stream.read(1 << 20)
            if not held:
                return
            try:
                content += inflate.decompress(held)
            except zlib.error:
                return
            size += len(held) - len(inflate.unused_data)
            held = inflate.unused_data
        yield size, bytes(content).split(b"\n")[:-1]


def _note_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _job(engine: RewriteEngine, files: list[Path], block: int) -> str:
    """What makes two runs the same: the log, the bundle with its overrides, the engine and the software."""
    told = {
        "log": [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files],
        "bundle": [_digest(engine.bundle.path / name) for name in (MANIFEST, OVERRIDES)],
        "block": block,
        "engine": repr(engine.config),
        "software": software_version(),
    }
    return json.dumps(told, indent=1) + "\n"


def _digest(path: Path) -> str | None:
    return sha256(path.read_bytes()).hexdigest() if path.exists() else None
