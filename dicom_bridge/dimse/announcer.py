"""Announcer: tells peers that ask for it which instances can be had from us.

References
----------
* PS3.4 Section R.3.2 (N-CREATE), R.3.2.4 (statuses); PS3.7 Annex C
"""

import logging
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import build_context

from dicom_bridge import availability
from dicom_bridge.availability import Due
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import peers
from dicom_bridge.dimse.calls import Calls
from dicom_bridge.dimse.peers import Peer
from fhir_server.context import RequestContext, now
from resources.errors import NotFound, Refusal

SOP_CLASS: Final = "1.2.840.10008.5.1.4.33"
LOOK_SECONDS: Final = 5.0
"""How often it is looked for studies that have become available."""

SUCCESS: Final = 0x0000
TOLD_BEFORE: Final = 0x0111
"""It was told, and we have died before we heard so: PS3.7 Annex C, duplicate SOP Instance."""

_log = logging.getLogger(__name__)


class Announcer:
    """Notifications of one process; several may share the work.

    Parameters
    ----------
    ae
        Our AE, for associations of our own.
    """

    def __init__(self, bridge: Bridge, ae: Any) -> None:
        self._bridge = bridge
        self._ae = ae
        self._calls = Calls(
            "availability is not told",
            lambda busy: availability.take(bridge.database, now(), busy),
            self._serve,
            lambda one: one.peer,
            lambda busy: availability.next_due(bridge.database, now(), busy),
            LOOK_SECONDS,
        )

    async def run(self) -> None:
        """Tell what is due until cancelled."""
        await self._calls.run()

    async def _serve(self, one: Due) -> None:
        if await self._tell(one):
            await availability.done(self._bridge.database, one)
        elif not await availability.again(self._bridge.database, one, now()):
            _log.error("%s is never told of a study", one.peer)

    async def _tell(self, one: Due) -> bool:
        """Tell a peer of a study, if it still wants that and may know of it; False to try again."""
        peer = await peers.find(self._bridge.database, one.peer)
        if peer is None or not peer.informed:
            return True
        context = RequestContext(peer.principal, "notification", origin=peer.host)
        try:
            ds = await availability.notification(self._bridge, context, one.study_uid)
        except NotFound:
            return True
        try:
            return await self._calls.call(self._call, peer, ds, one.uid)
        except (OSError, RuntimeError, ValueError, Refusal) as error:
            _log.warning("%s cannot be told of a study: %s", peer.ae, type(error).__name__)
            return False

    def _call(self, peer: Peer, ds: Dataset, uid: str) -> bool:
        context = build_context(SOP_CLASS, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        association = self._ae.call(peer, [context])
        if not association.is_established:
            return False
        try:
            status, _ = association.send_n_create(ds, SOP_CLASS, uid)
        finally:
            association.release()
        return status.get("Status") in (SUCCESS, TOLD_BEFORE)
