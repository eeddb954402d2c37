"""Clients that are disabled, keys of clients by their address, sign-ins that serve a request."""

from alembic import op

revision = "0040"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.execute(
        """
        ALTER TABLE client
            ADD COLUMN jwks_uri text COLLATE "C",
            ADD COLUMN disabled bigint,
            ADD COLUMN epoch text COLLATE "C" NOT NULL DEFAULT ''
        """
    )
    op.execute('ALTER TABLE registration ADD COLUMN jwks_uri text COLLATE "C"')
    op.execute("ALTER TABLE sign_in ADD COLUMN request bytea")


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE client DROP COLUMN jwks_uri, DROP COLUMN disabled, DROP COLUMN epoch")
    op.execute("ALTER TABLE registration DROP COLUMN jwks_uri")
    op.execute("ALTER TABLE sign_in DROP COLUMN request")
