"""Upkeep: whether versions, current rows and index agree, and the index made anew.

What is found is told, nothing is mended but the index, which can always be made from the versions
again: after a change of the search parameters, or should it ever be doubted.

References
----------
* FHIR http, "Resource versioning": versions of a resource are numbered without a gap here
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from fhir_server.postgres.database import Database, Integers, Row, Texts
from fhir_server.search import terms
from fhir_server.search.stored import Stored
from fhir_server.search.terms import Terms
from fhir_server.store import versions
from fhir_server.store.versions import SEPARATOR

PAGE: Final = 500

NOT_NEWEST: Final = """
select c.type, c.id from current as c
where not exists (select from version as v where v.key = c.key and v.type = c.type and v.id = c.id
                  and v.version = c.version and v.instant = c.instant
                  and (v.interaction = 'D') = c.deleted)
   or exists (select from version as v where v.type = c.type and v.id = c.id
              and v.version > c.version)
"""

WITH_GAPS: Final = """
select type, id from version group by type, id having max(version) <> count(*) or min(version) <> 1
"""

NOT_CURRENT: Final = """
select distinct v.type, v.id from version as v
where not exists (select from current as c where c.type = v.type and c.id = v.id)
"""

NOT_IN_LOG: Final = """
select v.type, v.id from version as v
where not exists (select from change as c where c.key = v.key and c.instant = v.instant)
"""

LEFT_OVER: Final = """
select distinct t.type, t.key from (select type, key from date_term
                                    union all select type, key from string_term) as t
where not exists (select from current as c where c.key = t.key and not c.deleted)
"""

CURRENT: Final = f"""
select c.key, c.type, c.id, c.version, c.instant, v.interaction, v.body, c.sort_at, c.sort_until,
  array_to_string(c.terms, '{SEPARATOR}'),
  array(select row(code, low, high)::text from date_term where key = c.key order by 1),
  array(select code || '=' || value from string_term where key = c.key order by 1)
from current as c join version as v on v.key = c.key
where c.key > $1 and not c.deleted order by c.key limit $2
"""

LOCK: Final = "select key from current where key = any($1) and not deleted for update"

FORGET_DATES: Final = "delete from date_term where key = any($1)"
FORGET_STRINGS: Final = "delete from string_term where key = any($1)"

SET_TERMS: Final = f"""
update current set sort_at = new.sort_at, sort_until = new.sort_until,
  terms = string_to_array(new.terms, '{SEPARATOR}')
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[])
  as new(key, sort_at, sort_until, terms)
where current.key = new.key
"""
ADD_DATES: Final = """
insert into date_term(type, code, low, high, key)
select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
"""
ADD_STRINGS: Final = """
insert into string_term(type, code, value, key)
select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
"""

DATE_KINDS: Final = (Texts, Texts, Integers, Integers, Integers)
STRING_KINDS: Final = (Texts, Texts, Texts, Integers)

DISAGREEMENTS: Final = (
    (NOT_NEWEST, "{}/{}: the current row is not its newest version"),
    (WITH_GAPS, "{}/{}: its versions are not numbered without a gap"),
    (NOT_CURRENT, "{}/{}: it has versions and no current row"),
    (NOT_IN_LOG, "{}/{}: a version is missing from the change log"),
    (LEFT_OVER, "{}: index terms of version {} were left over"),
)  # fmt: skip


async def problems(database: Database, base_url: str) -> list[str]:
    """Tell everything that does not agree, a sentence each.

    Parameters
    ----------
    base_url
        Our FHIR base, as the store has it.
    """
    found = [
        sentence.format(*row)
        for statement, sentence in DISAGREEMENTS
        for row in await database.run(statement)
    ]
    async for rows in _pages(database):
        found += [
            f"{stored.reference}: its index is not what its parameters say"
            for stored, row in rows
            if _indexed(row) != _shape(terms.index(stored.json, base_url))
        ]
    return found


async def reindex(database: Database, base_url: str) -> int:
    """Make the index of every current resource anew, and say how many there are.

    The server may go on working: a resource that is written meanwhile is left to that write.
    """
    count = 0
    async for rows in _pages(database):
        fresh = {row[0]: (stored, terms.index(stored.json, base_url)) for stored, row in rows}
        count += await _replace(database, fresh)
    return count


async def _replace(database: Database, fresh: Mapping[int, tuple[Stored, Terms]]) -> int:
    async with database.transaction() as transaction:
        locked = await transaction.run(LOCK, (Integers(fresh),))
        keys = [key for (key,) in locked]
        await transaction.run(FORGET_DATES, (Integers(keys),))
        await transaction.run(FORGET_STRINGS, (Integers(keys),))
        indexed = [(key, *fresh[key]) for key in keys]
        await transaction.run(SET_TERMS, (
            Integers(keys),
            Integers([index.sort_at for _, _, index in indexed]),
            Integers([index.sort_until for _, _, index in indexed]),
            Texts([versions.joined(index.terms) for _, _, index in indexed]),
        ))  # fmt: skip
        dates = [
            (stored.type, *date, key) for key, stored, index in indexed for date in set(index.dates)
        ]
        strings = [
            (stored.type, code, value, key)
            for key, stored, index in indexed
            for code, value in {(code, versions.cut(value)) for code, value in index.strings}
        ]
        await transaction.run(ADD_DATES, _columns(dates, DATE_KINDS))
        await transaction.run(ADD_STRINGS, _columns(strings, STRING_KINDS))
        return len(keys)


async def _pages(database: Database) -> AsyncIterator[list[tuple[Stored, Row]]]:
    after = 0
    while rows := await database.run(CURRENT, (after, PAGE)):
        yield [(Stored(*row[1:7]), row) for row in rows]
        after = rows[-1][0]


def _indexed(row: Row) -> tuple[Any, ...]:
    """What the database holds of an index, in an order of its own."""
    sort_at, sort_until, joined, dates, strings = row[7:]
    return sort_at, sort_until, _set(joined or ""), sorted(dates), sorted(strings)


def _shape(index: Terms) -> tuple[Any, ...]:
    """What it should hold, in the same order."""
    dates = {f"({code},{low},{high})" for code, low, high in index.dates}
    strings = {f"{code}={versions.cut(value)}" for code, value in index.strings}
    terms_ = _set(versions.joined(index.terms))
    return index.sort_at, index.sort_until, terms_, sorted(dates), sorted(strings)


def _set(joined: str) -> list[str]:
    return sorted(set(joined.split(SEPARATOR)))


def _columns(rows: Sequence[tuple[Any, ...]], kinds: Sequence[Any]) -> list[Any]:
    return [kind([row[n] for row in rows]) for n, kind in enumerate(kinds)]
