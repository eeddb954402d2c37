"""Registrations that wait for an administrator."""

from alembic import op

revision = "0017"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        """
        CREATE TABLE registration (
            id text COLLATE "C" PRIMARY KEY,
            name text COLLATE "C" NOT NULL,
            kind text COLLATE "C" NOT NULL,
            scope text COLLATE "C" NOT NULL,
            redirect_uris text[] COLLATE "C" NOT NULL,
            jwks text COLLATE "C",
            secret text COLLATE "C",
            instant bigint NOT NULL
        )
        """
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE registration")
