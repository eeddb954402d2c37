"""Times as pages write them."""

from typing import Final

from resources.content import written_instant

SECOND: Final = 1_000_000
"""Microseconds."""
DAY: Final = 86_400
HOUR: Final = 3_600
"""Seconds."""


def moment(instant: int | None) -> str:
    """Write an instant (microseconds since 1970 UTC) to the second; nothing where there is none."""
    return "" if not instant else f"{written_instant(instant).replace('T', ' ')[:19]} UTC"


def lasting(microseconds: float) -> str:
    """Write how long something took, or has lasted, by its two largest units.

    Examples
    --------
    >>> lasting(59_900_000), lasting(90 * 60_000_000), lasting(50 * HOUR * 1_000_000), lasting(-5)
    ('59 s', '1 h 30 min', '2 d 2 h', '0 s')
    """
    seconds = int(max(microseconds, 0)) // SECOND
    if seconds < 60:
        return f"{seconds} s"
    if seconds < HOUR:
        return f"{seconds // 60} min"
    if seconds < DAY:
        return f"{seconds // HOUR} h {seconds % HOUR // 60} min"
    return f"{seconds // DAY} d {seconds % DAY // HOUR} h"
