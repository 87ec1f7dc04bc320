"""The role that is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from rewrite import Decision


class Rewriter(Protocol):
    """An engine, a baseline, or a fake."""

    def rewrite(self, text: str, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> Decision:
        """What to send to NLU for `text`."""
