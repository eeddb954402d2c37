"""Monthly partitions of the change log and the audit ledger.

A partition covers a calendar month in UTC, and is made before the month begins. Rows of a month
that has no partition yet land in the default partition, so a forgotten month costs speed, never a
row; they are moved when it is made. `make_partitions` (migration 0016) does it as the owner of the
tables, whoever calls it.

References
----------
* PostgreSQL documentation: "Table Partitioning", "Partition Maintenance"; "Writing SECURITY DEFINER
  Functions Safely"
"""

from fhir_server.postgres.database import Database


async def ensure(database: Database, instant: int) -> None:
    """Make the partitions of an instant's month and of the two months after it.

    Safe to call at any time, from any number of processes; run it once a day.
    """
    await database.run("select make_partitions($1)", (instant,))
