"""FHIR resources for load: about 1.5 kB a ServiceRequest, 3 kB an ImagingStudy; invented data."""

import random
import uuid
from typing import Any

JSON = dict[str, Any]
LOINC_CT_CHEST = {"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}
CHEST = {"system": "http://snomed.info/sct", "code": "51185008", "display": "Thoracic structure"}
CT = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}
ACSN = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}],
}
EXAMPLE = "http://hospital.example.org"


def reference(kind: str, key: str) -> JSON:
    """Refer to a stored resource, or to one of the same Bundle by its urn."""
    return {"reference": key if key.startswith("urn:") else f"{kind}/{key}"}


def patient(number: int) -> JSON:
    """Make a Patient without identity."""
    name = [{"family": f"Seed{number}", "given": ["A"]}]
    return {
        "resourceType": "Patient",
        "name": name,
        "gender": "other",
        "birthDate": "1960-02-03",
    }


def service_request(subject: str, number: int, rnd: random.Random) -> JSON:
    """Make a ServiceRequest; two of six are completed, one a draft."""
    status = ("active", "active", "active", "completed", "completed", "draft")[number % 6]
    second = rnd.randrange(86400)
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    when = f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d}T{clock}Z"
    procedure = {"system": f"{EXAMPLE}/procedures", "code": "CTCH", "display": "CT with contrast"}
    return {
        "resourceType": "ServiceRequest",
        "identifier": [
            {
                "use": "usual",
                "type": ACSN,
                "system": f"{EXAMPLE}/accession",
                "value": "ACC" + uuid.UUID(int=rnd.getrandbits(128)).hex[:16],
            },
            {"system": f"{EXAMPLE}/placer", "value": f"P{rnd.randrange(10**12):012d}"},
        ],
        "status": status,
        "intent": "order",
        "priority": "routine",
        "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "363679005"}]}],
        "code": {"coding": [LOINC_CT_CHEST, procedure], "text": "CT chest with contrast"},
        "subject": {**reference("Patient", subject), "display": "Test, Patient"},
        "occurrenceDateTime": when,
        "authoredOn": when,
        "requester": {"display": "Dr. Anna Example"},
        "performer": [{"display": "Radiology department"}],
        "reasonCode": [
            {
                "coding": [{"system": "http://snomed.info/sct", "code": "233604007"}],
                "text": "Suspected pneumonia",
            }
        ],
        "bodySite": [{"coding": [CHEST]}],
        "note": [
            {"text": "Fever for five days; whether there is an allergy to contrast is not known."}
        ],
        "patientInstruction": "Please fast for four hours before the examination.",
    }


def imaging_study(subject: str, number: int, rnd: random.Random) -> JSON:
    """Make an ImagingStudy of three series of three instances."""
    uid = f"1.2.826.0.1.3680043.10.{rnd.randrange(10**9)}.{rnd.randrange(10**12)}"
    month = number % 12 + 1
    series = [
        {
            "uid": f"{uid}.{s}",
            "number": s,
            "modality": CT,
            "description": f"Series {s} axial 1.5 mm",
            "numberOfInstances": 3,
            "bodySite": CHEST,
            "started": f"2026-{month:02d}-11T10:{s:02d}:00Z",
            "instance": [
                {
                    "uid": f"{uid}.{s}.{i}",
                    "number": i,
                    "sopClass": {
                        "system": "urn:ietf:rfc:3986",
                        "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2",
                    },
                    "title": "ORIGINAL\\PRIMARY\\AXIAL",
                }
                for i in (1, 2, 3)
            ],
        }
        for s in (1, 2, 3)
    ]
    accession = {
        "type": ACSN,
        "system": f"{EXAMPLE}/accession",
        "value": f"ACC{rnd.randrange(10**12):012d}",
    }
    return {
        "resourceType": "ImagingStudy",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}, accession],
        "status": "available",
        "modality": [CT],
        "subject": reference("Patient", subject),
        "started": f"2026-{month:02d}-11T10:00:00Z",
        "numberOfSeries": 3,
        "numberOfInstances": 9,
        "procedureCode": [{"coding": [LOINC_CT_CHEST]}],
        "description": "CT chest with contrast",
        "series": series,
    }


def report(subject: str, request: str, study: str, number: int) -> JSON:
    """Make a final DiagnosticReport on a request and a study."""
    rad = {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}
    month = number % 12 + 1
    return {
        "resourceType": "DiagnosticReport",
        "resultsInterpreter": [{"reference": "PractitionerRole/reporter"}],
        "identifier": [{"system": f"{EXAMPLE}/report", "value": f"R{number:08d}"}],
        "basedOn": [reference("ServiceRequest", request)],
        "status": "final",
        "category": [{"coding": [rad]}],
        "code": {"coding": [LOINC_CT_CHEST]},
        "subject": reference("Patient", subject),
        "effectiveDateTime": f"2026-{month:02d}-12T09:00:00Z",
        "issued": f"2026-{month:02d}-12T10:00:00Z",
        "imagingStudy": [reference("ImagingStudy", study)],
        "conclusion": "No consolidation. No pleural effusion. Heart size within normal limits.",
    }


def bundle(kind: str, entries: list[tuple[str, JSON]]) -> JSON:
    """Make a batch or transaction of POSTs; an entry's first part is its urn or empty."""
    return {
        "resourceType": "Bundle",
        "type": kind,
        "entry": [
            {
                **({"fullUrl": urn} if urn else {}),
                "resource": resource,
                "request": {"method": "POST", "url": resource["resourceType"]},
            }
            for urn, resource in entries
        ],
    }


def transaction(rnd: random.Random, number: int) -> JSON:
    """Make a transaction of 20: a Patient, 9 requests, 5 studies, 5 reports, linked by urn."""

    def urn() -> str:
        return f"urn:uuid:{uuid.UUID(int=rnd.getrandbits(128), version=4)}"

    subject = urn()
    requests = [(urn(), service_request(subject, number + i, rnd)) for i in range(9)]
    studies = [(urn(), imaging_study(subject, number + i, rnd)) for i in range(5)]
    reports = [
        (urn(), report(subject, requests[i][0], studies[i][0], number + i)) for i in range(5)
    ]
    return bundle("transaction", [(subject, patient(number)), *requests, *studies, *reports])
