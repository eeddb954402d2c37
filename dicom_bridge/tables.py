"""Tables of the DICOM bridge: instances, studies and series as QIDO answers them, conflicts, peers.

An instance row is durable before its sender hears success. The row of a study appears when the
study is settled for the first time; until then `unsettled` says that there is work to do.
Text is compared by code point (collation "C"), as DICOM compares UIDs and AE titles.
"""

from sqlalchemy import BigInteger, Column, Index, LargeBinary
from sqlmodel import Field, SQLModel

from fhir_server.postgres.columns import KeyText


class InstanceRow(SQLModel, table=True):
    """One SOP Instance that is held (PS3.3 Section C.12.1)."""

    __tablename__ = "instance"
    __table_args__ = (
        Index("instance_study_series", "study_uid", "series_uid"),
        Index("instance_blob", "blob"),
    )

    sop_uid: str = Field(sa_type=KeyText, primary_key=True)
    study_uid: str = Field(sa_type=KeyText)
    series_uid: str = Field(sa_type=KeyText)
    sop_class: str = Field(sa_type=KeyText)
    transfer_syntax: str = Field(sa_type=KeyText)
    digest: str = Field(sa_type=KeyText)
    """SHA-256 of the data set as it came, after the file meta information; hexadecimal."""
    size: int = Field(sa_type=BigInteger)
    """Bytes of the data set."""
    dataset_offset: int
    """Where the data set begins in the blob, in bytes."""
    blob: str = Field(sa_type=KeyText)
    """Key of the Part 10 file in `blobs`."""
    patient_id: str = Field(sa_type=KeyText)
    issuer: str = Field(sa_type=KeyText)
    accession: str = Field(sa_type=KeyText)
    accession_issuer: str = Field(sa_type=KeyText)
    modality: str = Field(sa_type=KeyText)
    series_number: int | None
    number: int | None
    frames: int
    """Number of Frames (0028,0008), 1 for an image without it, 0 for what is no image."""
    header: bytes
    """The attributes of `mapping.tags.HEADER`, as a JSON object by keyword."""
    json_: bytes | None = Field(default=None, sa_column=Column("json", LargeBinary))
    """The whole data set as DICOM JSON (PS3.18 Annex F), made when the study is settled."""
    layout: bytes | None = None
    """Where the frames are, as `layouts` writes it; made at the same time."""
    organization: str = Field(sa_type=KeyText)
    """Id of the Organization that sent it."""
    peer: str = Field(sa_type=KeyText)
    """`Principal.subject` of the sender."""
    received: int = Field(sa_type=BigInteger)


class UnsettledRow(SQLModel, table=True):
    """A study with instances that its ImagingStudy does not list yet."""

    __tablename__ = "unsettled"

    study_uid: str = Field(sa_type=KeyText, primary_key=True)
    mark: int = Field(sa_type=BigInteger)
    """Counts arrivals: what was read under an older mark is not all there is."""
    folded: int = Field(sa_type=BigInteger)
    """The mark up to which the ImagingStudy lists what arrived."""
    since: int = Field(sa_type=BigInteger)
    organization: str = Field(sa_type=KeyText)


class StudyRow(SQLModel, table=True):
    """A settled study: its ImagingStudy, and its row of a QIDO-RS answer."""

    __tablename__ = "study"
    __table_args__ = (Index("study_imaging_study", "imaging_study"),)

    study_uid: str = Field(sa_type=KeyText, primary_key=True)
    imaging_study: str = Field(sa_type=KeyText)
    """Id of the ImagingStudy."""
    patient: str = Field(sa_type=KeyText)
    """Id of the Patient."""
    json_: bytes = Field(sa_column=Column("json", LargeBinary, nullable=False))
    """DICOM JSON of PS3.18 Table 10.6.3-3 without Retrieve URL."""
    series: int
    instances: int
    updated: int = Field(sa_type=BigInteger)


class SeriesRow(SQLModel, table=True):
    """A settled series: its row of a QIDO-RS answer."""

    __tablename__ = "series"
    __table_args__ = (Index("series_study", "study_uid"),)

    series_uid: str = Field(sa_type=KeyText, primary_key=True)
    study_uid: str = Field(sa_type=KeyText, primary_key=True)
    json_: bytes = Field(sa_column=Column("json", LargeBinary, nullable=False))
    """DICOM JSON of PS3.18 Table 10.6.3-4 without Retrieve URL."""
    number: int | None
    instances: int
    updated: int = Field(sa_type=BigInteger)


class InstanceConflictRow(SQLModel, table=True):
    """A different object that came under a SOP Instance UID already held; both are kept."""

    __tablename__ = "instance_conflict"

    sop_uid: str = Field(sa_type=KeyText, primary_key=True)
    digest: str = Field(sa_type=KeyText, primary_key=True)
    study_uid: str = Field(sa_type=KeyText)
    series_uid: str = Field(sa_type=KeyText)
    transfer_syntax: str = Field(sa_type=KeyText)
    size: int = Field(sa_type=BigInteger)
    dataset_offset: int
    blob: str = Field(sa_type=KeyText)
    reason: str = Field(sa_type=KeyText)
    organization: str = Field(sa_type=KeyText)
    peer: str = Field(sa_type=KeyText)
    received: int = Field(sa_type=BigInteger)


class PeerRow(SQLModel, table=True):
    """A remote AE that may call us, and where it is found (PS3.8 Annex C)."""

    __tablename__ = "peer"

    ae: str = Field(sa_type=KeyText, primary_key=True)
    host: str = Field(sa_type=KeyText)
    port: int
    organization: str = Field(sa_type=KeyText)
    """Id of the Organization that it acts for."""
    certificate: str | None = Field(default=None, sa_type=KeyText)
    """SHA-256 fingerprint of its TLS certificate, hexadecimal; None: any, or plain DIMSE."""
    subject: str | None = Field(default=None, sa_type=KeyText)
    """Subject of its TLS certificate (RFC 4514), which outlasts a renewal; None: not looked at."""
    tls: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    """It comes over TLS or not at all, and is called over TLS."""
    informed: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    """It is told which instances are available (PS3.4 Annex R)."""
    destination: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    """It is the PACS of its organisation, which studies are sent to ahead of need."""
    dicomweb: str | None = Field(default=None, sa_type=KeyText)
    """Where its DICOMweb services are, if it is sent to over HTTP."""
    created: int = Field(sa_type=BigInteger)


class CommitmentRow(SQLModel, table=True):
    """A peer has asked that we commit ourselves to instances, and was not told yet (PS3.4 J)."""

    __tablename__ = "commitment"

    peer: str = Field(sa_type=KeyText, primary_key=True)
    """AE title of who asked."""
    transaction_uid: str = Field(sa_type=KeyText, primary_key=True)
    items: bytes
    """SOP Class and Instance UIDs, as a JSON array of pairs."""
    asked: int = Field(sa_type=BigInteger)
    attempts: int
    due: int = Field(sa_type=BigInteger)
    """When it is to be reported, or reported again."""
    lease_until: int | None = Field(default=None, sa_type=BigInteger)
    """Until then it is being reported by who took it."""


class AvailabilityRow(SQLModel, table=True):
    """A peer is to be told which instances of a study are available (PS3.4 Annex R)."""

    __tablename__ = "availability"

    peer: str = Field(sa_type=KeyText, primary_key=True)
    """AE title of whom to tell."""
    study_uid: str = Field(sa_type=KeyText, primary_key=True)
    noted: int = Field(sa_type=BigInteger)
    """When the study changed last: what was told of an older state is told again."""
    attempts: int
    due: int = Field(sa_type=BigInteger)
    lease_until: int | None = Field(default=None, sa_type=BigInteger)
    """Until then the peer is being told by who took it."""


class PerformedStepRow(SQLModel, table=True):
    """A General Purpose Performed Procedure Step, as its performer tells of it."""

    __tablename__ = "performed_step"

    uid: str = Field(sa_type=KeyText, primary_key=True)
    task: str = Field(sa_type=KeyText)
    """Id of the Task that is performed."""
    organization: str = Field(sa_type=KeyText)
    status: str = Field(sa_type=KeyText)
    json_: bytes = Field(sa_column=Column("json", LargeBinary, nullable=False))
    """Its attributes, as DICOM JSON."""


class OriginalRow(SQLModel, table=True):
    """An instance as it came, where what is given out of it was corrected since.

    The row of `instance` then leads to the corrected object; its digest stays that of what came.
    """

    __tablename__ = "original"
    __table_args__ = (
        Index("original_study", "study_uid"),
        Index("original_blob", "blob"),
    )

    sop_uid: str = Field(sa_type=KeyText, primary_key=True)
    study_uid: str = Field(sa_type=KeyText)
    patient_id: str = Field(sa_type=KeyText)
    issuer: str = Field(sa_type=KeyText)
    organization: str = Field(sa_type=KeyText)
    """Id of the Organization that sent it."""
    blob: str = Field(sa_type=KeyText)
    dataset_offset: int
    size: int = Field(sa_type=BigInteger)
    header: bytes
    corrected: int = Field(sa_type=BigInteger)


class ReportObjectRow(SQLModel, table=True):
    """An object that says what a DiagnosticReport says: made of it here, or the report of it."""

    __tablename__ = "report_object"
    __table_args__ = (Index("report_object_report", "report", "study_uid"),)

    sop_uid: str = Field(sa_type=KeyText, primary_key=True)
    report: str = Field(sa_type=KeyText)
    """Id of the DiagnosticReport."""
    version: int
    """The version that a made object says; 0 of an object that came."""
    study_uid: str = Field(sa_type=KeyText)
    kind: str = Field(sa_type=KeyText)
    """`sr` or `pdf`, made here; `came` for one that became the report."""
    made: int = Field(sa_type=BigInteger)


class AnnouncedRow(SQLModel, table=True):
    """An image that a modality says it has made, until it has arrived (PS3.4 Annex F)."""

    __tablename__ = "announced"
    __table_args__ = (Index("announced_sop", "sop_uid"),)

    procedure: str = Field(sa_type=KeyText, primary_key=True)
    """Id of the Procedure."""
    sop_uid: str = Field(sa_type=KeyText, primary_key=True)
    said: int = Field(sa_type=BigInteger)
    """When the modality said so last."""
    asked: bool = False
    """Somebody was asked for it since."""
