"""The ledger names the purpose of use; rows from before have that of their role."""

from alembic import op

revision = "0016"
down_revision = "0001"
branch_labels = ("ledger",)
depends_on = None


def upgrade() -> None:
    """Add it."""
    op.execute('ALTER TABLE audit ADD COLUMN purpose text COLLATE "C"')


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE audit DROP COLUMN purpose")
