"""Withdrawals: a subscription ends with the authorisation that it was made under.

Whoever takes an app's access away takes its subscriptions away too: they are switched off as soon
as the authorisation is withdrawn; so they are when the client is removed, disabled or may do less,
when the person acts in that role no more, and when their organisation, or each agreement that it
worked under, has ended. A token that merely ends, as all do, ends no subscription.

References
----------
* RFC 7009 (token revocation); HL7 Subscriptions R5 Backport 1.1.0, "Safety and Security"
* FHIR R4 Organization.active, OrganizationAffiliation.active, PractitionerRole.active
"""

import asyncio
import logging
from typing import Final

import psycopg

from fhir_server.access import scopes, withdrawn
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources.agreement import AFFILIATION_CODE, SHARES
from resources.errors import Refusal
from subscriptions import activation
from subscriptions.events import COLUMNS, Subscriber

CHANNEL: Final = "subscribers"
"""Told when a client, a person or an organisation is changed or removed."""
AGAIN_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 60.0
"""So often it is looked without a notice."""

NOW: Final = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
AGREEMENT: Final = f"""a.type = 'OrganizationAffiliation' and s.organization = any(a.organizations)
  and s.organization <> a.organizations[1]
  and not 'OA.primary-organization=Organization/' || s.organization = any(a.terms)
  and not 'OA.role={AFFILIATION_CODE}|{SHARES}' = any(a.terms)
  and not exists (select from sharing as h where h.by_id = a.id)"""
"""One under which the organisation works for another: that it shares, or is shared with, is none;
what it is told of goes by what it may see."""

AUTHORISATION: Final = "The authorisation that it was made under has been withdrawn."
REASONS: Final = {
    AUTHORISATION: """authorized <> '' and (
        exists (select from withdrawn as w where w.id = s.authorized)
        or exists (select from authorized as a where a.id = s.authorized
                   and a.withdrawn is not null))""",
    "The client that made it is not registered for this any more.": """
        subject = 'Client/' || client and not exists (
            select from client as c where c.id = s.client and c.organization = s.organization)""",
    "The client that made it is disabled.": """
        exists (select from client as c where c.id = s.client and c.disabled is not null)""",
    "Who made it does not act in that role any more.": """
        subject like 'PractitionerRole/%' and (not exists (
            select from login_role as r where 'PractitionerRole/' || r.practitioner_role = s.subject
              and r.organization = s.organization and r.role = s.role)
        or exists (
            select from current as p
            where p.type = 'PractitionerRole' and 'PractitionerRole/' || p.id = s.subject
              and (p.deleted or 'PR.active=false' = any(p.terms))))""",
    "The organisation takes part no more.": """
        exists (select from current as o where o.type = 'Organization' and o.id = s.organization
                and (o.deleted or 'O.active=false' = any(o.terms)))""",
    "The agreement that the organisation took part under has ended.": f"""
        exists (select from current as a where {AGREEMENT})
        and not exists (select from current as a where {AGREEMENT}
                and not a.deleted and not 'OA.active=false' = any(a.terms)
                and not exists (select from date_term as d where d.key = a.key and d.code = 'date'
                                and d.high < {NOW}))""",
}
"""Reason -> which subscriptions it is one for; the first that is true is told."""

FOUND: Final = f"""
with s as materialized (
  select {COLUMNS}, authorized, principal::json->>0 as subject, principal::json->>2 as role,
    principal::json->>5 as client
  from subscription where status <> 'off' and principal <> ''
), told as (
  select s.id, case {
    " ".join(f"when {what} then '{reason}'" for reason, what in REASONS.items())
} end as reason
  from s
)
select told.reason, {", ".join(f"s.{name.strip()}" for name in COLUMNS.split(","))}
from s join told using (id) where told.reason is not null
"""

SCOPES: Final = f"""
select c.scope, {", ".join(f"s.{name.strip()}" for name in COLUMNS.split(","))}
from subscription as s join client as c on 'Client/' || c.id = s.principal::json->>0
where s.status <> 'off' and s.principal <> ''
"""
OF_STEPS: Final = "ups"
OFF: Final = "update subscription set status = 'off', started = 0 where id = $1"
"""Who subscribes to steps by DICOM has no resource that says so (`dicom_bridge.ups`)."""
LESS: Final = "The client that made it is registered for less now."

_log = logging.getLogger(__name__)


async def stop(database: Database, store: Store) -> int:
    """Switch off what nobody may be told of any more, and say why; give their number."""
    ended = [(reason, Subscriber(*row)) for reason, *row in await database.run(FOUND)]
    known = {one.id for _, one in ended}
    for scope, *row in await database.run(SCOPES):
        one = Subscriber(*row)
        if one.id not in known and not one.principal().scopes.within(scopes.parse(scope)):
            ended.append((LESS, one))
    for reason, one in ended:
        if one.channel == OF_STEPS:
            await database.run(OFF, (one.id,))
            continue
        await activation.stop(store, one, reason, alert=reason != AUTHORISATION)
    return len(ended)


async def heed(database: Database, store: Store) -> None:
    """Do so as soon as something of the kind happens, until cancelled."""
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(database.url, autocommit=True)
            async with connection:
                await connection.execute(f"listen {withdrawn.CHANNEL}")
                await connection.execute(f"listen {CHANNEL}")
                while True:
                    await stop(database, store)
                    async for _ in connection.notifies(timeout=LOOK_SECONDS, stop_after=1):
                        pass
        except (psycopg.Error, Refusal) as error:
            _log.warning("withdrawals are not heard of: %s", type(error).__name__)
        await asyncio.sleep(AGAIN_SECONDS)
