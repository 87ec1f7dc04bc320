"""What can go wrong with a log as a whole. A single bad record is no error: it is counted and set aside.

DialogueError
└── LogError            a log that cannot be read: missing, damaged, of unknown kind, without a column, empty
    └── TooManyRejects  a log that can be read, but breaks the format too often to be trusted
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dialogue.reader import ReadReport


class DialogueError(Exception):
    """The root of the errors of this package."""


class LogError(DialogueError):
    """A log that cannot be read; the message says what came, what was wanted and what to do."""


class TooManyRejects(LogError):
    """The share of bad records passed the limit; `report` counts them by reason."""

    def __init__(self, report: ReadReport, limit: float) -> None:
        self.report = report
        self.limit = limit
        super().__init__(_too_many(report, limit))

    def __reduce__(self) -> tuple[type[TooManyRejects], tuple[ReadReport, float]]:
        return TooManyRejects, (self.report, self.limit)


def _too_many(report: ReadReport, limit: float) -> str:
    common = ", ".join(f"{reason} ({count:,})" for reason, count in list(report.rejected.items())[:3])
    where = f"Each is in {report.rejects_path} with its reason. " if report.rejects_path else ""
    return (
        f"{report.rejected_records:,} of {report.records:,} records ({report.rejected_share:.1%}) break the "
        f"log format; at most {limit:.1%} may. Commonest reasons: {common}. {where}"
        f"Mend the export, or raise the limit above {report.rejected_share:.4f} to go on without them."
    )
