"""Accesses, counted in the ledger.

The gate's condition on the rows of the ledger is part of the statement. Of those rows an
organisation counts what it did itself, and what others did with what it had created; the rest is
the others' business. The system counts everything.

References
----------
* R014.1, R014.4 of the requirements; docs/governance.md, "Counting"
* PostgreSQL documentation: width_bucket
"""

from collections.abc import Iterable, Mapping
from typing import Final

from fhir_server.access.gate import Reach
from fhir_server.audit import events_search
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Integers, Texts
from fhir_server.reports import parts
from fhir_server.reports.measures import EMERGENCY, KINDS, OPENED, Access, Asked
from fhir_server.reports.parts import Parameters

MOVED: Final = "('in', 'out')"

FINE: Final = frozenset({"person", "period"})
"""By these few rows of the ledger are alike, and it is read twice rather than grouped first."""

_SOURCE: Final = "IS.source-organization=Organization/"
_STUDY: Final = "DR.imagingStudy="


def statement(
    rows: Iterable[Access], reach: Reach, context: RequestContext, asked: Asked, params: Parameters
) -> str:
    """Write the statement that counts some kinds of access, as far as somebody sees."""
    wanted = list(rows)
    kinds = {kind for row in wanted for kind in row.kinds}
    low, high = parts.place(asked.low, params), parts.place(asked.high, params)
    conditions = [
        f"a.instant >= {low} and a.instant < {high} and a.outcome = 0 and a.role <> 'system'",
        _is_counted(kinds, params),
        events_search.seen(reach, context, params),
    ]
    starts = parts.place(Integers(asked.starts), params) if "period" in asked.by else ""
    columns = {
        "organization": "coalesce(a.organization, '')",
        "person": "a.subject",
        "role": "split_part(a.role, '|', 1)",
        "purpose": "coalesce(a.purpose, '')",
        "period": f"width_bucket(a.instant, {starts}::bigint[])",
    }
    own = [name for name in dict.fromkeys(("organization", *asked.by)) if name in columns]
    of_it = _needs_resource(wanted, reach, asked)
    moved = any(row.distinct for row in wanted)
    # What was moved in names no resource, but the study and the object by their UIDs.
    facts = {
        **{name: columns[name] for name in own},
        "kind": _kind(kinds, params),
        "type": "a.type",
        "id": "case when a.id is null then split_part(split_part(a.query, '&', 1), '=', 2)"
              " else a.id end",
    }  # fmt: skip
    shown = {
        **{name: f"f.{name}" for name in own},
        "kind": "f.kind",
        "creator": "coalesce(t.creator, '')" if of_it else "''",
        "modality": "coalesce(t.modality, '')" if "modality" in asked.by else "''",
        "thing": f"case when f.kind in {MOVED} then f.id end" if moved else "null",
    }
    keys = ", ".join(str(n + 1) for n in range(len(shown)))
    others, mine = "true", "null::text"
    if not reach.everything:
        mine = f"{parts.place(reach.organization, params)}::text"
        others = (
            f"(f.organization = {mine} or t.creator = {mine} or f.kind = '{EMERGENCY}' and t.party)"
        )
    modality = _modality() if "modality" in asked.by else "''"
    things = f"""thing as materialized (
        select f.type, f.id, {_creator()} as creator, {modality} as modality,
            {mine} = any(r.organizations) as party
        from (select distinct type, id from fact) as f
        join current as r on r.type = f.type and r.id = f.id
    ), """
    joined = "left join thing as t on t.type = f.type and t.id = f.id" if of_it else ""
    by = ", ".join(dict.fromkeys(("organization", "kind", "creator", *asked.by)))
    counted = " union all ".join(
        _distinct(row, asked)
        if row.distinct
        else parts.summed(row.measure, "sum(n)", _rows(row), asked)
        for row in wanted
    )
    alike = ", ".join(str(n + 1) for n in range(len(facts)))
    once = f"count(*)::int as n from audit as a where {' and '.join(conditions)} group by {alike}"
    each = f"1 as n from audit as a where {' and '.join(conditions)}"
    kept, number = ("not ", each) if FINE & set(asked.by) else ("", once)
    return f"""with fact as {kept}materialized (
        select {_named(facts)}, {number}
    ), {things if of_it else ""} shown as materialized (
        select {_named(shown)}, sum(f.n)::int as n from fact as f {joined}
        where {others} group by {keys}
    ), tally as materialized (
        select {by}, sum(n) as n from shown group by {by}
    ) {counted}"""


def _named(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{expression} as {name}" for name, expression in columns.items())


def _needs_resource(rows: Iterable[Access], reach: Reach, asked: Asked) -> bool:
    return (
        not reach.everything
        or bool({"creator", "modality"} & set(asked.by))
        or any(row.distinct or row.crossing for row in rows)
    )


def _is_counted(kinds: Iterable[str], params: Parameters) -> str:
    interactions = [each for kind in kinds for each in KINDS.get(kind, ())]
    listed = parts.place(Texts(interactions), params)
    ways = [
        f"(a.interaction = any({listed}::text[])"
        " and (a.patient is not null or a.type = 'ImagingStudy'))"
    ]
    if EMERGENCY in kinds:
        ways.append(_is_emergency(params))
    return f"({' or '.join(ways)})"


def _is_emergency(params: Parameters) -> str:
    return f"(a.interaction = 'login' and a.detail = {parts.place(OPENED, params)}::text)"


def _kind(kinds: Iterable[str], params: Parameters) -> str:
    listed: Mapping[str, str] = {
        kind: parts.place(Texts(KINDS[kind]), params) for kind in sorted(kinds) if kind in KINDS
    }
    cases = " ".join(
        f"when a.interaction = any({place}::text[]) then '{kind}'" for kind, place in listed.items()
    )
    return f"case {cases} else '{EMERGENCY}' end" if cases else f"'{EMERGENCY}'"


def _rows(row: Access) -> str:
    crossing = " and creator <> '' and creator <> organization" if row.crossing else ""
    return f"tally where kind in {_in(row.kinds)}{crossing}"


def _distinct(row: Access, asked: Asked) -> str:
    """Count each thing once in total, and once in each combination of the dimensions."""
    kinds = f"shown where kind in {_in(row.kinds)}"
    each = "kind, organization, thing"
    total = ", null::text" * len(asked.by)
    counts = [
        f"select '{row.measure}', 1{total}, count(*)"
        f" from (select distinct {each} from {kinds}) as once"
    ]
    if asked.by:
        names = ", ".join(asked.by)
        all_names = ", ".join(dict.fromkeys((*asked.by, "kind", "organization", "thing")))
        texts = ", ".join(f"{name}::text" for name in asked.by)
        counts.append(
            f"select '{row.measure}', 0, {texts}, count(*)"
            f" from (select distinct {all_names} from {kinds}) as once group by {names}"
        )
    return " union all ".join(counts)


def _in(kinds: Iterable[str]) -> str:
    return f"({', '.join(repr(kind) for kind in kinds)})"


def _creator() -> str:
    """Who created what was accessed; of a study, who its images came from."""
    return f"coalesce(nullif({parts.of_terms('r', _SOURCE)}, ''), {parts.OWNER})"


def _modality() -> str:
    """The modality of what was accessed: of a study, or of the one that a report is about."""
    reported = parts.modality(parts.of_terms("r", _STUDY, "ImagingStudy/"))
    return (
        f"case f.type when 'ImagingStudy' then {parts.own_modality()}"
        f" when 'DiagnosticReport' then {reported} else '' end"
    )
