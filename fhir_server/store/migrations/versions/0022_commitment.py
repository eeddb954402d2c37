"""Storage commitments that are asked for and not yet reported."""

from alembic import op

revision = "0022"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE commitment (
    peer text COLLATE "C" NOT NULL,
    transaction_uid text COLLATE "C" NOT NULL,
    items bytea NOT NULL,
    asked bigint NOT NULL,
    attempts integer NOT NULL,
    due bigint NOT NULL,
    PRIMARY KEY (peer, transaction_uid)
)
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(TABLE)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE commitment")
