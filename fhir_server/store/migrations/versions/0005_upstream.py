"""Sign-ins under way at another identity provider."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        """
        CREATE TABLE upstream_sign_in (
            digest bytea PRIMARY KEY,
            browser bytea NOT NULL,
            request text COLLATE "C" NOT NULL,
            nonce text COLLATE "C" NOT NULL,
            verifier text COLLATE "C" NOT NULL,
            expires bigint NOT NULL
        )
        """
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE upstream_sign_in")
