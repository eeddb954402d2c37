"""Tables of the DICOM bridge: instances, studies and series as QIDO answers them, conflicts, peers.

An instance row is durable before its sender hears success. The row of a study appears when the
study is settled for the first time; until then `unsettled` says that there is work to do.
Text is compared by code point (collation "C"), as DICOM compares UIDs and AE titles.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Text
from sqlmodel import Field, SQLModel


def _text(*, primary_key: bool = False, nullable: bool = False) -> Column[Any]:
    return Column(Text(collation="C"), primary_key=primary_key, nullable=nullable)


def _bytes(*, nullable: bool = False) -> Column[Any]:
    return Column(LargeBinary, nullable=nullable)


def _instant() -> Column[Any]:
    return Column(BigInteger, nullable=False)


class InstanceRow(SQLModel, table=True):
    """One SOP Instance that is held (PS3.3 Section C.12.1)."""

    __tablename__ = "instance"
    __table_args__ = (
        Index("instance_study_series", "study_uid", "series_uid"),
        Index("instance_blob", "blob"),
    )

    sop_uid: str = Field(sa_column=_text(primary_key=True))
    study_uid: str = Field(sa_column=_text())
    series_uid: str = Field(sa_column=_text())
    sop_class: str = Field(sa_column=_text())
    transfer_syntax: str = Field(sa_column=_text())
    digest: str = Field(sa_column=_text())
    """SHA-256 of the data set as it came, after the file meta information; hexadecimal."""
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Bytes of the data set."""
    dataset_offset: int
    """Where the data set begins in the blob, in bytes."""
    blob: str = Field(sa_column=_text())
    """Key of the Part 10 file in `blobs`."""
    patient_id: str = Field(sa_column=_text())
    issuer: str = Field(sa_column=_text())
    accession: str = Field(sa_column=_text())
    accession_issuer: str = Field(sa_column=_text())
    modality: str = Field(sa_column=_text())
    series_number: int | None
    number: int | None
    frames: int
    """Number of Frames (0028,0008), 1 for an image without it, 0 for what is no image."""
    header: bytes = Field(sa_column=_bytes())
    """The attributes of `mapping.tags.HEADER`, as a JSON object by keyword."""
    json_: bytes | None = Field(default=None, sa_column=Column("json", LargeBinary))
    """The whole data set as DICOM JSON (PS3.18 Annex F), made when the study is settled."""
    organization: str = Field(sa_column=_text())
    """Id of the Organization that sent it."""
    peer: str = Field(sa_column=_text())
    """`Principal.subject` of the sender."""
    received: int = Field(sa_column=_instant())


class UnsettledRow(SQLModel, table=True):
    """A study with instances that its ImagingStudy does not list yet."""

    __tablename__ = "unsettled"

    study_uid: str = Field(sa_column=_text(primary_key=True))
    mark: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Counts arrivals: what was read under an older mark is not all there is."""
    folded: int = Field(sa_column=Column(BigInteger, nullable=False))
    """The mark up to which the ImagingStudy lists what arrived."""
    since: int = Field(sa_column=_instant())
    organization: str = Field(sa_column=_text())


class StudyRow(SQLModel, table=True):
    """A settled study: its ImagingStudy, and its row of a QIDO-RS answer."""

    __tablename__ = "study"
    __table_args__ = (Index("study_imaging_study", "imaging_study"),)

    study_uid: str = Field(sa_column=_text(primary_key=True))
    imaging_study: str = Field(sa_column=_text())
    """Id of the ImagingStudy."""
    patient: str = Field(sa_column=_text())
    """Id of the Patient."""
    json_: bytes = Field(sa_column=Column("json", LargeBinary, nullable=False))
    """DICOM JSON of PS3.18 Table 10.6.3-3 without Retrieve URL."""
    series: int
    instances: int
    updated: int = Field(sa_column=_instant())


class SeriesRow(SQLModel, table=True):
    """A settled series: its row of a QIDO-RS answer."""

    __tablename__ = "series"
    __table_args__ = (Index("series_study", "study_uid"),)

    series_uid: str = Field(sa_column=_text(primary_key=True))
    study_uid: str = Field(sa_column=_text(primary_key=True))
    json_: bytes = Field(sa_column=Column("json", LargeBinary, nullable=False))
    """DICOM JSON of PS3.18 Table 10.6.3-4 without Retrieve URL."""
    number: int | None
    instances: int
    updated: int = Field(sa_column=_instant())


class InstanceConflictRow(SQLModel, table=True):
    """A different object that came under a SOP Instance UID already held; both are kept."""

    __tablename__ = "instance_conflict"

    sop_uid: str = Field(sa_column=_text(primary_key=True))
    digest: str = Field(sa_column=_text(primary_key=True))
    study_uid: str = Field(sa_column=_text())
    series_uid: str = Field(sa_column=_text())
    transfer_syntax: str = Field(sa_column=_text())
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    dataset_offset: int
    blob: str = Field(sa_column=_text())
    reason: str = Field(sa_column=_text())
    organization: str = Field(sa_column=_text())
    peer: str = Field(sa_column=_text())
    received: int = Field(sa_column=_instant())


class PeerRow(SQLModel, table=True):
    """A remote AE that may call us, and where it is found (PS3.8 Annex C)."""

    __tablename__ = "peer"

    ae: str = Field(sa_column=_text(primary_key=True))
    host: str = Field(sa_column=_text())
    port: int
    organization: str = Field(sa_column=_text())
    """Id of the Organization that it acts for."""
    certificate: str | None = Field(default=None, sa_column=_text(nullable=True))
    """SHA-256 fingerprint of its TLS certificate, hexadecimal; None: plain DIMSE."""
    created: int = Field(sa_column=_instant())
