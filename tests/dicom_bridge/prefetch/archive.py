"""A PACS that stores, answers instance-level queries, and can be made to misbehave."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicom_bridge.dimse.peers import Peer
from tests.dicom_bridge.build import SOP_CLASSES
from tests.flows.installation import free_port

FIND, VERIFICATION = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.1"
PR = "1.2.840.10008.5.1.4.1.1.11.1"
KOS = "1.2.840.10008.5.1.4.1.1.88.59"
PLAIN = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]


class Pacs:
    """What it holds, by SOP Instance UID, and how it answers a C-STORE."""

    def __init__(self, ae: str = "PACS2", organization: str = "other") -> None:
        self.ae, self.organization, self.port = ae, organization, free_port()
        self.held: dict[str, Dataset] = {}
        self.stored: list[str] = []
        """Every C-STORE that it took, in order."""
        self.classes = {*SOP_CLASSES.values(), PR, KOS}
        self.answers: Callable[[str], int] = lambda uid: 0x0000
        self.aborts_after: int | None = None
        self.forgets: set[str] = set()
        """What it says it took, and did not keep."""
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.server: Any = None

    @property
    def peer(self) -> Peer:
        return Peer(self.ae, "127.0.0.1", self.port, self.organization, destination=True)

    def open(self) -> None:
        ae = AE(self.ae)
        ae.require_called_aet = True
        for sop_class in (VERIFICATION, FIND):
            ae.add_supported_context(sop_class)
        for sop_class in self.classes:
            ae.add_supported_context(sop_class, PLAIN)
        handlers: list[Any] = [(evt.EVT_C_STORE, self.store), (evt.EVT_C_FIND, self.find)]
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def close(self) -> None:
        self.gate.set()
        if self.server is not None:
            self.server.shutdown()
            self.server = None

    def store(self, event: Any) -> int:
        self.began.set()
        self.gate.wait(60)
        uid = str(event.request.AffectedSOPInstanceUID)
        if self.aborts_after is not None and len(self.stored) >= self.aborts_after:
            self.aborts_after = None
            event.assoc.abort()
            return 0x0110
        status = self.answers(uid)
        if status == 0x0000:
            self.stored.append(uid)
            if uid not in self.forgets:
                self.held[uid] = event.dataset
        return status

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        assert asked.QueryRetrieveLevel == "IMAGE"
        for uid, ds in list(self.held.items()):
            own = (ds.StudyInstanceUID, ds.SeriesInstanceUID)
            if own == (asked.StudyInstanceUID, asked.SeriesInstanceUID):
                answer = Dataset()
                answer.SOPInstanceUID = uid
                yield 0xFF00, answer
