"""G2: referrer and practitioner are warned of what was done or asked for already."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from resources import codes
from tests.build import a_request
from tests.flows.clinic import Clinic, Json

HEAD = {"coding": [{"system": codes.SNOMED, "code": "303653007", "display": "CT of head"}]}
SINUSES = {
    "coding": [{"system": codes.SNOMED, "code": "241533007", "display": "CT of sinuses of head"}]
}
KNEE = {"coding": [{"system": codes.SNOMED, "code": "241614001", "display": "MRI of knee"}]}
REASON = {"url": codes.OVERRIDE_REASON, "valueString": "She fell again this morning"}


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT09:00:00Z")


def draft(clinic: Clinic, **members: Any) -> Json:
    """A request that nobody has placed and that gives no reason."""
    return a_request(
        id=None,
        **{
            "extension": None,
            "subject": {"reference": clinic.patient},
            "requester": {"reference": "PractitionerRole/gp"},
            "performer": [{"reference": "Organization/northmoor"}],
            "requisition": {"system": codes.ISR, "value": f"ISR-{clinic.patient}-again"},
            "code": HEAD,
            **members,
        },
    )


def check(clinic: Clinic, request: Json, login: str = "gp") -> list[Json]:
    """The resources of the answer."""
    answer = clinic.as_(login).post("ServiceRequest/$check", content=json.dumps(request))
    assert answer.status_code == 200, answer.text
    assert answer.json()["type"] == "collection"
    return [one["resource"] for one in answer.json().get("entry", [])]


def kinds(found: list[Json]) -> list[str]:
    return [
        one["code"]["coding"][-1]["code"] for one in found if one["resourceType"] == "DetectedIssue"
    ]


def had(clinic: Clinic, days: int, **members: Any) -> tuple[Json, Json]:
    """What the patient had some days ago, reported."""
    (request,) = clinic.refer({"code": HEAD, **members})
    clinic.authorise(request)
    study = clinic.images_arrive(request, started=days_ago(days))
    report = clinic.report(request, study)
    clinic.acknowledge(request)
    return study, report


@pytest.mark.requirement("G2")
def test_the_same_procedure_is_told_of_with_its_images_and_its_report(clinic: Clinic) -> None:
    study, report = had(clinic, 20)

    issue, *spoken_of = check(clinic, draft(clinic))

    assert issue["resourceType"] == "DetectedIssue"
    assert issue["code"]["coding"][0]["code"] == "DUPTHPY"
    assert kinds([issue]) == ["same-procedure"]
    assert issue["severity"] == "high"
    assert issue["patient"] == {"reference": clinic.patient}
    names = [f"ImagingStudy/{study['id']}", f"DiagnosticReport/{report['id']}"]
    assert [one["reference"] for one in issue["implicated"]] == names
    assert [f"{one['resourceType']}/{one['id']}" for one in spoken_of] == names
    assert "Northmoor" in issue["detail"]
    assert days_ago(20)[:10] in issue["detail"]


@pytest.mark.requirement("G2")
def test_a_similar_procedure_is_told_of_and_another_is_not(clinic: Clinic) -> None:
    had(clinic, 20)

    assert kinds(check(clinic, draft(clinic, code=SINUSES))) == ["similar-procedure"]
    assert check(clinic, draft(clinic, code=KNEE)) == []


@pytest.mark.requirement("G2")
def test_what_was_done_before_the_period_is_history(clinic: Clinic) -> None:
    had(clinic, 91)

    assert check(clinic, draft(clinic)) == []


@pytest.mark.requirement("G2")
def test_an_open_request_is_told_of_until_it_is_done_or_revoked(clinic: Clinic) -> None:
    (request,) = clinic.refer({"code": HEAD})

    issue, *spoken_of = check(clinic, draft(clinic))
    assert kinds([issue]) == ["open-request"]
    assert [one["id"] for one in spoken_of] == [request["id"]]

    clinic.reject(request, "Not justified")
    assert check(clinic, draft(clinic)) == []


@pytest.mark.requirement("G2")
def test_a_request_that_is_placed_is_checked_under_its_address_and_not_against_itself(
    clinic: Clinic,
) -> None:
    (request,) = clinic.refer({"code": HEAD})
    address = f"ServiceRequest/{request['id']}/$check"

    assert clinic.get("practitioner", address).get("entry", []) == []

    study, _ = had(clinic, 3)
    found = [one["resource"] for one in clinic.get("practitioner", address)["entry"]]
    assert kinds(found) == ["same-procedure"]
    assert study["id"] in {one["id"] for one in found if one["resourceType"] == "ImagingStudy"}


@pytest.mark.requirement("G2")
def test_who_may_not_see_a_study_is_not_told_of_it(clinic: Clinic) -> None:
    had(clinic, 20)

    assert check(clinic, draft(clinic), "westvale-practitioner") == []


@pytest.mark.requirement("G2")
def test_a_repeat_is_placed_with_a_reason_and_the_reason_is_kept(clinic: Clinic) -> None:
    study, _ = had(clinic, 20)
    wanted = draft(clinic)

    refused = clinic.as_("gp").post("ServiceRequest", content=json.dumps(wanted))
    assert refused.status_code == 409
    (issue,) = refused.json()["issue"]
    assert issue["code"] == "duplicate"
    assert f"ImagingStudy/{study['id']}" in refused.text
    assert "head" not in refused.text

    placed = clinic.post("gp", {**wanted, "extension": [REASON]})
    reasons = [
        one["text"]
        for each in clinic.search("gp", f"Provenance?target=ServiceRequest/{placed['id']}")
        for one in each.get("reason", ())
    ]
    assert reasons == [REASON["valueString"]]


@pytest.mark.requirement("G2")
@pytest.mark.parametrize("said", ["", "   "])
def test_a_reason_that_says_nothing_is_none(clinic: Clinic, said: str) -> None:
    had(clinic, 20)
    reason = {"url": codes.OVERRIDE_REASON, "valueCodeableConcept": {"text": said or "\t"}}

    answer = clinic.as_("gp").post(
        "ServiceRequest", content=json.dumps(draft(clinic, extension=[reason]))
    )

    assert answer.status_code in (400, 409, 422)


@pytest.mark.requirement("G2")
def test_a_similar_procedure_and_another_patient_want_no_reason(clinic: Clinic) -> None:
    had(clinic, 20)
    clinic.post("gp", draft(clinic, code=SINUSES))
    clinic.welcome()
    clinic.post("gp", draft(clinic))


@pytest.mark.requirement("G2")
def test_a_placed_request_is_changed_without_a_reason(clinic: Clinic) -> None:
    (request,) = clinic.refer({"code": HEAD, "extension": None})
    had(clinic, 3)

    changed = clinic.change("gp", request, note=[{"text": "Now also dizzy"}])

    assert changed["note"] == [{"text": "Now also dizzy"}]


@pytest.mark.parametrize(
    "body", ["{}", '{"resourceType":"Patient"}', '{"resourceType":"ServiceRequest","status":"?"}']
)
def test_what_is_no_request_is_not_checked(clinic: Clinic, body: str) -> None:
    answer = clinic.as_("gp").post("ServiceRequest/$check", content=body)

    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"


# --- CDS Hooks --------------------------------------------------------------------------------


def hooks(
    clinic: Clinic, path: str, said: Any, login: str = "gp", **headers: str
) -> httpx.Response:
    """Call a service as a CDS client does."""
    root = clinic.server.base.removesuffix("/fhir")
    own = clinic.as_(login).headers["authorization"] if login else ""
    named = {"authorization": own} if own else {}
    return httpx.post(f"{root}/cds-services/{path}", json=said, headers={**named, **headers})


def call(clinic: Clinic, hook: str, *orders: Json, **members: Any) -> Json:
    return {
        "hook": hook,
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {
            "userId": "PractitionerRole/gp",
            "patientId": clinic.patient.removeprefix("Patient/"),
            "draftOrders": {
                "resourceType": "Bundle",
                "type": "collection",
                "entry": [{"resource": one} for one in orders],
            },
            **members,
        },
    }


@pytest.mark.standard("CDS Hooks 2.0 Discovery")
def test_the_services_are_found_without_a_token(clinic: Clinic) -> None:
    root = clinic.server.base.removesuffix("/fhir")

    services = httpx.get(f"{root}/cds-services").json()["services"]

    assert {one["hook"] for one in services} == {"order-select", "order-sign"}
    assert all(one["id"] and one["description"] for one in services)


@pytest.mark.requirement("G2")
@pytest.mark.standard("CDS Hooks 2.0 CDS Service Response")
def test_orders_that_are_signed_get_a_card_and_the_suggestion_can_be_placed(clinic: Clinic) -> None:
    study, report = had(clinic, 20)
    order = {**draft(clinic), "id": "draft-1"}

    answer = hooks(clinic, "imaging-repeats-sign", call(clinic, "order-sign", order))

    assert answer.status_code == 200
    (card,) = answer.json()["cards"]
    assert len(card["summary"]) < 140
    assert card["indicator"] in ("info", "warning", "critical")
    assert card["source"]["label"]
    base = clinic.server.base
    assert {(one["label"], one["url"]) for one in card["links"]} == {
        ("Images", f"{base}/ImagingStudy/{study['id']}"),
        ("Report", f"{base}/DiagnosticReport/{report['id']}"),
    }
    assert card["overrideReasons"]
    removed, *others = card["suggestions"]
    assert removed["actions"][0]["type"] == "delete"
    assert removed["actions"][0]["resourceId"] == ["ServiceRequest/draft-1"]
    suggested = others[0]["actions"][0]["resource"]
    clinic.post("gp", {name: value for name, value in suggested.items() if name != "id"})


@pytest.mark.requirement("G2")
@pytest.mark.standard("CDS Hooks 2.0 order-select")
def test_of_selected_orders_only_those_are_looked_at(clinic: Clinic) -> None:
    had(clinic, 20)
    orders = [{**draft(clinic), "id": "one"}, {**draft(clinic, code=KNEE), "id": "two"}]

    def cards(*selected: str) -> int:
        said = call(clinic, "order-select", *orders, selections=list(selected))
        return len(hooks(clinic, "imaging-repeats-select", said).json()["cards"])

    assert cards("ServiceRequest/one") == 1
    assert cards("ServiceRequest/two") == 0
    assert cards() == 0


@pytest.mark.standard("CDS Hooks 2.0 FHIR Resource Access")
def test_the_access_that_a_call_brings_along_is_used_for_this_server_alone(clinic: Clinic) -> None:
    had(clinic, 20)
    token = clinic.as_("gp").headers["authorization"].removeprefix("Bearer ")
    said = call(clinic, "order-sign", draft(clinic))
    brought = {"fhirAuthorization": {"access_token": token, "token_type": "Bearer"}}

    ours = hooks(
        clinic, "imaging-repeats-sign", {**said, **brought, "fhirServer": clinic.server.base}, ""
    )
    other = hooks(
        clinic,
        "imaging-repeats-sign",
        {**said, **brought, "fhirServer": "https://epr.example/fhir"},
        "",
    )

    assert len(ours.json()["cards"]) == 1
    assert other.status_code == 401


@pytest.mark.standard("CDS Hooks 2.0 Feedback")
def test_feedback_is_taken_and_is_in_the_audit(clinic: Clinic) -> None:
    said = {
        "feedback": [
            {
                "card": "f6b95768-b1c8-40dc-8385-bf3504cab6bc",
                "outcome": "overridden",
                "outcomeTimestamp": "2026-11-24T09:00:00Z",
            }
        ]
    }

    assert hooks(clinic, "imaging-repeats-sign/feedback", said).status_code == 200
    assert hooks(clinic, "imaging-repeats-sign/feedback", said, "").status_code == 401
    assert hooks(clinic, "imaging-repeats-sign/feedback", {"feedback": "no"}).status_code == 400


@pytest.mark.parametrize(
    ("path", "said", "status"),
    [
        ("imaging-repeats-sign", [], 400),
        ("imaging-repeats-sign", {}, 400),
        ("imaging-repeats-sign", {"hook": "patient-view"}, 400),
        ("imaging-repeats-sign", {"hook": "order-sign"}, 400),
        ("imaging-repeats-sign", {"hook": "order-sign", "context": []}, 400),
        ("imaging-repeats-sign", {"hook": "order-sign", "context": {"draftOrders": 1}}, 400),
        (
            "imaging-repeats-sign",
            {
                "hook": "order-sign",
                "context": {
                    "draftOrders": {
                        "entry": [{"resource": {"resourceType": "ServiceRequest", "subject": 1}}]
                    }
                },
            },
            400,
        ),
        (
            "imaging-repeats-select",
            {"hook": "order-select", "context": {"draftOrders": {"entry": []}, "selections": 1}},
            400,
        ),
        ("nothing", {"hook": "order-sign"}, 404),
        ("imaging-repeats-sign", {"hook": "order-sign", "x": "y" * 1_100_000}, 413),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(
    clinic: Clinic, path: str, said: Any, status: int
) -> None:
    answer = hooks(clinic, path, said)

    assert answer.status_code == status
    assert answer.json()["error"]


# --- the history at every step ------------------------------------------------------------------


@pytest.mark.requirement("G2")
@pytest.mark.parametrize("login", ["gp", "practitioner", "operator", "reporter"])
def test_each_actor_gets_the_relevant_history_of_a_step_in_one_call(
    clinic: Clinic, login: str
) -> None:
    older, report = had(clinic, 400)
    newer, _ = had(clinic, 30, code=SINUSES)
    (request,) = clinic.refer({"code": HEAD})
    task = clinic.task(request, "justify")

    page = clinic.get(login, f"Task/{task['id']}/$history")

    found = [one["resource"] for one in page["entry"]]
    assert found[0]["id"] == request["id"]
    studies = [one["id"] for one in found if one["resourceType"] == "ImagingStudy"]
    assert studies == [newer["id"], older["id"]]
    after_older = found[[one["id"] for one in found].index(older["id"]) + 1]
    assert after_older["id"] == report["id"]


@pytest.mark.requirement("G2")
def test_a_stranger_gets_no_history(clinic: Clinic) -> None:
    (request,) = clinic.refer({"code": HEAD})
    task = clinic.task(request, "justify")

    assert clinic.as_("westvale-practitioner").get(f"Task/{task['id']}/$history").status_code == 404
