"""Since when studies have had images: the first version of each that says so.

References
----------
* R003.1 of the requirements; FHIR R4 ImagingStudy.status
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from fhir_server.postgres.database import Database, Texts
from resources.errors import Exhausted

SECONDS: Final = 20.0

FIRST: Final = """
SELECT id, min(instant) FROM version
WHERE type = 'ImagingStudy' AND id = ANY($1::text[]) AND body IS NOT NULL
  AND convert_from(body, 'UTF8')::json ->> 'status' = 'available'
GROUP BY id
"""


async def first(database: Database, ids: Sequence[str]) -> dict[str, int]:
    """Give the instant of each of some ImagingStudies that has any, microseconds since 1970 UTC.

    Raises
    ------
    Exhausted
        It took too long.
    """
    try:
        async with asyncio.timeout(SECONDS):
            rows = await database.run(FIRST, (Texts(ids),)) if ids else []
    except TimeoutError:
        raise Exhausted("Ask for a shorter period.", code="too-costly") from None
    return {str(id): int(instant) for id, instant in rows}
