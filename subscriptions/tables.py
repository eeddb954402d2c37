"""SQLModel tables: who wants to know what, what has happened for them, and how far that is sent.

================== =============================================================================
subscription       what is wanted and by whom, how many events there were, how far they are sent
subscription_term  by which index terms the matcher finds a subscription
subscription_event the events, numbered without a gap for each subscription
follower           how far those who follow the change log have come
websocket_token    what lets a socket be bound to subscriptions
================== =============================================================================

Instants are microseconds since 1970 UTC, durations seconds. `subscription.events` and the events
are written by the matcher alone, in one transaction with its cursor; `delivered`, `attempts`,
`lease_until`, `holder`, `last_sent` and `last_error` by those who deliver.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0; FHIR R4 subscription
"""

from sqlalchemy import ARRAY, CHAR, BigInteger, Column, Index, text
from sqlmodel import Field, SQLModel

from fhir_server.postgres.columns import KeyText


class Subscription(SQLModel, table=True):
    """One subscription, as the present version of its resource says it.

    `topic` is empty for one by plain criteria. `type` is the type that it is about. `criteria` are
    the filters (or the one criteria) as a JSON array; `payload_type` is empty where nothing is to
    be sent. `principal` is who made it, `authorized` the authorisation that their token came from,
    if it came from one. `due` is when delivery shall look at it again: never, where it is null.
    Events are counted, whatever the status, while `started` is not 0: from when it became active
    until it is switched off; `since_log` and `since_xid` are the place in the change log where
    that began. `ending` is `Subscription.end`.
    """

    __tablename__ = "subscription"
    __table_args__ = (
        Index("subscription_due", "due", postgresql_where=text("due is not null")),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: str = Field(sa_type=KeyText, primary_key=True)
    version: int = Field(sa_type=BigInteger)
    status: str = Field(sa_type=KeyText)
    topic: str = Field(sa_type=KeyText)
    type: str = Field(sa_type=KeyText)
    criteria: str = Field(sa_type=KeyText)
    channel: str = Field(sa_type=KeyText)
    endpoint: str = Field(sa_type=KeyText)
    headers: list[str] = Field(sa_column=Column(ARRAY(KeyText()), nullable=False))
    payload_type: str = Field(sa_type=KeyText)
    content: str = Field(sa_type=KeyText)
    heartbeat: int | None = Field(sa_type=BigInteger)
    timeout: int = Field(sa_type=BigInteger)
    max_count: int = Field(sa_type=BigInteger)
    principal: str = Field(sa_type=KeyText)
    authorized: str = Field(sa_type=KeyText, sa_column_kwargs={"server_default": ""})
    organization: str = Field(sa_type=KeyText)
    events: int = Field(sa_type=BigInteger)
    delivered: int = Field(sa_type=BigInteger)
    attempts: int = Field(sa_type=BigInteger)
    due: int | None = Field(sa_type=BigInteger)
    lease_until: int | None = Field(sa_type=BigInteger)
    holder: str = Field(sa_type=KeyText, sa_column_kwargs={"server_default": ""})
    last_sent: int | None = Field(sa_type=BigInteger)
    last_error: str | None = Field(sa_type=KeyText)
    started: int = Field(sa_type=BigInteger)
    since_log: int = Field(sa_type=BigInteger)
    since_xid: int = Field(sa_type=BigInteger)
    ending: int | None = Field(sa_type=BigInteger)


class SubscriptionTerm(SQLModel, table=True):
    """A subscription can fire only for a change that has one of its terms."""

    __tablename__ = "subscription_term"
    __table_args__ = (Index("subscription_term_of", "subscription"),)

    term: str = Field(sa_type=KeyText, primary_key=True)
    subscription: str = Field(sa_type=KeyText, primary_key=True)


class SubscriptionEvent(SQLModel, table=True):
    """One event of one subscription: this version fired it. `interaction` is C, U or D."""

    __tablename__ = "subscription_event"
    __table_args__ = (Index("subscription_event_instant", "instant", postgresql_using="brin"),)

    subscription: str = Field(sa_type=KeyText, primary_key=True)
    number: int = Field(
        sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False}
    )
    instant: int = Field(sa_type=BigInteger)
    topic: str = Field(sa_type=KeyText)
    interaction: str = Field(sa_column=Column(CHAR(1), nullable=False))
    type: str = Field(sa_type=KeyText)
    id: str = Field(sa_type=KeyText)
    version: int = Field(sa_type=BigInteger)
    key: int = Field(sa_type=BigInteger)


class Follower(SQLModel, table=True):
    """Where in the change log somebody who follows it is (`store.changes.Cursor`)."""

    __tablename__ = "follower"

    name: str = Field(sa_type=KeyText, primary_key=True)
    log: int = Field(sa_type=BigInteger)
    xid: int = Field(sa_type=BigInteger)
    key: int = Field(sa_type=BigInteger)


class WebsocketToken(SQLModel, table=True):
    """What lets a socket be bound; only the digest of the token is kept."""

    __tablename__ = "websocket_token"

    digest: str = Field(sa_type=KeyText, primary_key=True)
    subscriptions: list[str] = Field(sa_column=Column(ARRAY(KeyText()), nullable=False))
    principal: str = Field(sa_type=KeyText)
    withdrawable: list[str] = Field(sa_column=Column(ARRAY(KeyText()), nullable=False))
    expires: int = Field(sa_type=BigInteger)
