"""What has ended and is of no more use: forgotten once a day.

A used code or refresh token stays until it would have ended anyway, so that its second use is
noticed; an authorisation stays, as a record of what a person allowed.
"""

from typing import Final

from fhir_server.postgres.database import Database
from smart_apps.authorization import (
    assertion,
    attempts,
    authorizations,
    launches,
    registration,
    sign_ins,
    upstream,
)

ENDED: Final = (
    assertion.SWEEP,
    launches.SWEEP,
    registration.SWEEP,
    sign_ins.SWEEP,
    upstream.SWEEP,
    *authorizations.SWEEP,
)


async def sweep(database: Database, instant: int) -> None:
    """Delete what had ended by `instant`."""
    ago = instant - attempts.WITHIN_SECONDS * 1_000_000
    statements = [(each, (instant,)) for each in ENDED]
    await database.run_all([*statements, (attempts.SWEEP, (ago,))])
