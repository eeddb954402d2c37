"""What organisations are granted of a patient, and relations that show no more than that."""

from alembic import op

revision = "0058"
down_revision = "0048"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE granted (
        organization text COLLATE "C" NOT NULL,
        type text COLLATE "C" NOT NULL,
        id text COLLATE "C" NOT NULL,
        by_id text COLLATE "C" NOT NULL,
        patient text COLLATE "C" NOT NULL,
        creator text COLLATE "C" NOT NULL,
        since bigint NOT NULL,
        until bigint NOT NULL,
        PRIMARY KEY (organization, type, id, by_id)
    )
    """,
    "CREATE INDEX granted_by ON granted (by_id)",
    "ALTER TABLE relation ADD COLUMN limited boolean NOT NULL DEFAULT false",
)


def upgrade() -> None:
    """Create the table and the column."""
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE relation DROP COLUMN limited")
    op.execute("DROP TABLE granted")
