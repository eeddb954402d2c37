"""The ledger names the purpose of use, and its partitions are made for who may not make them.

Rows from before have the purpose of their role. `make_partitions` is called by the server's role,
which owns no table (see `fhir_server.store.privileges`), and works as the owner of the tables: it
moves rows of the default partition to where they belong, and changes none. `syslog_cursor` says
how far the syslog feed has got.
"""

from alembic import op

from fhir_server.context import now

revision = "0016"
down_revision = "0001"
branch_labels = ("ledger",)
depends_on = None

PURPOSE = 'ALTER TABLE audit ADD COLUMN purpose text COLLATE "C"'

SYSLOG_CURSOR = """
CREATE TABLE syslog_cursor (
    receiver text COLLATE "C" PRIMARY KEY,
    log integer NOT NULL,
    xid xid8 NOT NULL,
    n bigint NOT NULL
)
"""

MAKE_PARTITIONS = """
CREATE FUNCTION make_partitions(instant bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_catalog, pg_temp AS $make$
DECLARE
  parent text;
  month timestamp;
  name text;
  low bigint;
  high bigint;
BEGIN
  FOREACH parent IN ARRAY ARRAY['change', 'audit'] LOOP
    FOR ahead IN 0..2 LOOP
      month := date_trunc('month', to_timestamp(instant / 1000000) AT TIME ZONE 'UTC')
        + make_interval(months => ahead);
      name := parent || to_char(month, '_YYYY_MM');
      low := extract(epoch FROM month)::bigint * 1000000;
      high := extract(epoch FROM month + interval '1 month')::bigint * 1000000;
      CONTINUE WHEN to_regclass(name) IS NOT NULL;
      EXECUTE format('LOCK TABLE %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
      CONTINUE WHEN to_regclass(name) IS NOT NULL;
      EXECUTE format(
        'CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name, parent);
      EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
      EXECUTE format('INSERT INTO %I SELECT * FROM %I WHERE instant >= %s AND instant < %s',
        name, parent || '_default', low, high);
      EXECUTE format('DELETE FROM %I WHERE instant >= %s AND instant < %s',
        parent || '_default', low, high);
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
        parent, name, low, high);
    END LOOP;
  END LOOP;
END $make$
"""


def upgrade() -> None:
    """Add the column and the function, and make the partitions of now."""
    op.execute(PURPOSE)
    op.execute(SYSLOG_CURSOR)
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(MAKE_PARTITIONS.format(schema=schema))
    op.execute("REVOKE EXECUTE ON FUNCTION make_partitions(bigint) FROM PUBLIC")
    op.execute(f"SELECT make_partitions({now()})")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP FUNCTION make_partitions(bigint)")
    op.execute("DROP TABLE syslog_cursor")
    op.execute("ALTER TABLE audit DROP COLUMN purpose")
