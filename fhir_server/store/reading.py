"""Read one version: look it up, ask the gate and write the audit row, in one statement.

Reads that arrive together share the statement. What the asker may not see is answered like what
does not exist; the ledger knows the difference.

References
----------
* FHIR http, "read", "vread"
* FHIR Security, "Access Denied Response Handling": 404 keeps the existence private
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from fhir_server.access import granted, sharing, withheld
from fhir_server.access.gate import Reach
from fhir_server.audit import ledger
from fhir_server.audit.ledger import Entry
from fhir_server.postgres.database import Database, Integers, Texts, unnest
from fhir_server.search.stored import Stored
from resources.compartments import patient_of
from resources.errors import Gone, NotFound

NOT_THERE: Final = "NotFound"
NOT_SEEN: Final = "Forbidden relationship"
DELETED: Final = "Gone"
"""What the ledger says of a read that was refused."""


class Asked(NamedTuple):
    """One read: what, how far the asker sees, and its audit row as far as it is known."""

    type: str
    id: str
    version: int | None
    reach: Reach
    entry: Entry


class Found(NamedTuple):
    """A version that the asker may see, and what the gate knows of its resource."""

    stored: Stored
    patient: str | None
    organizations: tuple[str, ...]


_KNOWN: Final = (
    "instant", "interaction", "subject", "organization", "client", "role", "origin", "request",
    "version", "query", "hits", "purpose",
)  # fmt: skip
"""Columns of an audit row that are known before the answer is; each costs an array."""

IN_EMERGENCY: Final = 2
"""How far an emergency access sees of the patient it is for: 1 is everything, 0 by relation."""

_ENTRY_AT: Final = 8
AFTER_GATED: Final = _ENTRY_AT + len(_KNOWN)
"""Number of the first parameter after those of `GATED`."""

GATED: Final = f"""
with q as materialized (
  select * from {unnest("text[]", "text[]", "bigint[]", "bigint[]", "text[]", "text[]", "bigint[]")}
    with ordinality as q(type, id, version, everything, organization, patient, open, n)
), e as materialized (
  select * from {ledger.unnested(_ENTRY_AT, _KNOWN)} with ordinality as e({", ".join(_KNOWN)}, n)
), r as materialized (
  select q.n, q.type, q.id, c.key, c.deleted, c.patient, c.organizations, c.version as newest,
    case when q.version is null then c.key
      else (select v.key from version as v
            where v.type = q.type and v.id = q.id and v.version = q.version) end as wanted,
    coalesce(
      q.everything = 1
      or (q.patient is null or c.patient = q.patient or c.patient is null and q.open = 1)
         and (q.everything = {IN_EMERGENCY}
              or (q.organization = any(c.organizations) or c.patient is null and q.open = 1
                  or exists (select from relation as r
                             where r.organization = q.organization and r.patient = c.patient
                               and r.until > e.instant and not r.limited)
                  or {sharing.seen("c", "q.organization", "e.instant")}
                  or {granted.seen("c", "q.organization", "e.instant")})
                 and {withheld.seen("c", "q.organization", "e.instant")}),
      false) and c.key is not null as seen
  from q join e on e.n = q.n
  left join lateral (select * from current where type = q.type and id = q.id limit 1) as c on true
)"""

READ: Final = f"""{GATED}, found as materialized (
  select r.*, v.version, v.instant, v.interaction, v.body
  from r left join lateral (select * from version where key = r.wanted and r.seen limit 1) as v
    on true
), written as (
  insert into audit({ledger.COLUMNS})
  select e.instant, e.interaction,
    case when f.interaction <> 'D' then {ledger.SUCCESS} else {ledger.MINOR_FAILURE} end,
    e.subject, e.organization, e.client, e.role, e.origin, e.request, f.type, f.id,
    coalesce(f.version, e.version), f.patient, e.query,
    case when f.interaction <> 'D' then 1 else 0 end,
    case when f.interaction <> 'D' then null when f.interaction = 'D' then '{DELETED}'
      when f.key is null or f.seen then '{NOT_THERE}' else '{NOT_SEEN}' end,
    null, e.purpose
  from found as f join e on e.n = f.n
)
select n, patient, organizations, version, instant, interaction, body from found order by n
"""


async def read(
    database: Database, asked: Sequence[Asked], base_url: str
) -> list[Found | Exception]:
    """Answer reads in order; what is not to be had is answered by the refusal."""
    rows = await database.run(READ, parameters(asked))
    return [_answer(ask, row, base_url) for ask, row in zip(asked, rows, strict=True)]


def parameters(asked: Sequence[Asked]) -> list[Any]:
    """The arrays of `GATED`."""
    return [
        Texts([ask.type for ask in asked]),
        Texts([ask.id for ask in asked]),
        Integers([ask.version for ask in asked]),
        Integers([_extent(ask.reach) for ask in asked]),
        Texts([ask.reach.organization for ask in asked]),
        Texts([ask.reach.patient for ask in asked]),
        Integers([int(ask.reach.open) for ask in asked]),
        *ledger.arrays([ask.entry for ask in asked], _KNOWN),
    ]


def _extent(reach: Reach) -> int:
    return IN_EMERGENCY if reach.emergency else int(reach.everything)


def _answer(ask: Asked, row: tuple[Any, ...], base_url: str) -> Found | Exception:
    _, patient, organizations, version, instant, interaction, body = row
    if version is None:
        return _not_there(ask)
    if interaction == "D":
        return Gone(f"{ask.type}/{ask.id} was deleted.")
    stored = Stored(ask.type, ask.id, version, instant, interaction, body)
    if ask.version and not is_told(ask.reach, stored, patient, organizations, base_url):
        return _not_there(ask)
    return Found(stored, patient, tuple(organizations))


def _not_there(ask: Asked) -> NotFound:
    what = f"{ask.type}/{ask.id}" + (f"/_history/{ask.version}" if ask.version else "")
    return NotFound(f"There is no {what}.")


def is_told(
    reach: Reach, one: Stored, patient: str | None, organizations: Sequence[str], base_url: str
) -> bool:
    """Whether a version is about whom the resource is about now.

    Who sees a resource that was filed under the wrong patient, and now is not, sees nothing of that
    patient. Its creator, who wrote both, does.
    """
    if reach.everything or one.deleted or one.type == "Patient":
        return True
    if reach.patient is None and reach.organization in organizations[:1]:
        return True
    return patient_of(one.json, base_url) in (None, patient)
