"""The errors of the package.

DetectorError    a detector that cannot be trained, saved, loaded or used
"""

from __future__ import annotations


class DetectorError(ValueError):
    """A detector that cannot be trained, saved, loaded or used."""
