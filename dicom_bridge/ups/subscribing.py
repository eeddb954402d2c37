"""Subscribing: which AE is told of which UPS, or of all that there are and will be.

What an AE hears of comes from the events that every subscription has: for each AE there is one row
of `subscription`, whose events the matcher writes, as far as its organisation may see the Tasks.
Which of them are about a UPS that it subscribes to is looked at when they are told (`events`).

A deletion lock is always granted: what has ended is never deleted here.

References
----------
* PS3.4 Section CC.2.3 (Subscribe/Unsubscribe to Receive UPS Event Reports), Table CC.2.3-3
* PS3.18 Sections 11.10 (Subscribe), 11.11 (Unsubscribe), 11.12 (Suspend Global Subscription)
"""

import json
import uuid
from collections.abc import Sequence
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import ups
from dicom_bridge.mapping.matching import text
from dicom_bridge.ups import keeping, requirements, statuses
from dicom_bridge.ups.statuses import Warned, refused
from fhir_server.access import gate
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Texts
from fhir_server.search import query
from fhir_server.store.unit_of_work import Work
from resources.errors import Exhausted, Forbidden, Invalid
from subscriptions import registration

GLOBAL: Final = "1.2.840.10008.5.1.4.34.5"
FILTERED: Final = "1.2.840.10008.5.1.4.34.5.1"
"""Well-known instances that stand for all UPSs, and for all that match (PS3.4 Section CC.2.3.1)."""

CHANNEL: Final = "ups"
ABOUT_IT: Final = frozenset({"ReceivingAE", "DeletionLock", "SpecificCharacterSet"})
"""Attributes of the action that are no keys of a filter."""

MOST_AE_TITLE: Final = 16
MOST_AES: Final = 200
MOST_STEPS: Final = 1000
MOST_NAMED: Final = 100
"""AEs of one organisation, steps that one subscribes to, and those that the events are looked up
by; beyond that all events are looked at."""

PEER: Final = "select organization from peer where ae = $1"
ROWS: Final = """
select task, state from ups_subscription where ae = $1 and whose = $2
"""
AES: Final = """
select count(distinct (ae, whose)) from ups_subscription
where whose = $1 or starts_with(whose, $1 || ' ')
"""
PUT: Final = """
insert into ups_subscription(ae, whose, task, state, filter, changed)
values ($1, $2, $3, $4, $5, $6)
on conflict (ae, whose, task) do update set
  state = excluded.state, filter = excluded.filter, changed = excluded.changed
"""
SUSPEND: Final = """
update ups_subscription set state = 'suspended', changed = $3
where ae = $1 and whose = $2 and task = '' and state = 'on'
"""
DROP: Final = "delete from ups_subscription where ae = $1 and whose = $2 and task = $3"
DROP_ALL: Final = "delete from ups_subscription where ae = $1 and whose = $2"

OPEN: Final = """
insert into subscription(id, version, status, topic, type, criteria, channel, endpoint, headers,
  payload_type, content, heartbeat, timeout, max_count, principal, organization, events, delivered,
  attempts, due, lease_until, last_sent, last_error, started, since_log, since_xid, ending,
  authorized)
values ($1, 1, 'active', '', 'Task', $2, 'ups', $3, array[$8::text], 'application/dicom+json',
  'full-resource', null, 30, 1, $4, $5, 0, 0, 0, null, null, null, null, $6,
  (select number from log), pg_snapshot_xmin(pg_current_snapshot())::text::bigint, null, $7)
on conflict (id) do update set
  criteria = excluded.criteria, principal = excluded.principal, authorized = excluded.authorized,
  status = 'active',
  started = case when subscription.started > 0 then subscription.started else excluded.started end,
  since_log = case when subscription.started > 0 then subscription.since_log
              else excluded.since_log end,
  since_xid = case when subscription.started > 0 then subscription.since_xid
              else excluded.since_xid end
"""
CLOSE: Final = "delete from subscription where id = $1"
FORGET: Final = "delete from subscription_event where subscription = $1"
DROP_TERMS: Final = "delete from subscription_term where subscription = $1"
KEEP_TERMS: Final = """
insert into subscription_term(term, subscription) select t, $1 from unnest($2::text[]) t
on conflict do nothing
"""
INITIAL: Final = """
with bumped as (
  update subscription set events = events + 1 where id = $1 returning id, events
)
insert into subscription_event(subscription, number, instant, topic, interaction, type, id,
  version, key)
select id, events, $2, '', 'U', 'Task', $3, $4, 0 from bumped
"""
"""An event that no change has fired (its `key` is 0): how a UPS is when somebody subscribes."""


async def subscribe_peer(
    bridge: Bridge, context: RequestContext, uid: str, information: Dataset
) -> Warned:
    """Let a peer hear of a UPS, or of all.

    Raises
    ------
    Refused
        There is no such UPS, or the receiver is no peer of the asker's organisation.
    """
    ae = await _receiver(bridge, context, information)
    if text(information.get("DeletionLock")).strip() not in ("TRUE", "FALSE"):
        raise refused(statuses.INVALID_ARGUMENT, "DeletionLock")
    return await subscribe(bridge, context, uid, ae, _keys(information))


async def unsubscribe_peer(
    bridge: Bridge, context: RequestContext, uid: str, information: Dataset
) -> Warned:
    """Let a peer hear of a UPS no more, or of none."""
    ae = await _receiver(bridge, context, information)
    return await unsubscribe(bridge, context, uid, ae)


async def suspend_peer(
    bridge: Bridge, context: RequestContext, uid: str, information: Dataset
) -> Warned:
    """Let a peer hear of no UPS that is made from now on."""
    ae = await _receiver(bridge, context, information)
    return await suspend(bridge, context, uid, ae)


async def is_peer(bridge: Bridge, context: RequestContext, ae: str) -> bool:
    """Whether a title is that of a peer, which is told over DIMSE.

    Raises
    ------
    Refused
        It is a peer of another organisation: the events would go to somebody else.
    """
    rows = await bridge.database.run(PEER, (ae,))
    if rows and rows[0][0] != context.principal.organization:
        raise refused(statuses.UNKNOWN_RECEIVER, "ReceivingAE")
    return bool(rows)


def require_title(ae: str) -> str:
    """Refuse what is no AE title (PS3.5 Section 6.2, AE).

    Examples
    --------
    >>> require_title("READER")
    'READER'
    """
    if not _is_title(ae):
        raise Invalid("that is not an AE title", "ReceivingAE")
    return ae


def _is_title(ae: str) -> bool:
    plain = ae.isascii() and ae.isprintable() and "\\" not in ae and ae.strip() == ae
    return plain and 0 < len(ae) <= MOST_AE_TITLE


async def subscribe(
    bridge: Bridge, context: RequestContext, uid: str, ae: str, keys: Dataset
) -> Warned:
    """Let an AE hear of a UPS, of all, or of all that match."""
    whose = await _whose(bridge, context, ae)
    async with bridge.store.begin(context) as work:
        rows = await _held(work, ae, whose)
        requirements.check_form(keys)
        if uid == FILTERED and not len(keys):
            raise refused(statuses.INVALID_ARGUMENT)
        if uid in (GLOBAL, FILTERED):
            kept = keeping.as_json(keys) if uid == FILTERED else b""
            work.add(DROP_ALL, (ae, whose))
            work.add(PUT, (ae, whose, "", "on", kept, context.instant))
            await _open(work, ae, whose, [""])
            return statuses.SUCCESS
        task, _ = await keeping.look(bridge, context, uid)
        if len(rows) >= MOST_STEPS and task.id not in rows:
            raise Exhausted(f"An AE subscribes to {MOST_STEPS} steps at most: subscribe to all")
        work.add(PUT, (ae, whose, task.id, "on", b"", context.instant))
        await _open(work, ae, whose, [*rows, task.id])
        initial = (_id(ae, whose), context.instant, task.id, task.version)
        work.add(INITIAL, initial)
    return statuses.SUCCESS


async def unsubscribe(bridge: Bridge, context: RequestContext, uid: str, ae: str) -> Warned:
    """Let an AE hear of a UPS no more, or of none."""
    whose = await _whose(bridge, context, ae)
    async with bridge.store.begin(context) as work:
        rows = await _held(work, ae, whose)
        if uid in (GLOBAL, FILTERED):
            work.add(DROP_ALL, (ae, whose))
            await _open(work, ae, whose, [])
            return statuses.SUCCESS
        task, _ = await keeping.look(bridge, context, uid)
        if "" in rows:
            work.add(PUT, (ae, whose, task.id, "off", b"", context.instant))
            return statuses.SUCCESS
        work.add(DROP, (ae, whose, task.id))
        await _open(work, ae, whose, [one for one in rows if one != task.id])
    return statuses.SUCCESS


async def suspend(bridge: Bridge, context: RequestContext, uid: str, ae: str) -> Warned:
    """Let an AE hear of no UPS that is made from now on; what it hears of already goes on."""
    whose = await _whose(bridge, context, ae)
    async with bridge.store.begin(context) as work:
        await _held(work, ae, whose)
        if uid not in (GLOBAL, FILTERED):
            raise refused(statuses.NOT_APPROPRIATE, "SOPInstanceUID")
        work.add(SUSPEND, (ae, whose, context.instant))
    return statuses.SUCCESS


def outbox(ae: str, principal: Principal) -> str:
    """Give the id of the row whose events are told over a socket that somebody opens."""
    return _id(ae, gate.party(principal, "Subscription") or "")


async def _receiver(bridge: Bridge, context: RequestContext, information: Dataset) -> str:
    """Read who is to be told: a peer of the same organisation, at an address that we know."""
    ae = text(information.get("ReceivingAE")).strip()
    if not ae:
        raise refused(statuses.INVALID_ARGUMENT, "ReceivingAE")
    known = ae if _is_title(ae) else ""
    rows = await bridge.database.run(PEER, (known,))
    if not rows or rows[0][0] != context.principal.organization:
        raise refused(statuses.UNKNOWN_RECEIVER, "ReceivingAE")
    return ae


def _keys(information: Dataset) -> Dataset:
    keys = Dataset()
    keys.update({
        element.tag: element for element in information if element.keyword not in ABOUT_IT
    })  # fmt: skip
    return keys


async def _whose(bridge: Bridge, context: RequestContext, ae: str) -> str:
    """Say whose an AE title is: a peer is its organisation's, another who made it up.

    What one client is told nobody else of the organisation hears, by whatever title.
    """
    if context.principal.organization is None:
        raise Forbidden("who subscribes acts for an organisation", step="relationship")
    if await is_peer(bridge, context, ae):
        return context.principal.organization
    return gate.party(context.principal, "Subscription") or ""


async def _held(work: Work, ae: str, whose: str) -> dict[str, str]:
    """Give what an AE subscribes to, and let nobody else change it until that is done."""
    work.attempted = "Task", None
    gate.reach(work.context, "r", "Task")
    device = [("identifier", ae.replace("\\", "").replace(",", "").replace("|", ""))]
    await work.hold([query.parse("Device", device, strict=True)])
    rows: dict[str, str] = dict(await work.rows(ROWS, (ae, whose)))
    if (
        not rows
        and (await work.rows(AES, (work.context.principal.organization,)))[0][0] >= MOST_AES
    ):
        raise Exhausted(f"{MOST_AES} AEs of an organisation subscribe at most")
    return rows


async def _open(work: Work, ae: str, whose: str, tasks: Sequence[str]) -> None:
    """Have the events written that this is about; none where there is nothing."""
    principal = work.context.principal
    organization = principal.organization or ""
    id = _id(ae, whose)
    work.add(DROP_TERMS, (id,))
    if not tasks:
        work.add(FORGET, (id,))
        work.add(CLOSE, (id,))
        return
    named = list(dict.fromkeys(tasks))
    is_wide = "" in named or len(named) > MOST_NAMED
    criteria = f"Task?status={','.join(ups.STATE)}" if is_wide else f"Task?_id={','.join(named)}"
    wanted = registration.wanted_by(_resource(criteria), "")
    row: tuple[Any, ...] = (
        id, json.dumps([criteria]), ae, principal.written, organization, work.context.instant,
        principal.authorized,
        whose,
    )  # fmt: skip
    work.add(OPEN, row)
    work.add(KEEP_TERMS, (id, Texts(registration.index_terms(wanted))))


def _resource(criteria: str) -> dict[str, Any]:
    """Write what is asked for as a Subscription would."""
    return {"resourceType": "Subscription", "criteria": criteria, "channel": {"type": "websocket"}}


def _id(ae: str, whose: str) -> str:
    return f"ups-{uuid.uuid5(uuid.NAMESPACE_URL, f'{whose} {ae}')}"
