"""The matcher: follows the change log, and writes an event for every subscription a line fires.

One works at a time, for as long as it holds a lock; but that nothing is counted twice or left out
does not depend on that. Events, the counters that number them and the place in the log up to which
they are made are written by one statement, and only if the place is still the one that was worked
from: whoever is killed has written all of it or nothing, and of two that work at once one writes
nothing.

What a line can fire is looked up by what it has: the topics that it fires, and the index terms of
the resource (`registration.index_terms`). Subscriptions that cannot match are not looked at.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "Event Numbers"; FHIR R4B SubscriptionTopic
* docs/adr/0029; PostgreSQL documentation: "Advisory Locks"
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

import psycopg

from fhir_server.context import now
from fhir_server.postgres.database import Database, Integers, Texts, unnest
from fhir_server.search.stored import Stored
from fhir_server.store import changes
from fhir_server.store.changes import Change, Cursor
from resources.errors import Refusal
from subscriptions.candidates import Candidate, chosen, live
from subscriptions.firing import Step

NAME: Final = "matcher"
LOCK: Final = 0x15_0C_E1_74
"""Advisory lock of the one that matches."""

CHANNEL: Final = "subscription_events"
NOTIFY: Final = f"select pg_notify('{CHANNEL}', '')"

BATCH: Final = 200
"""Lines of the log that are matched together."""

MOST_EVENTS: Final = 20_000
"""Events that one statement writes, unless a single line fires more."""

SAVE_SECONDS: Final = 5.0
"""Where nothing fires, the place in the log is written down this often."""

BUSY_SECONDS: Final = 0.05
IDLE_SECONDS: Final = 0.2
"""How soon the log is looked at again, when something was there lately and when not. Sooner would
cost writers more: what is matched together costs less."""
LATELY_SECONDS: Final = 2.0
AGAIN_SECONDS: Final = 1.0

PLACE: Final = f"select log, xid, key from follower where name = '{NAME}'"

READ: Final = f"""
select v.key, v.type, v.id, v.version, v.instant, v.interaction, v.body,
  p.version, p.instant, p.interaction, p.body
from {unnest("bigint[]")} as k join version v on v.key = k
left join version p on p.type = v.type and p.id = v.id and p.version = v.version - 1
"""

_GIVEN: Final = unnest(
    "text[]", "bigint[]", "text[]", "text[]", "text[]", "text[]", "bigint[]", "bigint[]", first=8
)

WRITE: Final = f"""
with moved as (
  update follower set log = $1, xid = $2, key = $3
  where name = '{NAME}' and (log, xid, key) = ($4, $5, $6) returning name
), given as materialized (
  select * from {_GIVEN}
    with ordinality as g(subscription, instant, topic, interaction, type, id, version, key, n)
), bumped as (
  update subscription as s set events = s.events + c.number,
    due = case when s.status = 'active' and s.channel not in ('websocket', 'ups') and s.attempts = 0
          then least(coalesce(s.due, $7), $7) else s.due end
  from (select subscription, count(*) as number from given group by subscription) as c
  where s.id = c.subscription and exists (select from moved)
  returning s.id, s.events - c.number as before
), written as (
  insert into subscription_event(subscription, number, instant, topic, interaction, type, id,
    version, key)
  select g.subscription, b.before + row_number() over (partition by g.subscription order by g.n),
    g.instant, g.topic, g.interaction, g.type, g.id, g.version, g.key
  from given as g join bumped as b on b.id = g.subscription
  returning number
)
select (select count(*) from moved), (select count(*) from written)
"""

_log = logging.getLogger(__name__)


class Fired(NamedTuple):
    """An event without its number."""

    subscription: str
    topic: str
    change: Change
    version: int


class Moved(NamedTuple):
    """How far lines of the log have been matched, and how many events there were."""

    to: Cursor
    events: int


class Matcher:
    """Brings events up to the change log.

    Parameters
    ----------
    base_url
        Our FHIR base.
    """

    def __init__(self, database: Database, base_url: str) -> None:
        self._database = database
        self._base_url = base_url

    async def run(self) -> None:
        """Match whatever is written, as soon as it is, until cancelled."""
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._database.url, autocommit=True
                )
                async with connection:
                    await connection.execute(f"select pg_advisory_lock({LOCK})")
                    await self._follow()
            except (psycopg.Error, Refusal) as error:
                _log.warning("subscriptions are not matched: %s", type(error).__name__)
            except Exception:
                _log.exception("subscriptions are not matched")
            await asyncio.sleep(AGAIN_SECONDS)

    async def catch_up(self) -> int:
        """Match all that has been written; give the number of events."""
        count, at = 0, await self._place()
        while lines := await changes.follow(self._database, at, BATCH):
            moved = await self.match(at, lines)
            count += 0 if moved is None else moved.events
            at = await self._place() if moved is None else moved.to
        return count

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        kept = at = await self._place()
        lately = saved = loop.time()
        while True:
            lines = await changes.follow(self._database, at, BATCH)
            if lines:
                lately = loop.time()
                save = lately - saved > SAVE_SECONDS
                moved = await self.match(kept, lines, save=save)
                at = await self._place() if moved is None else moved.to
                if moved is None or moved.events or save:
                    kept, saved = at, lately
            if len(lines) < BATCH:
                is_busy = loop.time() - lately < LATELY_SECONDS
                await asyncio.sleep(BUSY_SECONDS if is_busy else IDLE_SECONDS)

    async def _place(self) -> Cursor:
        return Cursor._make((await self._database.run(PLACE))[0])

    async def match(
        self, kept: Cursor, lines: Sequence[Change], *, save: bool = True
    ) -> Moved | None:
        """Write the events of lines of the log, and move on behind them, or some of them.

        None, and nothing written, if somebody else has moved on from `kept` meanwhile.

        Parameters
        ----------
        kept
            The place that is written down.
        save
            Write the new place down even where there is no event.
        """
        instant = now()
        events = await self._events(lines, instant)
        if len(events) > MOST_EVENTS and len(lines) > 1:
            return await self.match(kept, lines[: len(lines) // 2], save=save)
        end = lines[-1].cursor
        if not (events or save):
            return Moved(end, 0)
        parameters = (
            *end, *kept, instant,
            Texts([each.subscription for each in events]),
            Integers([each.change.instant for each in events]),
            Texts([each.topic for each in events]),
            Texts([each.change.interaction for each in events]),
            Texts([each.change.type for each in events]),
            Texts([each.change.id for each in events]),
            Integers([each.version for each in events]),
            Integers([each.change.key for each in events]),
        )  # fmt: skip
        ((moved, written),) = await self._database.run(WRITE, parameters)
        if written:
            await self._database.run(NOTIFY)
        return Moved(end, int(written)) if moved else None

    async def _events(self, lines: Sequence[Change], instant: int) -> list[Fired]:
        """What the lines fire, in their order."""
        topics = await live(self._database, {line.type for line in lines})
        wanted = [line for line in lines if topics.get(line.type)]
        if not wanted:
            return []
        steps = await self._steps([line.key for line in wanted])
        candidates: list[Candidate] = []
        for line in wanted:
            if (step := steps.get(line.key)) is not None:
                fires = self._fires(line, step, topics[line.type], instant)
                candidates += [Candidate(line, step, topic) for topic in fires]
        found = await chosen(self._database, candidates, self._base_url, instant)
        return [
            Fired(subscription, one.topic, one.change, one.step.after.version)
            for one, subscription in found
        ]

    def _fires(self, line: Change, step: Step, among: frozenset[str], instant: int) -> list[str]:
        """What a line fires; one that cannot be looked at holds up no other."""
        try:
            fires = step.fires(among, instant)
            if "" in among and line.interaction != "D":
                fires.append("")
            return fires if fires and step.told else []
        except Exception:
            _log.exception("a change could not be matched: version %d", line.key)
            return []

    async def _steps(self, keys: Sequence[int]) -> dict[int, Step]:
        steps = {}
        for key, type, id, *columns in await self._database.run(READ, (Integers(keys),)):
            version, instant, interaction, body, *past = columns
            after = Stored(type, id, version, instant, interaction, body or b"")
            before = None
            if past[0] is not None:
                before = Stored(type, id, past[0], past[1], past[2], past[3] or b"")
            steps[key] = Step(before, after, self._base_url)
        return steps
