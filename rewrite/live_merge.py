"""The live history as one more log of the mining job: taken in, and cleared of what a published bundle has counted.

Nothing is lost and nothing counted twice, whenever the job is killed. The export is written once and used by whoever
goes on with the job. Only when that is over are turns removed, and of them only those up to the watermark of their
user, which no later job counts again; the others stay for the next. Where it is killed in between, a job anew counts
them as before, and one with the bundle as its previous leaves them out; either removes them then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dialogue.canonical import Canonicaliser
from rewrite.config import LearnConfig
from rewrite.errors import LiveHistoryError
from rewrite.execution import Execution
from rewrite.live_history import Exported, LiveHistory, live_path
from rewrite.own_counts import WATERMARKS
from rewrite.publish import write_beside


@dataclass(frozen=True)
class LiveLog:
    """What a job took from a live history: the turns are in `log`, a file of JSON Lines."""

    history: LiveHistory
    log: Path
    exported: Exported

    def counted(self, tables: Execution) -> dict[str, tuple[float, str]]:
        """Up to which (timestamp, turn id) the job has counted each user of the history."""
        users = set(self.history.users())
        found: dict[str, tuple[float, str]] = {}
        for batch in tables.read(f"SELECT user_id, last_seen, last_turn FROM {WATERMARKS}"):
            columns = (batch[name].to_pylist() for name in ("user_id", "last_seen", "last_turn"))
            found |= {user: (seen, turn) for user, seen, turn in zip(*columns, strict=True) if user in users}
        return found

    def clear(self, counted: Mapping[str, tuple[float, str]]) -> int:
        """Removes what was taken and counted, and says how many turns. Raises LiveHistoryError."""
        try:
            return self.history.merged(self.exported, counted) if self.exported.turns else 0
        except LiveHistoryError as error:
            raise LiveHistoryError(
                f"the bundle is published, but the live history that it took in could not be cleared: {error}. The next"
                " `rewrite learn` with this bundle as --previous counts nothing twice, and clears it"
            ) from error


def live_of(previous: str | Path | None, out: Path) -> Path | None:
    """The live history that a job takes in: that beside the previous bundle, else that beside the bundle at `out`."""
    beside = [live_path(bundle) for bundle in (previous, out) if bundle is not None]
    return next((path for path in beside if path.exists()), None)


def taken(live: Path | None, folder: Path, config: LearnConfig) -> LiveLog | None:
    """The turns of a live history, exported into the work folder of a job unless they are there already."""
    if live is None:
        return None
    canonical = Canonicaliser(config.text.wake_words, config.text.politeness)
    history, log, note = LiveHistory.open(live, canonical=canonical), folder / "live.jsonl", folder / "live.json"
    if not note.exists():
        write_beside(note, json.dumps(history.export(log)).encode())
    return LiveLog(history, log, Exported(*json.loads(note.read_text(encoding="utf-8"))))
