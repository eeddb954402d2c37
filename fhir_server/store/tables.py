"""SQLModel tables: what is kept of a resource, what is current, and the log of changes.

=========== ====================================================================================
version     every state of every resource, byte for byte; only ever added to
current     the last state: where it is, who may see it, and its token and reference terms
date_term   periods of the current state, for date parameters
string_term folded texts of the current state, for string parameters
value_term  numbers, quantities, composites and places of the current state
index_built which rules and which parameters of clients the index was made by
relation    which organisation is party to which resource about which patient, and how far
withheld    what a patient's dissent, or a label, keeps from other organisations
granted     which organisation may read which resource, because a Consent says so
sharing     which organisation lets which other read what it creates
maker       which organisations made the series of an ImagingStudy, in any of its versions
change      the change log: one line a version, read in order by those who follow it
log         the number of this log; a new number after a restore (see `changes`)
=========== ====================================================================================

Instants are microseconds since 1970 UTC. Text that is a key is compared byte by byte. A version
key comes from a sequence: it has gaps and does not follow the order of commits.

References
----------
* FHIR http, "Resource Metadata and Versioning"; "history"
* PostgreSQL documentation: "Table Partitioning", "GIN Indexes"
"""

from decimal import Decimal

from sqlalchemy import (
    ARRAY,
    CHAR,
    BigInteger,
    Column,
    Index,
    Numeric,
    UniqueConstraint,
    desc,
    text,
)
from sqlmodel import Field, SQLModel

from fhir_server.postgres.columns import BY_MONTH, KeyText, Xid8

NOT_ENDED = 2**63 - 1
"""`Relation.until` of a relation that has not ended."""


class Version(SQLModel, table=True):
    """One state of one resource. A deletion is a version without a body."""

    __tablename__ = "version"
    __table_args__ = (UniqueConstraint("type", "id", "version"),)

    key: int = Field(
        sa_type=BigInteger,
        primary_key=True,
        sa_column_kwargs={
            "autoincrement": False,
            "server_default": text("nextval('version_key'::regclass)"),
        },
    )
    type: str = Field(sa_type=KeyText)
    id: str = Field(sa_type=KeyText)
    version: int
    instant: int = Field(sa_type=BigInteger)
    interaction: str = Field(sa_column=Column(CHAR(1), nullable=False))
    body: bytes | None = None


class Current(SQLModel, table=True):
    """The last state of one resource, without its bytes.

    `patient` and `organizations` say who may see it; `sort_at` and `sort_until` are the period
    of the type's chief date; `terms` are what token, reference and URI parameters match; `texts`
    are what the modifiers ``:text`` and ``:of-type`` look at.
    """

    __tablename__ = "current"
    __table_args__ = (
        Index("current_of_patient", "type", "patient", desc("sort_at").nulls_last(), desc("key")),
        Index("current_by_date", "type", desc("sort_at").nulls_last(), desc("key")),
        Index("current_by_instant", "type", desc("instant"), desc("key")),
        Index(
            "current_terms", "terms", postgresql_using="gin", postgresql_with={"fastupdate": False}
        ),
    )

    type: str = Field(sa_type=KeyText, primary_key=True)
    id: str = Field(sa_type=KeyText, primary_key=True)
    key: int = Field(sa_type=BigInteger)
    version: int
    instant: int = Field(sa_type=BigInteger)
    deleted: bool
    patient: str | None = Field(sa_type=KeyText)
    organizations: list[str] = Field(sa_column=Column(ARRAY(KeyText()), nullable=False))
    sort_at: int | None = Field(sa_type=BigInteger)
    sort_until: int | None = Field(sa_type=BigInteger)
    terms: list[str] = Field(sa_column=Column(ARRAY(KeyText()), nullable=False))
    texts: str | None = Field(sa_type=KeyText)


class DateTerm(SQLModel, table=True):
    """The period that one value of a date parameter covers; both ends included."""

    __tablename__ = "date_term"
    __table_args__ = (Index("date_term_key", "key"),)

    type: str = Field(sa_type=KeyText, primary_key=True)
    code: str = Field(sa_type=KeyText, primary_key=True)
    low: int = Field(sa_type=BigInteger, primary_key=True)
    high: int = Field(sa_type=BigInteger, primary_key=True)
    key: int = Field(sa_type=BigInteger, primary_key=True)


class StringTerm(SQLModel, table=True):
    """One folded text (lower case, no accents) of a string parameter.

    `originals` are the texts as they are written, between `terms.MARK`; null where the one text is
    written as it is folded.
    """

    __tablename__ = "string_term"
    __table_args__ = (Index("string_term_key", "key"),)

    type: str = Field(sa_type=KeyText, primary_key=True)
    code: str = Field(sa_type=KeyText, primary_key=True)
    value: str = Field(sa_type=KeyText, primary_key=True)
    key: int = Field(sa_type=BigInteger, primary_key=True)
    originals: str | None = Field(sa_type=KeyText)


class ValueTerm(SQLModel, table=True):
    """One value: its words (units, words of a composite's parts) and up to two ranges."""

    __tablename__ = "value_term"
    __table_args__ = (
        Index("value_term_low", "type", "code", "low", "high"),
        Index(
            "value_term_words", "words", postgresql_using="gin",
            postgresql_with={"fastupdate": False},
        ),
    )  # fmt: skip

    key: int = Field(sa_type=BigInteger, primary_key=True)
    code: str = Field(sa_type=KeyText, primary_key=True)
    n: int = Field(primary_key=True)
    type: str = Field(sa_type=KeyText)
    words: list[str] = Field(sa_column=Column(ARRAY(KeyText()), nullable=False))
    low: Decimal | None = Field(sa_type=Numeric)
    high: Decimal | None = Field(sa_type=Numeric)
    low2: Decimal | None = Field(sa_type=Numeric)
    high2: Decimal | None = Field(sa_type=Numeric)


class IndexBuilt(SQLModel, table=True):
    """What the index holds: by the rules of this server (an empty name), or a client's parameter.

    The name of a parameter is its id, `digest` is of the rules or of the definition, `types` are
    those whose resources it concerns.
    """

    __tablename__ = "index_built"

    name: str = Field(sa_type=KeyText, primary_key=True)
    digest: str = Field(sa_type=KeyText)
    types: list[str] = Field(sa_column=Column(ARRAY(KeyText()), nullable=False))


class Relation(SQLModel, table=True):
    """An organisation is party to a resource about a patient, until an instant.

    One that is `limited` lets it add to the record, and see no more than its own and what it is
    granted.
    """

    __tablename__ = "relation"

    organization: str = Field(sa_type=KeyText, primary_key=True)
    patient: str = Field(sa_type=KeyText, primary_key=True)
    type: str = Field(sa_type=KeyText, primary_key=True)
    id: str = Field(sa_type=KeyText, primary_key=True)
    until: int = Field(sa_type=BigInteger)
    limited: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})


class Withheld(SQLModel, table=True):
    """Something about a patient is kept from an organisation, for a time.

    An empty `organization` is all of them, ``*`` says that it is not released yet, an empty `type`
    and `id` all there is of the patient; `by_type` and `by_id` are the Consent that says so, or
    what bears the label.
    """

    __tablename__ = "withheld"
    __table_args__ = (Index("withheld_by", "by_type", "by_id"),)

    patient: str = Field(sa_type=KeyText, primary_key=True)
    organization: str = Field(sa_type=KeyText, primary_key=True)
    by_type: str = Field(sa_type=KeyText, primary_key=True)
    by_id: str = Field(sa_type=KeyText, primary_key=True)
    type: str = Field(sa_type=KeyText)
    id: str = Field(sa_type=KeyText, primary_key=True)
    since: int = Field(sa_type=BigInteger)
    until: int = Field(sa_type=BigInteger)


class Granted(SQLModel, table=True):
    """An organisation may read one resource about a patient, for a time; by a Consent's id.

    `creator` is the organisation that grants it; empty for the server.
    """

    __tablename__ = "granted"
    __table_args__ = (Index("granted_by", "by_id"),)

    organization: str = Field(sa_type=KeyText, primary_key=True)
    type: str = Field(sa_type=KeyText, primary_key=True)
    id: str = Field(sa_type=KeyText, primary_key=True)
    by_id: str = Field(sa_type=KeyText, primary_key=True)
    patient: str = Field(sa_type=KeyText)
    creator: str = Field(sa_type=KeyText)
    since: int = Field(sa_type=BigInteger)
    until: int = Field(sa_type=BigInteger)


class Sharing(SQLModel, table=True):
    """What `creator` creates may be read by `organization`, for a time; by an affiliation's id."""

    __tablename__ = "sharing"
    __table_args__ = (Index("sharing_by", "by_id"),)

    organization: str = Field(sa_type=KeyText, primary_key=True)
    creator: str = Field(sa_type=KeyText, primary_key=True)
    by_id: str = Field(sa_type=KeyText, primary_key=True)
    since: int = Field(sa_type=BigInteger)
    until: int = Field(sa_type=BigInteger)


class Maker(SQLModel, table=True):
    """An organisation made some of an ImagingStudy; an empty one is not known."""

    __tablename__ = "maker"

    id: str = Field(sa_type=KeyText, primary_key=True)
    organization: str = Field(sa_type=KeyText, primary_key=True)


class Change(SQLModel, table=True):
    """One line of the change log: this version was written by that transaction."""

    __tablename__ = "change"
    __table_args__ = (
        Index("change_in_order", "xid", "key"),
        Index("change_of_type", "type", "instant", "xid", "key"),
        BY_MONTH,
    )

    instant: int = Field(sa_type=BigInteger, primary_key=True)
    xid: int = Field(
        sa_type=Xid8,
        primary_key=True,
        sa_column_kwargs={"server_default": text("pg_current_xact_id()")},
    )
    key: int = Field(sa_type=BigInteger, primary_key=True)
    log: int
    type: str = Field(sa_type=KeyText)
    id: str = Field(sa_type=KeyText)
    interaction: str = Field(sa_column=Column(CHAR(1), nullable=False))


class Log(SQLModel, table=True):
    """The number of the present change log, one row."""

    __tablename__ = "log"

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
