"""Which authorisation a subscription was made under, so that it ends with it."""

from alembic import op

revision = "0029"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.execute(
        "ALTER TABLE subscription ADD COLUMN authorized text COLLATE \"C\" NOT NULL DEFAULT ''"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE subscription DROP COLUMN authorized")
