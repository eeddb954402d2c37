"""C-STORE: the way in for modalities and other archives.

References
----------
* PS3.4 Annex B (Storage Service Class), B.2.3 (statuses)
* PS3.7 Section 9.1.1 (C-STORE Service)
"""

import logging
import time
from typing import Any

from pydicom.dataset import Dataset

from dicom_bridge import failures, ingest
from dicom_bridge.bridge import Bridge
from dicom_bridge.counting import status_of
from dicom_bridge.dimse.messages import DataSetFile
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.dimse.sender import Sender
from dicom_bridge.spool import Spool, made_meta
from resources.errors import Refusal

_log = logging.getLogger(__name__)


def open_spool(bridge: Bridge, context: Any, command_set: Any) -> Spool:
    """Begin the file of a data set that is about to arrive: file meta information first."""
    announced = (str(command_set.AffectedSOPClassUID), str(command_set.AffectedSOPInstanceUID))
    meta = made_meta(*announced, str(context.transfer_syntax[0]))
    spool = bridge.blobs.spool()
    spool.begin(*announced, str(context.transfer_syntax[0]), meta)
    return spool


def handle_store(event: Any, bridge: Bridge, portal: Portal) -> Dataset:
    """Take in what a peer stored, where pynetdicom served the request."""
    file: DataSetFile | None = event.request._dataset_file
    spool = file.spool if file is not None else _spooled(event, bridge)
    status, comment = keep(bridge, portal, event.assoc, spool)
    return _status(status, comment)


def keep(bridge: Bridge, portal: Portal, association: Any, spool: Spool) -> tuple[int, str]:
    """Take in what a peer stored; success only once it is durable. Says status and comment."""
    began = time.perf_counter()
    status, comment = _kept(bridge, portal, association.sender, spool)
    bridge.counting.note("C-STORE", status_of(status), began)
    return status, comment


def _kept(bridge: Bridge, portal: Portal, sender: Sender, spool: Spool) -> tuple[int, str]:
    try:
        one = ingest.keep(bridge.blobs, spool)
        context = sender.context("C-STORE")
        sender.sends(one.study_uid, bridge, portal)
        if ingest.receive_here(bridge, one, context):
            sender.sent(one.study_uid, bridge, portal)
        else:
            portal.call(ingest.receive(bridge, one, context))
    except Refusal as refusal:
        _log.info("C-STORE from %s refused: %s", sender.peer.ae, refusal.reason)
        return failures.failure_reason(refusal), failures.comment(refusal)
    except Exception:
        _log.exception("C-STORE from %s failed", sender.peer.ae)
        return failures.PROCESSING_FAILURE, ""
    return failures.SUCCESS, ""


def _spooled(event: Any, bridge: Bridge) -> Spool:
    """The data set as a spool where pynetdicom's own acceptor left it in memory."""
    spool = open_spool(bridge, event.assoc._accepted_cx[event.context.context_id], _named(event))
    spool.write(event.request.DataSet.getbuffer())
    return spool


def _named(event: Any) -> Dataset:
    ds = Dataset()
    ds.AffectedSOPClassUID = event.request.AffectedSOPClassUID
    ds.AffectedSOPInstanceUID = event.request.AffectedSOPInstanceUID
    return ds


def _status(code: int, comment: str = "") -> Dataset:
    ds = Dataset()
    ds.Status = code
    if comment:
        ds.ErrorComment = comment
    return ds
