"""Sender: the peer at the other end of an association, and the studies it is sending.

References
----------
* PS3.8 Section 7.1.1.4 (calling AE title)
"""

from dataclasses import dataclass, field
from functools import partial

from dicom_bridge import ingest
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse.identity import Person
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.portal import Portal
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from resources.errors import Forbidden


@dataclass
class Sender:
    """Who is associated, from which address, and what it stored so far."""

    peer: Peer
    address: str
    person: Person | None = None
    """In whose name the peer asks, if it proved that."""
    principal: Principal = field(init=False)
    studies: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.principal = self.person.principal if self.person else self.peer.principal

    @property
    def is_current(self) -> bool:
        """Whether what the association was admitted for still counts."""
        return self.person is None or self.person.counts

    def context(self, interaction: str) -> RequestContext:
        """The context of one request of this peer.

        Raises
        ------
        Forbidden
            What proved in whose name it asks has ended.
        """
        if not self.is_current:
            raise Forbidden("the proof of who is asking has ended", "", "login")
        return RequestContext(self.principal, interaction, origin=self.address)

    def sends(self, study_uid: str, bridge: Bridge, portal: Portal) -> None:
        """Note that instances of a study come on this association."""
        if study_uid not in self.studies:
            self.studies.add(study_uid)
            portal.loop.call_soon_threadsafe(bridge.quiet.sending, study_uid)

    def sent(self, study_uid: str, bridge: Bridge, portal: Portal) -> None:
        """Note that an instance of a study was received on this association."""
        if not bridge.quiet.heard(study_uid):
            settle = partial(ingest.settle_quietly, bridge)
            portal.loop.call_soon_threadsafe(bridge.quiet.arrived, study_uid, settle)

    def is_done(self, bridge: Bridge, portal: Portal) -> None:
        """The association is over: settle what only this peer was sending."""
        if self.studies:
            portal.tell(self._done(bridge))

    async def _done(self, bridge: Bridge) -> None:
        for study_uid in self.studies:
            bridge.quiet.done(study_uid, partial(ingest.settle_quietly, bridge))
