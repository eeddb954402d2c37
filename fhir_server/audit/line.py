"""A row of the ledger as it is kept, and the id that its AuditEvent goes by.

FHIR R4 Resource.id.
"""

import re
from typing import Final, NamedTuple

_ID: Final = re.compile(r"([0-9]{1,15})-([0-9]{1,18})")


class Line(NamedTuple):
    """A row of the ledger as it is kept, with its number."""

    n: int
    instant: int
    interaction: str
    outcome: int
    subject: str
    organization: str | None
    client: str | None
    role: str
    origin: str
    request: str
    type: str | None
    id: str | None
    version: int | None
    patient: str | None
    query: str | None
    hits: int | None
    detail: str | None
    body: bytes | None
    purpose: str | None = None


def id_of(instant: int, n: int) -> str:
    """The id of an AuditEvent: its millisecond and its number, so that it is found by its key.

    Examples
    --------
    >>> id_of(1_795_489_200_123_000, 7), key_of("1795489200123-7"), key_of("x")
    ('1795489200123-7', (1795489200123000, 7), None)
    """
    return f"{instant // 1000}-{n}"


def key_of(id: str) -> tuple[int, int] | None:
    """The instant and the number that an id stands for; None if it is none of ours."""
    match = _ID.fullmatch(id)
    return (int(match[1]) * 1000, int(match[2])) if match else None
