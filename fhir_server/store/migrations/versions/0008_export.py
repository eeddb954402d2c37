"""Table of bulk exports."""

from alembic import op

revision = "0008"
down_revision = "0001"
branch_labels = ("export",)
depends_on = None

TABLE = """
    CREATE TABLE export (
        id text COLLATE "C" PRIMARY KEY,
        state text COLLATE "C" NOT NULL,
        requested bigint NOT NULL,
        beat bigint NOT NULL,
        expires bigint NOT NULL,
        client text COLLATE "C" NOT NULL,
        organization text COLLATE "C" NOT NULL,
        asker text COLLATE "C" NOT NULL,
        address text COLLATE "C" NOT NULL,
        types text[] COLLATE "C" NOT NULL,
        patients text[] COLLATE "C",
        about_patients boolean NOT NULL,
        since bigint NOT NULL,
        done bigint NOT NULL,
        manifest text COLLATE "C"
    )
"""


def upgrade() -> None:
    """Create it."""
    op.execute(TABLE)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE export")
