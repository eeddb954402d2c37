"""Builders: the smallest resources that mean something, in FHIR JSON; override what matters."""

import itertools
from typing import Any

from resources import codes

Json = dict[str, Any]
_numbers = itertools.count(1)


def nhs_number(serial: int) -> str:
    """A test NHS number: 999, five digits of the serial, and the digits that make it valid.

    Examples
    --------
    >>> nhs_number(1)
    '9990000107'
    """
    for filler in range(10):
        digits = f"999{serial:05d}{filler}"
        total = sum(
            int(digit) * weight for digit, weight in zip(digits, range(10, 1, -1), strict=True)
        )
        check = -total % 11
        if check != 10:
            return f"{digits}{check}"
    raise ValueError(f"no test NHS number for {serial}")


def a_patient(id: str | None = "p1", **members: Any) -> Json:
    """A patient with a valid test NHS number and an invented name."""
    return _resource("Patient", id, members, {
        "identifier": [{"system": codes.NHS_NUMBER, "value": nhs_number(next(_numbers))}],
        "name": [{"use": "official", "family": "Testcase", "given": ["Robin"]}],
        "gender": "other",
        "birthDate": "1970-01-01",
    })  # fmt: skip


def an_organization(id: str | None = "lead", ods: str = "ZZ901", **members: Any) -> Json:
    """An organisation with an ODS code that is not in use."""
    return _resource("Organization", id, members, {
        "identifier": [{"system": codes.ODS_ORGANIZATION, "value": ods}],
        "active": True,
        "name": f"Test Organisation {ods}",
    })  # fmt: skip


def a_practitioner(id: str | None = "dr", family: str = "Example", **members: Any) -> Json:
    """A practitioner with a name."""
    name = {"prefix": ["Dr"], "given": ["Sam"], "family": family}
    return _resource("Practitioner", id, members, {"active": True, "name": [name]})


def a_role(
    id: str | None = "radiologist",
    organization: str = "lead",
    practitioner: str = "dr",
    specialty: str = "Clinical radiology",
    **members: Any,
) -> Json:
    """A practitioner's role at an organisation, with a registered speciality."""
    return _resource("PractitionerRole", id, members, {
        "active": True,
        "practitioner": {"reference": f"Practitioner/{practitioner}"},
        "organization": {"reference": f"Organization/{organization}"},
        "specialty": [{"text": specialty}],
    })  # fmt: skip


def a_request(id: str | None = "sr1", **members: Any) -> Json:
    """A requested procedure of an imaging service request, addressed to the lead provider.

    It may repeat another, and says why: most tests ask for the same of one patient many times.
    """
    return _resource("ServiceRequest", id, members, {
        "extension": [{"url": codes.OVERRIDE_REASON, "valueString": "Asked for once more"}],
        "status": "active",
        "intent": "original-order",
        "requisition": {"system": codes.ISR, "value": "ISR-1"},
        "priority": "urgent",
        "category": [codes.KIND_PRIMARY.concept],
        "code": {
            "coding": [{"system": codes.SNOMED, "code": "303653007", "display": "CT of head"}],
        },
        "subject": {"reference": "Patient/p1"},
        "requester": {"reference": "PractitionerRole/gp"},
        "performer": [{"reference": "Organization/lead"}],
        "reasonCode": [{"text": "Headache for three weeks, worse in the morning"}],
        "note": [{"text": "On anticoagulants"}],
    })  # fmt: skip


def a_step(step: str, id: str | None = None, **members: Any) -> Json:
    """A Task of an imaging step."""
    return _resource("Task", id or step, members, {
        "status": "requested",
        "intent": "order",
        "code": codes.STEPS[step].concept,
        "focus": {"reference": "ServiceRequest/sr1"},
        "basedOn": [{"reference": "ServiceRequest/sr1"}],
        "for": {"reference": "Patient/p1"},
        "authoredOn": "2026-11-24T03:00:00Z",
        "lastModified": "2026-11-24T03:00:00Z",
        "requester": {"reference": "PractitionerRole/gp"},
        "owner": {"reference": "Organization/lead"},
    })  # fmt: skip


def an_appointment(id: str | None = "a1", request: str = "sr1", **members: Any) -> Json:
    """A booked slot for a requested procedure."""
    return _resource("Appointment", id, members, {
        "status": "booked",
        "basedOn": [{"reference": f"ServiceRequest/{request}"}],
        "start": "2026-11-25T09:00:00Z",
        "end": "2026-11-25T09:20:00Z",
        "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}],
    })  # fmt: skip


def a_study(
    id: str | None = "is1", images: int = 2, uid: str = "1.2.3", request: str = "", **members: Any
) -> Json:
    """A study of one CT series; of no series when there are no images."""
    instances = [
        {
            "uid": f"{uid}.1.{number}",
            "number": number,
            "sopClass": {"system": codes.URI, "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"},
        }
        for number in range(1, images + 1)
    ]
    series = {
        "uid": f"{uid}.1",
        "number": 1,
        "modality": {"system": codes.DCM, "code": "CT"},
        "numberOfInstances": images,
        "instance": instances,
    }
    study: Json = {
        "identifier": [{"system": codes.DICOM_UID, "value": f"urn:oid:{uid}"}],
        "status": "available" if images else "registered",
        "subject": {"reference": "Patient/p1"},
        "numberOfSeries": 1 if images else 0,
        "numberOfInstances": images,
    }
    if request:
        study["basedOn"] = [{"reference": f"ServiceRequest/{request}"}]
    if images:
        study["series"] = [series]
    return _resource("ImagingStudy", id, members, study)


def a_report(id: str | None = "dr1", request: str = "sr1", study: str = "is1", **m: Any) -> Json:
    """A final radiology report of one study."""
    return _resource("DiagnosticReport", id, m, {
        "status": "final",
        "category": [codes.RADIOLOGY.concept],
        "code": codes.DIAGNOSTIC_IMAGING_REPORT.concept,
        "basedOn": [{"reference": f"ServiceRequest/{request}"}],
        "subject": {"reference": "Patient/p1"},
        "issued": "2026-11-25T11:00:00Z",
        "performer": [{"reference": "Organization/lead"}],
        "resultsInterpreter": [{"reference": "PractitionerRole/radiologist"}],
        "imagingStudy": [{"reference": f"ImagingStudy/{study}"}],
        "conclusion": "No intracranial haemorrhage.",
    })  # fmt: skip


def _resource(type: str, id: str | None, members: Json, default: Json) -> Json:
    """Type and id first, then the default with what was overridden; None takes a member out."""
    named = {"resourceType": type, **({"id": id} if id else {})}
    merged = {**named, **default, **members}
    return {name: value for name, value in merged.items() if value is not None}
