"""Receiving: a C-STORE request from its command to its answer, without objects between.

pynetdicom makes five objects of a C-STORE request before anybody sees it, and three of the
response. An archive gets hundreds in a second, all alike. Those that are just what PS3.7 says go
through here; whatever is unusual goes pynetdicom's way.

References
----------
* PS3.7 Section 9.1.1 (C-STORE service), 9.3.1 (C-STORE messages)
"""

from typing import Any, Final, NamedTuple

from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_STORE

from dicom_bridge import storage
from dicom_bridge.dimse import commands
from dicom_bridge.dimse.commands import StoreRequest
from dicom_bridge.spool import Spool

WATCHED: Final = (evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT)


class Receiving(NamedTuple):
    """A C-STORE request whose data set is arriving."""

    request: StoreRequest
    context_id: int
    spool: Spool

    def response(self, status: int, comment: str) -> Any:
        """The response as pynetdicom would send it."""
        primitive: Any = C_STORE()
        primitive.MessageIDBeingRespondedTo = self.request.MessageID
        primitive.AffectedSOPClassUID = UID(self.request.AffectedSOPClassUID)
        primitive.AffectedSOPInstanceUID = UID(self.request.AffectedSOPInstanceUID)
        primitive.Status = status
        primitive.ErrorComment = comment or None
        return primitive

    def primitive(self, file: Any) -> C_STORE:
        """The request as pynetdicom would have read it; `file` is its data set."""
        primitive = C_STORE()
        primitive.MessageID, primitive.Priority = self.request.MessageID, self.request.Priority
        primitive.AffectedSOPClassUID = UID(self.request.AffectedSOPClassUID)
        primitive.AffectedSOPInstanceUID = UID(self.request.AffectedSOPInstanceUID)
        primitive._dataset_file, primitive._dataset_path = file, self.spool.path
        return primitive


def begun(assoc: Any, context_id: int, command: bytes) -> Receiving | None:
    """Begin to receive what a command announces; None if it is no plain C-STORE request."""
    ae, context = assoc.ae, assoc._accepted_cx.get(context_id)
    if ae.keep_stored is None or context is None or not assoc.is_established:
        return None
    if context.abstract_syntax not in storage.SOP_CLASSES or any(
        assoc._handlers.get(event) for event in WATCHED
    ):
        return None
    request = commands.store_request(command)
    if request is None or request.AffectedSOPClassUID != context.abstract_syntax:
        return None
    return Receiving(request, context_id, ae.open_spool(context, request))
