"""A new log can be begun by who does not own the ledger.

`renew_log` is called by the server's role, which may not alter the ledger (see
`fhir_server.store.privileges`), and works as the owner of the tables: it counts the log up and lets
rows from now on belong to it; no row changes.
"""

from alembic import op

revision = "0034"
down_revision = "0016"
branch_labels = None
depends_on = None

RENEW_LOG = """
CREATE FUNCTION renew_log() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_catalog, pg_temp AS $renew$
DECLARE
  present integer;
BEGIN
  UPDATE log SET number = number + 1 RETURNING number INTO STRICT present;
  EXECUTE format('ALTER TABLE audit ALTER COLUMN log SET DEFAULT %s', present);
  RETURN present;
END $renew$
"""


def upgrade() -> None:
    """Make the function."""
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.execute(RENEW_LOG.format(schema=schema))
    op.execute("REVOKE EXECUTE ON FUNCTION renew_log() FROM PUBLIC")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP FUNCTION renew_log()")
