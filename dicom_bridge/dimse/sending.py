"""Sending: instances that are held go out as they are stored, on whichever association.

References
----------
* PS3.7 Section 9.1.1 (C-STORE Service), 9.3.1.1 (C-STORE-RQ: Move Originator)
* RFC 896 (Nagle): its delay costs 40 ms a message, so TCP_NODELAY is set
"""

import socket
import time
from collections.abc import Iterable
from types import MethodType
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.transport import AddressInformation, AssociationSocket

from dicom_bridge.dimse.messages import StoredInstance

MOST_CONTEXTS: Final = 128
"""PS3.8 Section 9.3.2.2: identifiers are odd numbers up to 255."""


PAUSE_SECONDS: Final = 0.002
"""pynetdicom's thread looks a thousand times a second whether it is to pause."""


def send_stored(
    association: Any,
    instance: StoredInstance,
    msg_id: int,
    priority: int,
    originator_aet: str | None,
    originator_id: int | None,
) -> Dataset:
    """Send one instance from its file; the status of the answer, empty if none came.

    Raises
    ------
    ValueError
        The peer has accepted no presentation context for it.
    """
    if not association.is_established:
        raise RuntimeError("the association is over")
    path, offset, transfer_syntax = instance.place
    context = association._get_valid_context(
        instance.SOPClassUID, transfer_syntax, "scu", allow_conversion=False
    )
    request = C_STORE()
    request.MessageID, request.Priority = msg_id, priority
    request.MoveOriginatorApplicationEntityTitle = instance.originator or originator_aet
    request.MoveOriginatorMessageID = originator_id
    request.AffectedSOPClassUID = instance.SOPClassUID
    request.AffectedSOPInstanceUID = instance.SOPInstanceUID
    request._dataset_path = (path, offset)
    association.dimse.send_msg(request, int(context.context_id or 0))
    _, response = association.dimse.get_msg(block=True)
    if response is None:
        association.abort()
        return Dataset()
    status: Dataset = association._check_received_status(response)
    return status


def send_c_store(
    association: Any,
    dataset: Any,
    msg_id: int = 1,
    priority: int = 2,
    originator_aet: str | None = None,
    originator_id: int | None = None,
) -> Dataset:
    """Send an instance on an association that we requested, from its file if it is held."""
    if not isinstance(dataset, StoredInstance):
        send = type(association).send_c_store
        status: Dataset = send(
            association, dataset, msg_id, priority, originator_aet, originator_id
        )
        return status
    if association._reactor_checkpoint.is_set():
        _pause(association)
    return send_stored(association, dataset, msg_id, priority, originator_aet, originator_id)


def _pause(association: Any) -> None:
    """Let the association's own thread stay away from answers that we wait for.

    It stays paused until the association is released: pynetdicom would stop and start it for each
    instance, at ten milliseconds each.
    """
    association._reactor_checkpoint.clear()
    time.sleep(PAUSE_SECONDS)
    while not association._is_paused and association.is_established:
        time.sleep(PAUSE_SECONDS)


def prepared(association: Association) -> Association:
    """Let an association that we have requested send what is stored."""
    association.send_c_store = MethodType(send_c_store, association)  # type: ignore[method-assign]
    return association


class OutgoingSocket(AssociationSocket):
    """The socket of an association that we request: it sends at once, and is closed at the end."""

    def _create_socket(self, address: AddressInformation) -> socket.socket:
        made = super()._create_socket(address)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _shutdown_socket(self) -> None:
        super()._shutdown_socket()
        if self.socket is not None:
            self.socket.close()


def contexts_for(instances: Iterable[StoredInstance]) -> list[PresentationContext]:
    """Propose each class and transfer syntax that is to be sent, as far as there is room."""
    pairs = dict.fromkeys((str(one.SOPClassUID), str(one.place[2])) for one in instances)
    return [build_context(*pair) for pair in list(pairs)[:MOST_CONTEXTS]]
