"""Whether to use the compiled kernels: only where the work is worth loading them, and only where numba is there."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from markov.errors import OptionError

#: States and edges below which plain numpy is done before numba is loaded.
WORTH = 100_000


def kernels(work: int, compiled: bool | None) -> Any | None:
    """The module `markov.kernels_numba`, or None for plain numpy.

    `compiled` None leaves it to `work`, the states and edges to go through. Raises OptionError where it is True and
    numba is not installed.
    """
    if compiled is False or (compiled is None and work < WORTH):
        return None
    if find_spec("numba") is None:
        if compiled:
            raise OptionError('compiled=True came without numba: pip install "reprise-rewrite[fast]", or leave it None')
        return None
    from markov import kernels_numba

    return kernels_numba
