"""A person's word: rewrites that are pinned and requests that are blocked. It beats the learner's, and outlives it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rewrite.errors import BundleError, DamagedBundle, NewerBundle
from rewrite.publish import write_beside

FILE = "overrides.json"
VERSION = 1
_REMEDY = "Mend it by hand, or delete it to drop all pins and blocks"


@dataclass(frozen=True)
class Overrides:
    """Canonical source -> text to serve, and canonical sources that are never rewritten."""

    pinned: Mapping[str, str] = field(default_factory=dict)
    blocked: frozenset[str] = frozenset()

    def pin(self, source: str, target: str) -> Overrides:
        """Always rewrite `source` (canonical) to `target`; takes it off the block list."""
        return Overrides({**self.pinned, source: target}, self.blocked - {source})

    def block(self, source: str) -> Overrides:
        """Never rewrite `source` (canonical); takes its pin away."""
        return Overrides(_without(self.pinned, source), self.blocked | {source})

    def clear(self, source: str) -> Overrides:
        """Leaves `source` (canonical) to the learner again."""
        return Overrides(_without(self.pinned, source), self.blocked - {source})

    def over(self, older: Overrides) -> Overrides:
        """These and the older ones; where both speak of a source, these."""
        spoken = set(self.pinned) | self.blocked
        pinned = {source: target for source, target in older.pinned.items() if source not in spoken}
        return Overrides({**pinned, **self.pinned}, (older.blocked - spoken) | self.blocked)

    @classmethod
    def load(cls, bundle: Path) -> Overrides:
        """The overrides of a bundle; none where it has no such file. Raises DamagedBundle or NewerBundle."""
        path = bundle / FILE
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except (ValueError, OSError, RecursionError) as error:
            raise DamagedBundle(f"{path} is not readable: {error}. {_REMEDY}") from error
        if isinstance(raw, dict) and isinstance(raw.get("version"), int) and raw["version"] > VERSION:
            raise NewerBundle(
                f"{path} is in version {raw['version']}, this program reads up to {VERSION}: upgrade reprise-rewrite"
            )
        if not _sound(raw):
            raise DamagedBundle(
                f'{path} is not what was written: {{"version": {VERSION}, "pinned": {{text: text}}, "blocked": [text]}}'
                f" is wanted. {_REMEDY}"
            )
        return cls(dict(raw["pinned"]), frozenset(raw["blocked"]))

    def save(self, bundle: Path) -> None:
        """Writes the file whole or not at all, readable and in order. Raises BundleError where that fails."""
        raw = {"version": VERSION, "pinned": dict(sorted(self.pinned.items())), "blocked": sorted(self.blocked)}
        try:
            write_beside(bundle / FILE, (json.dumps(raw, ensure_ascii=False, indent=1) + "\n").encode())
        except UnicodeEncodeError as error:
            half = str(error.object)[error.start : error.end]
            raise BundleError(f"a text holds {half!r}, which is half a character: give it in full") from error
        except OSError as error:
            raise BundleError(
                f"{bundle / FILE} could not be written ({error.strerror or error}): it is as it was. Free some space or"
                " mend the permissions, and try again"
            ) from error


def _sound(raw: object) -> bool:
    if not isinstance(raw, dict):
        return False
    pinned, blocked = raw.get("pinned"), raw.get("blocked")
    if not isinstance(pinned, dict) or not isinstance(blocked, list):
        return False
    return all(isinstance(each, str) for each in [*pinned, *pinned.values(), *blocked])


def _without(pinned: Mapping[str, str], source: str) -> dict[str, str]:
    return {each: target for each, target in pinned.items() if each != source}
