"""Values: numbers, quantities, composites and places; texts and originals; what the index holds.

What is in the database already is indexed anew by the worker, which finds that `index_built` does
not name the present rules.
"""

from alembic import op

revision = "0012"
down_revision = "0001"
branch_labels = None
depends_on = None

VALUES = """
alter table current add column texts text collate "C";
alter table string_term add column originals text collate "C";

create table value_term (
    type   text     collate "C" not null,
    code   text     collate "C" not null,
    words  text[]   collate "C" not null,
    low    numeric,
    high   numeric,
    low2   numeric,
    high2  numeric,
    key    bigint   not null,
    n      integer  not null,
    primary key (key, code, n)
);
create index value_term_low   on value_term (type, code, low, high);
create index value_term_words on value_term using gin (words) with (fastupdate = off);

create table index_built (
    name    text  collate "C" primary key,
    digest  text  collate "C" not null,
    types   text[] collate "C" not null
);
"""


def upgrade() -> None:
    """Create it."""
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(VALUES)
