"""SCP: our AE, its presentation contexts, and the table of handlers.

Who may associate is said by `admission`. Everything else is a row of `SERVICES`.

References
----------
* PS3.7 Annex D (association negotiation)
* PS3.4 Annexes A (Verification), B (Storage), C (Query/Retrieve), F (Modality Performed
  Procedure Step), J (Storage Commitment), K (Basic Worklist), CC (Unified Procedure Step)
"""

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, cast

from pydicom import config
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.transport import ThreadedAssociationServer

from dicom_bridge import counting, ingest, storage, tls
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import (
    commitment,
    find,
    general_purpose,
    models,
    mpps,
    reactor,
    retrieve,
    services,
    store,
    ups,
    ups_events,
    ups_find,
    worklist,
)
from dicom_bridge.dimse.admission import Admission
from dicom_bridge.dimse.announcer import Announcer
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.dimse.reporter import Reporter
from dicom_bridge.dimse.sender import Sender
from dicom_bridge.dimse.services import Service
from fhir_server.audit import ledger
from resources.errors import Refusal

MOST_PDU: Final = 1 << 17
"""Maximum Length that we announce, in bytes."""
VERIFICATION: Final = "1.2.840.10008.1.1"
PLAIN: Final = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))

SUCCESS: Final = 0x0000

_log = logging.getLogger(__name__)


class Port(NamedTuple):
    """Where a port is opened: a host, and a number, 0 for any free one."""

    host: str
    number: int


def handle_echo(event: Any, bridge: Bridge, portal: Portal) -> int:
    """Answer a C-ECHO request (PS3.4 Annex A), even if that cannot be audited now."""
    with contextlib.suppress(Refusal):
        portal.call(bridge.ledger.append(ledger.entry(event.assoc.sender.context("C-ECHO"))))
    bridge.counting.note("C-ECHO", counting.SUCCESS, time.perf_counter())
    return SUCCESS


SERVICES: Final[list[Service]] = [
    Service((VERIFICATION,), PLAIN, evt.EVT_C_ECHO, handle_echo),
    Service(
        tuple(sorted(storage.SOP_CLASSES)),
        storage.TRANSFER_SYNTAXES,
        evt.EVT_C_STORE,
        store.handle_store,
        both_roles=True,
    ),
    Service(tuple(models.FIND), PLAIN, evt.EVT_C_FIND, find.handle_find),
    Service(tuple(models.GET), PLAIN, evt.EVT_C_GET, retrieve.handle_get),
    Service(tuple(models.MOVE), PLAIN, evt.EVT_C_MOVE, retrieve.handle_move),
    Service((mpps.SOP_CLASS,), PLAIN, evt.EVT_N_CREATE, mpps.handle_create),
    Service((mpps.SOP_CLASS,), PLAIN, evt.EVT_N_SET, mpps.handle_set),
    Service((commitment.PUSH_MODEL,), PLAIN, evt.EVT_N_ACTION, commitment.handle_action),
    Service((worklist.MODALITY_WORKLIST,), PLAIN, evt.EVT_C_FIND, worklist.handle_worklist),
    Service(ups.EVERY, PLAIN, evt.EVT_N_CREATE, ups.handle_create),
    Service(ups.EVERY, PLAIN, evt.EVT_N_SET, ups.handle_set),
    Service(ups.EVERY, PLAIN, evt.EVT_N_GET, ups.handle_get),
    Service(ups.EVERY, PLAIN, evt.EVT_N_ACTION, ups.handle_action),
    Service(ups.EVERY, PLAIN, evt.EVT_C_FIND, ups_find.handle_find),
    Service(general_purpose.EVERY, PLAIN, evt.EVT_C_FIND, general_purpose.handle_find),
    Service(general_purpose.EVERY, PLAIN, evt.EVT_N_ACTION, general_purpose.handle_action),
    Service(general_purpose.EVERY, PLAIN, evt.EVT_N_CREATE, general_purpose.handle_create),
    Service(general_purpose.EVERY, PLAIN, evt.EVT_N_SET, general_purpose.handle_set),
    Service(general_purpose.EVERY, PLAIN, evt.EVT_N_GET, general_purpose.handle_get),
]
"""One row a service class: adding one is adding a row."""


async def run_dicom(
    bridge: Bridge,
    host: str,
    port: int,
    *,
    switch: str = reactor.AUTO,
    anywhere: bool = False,
    secure: Port | None = None,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Serve DICOM until cancelled; then finish what was received.

    Parameters
    ----------
    port
        0 for any free one.
    anywhere
        Take plain associations from other machines too; otherwise from loopback only.
    secure
        A second port, which speaks TLS with the files of the bridge.
    ready
        Called with the port once both are open.
    """
    portal = Portal(asyncio.get_running_loop())
    server = listen(bridge, portal, host, port, switch=switch, anywhere=anywhere)
    servers = [server]
    if secure is not None and bridge.tls is not None:
        also = tls.accepting(bridge.tls)
        servers.append(
            listen(
                bridge,
                portal,
                *secure,
                switch=switch,
                anywhere=anywhere,
                secured=also,
                ae=server.ae,
            )
        )
    leftovers = asyncio.ensure_future(_settle_leftovers(bridge))
    reporting = asyncio.ensure_future(cast(reactor.ApplicationEntity, server.ae).reporter.run())
    telling = asyncio.ensure_future(ups_events.UpsEvents(bridge, server.ae).run())
    announcing = asyncio.ensure_future(Announcer(bridge, server.ae).run())
    try:
        if ready is not None:
            ready(int(server.server_address[1]))
        await asyncio.get_running_loop().create_future()
    finally:
        leftovers.cancel()
        reporting.cancel()
        announcing.cancel()
        telling.cancel()
        for each in servers:
            await asyncio.to_thread(reactor.stop, each)
        await bridge.quiet.drained()
        bridge.intake.close()


async def _settle_leftovers(bridge: Bridge) -> None:
    """Settle what had arrived when a process like this one ended without doing so."""
    try:
        found = await ingest.settle_leftovers(bridge, older_than_seconds=0)
        _log.info("studies settled that had been left: %d", found)
    except Refusal as refusal:  # the worker comes back to it
        _log.warning("what was left is not settled yet: %s", refusal.reason)


def listen(
    bridge: Bridge,
    portal: Portal,
    host: str,
    port: int,
    *,
    switch: str = reactor.AUTO,
    anywhere: bool = False,
    secured: Any = None,
    ae: Any = None,
) -> ThreadedAssociationServer:
    """Open a port; `reactor.stop` closes it.

    Parameters
    ----------
    secured
        An SSLContext for a port that speaks TLS.
    ae
        Our AE, if it has opened another port already.
    """
    # Peers send what they send, and we tell what we hold: what matters of it is checked where
    # it is used, and a warning about the rest helps nobody.
    config.settings.reading_validation_mode = config.IGNORE
    config.settings.writing_validation_mode = config.IGNORE
    ae = ae or _entity(bridge, portal)
    handlers = [
        (event, services.served, [rows, bridge, portal])
        for event, rows in services.by_event(SERVICES).items()
    ]
    admission = Admission(bridge, portal, anywhere=anywhere)
    over = [(event, _over, [bridge, portal]) for event in (evt.EVT_RELEASED, evt.EVT_ABORTED)]
    requested = (evt.EVT_REQUESTED, admission.handle)
    every = [*handlers, requested, *over]
    return reactor.start(ae, (host, port), every, _contexts(), switch=switch, secured=secured)


def _entity(bridge: Bridge, portal: Portal) -> reactor.ApplicationEntity:
    """Make our AE, which both ports share: what it may do at once is counted for both."""
    ae = reactor.ApplicationEntity(bridge.ae_title)
    ae.files = bridge.tls
    ae.require_called_aet = True
    ae.maximum_pdu_size = MOST_PDU
    ae.maximum_associations = reactor.MOST_ASSOCIATIONS
    ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 10, 60, 120
    ae.connection_timeout = 10
    ae.open_spool = functools.partial(store.open_spool, bridge)
    ae.reporter = Reporter(bridge, ae)
    ae.keep_stored = functools.partial(store.keep, bridge, portal)
    return ae


@functools.cache
def _contexts() -> reactor.SharedContexts:
    return services.contexts_of(SERVICES)


def _over(event: Any, bridge: Bridge, portal: Portal) -> None:
    sender: Sender | None = getattr(event.assoc, "sender", None)
    if sender is not None:
        sender.is_done(bridge, portal)


def associations(server: ThreadedAssociationServer) -> Sequence[threading.Thread]:
    """The associations that are open now."""
    return server.active_associations
