"""Nobody changes the ledger unnoticed: the server's role cannot, and who can is found out.

Threats T5: "DB role without UPDATE/DELETE"; "1,000 tampers (edit, delete, reorder, insert, truncate
tail): 1,000 found".
"""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from fhir_server.access.principal import Principal
from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.store import partitions, privileges
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
    served.start()
    yield served
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
