"""SQLModel tables: the audit ledger and the seals on it.

A row of `audit` says who did what to which resource, when, from where and how it ended. Rows
are only ever added. `audit_seal` chains them: see `fhir_server.audit.seal`.

References
----------
* IHE BALP (Basic Audit Log Patterns), "Audit Event Content"
* DICOM PS3.15 Annex A.5
"""

from sqlalchemy import BigInteger, Column, Identity, Index, text
from sqlmodel import Field, SQLModel

from fhir_server.postgres.columns import BY_MONTH, KeyText, Xid8


class Audit(SQLModel, table=True):
    """One line of the ledger.

    `outcome` is a code of AuditEvent.outcome: 0, 4, 8 or 12. `query` is the search as asked.
    `hits` is the number of resources disclosed or matched. `detail` is why it was refused.
    `body` is an AuditEvent received from outside, as it came. `purpose` is a key of
    `access.purposes.PURPOSES`. `log` and `xid` order the chain.
    """

    __tablename__ = "audit"
    __table_args__ = (
        Index("audit_in_order", "log", "xid", "n"),
        Index(
            "audit_of_patient",
            "patient",
            "instant",
            "n",
            postgresql_where=text("patient is not null"),
        ),
        Index("audit_of_resource", "id", "instant", "n", postgresql_where=text("id is not null")),
        BY_MONTH,
    )

    instant: int = Field(sa_type=BigInteger, primary_key=True)
    n: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    log: int = Field(sa_column_kwargs={"server_default": text("1")})
    xid: int = Field(
        sa_type=Xid8, sa_column_kwargs={"server_default": text("pg_current_xact_id()")}
    )
    interaction: str = Field(sa_type=KeyText)
    outcome: int
    subject: str = Field(sa_type=KeyText)
    organization: str | None = Field(sa_type=KeyText)
    client: str | None = Field(sa_type=KeyText)
    role: str = Field(sa_type=KeyText)
    origin: str = Field(sa_type=KeyText)
    request: str = Field(sa_type=KeyText)
    type: str | None = Field(sa_type=KeyText)
    id: str | None = Field(sa_type=KeyText)
    version: int | None
    patient: str | None = Field(sa_type=KeyText)
    query: str | None = Field(sa_type=KeyText)
    hits: int | None
    detail: str | None = Field(sa_type=KeyText)
    body: bytes | None
    purpose: str | None = Field(sa_type=KeyText)


class AuditSeal(SQLModel, table=True):
    """One link of the chain: so many rows, in (log, xid, n) order, and the digest over them.

    `digest` is over the digest of the link before and over the rows after that link's last row
    up to this one's (`log`, `xid`, `n`).
    """

    __tablename__ = "audit_seal"

    number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    instant: int = Field(sa_type=BigInteger)
    log: int
    xid: int = Field(sa_type=Xid8)
    n: int = Field(sa_type=BigInteger)
    rows: int = Field(sa_type=BigInteger)
    digest: bytes


class SyslogCursor(SQLModel, table=True):
    """How far a syslog receiver has got: the last row it has taken."""

    __tablename__ = "syslog_cursor"

    receiver: str = Field(sa_type=KeyText, primary_key=True)
    log: int
    xid: int = Field(sa_type=Xid8)
    n: int = Field(sa_type=BigInteger)
