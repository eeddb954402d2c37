"""Outsourced acquisition over real sockets, each organisation asking as itself (figure 4-2)."""

from typing import Any

import pytest

from resources import codes
from tests.dicom_bridge.build import a_series
from tests.flows.clinic import Clinic
from tests.flows.pacs import Pacs, person, uids
from tests.flows.partners import (
    ACQUISITION,
    DELEGATED,
    DIRECT,
    REPORTING,
    Partner,
    acquired,
    an_onward_request,
    asked,
    hand_over,
    monitor,
    refused,
)

Json = dict[str, Any]

pytestmark = pytest.mark.requirement("W2")


@pytest.fixture
def partner(clinic: Clinic) -> Partner:
    return Partner(clinic, "acquires-for")


def test_the_images_come_from_the_partner_and_are_reported_by_the_lead(
    clinic: Clinic, partner: Partner
) -> None:
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, ACQUISITION)
    own = clinic.task(request, "acquire")
    assert (own["status"], codes.has(own["businessStatus"], codes.OUTSOURCED)) == ("on-hold", True)
    assert monitor(clinic, onward)["status"] == "in-progress"

    study = acquired(clinic, partner, request, onward)

    assert clinic.task(request, "acquire")["status"] == "completed"
    assert codes.has(monitor(clinic, onward)["businessStatus"], codes.ACCEPTED)
    assert clinic.get("coordinator", f"ServiceRequest/{onward['id']}")["status"] == "completed"
    assert clinic.task(request, "report")["status"] == "ready"
    clinic.report(request, study)
    clinic.acknowledge(request)
    assert clinic.get("coordinator", f"ServiceRequest/{request['id']}")["status"] == "completed"


@pytest.mark.anyio
@pytest.mark.peer
@pytest.mark.requirement("R003.2")
@pytest.mark.requirement("R005.1")
async def test_the_images_come_from_the_pacs_of_the_partner_which_has_had_the_prior(
    clinic: Clinic, pacs: Pacs
) -> None:
    partner, older = pacs.port.partner, a_series(2, study_date="20200101", **person(clinic))
    assert await pacs.port.send(*older, calling="CT1") == [0, 0]
    (request,) = clinic.refer({"extension": WHY})
    clinic.authorise(request, "Low dose, please")
    request = clinic.get("coordinator", f"ServiceRequest/{request['id']}")
    made = hand_over(clinic, request, partner, ACQUISITION)
    partner.authorise()
    partner.book(made)
    onward = clinic.get("coordinator", f"ServiceRequest/{made['id']}")

    (step,) = partner.worklist("acquire")
    sent = await pacs.prefetched(step)
    assert [one["type"]["coding"][0]["code"] for one in sent["output"]] == ["manifest"]
    assert await pacs.holds() >= uids(older)

    (item,) = await pacs.worklist()
    (number,) = [
        one["value"] for one in onward["identifier"] if one["system"].endswith(f"/{partner.ods}")
    ]
    assert item.AccessionNumber == number
    images = await pacs.scan(item)
    await pacs.send(images)

    (study,) = clinic.search("coordinator", f"ImagingStudy?basedon=ServiceRequest/{request['id']}")
    assert (study["status"], study["numberOfInstances"]) == ("available", 2)
    assert study["series"][0]["performer"][0]["actor"] == {"reference": partner.reference}
    assert codes.has(monitor(clinic, onward)["businessStatus"], codes.ACCEPTED)
    assert clinic.task(request, "report")["status"] == "ready"
    clinic.report(request, study)
    clinic.acknowledge(request)
    assert clinic.get("coordinator", f"ServiceRequest/{request['id']}")["status"] == "completed"


def test_the_request_stands_on_the_version_of_the_agreement(
    clinic: Clinic, partner: Partner
) -> None:
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, ACQUISITION)

    pinned = f"OrganizationAffiliation/{partner.agreement['id']}/_history/1"
    assert {"reference": pinned} in onward["supportingInfo"]


def test_an_agreement_that_is_ended_strands_nothing(clinic: Clinic) -> None:
    partner = Partner(clinic, "acquires-for", terms=(DELEGATED,))
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, ACQUISITION)
    ended = clinic.as_("admin").put(
        f"OrganizationAffiliation/{partner.agreement['id']}",
        json={**partner.agreement, "active": False},
    )
    assert ended.status_code == 200

    acquired(clinic, partner, request, onward)
    assert clinic.get("coordinator", f"ServiceRequest/{onward['id']}")["status"] == "completed"

    status, words = refused(clinic, an_onward_request(asked(clinic), partner, ACQUISITION))
    assert (status, "agreement" in words) == (422, True)


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"intent": "order"}, 422),
        ({"basedOn": None}, 422),
        ({"status": "draft"}, 422),
        ({"category": [REPORTING.concept]}, 422),
        ({"requisition": {"system": codes.ISR, "value": "another"}}, 422),
        ({"code": {"coding": [{"system": codes.SNOMED, "code": "1"}]}}, 422),
        ({"performer": [{"reference": "Organization/northmoor"}]}, 422),
        ({"performer": [{"reference": "Organization/westvale"}]}, 422),
        ({"requester": {"reference": "Organization/westvale"}}, 403),
    ],
)
def test_an_onward_request_that_may_not_be_made_is_refused(
    clinic: Clinic, partner: Partner, members: Json, status: int
) -> None:
    made = an_onward_request(asked(clinic), partner, ACQUISITION, **members)
    answered, words = refused(clinic, made)
    assert (answered, bool(words)) == (status, True)


def test_only_the_lead_hands_work_out(clinic: Clinic, partner: Partner) -> None:
    request = asked(clinic)
    own = {"reference": "Organization/harbour"}
    made = an_onward_request(request, partner, ACQUISITION, requester=own)
    assert refused(clinic, made, "gp")[0] == 403
    theirs = an_onward_request(
        request, partner, ACQUISITION, requester={"reference": partner.reference}
    )
    assert partner.post(theirs).status_code == 422


def test_a_part_is_with_one_organisation_at_a_time(clinic: Clinic, partner: Partner) -> None:
    request = asked(clinic)
    hand_over(clinic, request, partner, ACQUISITION)
    other = Partner(clinic, "acquires-for")

    assert refused(clinic, an_onward_request(request, other, ACQUISITION))[0] == 409
    assert refused(clinic, an_onward_request(request, partner, ACQUISITION))[0] == 409


def test_what_is_done_already_is_not_handed_over(clinic: Clinic, partner: Partner) -> None:
    request = asked(clinic)
    clinic.book(request)
    clinic.images_arrive(request)

    assert refused(clinic, an_onward_request(request, partner, ACQUISITION))[0] == 409


def test_declined_work_is_on_the_worklist_of_the_lead_again(
    clinic: Clinic, partner: Partner
) -> None:
    request = asked(clinic)
    clinic.book(request)
    onward = hand_over(clinic, request, partner, ACQUISITION)
    partner.decline("justify", "No scanner free before March")

    assert clinic.get("coordinator", f"ServiceRequest/{onward['id']}")["status"] == "revoked"
    own = clinic.task(request, "acquire")
    assert own["status"] == "ready"
    assert own["statusReason"] == {"text": "No scanner free before March"}
    assert codes.has(monitor(clinic, onward)["businessStatus"], codes.DECLINED)
    assert partner.read(f"ServiceRequest/{request['id']}") == 404


def test_the_lead_takes_work_back_and_nobody_else_does(clinic: Clinic, partner: Partner) -> None:
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, ACQUISITION)
    assert partner.put(onward, status="revoked").status_code == 403
    assert partner.put(onward, status="completed").status_code == 403

    clinic.change("coordinator", onward, status="revoked")
    assert [task["status"] for task in clinic.tasks(request, "acquire")] == ["requested"]
    assert partner.worklist("justify") == []
    assert clinic.tasks(onward, "justify")[0]["status"] == "cancelled"

    hand_over(clinic, request, partner, ACQUISITION)
    assert clinic.task(request, "acquire")["status"] == "on-hold"


def test_what_is_handed_over_is_not_claimed_by_the_lead(clinic: Clinic, partner: Partner) -> None:
    request = asked(clinic)
    hand_over(clinic, request, partner, ACQUISITION)
    own = clinic.task(request, "acquire")

    assert clinic.put("operator", {**own, "status": "in-progress"}).status_code == 409


def test_nobody_else_does_the_steps_of_the_partner(clinic: Clinic, partner: Partner) -> None:
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, ACQUISITION)
    (task,) = clinic.tasks(onward, "justify")
    done = {**task, "status": "completed", "businessStatus": codes.AUTHORISED.concept}

    assert clinic.put("practitioner", done).status_code == 403
    stranger = Partner(clinic)
    assert stranger.put(task, status="in-progress").status_code in (403, 404, 412)


def test_a_withdrawn_request_ends_what_serves_it(clinic: Clinic, partner: Partner) -> None:
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, ACQUISITION)
    clinic.change("gp", clinic.get("gp", f"ServiceRequest/{request['id']}"), status="revoked")

    assert clinic.get("coordinator", f"ServiceRequest/{onward['id']}")["status"] == "revoked"
    assert partner.worklist("justify") == []


def test_the_study_has_both_accession_numbers(clinic: Clinic, partner: Partner) -> None:
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, ACQUISITION)
    study = acquired(clinic, partner, request, onward)

    systems = {str(one.get("system")).rpartition("/")[2] for one in study["identifier"]}
    assert {"ZZ901", partner.ods} <= systems
    assert {one["reference"] for one in study["basedOn"]} == {
        f"ServiceRequest/{request['id']}",
        f"ServiceRequest/{onward['id']}",
    }


def test_a_delegated_practitioner_is_named_by_the_provenance_of_the_images(clinic: Clinic) -> None:
    partner = Partner(clinic, "acquires-for", terms=(DELEGATED,))
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, ACQUISITION)
    assert clinic.tasks(onward, "justify") == []
    study = acquired(clinic, partner, request, onward)

    acts = clinic.search("coordinator", f"Provenance?target=ImagingStudy/{study['id']}")
    (act,) = [one for one in acts if codes.has(one["activity"], codes.ACQUIRE)]
    policy = f"/OrganizationAffiliation/{partner.agreement['id']}/_history/1"
    assert [one.endswith(policy) for one in act["policy"]] == [True]
    justified = clinic.task(request, "justify")
    assert any(
        one["what"]["reference"].startswith(f"Task/{justified['id']}/_history/")
        for one in act["entity"]
    )


@pytest.mark.parametrize("terms", [(), (DIRECT,)])
def test_the_referrer_sees_images_before_the_report_by_agreement_only(
    clinic: Clinic, terms: tuple[str, ...]
) -> None:
    partner = Partner(clinic, "acquires-for", terms=terms)
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, ACQUISITION)
    study = acquired(clinic, partner, request, onward)
    path = f"ImagingStudy/{study['id']}"

    assert clinic.as_("reporter").get(path).status_code == 200
    assert (clinic.as_("gp").get(path).status_code == 200) == bool(terms)
    assert partner.read(path) == 200

    clinic.report(request, study)
    assert clinic.as_("gp").get(path).status_code == 200


def test_the_partner_sees_what_it_needs_and_nothing_else(clinic: Clinic, partner: Partner) -> None:
    (old,) = clinic.refer({"code": {"text": "CT head"}})
    clinic.authorise(old)
    clinic.book(old)
    prior = clinic.images_arrive(old)
    told = clinic.report(old, prior)
    clinic.acknowledge(old)
    (knee,) = clinic.refer({"code": {"coding": [{"system": codes.SNOMED, "code": "303653007"}]},
                            "extension": WHY})  # fmt: skip
    clinic.authorise(knee, "Low dose, please")
    request = clinic.get("coordinator", f"ServiceRequest/{knee['id']}")
    assert partner.read(f"Patient/{clinic.patient.partition('/')[2]}") == 404

    hand_over(clinic, request, partner, ACQUISITION)

    assert partner.read(clinic.patient) == 200
    assert partner.read(f"ServiceRequest/{request['id']}") == 200
    assert partner.read(f"Task/{clinic.task(request, 'justify')['id']}") == 200
    assert partner.read(f"ImagingStudy/{prior['id']}") == 200
    assert partner.read(f"DiagnosticReport/{told['id']}") == 200
    assert partner.read(f"ServiceRequest/{old['id']}") == 404
    assert partner.read(f"Task/{clinic.task(old, 'justify')['id']}") == 404


def test_a_prior_that_comes_late_is_seen_too(clinic: Clinic, partner: Partner) -> None:
    (other,) = clinic.refer({"code": {"text": "CT head with contrast"}, "extension": WHY})
    clinic.authorise(other)
    request = asked(clinic)
    hand_over(clinic, request, partner, ACQUISITION)
    prior = clinic.images_arrive(other)

    assert partner.read(f"ImagingStudy/{prior['id']}") == 200
    assert partner.read(f"ServiceRequest/{other['id']}") == 404


def test_the_partner_is_told_that_it_may_look(clinic: Clinic, partner: Partner) -> None:
    hand_over(clinic, asked(clinic), partner, ACQUISITION)
    (granted,) = partner.search(f"Consent?actor={partner.reference}&status=active")

    named = {one["reference"]["reference"] for one in granted["provision"]["data"]}
    assert clinic.patient in named
    assert "end" not in granted["provision"]["period"]


def listed(clinic: Clinic, login: str, name: str, more: str) -> list[Json]:
    """What is on a named worklist of somebody."""
    for one in clinic.get(login, "List/$worklists")["parameter"]:
        said = {part["name"]: part for part in one["part"]}
        if next(v for k, v in said["name"].items() if k.startswith("value")) == name:
            search = next(v for k, v in said["search"].items() if k.startswith("value"))
            return clinic.search(login, search.removeprefix(f"{clinic.server.base}/") + more)
    raise AssertionError(f"{login} has no worklist {name}")


def test_the_lead_has_a_list_of_what_is_with_others(clinic: Clinic, partner: Partner) -> None:
    request = asked(clinic)
    clinic.book(request)
    onward = hand_over(clinic, request, partner, ACQUISITION)

    about = f"&patient={clinic.patient}"
    assert [one["id"] for one in listed(clinic, "coordinator", "monitor", about)] == [
        monitor(clinic, onward)["id"]
    ]
    assert listed(clinic, "operator", "acquire", about) == []


WHY = [{"url": codes.OVERRIDE_REASON, "valueCodeableConcept": {"text": "Worse since"}}]
