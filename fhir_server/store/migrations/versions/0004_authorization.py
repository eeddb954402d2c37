"""Tables of the authorisation server: roles of a login, sign-ins, authorisations, their tokens."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE login_role (
        login text COLLATE "C" NOT NULL,
        practitioner_role text COLLATE "C" NOT NULL,
        organization text COLLATE "C" NOT NULL,
        role text COLLATE "C" NOT NULL,
        created bigint NOT NULL,
        PRIMARY KEY (login, practitioner_role)
    )
    """,
    """
    INSERT INTO login_role (login, practitioner_role, organization, role, created)
    SELECT login, practitioner_role, organization, role, created FROM login
    """,
    "ALTER TABLE login DROP COLUMN practitioner_role",
    "ALTER TABLE login DROP COLUMN organization",
    "ALTER TABLE login DROP COLUMN role",
    'ALTER TABLE client ADD COLUMN launch_url text COLLATE "C"',
    """
    CREATE TABLE sign_in (
        digest bytea PRIMARY KEY,
        login text COLLATE "C" NOT NULL,
        practitioner_role text COLLATE "C" NOT NULL,
        instant bigint NOT NULL,
        expires bigint NOT NULL
    )
    """,
    """
    CREATE TABLE launch (
        digest bytea PRIMARY KEY,
        login text COLLATE "C" NOT NULL,
        practitioner_role text COLLATE "C" NOT NULL,
        context text COLLATE "C" NOT NULL,
        expires bigint NOT NULL
    )
    """,
    """
    CREATE TABLE authorized (
        id text COLLATE "C" PRIMARY KEY,
        client text COLLATE "C" NOT NULL,
        login text COLLATE "C" NOT NULL,
        practitioner_role text COLLATE "C" NOT NULL,
        scope text COLLATE "C" NOT NULL,
        context text COLLATE "C" NOT NULL,
        signed_in bigint NOT NULL,
        instant bigint NOT NULL,
        withdrawn bigint
    )
    """,
    "CREATE INDEX authorized_login ON authorized (login, client)",
    """
    CREATE TABLE authorization_code (
        digest bytea PRIMARY KEY,
        authorized text COLLATE "C" NOT NULL,
        redirect_uri text COLLATE "C" NOT NULL,
        challenge text COLLATE "C" NOT NULL,
        expires bigint NOT NULL,
        used boolean NOT NULL
    )
    """,
    """
    CREATE TABLE refresh_token (
        digest bytea PRIMARY KEY,
        authorized text COLLATE "C" NOT NULL,
        expires bigint NOT NULL,
        used boolean NOT NULL
    )
    """,
    """
    CREATE TABLE client_assertion (
        client text COLLATE "C" NOT NULL,
        jti text COLLATE "C" NOT NULL,
        expires bigint NOT NULL,
        PRIMARY KEY (client, jti)
    )
    """,
    """
    CREATE TABLE attempt (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        subject text COLLATE "C" NOT NULL,
        instant bigint NOT NULL
    )
    """,
    "CREATE INDEX attempt_subject ON attempt (subject, instant)",
    """
    CREATE TABLE withdrawn (
        id text COLLATE "C" PRIMARY KEY,
        expires bigint NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Create them, and move what a login says of its role to where it may have several."""
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop them; of several roles of a login, one is kept."""
    op.execute("ALTER TABLE client DROP COLUMN launch_url")
    for column in ("practitioner_role", "organization", "role"):
        op.execute(f"ALTER TABLE login ADD COLUMN {column} text COLLATE \"C\" NOT NULL DEFAULT ''")
    op.execute(
        "UPDATE login SET practitioner_role = r.practitioner_role, organization = r.organization,"
        " role = r.role FROM login_role AS r WHERE r.login = login.login"
    )
    for column in ("practitioner_role", "organization", "role"):
        op.execute(f"ALTER TABLE login ALTER COLUMN {column} DROP DEFAULT")
    for table in (
        "login_role", "sign_in", "launch", "authorized", "authorization_code", "refresh_token",
        "client_assertion", "attempt", "withdrawn",
    ):  # fmt: skip
        op.execute(f"DROP TABLE {table}")
