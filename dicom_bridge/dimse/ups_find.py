"""C-FIND of Unified Procedure Steps: who is to do what, and who does.

References
----------
* PS3.4 Section CC.2.8 (C-FIND), Table CC.2.8-1 (statuses)
"""

from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import find
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.ups import reading

Answers = Iterator[tuple[int | Dataset, Dataset | None]]


def handle_find(event: Any, bridge: Bridge, portal: Portal) -> Answers:
    """Answer a query for UPSs, one by one."""

    def look(keys: Dataset) -> list[Dataset]:
        if "TransactionUID" in keys:  # a lock is not looked for, and not told
            del keys.TransactionUID
        context = event.assoc.sender.context("UPS C-FIND")
        return portal.call(reading.search(bridge, context, keys))

    return find.worklist(event, "query for steps", look)
