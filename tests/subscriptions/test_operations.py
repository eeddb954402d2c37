"""$status, $events, $resend and $topics, asked of a real server."""

from typing import Any

import httpx
import pytest

from fhir_server.audit.ledger import Ledger
from fhir_server.context import now
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from resources import validate
from subscriptions.leases import Leases, Told
from subscriptions.matcher import Matcher
from tests.server import Server
from tests.subscriptions.wanting import BACKPORT, TOPICS, put, subscription

pytestmark = pytest.mark.anyio

Json = dict[str, Any]

STATUS = f"{BACKPORT}/backport-subscription-status-r4"


@pytest.fixture
def api(server: Server) -> httpx.Client:
    return server.client()


@pytest.fixture
def store(server: Server, database: Database) -> Store:
    return Store(database, Ledger(database), Workflow(server.base).hooks(), server.base)


async def asked_for(api: httpx.Client, store: Store, json: Json, status: str = "active") -> str:
    answer = api.post("/Subscription", json=json)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    assert made["status"] == "requested"
    await put(store, {**made, "status": status})
    return str(made["id"])


async def flags(api: httpx.Client, server: Server, database: Database, number: int) -> list[Json]:
    """Write flags, and let them be matched."""
    patient = api.put("/Patient/p1", json={"resourceType": "Patient", "id": "p1"})
    assert patient.status_code in (200, 201)
    made = []
    for n in range(number):
        flag = {
            "resourceType": "Flag",
            "status": "active",
            "code": {"text": str(n)},
            "subject": {"reference": "Patient/p1"},
        }
        answer = api.post("/Flag", json=flag)
        assert answer.status_code == 201, answer.text
        made.append(answer.json())
    await Matcher(database, server.base).catch_up()
    return made


def parameters(resource: Json) -> Json:
    """The parameters of a status that are there once, by name."""
    return {
        each["name"]: next(v for k, v in each.items() if k.startswith(("value", "part")))
        for each in resource["parameter"]
    }


def events(bundle: Json) -> list[Json]:
    listed = bundle["entry"][0]["resource"]["parameter"]
    return [
        {
            part["name"]: part.get("valueString") or part.get("valueReference")
            for part in each["part"]
        }
        for each in listed
        if each["name"] == "notification-event"
    ]


@pytest.mark.standard("Subscriptions R5 Backport 1.1.0 $status")
async def test_status_tells_how_a_subscription_is(
    api: httpx.Client, server: Server, store: Store, database: Database
) -> None:
    id = await asked_for(api, store, subscription("Flag?status=active"))
    await flags(api, server, database, 3)

    bundle = api.get(f"/Subscription/{id}/$status").json()
    assert bundle["type"] == "searchset"
    (entry,) = bundle["entry"]
    assert entry["search"] == {"mode": "match"}
    assert entry["resource"]["meta"]["profile"] == [STATUS]
    assert validate.check(bundle) == []
    told = parameters(entry["resource"])
    assert told["subscription"] == {"reference": f"{server.base}/Subscription/{id}"}
    assert told["status"] == "active"
    assert told["type"] == "query-status"
    assert told["events-since-subscription-start"] == "3"


async def test_status_is_asked_of_several_by_id_and_by_status(
    api: httpx.Client, server: Server, store: Store
) -> None:
    one = await asked_for(api, store, subscription("Flag?status=active"))
    two = await asked_for(api, store, subscription("Flag?status=inactive"), "off")
    await asked_for(api, store, subscription("Flag?status=inactive"), "error")

    def ids(query: str) -> set[str]:
        bundle = api.get(f"/Subscription/$status{query}").json()
        told = [parameters(each["resource"]) for each in bundle.get("entry", ())]
        return {each["subscription"]["reference"].rpartition("/")[2] for each in told}

    assert ids(f"?id={one}&id={two}") == {one, two}
    assert ids(f"?id={one},{two}") == {one, two}
    assert ids("?status=active,off") == {one, two}
    assert len(ids("")) == 3
    stranger = server.client("application", "other")
    assert stranger.get("/Subscription/$status").json()["total"] == 0
    assert stranger.get(f"/Subscription/{one}/$status").status_code == 404


@pytest.mark.standard("Subscriptions R5 Backport 1.1.0 $events")
async def test_events_gives_what_has_been_by_number_and_at_each_level(
    api: httpx.Client, server: Server, store: Store, database: Database
) -> None:
    id = await asked_for(api, store, subscription("Flag?status=active"))
    made = await flags(api, server, database, 5)

    asked = f"/Subscription/{id}/$events?eventsSinceNumber=2&eventsUntilNumber=4&content="
    full = api.get(f"{asked}full-resource").json()
    assert validate.check(full) == []
    assert full["type"] == "history"
    assert parameters(full["entry"][0]["resource"])["type"] == "query-event"
    assert [each["event-number"] for each in events(full)] == ["2", "3", "4"]
    assert [each["resource"] for each in full["entry"][1:]] == made[1:4]
    assert all(each["request"] and each["response"] for each in full["entry"])

    only = api.get(f"{asked}id-only").json()
    assert [each["focus"]["reference"] for each in events(only)] == [
        f"{server.base}/Flag/{each['id']}" for each in made[1:4]
    ]
    assert [set(each) for each in only["entry"][1:]] == [{"fullUrl", "request", "response"}] * 3

    empty = api.get(f"{asked}empty").json()
    assert [set(each) for each in events(empty)] == [{"event-number", "timestamp"}] * 3
    assert len(empty["entry"]) == 1
    assert api.get(f"{asked}all").status_code == 400


async def test_who_may_ask_for_events_but_not_see_them_learns_their_numbers_alone(
    api: httpx.Client, server: Server, store: Store, database: Database
) -> None:
    id = await asked_for(api, store, subscription("Flag?status=active"))
    await flags(api, server, database, 1)

    administrator = server.client("administrator", scope="user/*.cruds")
    bundle = administrator.get(f"/Subscription/{id}/$events?content=full-resource").json()
    assert [set(each) for each in events(bundle)] == [{"event-number", "timestamp"}]
    assert len(bundle["entry"]) == 1


async def test_resend_goes_back_to_a_number_or_an_instant(
    api: httpx.Client, server: Server, store: Store, database: Database
) -> None:
    id = await asked_for(api, store, subscription("Flag?status=active"))
    await flags(api, server, database, 3)
    await database.run("update subscription set delivered = 3, due = null")

    answer = api.post(
        f"/Subscription/{id}/$resend",
        json={
            "resourceType": "Parameters",
            "parameter": [{"name": "eventsSinceNumber", "valueString": "2"}],
        },
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    ((delivered, due),) = await database.run("select delivered, due from subscription")
    assert (delivered, due is not None) == (1, True)

    since = "2020-01-01T00:00:00Z"
    assert api.post(f"/Subscription/{id}/$resend?eventsSinceInstant={since}").status_code == 200
    assert await database.run("select delivered from subscription") == [(0,)]
    assert api.post(f"/Subscription/{id}/$resend").status_code == 400
    assert api.get(f"/Subscription/{id}/$resend?eventsSinceNumber=1").status_code == 405
    await database.run("update subscription set status = 'off'")
    assert api.post(f"/Subscription/{id}/$resend?eventsSinceNumber=1").status_code == 409


async def test_what_is_under_way_does_not_undo_a_resend(
    api: httpx.Client, server: Server, store: Store, database: Database
) -> None:
    id = await asked_for(api, store, subscription("Flag?status=active"))
    await flags(api, server, database, 3)
    leases = Leases(database)
    (claimed,) = await leases.claim(1, ())
    assert (claimed.id, claimed.delivered) == (id, 0)
    await leases.sent(Told(id, 2, now()))

    assert api.post(f"/Subscription/{id}/$resend?eventsSinceNumber=1").status_code == 200
    standing = await leases.sent(Told(id, 3, now()))
    assert not standing.is_held
    assert await database.run("select delivered from subscription") == [(0,)]
    assert len(await Leases(database).claim(1, ())) == 1


@pytest.mark.standard("Subscriptions R5 Backport 1.1.0 subscription topics in R4")
async def test_topics_are_read_as_basic_resources(api: httpx.Client) -> None:
    bundle = api.get("/Subscription/$topics").json()

    assert validate.check(bundle) == []
    urls = {
        each["valueUri"]
        for entry in bundle["entry"]
        for each in entry["resource"]["extension"]
        if each["url"].endswith("5.0/StructureDefinition/extension-SubscriptionTopic.url")
    }
    assert len(urls) == 13
    assert f"{TOPICS}/report-urgent" in urls
