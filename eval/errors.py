"""The errors of the package.

EvalError
├── CaseError   cases that cannot be judged by: broken, contradictory, or without what is to be measured
│   └── UnknownGold  gold with a field that is not known
├── JudgeError  an interpreter that cannot be used
├── FieldError  a field to slice by that no turn can have
└── GateError   a gate file that cannot be read, or that names what is not measured here

Errors of a bundle are `rewrite.BundleError`; those of a file as a whole `dialogue.LogError`.
"""

from __future__ import annotations


class EvalError(Exception):
    """The root of the package's errors."""


class CaseError(EvalError):
    """Cases that cannot be judged by; the message names the turn and what to do."""


class UnknownGold(CaseError):
    """Gold with a field that the log format does not know."""


class JudgeError(EvalError):
    """An interpreter that cannot be used."""


class FieldError(EvalError):
    """A field to slice by that no turn can have."""


class GateError(EvalError):
    """A gate file that cannot be used."""
