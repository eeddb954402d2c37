"""FHIR R4 search, "Modifiers": what each makes of the kinds that may have it.

The rows are typed in from https://hl7.org/fhir/R4/search.html.
"""

from typing import Any

import pytest

from fhir_server.postgres.database import Database
from resources.errors import Invalid, Refusal
from tests.fhir_server.search.rows import ids, put, search

pytestmark = pytest.mark.anyio

ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
MR = "http://terminology.hl7.org/CodeSystem/v2-0203"

PATIENT = {
    "resourceType": "Patient", "id": "p",
    "name": [{"family": "Ó Néill", "given": ["Ada", "ada"]}],
    "identifier": [
        {"type": {"coding": [{"system": MR, "code": "MR"}], "text": "Hospital number"},
         "system": "http://mrn", "value": "446053"},
        {"system": "http://ppn", "value": "12345"},
    ],
    "maritalStatus": {"text": "Not said"},
    "managingOrganization": {"identifier": {"system": "http://ods", "value": "RXX"}},
    "generalPractitioner": [{"display": "Dr Who"}],
}  # fmt: skip
REQUEST = {
    "resourceType": "ServiceRequest", "id": "r", "status": "active", "priority": "asap",
    "code": {"coding": [{"system": "http://s", "code": "ct", "display": "CT of the Head"}],
             "text": "Scan"},
    "subject": {"reference": "Patient/p"},
    "meta": {"security": [{"system": ACT_REASON, "code": "ETREAT"}],
             "profile": ["http://acme.org/fhir/StructureDefinition/x"]},
    "instantiatesUri": ["http://acme.org/fhir/ValueSet/123"],
}  # fmt: skip

ROWS: list[tuple[dict[str, Any], str, bool]] = [
    # :exact, "the complete contents of the string, case and accent sensitive"
    (PATIENT, "family:exact=Ó Néill", True),
    (PATIENT, "family:exact=ó néill", False),
    (PATIENT, "family:exact=Ó Né", False),
    (PATIENT, "family:exact=O Neill", False),
    (PATIENT, "given:exact=Ada", True),
    (PATIENT, "given:exact=ada", True),
    (PATIENT, "given:exact=ADA", False),
    (PATIENT, "given:exact=Bob,Ada", True),
    (PATIENT, "family:exact=Ada", False),
    # :contains, "anywhere in the string"
    (PATIENT, "family:contains=eil", True),
    (PATIENT, "family:contains=xeil", False),
    # :text on token, "searches text associated with the code: text, display, Identifier.type.text"
    (REQUEST, "code:text=ct OF", True),
    (REQUEST, "code:text=scan", True),
    (REQUEST, "code:text=head", False),
    (REQUEST, "code:text=100%", False),
    (REQUEST, "category:text=scan", False),
    (PATIENT, "identifier:text=hospital", True),
    (PATIENT, "identifier:text=446053", False),
    # :not
    (REQUEST, "status:not=draft", True),
    (REQUEST, "status:not=active", False),
    (REQUEST, "status:not=draft,active", False),
    # :of-type, "[system]|[code]|[value]"
    (PATIENT, f"identifier:of-type={MR}|MR|446053", True),
    (PATIENT, f"identifier:of-type={MR}|MR|12345", False),
    (PATIENT, f"identifier:of-type={MR}|SS|446053", False),
    (PATIENT, f"identifier:of-type={MR}|MR|4460_3", False),
    # :identifier on reference, "Reference.identifier, rather than the literal reference"
    (PATIENT, "organization:identifier=http://ods|RXX", True),
    (PATIENT, "organization:identifier=RXX", True),
    (PATIENT, "organization:identifier=http://ods|RYY", False),
    (PATIENT, "organization=Organization/RXX", False),
    # :[type] on reference
    (REQUEST, "subject:Patient=p", True),
    (REQUEST, "subject:Group=p", False),
    # :in and :not-in, "a member of the value set"; a bare code has no system
    (REQUEST, "priority:in=http://hl7.org/fhir/ValueSet/request-priority", True),
    (REQUEST, "priority:not-in=http://hl7.org/fhir/ValueSet/request-priority", False),
    (REQUEST, "status:in=http://hl7.org/fhir/ValueSet/request-priority", False),
    (REQUEST, "status:not-in=http://hl7.org/fhir/ValueSet/request-priority", True),
    # :below and :above on token, "subsumed by": emergency treatment is a treatment
    (REQUEST, f"_security:below={ACT_REASON}|TREAT", True),
    (REQUEST, f"_security:below={ACT_REASON}|ETREAT", True),
    (REQUEST, f"_security:below={ACT_REASON}|HPAYMT", False),
    (REQUEST, f"_security:above={ACT_REASON}|ETREAT", True),
    (REQUEST, f"_security:above={ACT_REASON}|TREAT", False),
    # :below and :above on uri
    (REQUEST, "instantiates-uri:below=http://acme.org/fhir/", True),
    (REQUEST, "instantiates-uri:below=http://acme.org/fhir/ValueSet/123", True),
    (REQUEST, "instantiates-uri:below=http://acme.org/fhir/ValueSet/12", False),
    (REQUEST, "instantiates-uri:above=http://acme.org/fhir/ValueSet/123/_history/5", True),
    (REQUEST, "instantiates-uri:above=http://acme.org/fhir/ValueSet/1234", False),
    (REQUEST, "_profile:below=http://acme.org", True),
    # :missing: what is there counts, whether or not it can be asked for
    (PATIENT, "organization:missing=false", True),
    (PATIENT, "general-practitioner:missing=true", False),
    (PATIENT, "link:missing=true", True),
    (PATIENT, "family:missing=false", True),
    (REQUEST, "code:missing=true", False),
    (REQUEST, "authored:missing=true", True),
    (REQUEST, "instantiates-uri:missing=false", True),
]


@pytest.mark.standard("FHIR search modifiers")
async def test_modifiers_do_what_the_standard_says(database: Database) -> None:
    await put(database, PATIENT, REQUEST)

    wrong = [
        asked
        for resource, asked, expected in ROWS
        if (ids(await search(database, resource["resourceType"], asked)) == [resource["id"]])
        is not expected
    ]
    assert wrong == []


@pytest.mark.standard("FHIR search modifiers")
@pytest.mark.parametrize(
    ("type", "asked"),
    [
        ("Patient", "family:text=x"),
        ("Patient", "family:above=x"),
        ("Patient", "birthdate:exact=2026"),
        ("Patient", "identifier:exact=x"),
        ("Patient", "identifier:of-type=x|y"),
        ("Patient", "organization:identifier:x=y"),
        ("Patient", "organization:Patient=x"),
        ("Patient", "organization:below=x"),
        ("Patient", "identifier:identifier=x"),
        ("RiskAssessment", "probability:not=1"),
        ("RiskAssessment", "probability:exact=1"),
        ("Observation", "value-quantity:below=1"),
        ("Observation", "code-value-quantity:not=a$1"),
        ("Observation", "value-quantity=5|mg"),
        ("Location", "near:not=1|1"),
        ("Task", "status:in=http://example.org/ValueSet/none"),
        ("Task", "status:below=ready"),
        ("ServiceRequest", "instantiates-uri:below=urn:oid:1.2.3"),
    ],
)
async def test_what_a_kind_cannot_do_is_refused(database: Database, type: str, asked: str) -> None:
    with pytest.raises(Refusal):
        await search(database, type, asked)


@pytest.mark.standard("FHIR search token")
async def test_a_value_set_that_is_not_held_is_said_so(database: Database) -> None:
    with pytest.raises(Invalid) as refused:
        await search(database, "Task", "status:in=http://example.org/ValueSet/none")

    assert refused.value.code == "not-found"
