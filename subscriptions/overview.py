"""Overview: how far the subscriptions of an organisation are, in numbers.

How each of them is, `oversight` shows.
"""

from typing import Final, NamedTuple

from fhir_server.postgres.database import Database

BY_STATUS: Final = """
select s.status, count(*), sum(s.events - s.delivered)::bigint, min(e.instant), min(s.due)
from subscription as s left join lateral (
  select instant from subscription_event
  where subscription = s.id and number > s.delivered order by number limit 1
) as e on true
where s.organization = $1 and s.organization <> ''
group by s.status order by s.status
"""

MOST: Final = 10_000
"""Lines that are counted; where there are more, so many are told."""

BEHIND: Final = f"""
select f.name, case f.name
  when 'matcher' then (select count(*) from (select from change as c
    where (c.log, c.xid, c.key) > (f.log, f.xid::text::xid8, f.key) limit {MOST}) as lines)
  else (select count(*) from (select from audit as a
    where (a.log, a.xid, a.n) > (f.log, f.xid::text::xid8, f.key) limit {MOST}) as lines)
  end
from follower as f where f.name in ('matcher', 'acknowledgement') order by f.name
"""

JOBS: Final = """
select task_name, status::text, count(*) from procrastinate_jobs
where status in ('todo', 'doing', 'failed') group by task_name, status order by task_name, status
"""


class Group(NamedTuple):
    """Subscriptions of one status: their number, and the events that wait.

    `oldest` is when the first event that waits happened, `due` when something is tried next.
    """

    status: str
    number: int
    waiting: int
    oldest: int | None
    due: int | None


async def groups(database: Database, organization: str) -> list[Group]:
    """Count the subscriptions of an organisation by their status."""
    return [Group(*row) for row in await database.run(BY_STATUS, (organization,))]


async def behind(database: Database) -> list[tuple[str, int]]:
    """Say how many lines each follower of a log has not come to, up to `MOST`."""
    return [(name, number) for name, number in await database.run(BEHIND)]


async def jobs(database: Database) -> list[tuple[str, str, int]]:
    """Count the jobs that wait, are done now or have failed, by name."""
    return [(name, status, number) for name, status, number in await database.run(JOBS)]
