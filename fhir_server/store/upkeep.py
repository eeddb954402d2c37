"""Upkeep: whether versions, current rows and index agree, and the index made anew.

What is found is told, nothing is mended but the index, which can always be made from the versions
again: after a change of the search parameters, or should it ever be doubted.

References
----------
* FHIR http, "Resource versioning": versions of a resource are numbered without a gap here
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from fhir_server.postgres.database import Database, Integers, Texts
from fhir_server.search.stored import Stored
from fhir_server.search.terms import Terms
from fhir_server.store import citations, index_rows
from fhir_server.store.index_rows import SEPARATOR

Row: TypeAlias = tuple[Any, ...]

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
                                    union all select type, key from string_term
                                    union all select type, key from value_term) as t
where not exists (select from current as c where c.key = t.key and not c.deleted)
"""

VALUE: Final = (
    f"concat_ws('=', code, n, array_to_string(words, '{SEPARATOR}'), low, high, low2, high2)"
)

CURRENT: Final = f"""
select c.key, c.type, c.id, c.version, c.instant, v.interaction, v.body, c.sort_at, c.sort_until,
  array_to_string(c.terms, '{SEPARATOR}'),
  array(select row(code, low, high)::text from date_term where key = c.key order by 1),
  array(select code || '=' || value || '=' || coalesce(originals, '')
        from string_term where key = c.key order by 1),
  array(select {VALUE} from value_term where key = c.key order by 1), c.texts
from current as c join version as v on v.key = c.key
where c.key > $1 and not c.deleted and ($3::text[] is null or c.type = any($3::text[]))
  and ($4::bigint[] is null or c.key = any($4::bigint[]))
order by c.key limit $2
"""

LOCK: Final = "select key from current where key = any($1) and not deleted for update"

FORGET_DATES: Final = "delete from date_term where key = any($1)"
FORGET_STRINGS: Final = "delete from string_term where key = any($1)"
FORGET_VALUES: Final = "delete from value_term where key = any($1)"

SET_TERMS: Final = f"""
update current set sort_at = new.sort_at, sort_until = new.sort_until,
  terms = string_to_array(new.terms, '{SEPARATOR}'), texts = new.texts
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[])
  as new(key, sort_at, sort_until, terms, texts)
where current.key = new.key
"""
ADD_DATES: Final = """
insert into date_term(type, code, low, high, key)
select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
"""
ADD_STRINGS: Final = """
insert into string_term(type, code, value, originals, key)
select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
"""
ADD_VALUES: Final = f"""
insert into value_term(type, code, n, words, low, high, low2, high2, key)
select type, code, n, string_to_array(words, '{SEPARATOR}'), low::numeric, high::numeric,
  low2::numeric, high2::numeric, key
from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::bigint[]) as new(type, code, n, words, low, high, low2, high2, key)
"""

DATE_KINDS: Final = (Texts, Texts, Integers, Integers, Integers)
STRING_KINDS: Final = (Texts, Texts, Texts, Texts, Integers)
VALUE_KINDS: Final = (Texts, Texts, Integers, Texts, Texts, Texts, Texts, Texts, Integers)

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
            if _indexed(row) != _shape(citations.indexed(stored.json, base_url))
        ]
    return found


async def reindex(database: Database, base_url: str, types: Iterable[str] | None = None) -> int:
    """Make the index of every current resource anew, and say how many there are.

    The server may go on working: a resource that is written meanwhile is left to that write.

    Parameters
    ----------
    types
        Only resources of these types.
    """
    count = 0
    async for rows in _pages(database, types):
        fresh = {row[0]: (stored, citations.indexed(stored.json, base_url)) for stored, row in rows}
        count += await _replace(database, fresh)
    return count


async def reindex_keys(database: Database, base_url: str, keys: Sequence[int]) -> int:
    """Make the index of some versions anew, those of them that are current."""
    count = 0
    for at in range(0, len(keys), PAGE):
        only = Integers(keys[at : at + PAGE])
        rows = await database.run(CURRENT, (0, PAGE, None, only))
        fresh = {row[0]: _indexed_anew(row, base_url) for row in rows}
        count += await _replace(database, fresh)
    return count


def _indexed_anew(row: Row, base_url: str) -> tuple[Stored, Terms]:
    stored = Stored(*row[1:7])
    return stored, citations.indexed(stored.json, base_url)


async def _replace(database: Database, fresh: Mapping[int, tuple[Stored, Terms]]) -> int:
    async with database.transaction() as transaction:
        locked = await transaction.run(LOCK, (Integers(fresh),))
        keys = [key for (key,) in locked]
        await transaction.run(FORGET_DATES, (Integers(keys),))
        await transaction.run(FORGET_STRINGS, (Integers(keys),))
        await transaction.run(FORGET_VALUES, (Integers(keys),))
        indexed = [(key, *fresh[key]) for key in keys]
        await transaction.run(SET_TERMS, (
            Integers(keys),
            Integers([index.sort_at for _, _, index in indexed]),
            Integers([index.sort_until for _, _, index in indexed]),
            Texts([index_rows.joined(index.terms) for _, _, index in indexed]),
            Texts([index_rows.marked(index.texts) for _, _, index in indexed]),
        ))  # fmt: skip
        dates = [
            (stored.type, *date, key) for key, stored, index in indexed for date in set(index.dates)
        ]
        strings = [
            (stored.type, code, value, originals, key)
            for key, stored, index in indexed
            for (code, value), originals in index_rows.texts(index.strings).items()
        ]
        values = [
            (stored.type, *value, key)
            for key, stored, index in indexed
            for value in index_rows.values(index.values)
        ]
        await transaction.run(ADD_DATES, _columns(dates, DATE_KINDS))
        await transaction.run(ADD_STRINGS, _columns(strings, STRING_KINDS))
        await transaction.run(ADD_VALUES, _columns(values, VALUE_KINDS))
        return len(keys)


async def _pages(
    database: Database, types: Iterable[str] | None = None
) -> AsyncIterator[list[tuple[Stored, Row]]]:
    after, only = 0, None if types is None else Texts(types)
    while rows := await database.run(CURRENT, (after, PAGE, only, None)):
        yield [(Stored(*row[1:7]), row) for row in rows]
        after = rows[-1][0]


def _indexed(row: Row) -> tuple[Any, ...]:
    """What the database holds of an index, in an order of its own."""
    sort_at, sort_until, joined, dates, strings, values, texts = row[7:]
    lists = sorted(dates), sorted(strings), sorted(values)
    return sort_at, sort_until, _set(joined or ""), *lists, texts


def _shape(index: Terms) -> tuple[Any, ...]:
    """What it should hold, in the same order."""
    dates = {f"({code},{low},{high})" for code, low, high in index.dates}
    strings = [
        f"{code}={value}={originals or ''}"
        for (code, value), originals in index_rows.texts(index.strings).items()
    ]
    values = [
        "=".join(str(each) for each in value if each is not None)
        for value in index_rows.values(index.values)
    ]
    terms_ = _set(index_rows.joined(index.terms))
    lists = sorted(dates), sorted(strings), sorted(values)
    return index.sort_at, index.sort_until, terms_, *lists, index_rows.marked(index.texts)


def _set(joined: str) -> list[str]:
    return sorted(set(joined.split(SEPARATOR)))


def _columns(rows: Sequence[tuple[Any, ...]], kinds: Sequence[Any]) -> list[Any]:
    return [kind([row[n] for row in rows]) for n, kind in enumerate(kinds)]
