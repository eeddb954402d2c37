"""The unit of work: everything or nothing, checked before, audited in any case."""

import asyncio
from typing import Any

import pytest
from psycopg.errors import UniqueViolation

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse as scopes
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Hooks, Work
from resources import content
from resources.content import Content
from resources.errors import (
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    Stale,
    Unconditional,
    Unprocessable,
    Unsupported,
)

pytestmark = pytest.mark.anyio

BASE_URL = "https://fhir.example/fhir"


def system(interaction: str = "create") -> RequestContext:
    return RequestContext(Principal.system("test"), interaction)


def of(
    organization: str, role: str = "application", interaction: str = "create", **more: Any
) -> RequestContext:
    scope = more.pop("scope", "system/*.cruds")
    principal = Principal(f"Client/{organization}", organization, role, scopes(scope), **more)
    return RequestContext(principal, interaction, origin="192.0.2.1")


def patient(**members: Any) -> Content:
    return content.made({"resourceType": "Patient", **members})


def request(patient: str, **members: Any) -> Content:
    return content.made(
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "subject": {"reference": f"Patient/{patient}"},
            **members,
        }
    )


async def written(store: Store, context: RequestContext, made: Content) -> Any:
    async with store.begin(context) as work:
        return await work.create(made)


async def count(database: Database, table: str) -> int:
    return int((await database.run(f"select count(*) from {table}"))[0][0])


@pytest.mark.standard("FHIR http create")
async def test_bytes_in_are_bytes_out(store: Store) -> None:
    sent = b'{ "resourceType":"Observation" , "valueQuantity":{"value":1.50e0},"status":"final",'
    sent += b'"code":{"text":"a\\u00e9\\/b"}, "issued":"2026-01-01T00:00:00.10+01:00" }'

    stored = await written(store, system(), content.read(sent))
    read = await store.read(system("read"), "Observation", stored.id)

    opening, rest = sent.split(b'"Observation"')
    assert read.text == stored.text
    assert read.text.startswith(opening + b'"Observation"')
    assert read.text.endswith(rest)


@pytest.mark.standard("FHIR http update")
async def test_an_update_of_nothing_creates_version_1_under_the_id_of_the_client(
    store: Store,
) -> None:
    async with store.begin(system("update")) as work:
        stored = await work.update("Patient", "mine", patient())

    assert (stored.id, stored.version, stored.interaction) == ("mine", 1, "C")


async def test_an_update_with_the_same_content_makes_a_version_all_the_same(store: Store) -> None:
    for version in (1, 2, 3):
        async with store.begin(system("update")) as work:
            stored = await work.update("Patient", "p", patient(active=True))
        assert stored.version == version


@pytest.mark.standard("FHIR http concurrency")
async def test_of_16_updates_with_one_if_match_one_wins(store: Store, database: Database) -> None:
    await written(store, system(), patient(id="p"))
    async with store.begin(system("update")) as work:
        await work.update("Patient", "p", patient())

    async def update(n: int) -> int | None:
        try:
            async with store.begin(system("update")) as work:
                stored = await work.update("Patient", "p", patient(active=bool(n % 2)), 1)
                return stored.version
        except Stale:
            return None

    outcomes = await asyncio.gather(*(update(n) for n in range(16)))

    assert [outcome for outcome in outcomes if outcome] == [2]
    assert [row[0] for row in await database.run(
        "select version from version where type = 'Patient' and id = 'p' order by 1"
    )] == [1, 2]  # fmt: skip


async def test_if_match_on_what_does_not_exist_is_stale(store: Store) -> None:
    with pytest.raises(Stale):
        async with store.begin(system("update")) as work:
            await work.update("Patient", "p", patient(), 1)


@pytest.mark.parametrize(
    "type", ["Task", "DiagnosticReport", "List", "Appointment", "ServiceRequest"]
)
async def test_what_changes_hands_is_not_updated_without_naming_a_version(
    store: Store, type: str
) -> None:
    made = content.made({"resourceType": type, "status": "x"})
    async with store.begin(of("lead", interaction="update")) as work:
        await work.update(type, "t", made)

    with pytest.raises(Unconditional):
        async with store.begin(of("lead", interaction="update")) as work:
            await work.update(type, "t", made)
    async with store.begin(of("lead", interaction="update")) as work:
        assert (await work.update(type, "t", made, 1)).version == 2


async def test_a_provenance_is_not_changed(store: Store) -> None:
    made = content.made({"resourceType": "Provenance", "target": []})
    stored = await written(store, system(), made)

    with pytest.raises(Unsupported):
        async with store.begin(system("update")) as work:
            await work.update("Provenance", stored.id, made)


@pytest.mark.parametrize(
    ("reference", "resolves"),
    [
        ("Patient/p", True),
        ("https://fhir.example/fhir/Patient/p", True),
        ("Patient/p/_history/1", True),
        ("https://elsewhere.example/fhir/Patient/nobody", True),
        ("#contained", True),
        ("urn:isbn:9780141036144", True),
        ("urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a", False),
        ("Patient/nobody", False),
        ("Patient/p/_history/2", False),
        ("https://fhir.example/fhir/Patient/nobody", False),
        ("Patient/gone", False),
    ],
)
async def test_a_reference_to_this_server_must_resolve(
    store: Store, reference: str, resolves: bool
) -> None:
    async with store.begin(system("update")) as work:
        await work.update("Patient", "p", patient())
        await work.update("Patient", "gone", patient())
    async with store.begin(system("delete")) as work:
        await work.delete("Patient", "gone")
    made = content.made(
        {
            "resourceType": "Basic",
            "extension": [{"url": "u", "valueReference": {"reference": reference}}],
        }
    )

    try:
        await written(store, system(), made)
    except Unprocessable as refusal:
        assert not resolves
        (issue,) = refusal.issues
        assert issue.code == ("value" if reference.startswith("urn:") else "not-found")
        assert issue.at == "Basic.extension[0].value"
    else:
        assert resolves


async def test_plain_fhir_does_not_ask_that_references_resolve(database: Database) -> None:
    store = Store(database, Ledger(database), Hooks(), BASE_URL, rules="base")

    stored = await written(store, system(), request("nobody"))

    assert stored.version == 1


async def test_what_one_work_writes_may_refer_to_each_other_in_any_order(store: Store) -> None:
    async with store.begin(of("lead")) as work:
        await work.create(request("p"), "r")
        await work.create(patient(), "p")

    read = await store.read(of("lead", interaction="read"), "ServiceRequest", "r")
    assert read.json["subject"] == {"reference": "Patient/p"}


async def test_a_reference_does_not_tell_what_the_asker_may_not_see(store: Store) -> None:
    async with store.begin(of("lead")) as work:
        await work.create(patient(), "p")
        await work.create(request("p"), "r")

    def referring(to: str) -> Content:
        return content.made({"resourceType": "Basic", "subject": {"reference": to}})

    refusals = []
    for target in ("ServiceRequest/r", "ServiceRequest/none"):
        with pytest.raises(Unprocessable) as refused:
            await written(store, of("stranger"), referring(target))
        refusals.append([issue.text.replace(target, "it") for issue in refused.value.issues])
    assert refusals[0] == refusals[1]


async def test_an_exception_undoes_everything_and_leaves_the_attempt_in_the_audit(
    store: Store, database: Database
) -> None:
    async def fail() -> None:
        async with store.begin(system()) as work:
            await work.create(patient(), "p")
            work.add("create table t(x int)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert await count(database, "version") == 0
    rows = await database.run("select outcome, type, id, detail from audit")
    assert rows == [(8, "Patient", "p", "ZeroDivisionError")]


async def test_own_rows_and_resources_are_there_together_or_not_at_all(
    store: Store, database: Database
) -> None:
    await database.run("create table own(x int primary key)")

    async def write(id: str) -> None:
        async with store.begin(system()) as work:
            await work.create(patient(), id)
            work.add("insert into own values ($1)", (1,))

    await write("p")
    with pytest.raises(UniqueViolation):
        await write("q")

    assert await count(database, "own") == 1
    assert await database.run("select id from current") == [("p",)]


async def test_a_row_lock_makes_the_second_work_wait_for_the_first(store: Store) -> None:
    async with store.begin(system("update")) as work:
        await work.update("Patient", "p", patient(active=False))
    holding = 0

    async def change() -> None:
        nonlocal holding
        async with store.begin(system("update")) as work:
            before = await work.read("Patient", "p", lock=True)
            holding += 1
            assert holding == 1
            await asyncio.sleep(0.05)
            await work.update("Patient", "p", patient(active=True), before.version)
            holding -= 1

    await asyncio.gather(*(change() for _ in range(4)))

    assert (await store.read(system("read"), "Patient", "p")).version == 5


async def test_a_work_sees_its_own_writes_and_keeps_only_the_last_state(
    store: Store, database: Database
) -> None:
    async with store.begin(system()) as work:
        created = await work.create(patient(active=True))
        await work.update("Patient", created.id, patient(active=False))
        assert (await work.read("Patient", created.id)).json["active"] is False

    rows = await database.run("select version, terms from current")
    assert rows[0][0] == 2
    assert "P.active=false" in rows[0][1]
    assert "P.active=true" not in rows[0][1]
    assert await count(database, "version") == 2
    assert await count(database, "change") == 2


async def test_an_update_leaves_no_term_of_the_state_before(
    store: Store, database: Database
) -> None:
    async with store.begin(system("update")) as work:
        await work.update("Patient", "p", patient(name=[{"family": "Before"}]))
    async with store.begin(system("update")) as work:
        await work.update("Patient", "p", patient(name=[{"family": "After"}]))

    rows = await database.run("select distinct value from string_term where code = 'family'")
    assert rows == [("after",)]


@pytest.mark.standard("FHIR http delete")
async def test_what_was_deleted_is_gone_and_its_versions_stay(store: Store) -> None:
    async with store.begin(system("update")) as work:
        await work.update("Patient", "p", patient())
    async with store.begin(system("delete")) as work:
        await work.delete("Patient", "p")

    with pytest.raises(Gone):
        await store.read(system("read"), "Patient", "p")
    with pytest.raises(Gone):
        await store.vread(system("vread"), "Patient", "p", 2)
    assert (await store.vread(system("vread"), "Patient", "p", 1)).version == 1
    async with store.begin(system("update")) as work:
        again = await work.update("Patient", "p", patient())
    assert (again.version, again.interaction) == (3, "C")


async def test_rule_completion_and_consequence_run_in_this_order(database: Database) -> None:
    steps: list[str] = []

    def rule(before: dict[str, Any] | None, after: dict[str, Any], context: RequestContext) -> None:
        steps.append("rule")
        if after.get("status") == "bad":
            raise Conflict("not like this")

    async def complete(work: Work, made: Content) -> Content:
        steps.append("completion")
        return content.replaced(made, {"note": [{"text": "from us"}]})

    async def follow(work: Work) -> None:
        steps.append(f"follow {len(work.writes)}")
        await work.create(content.made({"resourceType": "Flag"}), "what-follows")

    hooks = Hooks({"Task": rule}, {"Task": complete}, follow)
    store = Store(database, Ledger(database), hooks, BASE_URL)
    stored = await written(store, of("lead"), content.made({"resourceType": "Task"}))

    assert steps == ["rule", "completion", "follow 1"]
    assert stored.json["note"] == [{"text": "from us"}]
    rows = await database.run("select subject, interaction, type from audit order by type")
    assert rows == [
        ("System/pathway", "create", "Flag"),
        ("Client/lead", "create", "Task"),
    ]
    with pytest.raises(Conflict):
        await written(store, of("lead"), content.made({"resourceType": "Task", "status": "bad"}))


async def test_an_identifier_longer_than_an_index_holds_is_no_fault(store: Store) -> None:
    long = patient(identifier=[{"value": "x" * 5000}], name=[{"family": "y" * 5000}])

    assert (await written(store, system(), long)).version == 1


@pytest.mark.standard("SMART scopes")
async def test_a_token_bound_to_a_patient_writes_about_that_patient_alone(store: Store) -> None:
    async with store.begin(of("lead")) as work:
        for id in ("p", "q"):
            await work.create(patient(), id)
    bound = of("lead", patient="p", scope="patient/*.cruds")

    await written(store, bound, request("p"))
    with pytest.raises(Forbidden) as refused:
        await written(store, bound, request("q"))
    assert refused.value.step == "patient"


async def test_nothing_is_moved_to_a_patient_the_organisation_has_nothing_to_do_with(
    store: Store,
) -> None:
    await written(store, of("other"), patient())
    async with store.begin(of("other")) as work:
        await work.create(patient(), "theirs")
    async with store.begin(of("lead")) as work:
        await work.create(patient(), "ours")
        await work.create(request("ours"), "r")

    with pytest.raises((Forbidden, Unprocessable)):
        async with store.begin(of("lead", interaction="update")) as work:
            await work.update("ServiceRequest", "r", request("theirs"), 1)


async def test_an_unseen_resource_is_not_found_by_who_wants_to_change_it(store: Store) -> None:
    async with store.begin(of("lead")) as work:
        await work.create(patient(), "p")

    with pytest.raises(NotFound):
        async with store.begin(of("stranger", interaction="update")) as work:
            await work.update("Patient", "p", patient())


async def test_a_refusal_names_its_place_in_the_request(store: Store) -> None:
    async def write() -> None:
        async with store.begin(system("transaction")) as work:
            work.at = "Bundle.entry[3].resource"
            await work.create(request("nobody"))

    with pytest.raises(Unprocessable) as refused:
        await write()

    assert refused.value.issues[0].at == "Bundle.entry[3].resource.subject"
