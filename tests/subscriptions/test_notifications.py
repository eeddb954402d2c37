"""Notifications: what a subscriber is told, as much as they want and no more than they may see."""

from typing import Any

import pytest

from fhir_server.context import RequestContext, now
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources import validate
from resources.agreement import AFFILIATION_CODE, SHARES
from subscriptions import events, notifications, sweeping
from subscriptions.events import Event, Subscriber
from subscriptions.matcher import Matcher
from tests.subscriptions.wanting import (
    BASE,
    STEP,
    TOPICS,
    housed,
    numbers,
    put,
    somebody,
    subscribed,
    subscription,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.standard("Subscriptions R5 Backport 1.1.0 notifications"),
]

Json = dict[str, Any]


async def world(database: Database) -> Store:
    """A store with an organisation, its patient and a study of theirs."""
    store = housed(database)
    await put(store, {"resourceType": "Organization", "id": "lead", "name": "Lead"}, somebody())
    about = {"subject": {"reference": "Patient/p1"}, "status": "available"}
    for json in (
        {"resourceType": "Patient", "id": "p1"},
        {"resourceType": "ImagingStudy", "id": "s1", **about},
    ):
        await put(store, json, somebody())
    return store


def acknowledge(**members: Any) -> Json:
    return {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "priority": "stat",
        "code": {"coding": [{"system": STEP, "code": "acknowledge"}]},
        "for": {"reference": "Patient/p1"},
        "focus": {"reference": "ImagingStudy/s1"},
        "owner": {"reference": "Organization/lead"},
        **members,
    }


async def happened(database: Database, id: str) -> tuple[Subscriber, list[Event]]:
    await Matcher(database, BASE).catch_up()
    subscriber = await events.subscriber(database, id)
    assert subscriber is not None
    return subscriber, await events.after(database, id, 0, 100)


async def sent(store: Store, subscriber: Subscriber, found: list[Event], **how: Any) -> Json:
    bundle = await notifications.notification(
        store, subscriber, "event-notification", found, base_url=BASE, **how
    )
    assert validate.check(bundle) == []
    return bundle


def parts(bundle: Json) -> list[list[tuple[str, str]]]:
    """Of each event the names of its parts, and what they refer to."""
    return [
        [
            (part["name"], part.get("valueReference", {}).get("reference", ""))
            for part in each["part"]
        ]
        for each in bundle["entry"][0]["resource"]["parameter"]
        if each["name"] == "notification-event"
    ]


@pytest.mark.standard("FHIR R4B SubscriptionTopic.notificationShape")
async def test_everything_comes_with_what_belongs_to_it(database: Database) -> None:
    store = await world(database)
    asked = subscription(f"{TOPICS}/report-urgent", level="full-resource")
    id = await subscribed(store, asked)
    one = await put(store, acknowledge(), somebody())
    bundle = await sent(store, *await happened(database, id))

    study, patient = f"{BASE}/ImagingStudy/s1", f"{BASE}/Patient/p1"
    ((number, timestamp, focus, *context),) = parts(bundle)
    assert (number[0], timestamp[0]) == ("event-number", "timestamp")
    assert focus == ("focus", f"{BASE}/Task/{one.id}")
    assert set(context) == {("additional-context", study), ("additional-context", patient)}
    found = {each["fullUrl"]: each for each in bundle["entry"][1:]}
    assert found.keys() == {f"{BASE}/Task/{one.id}", study, patient}
    assert found[study]["request"] == {"method": "GET", "url": "ImagingStudy/s1"}
    assert found[study]["resource"]["id"] == "s1"


async def test_the_version_that_fired_is_told_and_not_the_one_that_is_now(
    database: Database,
) -> None:
    store = await world(database)
    id = await subscribed(store, subscription(f"{TOPICS}/report-urgent", level="full-resource"))
    one = await put(store, acknowledge(), somebody())
    await put(store, {**one.json, "description": "later"})
    bundle = await sent(store, *await happened(database, id))

    assert bundle["entry"][1]["resource"]["meta"]["versionId"] == "1"
    assert "description" not in bundle["entry"][1]["resource"]


async def test_several_events_share_what_belongs_to_them(database: Database) -> None:
    store = await world(database)
    id = await subscribed(store, subscription(f"{TOPICS}/report-urgent", level="full-resource"))
    for _ in range(3):
        await put(store, acknowledge(), somebody())
    bundle = await sent(store, *await happened(database, id))

    assert len(parts(bundle)) == 3
    urls = [each["fullUrl"] for each in bundle["entry"]]
    assert len(urls) == len(set(urls)) == 1 + 3 + 2


@pytest.mark.standard("threats T4")
@pytest.mark.parametrize("level", ["id-only", "full-resource"])
async def test_what_is_no_longer_seen_leaves_its_number_and_nothing_else(
    database: Database, level: str
) -> None:
    store = await world(database)
    id = await subscribed(store, subscription(f"{TOPICS}/report-urgent", level=level))
    await put(store, acknowledge(), somebody())
    subscriber, found = await happened(database, id)
    assert len((await sent(store, subscriber, found))["entry"]) > 1

    await database.run("update relation set until = 0")
    await database.run("update current set organizations = array['other']")
    bundle = await sent(store, subscriber, found)
    assert parts(bundle) == [[("event-number", ""), ("timestamp", "")]]
    assert len(bundle["entry"]) == 1


@pytest.mark.standard("threats T4")
@pytest.mark.parametrize("ending", ["said", "passed"])
async def test_what_is_shared_no_more_is_told_no_more(database: Database, ending: str) -> None:
    """Neither what waits to be sent, nor what happens then."""
    store = await world(database)
    agreed = {
        "resourceType": "OrganizationAffiliation", "id": "agreed",
        "organization": {"reference": "Organization/lead"},
        "participatingOrganization": {"reference": "Organization/taker"},
        "code": [{"coding": [{"system": AFFILIATION_CODE, "code": SHARES}]}],
    }  # fmt: skip
    await put(store, {"resourceType": "Organization", "id": "taker", "name": "Taker"})
    await put(store, agreed, somebody("lead"))
    asked = subscription(f"{TOPICS}/report-urgent", level="full-resource")
    id = await subscribed(store, asked, somebody("taker"))
    await put(store, acknowledge(), somebody("lead"))
    subscriber, found = await happened(database, id)
    assert len(found) == 1
    assert len((await sent(store, subscriber, found))["entry"]) > 1

    if ending == "said":
        await put(store, {**agreed, "active": False}, somebody("lead"))
    else:
        await database.run("update sharing set until = $1", (now(),))

    assert len((await sent(store, subscriber, found))["entry"]) == 1
    await put(store, acknowledge(), somebody("lead"))
    assert len((await happened(database, id))[1]) == 1


@pytest.mark.standard("threats T4")
async def test_what_belongs_to_an_event_is_what_the_subscriber_may_see(
    database: Database,
) -> None:
    store = await world(database)
    asked = subscription(f"{TOPICS}/report-urgent", level="full-resource")
    only = somebody(scope="system/Subscription.cruds system/Task.rs system/Patient.r")
    id = await subscribed(store, asked, only)
    await put(store, acknowledge(), somebody())
    bundle = await sent(store, *await happened(database, id))

    types = {each["resource"]["resourceType"] for each in bundle["entry"][1:]}
    assert types == {"Task", "Patient"}


@pytest.mark.requirement("R014.1")
async def test_what_is_told_stands_in_the_ledger_in_the_subscribers_name(
    database: Database,
) -> None:
    store = await world(database)
    id = await subscribed(store, subscription(f"{TOPICS}/report-urgent"))
    one = await put(store, acknowledge(), somebody())
    subscriber, found = await happened(database, id)
    before = await database.run("select count(*) from audit where interaction = 'notification'")
    await sent(store, subscriber, found)

    assert before == [(0,)]
    rows = await database.run(
        "select subject, organization, type, id, patient, request from audit"
        " where interaction = 'notification'"
    )
    assert rows == [("Client/test", "lead", "Task", one.id, "p1", id)]


@pytest.mark.standard("FHIR R4 subscription channels")
async def test_plain_criteria_are_told_the_resource_itself(database: Database) -> None:
    store = await world(database)
    id = await subscribed(store, subscription("Task?priority=stat"))
    one = await put(store, acknowledge(), somebody())
    subscriber, (event,) = await happened(database, id)

    assert await notifications.plain(store, subscriber, event) == (f"Task/{one.id}", one.text)
    await database.run("update relation set until = 0")
    await database.run("update current set organizations = array['other']")
    assert await notifications.plain(store, subscriber, event) is None


async def test_an_error_is_told_and_its_reason(database: Database) -> None:
    store = await world(database)
    id = await subscribed(store, subscription(f"{TOPICS}/report-urgent"))
    stored = await store.read(RequestContext(somebody(), "read"), "Subscription", id)
    await put(store, {**stored.json, "status": "error", "error": "Gone."})
    subscriber, _ = await happened(database, id)
    told = notifications.status(subscriber, "query-status", base_url=BASE)

    said = {each["name"]: each for each in told["parameter"]}
    assert said["status"]["valueCode"] == "error"
    assert said["error"]["valueCodeableConcept"] == {"text": "Gone."}


async def test_events_are_kept_thirty_days_and_until_they_are_delivered(
    database: Database,
) -> None:
    store = await world(database)
    id = await subscribed(store, subscription(f"{TOPICS}/report-urgent"))
    for _ in range(4):
        await put(store, acknowledge(), somebody())
    _, found = await happened(database, id)
    newest = found[-1].instant
    month = 30 * 86400 * 1_000_000
    await database.run("update subscription set delivered = 3")

    assert await sweeping.sweep(database, newest) == 0
    assert await sweeping.sweep(database, newest + month + 1) == 3
    assert await numbers(database, id) == [4]
    await database.run("update subscription set delivered = 4")
    assert await sweeping.sweep(database, newest + month + 1) == 1
