"""The writer: batches that come together are written by one statement.

References
----------
* FHIR http, "Managing Resource Contention"
"""

from typing import Final

import psycopg
from psycopg.errors import UniqueViolation

from fhir_server.audit import ledger
from fhir_server.postgres.database import Database
from fhir_server.postgres.gathering import Gathering
from fhir_server.store.versions import Batch, statement
from resources.errors import Stale

UNIQUE_VERSION: Final = "version_type_id_version_key"


def refusal(error: Exception) -> Exception:
    """`Stale` if somebody else has just written that version, else the error itself."""
    if isinstance(error, UniqueViolation) and error.diag.constraint_name == UNIQUE_VERSION:
        return Stale("Somebody else has just changed this resource.")
    return error


class Writer:
    """Writes batches, those that come together with one statement.

    A statement that fails writes nothing; its batches are then tried one by one, so that each
    is refused for its own fault alone.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gathering: Gathering[Batch, None] = Gathering(self._write, lanes=2, most=32)

    async def write(self, batch: Batch) -> None:
        """Write a batch; it is durable when this returns."""
        await self._gathering.ask(batch)

    async def _write(self, batches: list[Batch]) -> list[Exception | None]:
        together = Batch(
            [row for batch in batches for row in batch.rows],
            [entry for batch in batches for entry in batch.entries],
        )
        try:
            await self._write_one(together)
        except psycopg.Error as error:
            if len(batches) == 1:
                return [refusal(error)]
            return [(await self._write([batch]))[0] for batch in batches]
        return [None] * len(batches)

    async def _write_one(self, batch: Batch) -> None:
        if batch.rows:
            await self._database.run(*statement(batch))
        elif batch.entries:
            await self._database.run(ledger.INSERT, ledger.arrays(batch.entries))
