"""R010: a referrer's unacknowledged reports, and how one leaves the list."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from fhir_server.audit.ledger import Ledger
from fhir_server.context import now
from fhir_server.escalation import Escalation
from fhir_server.postgres.database import Database
from fhir_server.receipts import Receipts
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from resources import acknowledgement, codes
from tests.flows.clinic import Clinic, Json

DAY = 86_400_000_000

SUBSCRIPTION = """
insert into subscription (id, version, status, topic, type, criteria, channel, endpoint, headers,
    payload_type, content, timeout, max_count, principal, organization, events, delivered, attempts,
    last_sent, started, since_log, since_xid, holder)
values (%s, 1, 'active', '', 'Task', '[]', 'rest-hook', 'https://epr.example/hook', '{}', '',
    'empty', 60, 1, '{}', %s, 2, %s, 0, %s, 1, 1, 1, '')
"""
EVENT = """
insert into subscription_event (subscription, number, instant, topic, interaction, type, id,
    version, key) values (%s, %s, %s, '', 'C', 'Task', %s, 1, 1)
"""


def in_worker(clinic: Clinic, work: Callable[[Database, Store], Awaitable[int]]) -> int:
    """Do what the worker does, beside the server and over the same database."""

    async def run() -> int:
        database = Database(clinic._database_url, size=4)
        await database.open()
        try:
            hooks = Workflow(clinic.server.base).hooks()
            return await work(
                database, Store(database, Ledger(database), hooks, clinic.server.base)
            )
        finally:
            await database.close()

    return asyncio.run(run())


def take_receipts(clinic: Clinic) -> int:
    return in_worker(clinic, lambda db, store: Receipts(db, store, clinic.server.base).work())


def escalate(clinic: Clinic, instant: int, times: int = 1) -> int:
    """Run the duty as if it were that instant, in several workers at once if asked."""

    async def work(database: Database, store: Store) -> int:
        duty = Escalation(store, acknowledgement.DEFAULT, clinic.server.base)
        return sum(await asyncio.gather(*(duty.work(instant) for _ in range(times))))

    return in_worker(clinic, work)


def issued(clinic: Clinic, category: str = "", priority: str = "routine") -> tuple[Json, Json]:
    """A report that was just issued, flagged or not: its request and its acknowledgement."""
    (request,) = clinic.refer({"priority": priority})
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    flag = [{"url": codes.REPORT_URGENCY_EXTENSION, "valueCode": category}] if category else None
    clinic.report(request, study, extension=flag)
    return request, clinic.task(request, "acknowledge")


def output(task: Json, kind: str) -> datetime | None:
    for one in task.get("output", ()):
        if one["type"]["coding"][0]["code"] == kind:
            return datetime.fromisoformat(one["valueDateTime"])
    return None


def alerts(clinic: Clinic, task: Json) -> list[str]:
    """Why somebody was told about an acknowledgement, in order."""
    found = clinic.search("gp", f"Communication?about=Task/{task['id']}&_sort=sent")
    return [one["reasonCode"][0]["coding"][0]["code"] for one in found]


def unread(clinic: Clinic, login: str) -> list[Json]:
    return clinic.search(
        login,
        f"Task?code={codes.IMAGING_STEP}|acknowledge&status=requested,received,accepted"
        f"&owner=PractitionerRole/{login}&patient={clinic.patient}",
    )


@pytest.mark.requirement("R010.1")
def test_a_referrer_sees_the_reports_they_have_not_acknowledged(clinic: Clinic) -> None:
    _, _, first = clinic.reported()
    _, _, second = clinic.reported()

    listed = {one["focus"]["reference"].split("/")[1] for one in unread(clinic, "gp")}

    assert listed == {first["id"], second["id"]}
    assert unread(clinic, "gp2") == []


@pytest.mark.requirement("R010.2")
def test_acknowledging_takes_a_report_off_the_list(clinic: Clinic) -> None:
    request, _, _ = clinic.reported()
    _, _, other = clinic.reported()

    clinic.acknowledge(request)

    (left,) = unread(clinic, "gp")
    assert left["focus"]["reference"] == f"DiagnosticReport/{other['id']}/_history/1"


@pytest.mark.requirement("R010.1")
def test_somebody_of_the_same_practice_may_acknowledge_for_them(clinic: Clinic) -> None:
    request, _, _ = clinic.reported()

    done = clinic.acknowledge(request, login="gp2")

    assert done["status"] == "completed"
    assert unread(clinic, "gp") == []


@pytest.mark.requirement("R010.2")
def test_nobody_else_acknowledges_for_the_referrer(clinic: Clinic) -> None:
    request, _, _ = clinic.reported()
    task = clinic.task(request, "acknowledge")

    for login in ("reporter", "practitioner", "westvale-practitioner"):
        answer = clinic.put(login, {**task, "status": "completed"})
        assert answer.status_code in (403, 404, 412), login
    assert len(unread(clinic, "gp")) == 1


@pytest.mark.requirement("R009.3")
def test_an_amended_report_is_to_be_acknowledged_again(clinic: Clinic) -> None:
    _, _, report = clinic.reported()

    clinic.change("reporter", report, status="amended", conclusion="Small infarct after all.")

    (left,) = unread(clinic, "gp")
    assert left["focus"]["reference"] == f"DiagnosticReport/{report['id']}/_history/2"


@pytest.mark.requirement("R010.3")
def test_delivered_opened_and_acknowledged_are_told_apart_and_timed(clinic: Clinic) -> None:
    take_receipts(clinic)
    request, task = issued(clinic)
    assert (task["status"], task["businessStatus"]["coding"][0]["code"]) == ("requested", "unread")

    before = datetime.now(UTC) - timedelta(milliseconds=2)
    (listed,) = unread(clinic, "gp")
    take_receipts(clinic)
    delivered = clinic.get("gp", f"Task/{task['id']}")
    assert listed["id"] == task["id"]
    assert delivered["status"] == "received"
    at = output(delivered, "delivered")
    assert at is not None
    assert before <= at <= datetime.now(UTC)

    clinic.get("gp", task["focus"]["reference"].split("/_history")[0])
    take_receipts(clinic)
    opened = clinic.get("gp", f"Task/{task['id']}")
    assert (opened["status"], opened["businessStatus"]["coding"][0]["code"]) == (
        "accepted",
        "viewed",
    )
    assert datetime.fromisoformat(opened["executionPeriod"]["start"]) > at
    assert output(opened, "delivered") == at

    clinic.change("gp", opened, status="completed", businessStatus=codes.ACKNOWLEDGED.concept)
    told = clinic.search("auditor", f"Provenance?target=Task/{task['id']}")
    activities = {one["activity"]["coding"][0]["code"] for one in told}
    assert {"delivered", "opened", "acknowledge"} <= activities
    assert clinic.get("gp", f"ServiceRequest/{request['id']}")["status"] == "completed"


@pytest.mark.requirement("R010.3")
def test_opening_a_report_writes_nothing_but_the_audit(clinic: Clinic) -> None:
    take_receipts(clinic)
    _, task = issued(clinic)

    clinic.get("gp", task["focus"]["reference"])

    assert clinic.get("gp", f"Task/{task['id']}")["meta"]["versionId"] == "1"
    take_receipts(clinic)
    assert clinic.get("gp", f"Task/{task['id']}")["status"] == "accepted"
    take_receipts(clinic)
    assert clinic.get("gp", f"Task/{task['id']}")["meta"]["versionId"] == "2", "noted once"


@pytest.mark.requirement("R010.3")
@pytest.mark.parametrize("reader", ["gp2", "reporter", "coordinator"])
def test_a_report_that_somebody_else_read_is_not_opened_by_its_recipient(
    clinic: Clinic, reader: str
) -> None:
    take_receipts(clinic)
    _, task = issued(clinic)

    clinic.get(reader, task["focus"]["reference"].split("/_history")[0])
    clinic.search(reader, f"Task?code={codes.IMAGING_STEP}|acknowledge&patient={clinic.patient}")
    take_receipts(clinic)

    assert clinic.get("gp", f"Task/{task['id']}")["status"] == "requested"


@pytest.mark.requirement("R010.3")
def test_a_search_delivers_no_more_than_it_showed(clinic: Clinic) -> None:
    take_receipts(clinic)
    _, task = issued(clinic)
    elsewhere = clinic.patient
    clinic.welcome()
    _, other = issued(clinic)
    assert clinic.patient != elsewhere

    unread(clinic, "gp")
    take_receipts(clinic)

    assert clinic.get("coordinator", f"Task/{other['id']}")["status"] == "received"
    assert clinic.get("coordinator", f"Task/{task['id']}")["status"] == "requested"


@pytest.mark.requirement("R010.3")
def test_the_practices_system_delivers_a_report_and_does_not_open_it(clinic: Clinic) -> None:
    take_receipts(clinic)
    _, task = issued(clinic)
    epr = clinic.server.client("application", "harbour", scope="system/*.rs", subject="Client/epr")

    assert epr.get(task["focus"]["reference"].split("/_history")[0]).status_code == 200
    take_receipts(clinic)

    assert clinic.get("gp", f"Task/{task['id']}")["status"] == "received"


@pytest.mark.requirement("R010.3")
@pytest.mark.parametrize(
    ("organization", "taken", "status"),
    [("harbour", 2, "received"), ("harbour", 1, "requested"), ("westvale", 2, "requested")],
)
def test_a_notification_that_the_practices_system_has_taken_delivers_a_report(
    clinic: Clinic, organization: str, taken: int, status: str
) -> None:
    take_receipts(clinic)
    _, task = issued(clinic)
    id, instant = f"sub-{task['id']}", now()
    with psycopg.connect(clinic._database_url, autocommit=True) as connection:
        connection.execute(SUBSCRIPTION, (id, organization, taken, instant))
        for number, told in ((1, "another"), (2, task["id"])):
            connection.execute(EVENT, (id, number, instant, told))
    try:
        take_receipts(clinic)
        assert clinic.get("gp", f"Task/{task['id']}")["status"] == status
    finally:
        with psycopg.connect(clinic._database_url, autocommit=True) as connection:
            connection.execute("delete from subscription_event where subscription = %s", (id,))
            connection.execute("delete from subscription where id = %s", (id,))


@pytest.mark.requirement("R011.2")
@pytest.mark.parametrize(
    ("category", "priority"),
    [("critical", "stat"), ("urgent", "asap"), ("significant", "urgent"), ("cancer", "urgent")],
)
def test_a_flag_set_at_reporting_raises_the_priority_and_tells_the_referrer_at_once(
    clinic: Clinic, category: str, priority: str
) -> None:
    issued(clinic)
    _, task = issued(clinic, category)

    first, _ = clinic.search(
        "gp",
        f"Task?code={codes.IMAGING_STEP}|acknowledge&status=requested&owner=PractitionerRole/gp"
        f"&patient={clinic.patient}&_sort=priority-rank,due",
    )
    assert first["id"] == task["id"]
    assert task["priority"] == priority
    assert task["reasonCode"]["coding"][0]["code"] == category
    assert alerts(clinic, task) == ["alert"]


@pytest.mark.requirement("R011.2")
def test_a_flag_never_lowers_the_urgency_that_the_referrer_asked_for(clinic: Clinic) -> None:
    _, task = issued(clinic, "cancer", "stat")

    assert task["priority"] == "stat"


@pytest.mark.requirement("R010.3")
def test_an_acknowledgement_that_does_not_come_goes_to_the_team_and_then_to_the_fail_safe_officer(
    clinic: Clinic,
) -> None:
    _, task = issued(clinic)
    start = now()
    asked = f"Task/{task['id']}"

    escalate(clinic, start + 3 * DAY)
    assert clinic.get("gp", asked)["meta"]["versionId"] == "1", "not before it is time"

    escalate(clinic, start + 5 * DAY)
    reminded = clinic.get("gp", asked)
    assert reminded["owner"] == {"reference": "PractitionerRole/gp"}
    assert alerts(clinic, task) == ["remind"]

    escalate(clinic, start + 8 * DAY)
    of_team = clinic.get("gp", asked)
    assert of_team["owner"] == {"reference": "Organization/harbour"}
    assert of_team["businessStatus"]["coding"][0]["code"] == "escalated"

    escalate(clinic, start + 15 * DAY)
    of_officer = clinic.get("coordinator", asked)
    assert of_officer["owner"] == {"reference": "Organization/northmoor"}
    assert alerts(clinic, task) == ["remind", "escalate-team", "escalate-fail-safe"]
    assert escalate(clinic, start + 400 * DAY) == 0
    told = clinic.search("auditor", f"Provenance?target={asked}")
    assert {"remind", "escalate-team", "escalate-fail-safe"} <= {
        one["activity"]["coding"][0]["code"] for one in told
    }

    mine = clinic.search("gp", f"Task?actor=PractitionerRole/gp&patient={clinic.patient}")
    assert [one["id"] for one in mine] == [task["id"]], "the referrer still has it"
    clinic.change("gp", of_officer, status="completed", businessStatus=codes.ACKNOWLEDGED.concept)


@pytest.mark.requirement("R010.3")
def test_the_team_and_the_fail_safe_officer_are_who_the_directory_says(clinic: Clinic) -> None:
    members = [{"member": {"reference": f"PractitionerRole/{one}"}} for one in ("gp", "gp2")]
    team = {"resourceType": "CareTeam", "status": "active", "participant": members}
    team |= {"managingOrganization": [{"reference": "Organization/harbour"}]}
    made = clinic.server.client(subject="Client/harbour", organization="harbour").post(
        "CareTeam", content=json.dumps(team)
    )
    assert made.status_code == 201, made.text
    officer = {"system": f"{codes.BASE}/CodeSystem/role", "code": "fail-safe"}
    role: Json = {
        "resourceType": "PractitionerRole",
        "active": True,
        "practitioner": {"reference": "Practitioner/coordinator"},
        "organization": {"reference": "Organization/northmoor"},
        "code": [{"coding": [officer]}],
    }
    northmoor = clinic.server.client("administrator", "northmoor", scope="user/*.cruds")
    officers = northmoor.post("PractitionerRole", content=json.dumps(role))
    assert officers.status_code == 201, officers.text
    try:
        _, task = issued(clinic)
        escalate(clinic, now() + 8 * DAY)
        owner = clinic.get("gp", f"Task/{task['id']}")["owner"]["reference"]
        assert owner == f"CareTeam/{made.json()['id']}"
        escalate(clinic, now() + 15 * DAY)
        owner = clinic.get("gp", f"Task/{task['id']}")["owner"]["reference"]
        assert owner == f"PractitionerRole/{officers.json()['id']}"
    finally:
        ended = {**officers.json(), "active": False}
        northmoor.put(f"PractitionerRole/{ended['id']}", content=json.dumps(ended))
        stopped = {**made.json(), "status": "inactive"}
        clinic.server.client(subject="Client/harbour", organization="harbour").put(
            f"CareTeam/{stopped['id']}", content=json.dumps(stopped)
        )


@pytest.mark.requirement("R010.3")
def test_several_workers_at_once_take_each_step_once(clinic: Clinic) -> None:
    _, task = issued(clinic, "critical")

    escalate(clinic, now() + DAY, times=4)

    assert sorted(alerts(clinic, task)) == [
        "alert",
        "escalate-fail-safe",
        "escalate-team",
        "remind",
    ]
    assert clinic.get("gp", f"Task/{task['id']}")["meta"]["versionId"] == "4"


@pytest.mark.requirement("R010.3")
def test_what_was_acknowledged_or_superseded_is_not_escalated(clinic: Clinic) -> None:
    request, done = issued(clinic)
    clinic.acknowledge(request)
    _, _, report = clinic.reported()
    old = next(one for one in unread(clinic, "gp") if report["id"] in one["focus"]["reference"])
    clinic.change("reporter", report, status="corrected", conclusion="Corrected.")

    escalate(clinic, now() + 40 * DAY)

    assert alerts(clinic, done) == []
    assert alerts(clinic, old) == []


@pytest.mark.requirement("R010.1")
def test_a_referrer_hands_an_acknowledgement_to_a_named_delegate(clinic: Clinic) -> None:
    _, task = issued(clinic)

    handed = clinic.change("gp", task, owner={"reference": "PractitionerRole/gp2"})

    assert [one["id"] for one in unread(clinic, "gp2")] == [task["id"]]
    clinic.change("gp2", handed, status="completed", businessStatus=codes.ACKNOWLEDGED.concept)
    told = clinic.search("gp", f"Provenance?target=Task/{task['id']}")
    (act,) = [one for one in told if one["activity"]["coding"][0]["code"] == "acknowledge"]
    agents = {
        (one["who"].get("reference"), one.get("onBehalfOf", {}).get("reference"))
        for one in act["agent"]
    }
    assert ("PractitionerRole/gp2", "PractitionerRole/gp") in agents
    assert ("PractitionerRole/gp2", "Organization/harbour") in agents
    (hand_over,) = [one for one in told if one["activity"]["coding"][0]["code"] == "hand-over"]
    assert hand_over["agent"][0]["who"]["reference"] == "PractitionerRole/gp"


@pytest.mark.requirement("R010.1")
@pytest.mark.parametrize("to", ["PractitionerRole/reviewer", "Organization/quayside"])
def test_an_acknowledgement_is_not_handed_to_somebody_who_does_not_answer_for_it(
    clinic: Clinic, to: str
) -> None:
    _, task = issued(clinic)

    assert clinic.put("gp", {**task, "owner": {"reference": to}}).status_code == 403


@pytest.mark.requirement("R010.3")
@pytest.mark.parametrize(
    "change",
    [
        {"priority": "routine"},
        {"restriction": {"period": {"end": "2030-01-01"}}},
        {"extension": []},
        {"requester": {"reference": "Organization/harbour"}},
        {"reasonCode": None},
    ],
)
def test_nobody_puts_off_or_plays_down_an_acknowledgement(clinic: Clinic, change: Any) -> None:
    _, task = issued(clinic, "critical")
    changed = {name: value for name, value in {**task, **change}.items() if value}

    assert clinic.put("gp", changed).status_code == 422


@pytest.mark.requirement("R010.3")
def test_a_worker_that_is_stopped_at_any_moment_takes_every_step_once(clinic: Clinic) -> None:
    _, task = issued(clinic, "critical")
    instant = now() + DAY

    async def work(database: Database, store: Store) -> int:
        duty = Escalation(store, acknowledgement.DEFAULT, clinic.server.base)
        for milliseconds in (1, 3, 5, 8, 12, 16, 20, 30):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(duty.work(instant), milliseconds / 1000)
        return await duty.work(instant)

    in_worker(clinic, work)

    assert sorted(alerts(clinic, task)) == [
        "alert",
        "escalate-fail-safe",
        "escalate-team",
        "remind",
    ]
    assert clinic.get("gp", f"Task/{task['id']}")["meta"]["versionId"] == "4"
    told = clinic.search("auditor", f"Provenance?target=Task/{task['id']}")
    steps = [one["activity"]["coding"][0]["code"] for one in told]
    assert sorted(one for one in steps if one.startswith(("remind", "escalate"))) == [
        "escalate-fail-safe",
        "escalate-team",
        "remind",
    ]


@pytest.mark.requirement("R010.2")
@pytest.mark.parametrize("status", ["rejected", "cancelled", "failed", "entered-in-error"])
@pytest.mark.parametrize("login", ["gp", "coordinator"])
def test_an_acknowledgement_is_given_and_not_done_away_with(
    clinic: Clinic, login: str, status: str
) -> None:
    _, task = issued(clinic)

    answer = clinic.put(login, {**task, "status": status, "statusReason": {"text": "Not mine"}})

    assert answer.status_code == 422
    assert [one["id"] for one in unread(clinic, "gp")] == [task["id"]]
    assert clinic.as_(login).delete(f"Task/{task['id']}").status_code in (403, 409)


@pytest.mark.requirement("R010.3")
def test_nobody_makes_an_acknowledgement_without_deadlines_before_the_server_does(
    clinic: Clinic,
) -> None:
    request, _, _ = clinic.reported()
    (made,) = clinic.tasks(request, "acknowledge")
    by_hand = {name: made[name] for name in ("code", "focus", "basedOn", "for", "owner")}
    by_hand |= {"resourceType": "Task", "status": "requested", "intent": "order"}

    answer = clinic.as_("reporter").post("Task", content=json.dumps(by_hand))

    assert answer.status_code == 422


@pytest.mark.requirement("R010.1")
@pytest.mark.parametrize("login", ["reviewer", "clearscan-reporter"])
def test_who_is_named_in_person_acknowledges_whatever_their_role(
    clinic: Clinic, login: str
) -> None:
    copy = {"url": codes.COPY_TO, "valueReference": {"reference": f"PractitionerRole/{login}"}}
    (request,) = clinic.refer({"extension": [copy]})
    clinic.authorise(request)
    clinic.report(request, clinic.images_arrive(request))

    (task,) = unread(clinic, login)

    clinic.change(login, task, status="completed", businessStatus=codes.ACKNOWLEDGED.concept)
    assert unread(clinic, login) == []
    assert len(unread(clinic, "gp")) == 1, "each for themselves"


@pytest.mark.requirement("R010.1")
def test_a_report_is_acknowledged_although_its_request_was_withdrawn(clinic: Clinic) -> None:
    request, task = issued(clinic)
    asked = clinic.get("gp", f"ServiceRequest/{request['id']}")

    clinic.change("gp", asked, status="revoked")

    assert [one["id"] for one in unread(clinic, "gp")] == [task["id"]]
    clinic.acknowledge(request)
    assert clinic.get("gp", f"ServiceRequest/{request['id']}")["status"] == "revoked"
