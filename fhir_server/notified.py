"""Notified: which Tasks were told to subscribers since last time, as their delivery says.

A notification that an endpoint has taken is a receipt for the Task that it is about. How far each
subscription was looked at is kept among the followers.
"""

from typing import Final, NamedTuple

from fhir_server.postgres.database import Database, Integers, Texts

AT_ONCE: Final = 1000

_NAME: Final = "'receipts/' || s.id"

TOLD: Final = f"""
select s.id, e.number, e.id, s.organization, s.last_sent
from subscription as s
left join follower as f on f.name = {_NAME}
cross join lateral (
    select e.number, e.id from subscription_event as e
    where e.subscription = s.id and e.number > coalesce(f.key, 0) and e.number <= s.delivered
    order by e.number limit {AT_ONCE}
) as e
where s.type = 'Task' and s.delivered > coalesce(f.key, 0) and s.last_sent is not null
order by s.id, e.number
"""

KEEP: Final = """
insert into follower (name, log, xid, key)
select 'receipts/' || name, 0, 0, key from unnest($1::text[], $2::bigint[]) as t(name, key)
on conflict (name) do update set key = excluded.key
"""

FORGET: Final = f"""
delete from follower as f where starts_with(f.name, 'receipts/')
  and not exists (select from subscription as s where f.name = {_NAME})
"""


class Told(NamedTuple):
    """A Task that was told to a subscriber of an organisation, not later than `instant`."""

    subscription: str
    number: int
    task: str
    organization: str
    instant: int


async def told(database: Database) -> list[Told]:
    """What was told since it was last kept, in order for each subscription."""
    return [Told._make(row) for row in await database.run(TOLD)]


async def keep(database: Database, seen: list[Told]) -> None:
    """Note how far each subscription was looked at, and forget those that are no more."""
    last = {one.subscription: one.number for one in seen}
    if last:
        await database.run(KEEP, (Texts(last), Integers(last.values())))
    await database.run(FORGET)
