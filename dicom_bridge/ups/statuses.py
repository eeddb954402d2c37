"""Table: what can be wrong with a request about a UPS, and how both protocols say it.

References
----------
* PS3.4 Tables CC.2.1-2, CC.2.2-2, CC.2.3-2, CC.2.5-4, CC.2.6-1 and CC.2.7-2 (DIMSE statuses)
* PS3.18 Tables 11.4.3-1 to 11.12.3-1 (status codes) and 11.6.3-2, 11.7.3-2, 11.8.3-2 (Warning)
* PS3.7 Annex C (general statuses)
"""

from typing import Final, NamedTuple

from resources.errors import (
    Conflict,
    Exhausted,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Refusal,
    Throttled,
    Unsupported,
)


class Failure(NamedTuple):
    """One way to fail: the DIMSE status, the HTTP status, and the sentence of the standard."""

    status: int
    http: int
    sentence: str


NO_LONGER: Final = Failure(0xC300, 409, "The UPS may no longer be updated")
WRONG_TRANSACTION: Final = Failure(0xC301, 409, "The Transaction UID is incorrect")
NO_TRANSACTION: Final = Failure(0xC301, 409, "The Transaction UID is missing")
ALREADY_IN_PROGRESS: Final = Failure(0xC302, 409, "The UPS is already IN PROGRESS")
ONLY_CREATED_SCHEDULED: Final = Failure(
    0xC303, 400, "The UPS may only become SCHEDULED via N-CREATE"
)
NOT_FINAL: Final = Failure(0xC304, 409, "The UPS has not met final state requirements")
NO_SUCH_UPS: Final = Failure(0xC307, 404, "There is no such UPS")
UNKNOWN_RECEIVER: Final = Failure(0xC308, 404, "The receiving AE title is unknown")
NOT_SCHEDULED: Final = Failure(0xC309, 400, "The state of a UPS that is made is SCHEDULED")
NOT_IN_PROGRESS: Final = Failure(0xC310, 409, "The UPS is not yet IN PROGRESS")
ALREADY_COMPLETED: Final = Failure(0xC311, 409, "The UPS is already COMPLETED")
NOT_APPROPRIATE: Final = Failure(0xC314, 400, "The action is not appropriate for this instance")

DUPLICATE: Final = Failure(0x0111, 409, "There is a UPS of this UID")
INVALID_VALUE: Final = Failure(0x0106, 400, "An attribute has a value that it cannot have")
INVALID_ARGUMENT: Final = Failure(0x0115, 400, "The action information is invalid")
MISSING: Final = Failure(0x0120, 400, "An attribute is missing")
MISSING_VALUE: Final = Failure(0x0121, 400, "An attribute has no value")
NO_SUCH_ACTION: Final = Failure(0x0123, 400, "There is no such action")

FAILURES: Final = (
    NO_LONGER, WRONG_TRANSACTION, NO_TRANSACTION, ALREADY_IN_PROGRESS, ONLY_CREATED_SCHEDULED,
    NOT_FINAL, NO_SUCH_UPS, UNKNOWN_RECEIVER, NOT_SCHEDULED, NOT_IN_PROGRESS, ALREADY_COMPLETED,
    NOT_APPROPRIATE, DUPLICATE, INVALID_VALUE, INVALID_ARGUMENT, MISSING, MISSING_VALUE,
    NO_SUCH_ACTION,
)  # fmt: skip
"""Each failure that we answer with; for the conformance statement."""


class Warned(NamedTuple):
    """Success with a warning."""

    status: int
    sentence: str


SUCCESS: Final = Warned(0x0000, "")
MODIFIED: Final = Warned(0xB300, "The Workitem was created with modifications")
NO_DELETION_LOCK: Final = Warned(0xB301, "Deletion Lock not granted")
ALREADY_CANCELED: Final = Warned(0xB304, "The UPS is already in the requested state of CANCELED")
COERCED: Final = Warned(0xB305, "The Workitem was updated with modifications")
ALREADY_DONE: Final = Warned(0xB306, "The UPS is already in the requested state of COMPLETED")

WARNINGS: Final = (MODIFIED, NO_DELETION_LOCK, ALREADY_CANCELED, COERCED, ALREADY_DONE)


class Refused(Refusal):
    """A request about a UPS is refused for a reason that the standard names."""

    failure: Failure


class _Wrong(Refused, Invalid):
    """What is said of a UPS cannot be said."""


class _Missing(Refused, NotFound):
    """There is no UPS, or nobody to tell of it."""


class _Unfit(Refused, Conflict):
    """The UPS is not in a state in which this is done, or is somebody else's."""


KINDS: Final[dict[int, type[Refused]]] = {400: _Wrong, 404: _Missing, 409: _Unfit}


def refused(failure: Failure, at: str = "") -> Refused:
    """Make the refusal of a failure."""
    refusal = KINDS[failure.http](failure.sentence, at)
    refusal.failure = failure
    return refusal


GENERAL: Final[dict[type[Refusal], int]] = {
    Invalid: 0x0106,
    Unsupported: 0x0122,
    Forbidden: 0x0124,
    Gone: NO_SUCH_UPS.status,
    NotFound: NO_SUCH_UPS.status,
    Throttled: 0x0213,
    Exhausted: 0x0213,
    Refusal: 0x0110,
}
"""PS3.7 Annex C, for what went wrong before it was about the UPS."""


def status_of(refusal: Refusal) -> int:
    """Give the DIMSE status of a refusal.

    Examples
    --------
    >>> hex(status_of(refused(ALREADY_IN_PROGRESS))), hex(status_of(NotFound()))
    ('0xc302', '0xc307')
    """
    if isinstance(refusal, Refused):
        return refusal.failure.status
    return next(GENERAL[kind] for kind in type(refusal).__mro__ if kind in GENERAL)
