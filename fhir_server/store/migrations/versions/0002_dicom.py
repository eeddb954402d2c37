"""Tables of the DICOM bridge: instance, unsettled, study, series, instance_conflict, peer."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE instance (
        sop_uid text COLLATE "C" PRIMARY KEY,
        study_uid text COLLATE "C" NOT NULL,
        series_uid text COLLATE "C" NOT NULL,
        sop_class text COLLATE "C" NOT NULL,
        transfer_syntax text COLLATE "C" NOT NULL,
        digest text COLLATE "C" NOT NULL,
        size bigint NOT NULL,
        dataset_offset integer NOT NULL,
        blob text COLLATE "C" NOT NULL,
        patient_id text COLLATE "C" NOT NULL,
        issuer text COLLATE "C" NOT NULL,
        accession text COLLATE "C" NOT NULL,
        accession_issuer text COLLATE "C" NOT NULL,
        modality text COLLATE "C" NOT NULL,
        series_number integer,
        number integer,
        frames integer NOT NULL,
        header bytea NOT NULL,
        json bytea,
        organization text COLLATE "C" NOT NULL,
        peer text COLLATE "C" NOT NULL,
        received bigint NOT NULL
    )
    """,
    "CREATE INDEX instance_study_series ON instance (study_uid, series_uid)",
    "CREATE INDEX instance_blob ON instance (blob)",
    """
    CREATE TABLE unsettled (
        study_uid text COLLATE "C" PRIMARY KEY,
        mark bigint NOT NULL,
        folded bigint NOT NULL,
        since bigint NOT NULL,
        organization text COLLATE "C" NOT NULL
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE study (
        study_uid text COLLATE "C" PRIMARY KEY,
        imaging_study text COLLATE "C" NOT NULL,
        patient text COLLATE "C" NOT NULL,
        json bytea NOT NULL,
        series integer NOT NULL,
        instances integer NOT NULL,
        updated bigint NOT NULL
    )
    """,
    "CREATE INDEX study_imaging_study ON study (imaging_study)",
    """
    CREATE TABLE series (
        series_uid text COLLATE "C" NOT NULL,
        study_uid text COLLATE "C" NOT NULL,
        json bytea NOT NULL,
        number integer,
        instances integer NOT NULL,
        updated bigint NOT NULL,
        PRIMARY KEY (series_uid, study_uid)
    )
    """,
    "CREATE INDEX series_study ON series (study_uid)",
    """
    CREATE TABLE instance_conflict (
        sop_uid text COLLATE "C" NOT NULL,
        digest text COLLATE "C" NOT NULL,
        study_uid text COLLATE "C" NOT NULL,
        series_uid text COLLATE "C" NOT NULL,
        transfer_syntax text COLLATE "C" NOT NULL,
        size bigint NOT NULL,
        dataset_offset integer NOT NULL,
        blob text COLLATE "C" NOT NULL,
        reason text COLLATE "C" NOT NULL,
        organization text COLLATE "C" NOT NULL,
        peer text COLLATE "C" NOT NULL,
        received bigint NOT NULL,
        PRIMARY KEY (sop_uid, digest)
    )
    """,
    """
    CREATE TABLE peer (
        ae text COLLATE "C" PRIMARY KEY,
        host text COLLATE "C" NOT NULL,
        port integer NOT NULL,
        organization text COLLATE "C" NOT NULL,
        certificate text COLLATE "C",
        created bigint NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Create them."""
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop them, with all that is held."""
    for table in ("peer", "instance_conflict", "series", "study", "unsettled", "instance"):
        op.execute(f"DROP TABLE {table}")
