"""Configuration: who may do what is changed together with the row that tells of it, or not at all.

The row is written by the transaction that makes the change. Where that cannot be, because what is
changed is no row of the database, it is written before. It says what was done to what, and no
secret, password, key or address of a person.

References
----------
* DICOM PS3.15 Section A.5.3.11 (Security Alert); PS3.16 CID 403 (Security Configuration, User
  Security Attributes Changed)
* R014.1 of the requirements
"""

from typing import Final

from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Transaction

SECURITY: Final = "configuration"
"""The interaction that changes what applications, peers and keys may do; see `events`."""
PEOPLE: Final = "user-configuration"
"""The interaction that changes as whom people sign in, and in which roles."""


async def note(
    change: Transaction,
    context: RequestContext,
    detail: str,
    *,
    type: str | None = None,
    id: str | None = None,
    query: str | None = None,
) -> None:
    """Add the row of the ledger to a transaction that changes who may do what.

    Parameters
    ----------
    context
        Of the interaction `SECURITY` or `PEOPLE`.
    detail
        What is done to what.
    query
        The address at which somebody does it, if it is done at one.
    """
    row = ledger.entry(context, type=type, id=id, query=query, detail=detail)
    await change.run(ledger.INSERT, ledger.arrays([row]))
