import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from fhir_server import health
from fhir_server.postgres.database import Database
from fhir_server.store import schema


def test_the_newest_revisions_are_those_alembic_finds() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("path_separator", "os")

    assert health.revisions() == frozenset(ScriptDirectory.from_config(config).get_heads())
    assert len(health.revisions()) > 1


@pytest.mark.anyio
async def test_a_migrated_database_is_ready(database: Database) -> None:
    assert await health.is_ready(database, health.revisions())


@pytest.mark.anyio
async def test_a_database_of_another_release_is_not_ready(database: Database) -> None:
    assert not await health.is_ready(database, health.revisions() | {"9999"})


@pytest.mark.anyio
async def test_an_empty_database_is_not_ready(database: Database) -> None:
    await database.run("drop table alembic_version")

    assert not await health.is_ready(database, health.revisions())
