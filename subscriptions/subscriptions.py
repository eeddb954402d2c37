"""Subscriptions: how they are and what has happened for them, for those who ask.

Who may read a Subscription may ask after it. What they are told of they must be allowed to see
themselves: it is read as the asker, and not as the subscriber.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, operations $status and $events
* HL7 Subscriptions R5 Backport 1.2.0, operation $resend
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Texts
from fhir_server.search.query import parse
from fhir_server.store.store import Store
from resources import topics
from resources.errors import Conflict, Invalid, NotFound
from resources.subscription import CONTENTS
from subscriptions import binding, events, notifications
from subscriptions.binding import Bound
from subscriptions.events import COLUMNS, Subscriber

Json = dict[str, Any]

MOST: Final = 1000
"""Subscriptions, or events, of one answer."""

SEVERAL: Final = f"select {COLUMNS} from subscription where id = any($1::text[]) order by id"

RESEND: Final = """
update subscription as s set attempts = 0, due = $3, lease_until = null, holder = '',
  delivered = least(delivered, greatest($2, coalesce(
    (select min(number) - 1 from subscription_event where subscription = s.id), events)))
where id = $1 and status = 'active' returning events - delivered
"""
"""From a number on, or from the first that is still kept."""

SINCE: Final = """
select min(number) - 1 from subscription_event where subscription = $1 and instant >= $2
"""


async def send_again(database: Database, subscriber: Subscriber, before: int, instant: int) -> int:
    """Have the events after a number sent again; give how many.

    Raises
    ------
    Conflict
        Nothing is sent to this subscription now.
    """
    if subscriber.channel == "websocket":
        raise Conflict("What a websocket has missed is asked for with $events.")
    rows = await database.run(RESEND, (subscriber.id, before, instant))
    if not rows:
        raise Conflict("Nothing is sent to this subscription: it is not active.")
    return int(rows[0][0])


class Subscriptions:
    """The way to subscriptions.

    Parameters
    ----------
    base_url
        Our FHIR base.
    """

    def __init__(self, database: Database, store: Store, base_url: str) -> None:
        self._database = database
        self._store = store
        self._base_url = base_url

    async def status(
        self, context: RequestContext, ids: Sequence[str], statuses: Collection[str] = ()
    ) -> Json:
        """Say how subscriptions are: those of these ids, or all that the asker sees."""
        pairs = [("_id", ",".join(ids))] if ids else []
        pairs += [("status", ",".join(statuses))] if statuses else []
        query = parse("Subscription", [*pairs, ("_count", str(MOST))], strict=True)
        found = await self._store.search(context, query)
        return await self._told([one.id for one in found.matches])

    async def status_of(self, context: RequestContext, id: str) -> Json:
        """Say how one subscription is.

        Raises
        ------
        NotFound
            There is none, or none that the asker sees.
        """
        return await self._told([(await self._subscriber(context, id)).id])

    async def events(
        self,
        context: RequestContext,
        id: str,
        *,
        since: int | None = None,
        until: int | None = None,
        content: str | None = None,
    ) -> Json:
        """Give a notification of events that have been, from one number to another.

        Raises
        ------
        NotFound
            There is no such subscription.
        Invalid
            There is no such content.
        """
        if content is not None and content not in CONTENTS:
            raise Invalid(f"The content is {', '.join(CONTENTS)}.", "content", "value")
        subscriber = await self._subscriber(context, id)
        first = max(since or 1, 1)
        number = MOST if until is None else max(min(until - first + 1, MOST), 0)
        found = await events.after(self._database, id, first - 1, number)
        asker = subscriber._replace(principal_text=context.principal.written)
        return await notifications.notification(
            self._store, asker, "query-event", found, base_url=self._base_url, content=content
        )

    async def resend(
        self, context: RequestContext, id: str, *, number: int | None, since: int | None
    ) -> int:
        """Have events sent again, from a number or an instant on, in order and as they were.

        Gives how many there are to send.

        Raises
        ------
        Conflict
            Nothing is sent to this subscription now.
        """
        subscriber = await self._subscriber(context, id)
        before = (number or 1) - 1
        if number is None and since is not None:
            ((found,),) = await self._database.run(SINCE, (id, since))
            before = subscriber.events if found is None else found
        return await send_again(self._database, subscriber, before, context.instant)

    async def binding_token(self, context: RequestContext, ids: Sequence[str]) -> Bound:
        """Make a token by which a socket is bound to subscriptions (`binding.token`)."""
        return await binding.token(self._database, self._store, context, ids)

    def topics(self) -> list[Json]:
        """Give the topics, as R4 can write them."""
        return [topics.wrapped(each) for each in topics.definitions()]

    async def _subscriber(self, context: RequestContext, id: str) -> Subscriber:
        await self._store.read(context, "Subscription", id)
        found = await events.subscriber(self._database, id)
        if found is None:
            raise NotFound(f"There is no Subscription/{id}.")
        return found

    async def _told(self, ids: Sequence[str]) -> Json:
        rows = await self._database.run(SEVERAL, (Texts(ids),)) if ids else []
        told = [
            notifications.status(Subscriber(*row), "query-status", base_url=self._base_url)
            for row in rows
        ]
        entries = [
            {"fullUrl": f"urn:uuid:{each['id']}", "resource": each, "search": {"mode": "match"}}
            for each in told
        ]
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(entries)}
        return {**bundle, "entry": entries} if entries else bundle
