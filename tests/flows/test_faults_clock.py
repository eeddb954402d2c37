"""Fault F11: the clock of the machine goes back a little while the server runs."""

import pytest

from fhir_server.access.principal import Principal
from fhir_server.audit import seal
from fhir_server.context import RequestContext, now
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources import content
from tests.build import a_patient

pytestmark = [pytest.mark.anyio, pytest.mark.standard("threats F11")]

SECOND = 1_000_000


def at(instant: int, interaction: str) -> RequestContext:
    return RequestContext(Principal.system("test"), interaction, instant=instant)


@pytest.mark.standard("FHIR Resource, Meta.lastUpdated")
async def test_a_later_version_is_never_older_than_the_one_before(store: Store) -> None:
    noon = now()
    instants = []
    for back in (0, 5, 3600, 24 * 3600):
        async with store.begin(at(noon - back * SECOND, "update")) as work:
            written = await work.update("Patient", "p1", content.made(a_patient("p1")))
        instants.append(written.instant)

    held = await store.read(at(noon, "read"), "Patient", "p1")

    assert instants == sorted(instants)
    assert held.version == 4
    assert held.instant == instants[-1] >= noon


async def test_the_audit_holds_whatever_the_clock_says(store: Store, database: Database) -> None:
    noon = now()
    for back in (0, 60, 3600):
        async with store.begin(at(noon - back * SECOND, "update")) as work:
            await work.update("Patient", "p1", content.made(a_patient("p1")))
        await seal.seal(database, noon - back * SECOND, most=1)

    assert await seal.verify(database) == []
    assert await database.run("select count(*) from audit where id = 'p1'") == [(3,)]
