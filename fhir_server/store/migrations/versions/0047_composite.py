"""The composite study: objects as they came, objects made of reports, images that are announced."""

from alembic import op

revision = "0047"
down_revision = "0022"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE original (
        sop_uid text COLLATE "C" PRIMARY KEY,
        study_uid text COLLATE "C" NOT NULL,
        patient_id text COLLATE "C" NOT NULL,
        issuer text COLLATE "C" NOT NULL,
        organization text COLLATE "C" NOT NULL,
        blob text COLLATE "C" NOT NULL,
        dataset_offset integer NOT NULL,
        size bigint NOT NULL,
        header bytea NOT NULL,
        corrected bigint NOT NULL
    )
    """,
    "CREATE INDEX original_study ON original (study_uid)",
    "CREATE INDEX original_blob ON original (blob)",
    """
    CREATE TABLE report_object (
        sop_uid text COLLATE "C" PRIMARY KEY,
        report text COLLATE "C" NOT NULL,
        version integer NOT NULL,
        study_uid text COLLATE "C" NOT NULL,
        kind text COLLATE "C" NOT NULL,
        made bigint NOT NULL
    )
    """,
    "CREATE INDEX report_object_report ON report_object (report, study_uid)",
    """
    CREATE TABLE announced (
        sop_uid text COLLATE "C" NOT NULL,
        procedure text COLLATE "C" NOT NULL,
        said bigint NOT NULL,
        PRIMARY KEY (procedure, sop_uid)
    )
    """,
    "CREATE INDEX announced_sop ON announced (sop_uid)",
)


def upgrade() -> None:
    """Make the tables."""
    for table in TABLES:
        op.execute(table)


def downgrade() -> None:
    """Drop them."""
    for table in ("announced", "report_object", "original"):
        op.execute(f"DROP TABLE {table}")
