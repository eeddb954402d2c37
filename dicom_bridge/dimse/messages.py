"""Messages: pynetdicom's DIMSE provider, with data sets streamed to a spool and sent from files.

References
----------
* PS3.7 Section 6.3 (Message structure), PS3.8 Annex E (fragmentation into PDVs)
"""

import functools
import logging
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import dimse, dimse_messages, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from dicom_bridge.dimse import commands, receiving
from dicom_bridge.dimse.commands import COMMAND, LAST
from dicom_bridge.dimse.receiving import Receiving
from dicom_bridge.dimse.waking import WakingQueue
from dicom_bridge.spool import Spool

MOST_MAPPED: Final = 1 << 25
"""Largest file that is sent in one write, in bytes; larger ones go PDU by PDU."""
MOST_IN_MEMORY: Final = 1 << 24
"""Largest command set or identifier, in bytes; stored data sets go to the disk."""
MOST_WAITING: Final = 256
"""Requests that may wait on one association; we negotiate that there is one (PS3.7 D.3.3.3)."""

_log = logging.getLogger(__name__)


class StoredInstance(Dataset):
    """What a C-GET or C-MOVE handler yields instead of a decoded data set: a file, sent as it is.

    Parameters
    ----------
    path, offset
        The file, and where its data set begins in bytes.
    originator
        AE title of who asked for it to be sent to another; pynetdicom would name us.
    """

    def __init__(
        self,
        path: Path,
        offset: int,
        sop_class: str,
        sop_uid: str,
        transfer_syntax: str,
        originator: str | None = None,
    ) -> None:
        super().__init__()
        self.SOPClassUID, self.SOPInstanceUID = UID(sop_class), UID(sop_uid)
        place = (path, offset, UID(transfer_syntax))
        object.__setattr__(self, "place", place)
        object.__setattr__(self, "originator", originator)


class DataSetFile:
    """A spool where pynetdicom expects the temporary file of a data set."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.file = self
        self.name = str(spool.path)
        self.write = spool.write
        self.discard = self.close = spool.discard

    def flush(self) -> None:
        """Nothing waits: what is written is with the system."""


class IncomingQueue(WakingQueue):
    """Requests that wait for the association's thread; C-STORE may be served at once instead."""

    def __init__(self, assoc: Any) -> None:
        super().__init__(assoc.wake)
        self._assoc = assoc

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Serve a C-STORE request in this thread if nothing stands before it, else queue it."""
        context_id, message = item
        if isinstance(message, C_STORE) and message.MessageID is not None:
            serve = functools.partial(self._assoc._serve_request, message, context_id)
            if self._assoc.serve_now(serve):
                return
        if len(self.queue) >= MOST_WAITING:
            _log.warning("an association ends: too many requests wait for their answer")
            discard(message)
            self._assoc.dul.event_queue.put("Evt19")
            return
        super().put(item, block, timeout)


class Messages(dimse.DIMSEServiceProvider):
    """The DIMSE provider of one association.

    Parameters
    ----------
    open_spool
        Begins the spool that the data set of a C-STORE request goes to, or None for memory.
    """

    def __init__(self, assoc: Any, open_spool: Callable[..., Spool] | None) -> None:
        super().__init__(assoc)
        self._open_spool = open_spool
        self._receiving: Receiving | None = None
        self.msg_queue = IncomingQueue(assoc)

    @property
    def dul(self) -> Any:
        """The upper layer of the association; an `UpperLayer`."""
        return self.assoc.dul

    def take(self, context_id: int, control: int, fragment: memoryview) -> bool:
        """Take one fragment, or a piece of one; False if no message can come of it."""
        if self._receiving is not None:
            return self._receive(self._receiving, context_id, control, fragment)
        message: Any = self.message
        if message is None and control == COMMAND | LAST:
            self._receiving = receiving.begun(self.assoc, context_id, bytes(fragment))
            if self._receiving is not None:
                return True
        is_command = bool(control & COMMAND)
        if message is not None and message.command_set:
            if is_command or context_id != message.context_id:
                return False  # PS3.8 Annex E: one message after the other, each on one context
            sink = message._data_set_file or message.data_set
            if sink is None or (sink is message.data_set and self._is_too_much(sink, fragment)):
                return False
            sink.write(fragment)
            if control & LAST:
                self._pass_on(context_id, b"\x02")
            return True
        if not is_command or context_id not in self.assoc._accepted_cx:
            return False
        held = message.encoded_command_set if message is not None else None
        if held is not None and self._is_too_much(held, fragment):
            return False
        try:
            self._pass_on(context_id, bytes((control,)) + fragment)
            message = self.message
            if message is not None and isinstance(message, dimse_messages.C_STORE_RQ):
                self._spool(message, context_id)
        except Exception as error:  # whatever comes of a command set that is none
            _log.warning("a command set cannot be understood: %s", type(error).__name__)
            return False
        return True

    def abandon(self) -> None:
        """The association ended: drop the data set that was arriving."""
        if self._receiving is not None:
            self._receiving.spool.discard()
        message: Any = self.message
        if message is not None and message._data_set_file is not None:
            message._data_set_file.discard()

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message in one write where that is possible, else the original way."""
        buffers = self._buffers(primitive, context_id)
        if buffers is None or not self.dul.send_now(buffers):
            super().send_msg(primitive, context_id)

    def _receive(
        self, stored: Receiving, context_id: int, control: int, fragment: memoryview
    ) -> bool:
        """Take the next piece of a data set that is being stored; answer after the last one."""
        if control & COMMAND or context_id != stored.context_id:
            return False
        stored.spool.write(fragment)
        if control & LAST:
            self._receiving = None
            assoc: Any = self.assoc
            if not assoc.serve_now(functools.partial(self._keep, stored)):
                file = DataSetFile(stored.spool)
                self.msg_queue.put((context_id, stored.primitive(file)))
        return True

    def _keep(self, stored: Receiving) -> None:
        ae: Any = self.assoc.ae
        try:
            status, comment = ae.keep_stored(self.assoc, stored.spool)
        finally:
            stored.spool.discard()
        if not self.assoc.is_established:
            return
        command = commands.store_response(stored.request, status, comment)
        buffers = commands.framed(stored.context_id, COMMAND, command, self.maximum_pdu_size)
        if not self.dul.send_now(buffers):
            super().send_msg(stored.response(status, comment), stored.context_id)

    def _buffers(self, primitive: Any, context_id: int) -> list[bytes | memoryview] | None:
        table = (
            dimse._RQ_TO_MESSAGE
            if primitive.MessageIDBeingRespondedTo is None
            else dimse._RSP_TO_MESSAGE
        )
        name = table[primitive.__class__].__name__
        if name not in commands.FIELDS or self.assoc._handlers.get(evt.EVT_DIMSE_SENT):
            return None
        most = self.maximum_pdu_size
        keyword = dimse_messages._DATASET_KEYWORDS.get(name)
        data = getattr(primitive, keyword) if keyword else None
        place = primitive._dataset_path if name == "C_STORE_RQ" else None
        content = data.getbuffer() if data is not None else _mapped(place) if place else None
        if place and content is None:
            return None
        command = commands.encoded(primitive, name, has_data_set=bool(content))
        if command is None:
            return None
        buffers = commands.framed(context_id, COMMAND, command, most)
        return buffers + commands.framed(context_id, 0, content, most) if content else buffers

    def _pass_on(self, context_id: int, fragment: bytes) -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context_id, fragment))
        self.receive_primitive(primitive)

    def _spool(self, message: Any, context_id: int) -> None:
        if self._open_spool is not None and message._data_set_file is None:
            context = self.assoc._accepted_cx[context_id]
            spool = self._open_spool(context, message.command_set)
            message._data_set_file = DataSetFile(spool)
            message._data_set_path = spool.path

    @staticmethod
    def _is_too_much(held: Any, fragment: memoryview) -> bool:
        return bool(held.tell() + len(fragment) > MOST_IN_MEMORY)


def discard(message: Any) -> None:
    """Remove the data set that a message brought, unless it was kept."""
    spool = getattr(message, "_dataset_file", None)
    if spool is not None:
        spool.discard()


def _mapped(place: tuple[Path, int]) -> memoryview | None:
    """A file's data set without reading it; None if it is too large for that, or empty."""
    path, offset = place
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if not 0 < size - offset <= MOST_MAPPED:
            return None
        return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))[offset:]
