"""Never rewrite: what is lost and won by having no engine at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.baselines.tables import left_alone
from rewrite import Decision, Reason


class NeverRewrite:
    """Leaves every request alone."""

    name, told = "never rewrite", "every request is left alone"

    def rewrite(self, text: str, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> Decision:
        return left_alone(text, Reason.NO_CANDIDATE)
