"""An index for the history of a type: its lines in the change log, by time."""

from alembic import op

revision = "0006"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create it, on every month there is and on those to come."""
    op.execute("CREATE INDEX change_of_type ON change (type, instant, xid, key)")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX change_of_type")
