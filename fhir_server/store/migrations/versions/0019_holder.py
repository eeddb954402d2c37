"""Who holds the lease of a subscription, and how a binding token may be withdrawn."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.execute("ALTER TABLE subscription ADD COLUMN holder text COLLATE \"C\" NOT NULL DEFAULT ''")
    op.execute('ALTER TABLE websocket_token ADD COLUMN withdrawable text[] COLLATE "C" NOT NULL')


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE websocket_token DROP COLUMN withdrawable")
    op.execute("ALTER TABLE subscription DROP COLUMN holder")
