"""The errors of the package.

RewriteError
├── ConfigError        a parameter or a configuration file that cannot be used
├── BundleError        a bundle that cannot be read or written
│   ├── ForeignBundle  not a bundle of this project
│   ├── NewerBundle    written in a format that this version does not know
│   ├── OlderBundle    written in a format that this version knows no more
│   └── DamagedBundle  a file is missing, cut or changed
├── BusyError          another process is learning into, or editing, the same bundle
├── LearnError         the mining job cannot go on
│   └── TargetError    something that is no bundle is in the place of the bundle to be made
├── LiveHistoryError   what users just did cannot be read or kept
│   └── BadTurn        a turn to be kept breaks the log format
└── ModelError         a model cannot be found, or is not what it should be

Errors of the log itself are `dialogue.DialogueError`. Online nothing is raised: a fault is a `Decision` with a reason.
"""

from __future__ import annotations


class RewriteError(Exception):
    """The root of the package's errors."""


class ConfigError(RewriteError):
    """A parameter or a configuration file that cannot be used."""


class BundleError(RewriteError):
    """A bundle that cannot be read or written."""


class ForeignBundle(BundleError):
    """Not a bundle of this project."""


class NewerBundle(BundleError):
    """A bundle in a format that this version does not know."""


class OlderBundle(BundleError):
    """A bundle in a format that this version knows no more."""


class DamagedBundle(BundleError):
    """A bundle of which a file is missing, cut or changed."""


class BusyError(RewriteError):
    """Another process is at work on the same bundle."""


class LearnError(RewriteError):
    """The mining job cannot go on."""


class TargetError(LearnError):
    """Something that is no bundle is in the place of the bundle to be made."""


class ModelError(RewriteError):
    """A model cannot be found, or is not what it should be."""


class LiveHistoryError(RewriteError):
    """What users just did cannot be read or kept."""


class BadTurn(LiveHistoryError):
    """A turn to be kept that breaks the log format."""
