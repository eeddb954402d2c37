"""Leases: what one process is telling a peer, and another leaves alone for so long.

A lease ends by the clock of whoever took it. One that ends later than any can that was taken now
was taken by a clock that was ahead: it holds nothing, nor does a time to try again that is further
away than any is.

References
----------
* docs/adr, "Deliveries are leased, in order and at least once"; threats T17
"""

from typing import Final

SECOND: Final = 1_000_000
AGAIN_SECONDS: Final = (30, 120, 600, 3600, 6 * 3600, 12 * 3600, 24 * 3600)
"""When a peer that could not be told is tried again; then it is given up."""

_WAITS: Final = ", ".join(str(seconds * SECOND) for seconds in AGAIN_SECONDS)
_LONGEST: Final = f"coalesce((ARRAY[{_WAITS}]::bigint[])[attempts], {AGAIN_SECONDS[0] * SECOND})"


def waits(now: str, lease: int) -> str:
    """SQL: when a row may be taken; now or before means that it may be.

    Parameters
    ----------
    now
        The parameter that says what the time is, in microseconds since 1970.
    lease
        For how long a row is taken, in microseconds.
    """
    held = f"lease_until > {now} AND lease_until <= {now} + {2 * lease}"
    due = f"CASE WHEN due > {now} + {_LONGEST} THEN 0 ELSE due END"
    return f"CASE WHEN {held} THEN greatest(lease_until, {due}) ELSE {due} END"
