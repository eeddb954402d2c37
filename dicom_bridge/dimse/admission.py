"""Admission: who may associate: a peer we know, calling us by our name, from where it may.

References
----------
* PS3.8 Section 9.3.4 (A-ASSOCIATE-RJ: reasons), Table 9-21; PS3.7 Section D.3.3.7 (user identity)
"""

import contextlib
import logging
import time
from typing import Any, Final

from dicom_bridge import counting, tls
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import identity, peers, reactor
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.dimse.sender import Sender
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import Scopes
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from resources.errors import Refusal, Unauthenticated

LEAST_PDU: Final = 128
"""Maximum Length, in bytes, below which nothing useful can be sent to a peer (PS3.8 Annex D.1)."""

REJECTED_PERMANENT, REJECTED_TRANSIENT = 0x01, 0x02
BY_USER, BY_ACSE, BY_PRESENTATION = 0x01, 0x02, 0x03
NO_REASON, UNKNOWN_CALLING, CONGESTION, LOCAL_LIMIT = 0x01, 0x03, 0x01, 0x02
"""PS3.8 Table 9-21."""

_log = logging.getLogger(__name__)


class Admission:
    """Who may associate: a peer we know, calling us by our name, from where it may."""

    def __init__(self, bridge: Bridge, portal: Portal, *, anywhere: bool) -> None:
        self._bridge = bridge
        self._portal = portal
        self._anywhere = anywhere

    def handle(self, event: Any) -> None:
        """Admit the peer, or reject the association and audit that.

        pynetdicom goes on after a handler that failed: who could not be looked up is rejected.
        """
        began = time.perf_counter()
        try:
            self._decide(event.assoc)
        except Exception:
            self._reject(event.assoc, BY_PRESENTATION, CONGESTION)
            raise
        finally:
            is_in = getattr(event.assoc, "sender", None) is not None
            status = counting.SUCCESS if is_in else counting.REJECTED
            self._bridge.counting.note("association", status, began)

    def _decide(self, association: Any) -> None:
        if 0 < (association.requestor.maximum_length or 0) < LEAST_PDU:
            self._reject(association, BY_USER, NO_REASON)
            return
        calling = str(association.requestor.primitive.calling_ae_title).strip()
        address = str(association.requestor.address)
        try:
            peer = self._portal.call(peers.find(self._bridge.database, calling))
        except Refusal:
            self._reject(association, BY_PRESENTATION, CONGESTION)
            return
        called = str(association.requestor.primitive.called_ae_title).strip()
        shown: bytes = getattr(association.dul.socket, "certificate", bytes)()
        is_known = peer is not None and self._is_trusted(peer, address, shown)
        if peer is not None and is_known and called == self._bridge.ae_title:
            if _open_of(association.ae, peer.ae) >= reactor.MOST_OF_A_PEER:
                _log.warning("too many associations of one peer: one of %s is rejected", peer.ae)
                self._reject(association, BY_PRESENTATION, LOCAL_LIMIT, REJECTED_TRANSIENT)
                return
            self._admit(association, peer, address, is_safe=bool(shown) or peers.is_near(address))
            return
        reason = "called AE title" if called != self._bridge.ae_title else "calling AE title"
        with contextlib.suppress(Refusal):  # who is rejected is rejected, audited or not
            self._portal.call(
                self._audit(calling, peer, address, f"association rejected: {reason}")
            )
        if called == self._bridge.ae_title:
            self._reject(association, BY_USER, UNKNOWN_CALLING)

    def _admit(self, association: Any, peer: Peer, address: str, *, is_safe: bool) -> None:
        """Admit the peer, in the name of a person if it proves that.

        Parameters
        ----------
        is_safe
            Nobody reads what passes on the line: a passcode may.
        """
        item, identify = identity.asked(association), self._bridge.identify
        if item is None or identify is None:
            association.sender = Sender(peer, address)
            return
        try:
            if not is_safe:
                raise Unauthenticated("not over a line that others may read")
            proved = identity.proved(identify, item, peer.organization, address)
            association.sender = Sender(peer, address, self._portal.call(proved))
        except Unauthenticated as refusal:
            with contextlib.suppress(Refusal):
                detail = f"association rejected: {refusal.reason}"
                self._portal.call(self._audit(peer.ae, peer, address, detail))
            self._reject(association, BY_ACSE, NO_REASON)
        except Refusal:
            self._reject(association, BY_PRESENTATION, CONGESTION)
        else:
            identity.answer(association, item)

    def _is_trusted(self, peer: Peer, address: str, shown: bytes) -> bool:
        """Whether the line proves who calls: its certificate, or a place that is trusted.

        Parameters
        ----------
        shown
            The certificate that was shown, DER; empty on a line without TLS.
        """
        if not shown and peer.is_secure:
            return False
        if shown and not peer.shows(shown):
            return False
        if peer.certificate is not None or peer.subject is not None:
            return True
        if shown and self._portal.call(
            peers.is_of_another(self._bridge.database, peer, tls.fingerprint_of(shown))
        ):
            return False
        return self._anywhere or peers.is_near(address)

    def _reject(
        self, association: Any, source: int, reason: int, result: int = REJECTED_PERMANENT
    ) -> None:
        association.acse.send_reject(result, source, reason)
        association.kill()

    async def _audit(self, calling: str, claimed: Peer | None, address: str, detail: str) -> None:
        """Note a rejection; the organisation whose peer it claims to be can find it."""
        _log.warning("%s, from %s", detail, address)
        organization = claimed.organization if claimed is not None else None
        nobody = Principal(f"Peer/{calling}", organization, "device", Scopes(()))
        context = RequestContext(nobody, "association", origin=address)
        await self._bridge.ledger.append(
            ledger.entry(context, outcome=ledger.MINOR_FAILURE, detail=detail)
        )


def _open_of(ae: Any, title: str) -> int:
    """How many associations of a peer are open."""
    senders = (getattr(one, "sender", None) for one in ae.active_associations)
    return sum(sender is not None and sender.peer.ae == title for sender in senders)
