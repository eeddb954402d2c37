"""Leases: which worker sends for which subscription, one at a time.

A worker takes the subscriptions that are due, for a few seconds, and goes on renewing that as long
as it works; where it dies, another takes over soon. One that was stopped for a while finds its
lease lapsed and sends nothing more under it.

References
----------
* PostgreSQL documentation: "SELECT", FOR UPDATE SKIP LOCKED
"""

import secrets
import time
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from fhir_server.context import now
from fhir_server.postgres.database import Database, Integers, Texts, unnest
from fhir_server.postgres.gathering import Gathering
from subscriptions.events import COLUMNS, Event, Subscriber

LEASE_SECONDS: Final = 5.0
RENEW_SECONDS: Final = 1.5
SAFE_SECONDS: Final = 0.5
"""So long before a lease ends nothing is begun under it any more."""

HELD: Final = "lease_until > {now} and lease_until <= {now} + {longest}"
"""A lease that ends later than one can, was taken by a clock that was ahead: it holds nothing."""
LONGEST: Final = 2 * int(LEASE_SECONDS * 1_000_000)

CLAIM: Final = f"""
update subscription set lease_until = $2, holder = $3
where id in (
  select id from subscription
  where due <= $1 and not coalesce({HELD.format(now="$1", longest=LONGEST)}, false)
    and (channel <> 'websocket' or status = 'requested') and not (organization = any($4::text[]))
    and not (attempts > 0 and organization = any($5::text[]))
  order by attempts > 0, due limit $6 for update skip locked
)
returning {COLUMNS}
"""
RENEW: Final = """
update subscription set lease_until = $2 where holder = $1 and id = any($3::text[])
returning id
"""
RELEASE: Final = """
update subscription set lease_until = null, holder = '',
  due = case when version = $4 then $3 else due end
where id = $2 and holder = $1
"""
RELEASE_ALL: Final = "update subscription set lease_until = null, holder = '' where holder = $1"
NEXT: Final = f"""
select min(case when {HELD.format(now="$1", longest=LONGEST)} then greatest(due, lease_until)
  else due end)
from subscription where due is not null and (channel <> 'websocket' or status = 'requested')
"""
WAITING: Final = f"""
select {", ".join(f"e.{name}" for name in Event._fields)}
from {unnest("text[]", "bigint[]", "bigint[]")} with ordinality as a(id, number, most, place)
cross join lateral (
  select * from subscription_event where subscription = a.id and number > a.number
  order by number limit a.most
) e
order by a.place, e.number
"""
SENT: Final = f"""
update subscription as s set
  delivered = case when s.holder = '' then s.delivered else greatest(s.delivered, n.number) end,
  last_sent = n.at,
  last_error = case when s.status = 'active' then null else s.last_error end,
  attempts = case when s.holder = n.holder then 0 else s.attempts end,
  due = case when s.holder <> n.holder then s.due when s.status <> 'active' then null
        when s.events > n.number then n.at
        else least(n.at + s.heartbeat * 1000000, s.ending) end,
  lease_until = case when s.holder = n.holder and s.events <= n.number then null
                else s.lease_until end
from {unnest("text[]", "bigint[]", "bigint[]", "text[]")} as n(id, number, at, holder)
where s.id = n.id
returning n.id, s.events, s.version, s.holder, s.status
"""
FAILED: Final = """
update subscription set attempts = attempts + 1, last_error = $3, due = $4, lease_until = null,
  holder = ''
where id = $2 and holder = $1 and version = $5
"""


class Told(NamedTuple):
    """A notification that was taken: up to which event, and when."""

    id: str
    number: int
    at: int


class Standing(NamedTuple):
    """How a subscription stands after that."""

    events: int
    version: int
    is_held: bool
    status: str


class Leases:
    """The leases of one worker."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.holder = secrets.token_hex(8)
        self._held: dict[str, float] = {}
        self._waiting: Gathering[tuple[str, int, int], list[Event]] = Gathering(self._read, lanes=2)
        self._sent: Gathering[Told, Standing] = Gathering(self._note, lanes=2)

    async def claim(
        self, most: int, but: Collection[str], but_failing: Collection[str] = ()
    ) -> list[Subscriber]:
        """Take what is due, but for these organisations, and what has failed before, but for those.

        What has not failed is taken first.
        """
        instant, began = now(), time.monotonic()
        until = instant + int(LEASE_SECONDS * 1_000_000)
        values = (instant, until, self.holder, Texts(but), Texts(but_failing), most)
        rows = await self._database.run(CLAIM, values)
        found = [Subscriber(*row) for row in rows]
        for each in found:
            self._held[each.id] = began + LEASE_SECONDS
        return found

    def holds(self, id: str) -> bool:
        """Say whether something may be begun under this lease."""
        return self._held.get(id, 0.0) - SAFE_SECONDS > time.monotonic()

    async def renew(self) -> None:
        """Keep what is held for some seconds more."""
        ids = [id for id, until in self._held.items() if until > time.monotonic()]
        if ids:
            began, until = time.monotonic(), now() + int(LEASE_SECONDS * 1_000_000)
            rows = await self._database.run(RENEW, (self.holder, until, Texts(ids)))
            kept = {id for (id,) in rows}
            for id in ids:
                if id in self._held:
                    self._held[id] = began + LEASE_SECONDS if id in kept else 0.0

    def forget(self, id: str) -> None:
        """Hold it no more."""
        self._held.pop(id, None)

    async def release(self, subscriber: Subscriber, due: int | None) -> None:
        """Give it back, to be looked at again then, or when a later version of it says."""
        values = (self.holder, subscriber.id, due, subscriber.version)
        await self._database.run(RELEASE, values)

    async def release_all(self) -> None:
        """Give back whatever is held."""
        await self._database.run(RELEASE_ALL, (self.holder,))

    async def next(self) -> int | None:
        """When something is due next, whoever holds it now."""
        due: int | None = (await self._database.run(NEXT, (now(),)))[0][0]
        return due

    async def waiting(self, id: str, number: int, most: int) -> list[Event]:
        """Read what is to be sent after this number."""
        return await self._waiting.ask((id, number, most))

    async def sent(self, told: Told) -> Standing:
        """Note that something was taken, whoever has the lease by now.

        Where nobody has, it was ended to have things sent again (`Subscriptions.resend`).
        """
        return await self._sent.ask(told)

    async def failed(self, subscriber: Subscriber, reason: str, due: int) -> None:
        """Note that something was not taken, and when it is tried again."""
        values = (self.holder, subscriber.id, reason, due, subscriber.version)
        await self._database.run(FAILED, values)

    async def _read(self, asked: list[tuple[str, int, int]]) -> list[list[Event] | Exception]:
        ids, numbers, most = zip(*asked, strict=True)
        rows = await self._database.run(WAITING, (Texts(ids), Integers(numbers), Integers(most)))
        found: dict[str, list[Event]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(Event(*row))
        return [found.get(id, []) for id in ids]

    async def _note(self, told: list[Told]) -> list[Standing | Exception]:
        ids, numbers, at = zip(*told, strict=True)
        holders = [self.holder] * len(told)
        values = (Texts(ids), Integers(numbers), Integers(at), Texts(holders))
        rows = await self._database.run(SENT, values)
        found = {
            id: Standing(events, version, holder == self.holder, status)
            for id, events, version, holder, status in rows
        }
        return [found.get(id, _GONE) for id in ids]


_GONE: Final = Standing(0, 0, is_held=False, status="off")


def full(under_way: Iterable[str], most: int) -> set[str]:
    """Give the organisations that have as much under way as one may."""
    counts: dict[str, int] = {}
    for organization in under_way:
        counts[organization] = counts.get(organization, 0) + 1
    return {organization for organization, count in counts.items() if count >= most}
