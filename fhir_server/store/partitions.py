"""Monthly partitions of the change log and the audit ledger.

A partition covers a calendar month in UTC. Rows of a month that has no partition yet land in
the default partition, so a forgotten month costs speed, never a row; `ensure` moves them out.

References
----------
* PostgreSQL documentation: "Table Partitioning", "Partition Maintenance"
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from fhir_server.postgres.database import Database

PARTITIONED: Final = ("change", "audit")
AHEAD: Final = 2
"""Months that are made before they begin."""

COLUMNS: Final = "select column_name from information_schema.columns"


def months(instant: int) -> Iterator[tuple[str, int, int]]:
    """The month of an instant and the `AHEAD` after it: name, first instant, end (excluded)."""
    at = datetime.fromtimestamp(instant // 1_000_000, UTC)
    month = at.year * 12 + at.month - 1
    for number in range(month, month + AHEAD + 1):
        yield f"{number // 12:04}_{number % 12 + 1:02}", _begin(number), _begin(number + 1)


def statements(instant: int) -> Iterator[str]:
    """DDL that makes the partitions of `months` where they do not exist."""
    for table in PARTITIONED:
        for name, begin, end in months(instant):
            yield _make(table, f"{table}_{name}", begin, end)


async def ensure(database: Database, instant: int) -> None:
    """Make the partitions of an instant's month and of the months after it.

    Safe to call at any time, from any number of processes; run it once a day.
    """
    for statement in statements(instant):
        await database.run(statement)


def _begin(month: int) -> int:
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def _make(table: str, name: str, begin: int, end: int) -> str:
    """Make one partition, taking over what the default partition holds of its month."""
    return f"""
do $$ begin
  if to_regclass('{name}') is null then
    lock table {table} in share update exclusive mode;
    if to_regclass('{name}') is null then
      create table {name} (like {table} including defaults including constraints);
      lock table {table}_default in access exclusive mode;
      insert into {name} select * from {table}_default where instant >= {begin} and instant < {end};
      delete from {table}_default where instant >= {begin} and instant < {end};
      alter table {table} attach partition {name} for values from ({begin}) to ({end});
    end if;
  end if;
end $$"""
