"""A bridge on a database of its own, two peers of two organisations, and an open DICOM port."""

import asyncio
import functools
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from dicom_bridge import ingest
from dicom_bridge.blobs import Blobs
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers, reactor, scp
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.intake import Received
from fhir_server.access.principal import Principal
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.core import KEEPS
from fhir_server.postgres.database import Database
from fhir_server.search import query
from fhir_server.store.store import Hooks, Store
from resources import content
from tests import build
from tests.dicom_bridge.build import part10

Answer = TypeVar("Answer")

BASE = "http://127.0.0.1/fhir"
CT1 = Peer("CT1", "127.0.0.1", 11113, "lead")
CT2 = Peer("CT2", "127.0.0.1", 11114, "other")
_config.LOG_HANDLER_LEVEL = "none"


@pytest.fixture
async def bridge(database: Database, tmp_path: Path) -> AsyncIterator[Bridge]:
    """A bridge with the organisations `lead` (ZZ901) and `other` (ZZ902) and a peer of each."""
    ledger = Ledger(database)
    store = Store(database, ledger, Hooks(keeps=KEEPS), BASE)
    made = Bridge(database, store, ledger, Blobs(tmp_path / "blobs"))
    await write(made, build.an_organization("lead"), build.an_organization("other", ods="ZZ902"))
    await peers.add(database, CT1)
    await peers.add(database, CT2)
    yield made
    await made.quiet.drained()
    await made.crew.close()
    made.intake.close()


async def write(bridge: Bridge, *resources: dict[str, Any]) -> None:
    """Write resources under their ids, as the system."""
    async with bridge.store.begin(RequestContext(Principal.system("test"), "update")) as work:
        for resource in resources:
            await work.update(resource["resourceType"], resource["id"], content.made(resource))


async def found(bridge: Bridge, type_: str, **criteria: str) -> list[dict[str, Any]]:
    """Search as the system."""
    asked = query.parse(
        type_, [(k.replace("__", ":"), v) for k, v in criteria.items()], strict=True
    )
    page = await bridge.store.search(RequestContext(Principal.system("test"), "search-type"), asked)
    return [stored.json for stored in page.matches]


async def take_in(bridge: Bridge, ds: Dataset, peer: Peer = CT1, way: str = "C-STORE") -> Received:
    """Bring an instance through `keep` and `receive`, without a network."""
    spool = bridge.blobs.spool()
    spool.write(part10(ds))
    one = await asyncio.to_thread(ingest.keep, bridge.blobs, spool)
    return await ingest.receive(bridge, one, RequestContext(peer.principal, way, "127.0.0.1"))


@dataclass
class Archive:
    """An open DICOM port of a bridge."""

    bridge: Bridge
    server: ThreadedAssociationServer
    port: int

    async def call(self, function: Callable[..., Answer], *args: Any, **kwargs: Any) -> Answer:
        """Run what blocks (a client) in a thread of its own."""
        return await asyncio.to_thread(functools.partial(function, *args, **kwargs))

    def associate(
        self, *contexts: tuple[str, str], calling: str = "CT1", called: str = "ISOCENTRE"
    ) -> Association:
        """Request an association with pynetdicom's own requestor."""
        ae = AE(calling)
        ae.acse_timeout = ae.dimse_timeout = 10
        for sop_class, transfer_syntax in contexts or ((scp.VERIFICATION, scp.PLAIN[0]),):
            ae.add_requested_context(sop_class, transfer_syntax)
        return ae.associate("127.0.0.1", self.port, ae_title=called)

    def send(self, *instances: Dataset, calling: str = "CT1") -> list[Dataset]:
        """Send instances on one association; their statuses."""
        wanted = {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in instances}
        association = self.associate(*sorted(wanted), calling=calling)
        assert association.is_established
        try:
            return [association.send_c_store(ds) for ds in instances]
        finally:
            association.release()

    def echo(self) -> int:
        """The status of a C-ECHO on an association of its own."""
        association = self.associate()
        assert association.is_established
        try:
            return int(association.send_c_echo().Status)
        finally:
            association.release()


@pytest.fixture(params=[reactor.AUTO])
async def archive(bridge: Bridge, request: pytest.FixtureRequest) -> AsyncIterator[Archive]:
    """An open DICOM port, event-driven unless the test asks for pynetdicom's own acceptor."""
    portal = Portal(asyncio.get_running_loop())
    server = scp.listen(bridge, portal, "127.0.0.1", 0, switch=request.param)
    yield Archive(bridge, server, int(server.server_address[1]))
    await asyncio.to_thread(reactor.stop, server)
    await bridge.quiet.drained()


def plain(ds: Dataset) -> tuple[UID, UID]:
    """The presentation context that an instance needs."""
    return ds.SOPClassUID, ds.file_meta.TransferSyntaxUID


@pytest.fixture(scope="session")
def dcmtk() -> str:
    """The folder of DCMTK's programs."""
    found = shutil.which("storescu", path="/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip("dcmtk is not installed")
    return str(Path(found).parent)
