"""SQLModel tables: what Unified Procedure Steps have beside their Tasks, and who hears of them.

================== =============================================================================
workitem           what was said of a UPS that no Task can say, and the lock of who performs it
ups_subscription   which AE wants to hear of which UPS, or of all
================== =============================================================================

References
----------
* PS3.4 Annex CC; docs/adr on Unified Procedure Steps
"""

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from fhir_server.postgres.columns import KeyText


class WorkitemRow(SQLModel, table=True):
    """One UPS that something was said of over DICOM, or whose UID does not tell its Task."""

    __tablename__ = "workitem"

    uid: str = Field(sa_type=KeyText, primary_key=True)
    task: str = Field(sa_type=KeyText, unique=True)
    """Id of its Task."""
    kept: bytes
    """DICOM JSON of what the Task cannot say."""
    lock: str = Field(sa_type=KeyText)
    """Digest of the Transaction UID it was taken with; empty: it was not, or not by DICOM."""
    held: int = Field(sa_type=BigInteger)
    """Version of the Task that was the last to be written under that lock."""


class UpsSubscriptionRow(SQLModel, table=True):
    """An AE subscribes to one UPS, or to all, or to one no more."""

    __tablename__ = "ups_subscription"

    ae: str = Field(sa_type=KeyText, primary_key=True)
    whose: str = Field(sa_type=KeyText, primary_key=True)
    """Id of the Organization of a peer; else who made it up, as `gate.party` says it."""
    task: str = Field(sa_type=KeyText, primary_key=True)
    """Id of the Task; empty: the global subscription."""
    state: str = Field(sa_type=KeyText)
    """``on``; ``off`` for one that it left while it subscribes to all; ``suspended`` for all."""
    filter: bytes
    """DICOM JSON of the keys of a filtered subscription; empty: no filter."""
    changed: int = Field(sa_type=BigInteger)
    """When: of what is suspended, what was made before is still told of."""
