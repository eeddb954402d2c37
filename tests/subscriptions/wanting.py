"""What the tests of subscriptions have in common: asking for one, making it active, counting."""

from typing import Any

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.search.stored import Stored
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Hooks, Work
from resources import content
from subscriptions.registration import Registration

Json = dict[str, Any]

BASE = "https://fhir.example/fhir"
TOPICS = "https://isocentre.example/fhir/SubscriptionTopic"
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
STEP = "https://isocentre.example/fhir/CodeSystem/imaging-step"


def subscription(
    criteria: str = f"{TOPICS}/report-final",
    *filters: str,
    level: str = "id-only",
    channel: str = "rest-hook",
    **members: Any,
) -> Json:
    """A Subscription as a client writes it; to a topic if the criteria are its URL."""
    said: Json = {"type": channel, "payload": "application/fhir+json"}
    if channel == "rest-hook":
        said["endpoint"] = "https://hooks.example/fhir"
    found: Json = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "To be told",
        "criteria": criteria,
        "channel": said,
    }
    if criteria.startswith("http"):
        extension = {"url": f"{BACKPORT}/backport-payload-content", "valueCode": level}
        said["_payload"] = {"extension": [extension]}
    if filters:
        url = f"{BACKPORT}/backport-filter-criteria"
        listed = [{"url": url, "valueString": each} for each in filters]
        found["_criteria"] = {"extension": listed}
    return found | members


def somebody(
    organization: str | None = "lead",
    role: str = "application",
    scope: str = "system/*.cruds",
    patient: str | None = None,
) -> Principal:
    return Principal("Client/test", organization, role, parse(scope), patient, "test")


SYSTEM = Principal.system("test")


def housed(database: Database) -> Store:
    """A store that registers Subscriptions; any endpoint will do."""
    registration = Registration(BASE, lambda endpoint, organization: None)

    async def follow(work: Work) -> None:
        registration.follow(work)

    hooks = Hooks(completions={"Subscription": registration.completed}, follow=follow)
    return Store(database, Ledger(database), hooks, BASE)


async def put(
    store: Store, json: Json, principal: Principal = SYSTEM, id: str | None = None
) -> Stored:
    """Write a resource: a new one, or over the one with its id."""
    context = RequestContext(principal, "update")
    async with store.begin(context) as work:
        if "id" not in json:
            return await work.create(content.made(json), id)
        return await work.update(json["resourceType"], json["id"], content.made(json))


async def subscribed(
    store: Store, json: Json, principal: Principal | None = None, status: str = "active"
) -> str:
    """Ask for a subscription, and make it active as delivery does."""
    made = await put(store, json, principal or somebody())
    await put(store, {**made.json, "status": status})
    return made.id


async def numbers(database: Database, id: str) -> list[int]:
    rows = await database.run(
        "select number from subscription_event where subscription = $1 order by number", (id,)
    )
    return [number for (number,) in rows]


async def told(database: Database, id: str) -> list[str]:
    """What a subscription has been told of, in order: Type/id/version."""
    rows = await database.run(
        "select type, id, version from subscription_event where subscription = $1 order by number",
        (id,),
    )
    return [f"{type}/{name}/{version}" for type, name, version in rows]
