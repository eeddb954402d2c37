"""What nobody asks for costs nothing: how many statements each write takes."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse as scopes
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Statement, Transaction
from fhir_server.search.query import parse
from fhir_server.store.store import Store
from fhir_server.workflow import Workflow
from resources import content
from tests.build import a_patient, a_request, an_organization

pytestmark = pytest.mark.anyio

BASE_URL = "https://fhir.example/fhir"


class Counting(Database):
    """A database that counts what it is asked."""

    statements = 0

    async def run(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.statements += 1
        return await super().run(sql, params)

    async def run_all(self, statements: Iterable[Statement]) -> None:
        listed = list(statements)
        self.statements += len(listed)
        await super().run_all(listed)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        self.statements += 100  # a transaction with a round trip of its own
        async with super().transaction() as transaction:
            yield transaction


def of(interaction: str) -> RequestContext:
    who = Principal("Client/lead", "lead", "application", scopes("system/*.cruds"))
    return RequestContext(who, interaction)


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Counting]:
    database = Counting(database_url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def store(database: Counting) -> Store:
    store = Store(database, Ledger(database), Workflow(BASE_URL).hooks(), BASE_URL)
    async with store.begin(of("transaction")) as work:
        await work.create(content.made(an_organization()), "lead")
        await work.create(content.made(a_patient()), "p1")
        await work.create(content.made(request()), "first")  # its agents are known from here on
    database.statements = 0
    return store


def request(**members: Any) -> dict[str, Any]:
    """A referral by the lead to itself."""
    made = a_request(None, requester={"reference": "Organization/lead"}, **members)
    return {name: value for name, value in made.items() if value is not None}


@pytest.mark.parametrize(("requisition", "most"), [(None, 2), ({"value": "ISR-9"}, 3)])
async def test_a_create_takes_two_and_a_referral_three(
    store: Store, database: Counting, requisition: Any, most: int
) -> None:
    async with store.begin(of("create")) as work:
        await work.create(content.made(request(requisition=requisition)))

    assert database.statements <= most


async def test_a_transaction_of_20_takes_three(store: Store, database: Counting) -> None:
    async with store.begin(of("transaction")) as work:
        for _ in range(20):
            await work.create(content.made(request()))

    assert database.statements <= 3


async def test_an_update_that_starts_nothing_takes_two(store: Store, database: Counting) -> None:
    async with store.begin(of("update")) as work:
        await work.update("Patient", "p1", content.made({**a_patient(), "active": True}))

    assert database.statements <= 3


async def test_a_condition_takes_a_transaction(store: Store, database: Counting) -> None:
    async with store.begin(of("create")) as work:
        condition = parse("Patient", [("identifier", "x")], strict=True)
        await work.hold([condition])
        assert await work.sole(condition) is None

    assert database.statements == 100
