"""Nobody changes the ledger unnoticed: the server's role cannot, and who can is found out.

Threats T5: "DB role without UPDATE/DELETE"; "1,000 tampers (edit, delete, reorder, insert, truncate
tail): 1,000 found".
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import EVERYTHING
from fhir_server.audit import ledger, seal
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext, now
from fhir_server.postgres.database import Database
from fhir_server.store import changes, partitions, privileges
from tests.flows.installation import Installation

pytestmark = [pytest.mark.requirement("R014.1"), pytest.mark.standard("threats T5")]

MARCH_2040 = 2_214_000_000_000_000

CHANGES = (
    "update {t} set {column} = {column}",
    "delete from {t}",
    "truncate {t}",
    "drop table {t}",
    "alter table {t} add column mine text",
    "alter table {t} rename to gone",
    "alter table {t} owner to current_user",
    "alter table {t} disable trigger all",
    "create rule mine as on insert to {t} do instead nothing",
    "create trigger mine before insert on {t} execute function tsvector_update_trigger()",
    "grant update on {t} to current_user; update {t} set {column} = null",
    "lock table {t} in access exclusive mode",
)
"""What would change the ledger, or let somebody else do it."""


@pytest.fixture
def server_url(database_url: str) -> str:
    """The address of the test's database for the server's role."""
    url = privileges.as_server(database_url)
    privileges.grant(database_url, url, make=True)
    return url


def tables(url: str) -> list[str]:
    """The ledger, its seals and every partition there is."""
    with psycopg.connect(url) as connection:
        named = connection.execute(
            "select relname from pg_class where relkind in ('r', 'p') and relname ~ '^audit'"
        ).fetchall()
    return sorted(name for (name,) in named)


def allowed(url: str, table: str) -> list[str]:
    """Those of `CHANGES` that are not refused."""
    column = "digest" if table == "audit_seal" else "detail"
    done = []
    with psycopg.connect(url, autocommit=True) as connection:
        for change in CHANGES:
            try:
                with connection.transaction(force_rollback=True):
                    connection.execute(change.format(t=table, column=column))
                done.append(change)
            except (errors.InsufficientPrivilege, errors.WrongObjectType):
                pass
            except errors.SyntaxError as error:
                raise AssertionError(change) from error
    return done


@pytest.mark.anyio
async def test_the_servers_role_adds_to_the_ledger_reads_it_and_changes_nothing(
    server_url: str,
) -> None:
    database = Database(server_url)
    await database.open()
    context = RequestContext(Principal.system("test"), "read")
    await Ledger(database).append(ledger.entry(context))
    await partitions.ensure(database, MARCH_2040)
    assert await database.run("select count(*) from audit") == [(1,)]
    await database.close()

    found = tables(server_url)

    assert {"audit", "audit_seal", "audit_default", "audit_2040_02"} <= set(found)
    assert {table: allowed(server_url, table) for table in found} == {table: [] for table in found}
    assert privileges.gaps(server_url) == []


@pytest.mark.anyio
async def test_the_servers_role_begins_a_new_log_in_which_the_chain_goes_on(
    server_url: str,
) -> None:
    database = Database(server_url)
    await database.open()
    context = RequestContext(Principal.system("test"), "read")
    await Ledger(database).append(ledger.entry(context))

    assert await changes.renew(database) == 2

    await Ledger(database).append(ledger.entry(context))
    assert await database.run("select log from audit order by n") == [(1,), (2,)]
    assert await seal.seal(database, MARCH_2040) == 2
    assert await seal.verify(database) == []
    await database.close()


def test_the_changes_that_are_refused_would_be_changes(database_url: str) -> None:
    """Made by the owner, they work: else the test above would show nothing."""
    assert len(allowed(database_url, "audit_default")) >= len(CHANGES) - 2
    assert "superuser" in privileges.gaps(database_url)


def test_nothing_is_separated_where_one_role_does_both_and_that_is_told(
    database_url: str, server_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("grant update on audit_default to isocentre_server")

    assert privileges.gaps(server_url) == ["audit_default: UPDATE"]

    privileges.grant(database_url, server_url)
    assert privileges.gaps(server_url) == []
    privileges.grant(database_url, database_url)
    assert privileges.gaps(database_url) != []


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    served = Installation(tmp_path_factory.mktemp("data"), "--http-workers", "2")
    try:
        served.start()
        yield served
    finally:
        served.stop()


def processes(installation: Installation) -> list[dict[str, str]]:
    """The environment of every process of the server below the supervisor."""
    environments = []
    for pid in installation.tree():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"--seat" in command:
            pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            environments.append(dict(pair.decode().split("=", 1) for pair in pairs if b"=" in pair))
    return environments


@pytest.mark.slow
def test_every_process_of_the_server_runs_as_the_role_that_changes_nothing(
    installation: Installation,
) -> None:
    environments = processes(installation)

    assert len(environments) == 4
    urls = {each["ISOCENTRE_DATABASE_URL"] for each in environments}
    assert [conninfo_to_dict(url)["user"] for url in urls] == ["isocentre_server"]
    assert {each["ISOCENTRE_DATABASE_OWNER_URL"] for each in environments} == {""}
    (url,) = urls
    with psycopg.connect(url) as connection:
        users = connection.execute(
            "select distinct usename from pg_stat_activity where datname = 'isocentre'"
        ).fetchall()
    assert users == [("isocentre_server",)]
    assert [allowed(url, table) for table in tables(url)] == [[] for _ in tables(url)]
    assert "could change the audit ledger" not in installation.log()
    assert "permission denied" not in installation.log()
    assert "The chain holds" in installation.command("audit", "verify")


ROWS, A_LINK, ROUNDS = 2000, 50, 200
"""Five kinds of tampering a round: a thousand in all."""

TEXTS = ("interaction", "subject", "organization", "client", "role", "origin", "request", "type",
         "id", "patient", "query", "detail", "purpose")  # fmt: skip
NUMBERS = ("outcome", "version", "hits", "instant", "log")


class Planted(NamedTuple):
    """One tampering: its kind, what it says in SQL, and the links that it breaks."""

    kind: str
    sql: tuple[str, ...]
    links: frozenset[int]


def edit(chance: random.Random, rows: range, link: int) -> Planted:
    n = chance.choice(rows)
    column = chance.choice((*TEXTS, *NUMBERS, "body", "xid"))
    if column in TEXTS:
        value = chance.choice((f"coalesce({column}, '') || 'x'", f"'x' || coalesce({column}, '')"))
    elif column == "body":
        value = "'x'"
    elif column == "xid":  # it goes where no link is any more
        value = "(xid::text::bigint + 1000000000)::text::xid8"
    else:
        value = f"coalesce({column}, 0) + {chance.randint(1, 9)}"
    return Planted(
        "edit", (f"update audit set {column} = {value} where n = {n}",), frozenset({link})
    )


def deletion(chance: random.Random, rows: range, link: int) -> Planted:
    some = chance.sample(rows, chance.randint(1, 5))
    listed = ", ".join(map(str, some))
    return Planted("deletion", (f"delete from audit where n in ({listed})",), frozenset({link}))


def insertion(chance: random.Random, rows: range, link: int) -> Planted:
    n = chance.choice(rows)
    others = "interaction, outcome, subject, organization, client, role, origin, request, type, id,"
    others += " version, patient, query, hits, detail, body, purpose"
    key = chance.choice(("log, xid, n, instant + 1", "0, '0'::xid8, -n, instant", "0, xid, n, 1"))
    sql = f"insert into audit(log, xid, n, instant, {others}) select {key}, {others} from audit"
    return Planted(
        "insertion", (f"{sql} where n = {n}",), frozenset({link if key[0] == "l" else 1})
    )


def reordering(chance: random.Random, rows: range, link: int) -> Planted:
    a, b = chance.sample(rows, 2)
    column = chance.choice(("n", "request", "id"))
    swap = (
        f"update audit as a set {column} = b.{column} from audit as b"
        f" where (a.n, b.n) in (({a}, {b}), ({b}, {a}))"
    )
    return Planted("reordering", (swap,), frozenset({link}))


def truncation(chance: random.Random, rows: range, link: int, last: int) -> Planted:
    n = chance.choice(rows)
    how = chance.randrange(3)
    if how == 0:  # rows and their seals, as far as they go
        cut = (
            f"delete from audit_seal where number >= {link}",
            f"delete from audit where n >= {n}",
        )
        return Planted("truncation", cut, frozenset({last}))
    if how == 1:  # the rows alone
        links = frozenset(range(link, last + 1))
        return Planted("truncation", (f"delete from audit where n >= {n}",), links)
    return Planted(
        "truncation", (f"delete from audit_seal where number >= {link}",), frozenset({last})
    )


async def written(database: Database) -> list[seal.Seal]:
    """A ledger of `ROWS` rows, sealed `A_LINK` a link; the head after each link."""
    keeper = Ledger(database)
    who = [Principal(f"PractitionerRole/{n}", f"org-{n}", "reporter", EVERYTHING) for n in range(7)]
    kinds, start = ("read", "search-type", "create"), now()
    entries = [
        ledger.entry(
            RequestContext(who[n % 7], kinds[n % 3], "192.0.2.1", f"r{n}", start + n * 1000),
            type="Patient", id=f"p{n}", version=n % 5 + 1, patient=f"p{n}", hits=n % 9,
        )
        for n in range(ROWS)
    ]  # fmt: skip
    await asyncio.gather(*(keeper.append(entry) for entry in entries))
    await seal.seal(database, now(), most=A_LINK)
    heads = await database.run(
        "select number, log, xid::text::bigint, n, rows, digest from audit_seal order by number"
    )
    return [seal.Seal._make(row) for row in heads]


def rows_of(heads: list[seal.Seal], link: int) -> range:
    """The numbers of the rows of a link, if rows come in the order of their numbers."""
    first = heads[link - 2].n + 1 if link > 1 else 1
    return range(first, heads[link - 1].n + 1)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_thousand_tamperings_of_five_kinds_are_a_thousand_found(database: Database) -> None:
    chance = random.Random(20261124)
    heads = await written(database)
    last = len(heads)
    await database.run("alter table audit alter n drop identity")
    assert last == ROWS // A_LINK
    assert await seal.verify(database, *heads) == []
    found: Counter[str] = Counter()
    for round in range(ROUNDS):
        cut = chance.randrange(6, last + 1)
        links = chance.sample(range(2, cut), 4)
        kinds = (edit, deletion, insertion, reordering)
        planted = [
            make(chance, rows_of(heads, link), link)
            for make, link in zip(kinds, links, strict=True)
        ]
        planted.append(truncation(chance, rows_of(heads, cut), cut, last))

        async with database.transaction() as transaction:
            for sql in (sql for one in planted for sql in one.sql):
                await transaction.run(sql)
            faults = await seal.verify(transaction, *heads)
            await transaction.run("rollback and chain")

        broken = {fault.number for fault in faults}
        for one in planted:
            assert one.links <= broken, (round, one, faults)
            found[one.kind] += 1
        assert broken == set().union(*(one.links for one in planted)), (round, planted, faults)

    assert found == dict.fromkeys(
        ("edit", "deletion", "insertion", "reordering", "truncation"), ROUNDS
    )
    assert await seal.verify(database, *heads) == []
