"""W6, R008: a formal review at a second trust of a study that an independent provider acquired."""

import base64
import json
from typing import Any

import httpx
import pytest

from resources import codes
from tests.build import a_patient, a_report
from tests.flows.clinic import WHY, Clinic, Json

OPEN = ("requested", "received", "accepted", "ready", "in-progress", "on-hold")


def westvale(clinic: Clinic) -> httpx.Client:
    """The specialist at the second trust, as who reports there."""
    return clinic.server.client(
        "reporter", "westvale", scope="user/*.cruds", subject="PractitionerRole/reviewer"
    )


def put(client: httpx.Client, resource: Json, **members: Any) -> httpx.Response:
    return client.put(
        f"{resource['resourceType']}/{resource['id']}",
        content=json.dumps({**resource, **members}),
        headers={"If-Match": f'W/"{resource["meta"]["versionId"]}"'},
    )


def acquired(clinic: Clinic) -> tuple[Json, Json, Json]:
    """What the independent provider did: the request, the study, and the report of it."""
    (request,) = clinic.refer({"performer": [{"reference": "Organization/clearscan"}]})
    task = clinic.task(request, "justify", "clearscan-practitioner")
    clinic.change(
        "clearscan-practitioner",
        task,
        status="completed",
        businessStatus=codes.AUTHORISED.concept,
    )
    study = clinic.images_arrive(request, by="Organization/clearscan")
    report = a_report(
        id=None,
        request=request["id"],
        study=study["id"],
        subject=request["subject"],
        performer=None,
        resultsInterpreter=None,
        conclusion="No acute finding.",
    )
    return request, study, clinic.post("clearscan-reporter", report)


def ask(clinic: Clinic, study: Json, **members: Any) -> Json:
    """The request of a second practice for a review at the second trust."""
    return clinic.review(
        study,
        **{
            "performer": [{"reference": "Organization/westvale"}],
            "reasonCode": [{"text": "Is there a small infarct?"}],
            **members,
        },
    )


def refused(clinic: Clinic, **members: Any) -> httpx.Response:
    """The answer to a request for a review that is not placed."""
    request = {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "category": [codes.KIND_REVIEW_FORMAL.concept],
        "requisition": {"system": codes.ISR, "value": "ISR-refused"},
        "subject": {"reference": clinic.patient},
        "requester": {"reference": "PractitionerRole/gp2"},
        "performer": [{"reference": "Organization/westvale"}],
        **members,
    }
    return clinic.as_("gp2").post("ServiceRequest", content=json.dumps(request))


def reviewed(clinic: Clinic, review: Json, **members: Any) -> Json:
    """The report of the second trust, which names its request and nothing else."""
    report = a_report(
        id=None,
        request=review["id"],
        subject=review["subject"],
        performer=None,
        resultsInterpreter=None,
        imagingStudy=[
            one for one in review["supportingInfo"] if one["reference"].startswith("ImagingStudy")
        ],
        **{"conclusion": "Small lacunar infarct on the left.", **members},
    )
    answer = westvale(clinic).post("DiagnosticReport", content=json.dumps(report))
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


def page(report: Json) -> str:
    (form,) = [one for one in report["presentedForm"] if one.get("title") == "Whole report"]
    return base64.b64decode(form["data"]).decode()


def asked(clinic: Clinic, focus: str, login: str = "gp") -> list[str]:
    """Who is to acknowledge a version."""
    found = clinic.search(login, f"Task?focus={focus.partition('/_history/')[0]}")
    return sorted(
        one["owner"]["reference"]
        for one in found
        if one["focus"]["reference"].endswith(focus) and one["status"] in OPEN
    )


@pytest.mark.requirement("W6")
def test_a_formal_review_from_the_request_to_the_acknowledged_whole(clinic: Clinic) -> None:
    request, study, root = acquired(clinic)
    clinic.acknowledge(request)
    review = ask(clinic, study)

    (work,) = [
        one
        for one in westvale(clinic)
        .get(f"Task?based-on=ServiceRequest/{review['id']}&code={codes.IMAGING_STEP}|report")
        .json()["entry"]
        if one["search"]["mode"] == "match"
    ]
    step: Json = work["resource"]
    assert step["status"] == "ready"
    assert step["owner"] == {"reference": "Organization/westvale"}
    assert codes.has(step["code"], codes.WORKITEMS["addendum"])
    assert step["focus"] == {"reference": f"ImagingStudy/{study['id']}"}
    assert westvale(clinic).get(f"ImagingStudy/{study['id']}").status_code == 200
    assert westvale(clinic).get(f"DiagnosticReport/{root['id']}").status_code == 200

    added = reviewed(clinic, review)

    assert added["imagingStudy"] == [{"reference": f"ImagingStudy/{study['id']}"}]
    named = [one for one in added["extension"] if one["url"] == codes.ADDENDUM_OF]
    assert named[0]["valueReference"]["reference"] == f"DiagnosticReport/{root['id']}"
    done = clinic.get("gp2", f"Task/{step['id']}")
    assert done["status"] == "completed"
    assert clinic.get("gp2", f"ServiceRequest/{review['id']}")["status"] == "active"

    whole = clinic.get("gp", f"DiagnosticReport/{root['id']}")
    assert (whole["status"], whole["meta"]["versionId"]) == ("appended", "2")
    assert page(whole).index("Small lacunar") < page(whole).index("No acute finding.")
    assert "Westvale" in page(whole)
    assert "Marek Zielinski" in page(whole)
    assert whole["resultsInterpreter"] == root["resultsInterpreter"], "the addendum has its own"
    issued = f"DiagnosticReport/{root['id']}/_history/2"
    assert asked(clinic, issued) == ["PractitionerRole/gp", "PractitionerRole/gp2"]

    for login in ("gp", "gp2"):
        acknowledge(clinic, issued, login)
    assert clinic.get("gp2", f"ServiceRequest/{review['id']}")["status"] == "completed"


def acknowledge(clinic: Clinic, issued: str, login: str) -> None:
    name = issued.partition("/_history/")[0]
    (task,) = [
        one
        for one in clinic.search(login, f"Task?focus={name}&status=requested")
        if one["owner"]["reference"] == f"PractitionerRole/{login}"
    ]
    clinic.change(login, task, status="completed", businessStatus=codes.ACKNOWLEDGED.concept)


@pytest.mark.requirement("R008.1")
def test_a_review_names_original_request_and_report_at_their_versions(clinic: Clinic) -> None:
    request, study, root = acquired(clinic)

    review = ask(clinic, study)

    version = clinic.get("gp", f"ServiceRequest/{request['id']}")["meta"]["versionId"]
    assert {one["reference"] for one in review["supportingInfo"]} == {
        f"ImagingStudy/{study['id']}",
        f"ServiceRequest/{request['id']}/_history/{version}",
        f"DiagnosticReport/{root['id']}/_history/1",
    }
    assert review["code"] == request["code"]


@pytest.mark.requirement("R008.3")
def test_a_review_makes_no_study_and_its_studies_say_that_they_are_under_review(
    clinic: Clinic,
) -> None:
    request, study, _ = acquired(clinic)
    before = clinic.search("gp", f"ImagingStudy?patient={clinic.patient}")

    review = ask(clinic, study)

    (after,) = clinic.search("gp", f"ImagingStudy?patient={clinic.patient}")
    assert [one["id"] for one in before] == [after["id"]]
    assert [one["reference"] for one in after["basedOn"]] == [
        f"ServiceRequest/{request['id']}",
        f"ServiceRequest/{review['id']}",
    ]
    numbers = [
        one["value"]
        for each in (review, request)
        for one in clinic.get("gp2", f"ServiceRequest/{each['id']}")["identifier"]
        if codes.has(one.get("type"), codes.ACCESSION_NUMBER_TYPE)
    ]
    assert len(set(numbers)) == len(numbers) == 2, "neither takes the number of the other"
    for step in ("justify", "acquire"):
        assert clinic.tasks(review, step, "gp2") == []


@pytest.mark.requirement("R008.3")
def test_nobody_makes_a_step_that_would_acquire_images_for_a_review(clinic: Clinic) -> None:
    _, study, _ = acquired(clinic)
    review = ask(clinic, study)
    step = {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "code": codes.ACQUIRE.concept,
        "for": review["subject"],
        "owner": {"reference": "Organization/westvale"},
        "basedOn": [{"reference": f"ServiceRequest/{review['id']}"}],
    }

    answer = clinic.as_("westvale-coordinator").post("Task", content=json.dumps(step))

    assert answer.status_code == 422, answer.text


@pytest.mark.requirement("R008.3")
def test_a_request_that_was_placed_becomes_no_review(clinic: Clinic) -> None:
    (request,) = clinic.refer()

    answer = clinic.put("gp", {**request, "category": [codes.KIND_REVIEW_FORMAL.concept]})

    assert answer.status_code == 422, answer.text


@pytest.mark.requirement("R009.1")
def test_addenda_are_in_order_of_time_whatever_zone_they_were_written_in(clinic: Clinic) -> None:
    _, study, root = acquired(clinic)
    review = ask(clinic, study)
    reviewed(clinic, review, conclusion="Earlier.", issued="2026-11-26T10:00:00+02:00")
    reviewed(clinic, review, conclusion="Later.", issued="2026-11-26T09:00:00Z")

    told = page(clinic.get("gp", f"DiagnosticReport/{root['id']}"))

    assert told.index("Later.") < told.index("Earlier.")


@pytest.mark.requirement("R008.1")
def test_a_review_is_of_several_studies(clinic: Clinic) -> None:
    first, one, root = acquired(clinic)
    second, other, _ = clinic.reported()
    named = [{"reference": f"ImagingStudy/{each['id']}"} for each in (one, other)]

    review = ask(clinic, one, supportingInfo=named)
    reviewed(clinic, review)

    assert sum("DiagnosticReport/" in each["reference"] for each in review["supportingInfo"]) == 2
    for each in (first, second):
        (report,) = [
            found
            for found in clinic.search("gp", f"DiagnosticReport?based-on={each['id']}")
            if found["status"] == "appended"
        ]
        assert "Small lacunar infarct" in page(report)
    assert clinic.get("gp", f"DiagnosticReport/{root['id']}")["status"] == "appended"


@pytest.mark.requirement("R008.1")
def test_a_review_without_what_is_to_be_looked_at_is_refused(clinic: Clinic) -> None:
    answer = refused(clinic)

    assert answer.status_code == 422
    assert "names the studies" in answer.text


@pytest.mark.requirement("R008.1")
@pytest.mark.parametrize(
    "reference",
    ["ImagingStudy/{other}", "DiagnosticReport/{theirs}", "ServiceRequest/{asked}"],
)
def test_a_review_of_anything_of_another_patient_is_refused(clinic: Clinic, reference: str) -> None:
    asked_for, other, theirs = clinic.reported()
    clinic.welcome()
    _, study, _ = acquired(clinic)
    named = reference.format(other=other["id"], theirs=theirs["id"], asked=asked_for["id"])

    answer = refused(
        clinic,
        supportingInfo=[{"reference": f"ImagingStudy/{study['id']}"}, {"reference": named}],
    )

    assert answer.status_code == 422, answer.text


@pytest.mark.requirement("R008.1")
def test_a_review_of_a_version_that_is_not_there_is_refused(clinic: Clinic) -> None:
    _, study, root = acquired(clinic)

    answer = refused(
        clinic,
        supportingInfo=[
            {"reference": f"ImagingStudy/{study['id']}"},
            {"reference": f"DiagnosticReport/{root['id']}/_history/7"},
        ],
    )

    assert answer.status_code == 422, answer.text


@pytest.mark.requirement("R008.3")
def test_a_study_without_images_is_not_reviewed(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    (study,) = clinic.search("gp", f"ImagingStudy?basedon={request['id']}")

    answer = refused(clinic, supportingInfo=[{"reference": f"ImagingStudy/{study['id']}"}])

    assert answer.status_code == 422
    assert "has images" in answer.text


def test_a_stranger_learns_nothing_of_a_study_by_asking_for_its_review(clinic: Clinic) -> None:
    _, study, _ = acquired(clinic)
    stranger = clinic.server.client(
        "referrer", "westvale", scope="user/*.cruds", subject="PractitionerRole/reviewer"
    )
    own = a_patient(id=None, managingOrganization={"reference": "Organization/westvale"})
    made = stranger.post("Patient", content=json.dumps(own)).json()
    request = {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "category": [codes.KIND_REVIEW_FORMAL.concept],
        "requisition": {"system": codes.ISR, "value": "ISR-stranger"},
        "subject": {"reference": f"Patient/{made['id']}"},
        "requester": {"reference": "PractitionerRole/reviewer"},
        "performer": [{"reference": "Organization/westvale"}],
        "supportingInfo": [{"reference": f"ImagingStudy/{study['id']}"}],
    }

    known = stranger.post("ServiceRequest", content=json.dumps(request))
    request["supportingInfo"] = [{"reference": "ImagingStudy/none-such"}]
    unknown = stranger.post("ServiceRequest", content=json.dumps(request))

    assert known.status_code == unknown.status_code
    assert known.status_code in (403, 422)
    assert known.text.replace(study["id"], "none-such") == unknown.text


@pytest.mark.requirement("R009.1")
def test_a_review_before_the_report_becomes_an_addendum_when_that_is_issued(
    clinic: Clinic,
) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    review = ask(clinic, study)
    early = reviewed(clinic, review)
    assert not any(one["url"] == codes.ADDENDUM_OF for one in early.get("extension", ()))
    assert asked(clinic, f"DiagnosticReport/{early['id']}/_history/1", "gp2") == [
        "PractitionerRole/gp2"
    ]

    root = clinic.report(request, study)

    whole = clinic.get("gp", f"DiagnosticReport/{root['id']}")
    assert whole["status"] == "appended"
    assert "Small lacunar infarct" in page(whole)
    now = clinic.get("gp2", f"DiagnosticReport/{early['id']}")
    assert any(one["url"] == codes.ADDENDUM_OF for one in now["extension"])
    issued = f"DiagnosticReport/{root['id']}/_history/{whole['meta']['versionId']}"
    assert asked(clinic, issued) == ["PractitionerRole/gp", "PractitionerRole/gp2"]
    assert asked(clinic, f"DiagnosticReport/{early['id']}/_history/1", "gp2") == []
    acknowledge(clinic, issued, "gp2")
    assert clinic.get("gp2", f"ServiceRequest/{review['id']}")["status"] == "completed"


@pytest.mark.requirement("W6")
def test_a_review_of_a_study_that_is_never_reported_ends_with_its_own_report(
    clinic: Clinic,
) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    review = ask(clinic, clinic.images_arrive(request))
    early = reviewed(clinic, review)

    acknowledge(clinic, f"DiagnosticReport/{early['id']}/_history/1", "gp2")

    assert clinic.get("gp2", f"ServiceRequest/{review['id']}")["status"] == "completed"


@pytest.mark.requirement("W6")
def test_a_review_that_is_declined_goes_back_to_its_referrer(clinic: Clinic) -> None:
    _, study, _ = acquired(clinic)
    review = ask(clinic, study)
    (step,) = clinic.tasks(review, "report", "westvale-coordinator")

    answer = put(
        westvale(clinic), step, status="rejected", statusReason={"text": "No neuroradiologist."}
    )

    assert answer.status_code == 200, answer.text
    now = clinic.get("gp2", f"ServiceRequest/{review['id']}")
    assert now["status"] == "revoked"
    assert "No neuroradiologist." in json.dumps(now["extension"])


@pytest.mark.requirement("R009.3")
def test_a_correction_of_the_addendum_says_why_and_is_issued_with_the_whole(
    clinic: Clinic,
) -> None:
    request, study, root = acquired(clinic)
    added = reviewed(clinic, ask(clinic, study))
    changed = {"status": "corrected", "conclusion": "Small lacunar infarct on the right."}

    silent = put(westvale(clinic), added, **changed)
    said = put(westvale(clinic), added, **changed, extension=[*added["extension"], WHY])

    assert silent.status_code == 422
    assert "event-statusReason" in silent.text
    assert said.status_code == 200, said.text
    whole = clinic.get("gp", f"DiagnosticReport/{root['id']}")
    assert (whole["status"], whole["meta"]["versionId"]) == ("corrected", "3")
    assert WHY["valueCodeableConcept"] in [
        one.get("valueCodeableConcept") for one in whole["extension"]
    ]
    assert "on the right" in page(whole)
    assert "on the left" not in page(whole)
    assert asked(clinic, f"DiagnosticReport/{root['id']}/_history/3") == [
        "PractitionerRole/gp",
        "PractitionerRole/gp2",
    ]
    assert asked(clinic, f"DiagnosticReport/{root['id']}/_history/2") == []
    assert request["id"]


@pytest.mark.requirement("R009.3")
def test_an_addendum_that_is_withdrawn_is_told_to_both_referrers(clinic: Clinic) -> None:
    _, study, root = acquired(clinic)
    added = reviewed(clinic, ask(clinic, study))

    answer = put(westvale(clinic), added, status="entered-in-error")

    assert answer.status_code == 200, answer.text
    whole = clinic.get("gp", f"DiagnosticReport/{root['id']}")
    assert whole["status"] == "corrected"
    assert "Small lacunar" not in page(whole)
    assert "Small lacunar" not in whole["text"]["div"]
    assert asked(clinic, f"DiagnosticReport/{root['id']}/_history/3") == [
        "PractitionerRole/gp",
        "PractitionerRole/gp2",
    ]


@pytest.mark.requirement("R009.1")
def test_an_addendum_to_a_withdrawn_report_is_refused(clinic: Clinic) -> None:
    _, study, root = acquired(clinic)
    review = ask(clinic, study)
    clinic.change("clearscan-reporter", root, status="entered-in-error")
    reference = {"reference": f"DiagnosticReport/{root['id']}"}
    report = a_report(
        id=None,
        request=review["id"],
        study=study["id"],
        subject=review["subject"],
        performer=None,
        resultsInterpreter=None,
        extension=[{"url": codes.ADDENDUM_OF, "valueReference": reference}],
    )

    answer = westvale(clinic).post("DiagnosticReport", content=json.dumps(report))

    assert answer.status_code == 409, answer.text
    assert clinic.get("gp", reference["reference"])["status"] == "entered-in-error"


@pytest.mark.requirement("R009.1")
def test_an_addendum_to_an_addendum_is_in_the_whole_report(clinic: Clinic) -> None:
    _, study, root = acquired(clinic)
    review = ask(clinic, study)
    first = reviewed(clinic, review)
    reference = {"reference": f"DiagnosticReport/{first['id']}"}

    reviewed(
        clinic,
        review,
        conclusion="On reflection, old.",
        extension=[{"url": codes.ADDENDUM_OF, "valueReference": reference}],
    )

    assert "On reflection, old." in page(clinic.get("gp", f"DiagnosticReport/{root['id']}"))


@pytest.mark.requirement("R009.1")
def test_an_addendum_neither_leaves_its_report_nor_is_deleted(clinic: Clinic) -> None:
    _, study, root = acquired(clinic)
    added = reviewed(clinic, ask(clinic, study))
    client = westvale(clinic)

    others = [one for one in added["extension"] if one["url"] != codes.ADDENDUM_OF]
    left = put(client, added, status="amended", extension=others)
    application = clinic.server.client("application", "westvale")
    path = f"DiagnosticReport/{added['id']}"
    deleted = application.delete(path, headers={"If-Match": application.get(path).headers["ETag"]})

    assert left.status_code == 422, left.text
    assert deleted.status_code == 409, deleted.text
    assert "Small lacunar" in page(clinic.get("gp", f"DiagnosticReport/{root['id']}"))


def test_the_report_of_a_review_is_about_no_other_study(clinic: Clinic) -> None:
    _, study, _ = acquired(clinic)
    _, other, _ = clinic.reported()
    review = ask(clinic, study)
    report = a_report(
        id=None,
        request=review["id"],
        study=other["id"],
        subject=review["subject"],
        performer=None,
        resultsInterpreter=None,
    )

    answer = westvale(clinic).post("DiagnosticReport", content=json.dumps(report))

    assert answer.status_code == 422, answer.text
