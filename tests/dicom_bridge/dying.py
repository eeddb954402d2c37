"""A process that does one duty of the bridge, for tests that kill it."""

import asyncio
import sys
from pathlib import Path

from dicom_bridge import ingest
from dicom_bridge.blobs import Blobs
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import reactor
from dicom_bridge.dimse.announcer import Announcer
from dicom_bridge.reports.making import Making
from fhir_server.audit.ledger import Ledger
from fhir_server.core import KEEPS
from fhir_server.postgres.database import Database
from fhir_server.store.store import Hooks, Store
from tests.dicom_bridge.conftest import BASE


async def main(duty: str, url: str, folder: str) -> None:
    """Do it; nobody comes back from `announce`."""
    database = Database(url)
    await database.open()
    ledger = Ledger(database)
    store = Store(database, ledger, Hooks(keeps=KEEPS), BASE)
    bridge = Bridge(database, store, ledger, Blobs(Path(folder)))
    if duty == "announce":
        ae = reactor.ApplicationEntity("ISOCENTRE")
        ae.dimse_timeout = 60
        await Announcer(bridge, ae).run()
    elif duty == "settle":
        await ingest.settle_leftovers(bridge, older_than_seconds=-3600)
    else:
        await Making(bridge, BASE).work()
    await bridge.quiet.drained()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
