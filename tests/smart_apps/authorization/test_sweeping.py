import pytest

from fhir_server.context import now
from fhir_server.postgres.database import Database
from smart_apps import clients
from smart_apps.authorization import attempts, authorizations, sign_ins, sweeping
from smart_apps.authorization.authorizations import Authorized
from smart_apps.clients import Client

pytestmark = pytest.mark.anyio

DAY = 86_400_000_000


async def test_what_has_ended_is_forgotten_and_nothing_else(database: Database) -> None:
    authorized = Authorized("a", "app", "one", "role", "user/*.rs", {}, 0)
    await clients.add(database, Client("app", "public", "user/*.rs", "lead", epoch="e"))
    code = await authorizations.keep(database, authorized, "e", "http://127.0.0.1/cb", "c" * 43)
    assert code is not None
    token = await authorizations.keep_refresh(database, authorized, 30 * 86_400)
    cookie = await sign_ins.open(database, "one", "role", now())
    await attempts.note(database, "one", "127.0.0.1", now())

    await sweeping.sweep(database, now())

    assert await authorizations.use_code(database, code, "app") is not None
    assert await sign_ins.find(database, cookie, now()) is not None

    await sweeping.sweep(database, now() + DAY)

    assert await sign_ins.find(database, cookie, now()) is None
    assert await database.run("select 1 from authorization_code") == []
    assert await database.run("select 1 from attempt") == []
    assert await authorizations.use_refresh(database, token, "app") is not None
