"""A DICOMweb service on a real socket, and ways to be somebody there."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import pytest
import uvicorn
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from starlette.applications import Starlette

from dicom_bridge import ingest
from dicom_bridge.bridge import Bridge
from dicom_bridge.dicomweb import router
from dicom_bridge.dimse.peers import Peer
from fhir_server.access.token import Keys, TokenChecker, mint
from tests.dicom_bridge.build import part10
from tests.dicom_bridge.conftest import take_in

Answer = TypeVar("Answer")

BODY_LIMIT = 4_000_000
LEAD = Peer("CT1", "127.0.0.1", 11113, "lead")


@dataclass
class Service:
    """A running service of a bridge.

    Parameters
    ----------
    address
        ``http://127.0.0.1:port``
    """

    bridge: Bridge
    address: str
    keys: Keys
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"{self.address}/dicom-web"

    def token(
        self,
        organization: str = "lead",
        scope: str = "system/*.cruds",
        role: str = "application",
        **more: Any,
    ) -> str:
        return mint(
            self.keys,
            self.address,
            subject="Client/test",
            client="test",
            scope=scope,
            organization=organization,
            role=role,
            **more,
        )

    def client(self, *args: Any, **more: Any) -> httpx.AsyncClient:
        """An HTTP client with a token as `token` makes it."""
        headers = {"Authorization": f"Bearer {self.token(*args, **more)}"}
        client = httpx.AsyncClient(base_url=self.base, headers=headers, timeout=30)
        self.clients.append(client)
        return client

    def foreign(self, *args: Any, **more: Any) -> DICOMwebClient:
        """Somebody else's DICOMweb client; it blocks: use it in a thread."""
        headers = {"Authorization": f"Bearer {self.token(*args, **more)}"}
        return DICOMwebClient(self.base, headers=headers)

    async def hold(self, *instances: Dataset, peer: Peer = LEAD) -> None:
        """Take instances in and settle their studies."""
        for ds in instances:
            await take_in(self.bridge, ds, peer)
        for study_uid in {str(ds.StudyInstanceUID) for ds in instances}:
            await ingest.settle(self.bridge, study_uid)


async def blocking(function: Callable[..., Answer], *args: Any, **more: Any) -> Answer:
    """Run what blocks in a thread of its own."""
    return await asyncio.to_thread(lambda: function(*args, **more))


@pytest.fixture
async def service(bridge: Bridge, keys: Keys) -> AsyncIterator[Service]:
    """The service of a bridge, on a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        checker = TokenChecker(keys, address)
        routes = router.routes(bridge, checker, base_url=address, body_limit=BODY_LIMIT)
        config = uvicorn.Config(Starlette(routes=routes), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        running = Service(bridge, address, keys)
        yield running
        for client in running.clients:
            await client.aclose()
        server.should_exit = True
        await serving


def body(*instances: Dataset, boundary: str = "b-1") -> bytes:
    """A multipart/related payload of instances."""
    parts = [
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + part10(ds) + b"\r\n"
        for ds in instances
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


STOW = {
    "Content-Type": 'multipart/related; type="application/dicom"; boundary=b-1',
    "Accept": "application/dicom+json",
}
