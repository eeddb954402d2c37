"""Events: what has happened for a subscription, numbered from 1 without a gap.

Only the matcher writes them (`matcher`); everything else reads them here. A number names the same
event for ever, so that who receives it twice, or misses one, can tell.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "Event Numbers"
"""

import json
from typing import Final, NamedTuple

from fhir_server.access.principal import Principal
from fhir_server.postgres.database import Database


class Event(NamedTuple):
    """One event: this version fired it. `interaction` is C, U or D; `topic` may be empty."""

    subscription: str
    number: int
    instant: int
    topic: str
    interaction: str
    type: str
    id: str
    version: int
    key: int

    @property
    def reference(self) -> str:
        """The relative reference of what it is about, without the version."""
        return f"{self.type}/{self.id}"


class Subscriber(NamedTuple):
    """One row of `subscription`; see `tables.Subscription`."""

    id: str
    version: int
    status: str
    topic: str
    type: str
    criteria: str
    channel: str
    endpoint: str
    headers: list[str]
    payload_type: str
    content: str
    heartbeat: int | None
    timeout: int
    max_count: int
    principal_text: str
    organization: str
    events: int
    delivered: int
    attempts: int
    due: int | None
    lease_until: int | None
    last_sent: int | None
    last_error: str | None
    started: int
    since_log: int
    since_xid: int
    ending: int | None

    @property
    def filters(self) -> list[str]:
        """The filters of a topic, or the one criteria: search queries, all of which must be met."""
        found: list[str] = json.loads(self.criteria)
        return found

    def principal(self) -> Principal:
        """Who made it: what is sent is what they may see."""
        return Principal.read(self.principal_text)


COLUMNS: Final = ", ".join(
    "principal" if name == "principal_text" else name for name in Subscriber._fields
)
"""Of `subscription`, in the order of `Subscriber`."""

ONE: Final = f"select {COLUMNS} from subscription where id = $1"

AFTER: Final = f"""
select {", ".join(Event._fields)} from subscription_event
where subscription = $1 and number > $2 order by number limit $3
"""


async def subscriber(database: Database, id: str) -> Subscriber | None:
    """Read one subscription; None where there is none of this id."""
    rows = await database.run(ONE, (id,))
    return Subscriber(*rows[0]) if rows else None


async def after(database: Database, subscription: str, number: int, limit: int) -> list[Event]:
    """Read the events after a number, in order."""
    rows = await database.run(AFTER, (subscription, number, limit))
    return [Event(*row) for row in rows]
