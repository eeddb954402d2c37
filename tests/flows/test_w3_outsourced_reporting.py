"""Outsourced reporting over real sockets, each organisation asking as itself (figure 4-3)."""

import json
from typing import Any

import httpx
import pytest

from resources import codes
from tests.build import a_report
from tests.dicom_bridge.build import a_series
from tests.flows.clinic import Clinic
from tests.flows.pacs import Pacs, person, uids
from tests.flows.partners import (
    ACQUISITION,
    BY_ITSELF,
    DIRECT,
    REPORTING,
    Partner,
    accept,
    an_onward_request,
    asked,
    expire,
    hand_over,
    monitor,
    refused,
    reported,
    send_back,
)
from tests.flows.test_races import RACERS, all_at_once, statuses

Json = dict[str, Any]

pytestmark = pytest.mark.requirement("W3")


@pytest.fixture
def partner(clinic: Clinic) -> Partner:
    return Partner(clinic, "reports-for")


def imaged(clinic: Clinic) -> tuple[Json, Json]:
    """A request whose images the lead has acquired, and the study."""
    request = asked(clinic)
    clinic.book(request)
    study = clinic.images_arrive(request)
    return request, study


def test_the_report_of_the_partner_is_accepted_and_then_given_out_by_the_lead(
    clinic: Clinic, partner: Partner
) -> None:
    request, study = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    (task,) = partner.worklist("report")
    assert (task["status"], task["intent"]) == ("ready", "filler-order")
    assert task["focus"] == {"reference": f"ImagingStudy/{study['id']}"}
    assert clinic.task(request, "report")["status"] == "on-hold"

    report = reported(partner, onward, study)

    assert {one["reference"] for one in report["basedOn"]} == {
        f"ServiceRequest/{request['id']}",
        f"ServiceRequest/{onward['id']}",
    }
    assert clinic.tasks(request, "acknowledge") == []
    assert monitor(clinic, onward)["status"] == "ready"
    assert clinic.as_("reporter").get(f"DiagnosticReport/{report['id']}").status_code == 200

    accept(clinic, onward)
    (asked_for,) = clinic.tasks(request, "acknowledge", "gp")
    assert asked_for["requester"] == {"reference": "Organization/northmoor"}
    assert clinic.as_("gp").get(f"DiagnosticReport/{report['id']}").status_code == 200
    clinic.acknowledge(request)
    assert clinic.get("coordinator", f"ServiceRequest/{request['id']}")["status"] == "completed"
    assert clinic.get("coordinator", f"ServiceRequest/{onward['id']}")["status"] == "completed"


@pytest.mark.anyio
@pytest.mark.peer
@pytest.mark.requirement("R003.2")
@pytest.mark.requirement("R003.4")
async def test_images_prior_and_what_comes_late_are_in_the_pacs_of_who_reports(
    clinic: Clinic, pacs: Pacs
) -> None:
    partner, scanner = pacs.port.partner, person(clinic)
    older = a_series(2, study_date="20200101", **scanner)
    await pacs.port.send(*older, calling="CT1")
    request = asked(clinic)
    clinic.book(request)
    (planned,) = studies_of(clinic, request)
    uid = planned["identifier"][0]["value"].removeprefix("urn:oid:")
    images = a_series(2, study_uid=uid, **scanner)
    await pacs.port.send(*images, calling="CT1")
    assert not await pacs.holds() & uids([*older, *images])

    onward = hand_over(clinic, request, partner, REPORTING)

    (step,) = partner.worklist("report")
    sent = await pacs.prefetched(step)
    assert await pacs.holds() >= uids([*older, *images])
    assert sent["focus"] == step["focus"] == {"reference": f"ImagingStudy/{planned['id']}"}
    assert clinic.get("coordinator", f"Task/{sent['id']}")["status"] == "completed"
    assert len(sent["output"]) == 2

    late = a_series(1, study_uid=uid, series_number=7, **scanner)
    await pacs.port.send(*late, calling="CT1")
    await pacs.until_held(late)

    (study,) = studies_of(clinic, request)
    report = reported(partner, onward, study)
    assert monitor(clinic, onward)["status"] == "ready"
    accept(clinic, onward)
    assert clinic.as_("gp").get(f"DiagnosticReport/{report['id']}").status_code == 200
    clinic.acknowledge(request)
    assert clinic.get("coordinator", f"ServiceRequest/{request['id']}")["status"] == "completed"


def studies_of(clinic: Clinic, request: Json) -> list[Json]:
    return clinic.search("coordinator", f"ImagingStudy?basedon=ServiceRequest/{request['id']}")


def test_a_report_that_is_not_released_is_the_partner_s_and_the_lead_s(
    clinic: Clinic, partner: Partner
) -> None:
    request, study = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    report = reported(partner, onward, study)
    path = f"DiagnosticReport/{report['id']}"

    assert clinic.as_("gp").get(path).status_code == 404
    assert clinic.as_("gp").get(f"{path}/_history/1").status_code == 404
    found = clinic.search("gp", f"DiagnosticReport?patient={clinic.patient}")
    assert [one["id"] for one in found] == []
    assert codes.UNRELEASED.json in clinic.get("reporter", f"{path}/_history/1")["meta"]["security"]


def test_a_report_that_is_sent_back_is_written_again(clinic: Clinic, partner: Partner) -> None:
    request, study = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    report = reported(partner, onward, study)
    without_reason = clinic.put(
        "coordinator",
        {
            **monitor(clinic, onward),
            "status": "in-progress",
            "businessStatus": codes.RETURNED.concept,
        },
    )
    assert without_reason.status_code == 422

    send_back(clinic, onward, "The left lung is not described")

    acts = clinic.search("coordinator", f"Provenance?target=Task/{monitor(clinic, onward)['id']}")
    (act,) = [one for one in acts if codes.has(one["activity"], codes.RETURNED)]
    assert act["reason"] == [{"text": "The left lung is not described"}]
    assert act["agent"][0]["onBehalfOf"] == {"reference": "Organization/northmoor"}
    (again,) = partner.worklist("report")
    assert any(
        one.get("valueReference") == {"reference": f"DiagnosticReport/{report['id']}/_history/1"}
        for one in again["input"]
    )
    assert clinic.tasks(request, "acknowledge") == []
    current = partner.as_("reporter").get(f"DiagnosticReport/{report['id']}").json()
    why = {"url": codes.EVENT_STATUS_REASON, "valueCodeableConcept": {"text": "Left lung"}}
    answer = partner.put(
        current,
        "reporter",
        status="corrected",
        conclusion="Both lungs clear.",
        extension=[*current.get("extension", ()), why],
    )
    assert answer.status_code == 200, answer.text
    assert partner.worklist("report") == []
    accept(clinic, onward)
    (task,) = clinic.tasks(request, "acknowledge", "gp")
    newest = clinic.get("gp", f"DiagnosticReport/{report['id']}")["meta"]["versionId"]
    assert task["focus"] == {"reference": f"DiagnosticReport/{report['id']}/_history/{newest}"}


def test_nobody_accepts_a_report_before_it_is_there(clinic: Clinic, partner: Partner) -> None:
    request, _ = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    done: Json = {"status": "completed", "businessStatus": codes.ACCEPTED.concept}

    assert clinic.put("coordinator", {**monitor(clinic, onward), **done}).status_code == 409
    assert partner.read(f"Task/{monitor(clinic, onward)['id']}") in (200, 404)
    assert partner.put(monitor(clinic, onward), **done).status_code in (403, 404, 412)


def test_by_agreement_reports_are_accepted_as_they_come(clinic: Clinic) -> None:
    partner = Partner(clinic, "reports-for", terms=(BY_ITSELF,))
    request, study = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    reported(partner, onward, study)

    assert codes.has(monitor(clinic, onward)["businessStatus"], codes.ACCEPTED)
    clinic.acknowledge(request)
    assert clinic.get("coordinator", f"ServiceRequest/{request['id']}")["status"] == "completed"


def test_by_agreement_the_referrer_has_the_report_before_it_is_accepted(clinic: Clinic) -> None:
    partner = Partner(clinic, "reports-for", terms=(DIRECT,))
    request, study = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    report = reported(partner, onward, study)

    assert clinic.as_("gp").get(f"DiagnosticReport/{report['id']}").status_code == 200
    clinic.acknowledge(request)
    assert clinic.get("coordinator", f"ServiceRequest/{request['id']}")["status"] == "active"
    accept(clinic, onward)
    assert clinic.get("coordinator", f"ServiceRequest/{request['id']}")["status"] == "completed"


def test_a_declined_report_is_on_the_reporting_worklist_of_the_lead_again(
    clinic: Clinic, partner: Partner
) -> None:
    request, study = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    partner.decline("report", "No neuroradiologist on duty")

    own = clinic.task(request, "report")
    assert own["status"] == "ready"
    assert own["statusReason"] == {"text": "No neuroradiologist on duty"}
    assert partner.read(f"ImagingStudy/{study['id']}") == 404
    assert clinic.get("coordinator", f"ServiceRequest/{onward['id']}")["status"] == "revoked"
    clinic.report(request, study)
    clinic.acknowledge(request)


def test_a_report_that_is_not_begun_in_time_comes_back_to_the_lead(
    clinic: Clinic, partner: Partner
) -> None:
    request, study = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    expire(clinic, 0)
    assert len(partner.worklist("report")) == 1

    assert expire(clinic, 400) >= 1

    own = clinic.task(request, "report")
    assert own["status"] == "ready"
    assert own["statusReason"] == {"text": "It was not begun by its due time."}
    assert codes.has(monitor(clinic, onward)["businessStatus"], codes.EXPIRED)
    assert partner.worklist("report") == []
    clinic.report(request, study)
    clinic.acknowledge(request)


def test_what_was_begun_does_not_expire(clinic: Clinic, partner: Partner) -> None:
    request, _ = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    (task,) = partner.worklist("report")
    assert partner.put(task, "reporter", status="in-progress").status_code == 200

    expire(clinic, 400)

    assert clinic.get("coordinator", f"ServiceRequest/{onward['id']}")["status"] == "active"
    assert clinic.task(request, "report")["status"] == "on-hold"


def posted(partner: Partner, onward: Json, study: Json, **members: Any) -> httpx.Response:
    report = a_report(
        None,
        request=onward["id"],
        study=study["id"],
        subject=onward["subject"],
        **{"performer": None, "resultsInterpreter": None, **members},
    )
    return partner.as_("reporter").post("DiagnosticReport", content=json.dumps(report))


def test_no_report_is_taken_for_a_request_that_was_taken_back(
    clinic: Clinic, partner: Partner
) -> None:
    request, study = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    clinic.change("coordinator", onward, status="revoked")

    answer = posted(partner, onward, study)
    assert answer.status_code in (403, 409, 422), answer.text
    assert clinic.task(request, "report")["status"] == "ready"


def test_an_agreement_that_is_ended_half_way_strands_nothing(
    clinic: Clinic, partner: Partner
) -> None:
    request, study = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    ended = clinic.as_("admin").put(
        f"OrganizationAffiliation/{partner.agreement['id']}",
        json={**partner.agreement, "active": False},
    )
    assert ended.status_code == 200
    reported(partner, onward, study)
    accept(clinic, onward)
    clinic.acknowledge(request)


def test_a_report_for_the_request_itself_is_one_for_the_request_that_serves_it(
    clinic: Clinic, partner: Partner
) -> None:
    request, study = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    answer = posted(partner, request, study)
    assert answer.status_code == 201, answer.text

    assert {"reference": f"ServiceRequest/{onward['id']}"} in answer.json()["basedOn"]
    assert clinic.tasks(request, "acknowledge") == []
    assert monitor(clinic, onward)["status"] == "ready"


def test_the_partner_does_not_release_its_report_itself(clinic: Clinic, partner: Partner) -> None:
    request, study = imaged(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    report = reported(partner, onward, study)
    path = f"DiagnosticReport/{report['id']}"
    current = partner.as_("reporter").get(path).json()
    bare = {name: one for name, one in current["meta"].items() if name != "security"}
    answer = partner.put({**current, "meta": bare}, "reporter", conclusion="Released?")

    assert answer.status_code in (200, 403), answer.text
    assert clinic.as_("gp").get(path).status_code == 404
    assert clinic.tasks(request, "acknowledge") == []


def test_of_two_who_hand_over_at_once_one_does(clinic: Clinic, partner: Partner) -> None:
    request, _ = imaged(clinic)
    made = json.dumps(an_onward_request(request, partner, REPORTING))
    client = clinic.as_("coordinator")
    answers = all_at_once(lambda _: client.post("ServiceRequest", content=made))

    assert statuses(answers) == {201: 1, 409: RACERS - 1}
    assert len(partner.worklist("report")) == 1


def test_an_agreement_to_acquire_is_none_to_report(clinic: Clinic) -> None:
    other = Partner(clinic, "acquires-for")
    request, _ = imaged(clinic)

    assert refused(clinic, an_onward_request(request, other, REPORTING))[0] == 422
    assert refused(clinic, an_onward_request(request, other, ACQUISITION))[0] == 409


def test_reporting_may_be_handed_over_before_there_are_images(
    clinic: Clinic, partner: Partner
) -> None:
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, REPORTING)
    assert partner.worklist("report") == []

    clinic.book(request)
    study = clinic.images_arrive(request)
    assert [task["status"] for task in partner.worklist("report")] == ["ready"]
    reported(partner, onward, study)
    accept(clinic, onward)
    assert len(clinic.tasks(request, "acknowledge", "gp")) == 1
