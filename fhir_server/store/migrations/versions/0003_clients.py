"""Tables of the authorisation server: client, login."""

from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = ("smart_apps",)
depends_on = None

TABLES = (
    """
    CREATE TABLE client (
        id text COLLATE "C" PRIMARY KEY,
        kind text COLLATE "C" NOT NULL,
        scope text COLLATE "C" NOT NULL,
        organization text COLLATE "C" NOT NULL,
        redirect_uris text[] COLLATE "C" NOT NULL,
        jwks text COLLATE "C",
        secret text COLLATE "C",
        created bigint NOT NULL
    )
    """,
    """
    CREATE TABLE login (
        login text COLLATE "C" PRIMARY KEY,
        password text COLLATE "C" NOT NULL,
        practitioner_role text COLLATE "C" NOT NULL,
        organization text COLLATE "C" NOT NULL,
        role text COLLATE "C" NOT NULL,
        created bigint NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Create them."""
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    for table in ("login", "client"):
        op.execute(f"DROP TABLE {table}")
