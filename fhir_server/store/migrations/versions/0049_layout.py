"""Where the frames of an instance are, found when it is taken in."""

from alembic import op

revision = "0049"
down_revision = "0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keep it beside the DICOM JSON; what is there already is looked through when it is asked."""
    op.execute("ALTER TABLE instance ADD COLUMN layout bytea")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE instance DROP COLUMN layout")
