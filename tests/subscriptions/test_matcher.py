"""The matcher: a change is told once to each who wants it and may know, numbered without a gap."""

from typing import Any

import pytest

from fhir_server.postgres.database import Database
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
    told,
)

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R010.1")]

Json = dict[str, Any]


def task(code: str = "acknowledge", status: str = "requested", **members: Any) -> Json:
    return {
        "resourceType": "Task",
        "status": status,
        "intent": "order",
        "code": {"coding": [{"system": STEP, "code": code}]},
        **members,
    }


def flag(patient: str = "p1", status: str = "active", **members: Any) -> Json:
    return {
        "resourceType": "Flag",
        "status": status,
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{patient}"},
        **members,
    }


async def test_a_change_that_meets_plain_criteria_is_an_event_and_no_other_is(
    database: Database,
) -> None:
    store, matcher = housed(database), Matcher(database, BASE)
    await put(store, {"resourceType": "Patient", "id": "p1"}, somebody())
    id = await subscribed(store, subscription("Flag?status=active"))
    one = await put(store, flag(), somebody())
    await put(store, flag(status="inactive"), somebody())
    await put(store, {**one.json, "status": "inactive"}, somebody())
    again = await put(store, {**one.json, "status": "active"}, somebody())

    assert await matcher.catch_up() == 2
    assert await told(database, id) == [f"Flag/{one.id}/1", f"Flag/{again.id}/3"]
    assert await numbers(database, id) == [1, 2]
    assert await matcher.catch_up() == 0


async def test_a_topic_fires_when_what_it_says_becomes_so(database: Database) -> None:
    store, matcher = housed(database), Matcher(database, BASE)
    await put(store, {"resourceType": "Organization", "id": "lead", "name": "L"}, somebody())
    own = {"owner": {"reference": "Organization/lead"}}
    id = await subscribed(
        store, subscription(f"{TOPICS}/step-scheduled", "Task?owner=Organization/lead")
    )
    one = await put(store, task("report", "requested", **own), somebody())
    ready = await put(store, {**one.json, "status": "ready"})
    await put(store, {**ready.json, "description": "more"})
    await put(store, task("report", "ready"), somebody())
    new = await put(store, task("acquire", "ready", **own), somebody())

    await matcher.catch_up()
    assert await told(database, id) == [f"Task/{one.id}/2", f"Task/{new.id}/1"]
