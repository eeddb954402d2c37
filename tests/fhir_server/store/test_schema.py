"""The schema: made once, by whoever comes first, and as the tables say."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

from fhir_server.audit import tables as audit_tables
from fhir_server.postgres.database import Database
from fhir_server.store import partitions, schema
from fhir_server.store import tables as store_tables
from subscriptions import tables as subscriptions_tables
from tests.conftest import renamed

OURS = {table.name for table in SQLModel.metadata.tables.values()} & {
    "version", "current", "date_term", "string_term", "relation", "change", "log", "audit",
    "audit_seal", "withheld", "subscription", "subscription_term", "subscription_event", "follower",
    "websocket_token",
}  # fmt: skip


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("select tablename from pg_tables where schemaname = 'public'")
        return {row[0] for row in rows}


def test_migrating_twice_or_at_the_same_time_is_migrating_once(cluster: str) -> None:
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute("create database migrated")
    url = renamed(cluster, "migrated")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(schema.migrate, [url] * 4))
    before = tables(url)
    schema.migrate(url)

    assert tables(url) == before
    assert before >= {"version", "current", "change", "audit", "procrastinate_jobs"}


def test_the_database_is_as_the_tables_say(database_url: str) -> None:
    assert store_tables.Version.metadata is audit_tables.Audit.metadata
    assert store_tables.Version.metadata is subscriptions_tables.Subscription.metadata
    engine = create_engine(
        make_url(database_url).set(drivername="postgresql+psycopg"), poolclass=NullPool
    )

    def ours(thing: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:
        return kind != "table" or name in OURS

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": ours, "compare_type": False}
        )
        differences = compare_metadata(context, SQLModel.metadata)
    engine.dispose()

    assert differences == []


@pytest.mark.anyio
async def test_a_month_without_a_partition_loses_no_row(database: Database) -> None:
    march = int(datetime(2031, 3, 15, tzinfo=UTC).timestamp()) * 1_000_000
    insert = "insert into audit(instant, interaction, outcome, subject, role, origin, request)"
    await database.run(f"{insert} values ($1, 'read', 0, 's', 'r', 'o', 'q')", (march,))

    for _ in range(2):
        await partitions.ensure(database, march)
    await database.run(f"{insert} values ($1, 'read', 0, 's', 'r', 'o', 'q')", (march,))

    rows = await database.run("select tableoid::regclass::text from audit")
    assert rows == [("audit_2031_03",)] * 2
    assert await database.run("select count(*) from audit_default") == [(0,)]


@pytest.mark.anyio
async def test_months_follow_each_other_without_a_gap(database: Database) -> None:
    december = int(datetime(2030, 12, 31, 23, 59, tzinfo=UTC).timestamp()) * 1_000_000

    await partitions.ensure(database, december)

    for table in ("audit", "change"):
        for name, begin, end in (
            ("2030_12", datetime(2030, 12, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)),
            ("2031_01", datetime(2031, 1, 1, tzinfo=UTC), datetime(2031, 2, 1, tzinfo=UTC)),
            ("2031_02", datetime(2031, 2, 1, tzinfo=UTC), datetime(2031, 3, 1, tzinfo=UTC)),
        ):
            rows = await database.run(
                "select pg_get_expr(relpartbound, oid) from pg_class where relname = $1",
                (f"{table}_{name}",),
            )
            low, high = (int(at.timestamp()) * 1_000_000 for at in (begin, end))
            assert rows == [(f"FOR VALUES FROM ('{low}') TO ('{high}')",)]
