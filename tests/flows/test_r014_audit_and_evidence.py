"""R014: who did what when, and which images a reporter had."""

import pytest

from resources import codes
from resources.imaging_study import manifest
from tests.flows.clinic import Clinic, Json


def evidence(clinic: Clinic, report: Json) -> Json:
    """The entity of the report's Provenance that pins the study."""
    (provenance,) = [
        one
        for one in clinic.search("auditor", f"Provenance?target=DiagnosticReport/{report['id']}")
        if codes.has(one["activity"], codes.LEGALLY_AUTHENTICATED)
    ]
    (entity,) = [
        one for one in provenance["entity"] if one["what"]["reference"].startswith("ImagingStudy/")
    ]
    found: Json = entity
    return found


def pinned(entity: Json) -> tuple[int, str]:
    parts = {
        one["url"]: one
        for extension in entity["extension"]
        for one in extension.get("extension", [])
    }
    return parts["count"]["valueUnsignedInt"], parts["sha256"]["valueString"]


@pytest.mark.requirement("R014.1")
def test_every_access_to_the_record_is_in_the_audit(clinic: Clinic) -> None:
    _, study, _ = clinic.reported()

    clinic.get("reporter", f"ImagingStudy/{study['id']}")

    events = clinic.search(
        "auditor", f"AuditEvent?entity=ImagingStudy/{study['id']}&action=R&_count=100"
    )
    readers = {agent["who"].get("reference") for one in events for agent in one["agent"]}
    assert "PractitionerRole/reporter" in readers
    assert all("recorded" in one for one in events)


@pytest.mark.requirement("R014.2")
def test_request_acquisition_report_and_acknowledgement_name_person_and_time(
    clinic: Clinic,
) -> None:
    request, study, report = clinic.reported()
    clinic.acknowledge(request)
    justify = clinic.task(request, "justify")

    def acts(target: str) -> list[tuple[str, str]]:
        return [
            (
                one["agent"][0]["who"].get("reference", ""),
                one["agent"][0].get("onBehalfOf", {}).get("reference", ""),
            )
            for one in clinic.search("auditor", f"Provenance?target={target}&_sort=recorded")
            if len(one["agent"]) == 1 and one["recorded"]
        ]

    assert acts(f"ServiceRequest/{request['id']}") == [
        ("PractitionerRole/gp", "Organization/harbour")
    ]
    assert acts(f"Task/{justify['id']}") == [
        ("PractitionerRole/practitioner", "Organization/northmoor")
    ]
    assert acts(f"ImagingStudy/{study['id']}") == [("", "Organization/northmoor")]
    assert acts(f"DiagnosticReport/{report['id']}") == [
        ("PractitionerRole/reporter", "Organization/northmoor"),
        ("PractitionerRole/gp", "Organization/harbour"),
    ]


@pytest.mark.requirement("R014.2")
def test_who_took_the_examination_is_named_as_having_acquired_it(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    clinic.book(request)
    taken = {"status": "in-progress", "owner": {"reference": "PractitionerRole/operator"}}
    clinic.change("operator", clinic.task(request, "acquire"), **taken)
    study = clinic.images_arrive(request)

    (act,) = [
        one
        for one in clinic.search("auditor", f"Provenance?target=ImagingStudy/{study['id']}")
        if codes.has(one["activity"], codes.ACQUIRE)
    ]
    assert act["agent"][0]["who"] == {"reference": "PractitionerRole/operator"}
    assert act["agent"][0]["onBehalfOf"] == {"reference": "Organization/northmoor"}


@pytest.mark.requirement("R014.2")
def test_what_the_server_did_by_itself_says_so(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    acquire = clinic.task(request, "acquire")

    (made,) = clinic.search("auditor", f"Provenance?target=Task/{acquire['id']}")

    assert made["agent"][0]["who"] == {"reference": "PractitionerRole/practitioner"}
    assert codes.has(made["agent"][1]["type"], codes.ASSEMBLER)


@pytest.mark.requirement("R014.3")
def test_the_report_pins_the_version_of_the_study_and_its_instances(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    report = clinic.report(request, study)

    entity = evidence(clinic, report)

    version = study["meta"]["versionId"]
    assert entity["what"]["reference"] == f"ImagingStudy/{study['id']}/_history/{version}"
    assert pinned(entity) == manifest(study)


@pytest.mark.requirement("R014.3")
def test_images_that_come_later_do_not_change_what_was_available(clinic: Clinic) -> None:
    request, study, report = clinic.reported()
    before = evidence(clinic, report)

    after = clinic.images_arrive(request, images=4)

    assert after["numberOfInstances"] == study["numberOfInstances"] + 4
    assert evidence(clinic, report) == before
    then = clinic.get("reporter", before["what"]["reference"])
    assert manifest(then) == pinned(before)
    assert manifest(after) != pinned(before)
