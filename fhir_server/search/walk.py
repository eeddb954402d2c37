"""Walk an index in the order asked for until the page is full, and collect all matches if not.

The statement of a query that very many rows meet has these steps before its page::

    w      of the next `FARTHEST` rows in order those that match, up to one more than the page has
    ok     whether that is the page: it is full, or the type has no more rows
    m      all matches, as always; asked for only where it is not ok

One statement, so that the gate, the page and the audit row are one as everywhere.

References
----------
* PostgreSQL documentation: "WITH Queries" (a step that nothing asks for is not run)
"""

from collections.abc import Sequence
from typing import Final

from fhir_server.search.page import Key

FARTHEST: Final = 20_000
"""Rows looked at in order before all matches are collected instead."""

ABOUT: Final = "(select c.patient)"
"""The patient of a row, as the gate is to look a relation up: behind a ``select``, which keeps the
planner from reading all relations of the organisation for a few rows."""


def steps(
    type: str, keys: Sequence[Key], after: Sequence[str], conditions: str, size: str
) -> list[str]:
    """Write the steps w and ok.

    Parameters
    ----------
    keys
        A column that has an index, and the tie-break.
    after
        The placeholders of the position after which the page begins, if it does not at the start.
    conditions
        What a row of `current` called ``c`` must meet.
    """
    first, second = (key.value for key in keys)
    down = " desc" if keys[0].descending else ""
    where = f"c.type = '{type}'"
    if keys[0].nullable:
        where += f" and {first} is not null"
    if after:
        where += f" and ({first}, {second}) {'<' if down else '>'} ({', '.join(after)})"
    # of those that have a value "nulls" says nothing of the order, but it names that of the index
    nulls = f" nulls {'last' if down else 'first'}" if keys[0].nullable else ""
    order = f"{first}{down}{nulls}, {second}{down}"
    rows = f"(select * from current c where {where} order by {order} limit {FARTHEST}) c"
    ok = f"(select count(*) from w) > {size}"
    if not keys[0].nullable:
        ok += f" or not exists(select from current c where {where} offset {FARTHEST})"
    return [
        f"w as materialized (select c.id, c.key, {first} as s1, {second} as s2 from {rows}"
        f" where not c.deleted and {conditions} order by {order} limit {size} + 1)",
        f"ok as materialized (select {ok} as is_page)",
    ]
