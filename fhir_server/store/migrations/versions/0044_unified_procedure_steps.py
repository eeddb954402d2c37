"""What Unified Procedure Steps have beside their Tasks, and who hears of them."""

from alembic import op

revision = "0044"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE workitem (
    uid text COLLATE "C" PRIMARY KEY,
    task text COLLATE "C" NOT NULL UNIQUE,
    kept bytea NOT NULL,
    lock text COLLATE "C" NOT NULL,
    held bigint NOT NULL
);
CREATE TABLE ups_subscription (
    ae text COLLATE "C" NOT NULL,
    whose text COLLATE "C" NOT NULL,
    task text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    filter bytea NOT NULL,
    changed bigint NOT NULL,
    PRIMARY KEY (ae, whose, task)
);
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(TABLES)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE ups_subscription")
    op.execute("DROP TABLE workitem")
