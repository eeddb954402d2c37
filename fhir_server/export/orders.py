"""Orders: exports that were asked for; taken, looked at, cancelled and forgotten.

An order belongs to whoever asked, in the role and for the patient they did, by the same client: to
anybody else it does not exist. It is put into the job queue by the statement that takes it, so that
neither is there without the other.

References
----------
* HL7 Bulk Data Access 2.0, "Bulk Data Kick-off Request", "Status Request", "Delete Request"
"""

import uuid
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from fhir_server.access.principal import Principal
from fhir_server.access.relationship import FOREVER
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Texts
from resources.errors import Exhausted, NotFound

KEEP_MICROSECONDS: Final = 24 * 3600 * 1_000_000
"""How long an order and its files are kept."""

MOST_OPEN: Final = 5
"""Orders of one client that may be under way."""

DUTY: Final = "export"
"""The name of the job that works on orders."""

OPEN: Final = ("accepted", "running")


class Order(NamedTuple):
    """One export, as the table has it."""

    id: str
    state: str
    requested: int
    expires: int
    asker: str
    address: str
    types: list[str]
    patients: list[str] | None
    about_patients: bool
    since: int
    done: int
    manifest: str | None

    @property
    def context(self) -> RequestContext:
        """Who asked, for what, and when: what is exported is what they saw then."""
        return RequestContext(
            Principal.read(self.asker), "export", "export", self.id, self.requested
        )


COLUMNS: Final = ", ".join(Order._fields)

_TAKE: Final = f"""
with open as (
  select count(*) as n from export where client = $8 and organization = $9 and state = any($14)
), taken as (
  insert into export({COLUMNS}, client, organization, beat)
  select $1, 'accepted', $2, $3, $4, $5, $6, $7, $10, $11, 0, null, $8, $9, 0
  from open where n < $12
  returning id
)
select id, procrastinate_defer_jobs_v1(array[
  row('duties', $13, 0, null, null, '{{"timestamp": 0}}'::jsonb, null)
    ::procrastinate_job_to_defer_v1]) from taken
"""

_FIND: Final = f"""
select {COLUMNS} from export
where id = $1 and client = $2 and organization = $3 and state <> 'cancelled' and expires > $4
  and not exists (
    select from sharing as s where s.organization = export.organization
    and s.until >= export.requested and (s.until <= $4 or s.since = {FOREVER}))
  and not exists (
    select from granted as g where g.organization = export.organization
    and g.until >= export.requested and (g.until <= $4 or g.since = {FOREVER}))
"""
"""What was exported while another shared what it creates, or something was granted, is not there
when that has ended."""

_CANCEL: Final = """
update export set state = 'cancelled', expires = 0
where id = $1 and client = $2 and organization = $3 and state <> 'cancelled' and expires > $4
returning id
"""


async def take(
    database: Database,
    context: RequestContext,
    address: str,
    types: Sequence[str],
    *,
    patients: Sequence[str] | None = None,
    about_patients: bool = False,
    since: int = 0,
) -> str:
    """Take an order, and give its id.

    Raises
    ------
    Exhausted
        The client has as many under way as one may have.
    """
    who = context.principal
    rows = await database.run(
        _TAKE,
        (
            str(uuid.uuid4()), context.instant, context.instant + KEEP_MICROSECONDS,
            who.written, address, Texts(types),
            None if patients is None else Texts(patients), who.client, who.organization or "",
            about_patients, since, MOST_OPEN, DUTY, Texts(OPEN),
        ),
    )  # fmt: skip
    if not rows:
        raise Exhausted(f"{MOST_OPEN} exports of this client are under way.")
    return str(rows[0][0])


async def find(database: Database, context: RequestContext, id: str) -> Order:
    """Look at an order.

    Raises
    ------
    NotFound
        There is none, it has expired or was cancelled, or it is somebody else's.
    """
    rows = await database.run(_FIND, _of(context, id))
    orders = [Order(*row) for row in rows]
    if not orders or _whose(orders[0].context.principal) != _whose(context.principal):
        raise NotFound("There is no such export.")
    return orders[0]


async def cancel(database: Database, context: RequestContext, id: str) -> None:
    """Cancel an order, or forget one that is complete; its files go when the worker next looks.

    Raises
    ------
    NotFound
        As `find`.
    """
    await find(database, context, id)
    if not await database.run(_CANCEL, _of(context, id)):
        raise NotFound("There is no such export.")


def _of(context: RequestContext, id: str) -> tuple[Any, ...]:
    who = context.principal
    return id, who.client, who.organization or "", context.instant


def _whose(who: Principal) -> tuple[str, str, str | None]:
    """What of an asker decides what they see, besides client, organisation and scopes."""
    return who.subject, who.role, who.patient
