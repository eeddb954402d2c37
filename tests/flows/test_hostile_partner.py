"""A partner that wants to see more than it was given, by every way over FHIR that it has."""

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from resources import codes
from tests.build import a_report, a_study
from tests.flows.clinic import Clinic
from tests.flows.partners import (
    ACQUISITION,
    BOTH,
    REPORTING,
    Partner,
    an_onward_request,
    asked,
    hand_over,
    monitor,
    reported,
)

Json = dict[str, Any]

pytestmark = [pytest.mark.requirement("R014.1"), pytest.mark.standard("threats T1 T2 T4")]

KNEE = {"coding": [{"system": codes.SNOMED, "code": "241614001", "display": "MRI of knee"}]}


class Secret:
    """What the partner is not given: an examination of something else of the same patient."""

    def __init__(self, clinic: Clinic) -> None:
        (self.request,) = clinic.refer({"code": KNEE})
        clinic.authorise(self.request, "secret-note")
        clinic.book(self.request)
        uid = f"2.25.{uuid.uuid4().int}"
        series = a_study(images=1, uid=uid)["series"]
        series[0]["modality"]["code"] = "MR"
        self.study = clinic.images_arrive(
            self.request,
            uid=uid,
            series=series,
            procedureCode=[KNEE],
            started="2019-01-01T09:00:00Z",
        )
        self.report = clinic.report(self.request, self.study, conclusion="secret-conclusion")
        self.task = clinic.task(self.request, "justify")

    @property
    def names(self) -> list[str]:
        return [
            f"{one['resourceType']}/{one['id']}"
            for one in (self.request, self.study, self.report, self.task)
        ]


@pytest.fixture
def partner(clinic: Clinic) -> Partner:
    return Partner(clinic, "acquires-for", "reports-for")


@pytest.fixture
def secret(clinic: Clinic) -> Secret:
    return Secret(clinic)


@pytest.fixture
def handed(clinic: Clinic, partner: Partner, secret: Secret) -> tuple[Json, Json, Json]:
    """A request, its study, and the onward request to report it: all the partner has."""
    request = asked(clinic)
    clinic.book(request)
    study = clinic.images_arrive(request)
    onward = hand_over(clinic, request, partner, REPORTING)
    assert [name for name in secret.names if partner.read(name) != 404] == []
    return request, study, onward


def sees_no_secret(partner: Partner, secret: Secret) -> None:
    for role in ("application", "reporter", "practitioner"):
        client = partner.as_(role)
        for name in secret.names:
            assert client.get(name).status_code == 404, (role, name)
            assert client.get(f"{name}/_history").status_code in (403, 404), (role, name)
            assert client.get(f"{name}/_history/1").status_code in (403, 404), (role, name)


def put(partner: Partner, resource: Json, role: str = "application") -> httpx.Response:
    return partner.put(resource, role)


@pytest.mark.parametrize("role", ["application", "reporter", "practitioner", "coordinator"])
def test_nothing_that_a_partner_writes_shows_it_more(
    clinic: Clinic,
    partner: Partner,
    secret: Secret,
    handed: tuple[Json, Json, Json],
    role: str,
) -> None:
    request, study, onward = handed
    patient = {"reference": clinic.patient}
    own = {"reference": partner.reference}
    named = [{"reference": name} for name in secret.names]
    attempts: list[Json] = [
        an_onward_request(onward, partner, REPORTING, requester=own),
        an_onward_request(secret.request, partner, REPORTING),
        an_onward_request(secret.request, partner, ACQUISITION, requester=own),
        an_onward_request(request, partner, ACQUISITION, requester=own, supportingInfo=named),
        *(
            {
                "resourceType": "Task", "status": "requested", "intent": intent,
                "code": code, "for": patient, "requester": own, "owner": own,
                "focus": {"reference": f"ImagingStudy/{secret.study['id']}"},
                "input": [
                    {"type": codes.IO_CLINICAL_INFO.concept, "valueReference": one} for one in named
                ],
                **more,
            }
            for intent in ("order", "proposal", "filler-order")
            for code in (
                codes.STEPS["report"].concept, codes.REVIEW_INFORMAL.concept,
                codes.STEPS["prefetch"].concept, {"text": "look"},
            )
            for more in (
                {}, {"basedOn": [{"reference": f"ServiceRequest/{secret.request['id']}"}]},
                {"basedOn": [{"reference": f"ServiceRequest/{onward['id']}"}]},
            )
        ),
        {
            "resourceType": "Consent", "status": "active",
            "scope": {"coding": [{"system": codes.CONSENT_SCOPE, "code": "patient-privacy"}]},
            "category": [{"text": "x"}], "patient": patient, "policyRule": {"text": "x"},
            "provision": {
                "type": "permit", "period": {"end": "2099-01-01"},
                "actor": [{"role": {"text": "x"}, "reference": own}],
                "data": [{"meaning": "instance", "reference": one} for one in named],
            },
        },
        a_report(
            None, request=onward["id"], study=secret.study["id"], subject=patient,
            performer=None, resultsInterpreter=None,
        ),
        a_report(
            None, request=secret.request["id"], study=secret.study["id"], subject=patient,
            performer=None, resultsInterpreter=None,
        ),
        a_report(
            None, request=onward["id"], study=study["id"], subject=patient, performer=None,
            resultsInterpreter=None, result=[],
            extension=[{"url": codes.ADDENDUM_OF, "valueReference": named[2]}],
        ),
        {
            "resourceType": "List", "status": "current", "mode": "working",
            "subject": patient, "entry": [{"item": one} for one in named],
        },
        {
            "resourceType": "Provenance", "target": named, "recorded": "2026-11-25T00:00:00Z",
            "agent": [{"who": own}],
        },
        {
            "resourceType": "CareTeam", "status": "active", "subject": patient,
            "participant": [{"member": own}],
        },
    ]  # fmt: skip
    for attempt in attempts:
        made = {name: value for name, value in attempt.items() if value != []}
        answer = partner.post(made, role)
        assert answer.status_code < 500, answer.text
        assert "secret-" not in answer.text
        sees_no_secret(partner, secret)


def test_a_partner_changes_nothing_of_what_it_has_to_see_more(
    clinic: Clinic, partner: Partner, secret: Secret, handed: tuple[Json, Json, Json]
) -> None:
    _, _, onward = handed
    named = [{"reference": name} for name in secret.names]
    (task,) = partner.worklist("report")
    (consent,) = partner.search(f"Consent?actor={partner.reference}&status=active")
    wider = {**consent["provision"], "data": [
        *consent["provision"]["data"],
        *({"meaning": "instance", "reference": one} for one in named),
    ]}  # fmt: skip
    now = partner.as_().get(f"ServiceRequest/{onward['id']}").json()
    changes: list[Json] = [
        {**now, "supportingInfo": [*now["supportingInfo"], *named]},
        {**now, "basedOn": [{"reference": secret.names[0]}]},
        {**now, "intent": "order"},
        {**now, "category": [codes.KIND_PRIMARY.concept]},
        {**now, "category": [codes.KIND_REVIEW_FORMAL.concept], "supportingInfo": named[1:2]},
        {**task, "intent": "order"},
        {**task, "basedOn": [{"reference": secret.names[0]}]},
        {**task, "focus": named[1]},
        {**task, "requester": {"reference": partner.reference}, "intent": "order"},
        {**task, "code": {"text": "x"}, "intent": "order"},
        {**task, "input": [
            {"type": codes.IO_CLINICAL_INFO.concept, "valueReference": one} for one in named]},
        {**consent, "provision": wider},
    ]  # fmt: skip
    for change in changes:
        for role in ("application", "reporter", "coordinator"):
            known = partner.as_().get(f"{change['resourceType']}/{change['id']}").json()
            answer = put(partner, {**change, "meta": known["meta"]}, role)
            assert answer.status_code < 500, answer.text
            sees_no_secret(partner, secret)


def test_no_question_tells_of_what_is_not_granted(
    clinic: Clinic, partner: Partner, secret: Secret, handed: tuple[Json, Json, Json]
) -> None:
    ids = {name.partition("/")[2] for name in secret.names}
    key = clinic.patient.partition("/")[2]
    for query in (
        f"ImagingStudy?patient={clinic.patient}&_total=accurate",
        f"DiagnosticReport?patient={clinic.patient}&_include=*&_include:iterate=*",
        f"Patient?_id={key}&_revinclude=ImagingStudy:patient&_revinclude=Task:patient"
        "&_revinclude=DiagnosticReport:subject&_revinclude:iterate=Provenance:target",
        f"Patient/{key}/$everything",
        f"Task/$history?patient={clinic.patient}",
        f"ServiceRequest/{handed[2]['id']}/$everything",
        f"ServiceRequest/{handed[0]['id']}/$everything",
        f"Patient/{key}/*?_count=500",
        f"Patient/{key}/_history",
        "Task/_history?_count=500",
        f"Provenance?patient={clinic.patient}",
    ):
        answer = partner.as_().get(query)
        assert answer.status_code < 500, answer.text
        assert "secret-" not in answer.text, query
        assert not any(one in answer.text for one in ids), query
    for query in (
        f"Patient?_has:DiagnosticReport:subject:conclusion=secret&_id={key}",
        f"Patient?_has:ImagingStudy:patient:_id={secret.study['id']}",
        f"Patient?_has:ServiceRequest:subject:code=241614001&_id={key}",
        f"ImagingStudy?basedon={secret.request['id']}",
        f"ImagingStudy?basedon:ServiceRequest.code=241614001&patient={clinic.patient}",
        f"DiagnosticReport?based-on={secret.request['id']}",
        f"Task?focus={secret.request['id']}",
        f"ImagingStudy?patient={clinic.patient}&started=lt2020",
    ):
        answer = partner.as_().get(f"{query}{'&' if '?' in query else '?'}_total=accurate")
        assert answer.json().get("total", 0) == 0, (query, answer.text)


def test_of_what_others_did_the_ledger_tells_a_partner_nothing(
    clinic: Clinic, partner: Partner, secret: Secret, handed: tuple[Json, Json, Json]
) -> None:
    for role in ("application", "reporter"):
        answer = partner.as_(role).get(f"AuditEvent?patient={clinic.patient}&_count=200")
        for entry in answer.json().get("entry", ()):
            if any(name in json.dumps(entry) for name in secret.names):
                assert partner.id in json.dumps(entry["resource"]["agent"]), entry


def test_a_check_for_repeats_is_no_oracle(
    clinic: Clinic, partner: Partner, secret: Secret, handed: tuple[Json, Json, Json]
) -> None:
    draft = {
        "resourceType": "ServiceRequest", "status": "draft", "intent": "order", "code": KNEE,
        "subject": {"reference": clinic.patient}, "requester": {"reference": partner.reference},
    }  # fmt: skip
    for role in ("application", "reporter", "practitioner"):
        answer = partner.as_(role).post(
            "ServiceRequest/$check",
            content=json.dumps(
                {
                    "resourceType": "Parameters",
                    "parameter": [{"name": "request", "resource": draft}],
                }
            ),
        )
        assert answer.status_code < 500
        assert not any(name.partition("/")[2] in answer.text for name in secret.names), role


def test_what_is_not_released_is_not_released_by_its_maker(
    clinic: Clinic, partner: Partner, handed: tuple[Json, Json, Json]
) -> None:
    _, study, onward = handed
    report = reported(partner, onward, study)
    name = f"DiagnosticReport/{report['id']}"
    label = {
        "resourceType": "Parameters",
        "parameter": [{"name": "meta", "valueMeta": {"security": [codes.UNRELEASED.json]}}],
    }
    client = partner.as_("reporter")
    for role in ("reporter", "application"):
        partner.as_(role).post(f"{name}/$meta-delete", content=json.dumps(label))
        now = client.get(name).json()
        bare = {name: value for name, value in now["meta"].items() if name != "security"}
        partner.put({**now, "meta": bare}, role, status="amended", conclusion="Changed.")
        partner.as_(role).patch(
            name,
            content=json.dumps([{"op": "remove", "path": "/meta/security"}]),
            headers={"Content-Type": "application/json-patch+json"},
        )
    clinic.as_("reporter").post(f"{name}/$meta-delete", content=json.dumps(label))

    assert clinic.as_("gp").get(name).status_code == 404
    assert (
        clinic.search("gp", f"DiagnosticReport?patient={clinic.patient}&based-on={onward['id']}")
        == []
    )


def test_who_was_asked_hands_nothing_on(
    clinic: Clinic, partner: Partner, handed: tuple[Json, Json, Json]
) -> None:
    stranger = Partner(clinic)
    (task,) = partner.worklist("report")
    for role in ("application", "reporter"):
        answer = partner.put(task, role, owner={"reference": stranger.reference})
        assert answer.status_code == 403, answer.text
    assert stranger.read(f"Task/{task['id']}") == 404

    within = partner.put(task, "reporter", owner={"reference": partner.reporter})
    assert within.status_code == 200, within.text


def at_once(*acts: Callable[[], httpx.Response]) -> list[int]:
    with ThreadPoolExecutor(len(acts)) as pool:
        answers = [pool.submit(act) for act in acts]
        return sorted(one.result().status_code for one in answers)


def test_a_report_is_accepted_or_sent_back(
    clinic: Clinic, partner: Partner, handed: tuple[Json, Json, Json]
) -> None:
    request, study, onward = handed
    reported(partner, onward, study)
    task = monitor(clinic, onward)
    accepted: Json = {"status": "completed", "businessStatus": codes.ACCEPTED.concept}
    back: Json = {
        "status": "in-progress", "businessStatus": codes.RETURNED.concept,
        "statusReason": {"text": "Left lung"},
    }  # fmt: skip

    told = at_once(
        lambda: clinic.put("coordinator", {**task, **accepted}),
        lambda: clinic.put("practitioner", {**task, **back}),
    )

    assert told[0] == 200
    assert told[1] in (409, 412)
    done = monitor(clinic, onward)["status"] == "completed"
    assert bool(clinic.tasks(request, "acknowledge", "gp")) == done
    assert len(partner.worklist("report")) == (0 if done else 1)


def test_what_is_declined_and_begun_at_once_is_with_one_of_them(
    clinic: Clinic, partner: Partner, handed: tuple[Json, Json, Json]
) -> None:
    request, _, _ = handed
    (task,) = partner.worklist("report")

    told = at_once(
        lambda: partner.put(task, status="rejected", statusReason={"text": "No"}),
        lambda: partner.put(task, "reporter", status="in-progress"),
        lambda: clinic.put(
            "coordinator",
            {**clinic.get("coordinator", "ServiceRequest/" + handed[2]["id"]), "status": "revoked"},
        ),
    )

    assert set(told) <= {200, 409, 412, 422}
    own = clinic.task(request, "report")["status"]
    theirs = [one["status"] for one in partner.worklist("report")]
    assert (own, theirs) in [("ready", []), ("on-hold", ["in-progress"])]


def test_one_part_is_handed_to_one_of_two_at_once(clinic: Clinic, partner: Partner) -> None:
    other = Partner(clinic, "acquires-for", "reports-for")
    request = asked(clinic)
    client = clinic.as_("coordinator")

    told = at_once(
        *(
            lambda to=to: client.post(
                "ServiceRequest", content=json.dumps(an_onward_request(request, to, BOTH))
            )
            for to in (partner, other)
        )
    )

    assert told == [201, 409]
    assert len(partner.worklist("justify")) + len(other.worklist("justify")) == 1
