"""Count: one statement over the ledger, one over the Provenance of the record.

Whoever may search AuditEvents may count them, and no further than they could search.

References
----------
* R014.4 of the requirements; docs/governance.md, "Counting"
* PostgreSQL documentation: "Query Planning", "Resource Consumption", "Parallel Query"
"""

import asyncio
from typing import Final

from fhir_server.access import gate
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Row, Statement
from fhir_server.reports import accesses, acts, periods
from fhir_server.reports.measures import ACCESSES, ACTS, Asked, Line
from fhir_server.reports.parts import Parameters
from resources.errors import Exhausted, Forbidden

SETTINGS: Final = """
select set_config(name, value, true) from (values
    ('work_mem', '128MB'), ('enable_mergejoin', 'off'), ('enable_sort', 'off'),
    ('enable_parallel_hash', 'off'),
    ('parallel_setup_cost', '0'), ('parallel_tuple_cost', '0')) as of_reports(name, value)
"""
"""Of a report: what a month holds is grouped and joined in memory, and read by several processes.

PostgreSQL cannot know how many different things a month has touched; it would sort them all. A
table in shared memory it does not build: many containers have little of that."""

SECONDS: Final = 20.0
"""A report may take longer than a search: who asks for one waits for it."""


async def count(database: Database, context: RequestContext, asked: Asked) -> list[Line]:
    """Count what is asked for, as far as the asker may see it.

    Raises
    ------
    Forbidden
        Scope or role do not let the asker search AuditEvents, or only some of them.
    Exhausted
        It took too long.
    """
    reach = gate.reach(context, "s", "AuditEvent")
    if reach.only:
        raise Forbidden("the scopes grant only some AuditEvents", step="scope")
    statements: list[Statement] = []
    if done := [row for row in ACTS if row.measure in asked.measures]:
        params: Parameters = []
        statements.append((acts.statement(done, reach, asked, params), params))
    if seen := [row for row in ACCESSES if row.measure in asked.measures]:
        params = []
        statements.append((accesses.statement(seen, reach, context, asked, params), params))
    try:
        async with asyncio.timeout(SECONDS):
            answers = await asyncio.gather(*(_asked(database, each) for each in statements))
    except TimeoutError:
        raise Exhausted("Ask for a shorter period or fewer measures.", code="too-costly") from None
    rows = [row for answer in answers for row in answer]
    order = {measure: n for n, measure in enumerate(asked.measures)}
    lines = [_line(row, asked) for row in rows]
    return sorted(lines, key=lambda line: (order[line.measure], line.values or ()))


async def _asked(database: Database, statement: Statement) -> list[Row]:
    """Ask one statement with the settings that it needs; two are asked at the same time."""
    async with database.transaction() as transaction:
        await transaction.run(SETTINGS)
        return await transaction.run(*statement)


def _line(row: Row, asked: Asked) -> Line:
    measure, total, *values, number = row
    if total:
        return Line(measure, None, number)
    told = zip(asked.by, values, strict=True)
    return Line(measure, tuple(_value(name, value or "", asked) for name, value in told), number)


def _value(name: str, value: str, asked: Asked) -> str:
    if name == "period":
        return periods.named(asked.period, asked.starts[int(value) - 1])
    if name in ("organization", "creator") and value:
        return f"Organization/{value}"
    return value
