"""A Task as a Unified Procedure Step.

Pure: everything is handed in as FHIR JSON, with what a UPS says that no Task can. What FHIR says
counts before what was said over DICOM, so that both sides see one thing.

References
----------
* PS3.4 Annex CC, Table CC.2.5-3; PS3.3 Sections C.30.1 to C.30.4 (Unified Procedure Step modules)
* docs/representation.md, "Unified Procedure Steps"
"""

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from pydicom.dataset import Dataset

from dicom_bridge.mapping.concepts import coded
from dicom_bridge.mapping.demographics import component, dataset
from dicom_bridge.mapping.worklist import LOCAL, NOTHING
from resources import codes, task

Resource = Mapping[str, Any]

PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"
"""Every UPS is an instance of this SOP class (PS3.4 Section CC.3.1)."""

SCHEDULED: Final = "SCHEDULED"
IN_PROGRESS: Final = "IN PROGRESS"
COMPLETED: Final = "COMPLETED"
CANCELED: Final = "CANCELED"

STATE: Final[Mapping[str, str]] = {
    "requested":   SCHEDULED,
    "received":    SCHEDULED,
    "accepted":    SCHEDULED,
    "ready":       SCHEDULED,
    "in-progress": IN_PROGRESS,
    "on-hold":     IN_PROGRESS,
    "completed":   COMPLETED,
    "failed":      CANCELED,
    "rejected":    CANCELED,
    "cancelled":   CANCELED,
}  # fmt: skip
"""Task.status -> Procedure Step State. A Task in any other status is no UPS: a draft is nobody's
work yet, and what was entered in error never was."""

PRIORITY: Final[Mapping[str, str]] = {
    "stat": "HIGH", "asap": "HIGH", "urgent": "HIGH", "routine": "MEDIUM",
}  # fmt: skip
"""Task.priority -> Scheduled Procedure Step Priority; LOW is kept beside a routine Task."""

OURS: Final = "99ISOCENTRE"
"""Coding Scheme Designator of our own codes (PS3.3 Section 8.8: private ones begin with 99)."""
MOST_CODE_VALUE: Final = 16
"""Characters of a Code Value; a longer code is a Long Code Value (PS3.3 Section 8.1)."""


class Workitem(NamedTuple):
    """What a UPS is made of."""

    uid: str
    task: Resource
    kept: Dataset
    """What was said of it over DICOM and no Task can say."""
    around: Mapping[str, Resource] = NOTHING
    """What the Task refers to, by relative reference."""


def is_one(json: Resource) -> bool:
    """Whether a Task is a UPS: an imaging step, or one with a SOP Instance UID of its own."""
    known = json.get("status") in STATE
    return known and (task.step_of(json) is not None or own_uid(json) is not None)


def state_of(json: Resource) -> str:
    """Give the Procedure Step State of a Task that is one."""
    return STATE[str(json["status"])]


def own_uid(json: Resource) -> str | None:
    """Give the SOP Instance UID that a Task says it has."""
    for identifier in json.get("identifier", ()):
        if identifier.get("system") == codes.DICOM_UID:
            return str(identifier.get("value", "")).removeprefix("urn:oid:")
    return None


def uid_of(json: Resource) -> str:
    """Give a Task its SOP Instance UID: its own, or one made from its id (PS3.5 Annex B.2).

    Examples
    --------
    >>> uid_of({"id": "00000000-0000-7000-8000-000000000001"})
    '2.25.528914269453437118709761'
    """
    own = own_uid(json)
    if own is not None:
        return own
    id = str(json["id"])
    if (number := _number(id)) is not None:
        return f"2.25.{number}"
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, f'{codes.BASE}/Task/{id}').int}"


def is_derivable(id: str) -> bool:
    """Whether the id of a Task can be told from the UID that `uid_of` makes of it."""
    return _number(id) is not None


def id_of(uid: str) -> str | None:
    """Give the id of the Task that a UID was made from, if its id is a UUID.

    Examples
    --------
    >>> id_of("2.25.528914269453437118709761"), id_of("1.2.3")
    ('00000000-0000-7000-8000-000000000001', None)
    """
    digits = uid.removeprefix("2.25.")
    if digits == uid or not digits.isdecimal() or int(digits) >= 1 << 128:
        return None
    return str(uuid.UUID(int=int(digits)))


def moment(said: str) -> str:
    """Write a FHIR dateTime as DT, in the time of the place where it is read.

    Examples
    --------
    >>> moment("2026-07-01T08:00:00Z"), moment("2026-07-01"), moment("")
    ('20260701090000', '20260701', '')
    """
    if "T" not in said:
        return said.replace("-", "")
    try:
        return datetime.fromisoformat(said).astimezone(LOCAL).strftime("%Y%m%d%H%M%S")
    except (ValueError, OverflowError):  # at the ends of the calendar
        return said[:10].replace("-", "")


def readiness_of(json: Resource) -> str:
    """Give the Input Readiness State: as it was said, or READY."""
    said = _extension(json, codes.INPUT_READINESS).get("valueCode")
    return str(said or "READY")


def progress_of(json: Resource) -> Resource:
    """Give the extension that says how far a Task is, its parts by name."""
    return _parts(json, codes.STEP_PROGRESS)


def cancellation_of(json: Resource) -> Resource:
    """Give the extension that says that somebody asked for a Task to be cancelled."""
    return _parts(json, codes.CANCEL_REQUEST)


def workitem_codes(json: Resource) -> list[Dataset]:
    """Give the Scheduled Workitem Code Sequence: the code of PS3.16 CID 9231 first."""
    code = json.get("code", {})
    items = coded(code)
    step = task.step_of(json)
    if step in codes.WORKITEMS:
        items = [*coded(codes.WORKITEMS[step].concept), *items]
    if step is not None and step in codes.STEPS:
        meaning = codes.STEPS[step].display
        items.append(dataset(CodeValue=step[:16], CodingSchemeDesignator=OURS, CodeMeaning=meaning))
    return items


def discontinuation(json: Resource) -> list[Dataset]:
    """Give the Procedure Step Discontinuation Reason Code Sequence of a Task that was ended."""
    said = coded(json.get("statusReason", {}))
    other = dataset(CodeValue="110513", CodingSchemeDesignator="DCM")
    other.CodeMeaning = "Discontinued for unspecified reason"  # PS3.16 CID 9300
    return said or [other]


def owner_of(item: Workitem) -> Dataset | None:
    """Describe who a step is given to, as an item of Scheduled Human Performers Sequence."""
    owner = item.task.get("owner", {})
    reference = str(owner.get("reference", ""))
    if not reference.startswith(("PractitionerRole/", "Practitioner/")):
        return None
    found = item.around.get(reference, {})
    name = owner.get("display") or found.get("practitioner", {}).get("display") or ""
    organization = found.get("organization", {}).get("reference", "")
    shown_name = str(item.around.get(organization, {}).get("name", ""))
    id = reference.partition("/")[2]
    code = dataset(CodingSchemeDesignator=OURS, CodeMeaning=str(name or "Performer")[:64])
    setattr(code, "CodeValue" if len(id) <= MOST_CODE_VALUE else "LongCodeValue", id)
    return dataset(
        HumanPerformerCodeSequence=[code],
        HumanPerformerName=component(str(name)),
        HumanPerformerOrganization=shown_name,
    )


def referred(json: Resource) -> Iterator[str]:
    """Name what a Task refers to, as far as a UPS says something of it."""
    references = [json.get("for", {}), json.get("focus", {}), json.get("owner", {})]
    references += json.get("basedOn", ())
    references += [one.get("valueReference", {}) for one in json.get("input", ())]
    for reference in references:
        name = local(reference)
        if name.split("/")[0] in ("Patient", "ServiceRequest", "ImagingStudy", "PractitionerRole"):
            yield name


def modified(json: Resource) -> str:
    """Give when a Task was last changed, as it says itself or as its version does."""
    return str(json.get("lastModified") or json.get("meta", {}).get("lastUpdated", ""))


def _extension(json: Resource, url: str) -> Resource:
    return next((one for one in json.get("extension", ()) if one.get("url") == url), {})


def _parts(json: Resource, url: str) -> Resource:
    return {
        str(part.get("url")): next((v for k, v in part.items() if k.startswith("value")), None)
        for part in _extension(json, url).get("extension", ())
    }


def local(reference: Resource) -> str:
    """``Type/id`` of a reference, without version or base."""
    said = str(reference.get("reference", "")).partition("/_history/")[0]
    return "/".join(said.split("/")[-2:])


def _number(id: str) -> int | None:
    try:
        found = uuid.UUID(id)
    except ValueError:
        return None
    return found.int if str(found) == id else None
