"""One view of a request: the whole of it in order, across organisations, as far as one may see."""

import pytest

from resources import codes
from tests.flows.clinic import Clinic, Json
from tests.flows.partners import BOTH, BY_ITSELF, DELEGATED, Partner, acquired, asked, hand_over
from tests.flows.partners import reported as reported_by

MOMENTS = {
    "Task": "authoredOn",
    "DiagnosticReport": "issued",
    "Provenance": "recorded",
    "Communication": "sent",
}


def told(clinic: Clinic, request: Json, login: str) -> list[Json]:
    page = clinic.get(login, f"ServiceRequest/{request['id']}/$everything")
    return [one["resource"] for one in page["entry"] if one["search"]["mode"] == "match"]


@pytest.mark.requirement("W4")
@pytest.mark.requirement("R007.1")
def test_the_story_of_a_request_is_told_in_order_and_across_organisations(clinic: Clinic) -> None:
    partner = Partner(clinic, "acquires-for", "reports-for", terms=(DELEGATED, BY_ITSELF))
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, BOTH)
    study = acquired(clinic, partner, request, onward)
    report = reported_by(partner, onward, study)
    clinic.acknowledge(request)

    story = told(clinic, request, "coordinator")

    names = [f"{one['resourceType']}/{one['id']}" for one in story]
    assert names[0] == f"ServiceRequest/{request['id']}"
    assert {
        f"ServiceRequest/{onward['id']}",
        f"ImagingStudy/{study['id']}",
        f"DiagnosticReport/{report['id']}",
    } <= set(names)
    steps = {
        coding["code"]
        for one in story
        if one["resourceType"] == "Task"
        for coding in one["code"]["coding"]
        if coding["system"] == codes.IMAGING_STEP
    }
    assert {"justify", "acquire", "report", "monitor", "acknowledge"} <= steps
    acted = {
        agent.get("onBehalfOf", {}).get("reference")
        for one in story
        if one["resourceType"] == "Provenance"
        for agent in one["agent"]
    }
    assert {"Organization/northmoor", "Organization/harbour", partner.reference} <= acted
    for type, element in MOMENTS.items():
        moments = [one[element] for one in story if one["resourceType"] == type and element in one]
        assert moments == sorted(moments), type


@pytest.mark.requirement("W4")
def test_who_works_for_the_lead_is_told_their_part_and_a_stranger_nothing(clinic: Clinic) -> None:
    partner = Partner(clinic, "acquires-for", "reports-for", terms=(DELEGATED,))
    (other,) = clinic.refer()
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, BOTH)

    answer = partner.as_().get(f"ServiceRequest/{onward['id']}/$everything")

    names = {
        f"{one['resource']['resourceType']}/{one['resource']['id']}"
        for one in answer.json()["entry"]
    }
    assert f"ServiceRequest/{onward['id']}" in names
    assert f"ServiceRequest/{other['id']}" not in names
    stranger = Partner(clinic)
    assert stranger.read(f"ServiceRequest/{request['id']}/$everything") == 404
