"""What is said of a Unified Procedure Step, as the Task that it becomes.

References
----------
* PS3.4 Annex CC; PS3.3 Sections C.30.1 to C.30.3; FHIR R4 Task
* docs/representation.md, "Unified Procedure Steps"
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge.mapping import convert, ups
from dicom_bridge.mapping.matching import text
from fhir_server.search import date
from resources import codes, task

Resource = Mapping[str, Any]

PRIORITY: Final[Mapping[str, str]] = {"HIGH": "urgent", "MEDIUM": "routine", "LOW": "routine"}
"""Scheduled Procedure Step Priority -> Task.priority, where that says something else."""

NOT_KEPT: Final = frozenset({
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "TransactionUID", "ProcedureStepState",
    "SOPClassUID", "SOPInstanceUID", "ScheduledProcedureStepModificationDateTime",
})  # fmt: skip
"""What the Task says, and what is a secret."""

ABOUT: Final = (
    "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
)  # fmt: skip


def header_of(ds: Dataset) -> dict[str, Any]:
    """Give patient and accession number as `orders.belonging` wants them."""
    header: dict[str, Any] = {keyword: _clean(text(ds.get(keyword))) for keyword in ABOUT}
    header["OtherPatientIDsSequence"] = [
        {keyword: _clean(text(one.get(keyword))) for keyword in ("PatientID", "IssuerOfPatientID")}
        for one in ds.get("OtherPatientIDsSequence") or ()
    ]
    return {**header, "AccessionNumber": _clean(text(_request(ds).get("AccessionNumber")))}


def issuer_of(ds: Dataset) -> str:
    """Give the issuer of the accession number, empty if none is named."""
    issuers = _request(ds).get("IssuerOfAccessionNumberSequence") or (Dataset(),)
    return _clean(text(issuers[0].get("LocalNamespaceEntityID")))


def kept(before: Dataset, ds: Dataset, patient: Sequence[str] = ()) -> Dataset:
    """Put over what was kept of a UPS what is said of it now.

    Parameters
    ----------
    patient
        Keywords of the patient, whom the Patient describes.
    """
    after = Dataset()
    after.update(before)
    after.update({
        element.tag: element for element in ds
        if element.keyword not in NOT_KEPT and element.keyword not in patient
        and element.tag.group != 0
    })  # fmt: skip
    return after


def made(
    uid: str, ds: Dataset, *, patient: str | None, request: str | None, organization: str,
    source: str, instant: str,
) -> dict[str, Any]:  # fmt: skip
    """Make the Task of a UPS that is made.

    It is for the organisation that made it to give away; it asks for it and has it to do.

    Parameters
    ----------
    patient, request, organization
        Ids of the Patient, if it is about one, of the ServiceRequest it serves, and of whom made
        it.
    source
        URI of the system that said so.
    instant
        When, as FHIR writes it.
    """
    party = {"reference": f"Organization/{organization}"}
    json: dict[str, Any] = {
        "resourceType": "Task",
        "meta": {"source": source},
        "identifier": [{"system": codes.DICOM_UID, "value": f"urn:oid:{uid}"}],
        "status": "ready",
        "intent": "order",
        "priority": PRIORITY[text(ds.ScheduledProcedureStepPriority).strip()],
        "authoredOn": instant,
        "lastModified": instant,
        "requester": party,
        "owner": party,
    }
    if patient is not None:
        json["for"] = {"reference": f"Patient/{patient}"}
    if request is not None:
        json["basedOn"] = [{"reference": f"ServiceRequest/{request}"}]
    return {**json, **dict(_said(json, ds))}


def changed(before: Resource, ds: Dataset, instant: str) -> dict[str, Any]:
    """Say what becomes of a Task when attributes of its UPS are set."""
    after = {**before, **dict(_said(before, ds)), "lastModified": instant}
    items = ds.get("ProcedureStepProgressInformationSequence") or ()
    if items:
        parts: list[dict[str, Any]] = []
        percent = _clean(text(items[0].get("ProcedureStepProgress")))
        if percent:
            parts.append({"url": "percent", "valueString": percent[:16]})
        said = _clean(text(items[0].get("ProcedureStepProgressDescription")))
        if said:
            parts.append({"url": "description", "valueString": said[:1024]})
        after = _with_extension(after, codes.STEP_PROGRESS, {"extension": parts} if parts else None)
    return after


def claimed(before: Resource, owner: str, instant: str) -> dict[str, Any]:
    """Say what becomes of a Task whose UPS somebody takes."""
    period: Resource = before.get("executionPeriod", {})
    start = {k: v for k, v in period.items() if k != "end"} | {"start": instant}
    return {
        **before,
        "status": "in-progress",
        "owner": {"reference": owner},
        "executionPeriod": start,
        "lastModified": instant,
    }


def ended(before: Resource, state: str, said: Dataset, instant: str) -> dict[str, Any]:
    """Say what becomes of a Task whose UPS its performer has ended.

    Who gives up what they have begun has failed to do it; called off it is by who asked for it.
    """
    after = {**before, "lastModified": instant}
    performed = (said.get("UnifiedProcedureStepPerformedProcedureSequence") or (Dataset(),))[0]
    start = instant_of(text(performed.get("PerformedProcedureStepStartDateTime")))
    end = instant_of(text(performed.get("PerformedProcedureStepEndDateTime")))
    period: Resource = before.get("executionPeriod", {})
    began = start or period.get("start") or instant
    over = end or instant
    whole = {"start": began, "end": over}
    after["executionPeriod"] = whole if _is_in_order(whole) else {"end": over}
    if state == ups.COMPLETED:
        after["status"] = "completed"
        if outputs := list(_outputs(performed, before)):
            after["output"] = [*before.get("output", ()), *outputs]
    else:
        after["status"] = "failed"
        after["statusReason"] = _reason(said)
    return after


def called_off(before: Resource, status: str, information: Dataset, instant: str) -> dict[str, Any]:
    """Say what becomes of a Task that nobody has begun and that is not wanted any more."""
    progress = Dataset()
    progress.update(information)
    said = Dataset()
    said.ProcedureStepProgressInformationSequence = [progress]
    return {
        **before,
        "status": status,
        "statusReason": _reason(said),
        "lastModified": instant,
    }


def asked_to_cancel(
    before: Resource, information: Dataset, by: str, instant: str
) -> dict[str, Any]:
    """Note in a Task under way that somebody asks for it to be cancelled, for people and for us."""
    reason = _clean(text(information.get("ReasonForCancellation")))[:1024]
    parts: list[dict[str, Any]] = [
        {"url": "instant", "valueInstant": instant},
        {"url": "requester", "valueString": by},
    ]
    for name, keyword in (("contact-name", "ContactDisplayName"), ("contact", "ContactURI")):
        if said := _clean(text(information.get(keyword))):
            parts.append({"url": name, "valueString": said[:1024]})
    if reason:
        parts.append({"url": "reason", "valueString": reason})
    concepts = _concepts(information, "ProcedureStepDiscontinuationReasonCodeSequence")
    parts += [{"url": "code", "valueCodeableConcept": concept} for concept in concepts[:1]]
    asked = _with_extension(dict(before), codes.CANCEL_REQUEST, {"extension": parts})
    told = f"{by} asks for this to be cancelled" + (f": {reason}" if reason else ".")
    note = {"time": instant, "text": told}
    return {**asked, "note": [*before.get("note", ()), note], "lastModified": instant}


def instant_of(said: str) -> str:
    """Read a DT as a FHIR dateTime; empty when it is none (PS3.5 Section 6.2).

    Examples
    --------
    >>> instant_of("20260701090000.5+0000"), instant_of("20260701"), instant_of("soon")
    ('2026-07-01T09:00:00+00:00', '2026-07-01', '')
    """
    moment = said.strip()
    for sign in "+-":
        whole, found, offset = moment.partition(sign)
        if found:
            return convert.as_datetime(whole[:8], whole[8:], f"{sign}{offset}")
    return convert.as_datetime(moment[:8], moment[8:])


def _said(before: Resource, ds: Dataset) -> Iterator[tuple[str, Any]]:
    """Give the members of a Task that attributes of a UPS are."""
    priority = text(ds.get("ScheduledProcedureStepPriority")).strip()
    if priority and ups.PRIORITY.get(str(before.get("priority"))) != priority:
        yield "priority", PRIORITY[priority]
    if task.step_of(before) is None:  # what an imaging step is about does not change
        code = _code(before, ds)
        if code:
            yield "code", code
    period = dict(before.get("restriction", {}).get("period", {}))
    for part, keyword in (
        ("start", "ScheduledProcedureStepStartDateTime"),
        ("end", "ExpectedCompletionDateTime"),
    ):
        if moment := instant_of(text(ds.get(keyword))):
            period[part] = moment
    if period and _is_in_order(period):
        yield "restriction", {**before.get("restriction", {}), "period": period}
    readiness = text(ds.get("InputReadinessState")).strip()
    if readiness:
        said = {"valueCode": readiness}
        yield "extension", _with_extension(before, codes.INPUT_READINESS, said)["extension"]


def _is_in_order(period: Resource) -> bool:
    """Whether a period does not end before it begins (FHIR R4 per-1)."""
    if "start" not in period or "end" not in period:
        return True
    return date.period(str(period["start"]))[0] <= date.period(str(period["end"]))[1]


def _clean(said: str) -> str:
    """Take out what no FHIR string has, such as NUL (FHIR R4 Datatypes, string)."""
    return "".join(one for one in said if one >= " " or one in "\t\r\n").strip()


def _code(before: Resource, ds: Dataset) -> dict[str, Any]:
    code = dict(before.get("code", {}))
    if concepts := _concepts(ds, "ScheduledWorkitemCodeSequence"):
        code["coding"] = [coding for one in concepts for coding in one["coding"]]
    if label := _clean(text(ds.get("ProcedureStepLabel"))):
        code["text"] = label
    return code


def _outputs(performed: Dataset, before: Resource) -> Iterator[dict[str, Any]]:
    """Name the studies that came of it, by their UIDs."""
    known = {
        one.get("valueReference", {}).get("identifier", {}).get("value")
        for one in before.get("output", ())
    }
    items = performed.get("OutputInformationSequence") or ()
    for uid in dict.fromkeys(_clean(text(one.get("StudyInstanceUID"))) for one in items):
        if uid and f"urn:oid:{uid}" not in known:
            identifier = {"system": codes.DICOM_UID, "value": f"urn:oid:{uid}"}
            yield {
                "type": codes.IO_IMAGING_STUDY.concept,
                "valueReference": {"type": "ImagingStudy", "identifier": identifier},
            }


def _reason(said: Dataset) -> dict[str, Any]:
    items = said.get("ProcedureStepProgressInformationSequence") or (Dataset(),)
    concepts = _concepts(items[0], "ProcedureStepDiscontinuationReasonCodeSequence")
    reason = dict(concepts[0]) if concepts else {}
    if told := _clean(text(items[0].get("ReasonForCancellation"))):
        reason["text"] = told[:1024]
    return reason or {"text": "Canceled without a reason"}


def _concepts(ds: Dataset, keyword: str) -> list[dict[str, Any]]:
    items = [
        {element.keyword: _clean(text(element.value)) for element in item if element.keyword}
        for item in ds.get(keyword) or ()
    ]
    return convert.as_concepts(items)


def _with_extension(json: Resource, url: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    others = [one for one in json.get("extension", ()) if one.get("url") != url]
    if value is not None:
        others.append({"url": url, **value})
    after = {**json, "extension": others}
    if not others:
        del after["extension"]
    return after


def _request(ds: Dataset) -> Dataset:
    items = ds.get("ReferencedRequestSequence") or ()
    return items[0] if items else Dataset()
