"""Sweeping: events that are old and no longer wanted are forgotten.

They are kept for thirty days, so that whoever was away can ask for what they missed; what waits
to be delivered to somebody is kept until it is.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, $events: for how long is the server's to say
"""

from typing import Final

from fhir_server.postgres.database import Database

KEEP_MICROSECONDS: Final = 30 * 86400 * 1_000_000

AT_ONCE: Final = 20_000

SWEEP: Final = """
delete from subscription_event where (subscription, number) in (
  select e.subscription, e.number from subscription_event as e
  where e.instant < $1 and not exists (
    select from subscription as s
    where s.id = e.subscription and s.started > 0 and s.channel not in ('websocket', 'ups')
      and s.delivered < e.number)
  limit $2)
returning 1
"""


async def sweep(database: Database, instant: int) -> int:
    """Forget the events that are old enough, and give their number."""
    count = 0
    while number := len(await database.run(SWEEP, (instant - KEEP_MICROSECONDS, AT_ONCE))):
        count += number
    return count
