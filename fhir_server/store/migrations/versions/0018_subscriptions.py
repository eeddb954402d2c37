"""Tables of subscriptions, their events, and those who follow the change log: from now on."""

from alembic import op

revision = "0018"
down_revision = "0001"
branch_labels = ("subscriptions",)
depends_on = None

TABLES = (
    """
    CREATE TABLE subscription (
        id text COLLATE "C" PRIMARY KEY,
        version bigint NOT NULL,
        status text COLLATE "C" NOT NULL,
        topic text COLLATE "C" NOT NULL,
        type text COLLATE "C" NOT NULL,
        criteria text COLLATE "C" NOT NULL,
        channel text COLLATE "C" NOT NULL,
        endpoint text COLLATE "C" NOT NULL,
        headers text[] COLLATE "C" NOT NULL,
        payload_type text COLLATE "C" NOT NULL,
        content text COLLATE "C" NOT NULL,
        heartbeat bigint,
        timeout bigint NOT NULL,
        max_count bigint NOT NULL,
        principal text COLLATE "C" NOT NULL,
        organization text COLLATE "C" NOT NULL,
        events bigint NOT NULL,
        delivered bigint NOT NULL,
        attempts bigint NOT NULL,
        due bigint,
        lease_until bigint,
        last_sent bigint,
        last_error text COLLATE "C",
        started bigint NOT NULL,
        since_log bigint NOT NULL,
        since_xid bigint NOT NULL,
        ending bigint
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX subscription_due ON subscription (due) WHERE due IS NOT NULL",
    """
    CREATE TABLE subscription_term (
        term text COLLATE "C" NOT NULL,
        subscription text COLLATE "C" NOT NULL,
        PRIMARY KEY (term, subscription)
    )
    """,
    "CREATE INDEX subscription_term_of ON subscription_term (subscription)",
    """
    CREATE TABLE subscription_event (
        subscription text COLLATE "C" NOT NULL,
        number bigint NOT NULL,
        instant bigint NOT NULL,
        topic text COLLATE "C" NOT NULL,
        interaction character(1) NOT NULL,
        type text COLLATE "C" NOT NULL,
        id text COLLATE "C" NOT NULL,
        version bigint NOT NULL,
        key bigint NOT NULL,
        PRIMARY KEY (subscription, number)
    )
    """,
    "CREATE INDEX subscription_event_instant ON subscription_event USING brin (instant)",
    """
    CREATE TABLE follower (
        name text COLLATE "C" PRIMARY KEY,
        log bigint NOT NULL,
        xid bigint NOT NULL,
        key bigint NOT NULL
    )
    """,
    """
    INSERT INTO follower(name, log, xid, key)
    SELECT 'matcher', number, pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1,
           9223372036854775807
    FROM log
    """,
    """
    CREATE TABLE websocket_token (
        digest text COLLATE "C" PRIMARY KEY,
        subscriptions text[] COLLATE "C" NOT NULL,
        principal text COLLATE "C" NOT NULL,
        expires bigint NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Create them."""
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    for name in (
        "websocket_token",
        "follower",
        "subscription_event",
        "subscription_term",
        "subscription",
    ):
        op.execute(f"DROP TABLE {name}")
