"""Who shares with whom what they create, and which organisations made an ImagingStudy."""

from alembic import op

revision = "0048"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE sharing (
        organization text COLLATE "C" NOT NULL,
        creator text COLLATE "C" NOT NULL,
        by_id text COLLATE "C" NOT NULL,
        since bigint NOT NULL,
        until bigint NOT NULL,
        PRIMARY KEY (organization, creator, by_id)
    )
    """,
    "CREATE INDEX sharing_by ON sharing (by_id)",
    """
    CREATE TABLE maker (
        id text COLLATE "C" NOT NULL,
        organization text COLLATE "C" NOT NULL,
        PRIMARY KEY (id, organization)
    )
    """,
)

MAKERS = """
WITH series AS MATERIALIZED (
    SELECT v.id, c.organizations[1] AS creator, s.series -> 'performer' AS performers
    FROM version AS v
    JOIN current AS c ON c.type = v.type AND c.id = v.id
    CROSS JOIN LATERAL jsonb_array_elements(
        coalesce(convert_from(v.body, 'UTF8')::jsonb -> 'series', '[]')) AS s(series)
    WHERE v.type = 'ImagingStudy' AND v.body IS NOT NULL AND v.body <> ''
), named AS MATERIALIZED (
    SELECT id, creator, performers, array(
        SELECT substring(p.one -> 'actor' ->> 'reference', '^Organization/([A-Za-z0-9.-]{1,64})$')
        FROM jsonb_array_elements(coalesce(performers, '[]')) AS p(one)
        WHERE p.one -> 'actor' ->> 'reference' ~ '^Organization/[A-Za-z0-9.-]{1,64}$') AS found
    FROM series
)
INSERT INTO maker (id, organization)
SELECT id, unnest(CASE WHEN found <> '{}' THEN found
                       WHEN performers IS NULL THEN array[creator] ELSE array[''] END)
FROM named ON CONFLICT DO NOTHING
"""
"""What `fhir_server.store.agreements.makers` says of every version there is."""


def upgrade() -> None:
    """Create them, and say who made the studies that are there."""
    for statement in TABLES:
        op.execute(statement)
    op.execute(MAKERS)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE maker")
    op.execute("DROP TABLE sharing")
