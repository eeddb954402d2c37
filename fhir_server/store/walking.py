"""Walk through all that an asker sees of some types, a page at a time, the oldest change first.

For what is asked for as a whole: a patient's record, an export. The order is that of the last
change, so that what changes meanwhile is met later and nothing is missed; the place of a page is
that of its last row.

References
----------
* FHIR R4 Patient, operation $everything; Bulk Data Access, "Export"
* `search.reach`: the gate's answer as a condition on rows
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from fhir_server.access import gate
from fhir_server.access.gate import Reach
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Texts
from fhir_server.search.reach import predicate
from fhir_server.search.stored import Stored
from resources.errors import Forbidden

NO_END: Final = 2**63 - 1


class Place(NamedTuple):
    """After which row a page begins: the group of types, then instant and key of the row."""

    group: int = 0
    instant: int = 0
    key: int = 0


class Walk(NamedTuple):
    """What is to be walked through.

    Parameters
    ----------
    types
        The resource types.
    patients
        Only what is about these patients; None for everything.
    about_patients
        Only what is about some patient.
    since, until
        Only what was last changed after, and not after, these instants.
    care
        Only what is about care in this period, as far as it has a date of its own.
    """

    types: tuple[str, ...]
    patients: tuple[str, ...] | None = None
    about_patients: bool = False
    since: int = 0
    until: int = NO_END
    care: tuple[int, int] | None = None


class Leg(NamedTuple):
    """A page of a walk; `next` is where the next one begins, None at the end."""

    rows: list[Stored]
    next: Place | None


def groups(context: RequestContext, types: Sequence[str]) -> list[tuple[Reach, tuple[str, ...]]]:
    """Put types together that the asker sees equally far; those it does not see are left out."""
    found: dict[Any, tuple[Reach, list[str]]] = {}
    for type in types:
        try:
            reach = gate.reach(context, "r", type)
        except Forbidden:
            continue
        key = (reach, type if reach.only else "")
        found.setdefault(key, (reach, []))[1].append(type)
    return [(reach, tuple(listed)) for reach, listed in found.values()]


async def page(
    database: Database, context: RequestContext, walk: Walk, place: Place, count: int
) -> Leg:
    """Answer the page after a place."""
    rows: list[Stored] = []
    listed = groups(context, walk.types)
    for number in range(place.group, len(listed)):
        start = place if number == place.group else Place(number)
        sql, params = _statement(context, walk, *listed[number], start, count - len(rows) + 1)
        found = await database.run(sql, params)
        room = count - len(rows)
        rows += [Stored._make((*row[:5], row[5] or b"")) for row in found[:room]]
        if len(found) > room:
            if room:
                last = found[room - 1]
                return Leg(rows, Place(number, last[3], last[6]))
            return Leg(rows, start)
    return Leg(rows, None)


async def changed_since(
    database: Database, context: RequestContext, walk: Walk, place: str, count: int
) -> tuple[list[Stored], str | None]:
    """Answer, as it was at `walk.until`, what has changed since: by id, after the one at `place`.

    One type at a time: `walk.types` has one.
    """
    (type,) = walk.types
    listed = groups(context, walk.types)
    if not listed:
        return [], None
    params: list[Any] = [type, walk.until, walk.since, place, count + 1]
    conditions = [predicate(listed[0][0], "c", params, type=type, instant=context.instant)]
    conditions += _about(walk, params)
    rows = await database.run(_BEFORE.format(" and ".join(conditions)), params)
    found = [Stored._make((*row[:5], row[5] or b"")) for row in rows[:count]]
    return found, found[-1].id if len(rows) > count else None


_BEFORE: Final = """
select v.type, v.id, v.version, v.instant, v.interaction, v.body
from current as c join lateral (
  select * from version as v where v.type = c.type and v.id = c.id and v.instant <= $2
  order by v.version desc limit 1) as v on v.interaction <> 'D' and v.instant > $3
where c.type = $1 and c.instant > $2 and c.id > $4 and {}
order by c.id limit $5
"""


def _statement(
    context: RequestContext,
    walk: Walk,
    reach: Reach,
    types: tuple[str, ...],
    place: Place,
    count: int,
) -> tuple[str, list[Any]]:
    # One type is asked for as such: the index by instant then gives the rows in order.
    is_one = len(types) == 1
    params: list[Any] = [
        types[0] if is_one else Texts(types),
        place.instant,
        place.key,
        walk.since,
        walk.until,
        count,
    ]
    conditions = [predicate(reach, "c", params, type=types[0], instant=context.instant)]
    conditions += _about(walk, params)
    sql = (
        "select c.type, c.id, v.version, v.instant, v.interaction, v.body, c.key"
        " from current as c join version as v on v.key = c.key"
        f" where c.type = {'$1' if is_one else 'any($1)'} and not c.deleted"
        " and (c.instant, c.key) > ($2, $3)"
        f" and c.instant > $4 and c.instant <= $5 and {' and '.join(conditions)}"
        " order by c.instant, c.key limit $6"
    )
    return sql, params


def _about(walk: Walk, params: list[Any]) -> list[str]:
    conditions = []
    if walk.patients is not None:
        params.append(Texts(walk.patients))
        conditions.append(f"c.patient = any(${len(params)}::text[])")
    elif walk.about_patients:
        conditions.append("c.patient is not null")
    if walk.care is not None:
        params += walk.care
        low, high = f"${len(params) - 1}", f"${len(params)}"
        during = (
            f"c.sort_at <= {high}::bigint and coalesce(c.sort_until, c.sort_at) >= {low}::bigint"
        )
        conditions.append(f"(c.type = 'Patient' or c.sort_at is null or {during})")
    return conditions
