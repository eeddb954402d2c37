"""History: the versions of a resource, of a type or of all, cut by time, the newest first.

Those of one resource are counted; its versions are numbers, so its pages are kept apart by them.
Those of a type or of all are read from the change log backwards: a page begins after the line that
the page before ended with, so whatever is written meanwhile moves nothing. One page looks at no
more than `MOST_SCANNED` lines; it may then hold fewer versions than were asked for, and goes on.

References
----------
* FHIR http, "history": `_count`, `_since`, `_at`; "sorted with oldest versions last"
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from fhir_server.access import gate
from fhir_server.access.gate import Reach
from fhir_server.audit import ledger
from fhir_server.audit.ledger import COLUMNS, Entry
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.search import reach
from fhir_server.search.find import Page
from fhir_server.search.stored import Stored
from fhir_server.store.reading import (
    AFTER_GATED,
    GATED,
    NOT_SEEN,
    NOT_THERE,
    Asked,
    is_told,
    parameters,
)
from resources.errors import Forbidden, Invalid, NotFound

MOST_SCANNED: Final = 2000
"""Lines of the change log that one page looks at."""

BEGINNING: Final = 0
END: Final = 2**63 - 1


class Cut(NamedTuple):
    """Which part of a history, and how much of it at a time.

    Parameters
    ----------
    size
        Versions on a page.
    since
        No version from before this instant.
    low, high
        Only versions that were current at some time from `low` to `high`.
    cursor
        The `next` of the page before.
    """

    size: int
    since: int = BEGINNING
    low: int = BEGINNING
    high: int = END
    cursor: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut away."""
        return (self.since, self.low, self.high) == (BEGINNING, BEGINNING, END)


CURRENT_AFTER: Final = """not exists (select from version as w where w.type = {v}.type
  and w.id = {v}.id and w.version = {v}.version + 1 and w.instant <= {low})"""
"""A version was current after an instant: the next one is not from before it."""

HISTORY: Final = f"""{GATED}, written as (
  insert into audit({COLUMNS})
  select e.instant, e.interaction,
    case when r.seen then {ledger.SUCCESS} else {ledger.MINOR_FAILURE} end,
    e.subject, e.organization, e.client, e.role, e.origin, e.request, r.type, r.id, e.version,
    r.patient, e.query, e.hits,
    case when r.seen then null when r.key is null then '{NOT_THERE}' else '{NOT_SEEN}' end, null,
    e.purpose
  from r join e on e.n = r.n
)
select r.newest, r.patient, r.organizations, v.version, v.instant, v.interaction, v.body
from r left join lateral (
  select v.* from version as v
  where v.type = r.type and v.id = r.id and v.version < ${AFTER_GATED}
    and v.instant >= ${AFTER_GATED + 2} and v.instant <= ${AFTER_GATED + 4}
    and {CURRENT_AFTER.format(v="v", low=f"${AFTER_GATED + 3}")}
  order by v.version desc limit ${AFTER_GATED + 1}) as v on true
where r.seen
order by v.version desc
"""

_CURSOR: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})", re.ASCII)


async def of_one(database: Database, ask: Asked, cut: Cut, base_url: str) -> Page:
    """Answer a page of the versions of one resource; its total is their number, if all are meant.

    Raises
    ------
    NotFound
        There is no such resource, or none the asker may see.
    """
    places = [_version(cut.cursor), cut.size + 1, cut.since, cut.low, cut.high]
    rows = await database.run(HISTORY, [*parameters([ask]), *places])
    if not rows:
        raise NotFound(f"There is no {ask.type}/{ask.id}.")
    newest, patient, organizations, *_ = rows[0]
    versions = [
        Stored(ask.type, ask.id, version, instant, interaction, body or b"")
        for _, _, _, version, instant, interaction, body in rows[: cut.size]
        if version is not None
    ]
    following = str(versions[-1].version) if len(rows) > cut.size else None
    told = [one for one in versions if is_told(ask.reach, one, patient, organizations, base_url)]
    return Page(told, [], newest if cut.is_whole else None, following)


async def of_types(
    database: Database,
    context: RequestContext,
    type: str | None,
    reaches: Mapping[str, Reach],
    cut: Cut,
    row: Entry,
    base_url: str,
) -> Page:
    """Answer a page of the history of a type, or of all types.

    Parameters
    ----------
    type
        None for all.
    reaches
        How far the asker sees each type that is wanted.
    row
        What the ledger is to say; its `hits` are filled in.
    """
    before = _before(cut.cursor)
    params: list[Any] = [*before, cut.since, cut.low, cut.high, cut.size]
    sql = _statement(context, type, reaches, row, params)
    rows = await database.run(sql, params)
    *found, (_, scanned, *last) = rows
    versions = [
        (Stored._make((*columns[:5], columns[5] or b"")), patient, organizations)
        for _, _, _, _, *columns, patient, organizations in found[: cut.size]
    ]
    told = [
        stored
        for stored, patient, organizations in versions
        if is_told(reaches[stored.type], stored, patient, organizations, base_url)
    ]
    return Page(told, [], None, _next(cut, found, scanned, last))


def reaches(context: RequestContext, types: Sequence[str]) -> dict[str, Reach]:
    """Ask the gate how far each type is seen; what is not seen at all is left out.

    SMART scopes count the history of a type as a search.
    """
    found: dict[str, Reach] = {}
    for type in types:
        try:
            found[type] = gate.reach(context, "s", type)
        except Forbidden:
            continue
    return found


def _statement(
    context: RequestContext,
    type: str | None,
    reaches: Mapping[str, Reach],
    row: Entry,
    params: list[Any],
) -> str:
    def place(value: Any) -> str:
        params.append(value)
        return f"${len(params)}"

    wanted = f"h.type = {place(type)}" if type else "true"
    seen = []
    for extent in dict.fromkeys(reaches.values()):
        types = [each for each, its in reaches.items() if its == extent]
        condition = reach.predicate(extent, "c", params, type=types[0], instant=context.instant)
        seen.append(f"(c.type = any({place(types)}::text[]) and {condition})")
    noted = ", ".join(
        "(select count(*) from page where n <= $7)" if name == "hits" else f"{place(value)}"
        for name, value in row._asdict().items()
    )
    return f"""
with scanned as materialized (
  select h.*, row_number() over (order by h.instant desc, h.xid desc, h.key desc) as n
  from (select h.instant, h.xid, h.key, h.type, h.id from change as h
        where (h.instant, h.xid, h.key) < ($1, $2::text::xid8, $3)
          and h.instant >= $4 and h.instant <= $6 and {wanted}
        order by h.instant desc, h.xid desc, h.key desc limit {MOST_SCANNED}) as h
), page as materialized (
  select row_number() over () as n, s.instant as at, s.xid, s.key,
    v.type, v.id, v.version, v.instant, v.interaction, v.body, c.patient, c.organizations
  from (select * from scanned order by n) as s
  cross join lateral (
    select * from current where type = s.type and id = s.id limit 1) as c
  cross join lateral (select * from version where key = s.key limit 1) as v
  where ({" or ".join(seen)}) and {CURRENT_AFTER.format(v="v", low="$5")}
  limit $7 + 1
), last as materialized (
  select * from scanned order by n desc limit 1
), written as (
  insert into audit({COLUMNS}) select {noted}
)
select n, at, xid::text, key, type, id, version, instant, interaction::text, body,
  patient, organizations from page
union all
select null, (select count(*) from scanned), (select xid::text from last), (select key from last),
  null, null, null, (select instant from last), null, null, null, null
from (select) as one
order by 1 nulls last"""


def _next(cut: Cut, found: Sequence[Any], scanned: int, last: Sequence[Any]) -> str | None:
    """Say where the page after this one begins, if there is one."""
    if len(found) > cut.size:
        _, at, xid, key, *_ = found[cut.size - 1]
        return f"{at}.{xid}.{key}"
    if scanned == MOST_SCANNED:
        xid, key, _, _, _, instant, *_ = last
        return f"{instant}.{xid}.{key}"
    return None


def _version(cursor: str | None) -> int:
    if cursor is None:
        return 2**31
    if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > 10:
        raise Invalid("The place in the history is not one this server gave.", "_cursor")
    return int(cursor)


def _before(cursor: str | None) -> tuple[int, str, int]:
    if cursor is None:
        return END, str(END), END
    parts = _CURSOR.fullmatch(cursor)
    if parts is None:
        raise Invalid("The place in the history is not one this server gave.", "_cursor")
    return int(parts[1]), parts[2], int(parts[3])
