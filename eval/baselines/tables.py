"""A bundle's tables as the baselines read them, and the two answers that they can give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dialogue.canonical import Canonicaliser
from rewrite import Action, Bundle, Decision, Reason, Source
from rewrite.decision import rewrite_id


@dataclass(frozen=True, eq=False)
class Tables:
    """Texts are canonical; `surfaces` are the known-good ones as they are most often written."""

    canonical: Canonicaliser
    surfaces: dict[str, str]
    candidates: tuple[dict[str, object], ...]  # every pair that was judged
    corrections: dict[str, dict[str, int]]  # source -> what users said next that worked -> how often

    @classmethod
    def from_bundle(cls, bundle: Bundle | str | Path) -> Tables:
        """Raises BundleError."""
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        text = opened.manifest.parameters["text"]
        corrections: dict[str, dict[str, int]] = {}
        for row in opened.rewrites("corrections"):
            turns = corrections.setdefault(row["source"], {})
            turns[row["target"]] = turns.get(row["target"], 0) + row["turns"]
        return cls(
            canonical=Canonicaliser(tuple(text["wake_words"]), tuple(text["politeness"])),
            surfaces={row["text"]: row["surface"] for row in opened.rewrites("requests") if row["status"] == "good"},
            candidates=tuple(opened.rewrites("candidates")),
            corrections=corrections,
        )

    def settled(self, text: str) -> Decision | None:
        """The answer where nothing is to be looked up: an empty request, or a known-good one."""
        said = self.canonical(text)
        if not said:
            return left_alone(text, Reason.EMPTY)
        return left_alone(text, Reason.KNOWN_GOOD) if said in self.surfaces else None


def left_alone(text: str, reason: Reason) -> Decision:
    return Decision(Action.PASS, text, text, reason)


def replaced(text: str, said: str, target: str, served: str, reason: Reason, score: float | None = None) -> Decision:
    """A rewrite, unless it says what was said."""
    if target == said:
        return left_alone(text, Reason.NO_CANDIDATE)
    source = Source.PRECOMPUTED if reason is Reason.LEARNED else Source.GLOBAL
    return Decision(Action.REWRITE, served, text, reason, source, score, rewrite_id=rewrite_id(said, target))
