"""Withdrawals: a subscription ends with the authorisation that it was made under.

Whoever takes an app's access away takes its subscriptions away too: they are switched off as soon
as the authorisation is withdrawn. A token that merely ends, as all do, ends no subscription.

References
----------
* RFC 7009 (token revocation); HL7 Subscriptions R5 Backport 1.1.0, "Safety and Security"
"""

import asyncio
import logging
from typing import Final

import psycopg

from fhir_server.access import withdrawn
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources.errors import Refusal
from subscriptions import activation
from subscriptions.events import COLUMNS, Subscriber

REASON: Final = "The authorisation that it was made under has been withdrawn."
AGAIN_SECONDS: Final = 1.0

FOUND: Final = f"""
select {COLUMNS} from subscription where status <> 'off' and authorized <> ''
  and exists (select from withdrawn as w where w.id = subscription.authorized)
"""

_log = logging.getLogger(__name__)


async def stop(database: Database, store: Store) -> int:
    """Switch off what was made under an authorisation that is withdrawn; give their number."""
    rows = await database.run(FOUND)
    for row in rows:
        await activation.stop(store, Subscriber(*row), REASON, alert=False)
    return len(rows)


async def heed(database: Database, store: Store) -> None:
    """Do so as soon as one is withdrawn, until cancelled."""
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(database.url, autocommit=True)
            async with connection:
                await connection.execute(f"listen {withdrawn.CHANNEL}")
                await stop(database, store)
                async for _ in connection.notifies():
                    await stop(database, store)
        except (psycopg.Error, Refusal) as error:
            _log.warning("withdrawals are not heard of: %s", type(error).__name__)
        await asyncio.sleep(AGAIN_SECONDS)
