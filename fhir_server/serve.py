"""Serve: the whole server, from its data folder and ports to its processes, and back.

The order is: hold the data folder and the ports, start PostgreSQL unless another is named, migrate,
start the roles, say so when all are ready. It ends in the reverse order.

signal(7), socket(7).
"""

import errno
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Final

from dicom_bridge import tls
from fhir_server import installation, metrics
from fhir_server.access.token import Keys
from fhir_server.installation import Addresses, Served
from fhir_server.postgres.embedded import Postmaster, embedded, running, sole_server
from fhir_server.seat import share
from fhir_server.settings import Address, Settings
from fhir_server.store import privileges
from fhir_server.supervisor import Charge, Supervisor
from resources.errors import Conflict, Forbidden

BIND_SECONDS: Final = 3.0
"""How long a port may still be held by processes of a server that was killed."""
BACKLOG: Final = 1024
MOST_GAPS: Final = 3
"""Of what the database role could do, so much is told."""

_log = logging.getLogger(__name__)


def serve(settings: Settings, announce: Callable[[Served], None]) -> None:
    """Run the whole server until SIGTERM or SIGINT.

    Raises
    ------
    Conflict
        Another server runs on the data folder, or a port is taken.
    Invalid
        DICOM over TLS is asked for without a certificate that it can use.
    Forbidden
        The DICOM port would be open beyond this machine, and nobody said that it may be.
    Exhausted
        The database or a role does not start.
    """
    if not settings.dicom_address.is_loopback and not settings.dicom_plain:
        raise Forbidden(
            f"Plain DICOM on {settings.dicom} would be open to other machines, unencrypted; "
            "set ISOCENTRE_DICOM_PLAIN=true if that is meant."
        )
    with ExitStack() as stack:
        signals = stack.enter_context(_signals())
        stack.enter_context(sole_server(settings.data_dir))
        http = stack.enter_context(closing(_reserve(settings.http_address, "HTTP")))
        dicom = stack.enter_context(closing(_reserve(settings.dicom_address, "DICOM")))
        opened = {"http": _name(http), "dicom": _name(dicom)}
        if (address := settings.dicom_tls_address) and (files := settings.dicom_tls_files):
            tls.accepting(tls.Files(*files))
            secure = stack.enter_context(closing(_reserve(address, "DICOM TLS")))
            opened["dicom_tls"] = _name(secure)
        settings = settings.model_copy(update=opened)
        metrics.clear(settings.data_dir)
        Keys.load(settings.data_dir)
        while not _is_told(signals) and _run(settings, signals, announce):
            _log.error("PostgreSQL was lost: everything is started again")


def _run(settings: Settings, signals: socket.socket, announce: Callable[[Served], None]) -> bool:
    """Run database and roles until a signal comes; True: the database was lost."""
    with _database(settings) as (database, postmaster):
        if _is_told(signals):
            return False
        installation.migrate(database)
        if gaps := privileges.gaps(database.server):
            _log.warning(
                "the database role of the server could change the audit ledger (%s); "
                "see ISOCENTRE_DATABASE_OWNER_URL",
                ", ".join(gaps[:MOST_GAPS]),
            )
        served = Served(
            settings.url, settings.http, settings.dicom, settings.database_url, settings.dicom_tls
        )
        installation.write_down(settings.data_dir, served)
        charges = [
            *(Charge("http", number) for number in range(settings.http_workers)),
            *(Charge("dicom", number) for number in range(settings.dicom_workers)),
            Charge("worker", 0),
        ]
        supervisor = Supervisor(
            settings, database.server, postmaster, charges, lambda: announce(served)
        )
        supervisor.run(signals)
        return supervisor.without_database and not _is_told(signals)


@contextmanager
def _database(settings: Settings) -> Iterator[tuple[Addresses, Postmaster | None]]:
    """Give the database, and the process to watch if it is the embedded one."""
    if settings.database_url:
        yield installation.addresses_of(settings), None
        return
    with embedded(settings.data_dir) as url:
        found = installation.addresses_of(settings, url)
        yield found, running((settings.data_dir / "pg").resolve())


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Turn SIGTERM and SIGINT into something to select on, from now on."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    handlers = {each: signal.signal(each, _noted) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield ours
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
        signal.set_wakeup_fd(before)
        ours.close()
        theirs.close()


def _noted(number: int, frame: object) -> None:
    """Let a signal do nothing but wake the selector."""


def _is_told(signals: socket.socket) -> bool:
    """Whether a signal to stop has come already."""
    with selectors.DefaultSelector() as selector:
        selector.register(signals, selectors.EVENT_READ)
        return bool(selector.select(0))


def _reserve(address: Address, name: str) -> socket.socket:
    """Hold a port that nobody else uses for processes that each listen on it.

    The socket does not listen, so no connection is ever given to it.
    """
    with _listen(address, name) as probe:
        free = Address(*probe.getsockname()[:2])
    return share(free)


def _listen(address: Address, name: str) -> socket.socket:
    """Open a port; wait a moment for one that a killed server's processes still hold.

    Raises
    ------
    Conflict
        It cannot be opened.
    """
    deadline = time.monotonic() + BIND_SECONDS
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    while True:
        try:
            return socket.create_server(address, family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise Conflict(f"The {name} port {address} cannot be opened: {reason}.") from error
            time.sleep(0.05)


def _name(listener: socket.socket) -> str:
    return str(Address(*listener.getsockname()[:2]))
