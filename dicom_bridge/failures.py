"""Table: error -> status code, shared by C-STORE and the Failure Reason of STOW-RS.

References
----------
* PS3.4 Section B.2.3 (C-STORE statuses), PS3.18 Table I.2-2 (STOW-RS Failure Reasons)
* PS3.7 Annex C (general status codes; Error Comment has at most 64 characters)
"""

from typing import Final

from resources.errors import (
    Conflict,
    Exhausted,
    Forbidden,
    Invalid,
    NotDicom,
    NotFound,
    Refusal,
    Unauthenticated,
    Unsupported,
)

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
OUT_OF_RESOURCES: Final = 0xA700

FAILURE_REASON: Final[dict[type[Refusal], int]] = {
    NotDicom: 0xC000,
    Invalid: 0xA900,
    Unsupported: 0x0122,
    Unauthenticated: 0x0124,
    Forbidden: 0x0124,
    NotFound: 0x0112,
    Conflict: 0x0111,
    Exhausted: OUT_OF_RESOURCES,
    Refusal: PROCESSING_FAILURE,
}
"""PS3.4 Section B.2.3 and PS3.18 Table I.2-2; general codes from PS3.7 Annex C."""

TRANSFER_SYNTAX_NOT_SUPPORTED: Final = 0xC122
"""PS3.18 Table I.2-2; over an association the presentation context says it."""

FIND_OR_RETRIEVE: Final[dict[type[Refusal], int]] = {
    Invalid: 0xA900,
    Unsupported: 0x0122,
    Unauthenticated: 0x0124,
    Forbidden: 0x0124,
    Exhausted: 0xA700,
    Refusal: 0xC000,
}
"""PS3.4 Tables C.4-1 and C.4-3: "Identifier does not match SOP Class", "Out of Resources",
"Unable to process"."""

MOST_COMMENT: Final = 64


def failure_reason(refusal: Refusal) -> int:
    """Look a refusal up, or the nearest ancestor that the table names.

    Examples
    --------
    >>> hex(failure_reason(Exhausted("no room")))
    '0xa700'
    """
    if isinstance(refusal, Unsupported) and refusal.at == "TransferSyntaxUID":
        return TRANSFER_SYNTAX_NOT_SUPPORTED
    return _nearest(FAILURE_REASON, refusal)


def find_or_retrieve_status(refusal: Refusal) -> int:
    """The status of C-FIND, C-GET and C-MOVE for a refusal."""
    return _nearest(FIND_OR_RETRIEVE, refusal)


def comment(refusal: Refusal) -> str:
    """Error Comment (0000,0902): the reason, as far as it fits."""
    return refusal.reason[:MOST_COMMENT]


def _nearest(table: dict[type[Refusal], int], refusal: Refusal) -> int:
    return next(table[kind] for kind in type(refusal).__mro__ if kind in table)
