"""Counting: what is asked on the DICOM port and how it is answered, for `/metrics`.

Statuses are told as HTTP would: 200 for Success, 202 for a warning or what was cancelled, 403 for
an association that is rejected, 500 for a failure.

References
----------
* PS3.7 Annex C (status types); PS3.4 Tables B.2-1, C.4-1, C.4-3
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

SUCCESS: Final = 200
WARNING: Final = 202
REJECTED: Final = 403
FAILURE: Final = 500

CANCELLED: Final = 0xFE00
PENDING: Final = frozenset({0xFF00, 0xFF01})
WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116, CANCELLED})
"""PS3.7 Annex C.2 and C.3; those of the form Bxxx are warnings too."""

Count = Callable[[str, int, float], None]
"""Takes an interaction, its status and how many seconds it took."""


DESTINATION_UNKNOWN: Final = 0xA801
"""PS3.4 Table C.4-2."""


class Counting:
    """Counts for threads, one at a time.

    Parameters
    ----------
    count
        As `Meter.count`; None counts nothing.
    """

    def __init__(self, count: Count | None = None) -> None:
        self._count = count
        self._lock = threading.Lock()

    def note(self, interaction: str, status: int, began: float) -> None:
        """Count something that was answered; `began` is of `time.perf_counter`."""
        if self._count is not None:
            with self._lock:
                self._count(interaction, status, time.perf_counter() - began)

    def answered(self, interaction: str, answers: Iterator[Any]) -> Iterator[Any]:
        """Pass answers on, and count the request by the last of them when they end."""
        began, last = time.perf_counter(), 0
        try:
            for answer in answers:
                last = code(answer[0]) if isinstance(answer, tuple) else last
                yield answer
        finally:
            self.note(interaction, status_of(last), began)


def code(status: Any) -> int:
    """The number of a status, which a handler may give as a data set.

    A C-MOVE is answered first with where it goes to: a host, or None if that is not known.
    """
    if isinstance(status, str | None):
        return DESTINATION_UNKNOWN if status is None else 0
    return int(getattr(status, "Status", status))


def status_of(code: int) -> int:
    """What a DIMSE status is counted as.

    Examples
    --------
    >>> status_of(0x0000), status_of(0xFF00), status_of(0xB000), status_of(0xA700)
    (200, 200, 202, 500)
    """
    if code == 0 or code in PENDING:
        return SUCCESS
    return WARNING if code in WARNINGS or code >> 12 == 0xB else FAILURE
