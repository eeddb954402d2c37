"""Who may do what in the database: the server adds to the audit ledger, and changes nothing in it.

Two roles: the owner of the tables, who migrates, and the server's role, as which every process
runs. The server's role owns nothing; of the ledger, its partitions and its seals it may read and
add rows. So no process, and nobody who makes one run SQL of theirs, can update, delete, truncate,
alter or drop what was audited.

The embedded database makes the role itself. For another database the operator names two addresses
(``ISOCENTRE_DATABASE_OWNER_URL``); with one alone nothing is separated, which `gaps` tells.

References
----------
* PostgreSQL documentation: "Privileges", "Database Roles"
* threats T5: "DB role without UPDATE/DELETE"; docs/adr/0012, what a chain shows
"""

from typing import Final
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from resources.errors import Exhausted

SERVER: Final = "isocentre_server"
"""The role of the server in the embedded database."""

LOCK: Final = 0x15_0C_E1_73
"""Advisory lock held while granting: grants on one table at once fail each other."""

LEDGER: Final = """
select c.oid::regclass::text from pg_class as c
where c.oid in ('audit'::regclass, 'audit_seal'::regclass)
   or c.oid in (select relid from pg_partition_tree('audit'))
"""
"""The ledger, its partitions, and its seals."""

ROLE: Final = """
do $$ begin
  if not exists (select from pg_roles where rolname = {name}) then create role {role} login;
  end if;
end $$
"""

GRANTS: Final = (
    "grant usage on schema {schema} to {role}",
    "grant select, insert, update, delete on all tables in schema {schema} to {role}",
    "grant usage, select on all sequences in schema {schema} to {role}",
    "grant execute on all functions in schema {schema} to {role}",
)

LEDGER_GRANTS: Final = (
    "revoke all on {table} from {role}, public",
    "grant select, insert on {table} to {role}",
)

MAY_CHANGE: Final = f"""
select format('%s: %s', t.name, p.name)
from ({LEDGER}) as t(name), unnest(array['UPDATE', 'DELETE', 'TRUNCATE']) as p(name)
where has_table_privilege(t.name, p.name)
union all
select format('%s: owner', t.name) from ({LEDGER}) as t(name)
where pg_has_role((select relowner from pg_class where oid = t.name::regclass), 'MEMBER')
union all
select 'superuser' where (select rolsuper from pg_roles where rolname = current_user)
order by 1
"""


def as_server(url: str) -> str:
    """Give the address of the embedded database for the server's role."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{SERVER}@{parts.netloc.rpartition('@')[2]}").geturl()


def grant(owner_url: str, server_url: str, *, make: bool = False) -> None:
    """Give the server's role what it needs, and of the ledger no more than that.

    Does nothing where both addresses are of one role. Blocks.

    Parameters
    ----------
    make
        Make the role if there is none.

    Raises
    ------
    Exhausted
        The database cannot be reached.
    """
    role = conninfo_to_dict(server_url).get("user")
    try:
        with psycopg.connect(owner_url) as connection:
            owner = connection.info.user
            if not isinstance(role, str) or role == owner:
                return
            connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
            (schema,) = connection.execute("select current_schema()").fetchone() or ("",)
            names = {"schema": sql.Identifier(schema), "role": sql.Identifier(role)}
            if make:
                connection.execute(sql.SQL(ROLE).format(name=sql.Literal(role), **names))
            for statement in GRANTS:
                connection.execute(sql.SQL(statement).format(**names))
            for (table,) in connection.execute(LEDGER).fetchall():
                for statement in LEDGER_GRANTS:
                    connection.execute(sql.SQL(statement).format(table=sql.SQL(table), **names))
    except psycopg.OperationalError as error:
        raise Exhausted("The database cannot be reached.") from error


def gaps(server_url: str) -> list[str]:
    """Say what the server's role could do to the ledger; an empty list is good news. Blocks."""
    try:
        with psycopg.connect(server_url) as connection:
            return [gap for (gap,) in connection.execute(MAY_CHANGE).fetchall()]
    except psycopg.OperationalError as error:
        raise Exhausted("The database cannot be reached.") from error
