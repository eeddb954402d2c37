"""Exports: orders and their files, wired once for those who ask for them.

HL7 Bulk Data Access 2.0.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from fhir_server.context import RequestContext
from fhir_server.export import orders
from fhir_server.export.files import Folder
from fhir_server.export.orders import Order
from fhir_server.export.work import work
from fhir_server.postgres.database import Database


class Exports:
    """The way to bulk exports.

    Parameters
    ----------
    root
        The folder in which the files are kept, seen by every process.
    base_url
        The public address of the FHIR base.
    """

    def __init__(self, database: Database, root: Path, base_url: str) -> None:
        self._database = database
        self._root = root
        self._base_url = base_url

    async def take(
        self,
        context: RequestContext,
        address: str,
        types: Sequence[str],
        *,
        patients: Sequence[str] | None = None,
        about_patients: bool = False,
        since: int = 0,
    ) -> str:
        """Take an order, and give its id; see `orders.take`."""
        return await orders.take(
            self._database,
            context,
            address,
            types,
            patients=patients,
            about_patients=about_patients,
            since=since,
        )

    async def find(self, context: RequestContext, id: str) -> Order:
        """Look at an order of the asker's own; see `orders.find`."""
        return await orders.find(self._database, context, id)

    async def cancel(self, context: RequestContext, id: str) -> None:
        """Cancel or forget an order of the asker's own, and delete its files."""
        await orders.cancel(self._database, context, id)
        await asyncio.to_thread(Folder(self._root, id).remove)

    async def read(self, id: str, name: str) -> bytes:
        """Read a file of an order that was found."""
        return await asyncio.to_thread(Folder(self._root, id).read, name)

    async def work(self) -> int:
        """Do what waits; for the worker role."""
        return await work(self._database, self._root, self._base_url)
