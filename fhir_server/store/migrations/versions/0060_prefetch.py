"""Peers that studies are sent to ahead of need; what is to be sent, and what has been."""

from alembic import op

revision = "0060"
down_revision = "0045"
branch_labels = None
depends_on = None

TABLES = (
    """
    ALTER TABLE peer
        ADD COLUMN destination boolean NOT NULL DEFAULT false,
        ADD COLUMN dicomweb text COLLATE "C"
    """,
    """
    CREATE TABLE prefetch (
        task text COLLATE "C" PRIMARY KEY,
        peer text COLLATE "C" NOT NULL,
        deadline bigint NOT NULL,
        attempts integer NOT NULL,
        due bigint NOT NULL,
        lease_until bigint
    )
    """,
    """
    CREATE TABLE prefetch_covered (
        trigger text COLLATE "C" NOT NULL,
        peer text COLLATE "C" NOT NULL,
        imaging_study text COLLATE "C" NOT NULL,
        state text COLLATE "C" NOT NULL,
        task text COLLATE "C" NOT NULL,
        PRIMARY KEY (trigger, peer, imaging_study)
    )
    """,
    """
    CREATE TABLE prefetch_sent (
        peer text COLLATE "C" NOT NULL,
        sop_uid text COLLATE "C" NOT NULL,
        blob text COLLATE "C" NOT NULL,
        PRIMARY KEY (peer, sop_uid)
    )
    """,
)


def upgrade() -> None:
    """Make columns and tables."""
    for table in TABLES:
        op.execute(table)


def downgrade() -> None:
    """Drop them."""
    for name in ("prefetch_sent", "prefetch_covered", "prefetch"):
        op.execute(f"DROP TABLE {name}")
    op.execute("ALTER TABLE peer DROP COLUMN destination, DROP COLUMN dicomweb")
