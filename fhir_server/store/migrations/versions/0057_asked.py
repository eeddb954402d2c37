"""Announced images that somebody was asked for already."""

from alembic import op

revision = "0057"
down_revision = "0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.execute("ALTER TABLE announced ADD COLUMN asked boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE announced DROP COLUMN asked")
