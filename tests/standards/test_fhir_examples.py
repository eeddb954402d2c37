"""The official R4 examples: accepted, and given back as they came, decimals to the digit.

All of the npm package where `make` could fetch it, else all but those of definitions.
"""

import json
from decimal import Decimal
from typing import Any

import pytest

from resources import content, validate
from resources.errors import Unreadable
from resources.models import TYPES
from tools.examples import ARCHIVE, examples, members

Json = dict[str, Any]

ERRATA = {
    # Examples that break a rule of the very release they are of, and which.
    "ActivityDefinition-blood-tubes-supply.json": "txt-2",
    "ActivityDefinition-heart-valve-replacement.json": "txt-2",
    "CodeSystem-v2-0550.json": "a code with two spaces in a row",
    "DeviceMetric-example.json": "parent is a Device, this a DeviceDefinition",
    "DeviceUseStatement-example.json": "reasonReference is no Procedure",
    "EventDefinition-example.json": "txt-2",
    "ImplementationGuide-fhir.json": "name and definition are required",
    "MedicationRequest-medrx0301.json": "dispenseRequest.performer is an Organization",
    "Observation-clinical-gender.json": "performer is no Encounter",
    "Questionnaire-qs1.json": "item.linkId is required",
    "Questionnaire-zika-virus-exposure-assessment.json": "txt-2",
    "SearchParameter-codesystem-extensions-CodeSystem-author.json": "base is required",
    "SearchParameter-codesystem-extensions-CodeSystem-effective.json": "base is required",
    "SearchParameter-codesystem-extensions-CodeSystem-end.json": "base is required",
    "SearchParameter-codesystem-extensions-CodeSystem-keyword.json": "base is required",
    "SearchParameter-codesystem-extensions-CodeSystem-workflow.json": "base is required",
    "SearchParameter-questionnaireresponse-extensions-QuestionnaireResponse-item-subject.json":
        "an id has at most 64 characters",
    "SearchParameter-valueset-extensions-ValueSet-author.json": "base is required",
    "SearchParameter-valueset-extensions-ValueSet-effective.json": "base is required",
    "SearchParameter-valueset-extensions-ValueSet-end.json": "base is required",
    "SearchParameter-valueset-extensions-ValueSet-keyword.json": "base is required",
    "SearchParameter-valueset-extensions-ValueSet-workflow.json": "base is required",
    "ig-r4.json": "name and definition are required",
}  # fmt: skip


def exact(text: bytes) -> Json:
    """Parse with every digit kept: 0.40 is not 0.4."""
    parsed: Json = json.loads(text, parse_float=lambda digits: ("decimal", digits))
    return parsed


@pytest.fixture(scope="module")
def official() -> dict[str, bytes]:
    return {
        name: text
        for name, text in examples()
        if b'"resourceType"' in text and exact(text).get("resourceType") in TYPES
    }


@pytest.mark.standard("FHIR R4 examples")
def test_every_official_example_is_accepted_but_for_the_errata(
    official: dict[str, bytes],
) -> None:
    refused = {}
    for name, text in official.items():
        try:
            issues = validate.check(content.read(text))
        except Unreadable as unreadable:
            issues = list(unreadable.issues)
        if issues:
            refused[name] = f"{issues[0].at}: {issues[0].text}"
    assert {name: why for name, why in refused.items() if name not in ERRATA} == {}
    assert refused.keys() == ERRATA.keys() & official.keys()


@pytest.mark.standard("FHIR R4 examples")
def test_every_official_example_is_stored_as_it_came(official: dict[str, bytes]) -> None:
    changed = []
    for name, text in official.items():
        stored = exact(content.stamped(content.read(text), "an-id", 7, 1_790_000_000_000_000))
        sent = exact(text)
        assert (stored["id"], stored["meta"]["versionId"]) == ("an-id", "7"), name
        for resource in (stored, sent):
            resource.pop("id", None)
            resource["meta"] = {
                name: value
                for name, value in resource.get("meta", {}).items()
                if name not in {"versionId", "lastUpdated"}
            }
        if stored != sent:
            changed.append(name)
    assert changed == []


def test_the_examples_are_many_and_of_every_kind(official: dict[str, bytes]) -> None:
    kinds = {exact(text)["resourceType"] for text in official.values()}
    assert len(official) > 650
    assert {
        "Appointment", "AuditEvent", "Bundle", "Communication", "Composition", "Consent",
        "DiagnosticReport", "DocumentReference", "ImagingStudy", "List", "Observation", "Patient",
        "Procedure", "Provenance", "ServiceRequest", "Task",
    } <= kinds  # fmt: skip


def test_the_digits_of_decimals_are_looked_at() -> None:
    assert exact(b'{"a":0.40}') != exact(b'{"a":0.4}')
    assert Decimal("0.40") == Decimal("0.4")


def test_the_archive_has_an_example_of_every_type_but_definitions() -> None:
    kept = {exact(text)["resourceType"] for _, text in members(ARCHIVE)}
    assert "ImagingStudy" in kept
    assert "StructureDefinition" not in kept
    assert len(kept) > 100
