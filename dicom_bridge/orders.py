"""Orders: which request and which Patient a study belongs to, and what it was registered as.

The accession number says which request, the issuer (or the sender's organisation) says whose
number it is, and the patient in the header must be the patient of the request: if not, the study
is kept apart and somebody is asked to reconcile it. Nothing is ever merged by itself. An NHS
number links nothing without the date of birth, unless the sender itself gave the accession number.

References
----------
* docs/representation.md, "From objects to the ImagingStudy"
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dicom_bridge.mapping import patient as patients
from fhir_server.search import query
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import codes, elements
from resources.errors import Gone, NotFound
from resources.request_state import kind

FULFILLABLE: Final = frozenset({"active", "on-hold", "completed"})
"""ServiceRequest.status of a request that images may still arrive for."""
REVIEWS: Final = frozenset({codes.KIND_REVIEW_FORMAL.code, codes.KIND_MDT_REVIEW.code})
"""Kinds of request for which there are images already (R008)."""

PATIENT_MISMATCH: Final = "The patient in the images is not the patient of the request."
NOT_FULFILLABLE: Final = "The request of this accession number is not active."
AMBIGUOUS: Final = "Several requests have this accession number."
AWAITED: Final = "An examination of this patient is awaited, of another accession number."
UNSURE: Final = "A patient with this number is known, with another date of birth or none."


@dataclass(frozen=True, slots=True)
class Sender:
    """The organisation that sent a study."""

    id: str
    ods: str
    """Its ODS code; its id if it has none."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a study belongs to.

    Parameters
    ----------
    request
        The ServiceRequest it fulfils, if one was found and agrees.
    patient
        The Patient known, if one is.
    contested
        The NHS number in the header belongs to a Patient who does not agree.
    doubt
        Why somebody must look at it; empty when all agrees.
    """

    request: Stored | None
    patient: Stored | None
    contested: bool = False
    doubt: str = ""
    own_number: bool = False
    """The accession number of the request was given by the sender itself."""


async def sender(work: Work, organization: str) -> Sender:
    """The organisation with its ODS code."""
    held = await work.read("Organization", organization)
    name = str(held.json.get("name", ""))
    for identifier in held.json.get("identifier", ()):
        if identifier.get("system") in (codes.ODS_ORGANIZATION, codes.ODS_SITE):
            return Sender(organization, str(identifier.get("value", organization)), name)
    return Sender(organization, organization, name)


async def belonging(work: Work, header: Mapping[str, Any], issuer: str, of: Sender) -> Belonging:
    """Find the request by accession number and the Patient by identifier."""
    requests = await _requests(work, str(header.get("AccessionNumber", "")), issuer, of)
    own = f"{codes.ACCESSION}/{of.ods}"
    agreeing = []
    for request in requests:
        subject = await _subject(work, request)
        if subject is None or not patients.agrees(subject.json, header, of.ods):
            continue
        gave_the_number = own in _systems(request, str(header["AccessionNumber"]))
        if gave_the_number or patients.is_certain(subject.json, header, of.ods):
            agreeing.append((request, subject))
    if len(agreeing) == 1:
        request, subject = agreeing[0]
        if request.json.get("status") in FULFILLABLE:
            gave_the_number = own in _systems(request, str(header["AccessionNumber"]))
            return Belonging(request, subject, own_number=gave_the_number)
        return Belonging(None, subject, doubt=NOT_FULFILLABLE)
    doubt = AMBIGUOUS if agreeing else PATIENT_MISMATCH if requests else ""
    known, contested = await _known_patient(work, header, of)
    return Belonging(None, known, contested, doubt or (UNSURE if contested else ""))


async def registered(work: Work, study_uid: str, request: Stored | None) -> Stored | None:
    """The ImagingStudy that is to become this study: of its UID, or awaited by the request."""
    named = await _search(work, "ImagingStudy", identifier=f"{codes.DICOM_UID}|urn:oid:{study_uid}")
    if named:
        return named[0]
    if request is None:
        return None
    awaited = await _search(
        work, "ImagingStudy", basedon=f"ServiceRequest/{request.id}", status="registered"
    )
    return next((study for study in awaited if not study.json.get("series")), None)


async def is_awaited(work: Work, patient: Stored, header: Mapping[str, Any], of: Sender) -> bool:
    """Whether the sender is to acquire images of a patient since before a study was made."""
    made = str(header.get("StudyDate", ""))
    steps = await _search(
        work,
        "Task",
        code=codes.ACQUIRE.token,
        patient=patient.reference,
        status="requested,received,accepted,ready,in-progress",
    )
    for step in steps:
        asked = str(step.json.get("authoredOn", ""))[:10].replace("-", "")
        if asked and asked <= made and await _owner(work, step) == f"Organization/{of.id}":
            return True
    return False


async def studies(work: Work, request: Stored) -> list[Stored]:
    """The ImagingStudies that the images of a request belong to: of it, or under review by it."""
    if kind(request.json) in REVIEWS:
        named = elements.references(request.json.get("supportingInfo"))
        ids = [
            one.partition("/")[2]
            for one in map(elements.unversioned, named)
            if one.startswith("ImagingStudy/")
        ]
        return [await work.read("ImagingStudy", id) for id in dict.fromkeys(ids)]
    return await _search(work, "ImagingStudy", basedon=f"ServiceRequest/{request.id}")


async def _requests(work: Work, accession: str, issuer: str, of: Sender) -> list[Stored]:
    """Requests of that accession number: of its issuer if one is named, else the sender's first."""
    if not accession:
        return []
    escaped = accession.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|")
    found = await _search(work, "ServiceRequest", identifier=escaped)
    held = [one for one in found if _systems(one, accession)]
    if issuer:
        return [one for one in held if f"{codes.ACCESSION}/{issuer}" in _systems(one, accession)]
    own = [one for one in held if f"{codes.ACCESSION}/{of.ods}" in _systems(one, accession)]
    return own or held


def _systems(request: Stored, accession: str) -> set[str]:
    """The systems under which a request has this value as its accession number."""
    return {
        str(identifier.get("system", ""))
        for identifier in request.json.get("identifier", ())
        if identifier.get("value") == accession
        and (
            str(identifier.get("system", "")).startswith(f"{codes.ACCESSION}/")
            or _is_accession(identifier)
        )
    }


def _is_accession(identifier: Mapping[str, Any]) -> bool:
    codings = identifier.get("type", {}).get("coding", ())
    return any(coding.get("code") == codes.ACCESSION_NUMBER_TYPE.code for coding in codings)


async def _subject(work: Work, request: Stored) -> Stored | None:
    reference = str(request.json.get("subject", {}).get("reference", ""))
    type_, _, id_ = reference.partition("/")
    return await work.read("Patient", id_) if type_ == "Patient" and id_ else None


async def _owner(work: Work, step: Stored) -> str:
    """Reference to the organisation whose step it is, also where one of its people has it."""
    reference = elements.unversioned(str(step.json.get("owner", {}).get("reference", "")))
    type_, _, id_ = reference.partition("/")
    if type_ != "PractitionerRole":
        return reference
    try:
        role = await work.read(type_, id_)
    except (NotFound, Gone):
        return ""
    return str(role.json.get("organization", {}).get("reference", ""))


async def _known_patient(
    work: Work, header: Mapping[str, Any], of: Sender
) -> tuple[Stored | None, bool]:
    """The one Patient that a header speaks of; or none, and whether its number is contested."""
    contested = False
    for token in patients.tokens(header, of.ods):
        found = await _search(work, "Patient", identifier=token)
        agreeing = [one for one in found if patients.agrees(one.json, header, of.ods)]
        certain = agreeing and patients.is_certain(agreeing[0].json, header, of.ods)
        if certain and len(found) == 1:
            return agreeing[0], False
        contested = contested or bool(found)
    return None, contested


async def _search(work: Work, type_: str, **criteria: str) -> list[Stored]:
    return list(await work.search(query.parse(type_, list(criteria.items()), strict=True)))
