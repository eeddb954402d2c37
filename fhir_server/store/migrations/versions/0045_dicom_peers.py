"""Peers over TLS, or to be told of availability; general purpose steps that are performed."""

from alembic import op

revision = "0045"
down_revision = "0022"
branch_labels = None
depends_on = None

TABLES = (
    """
    ALTER TABLE peer
        ADD COLUMN subject text COLLATE "C",
        ADD COLUMN tls boolean NOT NULL DEFAULT false,
        ADD COLUMN informed boolean NOT NULL DEFAULT false
    """,
    """
    CREATE TABLE availability (
        peer text COLLATE "C" NOT NULL,
        study_uid text COLLATE "C" NOT NULL,
        noted bigint NOT NULL,
        attempts integer NOT NULL,
        due bigint NOT NULL,
        PRIMARY KEY (peer, study_uid)
    )
    """,
    """
    CREATE TABLE performed_step (
        uid text COLLATE "C" PRIMARY KEY,
        task text COLLATE "C" NOT NULL,
        organization text COLLATE "C" NOT NULL,
        status text COLLATE "C" NOT NULL,
        json bytea NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Make columns and tables."""
    for table in TABLES:
        op.execute(table)


def downgrade() -> None:
    """Drop them."""
    for name in ("performed_step", "availability"):
        op.execute(f"DROP TABLE {name}")
    op.execute("ALTER TABLE peer DROP COLUMN subject, DROP COLUMN tls, DROP COLUMN informed")
