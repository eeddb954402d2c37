"""Reporter: tells peers what we have committed ourselves to, on their association or on our own.

Who asked may stay to hear it. Who has hung up since is called at the address that is known of the
peer, again and again for some two days.

References
----------
* PS3.4 Section J.3.3 (N-EVENT-REPORT): on the same association or on another
"""

import asyncio
import logging
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import build_context

from dicom_bridge import commitments
from dicom_bridge.bridge import Bridge
from dicom_bridge.commitments import Asked
from dicom_bridge.dimse import peers
from dicom_bridge.dimse.calls import Calls
from dicom_bridge.dimse.commitment import INSTANCE, PUSH_MODEL, written
from dicom_bridge.dimse.peers import Peer
from fhir_server.context import RequestContext, now
from resources.errors import Refusal

LOOK_SECONDS: Final = 30.0
"""How often it is looked for reports that another process has left."""

_log = logging.getLogger(__name__)


class Reporter:
    """Reports of one process; several may share the work.

    Parameters
    ----------
    ae
        Our AE, for associations of our own.
    """

    def __init__(self, bridge: Bridge, ae: Any) -> None:
        self._bridge = bridge
        self._ae = ae
        self._loop = asyncio.get_running_loop()
        self._calls = Calls(
            "commitments are not reported",
            lambda busy: commitments.take(bridge.database, now(), busy, list(self._lines)),
            self._serve,
            lambda asked: asked.peer,
            lambda busy: commitments.next_due(bridge.database, now(), busy, list(self._lines)),
            LOOK_SECONDS,
        )
        self._lines: dict[tuple[str, str], Any] = {}

    def heard(self, association: Any, transaction_uid: str) -> None:
        """Note, from the association's thread, that a request was kept."""
        asked = (association.sender.peer.ae, transaction_uid)
        self._loop.call_soon_threadsafe(self._note, asked, association)

    def _note(self, asked: tuple[str, str], association: Any) -> None:
        """Remember over which association it was asked; those that have ended are forgotten.

        Another process may have reported what was asked of this one: then nobody takes it here.
        """
        ended = [one for one, line in self._lines.items() if not line.is_established]
        for one in ended:
            del self._lines[one]
        self._lines[asked] = association
        self._calls.hurry()

    async def run(self) -> None:
        """Report what is due until cancelled."""
        await self._calls.run()

    async def _serve(self, asked: Asked) -> None:
        line = self._lines.pop((asked.peer, asked.transaction_uid), None)
        if await self._report(asked, line):
            await commitments.done(self._bridge.database, asked)
        elif not await commitments.again(self._bridge.database, asked, now()):
            _log.error("a storage commitment of %s is never reported", asked.peer)

    async def _report(self, asked: Asked, line: Any) -> bool:
        """Work out what is held, and tell; False if nobody could be told."""
        peer = await peers.find(self._bridge.database, asked.peer)
        if peer is None:  # it may not call us any more, nor do we call it
            return True
        context = RequestContext(peer.principal, "storage-commitment", origin=peer.host)
        report = await commitments.report(self._bridge, context, asked)
        told = written(asked.transaction_uid, report, self._bridge.ae_title)
        try:
            if line is not None and await self._calls.call(_tell, line, *told):
                return True
            return await self._calls.call(self._call, peer, *told)
        except (OSError, RuntimeError, ValueError, Refusal) as error:
            _log.warning("%s cannot be told of a commitment: %s", peer.ae, type(error).__name__)
            return False

    def _call(self, peer: Peer, kind: int, information: Dataset) -> bool:
        """Tell on an association of our own."""
        context = build_context(PUSH_MODEL, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        association = self._ae.call(peer, [context])
        if not association.is_established:
            return False
        try:
            return _tell(association, kind, information)
        finally:
            association.release()


def _tell(association: Any, kind: int, information: Dataset) -> bool:
    """Tell on an association, if it is still one; whether the peer has understood."""
    if not association.is_established:
        return False
    try:
        status, _ = association.send_n_event_report(information, kind, PUSH_MODEL, INSTANCE)
    except (RuntimeError, ValueError):  # it has ended meanwhile
        return False
    return getattr(status, "Status", None) == 0x0000
