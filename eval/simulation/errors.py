"""The errors of the closed loop.

EvalError
└── SimulationError
    ├── AttemptsError  recordings that cannot be simulated from
    ├── KnobError      a knob that is not known, or out of its range
    └── ResumeError    a folder that holds another simulation
"""

from __future__ import annotations

from eval.errors import EvalError


class SimulationError(EvalError):
    """The root of the closed loop's errors."""


class AttemptsError(SimulationError):
    """Recordings that cannot be simulated from; the message names the file and the line."""


class KnobError(SimulationError):
    """A knob that is not known, or out of its range; the message says what is wanted."""


class ResumeError(SimulationError):
    """A folder that cannot be gone on with."""
