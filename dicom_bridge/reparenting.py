"""Re-parenting: an object that would open a second study for a request joins the study of it.

A requested procedure has one study. What comes for it under another Study Instance UID (a console
that was restarted, a workstation that makes a UID of its own, a review of images that are held)
is given out under the identifiers of the study that is there; what came stays beside, as it came.
Where it is not certain whose it is, or the sender has nothing to do with the patient, it is kept
apart and somebody is asked.

References
----------
* Requirements R008.3, R012.2, R012.3; docs/representation.md, "One study for a request"
* PS3.3 Section C.12.1.1.9 (Original Attributes Sequence)
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from dicom_bridge import coercing, orders
from dicom_bridge.bridge import Bridge
from dicom_bridge.coercing import Change
from dicom_bridge.instance import Instance
from dicom_bridge.orders import Belonging, Sender
from fhir_server.access.principal import Principal
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Blobs, Integers, Texts
from fhir_server.search import query
from fhir_server.store.unit_of_work import Work
from resources import content
from resources.errors import NotDicom

IDENTIFIERS: Final = (
    "StudyInstanceUID", "StudyID", "AccessionNumber", "PatientID", "IssuerOfPatientID",
)  # fmt: skip
"""What an object is found by, of the study that it joins."""

ENDED: Final = frozenset({"cancelled", "entered-in-error"})
"""ImagingStudy.status of a study that nothing joins."""

SECOND_STUDY: Final = "Images of this request came under another Study Instance UID."

HELD: Final = """
SELECT study_uid, imaging_study, patient FROM study
WHERE imaging_study = ANY($1) AND study_uid <> $2
"""
FOLLOWING: Final = """
SELECT DISTINCT s.study_uid, s.imaging_study, s.patient
FROM original o JOIN instance i ON i.sop_uid = o.sop_uid JOIN study s ON s.study_uid = i.study_uid
WHERE o.study_uid = $1 AND o.patient_id = $2 AND o.issuer = $3 AND o.organization = $4
  AND i.study_uid <> o.study_uid
"""
"""Where went what came before of the same study, patient and sender."""
BELONGS: Final = """
SELECT 1 WHERE EXISTS (SELECT FROM instance WHERE study_uid = $1 AND organization = $2)
  OR EXISTS (SELECT FROM relation WHERE patient = $3 AND organization = $2 AND until > $4)
"""
FIRST: Final = """
SELECT header FROM instance WHERE study_uid = $1 ORDER BY received, sop_uid LIMIT 1
"""
MOVING: Final = """
SELECT sop_uid, blob, dataset_offset, transfer_syntax, header, organization
FROM instance WHERE study_uid = $1 ORDER BY received, sop_uid
"""
KEEP: Final = """
INSERT INTO original (sop_uid, study_uid, patient_id, issuer, organization, blob, dataset_offset,
    size, header, corrected)
SELECT sop_uid, study_uid, patient_id, issuer, organization, blob, dataset_offset, size, header, $3
FROM instance WHERE study_uid = $1 AND sop_uid = ANY($2)
ON CONFLICT (sop_uid) DO NOTHING
"""
MOVE: Final = """
UPDATE instance SET study_uid = $2, blob = m.blob, dataset_offset = m.dataset_offset,
    size = m.size, patient_id = m.patient_id, issuer = m.issuer, accession = m.accession,
    header = m.header, json = NULL, layout = NULL
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],
    $9::text[], $10::bytea[])
    AS m(sop_uid, blob, dataset_offset, size, patient_id, issuer, accession, header)
WHERE instance.sop_uid = m.sop_uid AND instance.study_uid = $1
"""
MARK: Final = """
INSERT INTO unsettled (study_uid, mark, folded, since, organization)
VALUES ($1, 1, 0, $2, $3)
ON CONFLICT (study_uid) DO UPDATE SET mark = unsettled.mark + 1, since = excluded.since
"""
UNMAKE: Final = """
WITH unmade AS (
  UPDATE instance i SET json = NULL, layout = NULL
  FROM study s
  WHERE i.study_uid = s.study_uid AND s.imaging_study = ANY($1) AND i.study_uid <> $2
    AND (i.json IS NULL OR position($3::bytea in i.json) > 0)
    AND (i.frames = 0 OR i.study_uid = $4)
  RETURNING i.study_uid, i.organization
)
INSERT INTO unsettled (study_uid, mark, folded, since, organization)
SELECT study_uid, 1, 1, $5, min(organization) FROM unmade GROUP BY study_uid ORDER BY study_uid
ON CONFLICT (study_uid) DO UPDATE SET mark = unsettled.mark + 1, since = excluded.since
"""
"""What names the study that is given up, in the one that is joined and in documents of others of
the patient: when these are settled it names the other one (`following`). What is being read at
this moment is looked at again then."""
FOLDED: Final = "UPDATE unsettled SET folded = greatest(folded, $2) WHERE study_uid = $1"


class Place(NamedTuple):
    """The study that objects are to join: its UID, its ImagingStudy and Patient (ids)."""

    study_uid: str
    imaging_study: str
    patient: str


async def place(
    work: Work, study_uid: str, header: Mapping[str, Any], belonging: Belonging, of: Sender
) -> tuple[Place | None, str]:
    """Where a study that comes for the first time is to go, and why somebody must look at it."""
    request = belonging.request
    if request is None:
        return await _followed(work, study_uid, header, of), belonging.doubt
    # Two studies of one request that come at once take turns from here on.
    await work.read("ServiceRequest", request.id, lock=True)
    studies = await orders.studies(work, request)
    named = [
        one.id
        for one in studies
        if one.json.get("subject") == request.json.get("subject")
        and one.json.get("status") not in ENDED
    ]
    held = [Place(*row) for row in await work.rows(HELD, (Texts(named), study_uid))]
    if not held:
        return None, belonging.doubt
    may_join = belonging.own_number or await _belongs(work, held[0], of)
    if len(held) > 1 or not may_join:
        return None, belonging.doubt or SECOND_STUDY
    return held[0], belonging.doubt


async def _followed(
    work: Work, study_uid: str, header: Mapping[str, Any], of: Sender
) -> Place | None:
    patient = (str(header.get("PatientID", "")), str(header.get("IssuerOfPatientID", "")))
    rows = await work.rows(FOLLOWING, (study_uid, *patient, of.id))
    return Place(*rows[0]) if len(rows) == 1 else None


async def _belongs(work: Work, there: Place, of: Sender) -> bool:
    asked = (there.study_uid, of.id, there.patient, work.context.instant)
    return bool(await work.rows(BELONGS, asked))


async def move(
    bridge: Bridge, study_uid: str, mark: int, there: Place, request: str, source: str
) -> bool:
    """Give out what came under a Study Instance UID as of the study that it joins.

    Parameters
    ----------
    mark
        That of the unsettled study; what arrives later is moved later.
    request
        Reference to the ServiceRequest that the study now is for too; empty for none.
    source
        Name of who sent the objects.

    Returns
    -------
    :
        False if one of them cannot be corrected: then none is moved.
    """
    context = RequestContext(Principal.system("settle"), "settle", origin="settle")
    rows = await bridge.database.run(MOVING, (study_uid,))
    if not rows:
        return True  # another process has moved them
    first = orjson.loads((await bridge.database.run(FIRST, (there.study_uid,)))[0][0])
    moved = {(study_uid, str(row[0])): there.study_uid for row in rows}
    moved[study_uid, ""] = there.study_uid
    made: list[Instance] = []
    for _, blob, offset, syntax, header, _ in rows:
        change = Change(changes(orjson.loads(header), first), moved, source, context.instant)
        file = await bridge.blobs.own(blob)
        try:
            one = await asyncio.to_thread(
                coercing.coerced, bridge.blobs, (file, offset, syntax), change
            )
        except NotDicom:
            return False
        made.append(one)
    async with bridge.store.begin(context) as work:
        if request:
            await _also_for(work, there.imaging_study, request)
        uids = Texts([one.sop_uid for one in made])
        work.add(KEEP, (study_uid, uids, context.instant))
        work.add(MOVE, (study_uid, there.study_uid, *_columns(made)))
        work.add(MARK, (there.study_uid, context.instant, str(rows[0][5])))
        others = Texts(await _studies(work, there))
        given_up = (others, study_uid, study_uid.encode(), there.study_uid, context.instant)
        work.add(UNMAKE, given_up)
        work.add(FOLDED, (study_uid, mark))
        work.add(ledger.INSERT, ledger.arrays([_entry(context, study_uid, there, len(made))]))
    return True


def changes(own: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, str]:
    """Say which identifiers an object gets from the study that it joins, and which it loses.

    What is not plain ASCII stays: it might not be written in the character set of the object.

    Examples
    --------
    >>> changes({"StudyInstanceUID": "1.2", "StudyID": "1"}, {"StudyInstanceUID": "1.3"})
    {'StudyInstanceUID': '1.3'}
    """
    wanted = {
        keyword: str(first[keyword])
        for keyword in IDENTIFIERS
        if str(first.get(keyword, "")) not in ("", str(own.get(keyword, "")))
        and str(first[keyword]).isascii()
    }
    if "PatientID" in wanted:
        wanted.setdefault("IssuerOfPatientID", str(first.get("IssuerOfPatientID", "")))
        if own.get("IssuerOfPatientIDQualifiersSequence"):
            wanted["IssuerOfPatientIDQualifiersSequence"] = ""
    return wanted


async def _studies(work: Work, there: Place) -> list[str]:
    """The ImagingStudies of a patient, as many as are looked through."""
    asked = [("patient", f"Patient/{there.patient}"), ("_count", "200"), ("_total", "none")]
    found = await work.search(query.parse("ImagingStudy", asked, strict=True))
    return list(dict.fromkeys([there.imaging_study, *(one.id for one in found)]))


async def _also_for(work: Work, study: str, request: str) -> None:
    """Let a study that is under review say so."""
    known = await work.read("ImagingStudy", study)
    based_on = list(known.json.get("basedOn", ()))
    if any(one.get("reference") == request for one in based_on):
        return
    changed = content.replaced(
        content.read(known.text), {"basedOn": [*based_on, {"reference": request}]}
    )
    await work.update("ImagingStudy", study, changed, known.version)


def _columns(made: Sequence[Instance]) -> tuple[list[Any], ...]:
    return (
        Texts([one.sop_uid for one in made]),
        Texts([one.digest for one in made]),
        Integers([one.dataset_offset for one in made]),
        Integers([one.size for one in made]),
        Texts([one.patient_id for one in made]),
        Texts([one.issuer for one in made]),
        Texts([one.accession for one in made]),
        Blobs([orjson.dumps(one.header) for one in made]),
    )


def _entry(context: RequestContext, study_uid: str, there: Place, count: int) -> ledger.Entry:
    return ledger.entry(
        context,
        type="ImagingStudy",
        id=there.imaging_study,
        patient=there.patient,
        query=f"StudyInstanceUID={study_uid}",
        hits=count,
        detail="re-parented",
    )
