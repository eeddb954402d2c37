"""Append versions: the one statement that writes everything a unit of work changed.

For any number of resources it adds versions, replaces the current rows and their index terms,
notes relations, adds the change log's lines and the audit rows, and it does all of it or
nothing. What the rows of one kind have in common travels as arrays, one a column.

Two writers of one resource both want to add the same next version; the second one's is refused
by the unique key (type, id, version), whichever process it runs in. Rows are written in the
order of (type, id), so that units of work that touch the same resources cannot wait for each
other in a circle.

References
----------
* FHIR http, "Managing Resource Contention"
* PostgreSQL documentation: "Data-Modifying Statements in WITH"
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from fhir_server.audit import ledger
from fhir_server.audit.ledger import Entry
from fhir_server.postgres.database import Blobs, Integers, Texts, unnest
from fhir_server.search.stored import Stored
from fhir_server.search.terms import Terms, is_valued
from fhir_server.store import index_rows
from fhir_server.store.index_rows import SEPARATOR
from fhir_server.store.standing import AS_BEFORE, LIMITED, Relation


class Row(NamedTuple):
    """One version to write, and what is to be known of it.

    Parameters
    ----------
    stored
        The version itself; a deletion has no text.
    last
        It is the last one of its resource in this unit of work, and so becomes current.
    replaced
        Key of the version that was current before the unit of work.
    organizations
        First the one that created the resource (empty: the system), then the parties.
    relations
        What the resource makes, changes or ends; what was limited by it stays so.
    """

    stored: Stored
    last: bool
    replaced: int | None
    patient: str | None
    organizations: Sequence[str]
    relations: Sequence[Relation]
    terms: Terms


class Batch(NamedTuple):
    """What is written together: versions and audit rows."""

    rows: Sequence[Row]
    entries: Sequence[Entry]


_ROW_COLUMNS: Final = (
    ("type", "text[]"), ("id", "text[]"), ("version", "bigint[]"), ("instant", "bigint[]"),
    ("interaction", "text[]"), ("body", "bytea[]"), ("last", "bigint[]"),
    ("replaced", "bigint[]"), ("patient", "text[]"), ("organizations", "text[]"),
    ("sort_at", "bigint[]"), ("sort_until", "bigint[]"), ("terms", "text[]"), ("texts", "text[]"),
)  # fmt: skip
_DATE_COLUMNS: Final = (
    ("row", "bigint[]"), ("code", "text[]"), ("low", "bigint[]"), ("high", "bigint[]"),
)  # fmt: skip
_STRING_COLUMNS: Final = (
    ("row", "bigint[]"), ("code", "text[]"), ("value", "text[]"), ("originals", "text[]"),
)  # fmt: skip
_VALUE_COLUMNS: Final = (
    ("row", "bigint[]"), ("code", "text[]"), ("n", "bigint[]"), ("words", "text[]"),
    ("low", "text[]"), ("high", "text[]"), ("low2", "text[]"), ("high2", "text[]"),
)  # fmt: skip
_RELATION_COLUMNS: Final = (
    ("organization", "text[]"), ("patient", "text[]"), ("type", "text[]"), ("id", "text[]"),
    ("until", "bigint[]"), ("limited", "bigint[]"), ("instant", "bigint[]"),
)  # fmt: skip


def _unnested(columns: Sequence[tuple[str, str]], first: int) -> str:
    return unnest(*(kind for _, kind in columns), first=first)


def _names(columns: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f'"{name}"' for name, _ in columns)


_DATES_AT: Final = 1 + len(_ROW_COLUMNS)
_STRINGS_AT: Final = _DATES_AT + len(_DATE_COLUMNS)
_RELATIONS_AT: Final = _STRINGS_AT + len(_STRING_COLUMNS)
_AUDIT_AT: Final = _RELATIONS_AT + len(_RELATION_COLUMNS)

_VALUES_AT: Final = _AUDIT_AT + len(Entry._fields)

_WRITE: Final = f"""
with row as materialized (
  select given.*, nextval('version_key') as key
  from {_unnested(_ROW_COLUMNS, 1)} with ordinality as given({_names(_ROW_COLUMNS)}, n)
), version_ as (
  insert into version(key, type, id, version, instant, interaction, body)
  select key, type, id, version, instant, interaction, body from row order by n
), current_ as (
  insert into current(type, id, key, version, instant, deleted, patient, organizations,
                      sort_at, sort_until, terms, texts)
  select type, id, key, version, instant, interaction = 'D', patient,
         string_to_array(organizations, '{SEPARATOR}'), sort_at, sort_until,
         string_to_array(terms, '{SEPARATOR}'), texts
  from row where last = 1 order by n
  on conflict (type, id) do update set
    key = excluded.key, version = excluded.version, instant = excluded.instant,
    deleted = excluded.deleted, patient = excluded.patient,
    organizations = excluded.organizations, sort_at = excluded.sort_at,
    sort_until = excluded.sort_until, terms = excluded.terms, texts = excluded.texts
), change_ as (
  insert into change(log, key, type, id, interaction, instant)
  select (select number from log), key, type, id, interaction, instant from row
), dates_gone as (
  delete from date_term where key in (select replaced from row where replaced is not null)
), strings_gone as (
  delete from string_term where key in (select replaced from row where replaced is not null)
), dates as (
  insert into date_term(type, code, low, high, key)
  select row.type, term.code, term.low, term.high, row.key
  from {_unnested(_DATE_COLUMNS, _DATES_AT)} as term({_names(_DATE_COLUMNS)})
  join row on row.n = term."row"
), strings as (
  insert into string_term(type, code, value, key, originals)
  select row.type, term.code, term.value, row.key, term.originals
  from {_unnested(_STRING_COLUMNS, _STRINGS_AT)} as term({_names(_STRING_COLUMNS)})
  join row on row.n = term."row"
), relations as (
  insert into relation(organization, patient, type, id, until, limited)
  select organization, patient, type, id, until, case limited when {AS_BEFORE} then
      exists (select from relation as o where o.organization = given.organization
              and o.patient = given.patient and o.limited)
      and not exists (select from relation as o where o.organization = given.organization
                      and o.patient = given.patient and not o.limited and o.until > given.instant)
    else limited = {LIMITED} end
  from {_unnested(_RELATION_COLUMNS, _RELATIONS_AT)} as given({_names(_RELATION_COLUMNS)})
  on conflict (organization, patient, type, id) do update set
    until = excluded.until, limited = relation.limited or excluded.limited
)"""
_VALUES: Final = f""", values_gone as (
  delete from value_term where key in (select replaced from row where replaced is not null)
), values_ as (
  insert into value_term(type, code, words, low, high, low2, high2, key, n)
  select row.type, term.code, string_to_array(term.words, '{SEPARATOR}'), term.low::numeric,
         term.high::numeric, term.low2::numeric, term.high2::numeric, row.key, term.n
  from {_unnested(_VALUE_COLUMNS, _VALUES_AT)} as term({_names(_VALUE_COLUMNS)})
  join row on row.n = term."row"
)"""
_AUDIT: Final = f"""
insert into audit({ledger.COLUMNS}) select * from {ledger.unnested(_AUDIT_AT)}
"""

WRITE: Final = _WRITE + _AUDIT
WRITE_WITH_VALUES: Final = _WRITE + _VALUES + _AUDIT
"""The same for types that have values; the others pay nothing for them."""


def statement(batch: Batch) -> tuple[str, list[Any]]:
    """The statement that writes a batch, with its parameters."""
    rows = sorted(batch.rows, key=lambda row: row.stored[:3])
    given = parameters(batch)
    if any(is_valued(row.stored.type) for row in rows):
        return WRITE_WITH_VALUES, [*given, *_value_arrays(rows)]
    return WRITE, given


def parameters(batch: Batch) -> list[Any]:
    """The arrays of `WRITE` for a batch."""
    rows = sorted(batch.rows, key=lambda row: row.stored[:3])
    return [
        *_row_arrays(rows),
        *_date_arrays(rows),
        *_string_arrays(rows),
        *_relation_arrays(rows),
        *ledger.arrays(batch.entries),
    ]


def _row_arrays(rows: Sequence[Row]) -> list[Any]:
    return [
        Texts([row.stored.type for row in rows]),
        Texts([row.stored.id for row in rows]),
        Integers([row.stored.version for row in rows]),
        Integers([row.stored.instant for row in rows]),
        Texts([row.stored.interaction for row in rows]),
        Blobs([row.stored.text or None for row in rows]),
        Integers([int(row.last) for row in rows]),
        Integers([row.replaced if row.last else None for row in rows]),
        Texts([row.patient for row in rows]),
        Texts([index_rows.joined(row.organizations) for row in rows]),
        Integers([row.terms.sort_at for row in rows]),
        Integers([row.terms.sort_until for row in rows]),
        Texts([index_rows.joined(row.terms.terms) for row in rows]),
        Texts([index_rows.marked(row.terms.texts) for row in rows]),
    ]


def _date_arrays(rows: Sequence[Row]) -> list[Any]:
    terms = [
        (n, *term) for n, row in enumerate(rows, 1) if row.last for term in set(row.terms.dates)
    ]
    return [
        Integers([n for n, *_ in terms]),
        Texts([code for _, code, _, _ in terms]),
        Integers([low for _, _, low, _ in terms]),
        Integers([high for _, _, _, high in terms]),
    ]


def _string_arrays(rows: Sequence[Row]) -> list[Any]:
    terms = [
        (n, code, value, originals)
        for n, row in enumerate(rows, 1)
        if row.last and row.terms.strings
        for (code, value), originals in index_rows.texts(row.terms.strings).items()
    ]
    return [
        Integers([n for n, _, _, _ in terms]),
        Texts([code for _, code, _, _ in terms]),
        Texts([value for _, _, value, _ in terms]),
        Texts([originals for _, _, _, originals in terms]),
    ]


def _value_arrays(rows: Sequence[Row]) -> list[Any]:
    terms = [
        (n, *value)
        for n, row in enumerate(rows, 1)
        if row.last
        for value in index_rows.values(row.terms.values)
    ]
    kinds = (Integers, Texts, Integers, Texts, Texts, Texts, Texts, Texts)
    return [kind([term[at] for term in terms]) for at, kind in enumerate(kinds)]


def _relation_arrays(rows: Sequence[Row]) -> list[Any]:
    found = {
        (one.organization, one.patient, row.stored.type, row.stored.id): (one, row.stored.instant)
        for row in rows
        for one in row.relations
    }
    keys = sorted(found)
    return [
        Texts([organization for organization, _, _, _ in keys]),
        Texts([patient for _, patient, _, _ in keys]),
        Texts([type for _, _, type, _ in keys]),
        Texts([id for _, _, _, id in keys]),
        Integers([found[key][0].until for key in keys]),
        Integers([found[key][0].limited for key in keys]),
        Integers([found[key][1] for key in keys]),
    ]
