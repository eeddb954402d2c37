"""What is said in the play: the request, the notes and the report, as FHIR resources."""

from datetime import UTC, datetime
from typing import Any, Final

from pydicom.dataset import Dataset

from demo import data
from resources import codes

Json = dict[str, Any]

REASON: Final = "Worsening headache for three weeks, wakes her at night"
QUESTION: Final = "Intracranial mass or haemorrhage?"
HISTORY: Final = "On apixaban for atrial fibrillation. No neurological deficit."
JUSTIFICATION: Final = "Red flag headache on anticoagulant: CT head agreed, no contrast first"
REJECTION: Final = "Sinus CT adds dose and would not change management"
OPERATION: Final = "Mild urticaria ten minutes after contrast, settled without treatment"
CONCLUSION: Final = (
    "No intracranial haemorrhage, mass or midline shift.\n"
    "Ventricles and basal cisterns are of normal size."
)
AGAIN: Final = "The demonstration is played again"
"""Why the request is placed although the patient had the same before."""


def requested_procedure(isr: str, code: str, display: str, patient: str) -> Json:
    """One requested procedure of an imaging service request."""
    return {
        "resourceType": "ServiceRequest",
        "extension": [{"url": codes.OVERRIDE_REASON, "valueString": AGAIN}],
        "requisition": {"system": codes.ISR, "value": isr},
        "status": "active",
        "intent": "original-order",
        "category": [codes.KIND_PRIMARY.concept],
        "priority": "urgent",
        "code": {
            "coding": [{"system": codes.SNOMED, "code": code, "display": display}],
            "text": display,
        },
        "orderDetail": [{"text": QUESTION}],
        "subject": {"reference": f"Patient/{patient}"},
        "authoredOn": instant(datetime.now(UTC)),
        "requester": {"reference": "PractitionerRole/gp"},
        "performer": [{"reference": "Organization/northmoor"}],
        "reasonCode": [{"text": REASON}],
        "note": [note("gp", HISTORY)],
    }


def final_report(request: str, study: str, patient: str) -> Json:
    """A final radiology report, as a reporting system sends it."""
    return {
        "resourceType": "DiagnosticReport",
        "basedOn": [{"reference": request}],
        "status": "final",
        "category": [codes.RADIOLOGY.concept],
        "code": codes.concept(codes.DIAGNOSTIC_IMAGING_REPORT, text="CT of head: report"),
        "subject": {"reference": f"Patient/{patient}"},
        "issued": instant(datetime.now(UTC)),
        "imagingStudy": [{"reference": study}],
        "conclusion": CONCLUSION,
    }


def note(login: str, text: str) -> Json:
    """A note of one of the demonstration's people, made now."""
    person = data.person(login)
    return {
        "authorReference": {"reference": f"Practitioner/{login}", "display": person.display},
        "time": instant(datetime.now(UTC)),
        "text": text,
    }


def now() -> Dataset:
    """Date and time of the acquisition, in UTC, and said to be so."""
    now = datetime.now(UTC)
    ds = Dataset()
    ds.TimezoneOffsetFromUTC = "+0000"
    for kind in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{kind}Date", f"{now:%Y%m%d}")
        setattr(ds, f"{kind}Time", f"{now:%H%M%S}")
    return ds


def instant(when: datetime) -> str:
    """A FHIR instant in whole milliseconds."""
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
