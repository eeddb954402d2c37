"""The ledger: durable before the answer, one insert for many."""

import asyncio

import pytest

from fhir_server.access.principal import Principal
from fhir_server.audit.ledger import Ledger, entry
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database

pytestmark = pytest.mark.anyio


async def test_a_row_is_there_when_append_returns(database: Database) -> None:
    context = RequestContext(Principal.system("test"), "read", origin="10.0.0.1")

    await Ledger(database).append(entry(context, type="Patient", id="p", patient="p", hits=1))

    rows = await database.run("select interaction, subject, type, id, hits, origin from audit")
    assert rows == [("read", "System/test", "Patient", "p", 1, "10.0.0.1")]


async def test_concurrent_rows_share_statements_and_none_is_lost(database: Database) -> None:
    ledger = Ledger(database)
    context = RequestContext(Principal.system("test"), "read")

    await asyncio.gather(*(ledger.append(entry(context, id=str(i))) for i in range(200)))

    rows = await database.run("select id, xid::text from audit")
    assert sorted(int(id) for id, _ in rows) == list(range(200))
    assert len({xid for _, xid in rows}) < 20
