"""SCU: what we ask of peers: are they there, what do they hold, will they send it, or take ours.

A study that is asked for comes to our own port, from the peer, as any other: through the one
ingest. Nothing is sent to a peer that its organisation may not read.

References
----------
* PS3.4 Annexes A (Verification), B (Storage), C.4.1 (C-FIND), C.4.2 (C-MOVE)
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext, build_context

from dicom_bridge import retrieval
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import reactor, retrieve, sending
from dicom_bridge.dimse.messages import StoredInstance
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.instance import require_uid
from dicom_bridge.mapping.matching import text
from fhir_server.access.principal import Principal
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from resources.errors import Exhausted, Invalid

VERIFICATION: Final = "1.2.840.10008.1.1"
FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
"""Study Root (PS3.4 Table C.6.2.3-1)."""
PLAIN: Final[list[str | UID]] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]

SUCCESS: Final = 0x0000
PENDING: Final = (0xFF00, 0xFF01)
WARNING: Final = 0xB000
MOST_ANSWERS: Final = 5000
"""Answers to a query that are listened to; then it is cancelled."""
MESSAGE: Final = 1
ANSWER_SECONDS: Final = 60
MOVE_SECONDS: Final = 1800
"""How long a peer may be silent while it moves a study: it need not tell how far it is."""

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What became of a study that was to be moved or sent."""

    completed: int
    failed: int
    status: int = SUCCESS
    """The final status of a C-MOVE, or the first of a C-STORE that is none of success."""

    @property
    def is_whole(self) -> bool:
        """Whether something has arrived, and all that there is."""
        return (
            self.completed > 0
            and not self.failed
            and (self.status == SUCCESS or self.status & 0xF000 == WARNING)
        )


class Caller:
    """Calls peers.

    Parameters
    ----------
    ae
        Our AE; made where there is none that serves a port.
    """

    def __init__(self, bridge: Bridge, ae: reactor.ApplicationEntity | None = None) -> None:
        self._bridge = bridge
        self._ae = ae or entity(bridge)

    async def echo(self, peer: Peer) -> None:
        """Ask whether a peer is there and speaks with us.

        Raises
        ------
        Exhausted
            It is not there, rejects us, or says that something is wrong.
        """
        status = await self._at(peer, [build_context(VERIFICATION, PLAIN)], _echo)
        if status != SUCCESS:
            raise Exhausted(f"{peer.ae} answers an echo with status {status:04X}")

    async def find(self, who: Principal, peer: Peer, identifier: Dataset) -> list[Dataset]:
        """Ask a peer what it holds, in the Study Root model.

        Raises
        ------
        Exhausted
            It cannot be reached, or cannot answer.
        """
        context = [build_context(FIND, PLAIN)]
        found = await self._at(peer, context, lambda association: answers(association, identifier))
        await self._note(who, "C-FIND", peer, identifier, len(found))
        return found

    async def retrieve(self, who: Principal, peer: Peer, study_uid: str) -> Outcome:
        """Have a peer send us a study: it knows our AE title, our address and our port.

        Raises
        ------
        Exhausted
            It cannot be reached.
        """
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "STUDY"
        identifier.StudyInstanceUID = require_uid(study_uid, "StudyInstanceUID")
        ae = self._bridge.ae_title
        outcome = await self._at(
            peer,
            [build_context(MOVE, PLAIN)],
            lambda association: _move(association, identifier, ae),
            MOVE_SECONDS,
        )
        await self._note(who, "C-MOVE", peer, identifier, outcome.completed)
        return outcome

    async def send(self, peer: Peer, study_uid: str) -> Outcome:
        """Send a peer what its organisation may read of a study.

        Raises
        ------
        NotFound
            There is no such study, or none that it may know of.
        Exhausted
            It cannot be reached.
        """
        context = RequestContext(peer.principal, "C-MOVE", origin=peer.host)
        found = await retrieval.instances(self._bridge, context, study_uid)
        instances = await retrieve.stored(self._bridge, found, None)
        contexts = sending.contexts_for(instances)
        return await self._at(peer, contexts, lambda association: _send(association, instances))

    async def _at(
        self,
        peer: Peer,
        contexts: Sequence[PresentationContext],
        work: Callable[[Any], Answer],
        patience_seconds: int = ANSWER_SECONDS,
    ) -> Answer:
        def call() -> Answer:
            with associated(self._ae, peer, contexts, patience_seconds) as association:
                return work(association)

        return await asyncio.to_thread(call)

    async def _note(
        self, who: Principal, interaction: str, peer: Peer, identifier: Dataset, hits: int
    ) -> None:
        context = RequestContext(who, interaction, origin=peer.host)
        asked = "&".join(
            f"{element.keyword}={text(element.value)}"
            for element in identifier
            if element.VR != "SQ" and text(element.value)
        )
        await self._bridge.ledger.append(
            ledger.entry(context, query=asked, hits=hits, detail=f"asked of {peer.ae}")
        )


def entity(bridge: Bridge) -> reactor.ApplicationEntity:
    """Make an AE that only calls."""
    ae = reactor.ApplicationEntity(bridge.ae_title)
    ae.files = bridge.tls
    ae.acse_timeout, ae.network_timeout, ae.connection_timeout = 30, None, 10
    return ae


@contextmanager
def associated(
    ae: reactor.ApplicationEntity,
    peer: Peer,
    contexts: Sequence[PresentationContext],
    patience_seconds: int,
) -> Iterator[Any]:
    """Associate with a peer for as long as the block lasts."""
    association = ae.call(peer, contexts)
    if not association.is_established:
        why = "rejects us" if association.is_rejected else "cannot be reached"
        raise Exhausted(f"{peer.ae} {why} at {peer.host}:{peer.port}")
    association.dimse_timeout = patience_seconds
    try:
        yield association
    except (RuntimeError, ValueError) as error:  # it has ended, or accepted no context for this
        _log.warning("%s could not be asked: %s", peer.ae, error)
        raise Exhausted(f"{peer.ae} does not take what we ask") from error
    finally:
        if association.is_established:
            association.release()


def _echo(association: Any) -> int:
    return int(association.send_c_echo().get("Status", 0xFFFF))


def answers(association: Any, identifier: Dataset, most: int = MOST_ANSWERS) -> list[Dataset]:
    """Ask on an association, and listen to so many answers.

    Raises
    ------
    Exhausted
        The peer cannot answer.
    """
    found: list[Dataset] = []
    status = Dataset()
    for status, answer in association.send_c_find(identifier, FIND, msg_id=MESSAGE):
        if status.get("Status") in PENDING and answer is not None:
            found.append(answer)
            if len(found) == most:
                association.send_c_cancel(MESSAGE, query_model=FIND)
    if "Status" not in status:
        raise Exhausted("The peer ended the association without an answer")
    if status.Status not in (SUCCESS, 0xFE00):
        raise Exhausted(f"The peer cannot answer the query: status {status.Status:04X}")
    return found


def _move(association: Any, identifier: Dataset, ae_title: str) -> Outcome:
    status = Dataset()
    for status, _ in association.send_c_move(identifier, ae_title, MOVE):
        _log.debug("a move goes on: %s", status.get("Status"))
    if "Status" not in status:
        raise Exhausted("The peer ended the association without an answer")
    completed = status.get("NumberOfCompletedSuboperations") or 0
    warned = status.get("NumberOfWarningSuboperations") or 0
    failed = status.get("NumberOfFailedSuboperations") or 0
    return Outcome(int(completed) + int(warned), int(failed), int(status.Status))


def _send(association: Any, instances: Sequence[StoredInstance]) -> Outcome:
    completed, statuses = 0, []
    for number, instance in enumerate(instances):
        try:
            status = association.send_c_store(instance, msg_id=number % 65535 + 1)
        except ValueError:  # it has accepted no presentation context for this one
            statuses.append(0x0122)
            continue
        except RuntimeError:  # it has ended the association
            statuses.append(0x0110)
            break
        code = int(status.get("Status", 0x0110))
        if code == SUCCESS or code & 0xF000 == WARNING:
            completed += 1
        else:
            statuses.append(code)
    failed = len(instances) - completed
    return Outcome(completed, failed, statuses[0] if statuses else SUCCESS)


def keys_of(pairs: Sequence[str], level: str = "STUDY") -> Dataset:
    """Make an identifier of ``Keyword=value`` or ``Keyword``.

    Raises
    ------
    Invalid
        A keyword that there is not.

    Examples
    --------
    >>> keys_of(["PatientID=9990000107"]).PatientID
    '9990000107'
    """
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for pair in pairs:
        keyword, _, value = pair.partition("=")
        if not keyword or tag_for_keyword(keyword) is None or dictionary_VR(keyword) == "SQ":
            raise Invalid(f"{keyword} is no attribute with a value", "identifier")
        setattr(identifier, keyword, value)
    return identifier
