"""Manifest: all objects of a study that a destination is to hold, and what came of sending them.

The whole composite study travels: images, presentation states, key object selections, structured
reports and PDFs, each as it is given out, corrections included. What is listed but cannot be sent
is missing, so no part of a study ever passes for all of it.

References
----------
* R012.2, R013.2 of the requirements; PS3.4 Section B.2.3 (C-STORE statuses)
* PS3.3 Section C.17.6 (113032, "Complete Study Content")
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pydicom.uid import UID

from dicom_bridge import retrieval
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse.peers import Peer
from dicom_bridge.holdings import Held
from dicom_bridge.retrieval import Retrieved
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Texts
from fhir_server.search.stored import Stored
from resources import imaging_study
from resources.identifiers import find_study_uid
from resources.imaging_study import Manifest

REFUSED: Final = 0x0122
"""PS3.7 Annex C, SOP Class not supported: there is no presentation context for it."""
DUPLICATE: Final = 0x0111
BROKEN: Final = 0x0110
"""The association ended, or the HTTP request failed."""
UNREADABLE: Final = -1
"""We could not read it ourselves."""
AT_ONCE: Final = 50
MOST_BYTES: Final = 256 * 1024 * 1024
"""Of one association or one request, unless one object alone is larger."""

SENT: Final = """
SELECT s.sop_uid FROM prefetch_sent s JOIN unnest($2::text[], $3::text[]) AS u(uid, blob)
  ON s.sop_uid = u.uid AND s.blob = u.blob WHERE s.peer = $1
"""
FROM: Final = """
SELECT i.sop_uid FROM instance i WHERE i.sop_uid = ANY($1::text[])
  AND (i.peer = $2 OR i.organization = $3)
  AND NOT EXISTS (SELECT FROM original o WHERE o.sop_uid = i.sop_uid)
"""
CORRECTED: Final = "SELECT sop_uid FROM original WHERE sop_uid = ANY($1::text[])"
NOTE: Final = """
INSERT INTO prefetch_sent (peer, sop_uid, blob)
SELECT $1, u.uid, u.blob FROM unnest($2::text[], $3::text[]) AS u(uid, blob)
ON CONFLICT (peer, sop_uid) DO UPDATE SET blob = excluded.blob
"""


class Share(NamedTuple):
    """A study that a destination is to hold.

    Parameters
    ----------
    listed
        SOP Instance UIDs of all objects that its ImagingStudy lists.
    found
        Those of them that are held here.
    """

    study: Stored
    study_uid: str
    listed: frozenset[str]
    found: Retrieved

    @property
    def series(self) -> list[str]:
        """Series Instance UIDs of what is held."""
        return list(dict.fromkeys(one.series_uid for one in self.found.instances))

    @property
    def manifest(self) -> Manifest:
        """Number and digest of what it lists."""
        return imaging_study.manifest(self.study.json)


async def share(bridge: Bridge, context: RequestContext, id: str) -> Share:
    """Find what a destination may have of a study, at this moment.

    Raises
    ------
    NotFound
        It may not know of it, or nothing of it is here.
    """
    study = await bridge.store.read(context, "ImagingStudy", id)
    study_uid = find_study_uid(study.json) or ""
    found = await retrieval.instances(bridge, context, study_uid)
    return Share(study, study_uid, frozenset(imaging_study.instance_uids(study.json)), found)


async def to_send(bridge: Bridge, one: Share, peer: Peer, held: Collection[str]) -> list[Held]:
    """What a peer lacks: what it does not hold, and what it was not sent in its present state.

    What came from it, or from its organisation, and is still there does not go back, unless it was
    corrected since.
    """
    instances = [each for each in one.found.instances if each.sop_uid in one.listed]
    uids = Texts([each.sop_uid for each in instances])
    blobs = Texts([each.blob for each in instances])
    sent = await bridge.database.run(SENT, (peer.ae, uids, blobs))
    came = await bridge.database.run(FROM, (uids, peer.principal.subject, peer.organization))
    there = {str(uid) for (uid,) in (*sent, *came)} & set(held)
    return [each for each in instances if each.sop_uid not in there]


async def note(bridge: Bridge, peer: Peer, taken: Sequence[Held]) -> None:
    """Keep what a peer has said it took."""
    uids = Texts([one.sop_uid for one in taken])
    await bridge.database.run(NOTE, (peer.ae, uids, Texts([one.blob for one in taken])))


def parts(instances: Sequence[Held]) -> Iterator[list[Held]]:
    """Cut what is to be sent into what goes on one association or in one request."""
    part: list[Held] = []
    for one in instances:
        if part and (len(part) == AT_ONCE or sum(map(_size, (*part, one))) > MOST_BYTES):
            yield part
            part = []
        part.append(one)
    if part:
        yield part


async def still_wrong(
    bridge: Bridge, failures: Mapping[str, int], held: Collection[str]
) -> dict[str, int]:
    """What went wrong, without the objects that a peer has had before and so refuses.

    An object that was corrected here is not the one that it has.
    """
    twice = [uid for uid, status in failures.items() if status == DUPLICATE and uid in held]
    rows = await bridge.database.run(CORRECTED, (Texts(twice),)) if twice else []
    corrected = {str(uid) for (uid,) in rows}
    return {uid: status for uid, status in failures.items() if uid not in twice or uid in corrected}


def missing(one: Share, held: Collection[str]) -> frozenset[str]:
    """What of a study has not arrived."""
    return one.listed - frozenset(held)


def only_refused(failures: Mapping[str, int], lacking: Iterable[str]) -> bool:
    """Whether all that is missing is of a kind that the peer does not take: it never will."""
    lacking = list(lacking)
    return bool(lacking) and all(failures.get(uid) == REFUSED for uid in lacking)


def reasons(one: Share, lacking: Collection[str], failures: Mapping[str, int]) -> list[str]:
    """Say what is missing of a study and why, without a word about the patient.

    Parameters
    ----------
    failures
        SOP Instance UID -> status of the last attempt.
    """
    classes = {each.sop_uid: each.sop_class for each in one.found.instances}
    refused = Counter(_name(classes[uid]) for uid in failures if failures[uid] == REFUSED)
    told = [f"{len(lacking)} of {len(one.listed)} objects of ImagingStudy/{one.study.id} missing"]
    told += [f"{count} {name} not taken" for name, count in sorted(refused.items())]
    known = (REFUSED, BROKEN, UNREADABLE)
    answered = Counter(status for status in failures.values() if status not in known)
    told += [f"{count} answered {status:04X}" for status, count in sorted(answered.items())]
    if BROKEN in failures.values():
        told.append("the connection ended")
    absent = sum(uid not in classes for uid in lacking)
    absent += sum(status == UNREADABLE for status in failures.values())
    if absent:
        told.append(f"{absent} cannot be read here")
    return told


def _size(one: Held) -> int:
    return one.size


def _name(sop_class: str) -> str:
    name = UID(sop_class).name
    return name.removesuffix(" Storage")
