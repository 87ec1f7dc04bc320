"""One request on its way through an engine: what came with it, and what its user did a moment ago."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from rewrite.errors import LiveHistoryError
from rewrite.live_history import LiveHistory
from rewrite.live_turns import LiveRequest, RecentTurn
from rewrite.loops import FAILED_BELOW
from rewrite.timings import Timings

_LOG = logging.getLogger(__name__)

#: One request of a stream: (text, user id), or the arguments of `RewriteEngine.rewrite` by name.
Asked = tuple[str, str | None] | Mapping[str, Any]


def arguments(asked: Asked) -> dict[str, Any]:
    """The arguments of `RewriteEngine.rewrite` for one request of a stream."""
    if isinstance(asked, Mapping):
        return dict(asked)
    text, user = asked
    return {"text": text, "user_id": user}


@dataclass(slots=True)
class Call:
    """One request on its way. `live` is the history that it reads, at most once; None: none is kept."""

    text: str
    user: str | None
    context: Mapping[str, Any] | None
    nbest: Sequence[str | Mapping[str, Any]]
    nlu: Mapping[str, Any] | None
    asr_confidence: float | None
    timings: Timings
    deadline_s: float
    live: LiveHistory | None
    said: str = ""  # canonical
    row: int = -1  # of its text in the bundle, or -1
    late_at: float = math.inf  # by the clock of perf_counter
    _lately: tuple[Sequence[LiveRequest], Sequence[RecentTurn]] | None = field(default=None, init=False)

    def late(self) -> bool:
        """Whether the deadline has passed."""
        return perf_counter() > self.late_at

    def lately(self) -> tuple[Sequence[LiveRequest], Sequence[RecentTurn]]:
        """What this user just did: all texts since the bundle was learned, and the last turns."""
        if self._lately is None:
            self._lately = ((), ())
            if self.live is not None and self.user is not None:
                try:
                    self._lately = self.live.latest(self.user)
                except LiveHistoryError as error:  # the bundle answers without it
                    _LOG.warning("%s", error)
        return self._lately

    def just_worked(self) -> float | None:
        """P(success) of this very text where it worked for this user since the bundle was learned; None elsewhere."""
        for each in self.lately()[0]:
            if each.said == self.said and each.judged and each.successes > each.turns / 2:
                return each.successes / each.turns
        return None

    def just_failed(self, target: str) -> bool:
        """Whether this user was given this very rewrite a moment ago, and it failed them."""
        tries = [each for each in self.lately()[1] if each.said == self.said and each.rewrite == target]
        return bool(tries) and tries[-1].judged and tries[-1].success < FAILED_BELOW
