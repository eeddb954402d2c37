"""What somebody may not see answers like what is not there, whatever they try; nor is it got at."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse as scopes
from fhir_server.context import RequestContext
from fhir_server.store.history import Cut
from fhir_server.store.store import Store
from resources import content
from resources.content import Content
from resources.errors import Forbidden, NotFound, Refusal, Unprocessable

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats T1 T2")]


def of(organization: str | None, role: str, scope: str = "user/*.cruds", **more: Any) -> Any:
    principal = Principal(f"PractitionerRole/{role}", organization, role, scopes(scope), **more)
    return RequestContext(principal, "update")


SYSTEM = RequestContext(Principal.system("test"), "create")


def made(type: str, **members: Any) -> Content:
    return content.made({"resourceType": type, **members})


def a_task(**members: Any) -> Content:
    return made("Task", status="requested", intent="order", **members)


def a_request(patient: str = "p", **members: Any) -> Content:
    subject = {"reference": f"Patient/{patient}"}
    return made("ServiceRequest", status="active", intent="order", subject=subject, **members)


async def write(store: Store, context: RequestContext, made: Content, id: str) -> None:
    async with store.begin(context) as work:
        await work.create(made, id)


@pytest.fixture
async def world(store: Store) -> Store:
    """Organisations `own` and `other`; a patient of the other one, with a request and a Task."""
    theirs = {"reference": "Organization/other"}
    await write(store, SYSTEM, made("Organization", name="Own"), "own")
    await write(store, SYSTEM, made("Organization", name="Other"), "other")
    await write(store, SYSTEM, made("Patient", managingOrganization=theirs), "p")
    await write(store, SYSTEM, a_request(performer=[theirs]), "hidden")
    await write(store, SYSTEM, a_task(owner=theirs), "hidden")
    return store


async def told(attempt: Callable[[str], Awaitable[Any]], id: str) -> tuple[str, list[Any]]:
    """What an attempt is answered, without the id it was made on."""
    try:
        await attempt(id)
    except Refusal as refusal:
        issues = [(one.code, one.text.replace(id, "ID"), one.at) for one in refusal.issues]
        return type(refusal).__name__, [refusal.reason.replace(id, "ID"), refusal.at, issues]
    return "", []


@pytest.mark.parametrize("if_match", [None, 1, 7])
@pytest.mark.parametrize("role", ["practitioner", "operator", "delegate", "reporter"])
async def test_an_update_by_who_may_not_create_tells_nothing(
    world: Store, role: str, if_match: int | None
) -> None:
    async def update(id: str) -> None:
        async with world.begin(of("own", role)) as work:
            await work.update("ServiceRequest", id, a_request(), if_match)

    assert await told(update, "hidden") == await told(update, "absent")


@pytest.mark.parametrize("type", ["ServiceRequest", "Task"])
async def test_an_update_of_a_version_tells_nothing(world: Store, type: str) -> None:
    async def update(id: str) -> None:
        async with world.begin(of("own", "referrer")) as work:
            await work.update(type, id, a_request() if type == "ServiceRequest" else a_task(), 1)

    kind, _ = hidden = await told(update, "hidden")

    assert hidden == await told(update, "absent")
    assert kind == "Stale"


async def test_a_token_of_one_patient_learns_nothing_of_another(world: Store) -> None:
    await write(world, SYSTEM, made("Patient"), "q")
    bound = of("other", "practitioner", "patient/*.cruds", patient="q")

    async def read(id: str) -> None:
        async with world.begin(bound) as work:
            await work.read("ServiceRequest", id)

    async def update(id: str) -> None:
        async with world.begin(bound) as work:
            await work.update("ServiceRequest", id, a_request("q"), 1)

    for attempt in (read, update):
        assert await told(attempt, "hidden") == await told(attempt, "absent")


async def test_who_writes_about_nobody_is_not_related_to_all_that_is_about_nobody(
    world: Store,
) -> None:
    async def refer(id: str) -> None:
        async with world.begin(of("own", "operator")) as work:
            await work.create(a_task())
            await work.create(a_task(partOf=[{"reference": f"Task/{id}"}]))

    kind, _ = hidden = await told(refer, "hidden")

    assert hidden == await told(refer, "absent")
    assert kind == "Unprocessable"


@pytest.mark.parametrize("element", ["managingOrganization", "generalPractitioner"])
async def test_who_is_no_party_to_a_patient_does_not_change_who_is(
    world: Store, element: str
) -> None:
    """Else work that has ended would be made to last, and another's sight be taken."""
    shared = a_task(
        **{"for": {"reference": "Patient/p"}, "owner": {"reference": "Organization/own"}}
    )
    await write(world, SYSTEM, shared, "shared")
    own: Any = {"reference": "Organization/own"}
    changed = made("Patient", **{element: [own] if element.startswith("general") else own})

    with pytest.raises(Forbidden) as refusal:
        async with world.begin(of("own", "referrer")) as work:
            await work.update("Patient", "p", changed)
    assert refusal.value.step == "relationship"

    corrected = made(
        "Patient", birthDate="1970-01-02", managingOrganization={"reference": "Organization/other"}
    )
    async with world.begin(of("own", "referrer")) as work:
        await work.update("Patient", "p", corrected)


async def test_what_a_resource_once_said_of_another_patient_is_not_told(world: Store) -> None:
    """A study filed under the wrong patient: who sees it now sees nothing of that patient."""
    await write(
        world, SYSTEM, made("Patient", managingOrganization={"reference": "Organization/own"}), "q"
    )
    async with world.begin(SYSTEM) as work:
        await work.update("ServiceRequest", "hidden", a_request("q"))
    mine = of("own", "practitioner")

    assert (await world.vread(mine, "ServiceRequest", "hidden", 2)).version == 2
    with pytest.raises(NotFound):
        await world.vread(mine, "ServiceRequest", "hidden", 1)
    page = await world.history(mine, "ServiceRequest", "hidden", Cut(10))
    assert [one.version for one in page.matches] == [2]
    everything = await world.history(SYSTEM, "ServiceRequest", "hidden", Cut(10))
    assert [one.version for one in everything.matches] == [2, 1]


async def test_no_reference_of_any_kind_tells_what_is_there(world: Store) -> None:
    async def point(id: str) -> None:
        async with world.begin(of("own", "referrer")) as work:
            await work.create(made("Patient"), "mine")
            await work.create(a_request("mine", basedOn=[{"reference": f"ServiceRequest/{id}"}]))

    async def versioned(id: str) -> None:
        async with world.begin(of("own", "referrer")) as work:
            await work.create(made("Patient"), "mine")
            pinned = [{"reference": f"ServiceRequest/{id}/_history/1"}]
            await work.create(a_request("mine", basedOn=pinned))

    for attempt in (point, versioned):
        kind, _ = hidden = await told(attempt, "hidden")
        assert hidden == await told(attempt, "absent")
        assert kind == Unprocessable.__name__
