"""What is withheld from organisations, and emergency accesses."""

from alembic import op

revision = "0014"
down_revision = "0001"
branch_labels = ("governance",)
depends_on = None

TABLES = (
    """
    CREATE TABLE withheld (
        patient text COLLATE "C" NOT NULL,
        organization text COLLATE "C" NOT NULL,
        by_type text COLLATE "C" NOT NULL,
        by_id text COLLATE "C" NOT NULL,
        type text COLLATE "C" NOT NULL,
        id text COLLATE "C" NOT NULL,
        since bigint NOT NULL,
        until bigint NOT NULL,
        PRIMARY KEY (patient, organization, by_type, by_id, id)
    )
    """,
    "CREATE INDEX withheld_by ON withheld (by_type, by_id)",
    """
    CREATE TABLE emergency (
        id text COLLATE "C" PRIMARY KEY,
        patient text COLLATE "C" NOT NULL,
        subject text COLLATE "C" NOT NULL,
        organization text COLLATE "C" NOT NULL,
        role text COLLATE "C" NOT NULL,
        reason text COLLATE "C" NOT NULL,
        said text COLLATE "C" NOT NULL,
        authorized text COLLATE "C" NOT NULL,
        instant bigint NOT NULL,
        until bigint NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Create them."""
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE emergency")
    op.execute("DROP TABLE withheld")
