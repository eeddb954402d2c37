"""The fixtures everyone needs: a cluster a run, a migrated database a test, a store on it."""

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from fhir_server.access.token import Keys
from fhir_server.audit.ledger import Ledger
from fhir_server.postgres.database import Database
from fhir_server.postgres.embedded import DURABLE, embedded
from fhir_server.store import schema
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Hooks
from tests.traceability import (  # the table at the end of every run
    pytest_collection_modifyitems as pytest_collection_modifyitems,
)
from tests.traceability import (
    pytest_terminal_summary as pytest_terminal_summary,
)

if TYPE_CHECKING:
    from tests.server import Server

TEMPLATE = "template_record"

QUICK = {**DURABLE, "fsync": "off", "synchronous_commit": "off", "shared_buffers": "64MB"}
"""Nothing in a test outlives the machine; the tests of durability start a cluster of their own."""

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The URL of an empty database on a PostgreSQL of this run's own."""
    folder = Path(tempfile.mkdtemp(prefix="isocentre-test-"))
    try:
        with embedded(folder, settings=QUICK) as url:
            yield url
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template(cluster: str) -> str:
    """The name of a migrated database to clone."""
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"create database {TEMPLATE}")
    schema.migrate(renamed(cluster, TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(cluster: str, template: str) -> Iterator[str]:
    """The URL of a migrated, empty database of this test's own."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template} strategy file_copy")
        yield renamed(cluster, name)
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    """The database of this test, open."""
    database = Database(database_url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """The signing keys of this run."""
    return Keys.load(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def server(database_url: str, keys: Keys) -> "Iterator[Server]":
    """A real server on loopback with a database of this test's own."""
    from tests.server import running

    with running(database_url, keys) as server:
        yield server


@pytest.fixture(scope="session")
def shared_server(cluster: str, template: str, keys: Keys) -> "Iterator[Server]":
    """A real server for tests that keep out of each other's way."""
    from tests.server import running

    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"create database shared template {template} strategy file_copy")
    with running(renamed(cluster, "shared"), keys) as server:
        yield server


BASE_URL = "https://fhir.example/fhir"


@pytest.fixture
def store(database: Database) -> Store:
    """A store on this test's database; nothing follows from what is written."""
    return Store(database, Ledger(database), Hooks(), BASE_URL)


def renamed(url: str, database: str) -> str:
    """The URL of another database on the same cluster."""
    place, _, rest = url.partition("?")
    return f"{place.rpartition('/')[0]}/{database}?{rest}"
