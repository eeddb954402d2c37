"""Reactor: pynetdicom made event-driven, behind a switch.

pynetdicom looks at every socket and queue a thousand times a second. Here its acceptor sleeps
until something happens, reads and writes in large pieces, and streams data sets to the disk. It
stays pynetdicom: its AE, its handlers, its state machine; only `AcceptedAssociation` and what it
is made of are ours. They rely on names that pynetdicom keeps private, so these are looked for at
the start, and if one is gone the original acceptor serves, more slowly.

References
----------
* PS3.8 Section 9.2; pynetdicom issues 59, 650, 917
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from pynetdicom import AE, _config, dimse, dimse_messages
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.presentation import PresentationContext
from pynetdicom.timer import Timer
from pynetdicom.transport import AssociationServer as OriginalServer
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from dicom_bridge import tls
from dicom_bridge.dimse import pausing, sending
from dicom_bridge.dimse.association import AcceptedAssociation
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.transport import AssociationServer
from dicom_bridge.tls import Files
from resources.errors import Unprocessable

AUTO: Final = "auto"
OFF: Final = "off"

# Everything of pynetdicom that is private and that the event-driven acceptor relies on.
PRIVATE: Final = (
    (Association, ("_run_reactor", "_serve_request", "_abort_blocking", "_get_valid_context")),
    (Association, ("_check_received_status", "run_reactor", "set_socket", "kill", "bind")),
    (ACSE, ("is_release_requested", "is_aborted", "send_release", "send_reject")),
    (DULServiceProvider, ("_read_pdu_data", "_process_recv_primitive", "_is_transport_event")),
    (DULServiceProvider, ("run_reactor", "stop_dul", "idle_timer_expired", "receive_pdu")),
    (AssociationSocket, ("recv", "ready", "close", "_create_socket", "_shutdown_socket")),
    (AE, ("_create_socket",)),
    (RequestHandler, ("_create_association",)),
    (OriginalServer, ("server_bind", "verify_request", "get_request")),
    (dimse, ("_RQ_TO_MESSAGE", "_RSP_TO_MESSAGE")),
    (dimse_messages, ("_COMMAND_SET_KEYWORDS", "_DATASET_KEYWORDS", "C_STORE_RQ")),
    (C_STORE, ("_dataset_path", "_dataset_file")),
    (Timer, ("remaining", "expired", "start", "restart")),
)

MOST_ASSOCIATIONS: Final = 300
MOST_OF_A_PEER: Final = 200
"""Associations of one peer: there is always room for another one."""
MOST_CONNECTIONS: Final = 400
POLL_SECONDS: Final = 0.2
"""How often the accepting thread looks whether it is to stop."""

_log = logging.getLogger(__name__)


class SharedContexts(list[PresentationContext]):
    """Presentation contexts that all associations share; pynetdicom would copy them for each."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedContexts":
        return self


class ApplicationEntity(AE):
    """Our AE; `open_spool` receives the data sets of C-STORE requests, None keeps them in memory.

    `keep_stored` takes an association and what was spooled, and says status and comment; without
    it, the handler of the event is asked. See `messages.Messages` for how they are called.
    `reporter` tells of storage commitments; `files` is what TLS takes.
    """

    files: Files | None = None
    open_spool: Callable[..., Any] | None = None
    keep_stored: Callable[..., tuple[int, str]] | None = None
    reporter: Any = None

    def associate(self, addr: Any, port: int, *args: Any, **kwargs: Any) -> Association:
        """Request an association; what is stored can be sent on it as it is."""
        return sending.prepared(pausing.guarded(super().associate(addr, port, *args, **kwargs)))

    def call(self, peer: Peer, contexts: Sequence[PresentationContext], **kwargs: Any) -> Any:
        """Request an association with a peer, over TLS if it is met so.

        Raises
        ------
        Unprocessable
            We have no certificate to show it.
        """
        line = self.line(peer)
        return self.associate(
            peer.host, peer.port, list(contexts), ae_title=peer.ae, **line, **kwargs
        )

    def line(self, peer: Peer) -> dict[str, Any]:
        """Give what `associate` takes to call a peer over TLS; nothing if it is called without.

        Raises
        ------
        Unprocessable
            As `call`.
        """
        if not peer.is_secure:
            return {}
        if self.files is None:
            raise Unprocessable("We have no certificate to call that peer over TLS", at="tls")
        is_known = peer.certificate is not None or peer.subject is not None
        context = tls.calling(self.files, peer.shows if is_known else None)
        return {"tls_args": (context, peer.host)}

    def _create_socket(self, assoc: Any, address: Any, tls_args: Any) -> AssociationSocket:
        made = sending.OutgoingSocket(assoc, address=address)
        made.tls_args = tls_args
        return made

    @property
    def active_associations(self) -> list[Association]:
        """Associations that are established: who has only called takes nobody's place."""
        return [one for one in super().active_associations if one.is_established]


def missing() -> list[str]:
    """Private names of pynetdicom that are not there; empty when all is well."""
    names = [
        f"{getattr(owner, '__name__', owner)}.{name}"
        for owner, names in PRIVATE
        for name in names
        if not hasattr(owner, name)
    ]
    return names if hasattr(os, "eventfd") else [*names, "os.eventfd"]


def is_on(switch: str = AUTO) -> bool:
    """Whether the event-driven acceptor is used; says why not, once, if it was asked for."""
    if switch == OFF:
        return False
    absent = missing()
    if absent:
        _log.warning("pynetdicom has changed (%s): its own acceptor is used", ", ".join(absent))
    return not absent


def start(
    ae: ApplicationEntity,
    address: tuple[str, int],
    handlers: Sequence[Any],
    contexts: SharedContexts,
    *,
    switch: str = AUTO,
    secured: Any = None,
) -> ThreadedAssociationServer:
    """Listen, and serve associations in threads of their own until `stop`.

    Parameters
    ----------
    address
        Host and port; other processes may listen on the same port.
    handlers
        Pairs of pynetdicom event and handler.
    contexts
        Presentation contexts that are supported.
    switch
        `AUTO` or `OFF`.
    secured
        An SSLContext for a port that speaks TLS.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    classes: dict[str, Any] = {"server_class": ThreadedAssociationServer}
    if is_on(switch):
        classes = {
            "server_class": AssociationServer,
            "association_class": AcceptedAssociation,
            "most_connections": MOST_CONNECTIONS,
        }
    server: ThreadedAssociationServer = ae.make_server(
        address, contexts=contexts, ssl_context=secured, evt_handlers=list(handlers), **classes
    )
    ae._servers.append(server)
    threading.Thread(
        target=server.serve_forever, args=(POLL_SECONDS,), name="AcceptorServer", daemon=True
    ).start()
    return server


def stop(server: ThreadedAssociationServer) -> None:
    """Stop listening, then abort the associations that are open (PS3.8 Section 7.3)."""
    associations = server.active_associations
    server.shutdown()
    for association in associations:
        if association.is_established:
            association.abort(block=False)
    for association in associations:
        association.join(2.0)
