"""A destination over DIMSE: objects go by C-STORE, and it is asked for each by C-FIND.

References
----------
* PS3.4 Annex B (Storage), Section C.4.1 (C-FIND), Table C.6-4 (image level keys, Study Root)
* PS3.4 Section C.1.3: a query is hierarchical, series by series
"""

from collections.abc import Sequence
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom.presentation import build_context

from dicom_bridge.dimse import reactor, scu, sending
from dicom_bridge.dimse.messages import StoredInstance
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.mapping.matching import text
from dicom_bridge.prefetch.manifest import BROKEN, REFUSED

MOST_OBJECTS: Final = 200_000
"""Of one series."""
PRESENCE: Final = build_context(scu.VERIFICATION, scu.PLAIN)


def store(
    ae: reactor.ApplicationEntity, peer: Peer, instances: Sequence[StoredInstance]
) -> list[int]:
    """Send objects on one association; the status of each, in order.

    Raises
    ------
    Exhausted
        The peer cannot be reached, or rejects us.
    """
    # Where every object is refused the association is still one, and says so of each.
    contexts = [*sending.contexts_for(instances)[: sending.MOST_CONTEXTS - 1], PRESENCE]
    with scu.associated(ae, peer, contexts, scu.ANSWER_SECONDS) as association:
        return [_store(association, instance, number) for number, instance in enumerate(instances)]


def _store(association: Any, instance: StoredInstance, number: int) -> int:
    try:
        status = association.send_c_store(instance, msg_id=number % 65535 + 1)
    except ValueError:  # it has accepted no presentation context for this one
        return REFUSED
    except RuntimeError:  # the association is over
        return BROKEN
    return int(status.get("Status", BROKEN))


def held(
    ae: reactor.ApplicationEntity, peer: Peer, study_uid: str, series: Sequence[str]
) -> set[str]:
    """Ask which objects of a study a peer holds.

    Raises
    ------
    Exhausted
        It cannot be reached, or cannot answer: then nobody can say that it has them.
    """
    context = [build_context(scu.FIND, scu.PLAIN)]
    found: set[str] = set()
    with scu.associated(ae, peer, context, scu.ANSWER_SECONDS) as association:
        for uid in series:
            keys = Dataset()
            keys.QueryRetrieveLevel = "IMAGE"
            keys.StudyInstanceUID, keys.SeriesInstanceUID = study_uid, uid
            keys.SOPInstanceUID = ""
            answers = scu.answers(association, keys, MOST_OBJECTS)
            found |= {text(one.get("SOPInstanceUID")) for one in answers}
    return found
