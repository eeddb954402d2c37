"""Table: what can be wrong with a request about a general purpose step.

A step is a UPS in other words, so most of what is wrong is found there.

References
----------
* PS3.4-2009 Tables F.10.2-3 (N-ACTION), F.11.2-2 and F.11.2-3 (N-CREATE, N-SET); PS3.7 Annex C
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from dicom_bridge.ups import statuses
from dicom_bridge.ups.statuses import Failure, Warned
from resources.errors import Conflict, Refusal


class Status(NamedTuple):
    """A status and its sentence."""

    code: int
    sentence: str


SUCCESS: Final = 0x0000
NO_LONGER: Final = Status(0xA501, "The scheduled step may no longer be updated")
WRONG_TRANSACTION: Final = Status(0xA502, "The wrong Transaction UID is used")
ALREADY_IN_PROGRESS: Final = Status(0xA503, "The scheduled step is already IN PROGRESS")
NOT_IN_PROGRESS: Final = Status(0xA504, "The related scheduled step is not IN PROGRESS")
OTHER_TRANSACTION: Final = Status(0xA505, "The Transaction UID is not that of the scheduled step")
ENDED: Final = Status(0x0110, "The performed step may no longer be updated")
NOT_FINAL: Final = Status(0x0110, "What was performed has not been said")
DUPLICATE: Final = Status(0x0111, "There is a performed step of this UID")
NO_SUCH_STEP: Final = Status(0x0112, "There is no such step")
INVALID_VALUE: Final = Status(0x0106, "An attribute has a value that it cannot have")
INVALID_ARGUMENT: Final = Status(0x0115, "The action information is invalid")
UNKNOWN_PERFORMER: Final = Status(0x0115, "No human performer is known here at your organisation")
MISSING: Final = Status(0x0120, "An attribute is missing")

STATUSES: Final = (
    NO_LONGER, WRONG_TRANSACTION, ALREADY_IN_PROGRESS, NOT_IN_PROGRESS, OTHER_TRANSACTION, ENDED,
    NOT_FINAL, DUPLICATE, NO_SUCH_STEP, INVALID_VALUE, INVALID_ARGUMENT, UNKNOWN_PERFORMER, MISSING,
)  # fmt: skip
"""Each failure that we answer with; for the conformance statement."""

OF_UPS: Final[Mapping[Failure | Warned, Status]] = {
    statuses.NO_LONGER:           NO_LONGER,
    statuses.ALREADY_COMPLETED:   NO_LONGER,
    statuses.ALREADY_DONE:        NO_LONGER,
    statuses.ALREADY_CANCELED:    NO_LONGER,
    statuses.WRONG_TRANSACTION:   WRONG_TRANSACTION,
    statuses.NO_TRANSACTION:      WRONG_TRANSACTION,
    statuses.ALREADY_IN_PROGRESS: ALREADY_IN_PROGRESS,
    statuses.NOT_IN_PROGRESS:     INVALID_ARGUMENT,
    statuses.INVALID_ARGUMENT:    INVALID_ARGUMENT,
    statuses.NOT_FINAL:           NOT_FINAL,
    statuses.NO_SUCH_UPS:         NO_SUCH_STEP,
}  # fmt: skip
"""What is said of a UPS -> what is said of a general purpose step."""


class Refused(Conflict):
    """A request about a step is refused for a reason that the standard names."""

    status: Status


def refused(status: Status, at: str = "") -> Refused:
    """Make the refusal of a status."""
    refusal = Refused(status.sentence, at)
    refusal.status = status
    return refusal


def code_of(refusal: Refusal) -> int:
    """Give the DIMSE status of a refusal.

    Examples
    --------
    >>> hex(code_of(statuses.refused(statuses.ALREADY_IN_PROGRESS)))
    '0xa503'
    """
    if isinstance(refusal, Refused):
        return refusal.status.code
    if isinstance(refusal, statuses.Refused) and refusal.failure in OF_UPS:
        return OF_UPS[refusal.failure].code
    code = statuses.status_of(refusal)
    return NO_SUCH_STEP.code if code == statuses.NO_SUCH_UPS.status else code
