"""SQLModel tables: what is to be sent ahead, what each Task covers, and what has been taken.

================= ==============================================================================
prefetch          a Task(prefetch) that is not at its end, and when it is tried next
prefetch_covered  which Task brings a study, as it then was, to a peer for what is scheduled
prefetch_sent     an object that a peer has said it took, in which of its states
================= ==============================================================================

References
----------
* R003.2 to R003.4 of the requirements; docs/representation.md, "Prefetch"
"""

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from fhir_server.postgres.columns import KeyText


class PrefetchRow(SQLModel, table=True):
    """A Task that is to be done; gone once it has ended."""

    __tablename__ = "prefetch"

    task: str = Field(sa_type=KeyText, primary_key=True)
    """Id of the Task."""
    peer: str = Field(sa_type=KeyText)
    """AE title of the destination."""
    deadline: int = Field(sa_type=BigInteger)
    """When it is needed: the most urgent goes first."""
    attempts: int
    due: int = Field(sa_type=BigInteger)
    """When it is tried, or tried again."""
    lease_until: int | None = Field(default=None, sa_type=BigInteger)
    """Until when it is nobody else's, while somebody is at it."""


class PrefetchCoveredRow(SQLModel, table=True):
    """A study that a Task brings for what is scheduled."""

    __tablename__ = "prefetch_covered"

    trigger: str = Field(sa_type=KeyText, primary_key=True)
    """What is scheduled, as ``Type/id``."""
    peer: str = Field(sa_type=KeyText, primary_key=True)
    imaging_study: str = Field(sa_type=KeyText, primary_key=True)
    state: str = Field(sa_type=KeyText)
    """SHA-256 of its objects and the digests of their bytes: a later state is brought too."""
    task: str = Field(sa_type=KeyText)
    """Id of the Task."""


class PrefetchSentRow(SQLModel, table=True):
    """An object that a peer took."""

    __tablename__ = "prefetch_sent"

    peer: str = Field(sa_type=KeyText, primary_key=True)
    sop_uid: str = Field(sa_type=KeyText, primary_key=True)
    blob: str = Field(sa_type=KeyText)
    """Digest of the bytes that were sent: an object that was corrected since is sent again."""
