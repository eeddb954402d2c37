"""C-FIND of Unified Procedure Steps: who is to do what, and who does.

References
----------
* PS3.4 Section CC.2.8 (C-FIND), Table CC.2.8-1 (statuses)
"""

import logging
from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse.find import CANCELLED, PENDING, failed
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.mapping import return_keys
from dicom_bridge.ups import reading
from resources.errors import Refusal

Answers = Iterator[tuple[int | Dataset, Dataset | None]]

_log = logging.getLogger(__name__)


def handle_find(event: Any, bridge: Bridge, portal: Portal) -> Answers:
    """Answer a query for UPSs, one by one."""
    sender = event.assoc.sender
    try:
        keys = event.identifier
        if "TransactionUID" in keys:  # a lock is not looked for, and not told
            del keys.TransactionUID
        for ds in portal.call(reading.search(bridge, sender.context("UPS C-FIND"), keys)):
            if event.is_cancelled:
                yield CANCELLED, None
                return
            yield PENDING, return_keys.answer(keys, ds)
    except Refusal as refusal:
        yield failed(refusal), None
    except Exception:
        _log.exception("the query for steps of %s failed", sender.peer.ae)
        yield failed(Refusal("the worklist could not be answered")), None
