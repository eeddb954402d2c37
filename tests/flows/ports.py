"""An open DICOM port on the record of the clinic, beside the server that answers over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset

from dicom_bridge.blobs import Blobs
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers, reactor, scp
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.portal import Portal
from fhir_server.audit.ledger import Ledger
from fhir_server.core import KEEPS
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from resources import codes
from tests.build import nhs_number
from tests.dicom_bridge.conftest import Archive
from tests.flows.clinic import Clinic
from tests.flows.partners import Partner

NUMBERS = count(88_000)
"""Of which NHS numbers are made."""


def a_number() -> str:
    """An NHS number that nobody of the demonstration, and nobody else of this run, has."""
    return nhs_number(next(NUMBERS))


def numbered(clinic: Clinic) -> None:
    """Give the patient such a number, by which their images are known."""
    number = {"system": codes.NHS_NUMBER, "value": a_number()}
    clinic.change("gp", clinic.get("gp", clinic.patient), identifier=[number])


class Port(NamedTuple):
    """A DICOM port on the record of the clinic, and the partner whose peer is CT2."""

    archive: Archive
    partner: Partner

    async def send(self, *instances: Dataset, calling: str = "CT2") -> list[int]:
        """Send what a peer has; it is settled when this returns."""
        said = await self.archive.call(self.archive.send, *instances, calling=calling)
        await self.archive.bridge.quiet.drained()
        return [int(status.Status) for status in said]


@asynccontextmanager
async def opened(clinic: Clinic, folder: Path) -> AsyncIterator[Port]:
    """Open one, to a peer of the lead (CT1) and to one of a new partner (CT2)."""
    database = Database(clinic._database_url, size=2)
    await database.open()
    ledger = Ledger(database)
    hooks = Workflow(clinic.server.base).hooks()._replace(keeps=KEEPS)
    store = Store(database, ledger, hooks, clinic.server.base)
    bridge = Bridge(database, store, ledger, Blobs(folder / "blobs"))
    partner = Partner(clinic, "acquires-for", "reports-for")
    await peers.add(database, Peer("CT1", "127.0.0.1", 11113, "northmoor"))
    await peers.add(database, Peer("CT2", "127.0.0.1", 11114, partner.id))
    server = scp.listen(bridge, Portal(asyncio.get_running_loop()), "127.0.0.1", 0)
    yield Port(Archive(bridge, server, int(server.server_address[1])), partner)
    await asyncio.to_thread(reactor.stop, server)
    await bridge.quiet.drained()
    await bridge.crew.close()
    bridge.intake.close()
    await database.close()
