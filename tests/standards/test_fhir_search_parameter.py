"""FHIR R4 SearchParameter: what a client defines is indexed, and then searched by."""

from collections.abc import Iterator
from typing import Any

import pytest

from fhir_server import own_parameters
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse as scopes
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.rest.operations.definitions import definitions
from fhir_server.rest.operations.table import offered
from fhir_server.search import query
from fhir_server.search.stored import Stored
from fhir_server.store import upkeep
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Hooks
from fhir_server.workflow import Workflow
from resources import content, search_parameters, validate
from resources.errors import Forbidden, Refusal, Unprocessable
from resources.models import TYPES
from tests.conftest import BASE_URL

pytestmark = pytest.mark.anyio

COLOUR = "http://example.org/StructureDefinition/colour"
DEFINITION = {
    "resourceType": "SearchParameter",
    "url": "http://example.org/SearchParameter/colour",
    "name": "colour",
    "status": "active",
    "description": "The colour of the device",
    "code": "colour",
    "base": ["Device"],
    "type": "token",
    "expression": f"Device.extension('{COLOUR}').value",
}


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """What one test defines is not there for the next."""
    yield
    search_parameters.adopt([])


@pytest.fixture
def store(database: Database, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with the workflow, whose only process has heard at once of what is defined."""
    monkeypatch.setattr(own_parameters, "HEARD_SECONDS", 0)
    return Store(database, Ledger(database), Workflow(BASE_URL).hooks(), BASE_URL)


def asker(role: str) -> RequestContext:
    return RequestContext(
        Principal("Practitioner/x", "lead", role, scopes("user/*.cruds")), "create"
    )


async def create(store: Store, resource: dict[str, Any], role: str = "administrator") -> Stored:
    async with store.begin(asker(role)) as work:
        return await work.create(content.made(resource))


async def update(store: Store, stored: Stored, **members: Any) -> Stored:
    async with store.begin(asker("administrator")) as work:
        changed = content.replaced(content.read(stored.text), members)
        return await work.update(stored.type, stored.id, changed)


async def read(store: Store, id: str) -> dict[str, Any]:
    return (await store.read(asker("administrator"), "SearchParameter", id)).json


async def found(store: Store, text: str, type: str = "Device") -> list[str] | None:
    """The ids that a search finds; None if the parameter is not used."""
    asked = query.parse(type, [tuple(text.split("=", 1))])  # type: ignore[list-item]
    if asked.ignored:
        return None
    return [each.id for each in (await store.search(asker("administrator"), asked)).matches]


def device(colour: str) -> dict[str, Any]:
    return {"resourceType": "Device", "extension": [{"url": COLOUR, "valueCode": colour}]}


@pytest.mark.standard("FHIR SearchParameter")
async def test_a_definition_is_a_draft_until_its_index_is_complete(
    store: Store, database: Database
) -> None:
    red = await create(store, device("red"))
    await create(store, device("blue"))
    defined = await create(store, DEFINITION)

    assert (await read(store, defined.id))["status"] == "draft"
    assert await found(store, "colour=red") is None

    await own_parameters.load(database)
    assert await found(store, "colour=red") is None
    later = await create(store, device("red"))

    assert await own_parameters.build(database, store, BASE_URL) > 0
    now = await read(store, defined.id)
    assert (now["status"], now["meta"].get("tag")) == ("active", None)
    await own_parameters.load(database)
    assert await found(store, "colour=red") == [red.id, later.id]
    assert await upkeep.problems(database, BASE_URL) == []


@pytest.mark.standard("FHIR SearchParameter")
async def test_what_is_retired_or_deleted_is_searched_by_no_more(
    store: Store, database: Database
) -> None:
    await create(store, device("red"))
    for number, member in enumerate(("retired", None)):
        url = f"{DEFINITION['url']}-{number}"
        defined = await create(store, DEFINITION | {"url": url})
        await own_parameters.build(database, store, BASE_URL)
        await own_parameters.load(database)
        assert len(await found(store, "colour=red") or ()) == 1

        if member is None:
            async with store.begin(asker("administrator")) as work:
                await work.delete("SearchParameter", defined.id)
        else:
            current = await store.read(asker("administrator"), "SearchParameter", defined.id)
            await update(store, current, status=member)
        await own_parameters.build(database, store, BASE_URL)

        assert await found(store, "colour=red") is None
        rows = await database.run("select from current where 'D.colour=red' = any(terms)")
        assert rows == []
        assert await upkeep.problems(database, BASE_URL) == []


@pytest.mark.standard("FHIR SearchParameter")
@pytest.mark.parametrize(
    ("members", "value"),
    [
        ({"type": "string", "expression": "Device.patient.display"}, "ada l"),
        ({"type": "reference", "expression": "Device.patient", "target": ["Patient"]}, "Patient/p"),
        ({"type": "date", "expression": "Device.expirationDate"}, "gt2020"),
        ({"type": "uri", "expression": "Device.url"}, "http://d"),
        ({"type": "number", "expression": f"Device.extension('{COLOUR}').value"}, "lt5"),
        ({"type": "quantity", "expression": "Device.property.valueQuantity"}, "4||mm"),
    ],
)
async def test_a_parameter_of_any_plain_kind_can_be_defined(
    store: Store, database: Database, members: dict[str, Any], value: str
) -> None:
    one = await create(store, {
        "resourceType": "Device", "expirationDate": "2026-01-01", "url": "http://d",
        "extension": [{"url": COLOUR, "valueInteger": 4}],
        "property": [{"type": {"text": "x"}, "valueQuantity": [{"value": 4, "unit": "mm"}]}],
    })  # fmt: skip
    if members["type"] in ("string", "reference"):
        async with store.begin(asker("system")) as work:
            patient = await work.create(content.made({"resourceType": "Patient"}))
            reference = {"reference": patient.reference, "display": "Ada Lovelace"}
            device = {"resourceType": "Device", "patient": reference}
            one = await work.create(content.made(device))
            value = value.replace("Patient/p", patient.reference)
    await create(store, DEFINITION | members | {"code": "mine"})
    await own_parameters.build(database, store, BASE_URL)
    await own_parameters.load(database)

    assert await found(store, f"mine={value}") == [one.id]


@pytest.mark.standard("FHIR SearchParameter")
@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"expression": "Device.udi"}, "Device.udi is not an element"),
        ({"expression": "Device.note.count() > 1"}, "cannot be compiled"),
        ({"expression": "Patient.name"}, "says nothing of Device"),
        ({"expression": "Device.(("}, "cannot be compiled"),
        ({"expression": "Device." + "a" * 3000}, "characters"),
        ({"code": "status"}, "has a parameter status already"),
        ({"code": "a b"}, "a code is"),
        ({"code": "_mine"}, "a code is"),
        ({"base": ["AuditEvent"]}, "not searched here"),
        ({"base": ["Resource"]}, "not searched here"),
        ({"type": "composite"}, "not indexed for clients"),
        ({"type": "special"}, "not indexed for clients"),
    ],
)
async def test_what_cannot_be_indexed_is_refused_with_the_reason(
    store: Store, members: dict[str, Any], says: str
) -> None:
    with pytest.raises(Unprocessable) as refused:
        await create(store, DEFINITION | members)

    assert says in " ".join(issue.text for issue in refused.value.issues)


@pytest.mark.parametrize("role", ["application", "referrer", "auditor", "device"])
async def test_only_an_administrator_defines_what_everybody_is_indexed_by(
    store: Store, role: str
) -> None:
    with pytest.raises(Forbidden):
        await create(store, DEFINITION, role)

    defined = await create(store, DEFINITION)
    with pytest.raises(Refusal):
        async with store.begin(asker(role)) as work:
            await work.delete("SearchParameter", defined.id)


@pytest.mark.standard("FHIR OperationDefinition")
async def test_every_operation_that_is_offered_can_be_read(
    store: Store, database: Database
) -> None:
    await own_parameters.build(database, store, BASE_URL, definitions())
    context = asker("administrator")
    rows = await store.search(context, query.parse("OperationDefinition", [("_count", "100")]))
    read = [each.json for each in rows.matches]

    assert [issue for each in read for issue in validate.check(each)] == []
    listed = {row["definition"] for type in ("", *TYPES) for row in offered(type)}
    assert len(listed) > 10
    assert {each.get("base", each["url"]) for each in read} == listed
    expand = next(each for each in read if each["id"] == "ValueSet-expand")
    assert (expand["code"], expand["resource"], expand["system"]) == ("expand", ["ValueSet"], False)
    assert {"name": "return", "use": "out", "min": 1, "max": "1", "type": "ValueSet"} in (
        expand["parameter"]
    )
    assert {each["name"] for each in expand["parameter"]} >= {"url", "valueSet", "filter"}


@pytest.mark.standard("FHIR SearchParameter")
async def test_the_servers_own_definitions_are_resources(store: Store, database: Database) -> None:
    await own_parameters.build(database, store, BASE_URL)

    assert (await read(store, "clinical-patient"))["code"] == "patient"
    rank = await found(store, "code=priority-rank", "SearchParameter")
    assert set(rank or ()) == {"ServiceRequest-priority-rank", "Task-priority-rank"}
    assert await own_parameters.publish(store, database, search_parameters.definitions()) == 0
    with pytest.raises(Forbidden):
        await update(
            store,
            await store.read(asker("administrator"), "SearchParameter", "clinical-patient"),
            status="retired",
        )


async def test_an_index_made_by_other_rules_is_made_anew(store: Store, database: Database) -> None:
    await create(store, device("red"))
    await own_parameters.build(database, store, BASE_URL)
    await database.run("update current set terms = '{}' where type = 'Device'")
    await database.run("update index_built set digest = 'old' where name = ''")

    await own_parameters.build(database, store, BASE_URL)

    assert await upkeep.problems(database, BASE_URL) == []
    assert await own_parameters.build(database, store, BASE_URL) == 0


@pytest.mark.parametrize(
    "members",
    [
        {"expression": None},
        {"type": "composite"},
        {"code": "status", "base": ["Task"]},
        {"expression": "Device.udi"},
        {"type": "special", "code": "near"},
    ],
)
async def test_what_came_past_the_check_is_not_indexed_and_hurts_nobody(
    database: Database, members: dict[str, Any]
) -> None:
    plain = Store(database, Ledger(database), Hooks(), BASE_URL, rules="base")
    definition = {key: value for key, value in (DEFINITION | members).items() if value is not None}
    await create(plain, definition)

    assert await own_parameters.load(database) == {}
    assert search_parameters.parameter("Task", "status") is not None
