"""What profiles demand: each demand kept, then broken; typed in from IMR and UK Core."""

from typing import Any

import pytest

from resources.profiles import check

Json = dict[str, Any]

IMR = "https://profiles.ihe.net/RAD/IMR/StructureDefinition/imr-"
UK = "https://fhir.hl7.org.uk/StructureDefinition/UKCore-"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
ATTACHMENT = {"contentType": "text/html", "size": 1, "hash": "x", "data": "eA=="}


def concept(system: str, code: str) -> Json:
    return {"coding": [{"system": system, "code": code}]}


def report(**members: Any) -> Json:
    return _of("DiagnosticReport", "diagnosticreport", {
        "subject": {"reference": "Patient/1"},
        "issued": "2026-11-24T10:00:00Z",
        "performer": [{"reference": "Organization/1"}],
        "resultsInterpreter": [{"reference": "PractitionerRole/1"}],
        "imagingStudy": [{"reference": "ImagingStudy/1"}],
        "presentedForm": [ATTACHMENT],
    }, members)  # fmt: skip


def study(**members: Any) -> Json:
    return _of("ImagingStudy", "imagingstudy", {
        "identifier": [{"type": concept(DCM, "110180"), "value": "urn:oid:1.2"}],
        "modality": [{"system": DCM, "code": "CT"}],
        "subject": {"reference": "Patient/1"},
        "started": "2026",
        "endpoint": [{"reference": "Endpoint/1"}],
        "series": [{"uid": "1.2"}],
    }, members)  # fmt: skip


def request(**members: Any) -> Json:
    return _of("ServiceRequest", "servicerequest", {
        "identifier": [
            {"type": concept("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN")}
        ],
        "intent": "original-order",
        "subject": {"reference": "Patient/1"},
        "category": [concept("http://snomed.info/sct", "363679005")],
    }, members)  # fmt: skip


def observation(**members: Any) -> Json:
    return _of("Observation", "observation", {
        "basedOn": [{"reference": "ServiceRequest/1"}],
        "category": [concept("http://loinc.org", "59776-5")],
        "subject": {"reference": "Patient/1"},
        "effectiveDateTime": "2026",
        "valueString": "x",
    }, members)  # fmt: skip


def endpoint(**members: Any) -> Json:
    kind = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
    return _of("Endpoint", "study-endpoint", {
        "connectionType": {"system": kind, "code": "dicom-wado-rs"},
        "payloadType": [concept(DCM, "113014")],
    }, members)  # fmt: skip


def _of(type: str, profile: str, default: Json, members: Json) -> Json:
    whole = {"resourceType": type, "meta": {"profile": [IMR + profile]}, **default, **members}
    return {name: value for name, value in whole.items() if value is not None}


def places(resource: Json) -> list[str]:
    claims = check(resource)
    assert claims.unknown == []
    return sorted({issue.at.partition(".")[2] for issue in claims.broken})


@pytest.mark.standard("IHE RAD IMR")
@pytest.mark.parametrize("made", [report, study, request, observation, endpoint])
def test_what_keeps_its_promise_is_not_complained_of(made: Any) -> None:
    assert places(made()) == []


@pytest.mark.standard("IHE RAD IMR")
@pytest.mark.parametrize(
    ("resource", "place"),
    [
        (report(subject=None), "subject"),
        (report(subject={"reference": "Group/1"}), "subject"),
        (report(issued=None), "issued"),
        (report(performer=None), "performer"),
        (report(performer=[{"reference": "Practitioner/1"}]), "performer"),
        (report(resultsInterpreter=None), "resultsInterpreter"),
        (report(resultsInterpreter=[{"reference": "Organization/1"}]), "resultsInterpreter"),
        (report(imagingStudy=None), "imagingStudy"),
        (report(imagingStudy=[{"reference": "ImagingStudy/1"}] * 2), "imagingStudy"),
        (report(presentedForm=None), "presentedForm"),
        (report(presentedForm=[{**ATTACHMENT, "contentType": "application/pdf"}]), "presentedForm"),
        (report(presentedForm=[{"contentType": "text/html", "data": "x"}]), "presentedForm"),
        (report(presentedForm=[{k: v for k, v in ATTACHMENT.items() if k != "data"}]),
         "presentedForm"),
        (study(identifier=None), "identifier"),
        (study(identifier=[{"value": "urn:oid:1.2"}]), "identifier"),
        (study(identifier=[{"type": concept(DCM, "110180")}]), "identifier"),
        (study(modality=None), "modality"),
        (study(started=None), "started"),
        (study(endpoint=None), "endpoint"),
        (study(series=None), "series"),
        (study(subject={"reference": "Device/1"}), "subject"),
        (request(identifier=None), "identifier"),
        (request(intent="proposal"), "intent"),
        (request(category=[concept("http://x", "y")]), "category"),
        (request(quantityQuantity={"value": 1}), "quantity"),
        (observation(basedOn=None), "basedOn"),
        (observation(category=None), "category"),
        (observation(effectiveDateTime=None), "effectiveDateTime"),
        (observation(valueString=None), "value"),
        (observation(performer=[{"reference": "CareTeam/1"}]), "performer"),
        (observation(component=[{"code": concept("x", "y")}]), "component"),
        (endpoint(connectionType={"code": "dicom-qido-rs"}), "connectionType"),
        (endpoint(payloadType=[concept(DCM, "1")]), "payloadType"),
    ],
)  # fmt: skip
def test_a_promise_that_is_broken_is_told_at_its_place(resource: Json, place: str) -> None:
    assert places(resource) == [place]


@pytest.mark.standard("UK Core Patient")
def test_an_nhs_number_has_a_value() -> None:
    nhs = {"system": "https://fhir.nhs.uk/Id/nhs-number"}
    patient = {"resourceType": "Patient", "meta": {"profile": [f"{UK}Patient|2.6.1"]}}
    assert places({**patient, "identifier": [{**nhs, "value": "9990000107"}]}) == []
    assert places({**patient, "identifier": [nhs]}) == ["identifier"]
    assert places({**patient, "identifier": [{"system": "urn:x"}]}) == []


@pytest.mark.standard("UK Core DiagnosticReport ukcore-diag-lab-002")
def test_a_media_link_is_said_in_one_way() -> None:
    said = {
        "url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.media.link"
    }
    plain = {"resourceType": "DiagnosticReport", "meta": {"profile": [f"{UK}DiagnosticReport"]}}
    linked = {"media": [{"link": {"reference": "Media/1"}}]}
    assert places({**plain, **linked}) == []
    assert places({**plain, "extension": [said]}) == []
    assert places({**plain, **linked, "extension": [said]}) == ["media"]


def test_a_reference_that_does_not_say_its_type_is_not_blamed() -> None:
    by_number = {"identifier": {"system": "urn:x", "value": "1"}}
    assert places(report(performer=[by_number], subject=by_number)) == []


def test_a_profile_on_another_type_is_not_kept() -> None:
    claims = check({"resourceType": "Patient", "meta": {"profile": [IMR + "imagingstudy"]}})
    assert [issue.at for issue in claims.broken] == ["Patient.meta.profile"]


def test_the_base_definition_is_a_profile_everybody_keeps() -> None:
    base = "http://hl7.org/fhir/StructureDefinition/Patient"
    assert check({"resourceType": "Patient", "meta": {"profile": [base]}}) == ([], [])
