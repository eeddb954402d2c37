"""Who is telling a peer of available studies and of commitments, apart from when it is due."""

from typing import Final

from alembic import op

revision = "0059"
down_revision = "0047"
branch_labels = None
depends_on = "0045"

TABLES: Final = ("availability", "commitment")


def upgrade() -> None:
    """Add the columns."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ADD COLUMN lease_until bigint")


def downgrade() -> None:
    """Drop them."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} DROP COLUMN lease_until")
