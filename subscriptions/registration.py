"""Registration: a Subscription that is written is checked, narrowed, and put where it is matched.

The row, by which a subscription is matched and delivered, is written in the transaction of the
resource, so that they never disagree. Whoever writes the Subscription last, the server apart, is
who it is done for: what they may not see never fires for it.

References
----------
* FHIR R4 subscription; HL7 Subscriptions R5 Backport 1.1.0, "Accepting Subscription Requests"
* docs/adr/0029
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fhir_server.access import gate
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Texts
from fhir_server.search.date import period
from fhir_server.search.query import Query
from fhir_server.store.draft import Write
from fhir_server.store.unit_of_work import Work
from resources import content as contents
from resources import subscription, topics
from resources.content import Content, written_instant
from resources.errors import Gone, Invalid, NotFound, Refusal, Unprocessable
from resources.subscription import Asked
from subscriptions import criteria, matching, narrowing
from subscriptions.criteria import AT_CRITERIA

TYPE: Final = "Subscription"
MOST_TERMS: Final = 150
"""Of one criterion; a subscription that would be found by more is found by what fires alone."""

MOST: Final = 5000
"""Subscriptions of one organisation that are not off, unless told."""
LIVE: Final = """
select count(*) from subscription
where organization = $1 and status <> 'off' and id <> all($2::text[])
"""

CheckEndpoint = Callable[[str, str], object]
"""Refuse an endpoint that is never called for an organisation."""

_KEEP: Final = """
insert into subscription(id, version, status, topic, type, criteria, channel, endpoint, headers,
  payload_type, content, heartbeat, timeout, max_count, principal, organization, events, delivered,
  attempts, due, lease_until, last_sent, last_error, started, since_log, since_xid, ending,
  authorized)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9::text[], $10, $11, $12, $13, $14, coalesce($15, ''),
  coalesce($16, ''), 0, 0, 0, $17, null, null, $18, case when $3 = 'active' then $19 else 0 end,
  (select number from log), pg_snapshot_xmin(pg_current_snapshot())::text::bigint, $20,
  coalesce($21, ''))
on conflict (id) do update set
  version = excluded.version, status = excluded.status, topic = excluded.topic,
  type = excluded.type, criteria = excluded.criteria, channel = excluded.channel,
  endpoint = excluded.endpoint, headers = excluded.headers, payload_type = excluded.payload_type,
  content = excluded.content, heartbeat = excluded.heartbeat, timeout = excluded.timeout,
  max_count = excluded.max_count, principal = coalesce($15, subscription.principal),
  organization = coalesce($16, subscription.organization),
  authorized = coalesce($21, subscription.authorized), due = excluded.due,
  attempts = case when $3 <> 'error' then 0 when subscription.status = 'error'
             then subscription.attempts else subscription.attempts + 1 end,
  last_error = excluded.last_error, ending = excluded.ending,
  started = case when $3 = 'off' then 0 when subscription.started > 0 then subscription.started
            else excluded.started end,
  since_log = case when subscription.started > 0 then subscription.since_log
              else excluded.since_log end,
  since_xid = case when subscription.started > 0 then subscription.since_xid
              else excluded.since_xid end
"""

_KEEP_TERMS: Final = """
insert into subscription_term(term, subscription) select t, $1 from unnest($2::text[]) t
on conflict do nothing
"""

_DROP: Final = "delete from subscription where id = $1"
_DROP_TERMS: Final = "delete from subscription_term where subscription = $1"
_DROP_EVENTS: Final = "delete from subscription_event where subscription = $1"

NOTICE: Final = "select pg_notify('subscribers', '')"
"""A person or an organisation is changed: see `withdrawals`."""
ENDS_WITH: Final = frozenset({"Organization", "OrganizationAffiliation", "PractitionerRole"})
"""Types that say who still takes part."""

_SENT: Final = frozenset({"requested", "active"})


class Wanted(NamedTuple):
    """What a subscription is matched by: a query for each type that it is about."""

    asked: Asked
    queries: Mapping[str, Query]


class Registration:
    """What the store runs when a Subscription is written.

    Parameters
    ----------
    base_url
        Our FHIR base.
    check_endpoint
        Refuses a web address that is never called.
    most
        Subscriptions of one organisation that are not off.
    sends_mail
        There is a mail server to send by.
    """

    def __init__(
        self,
        base_url: str,
        check_endpoint: CheckEndpoint,
        most: int = MOST,
        *,
        sends_mail: bool = True,
    ) -> None:
        self._base_url = base_url
        self._check_endpoint = check_endpoint
        self._most = most
        self._sends_mail = sends_mail

    async def completed(self, work: Work, content: Content) -> Content:
        """Check what a client asks for, and give it as it is done.

        Raises
        ------
        Unprocessable
            It could never be sent, or never fire.
        Forbidden
            It is about what the asker may not see.
        """
        context = work.context
        is_stopped = content.json.get("status") == "off"  # which is always possible
        if is_stopped or context.principal.role == "system":
            return content
        before = await _before(work)
        altered = subscription.accepted(before, content.json, written_instant(context.instant))
        altered |= narrowing.narrowed(content.json, context)
        if altered:
            content = contents.replaced(content, altered)
        wanted = wanted_by(content.json, self._base_url)
        for type, query in wanted.queries.items():
            _check_possible(query, context.instant)
            narrowing.check_patient(query, gate.reach(context, "r", type).patient)
        if wanted.asked.channel == "rest-hook":
            self._check_endpoint(wanted.asked.endpoint, context.principal.organization or "")
        if wanted.asked.channel == "email" and not self._sends_mail:
            said = "This server sends no e-mail."
            raise Unprocessable(said, "Subscription.channel.type", "not-supported")
        if before is None or before.get("status") == "off":
            await self._check_number(work)
        return content

    async def _check_number(self, work: Work) -> None:
        """Refuse one more than an organisation may have; who asks at the same time is not seen."""
        last = {write.stored.id: write for write in work.writes if write.stored.type == TYPE}
        here = sum(write.after.get("status", "off") != "off" for write in last.values())
        organization = work.context.principal.organization or ""
        ((there,),) = await work.rows(LIVE, (organization, Texts(sorted(last))))
        if there + here >= self._most:
            said = f"Your organisation has {self._most} subscriptions, and may have no more."
            raise Unprocessable(said, "Subscription", "too-costly")

    def follow(self, work: Work) -> None:
        """Keep the rows of the Subscriptions that a unit of work writes."""
        last = {write.stored.id: write for write in work.writes if write.stored.type == TYPE}
        for id, write in last.items():
            for sql, params in self._statements(id, write, work.context):
                work.add(sql, params)
        if any(write.stored.type in ENDS_WITH and write.before for write in work.writes):
            work.add(NOTICE, ())

    def _statements(
        self, id: str, write: Write, context: RequestContext
    ) -> list[tuple[str, Sequence[Any]]]:
        if write.stored.deleted:
            return [(sql, (id,)) for sql in (_DROP, _DROP_TERMS, _DROP_EVENTS)]
        after = write.after
        try:
            wanted = wanted_by(after, self._base_url)
        except Refusal:  # kept when it could be done; now it is stopped, or a parameter is gone
            wanted = Wanted(subscription.asked(after), {})
        asked, status = wanted.asked, str(after["status"])
        is_live = status != "off" and bool(wanted.queries)
        who = None if context.principal.role == "system" else context.principal
        row = (
            id, write.stored.version, status, asked.topic, next(iter(wanted.queries), ""),
            json.dumps(asked.criteria), asked.channel, asked.endpoint, Texts(asked.headers),
            asked.payload, asked.content, asked.heartbeat, asked.timeout, asked.max_count,
            None if who is None else who.written,
            None if who is None else who.organization or "",
            context.instant if status in _SENT else None, after.get("error"), context.instant,
            period(asked.ending)[0] if asked.ending else None,
            None if who is None else who.authorized,
        )  # fmt: skip
        terms = Texts(index_terms(wanted)) if is_live else Texts()
        return [(_KEEP, row), (_DROP_TERMS, (id,)), (_KEEP_TERMS, (id, terms))]


def wanted_by(json: Mapping[str, Any], base_url: str) -> Wanted:
    """Read what a Subscription wants to be matched by.

    Raises
    ------
    Unprocessable
        There is no such topic, filter or search.
    """
    asked = subscription.asked(json)
    return Wanted(asked, queries_of(asked.topic, asked.criteria, base_url))


def queries_of(topic: str, criteria_: Sequence[str], base_url: str) -> dict[str, Query]:
    """Give the queries of a subscription, by the types that it is about."""
    if not topic:
        query = criteria.plain(criteria_[0], base_url)
        return {query.type: query}
    found = topics.topics().get(topic)
    if found is None:
        raise Unprocessable("There is no such topic here.", AT_CRITERIA, "not-found")
    return criteria.of_topic(found, criteria_, base_url)


def index_terms(wanted: Wanted) -> list[str]:
    """Give the terms by one of which the matcher finds a subscription.

    Each is of what fires, the topic or a type, and of a term that a resource must have; of the
    criteria that are such terms the first with the fewest alternatives is taken.
    """
    found: list[str] = []
    for type, query in wanted.queries.items():
        fires = fired(wanted.asked.topic, type)
        choices = [
            terms for each in query.criteria if (terms := matching.sought(each, type)) is not None
        ]
        chosen = min(choices, key=len, default=[])
        found += (
            [fires] if not 0 < len(chosen) <= MOST_TERMS else [f"{fires} {term}" for term in chosen]
        )
    return list(dict.fromkeys(found))


def fired(topic: str, type: str) -> str:
    """Name what fires: a topic for a type, or, where there is no topic, the type alone."""
    return f"{topic} {type}" if topic else type


def _check_possible(query: Query, instant: int) -> None:
    try:
        criteria.check_possible(query, instant)
    except Invalid as refusal:
        raise Unprocessable(refusal.reason, AT_CRITERIA, "business-rule") from None


async def _before(work: Work) -> Mapping[str, Any] | None:
    id = work.attempted[1]
    if id is None:
        return None
    try:
        with work.as_server():
            return (await work.read(TYPE, id)).json
    except (NotFound, Gone):
        return None
