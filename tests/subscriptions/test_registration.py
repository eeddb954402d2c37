"""What is asked for is done or refused: topics, filters and searches, as far as the asker sees."""

import json
from typing import Any

import pytest

from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from resources import content
from resources.errors import Forbidden, Refusal, Unprocessable
from subscriptions.addresses import Addresses
from tests.subscriptions.wanting import (
    BACKPORT,
    BASE,
    TOPICS,
    housed,
    put,
    somebody,
    subscribed,
    subscription,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.standard("Subscriptions R5 Backport 1.1.0 accepting subscriptions"),
]

Json = dict[str, Any]

STEP_READY = f"{TOPICS}/step-scheduled"
BOUND = "user/Subscription.cruds patient/*.rs"


async def row(database: Database, id: str, *columns: str) -> tuple[Any, ...]:
    ((found),) = await database.run(
        f"select {', '.join(columns)} from subscription where id = $1", (id,)
    )
    return tuple(found)


async def terms(database: Database, id: str) -> set[str]:
    rows = await database.run("select term from subscription_term where subscription = $1", (id,))
    return {term for (term,) in rows}


FILTERS_REFUSED = {
    "a parameter that the topic has not": ("Task?status=ready", "not filtered by status"),
    "a parameter that there is not": ("Task?colour=red", "not filtered by colour"),
    "another type": ("Patient?name=x", "not about that type"),
    "nothing": ("Task?owner=", "has no value"),
    "a modifier that there is not": ("Task?owner:near=x", "owner"),
    "a value that is none": ("Task?period=soon", "period"),
    "how to answer": ("Task?_count=5", "_count"),
    "a code that no Task may have": ("Task?priority=soon", "nothing would ever be sent"),
}


@pytest.mark.parametrize("name", FILTERS_REFUSED)
async def test_a_filter_is_refused_and_said_why(database: Database, name: str) -> None:
    text, why = FILTERS_REFUSED[name]

    with pytest.raises(Unprocessable) as refused:
        await put(housed(database), subscription(STEP_READY, text), somebody())
    said = " ".join(issue.text for issue in refused.value.issues)
    assert why in said
    assert all(issue.at.startswith("Subscription.criteria") for issue in refused.value.issues)
    assert await database.run("select from subscription") == []


CRITERIA_REFUSED = {
    "Task?colour=red": "colour",
    "Observation?status=fnial": "nothing would ever be sent",
    "Task?_lastUpdated=lt2020": "nothing would ever be sent",
    "AuditEvent?action=R": "AuditEvent",
    "SubscriptionTopic?url=x": "SubscriptionTopic",
    "Task?status=ready&_include=Task:focus": "_include",
    "Task?_sort=due": "_sort",
    "Task?status:fuzzy=ready": "fuzzy",
}


@pytest.mark.standard("FHIR R4 subscription, criteria")
@pytest.mark.parametrize("criteria", CRITERIA_REFUSED)
async def test_a_search_that_could_never_be_met_is_refused(
    database: Database, criteria: str
) -> None:
    with pytest.raises(Unprocessable) as refused:
        await put(housed(database), subscription(criteria), somebody())
    assert CRITERIA_REFUSED[criteria] in refused.value.reason


@pytest.mark.parametrize(
    "criteria",
    [
        "Task?_lastUpdated=gt2020",
        "Task?_lastUpdated=lt2020,gt2020",
        "Task?status=ready,done",
        "Observation?code=http://loinc.org|1975-2",
        "Task?focus:ImagingStudy.modality=CT",
        "ImagingStudy?_has:DiagnosticReport:imagingStudy:status=final",
        "Patient",
    ],
)
async def test_a_search_that_may_be_met_is_accepted(database: Database, criteria: str) -> None:
    made = await put(housed(database), subscription(criteria), somebody())

    assert made.json["criteria"] == criteria
    assert await row(database, made.id, "status", "topic") == ("requested", "")


async def test_the_row_says_what_the_resource_says(database: Database) -> None:
    asked = subscription(STEP_READY, "Task?owner=Organization/lead", level="empty")
    asked["channel"]["header"] = ["Authorization: Bearer x"]
    asked["channel"]["extension"] = [
        {"url": f"{BACKPORT}/backport-heartbeat-period", "valueUnsignedInt": 120},
        {"url": f"{BACKPORT}/backport-timeout", "valueUnsignedInt": 7},
        {"url": f"{BACKPORT}/backport-max-count", "valuePositiveInt": 9},
    ]
    asked["end"] = "2096-01-01T00:00:00Z"
    who = somebody()
    made = await put(housed(database), asked, who)

    found = await row(
        database, made.id, "version", "topic", "type", "criteria", "channel", "endpoint", "headers",
        "payload_type", "content", "heartbeat", "timeout", "max_count", "principal",
        "organization", "events", "started", "ending",
    )  # fmt: skip
    assert found == (
        1, STEP_READY, "Task", json.dumps(["Task?owner=Organization/lead"]), "rest-hook",
        "https://hooks.example/fhir", ["Authorization: Bearer x"], "application/fhir+json",
        "empty", 120, 7, 9, who.written, "lead", 0, 0, 3_976_214_400_000_000,
    )  # fmt: skip


async def test_it_is_found_by_the_criterion_with_the_fewest_terms(database: Database) -> None:
    store = housed(database)
    filters = ("owner=Organization/a,Organization/b", "priority=stat", "period=gt2026")
    narrow = await subscribed(store, subscription(STEP_READY, *filters))
    wide = await subscribed(store, subscription(STEP_READY))
    several = await subscribed(
        store, subscription(f"{TOPICS}/study-access-granted", "patient=Patient/p")
    )
    granted = f"{TOPICS}/study-access-granted"

    assert await terms(database, narrow) == {f"{STEP_READY} Task T.priority=stat"}
    assert await terms(database, wide) == {f"{STEP_READY} Task"}
    assert await terms(database, several) == {
        f"{granted} Consent C.patient=Patient/p", f"{granted} Task T.patient=Patient/p"
    }  # fmt: skip


async def test_what_could_no_longer_be_asked_for_can_be_switched_off_and_not_on(
    database: Database,
) -> None:
    store = housed(database)
    made = await put(store, subscription(STEP_READY), somebody())
    ended = {**made.json, "end": "2020-01-01T00:00:00Z"}
    off = await put(store, {**ended, "status": "off"}, somebody())

    assert await row(database, off.id, "status", "due") == ("off", None)
    with pytest.raises(Unprocessable):
        await put(store, {**ended, "status": "requested"}, somebody())


async def test_very_many_alternatives_are_not_all_written_down(database: Database) -> None:
    store = housed(database)
    owners = ",".join(f"Organization/o{n}" for n in range(99))
    few = await subscribed(store, subscription("Task?owner=" + owners))
    codes = ",".join(f"1.2.840.{n}" for n in range(100))
    many = await subscribed(store, subscription(f"ImagingStudy?identifier={codes}"))

    assert len(await terms(database, few)) == 99
    assert await terms(database, many) == {"ImagingStudy"}


async def test_what_is_off_or_deleted_is_found_by_nothing(database: Database) -> None:
    store = housed(database)
    id = await subscribed(store, subscription(STEP_READY))
    stored = await put(store, subscription(STEP_READY) | {"id": id, "status": "off"}, somebody())

    assert stored.json["status"] == "off"
    assert await terms(database, id) == set()
    assert await row(database, id, "status", "due", "started") == ("off", None, 0)


# --- no wider than the token -------------------------------------------------------------------


@pytest.mark.standard("threats T4")
async def test_a_token_for_one_patient_asks_for_that_patient(database: Database) -> None:
    store = housed(database)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    who = somebody("lead", "reporter", BOUND, patient="p1")

    of_topic = await put(store, subscription(f"{TOPICS}/report-final", "category=RAD"), who)
    filters = [each["valueString"] for each in of_topic.json["_criteria"]["extension"]]
    assert filters == ["category=RAD", "DiagnosticReport?patient=Patient/p1"]
    plain = await put(store, subscription("Task?status=ready"), who)
    assert plain.json["criteria"] == "Task?status=ready&patient=Patient/p1"
    chained = await put(store, subscription("Task?focus:Task.patient=Patient/p1"), who)
    assert chained.json["criteria"] == "Task?focus:Task.patient=Patient/p1&patient=Patient/p1"
    again = await put(store, {**plain.json, "reason": "again"}, who)
    assert again.json["criteria"] == "Task?status=ready&patient=Patient/p1"


@pytest.mark.standard("threats T4")
@pytest.mark.parametrize(
    "asked",
    [
        subscription(f"{TOPICS}/report-final", "patient=Patient/p2"),
        subscription("Task?patient=Patient/p2"),
        subscription("Task?subject=Patient/p2"),
        subscription(f"{TOPICS}/mdt-list-changed"),
        subscription("Binary"),
    ],
    ids=["filter", "criteria", "subject", "a topic without patients", "a type without patients"],
)
async def test_a_token_for_one_patient_asks_for_no_other(database: Database, asked: Json) -> None:
    store = housed(database)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    who = somebody("lead", "reporter", BOUND, patient="p1")

    with pytest.raises(Forbidden) as refused:
        await put(store, asked, who)
    assert refused.value.step == "patient"


@pytest.mark.standard("threats T4")
@pytest.mark.parametrize(
    ("role", "scope", "asked", "step"),
    [
        ("application", "system/Subscription.cruds", subscription("Task"), "scope"),
        ("application", "system/Subscription.cruds", subscription(STEP_READY), "scope"),
        ("application", "system/Subscription.cruds system/Task.r",
         subscription(f"{TOPICS}/study-access-granted"), "scope"),
        ("administrator", "user/*.cruds", subscription(STEP_READY), "role"),
        ("auditor", "user/*.cruds", subscription("Task"), "role"),
        ("application", "system/*.rs", subscription("Task"), "scope"),
    ],
)  # fmt: skip
async def test_nobody_subscribes_to_what_they_may_not_read(
    database: Database, role: str, scope: str, asked: Json, step: str
) -> None:
    with pytest.raises(Forbidden) as refused:
        await put(housed(database), asked, somebody("lead", role, scope))
    assert refused.value.step == step


async def test_an_endpoint_that_is_never_called_is_refused_for_its_organisation(
    database: Database,
) -> None:
    addresses = Addresses("lead@127.0.0.1")
    hooks = Workflow(BASE, check_endpoint=addresses.check).hooks()
    store = Store(database, Ledger(database), hooks, BASE)
    asked = subscription("Task?status=ready")
    asked["channel"]["endpoint"] = "http://127.0.0.1:9/hook"

    with pytest.raises(Refusal):
        await put(store, asked, somebody("other"))
    made = await put(store, asked, somebody("lead"))
    assert await row(database, made.id, "status") == ("requested",)


async def test_an_organisation_has_so_many_subscriptions_and_is_told_so(database: Database) -> None:
    hooks = Workflow(BASE, most_subscriptions=2).hooks()
    store = Store(database, Ledger(database), hooks, BASE)
    asked = subscription("Flag?status=active")
    first = await put(store, asked, somebody())
    second = await put(store, asked, somebody())

    with pytest.raises(Unprocessable) as refused:
        await put(store, asked, somebody())
    assert "2 subscriptions" in refused.value.reason
    await put(store, asked, somebody("other"))
    await put(store, {**first.json, "reason": "Changed"}, somebody())
    await put(store, {**first.json, "status": "off"}, somebody())
    third = await put(store, asked, somebody())
    with pytest.raises(Unprocessable):
        await put(store, {**first.json, "status": "requested"}, somebody())

    async with store.begin(RequestContext(somebody(), "transaction")) as work:
        for one in (second, third):
            off = {**one.json, "status": "off"}
            await work.update("Subscription", one.id, content.made(off))
        for _ in range(2):
            await work.create(content.made(asked))
        with pytest.raises(Unprocessable):
            await work.create(content.made(asked))


async def test_mail_is_promised_only_where_there_is_a_mail_server(database: Database) -> None:
    asked = subscription(channel="email", level="empty")
    asked["channel"] |= {"endpoint": "mailto:duty@ward.example", "payload": "text/plain"}
    hooks = Workflow(BASE, sends_mail=False).hooks()

    with pytest.raises(Unprocessable, match="no e-mail"):
        await put(Store(database, Ledger(database), hooks, BASE), asked, somebody())
    assert (await put(housed(database), asked, somebody())).version == 1


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost:8443"]
)
async def test_this_machine_is_not_called_by_its_name_either(host: str) -> None:
    with pytest.raises(Unprocessable):
        Addresses().check(f"https://{host}/hook", "lead")
