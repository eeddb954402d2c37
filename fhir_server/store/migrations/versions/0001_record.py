"""The record: versions, current state, index terms, relations, change log, audit, job queue.

The job queue is procrastinate's own schema as the installed release ships it; a later release
that changes it comes with a revision here that runs its migration.
"""

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0001"
down_revision = None
branch_labels = ("record",)
depends_on = None

RECORD = """
create sequence version_key as bigint cache 32;

create table version (
    key          bigint   primary key default nextval('version_key'),
    type         text     collate "C" not null,
    id           text     collate "C" not null,
    version      integer  not null,
    instant      bigint   not null,
    interaction  char(1)  not null,
    body         bytea,
    unique (type, id, version)
);
alter sequence version_key owned by version.key;

create table current (
    type           text     collate "C" not null,
    id             text     collate "C" not null,
    key            bigint   not null,
    version        integer  not null,
    instant        bigint   not null,
    deleted        boolean  not null,
    patient        text     collate "C",
    organizations  text[]   collate "C" not null,
    sort_at        bigint,
    sort_until     bigint,
    terms          text[]   collate "C" not null,
    primary key (type, id)
);
create index current_of_patient on current (type, patient, sort_at desc nulls last, key desc);
create index current_by_date    on current (type, sort_at desc nulls last, key desc);
create index current_by_instant on current (type, instant desc, key desc);
create index current_terms      on current using gin (terms) with (fastupdate = off);

create table date_term (
    type  text    collate "C" not null,
    code  text    collate "C" not null,
    low   bigint  not null,
    high  bigint  not null,
    key   bigint  not null,
    primary key (type, code, low, high, key)
);
create index date_term_key on date_term (key);

create table string_term (
    type   text    collate "C" not null,
    code   text    collate "C" not null,
    value  text    collate "C" not null,
    key    bigint  not null,
    primary key (type, code, value, key)
);
create index string_term_key on string_term (key);

create table relation (
    organization  text    collate "C" not null,
    patient       text    collate "C" not null,
    type          text    collate "C" not null,
    id            text    collate "C" not null,
    until         bigint  not null,
    primary key (organization, patient, type, id)
);

create table log (number integer primary key);
insert into log values (1);

create table change (
    instant      bigint   not null,
    xid          xid8     not null default pg_current_xact_id(),
    key          bigint   not null,
    log          integer  not null,
    type         text     collate "C" not null,
    id           text     collate "C" not null,
    interaction  char(1)  not null,
    primary key (instant, xid, key)
) partition by range (instant);
create index change_in_order on change (xid, key);
create table change_default partition of change default;
"""

LEDGER = """
create table audit (
    n             bigint   generated always as identity,
    instant       bigint   not null,
    log           integer  not null default 1,
    xid           xid8     not null default pg_current_xact_id(),
    interaction   text     collate "C" not null,
    outcome       integer  not null,
    subject       text     collate "C" not null,
    organization  text     collate "C",
    client        text     collate "C",
    role          text     collate "C" not null,
    origin        text     collate "C" not null,
    request       text     collate "C" not null,
    type          text     collate "C",
    id            text     collate "C",
    version       integer,
    patient       text     collate "C",
    query         text     collate "C",
    hits          integer,
    detail        text     collate "C",
    body          bytea,
    primary key (instant, n)
) partition by range (instant);
create index audit_in_order    on audit (log, xid, n);
create index audit_of_patient  on audit (patient, instant, n) where patient is not null;
create index audit_of_resource on audit (id, instant, n) where id is not null;
create table audit_default partition of audit default;

create table audit_seal (
    number   bigint  primary key,
    instant  bigint  not null,
    log      integer not null,
    xid      xid8    not null,
    n        bigint  not null,
    rows     bigint  not null,
    digest   bytea   not null
);
"""


def upgrade() -> None:
    """Create everything."""
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    for script in (RECORD, LEDGER, SchemaManager.get_schema()):
        connection.execute(script)
