"""Storage commitment: N-ACTION asks for it, N-EVENT-REPORT tells, here or by a call of our own.

`dimse.reporter` tells.

References
----------
* PS3.4 Annex J: J.3.2 (N-ACTION), J.3.3 (N-EVENT-REPORT), Tables J.3-1 and J.3-2
"""

from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge import commitments
from dicom_bridge.bridge import Bridge
from dicom_bridge.commitments import PATIENCE, Item, Report
from dicom_bridge.dimse.find import failed
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.dimse.said import said
from dicom_bridge.instance import require_uid
from dicom_bridge.mapping.matching import text
from resources.errors import Invalid, Refusal

PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance of the Push Model (PS3.6 Annex A)."""
REQUEST: Final = 1
"""Action Type ID "Request Storage Commitment"."""
SUCCESSFUL, FAILURES_EXIST = 1, 2
"""Event Type IDs (PS3.4 Table J.3-2)."""

SUCCESS: Final = 0x0000
NO_SUCH_INSTANCE: Final = 0x0112
"""PS3.7 Annex C.5.13: that was asked of another SOP Instance than the well-known one."""
NO_SUCH_ACTION: Final = 0x0123
DUPLICATE: Final = 0x0131
"""PS3.3 Section C.14.1.1, "Duplicate transaction UID"."""


def handle_action(event: Any, bridge: Bridge, portal: Portal) -> tuple[int | Dataset, None]:
    """Answer a request for storage commitment, once it is kept."""
    if str(event.request.RequestedSOPInstanceUID) != INSTANCE:
        return NO_SUCH_INSTANCE, None
    if event.request.ActionTypeID != REQUEST:
        return NO_SUCH_ACTION, None
    association = event.assoc
    try:
        context = association.sender.context("storage-commitment")
        transaction_uid, items = read(said(event, "action_information"))
        due = context.instant + PATIENCE
        ae = association.sender.peer.ae
        kept = portal.call(
            commitments.keep(bridge.database, context, ae, transaction_uid, items, due)
        )
    except Refusal as refusal:
        status = failed(refusal)
        if isinstance(refusal, Invalid):
            status.Status = 0x0115  # PS3.7 Annex C.4.2: invalid argument value
        return status, None
    if not kept:
        return DUPLICATE, None
    association.ae.reporter.heard(association, transaction_uid)
    return SUCCESS, None


def read(information: Dataset) -> tuple[str, list[Item]]:
    """Read what is asked for (PS3.4 Table J.3-1).

    Raises
    ------
    Invalid
        A UID is missing or is none.
    """
    transaction_uid = require_uid(text(information.get("TransactionUID")), "TransactionUID")
    items = [
        Item(
            require_uid(text(item.get("ReferencedSOPClassUID")), "ReferencedSOPClassUID"),
            require_uid(text(item.get("ReferencedSOPInstanceUID")), "ReferencedSOPInstanceUID"),
        )
        for item in information.get("ReferencedSOPSequence") or ()
    ]
    return transaction_uid, items


def written(transaction_uid: str, report: Report, ae_title: str) -> tuple[int, Dataset]:
    """Write a report: its Event Type ID and Event Information (PS3.4 Table J.3-2)."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.RetrieveAETitle = ae_title
    if report.committed:
        ds.ReferencedSOPSequence = [_reference(item) for item in report.committed]
    if not report.failed:
        return SUCCESSFUL, ds
    ds.FailedSOPSequence = [_reference(item, reason) for item, reason in report.failed]
    return FAILURES_EXIST, ds


def _reference(item: Item, reason: int | None = None) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = item
    if reason is not None:
        ds.FailureReason = reason
    return ds
