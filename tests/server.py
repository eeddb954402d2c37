"""A real server: uvicorn on loopback, its database a fresh clone, tokens for anybody."""

import asyncio
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from fhir_server import repeating
from fhir_server.access.token import Keys, TokenChecker, mint
from fhir_server.audit.ledger import Ledger
from fhir_server.export.exports import Exports
from fhir_server.postgres.database import Database
from fhir_server.rest import router
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from smart_apps.decision_support.routes import DecisionSupport
from subscriptions.subscriptions import Subscriptions

BODY_LIMIT = 1024 * 1024
"""Octets; small, so that a test of the limit is quick."""


class Server:
    """Where a running server is, and how to be somebody there.

    Parameters
    ----------
    address
        ``http://127.0.0.1:port``; `base` is the FHIR base below it.
    exports
        Where it keeps the files of its exports.
    """

    def __init__(self, address: str, keys: Keys, exports: Path) -> None:
        self.address = address
        self.base = f"{address}/fhir"
        self.keys = keys
        self.exports = exports
        self._clients: dict[tuple[Any, ...], httpx.Client] = {}

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def token(
        self,
        role: str = "application",
        organization: str | None = "lead",
        *,
        scope: str = "system/*.cruds",
        patient: str | None = None,
        subject: str = "Client/test",
        lifetime: int = 3600,
    ) -> str:
        return mint(
            self.keys,
            self.address,
            subject=subject,
            client="test",
            scope=scope,
            organization=organization,
            role=role,
            patient=patient,
            lifetime=lifetime,
        )

    def client(self, *args: Any, **kwargs: Any) -> httpx.Client:
        """A client with a token as `token` makes it; the same one for the same arguments."""
        key = (*enumerate(args), *kwargs.items())
        if key not in self._clients:
            self._clients[key] = httpx.Client(
                base_url=self.base,
                headers={
                    "Authorization": f"Bearer {self.token(*args, **kwargs)}",
                    "Content-Type": "application/fhir+json",
                },
                timeout=30,
            )
        return self._clients[key]

    def stranger(self) -> httpx.Client:
        """A client without a token."""
        key = (("token", None),)
        if key not in self._clients:
            self._clients[key] = httpx.Client(base_url=self.base, timeout=30)
        return self._clients[key]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@contextmanager
def running(database_url: str, keys: Keys) -> Iterator[Server]:
    """Run a server on a free port of loopback until the block is left."""
    with (
        tempfile.TemporaryDirectory(prefix="isocentre-test-") as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        exports = Path(folder)
        application = _application(database_url, address, keys, exports)
        config = uvicorn.Config(application, log_level="warning", lifespan="on")
        process = uvicorn.Server(config)
        thread = threading.Thread(
            target=asyncio.run, args=(process.serve(sockets=[listener]),), daemon=True
        )
        thread.start()
        server = Server(address, keys, exports)
        try:
            _wait(server)
            yield server
        finally:
            server.close()
            process.should_exit = True
            thread.join(120)


def _application(url: str, address: str, keys: Keys, folder: Path) -> Starlette:
    database = Database(url, size=6)
    ledger = Ledger(database)
    base_url = f"{address}/fhir"
    store = Store(database, ledger, Workflow(base_url).hooks(), base_url)
    checker = TokenChecker(keys, address)
    exports = Exports(database, folder, base_url)
    subscriptions = Subscriptions(database, store, base_url)
    routes = router.routes(
        store, checker, ledger, exports, subscriptions, base_url=base_url, body_limit=BODY_LIMIT
    )
    routes += DecisionSupport(store, checker, ledger, repeating.DEFAULT, base_url).routes()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await database.open()
        yield
        await database.close()

    return Starlette(routes=routes, lifespan=lifespan)


def _wait(server: Server) -> None:
    """The listener exists already, so the first answer comes as soon as the server is up."""
    httpx.get(f"{server.base}/metadata", timeout=30).raise_for_status()
