"""A person's word: rewrites that are pinned and requests that are blocked. It beats the learner's, and outlives it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rewrite.errors import DamagedBundle
from rewrite.publish import write_beside

FILE = "overrides.json"
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
        """The overrides of a bundle; none where it has no such file."""
        path = bundle / FILE
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            pinned, blocked = raw["pinned"], raw["blocked"]
            sound = all(isinstance(each, str) for each in [*pinned, *pinned.values(), *blocked])
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedBundle(f"{path} is not readable: {error!r}. {_REMEDY}") from error
        if not sound:
            raise DamagedBundle(f"{path} holds something that is not a text. {_REMEDY}")
        return cls(dict(pinned), frozenset(blocked))

    def save(self, bundle: Path) -> None:
        """Writes the file whole or not at all, readable and in order."""
        raw = {"version": 1, "pinned": dict(sorted(self.pinned.items())), "blocked": sorted(self.blocked)}
        write_beside(bundle / FILE, (json.dumps(raw, ensure_ascii=False, indent=1) + "\n").encode())


def _without(pinned: Mapping[str, str], source: str) -> dict[str, str]:
    return {each: target for each, target in pinned.items() if each != source}
