"""The errors of the package.

EvalError
└── CaseError  cases that cannot be judged by: broken, contradictory, or without what is to be measured

Errors of a bundle are `rewrite.BundleError`; those of a file as a whole `dialogue.LogError`.
"""

from __future__ import annotations


class EvalError(Exception):
    """The root of the package's errors."""


class CaseError(EvalError):
    """Cases that cannot be judged by; the message names the turn and what to do."""
