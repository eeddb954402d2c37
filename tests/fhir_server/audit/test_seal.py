"""The chain over the ledger: any tampering with a sealed row is found."""

import random

import pytest

from fhir_server.access.principal import Principal
from fhir_server.audit import seal
from fhir_server.audit.ledger import Ledger, entry
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R014.1")]

ROWS = 40


@pytest.fixture
async def sealed(database: Database) -> seal.Seal:
    """A ledger of some rows under several links; the head of the chain."""
    ledger = Ledger(database)
    for n in range(ROWS):
        context = RequestContext(Principal.system("test"), "read", request_id=f"request-{n}")
        await ledger.append(entry(context, type="Patient", id=str(n), patient=str(n)))
    assert await seal.seal(database, 0, most=7) == ROWS
    head = await seal.head(database)
    assert head is not None
    return head


async def test_an_untouched_ledger_verifies_and_goes_on(
    database: Database, sealed: seal.Seal
) -> None:
    assert await seal.verify(database, sealed) == []

    await Ledger(database).append(entry(RequestContext(Principal.system("test"), "read")))
    assert await seal.seal(database, 1) == 1
    assert await seal.seal(database, 1) == 0
    assert await seal.verify(database, sealed) == []


async def test_a_row_of_an_open_transaction_is_sealed_only_after_it(database: Database) -> None:
    insert = (
        "insert into audit(instant, interaction, outcome, subject, role, origin, request)"
        " values (0, 'read', 0, 's', 'r', 'o', 'q')"
    )
    async with database.transaction() as transaction:
        await transaction.run(insert)
        await database.run(insert)
        assert await seal.seal(database, 0) == 0
    assert await seal.seal(database, 0) == 2
    assert await seal.verify(database) == []


EDITS = (
    "update audit set subject = subject || '!' where id = $1",
    "update audit set patient = null where id = $1",
    "update audit set outcome = 4 where id = $1",
    "update audit set instant = instant + 1 where id = $1",
    "update audit set body = 'x' where id = $1",
    "update audit set detail = '' where id = $1",
    "delete from audit where id = $1",
    "insert into audit(n, instant, log, xid, interaction, outcome, subject, role, origin, request)"
    " overriding system value select -n, instant, log, xid, interaction, outcome, subject, role,"
    " origin, request from audit where id = $1",
    "update audit set n = n + 1000000 where id = $1",
    "with a as (select * from audit where id = $1), b as (select * from audit where id <> $1"
    " limit 1) update audit set request = case when audit.n = a.n then b.request else a.request"
    " end from a, b where audit.n in (a.n, b.n)",
    "update audit set id = patient || 'x', patient = 'x' || id where id = $1",
)  # fmt: skip
"""Each tampers with one sealed row: edits, a deletion, an insertion, two kinds of reordering."""


@pytest.mark.parametrize("edit", EDITS)
async def test_tampering_with_a_row_is_found(
    database: Database, sealed: seal.Seal, edit: str
) -> None:
    chance = random.Random(edit)
    for _ in range(3):
        row = str(chance.randrange(ROWS - 1))
        try:
            async with database.transaction() as transaction:
                await transaction.run("alter table audit alter n drop identity if exists")
                await transaction.run(edit.replace(" overriding system value", ""), (row,))
                faults = await seal.verify(transaction)
                raise ZeroDivisionError  # put it back
        except ZeroDivisionError:
            pass
        assert faults, f"row {row}"
    assert await seal.verify(database) == []


@pytest.mark.parametrize(
    "edit",
    [
        "update audit_seal set digest = sha256('x') where number = 3",
        "update audit_seal set rows = rows - 1 where number = 3",
        "delete from audit_seal where number = 3",
        "delete from audit_seal where number = 1",
        "update audit_seal set number = -number where number = 2",
    ],
)
async def test_tampering_with_the_chain_is_found(
    database: Database, sealed: seal.Seal, edit: str
) -> None:
    await database.run(edit)

    assert await seal.verify(database) != []


async def test_cutting_off_the_end_is_found_by_the_head_kept_elsewhere(
    database: Database, sealed: seal.Seal
) -> None:
    await database.run("delete from audit_seal where number >= $1", (sealed.number - 1,))

    assert await seal.verify(database) == []
    assert await seal.verify(database, sealed) != []


async def test_writing_the_chain_anew_is_found_by_the_head_kept_elsewhere(
    database: Database, sealed: seal.Seal
) -> None:
    await database.run("update audit set subject = 'Nobody' where id = '3'")
    await database.run("delete from audit_seal")
    await seal.seal(database, 0, most=7)

    assert await seal.verify(database) == []
    assert await seal.verify(database, sealed) != []
