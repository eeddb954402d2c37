"""SQLModel table: the exports that were asked for, and how far each is.

HL7 Bulk Data Access 2.0, "Bulk Data Status Request".
"""

from sqlalchemy import ARRAY, BigInteger, Column
from sqlmodel import Field, SQLModel

from fhir_server.postgres.columns import KeyText


class Export(SQLModel, table=True):
    """One export. Instants are microseconds since 1970 UTC.

    `state` is accepted, running, complete, failed or cancelled. `beat` is when its worker was last
    known to be at it. `asker` is the principal as JSON; `patients` is null for an export that is
    not of certain patients. `manifest` is the answer when it is complete.
    """

    __tablename__ = "export"

    id: str = Field(sa_type=KeyText, primary_key=True)
    state: str = Field(sa_type=KeyText)
    requested: int = Field(sa_type=BigInteger)
    beat: int = Field(sa_type=BigInteger)
    expires: int = Field(sa_type=BigInteger)
    client: str = Field(sa_type=KeyText)
    organization: str = Field(sa_type=KeyText)
    asker: str = Field(sa_type=KeyText)
    address: str = Field(sa_type=KeyText)
    types: list[str] = Field(sa_column=Column(ARRAY(KeyText()), nullable=False))
    patients: list[str] | None = Field(sa_column=Column(ARRAY(KeyText()), nullable=True))
    about_patients: bool
    since: int = Field(sa_type=BigInteger)
    done: int = Field(sa_type=BigInteger)
    manifest: str | None = Field(sa_type=KeyText)
