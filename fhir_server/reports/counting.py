"""Count: one statement over the ledger, one over the Provenance of the record.

Whoever may search AuditEvents may count them, and no further than they could search: the gate's
condition on the rows of the ledger is part of the statement. Of those rows an organisation counts
what it did itself, and what others did with what it had created; the rest is the others' business.
Acts it counts of its own. The system counts everything.

References
----------
* R014.4 of the requirements; docs/governance.md, "Counting"
* PostgreSQL documentation: GROUPING SETS, width_bucket
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fhir_server.access import gate
from fhir_server.access.gate import Reach
from fhir_server.audit import events_search
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Integers, Row, Statement, Texts
from fhir_server.reports import periods
from fhir_server.reports.measures import (
    ACCESSES,
    ACTS,
    EMERGENCY,
    KINDS,
    OPENED,
    Access,
    Act,
    Asked,
    Line,
)
from resources.errors import Exhausted, Forbidden

Parameters = list[Any]

MEMORY: Final = "set local work_mem = '64MB'"
"""Of a report, so that what a month holds is grouped without going to disk."""

SECONDS: Final = 20.0
"""A report may take longer than a search: who asks for one waits for it."""

OWNER: Final = "coalesce(nullif(r.organizations[1], ''), r.organizations[2], '')"
"""Who created a row of `current`; of what the server made, the first that it names as a party."""

MOVED: Final = "('in', 'out')"

_SOURCE: Final = "IS.source-organization=Organization/"
_STUDY: Final = "DR.imagingStudy="


async def count(database: Database, context: RequestContext, asked: Asked) -> list[Line]:
    """Count what is asked for, as far as the asker may see it.

    Raises
    ------
    Forbidden
        Scope or role do not let the asker search AuditEvents, or only some of them.
    Exhausted
        It took too long.
    """
    reach = gate.reach(context, "s", "AuditEvent")
    if reach.only:
        raise Forbidden("the scopes grant only some AuditEvents", step="scope")
    statements: list[Statement] = []
    if acts := [row for row in ACTS if row.measure in asked.measures]:
        params: Parameters = []
        statements.append((_of_acts(acts, reach, asked, params), params))
    if accesses := [row for row in ACCESSES if row.measure in asked.measures]:
        params = []
        statements.append((_of_accesses(accesses, reach, context, asked, params), params))
    try:
        async with asyncio.timeout(SECONDS):
            answers = await asyncio.gather(*(_asked(database, each) for each in statements))
    except TimeoutError:
        raise Exhausted("Ask for a shorter period or fewer measures.", code="too-costly") from None
    rows = [row for answer in answers for row in answer]
    order = {measure: n for n, measure in enumerate(asked.measures)}
    lines = [_line(row, asked) for row in rows]
    return sorted(lines, key=lambda line: (order[line.measure], line.values or ()))


async def _asked(database: Database, statement: Statement) -> list[Row]:
    """Ask one statement with the memory that it needs; two are asked at the same time."""
    async with database.transaction() as transaction:
        await transaction.run(MEMORY)
        return await transaction.run(*statement)


def _line(row: Row, asked: Asked) -> Line:
    measure, total, *values, number = row
    if total:
        return Line(measure, None, number)
    told = zip(asked.by, values, strict=True)
    return Line(measure, tuple(_value(name, value or "", asked) for name, value in told), number)


def _value(name: str, value: str, asked: Asked) -> str:
    if name == "period":
        return periods.named(asked.period, asked.starts[int(value) - 1])
    if name in ("organization", "creator") and value:
        return f"Organization/{value}"
    return value


def _place(value: Any, params: Parameters) -> str:
    params.append(value)
    return f"${len(params)}"


def _summed(measure: str, number: str, source: str, asked: Asked) -> str:
    """Sum rows up in total and by each combination of the dimensions.

    A row of the answer is the measure, whether it is the total, the dimensions and the number.
    """
    names = ", ".join(asked.by)
    sets = f"grouping sets ((), ({names}))" if names else "()"
    total = f"grouping({asked.by[0]})" if names else "1"
    shown = "".join(f"{name}::text, " for name in asked.by)
    return (
        f"select '{measure}' as measure, {total} as total, {shown}"
        f" coalesce({number}, 0)::bigint as number from {source} group by {sets}"
    )


def _of_acts(rows: Iterable[Act], reach: Reach, asked: Asked, params: Parameters) -> str:
    low, high = _place(asked.low, params), _place(asked.high, params)
    seen = ["true"]
    if not reach.everything:
        seen.append(f"{OWNER} = {_place(reach.organization, params)}::text")
    if reach.patient is not None:
        seen.append(f"r.patient = {_place(reach.patient, params)}::text")
    starts = _place(Integers(asked.starts), params) if "period" in asked.by else ""
    columns = {
        "organization": OWNER,
        "creator": OWNER,
        "person": _of_terms("r", "P.agent="),
        "role": "''",
        "purpose": "''",
        "modality": _modality("s.study"),
        "period": f"width_bucket(r.sort_at, {starts}::bigint[])",
    }
    dimensions = "".join(f", {columns[name]} as {name}" for name in asked.by)
    together: dict[Any, list[Act]] = {}
    for row in rows:
        together.setdefault((row.activities, row.target, row.study), []).append(row)
    firsts, counted = [], []
    for n, alike in enumerate(together.values()):
        firsts.append(f"first{n} as materialized ({_firsts(alike, dimensions, seen, params)}"
                      f" and r.sort_at >= {low} and r.sort_at < {high})")  # fmt: skip
        counted += [
            _summed(row.measure, "count(*)", f"first{n} where {row.measure}", asked)
            for row in alike
        ]
    return f"with {', '.join(firsts)} {' union all '.join(counted)}"


def _firsts(alike: Sequence[Act], dimensions: str, seen: Iterable[str], params: Parameters) -> str:
    """Find where the same was first done to each resource, and which of some acts that was.

    An earlier one is looked up by the resource alone: a second term would have PostgreSQL walk
    all that were ever done for each. ``offset 0`` keeps the two apart.
    """
    row = alike[0]
    done = f"{_place(Texts(f'P.activity={each.token}' for each in row.activities), params)}::text[]"
    prefix = f"P.target={row.target}/"
    kinds = ", ".join(f"{_kind_of(each)} as {each.measure}" for each in alike)
    return f"""select {kinds}{dimensions} from current as r
        cross join lateral (select substr(x, {len(prefix) + 1}) as id from unnest(r.terms) as x
            where starts_with(x, '{prefix}') and strpos(x, '/_history/') = 0) as d
        left join current as t on t.type = '{row.target}' and t.id = d.id
        cross join lateral (select {_study_of(row)} as study) as s
        where r.type = 'Provenance' and not r.deleted
            and r.terms && {done} and {" and ".join(seen)}
            and not exists (select from (
                select * from current where terms @> array['{prefix}' || d.id] offset 0
            ) as e where e.type = 'Provenance' and not e.deleted and e.terms && {done}
                and (e.sort_at, e.key) < (r.sort_at, r.key))"""


def _kind_of(row: Act) -> str:
    """The condition that the resource, `t`, is of the kind that is counted."""
    conditions = []
    for term, negated in ((row.having, ""), (row.lacking, "not ")):
        if term:
            compared = f"starts_with(x, '{term}')" if term.endswith("=") else f"x = '{term}'"
            conditions.append(
                f"{negated}exists (select from unnest(t.terms) as x where {compared})"
            )
    return " and ".join(conditions) or "true"


def _study_of(row: Act) -> str:
    if row.target == "ImagingStudy":
        return "'ImagingStudy/' || d.id"
    return _of_terms("t", row.study, "ImagingStudy/") if row.study else "''"


def _of_accesses(
    rows: Iterable[Access], reach: Reach, context: RequestContext, asked: Asked, params: Parameters
) -> str:
    wanted = list(rows)
    kinds = {kind for row in wanted for kind in row.kinds}
    low, high = _place(asked.low, params), _place(asked.high, params)
    conditions = [
        f"a.instant >= {low} and a.instant < {high} and a.outcome = 0 and a.role <> 'system'",
        _is_counted(kinds, params),
        events_search.seen(reach, context, params),
    ]
    starts = _place(Integers(asked.starts), params) if "period" in asked.by else ""
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
        mine = f"{_place(reach.organization, params)}::text"
        others = (
            f"(f.organization = {mine} or t.creator = {mine} or f.kind = '{EMERGENCY}' and t.party)"
        )
    modality = _modality(_accessed_study()) if "modality" in asked.by else "''"
    things = f"""thing as materialized (
        select f.type, f.id, {_creator()} as creator, {modality} as modality,
            {mine} = any(r.organizations) as party
        from (select distinct type, id from fact) as f
        join current as r on r.type = f.type and r.id = f.id
    ), """
    joined = "left join thing as t on t.type = f.type and t.id = f.id" if of_it else ""
    by = ", ".join(dict.fromkeys(("organization", "kind", "creator", *asked.by)))
    counted = " union all ".join(
        _distinct(row, asked) if row.distinct else _summed(row.measure, "sum(n)", _rows(row), asked)
        for row in wanted
    )
    return f"""with fact as not materialized (
        select {_named(facts)} from audit as a where {" and ".join(conditions)}
    ), {things if of_it else ""} shown as materialized (
        select {_named(shown)}, count(*) as n from fact as f {joined}
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
    listed = _place(Texts(interactions), params)
    ways = [
        f"(a.interaction = any({listed}::text[])"
        " and (a.patient is not null or a.type = 'ImagingStudy'))"
    ]
    if EMERGENCY in kinds:
        ways.append(_is_emergency(params))
    return f"({' or '.join(ways)})"


def _is_emergency(params: Parameters) -> str:
    return f"(a.interaction = 'login' and a.detail = {_place(OPENED, params)}::text)"


def _kind(kinds: Iterable[str], params: Parameters) -> str:
    listed: Mapping[str, str] = {
        kind: _place(Texts(KINDS[kind]), params) for kind in sorted(kinds) if kind in KINDS
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
    return f"coalesce(nullif({_of_terms('r', _SOURCE)}, ''), {OWNER})"


def _accessed_study() -> str:
    return (
        "case f.type when 'ImagingStudy' then 'ImagingStudy/' || f.id"
        f" when 'DiagnosticReport' then {_of_terms('r', _STUDY, 'ImagingStudy/')} else '' end"
    )


def _of_terms(alias: str, prefix: str, begins: str = "") -> str:
    """The first value among the search terms of a row that have this prefix, or nothing."""
    return (
        f"coalesce((select min(substr(x, {len(prefix) + 1})) from unnest({alias}.terms) as x"
        f" where starts_with(x, '{prefix}{begins}') and strpos(x, '/_history/') = 0), '')"
    )


def _modality(study: str) -> str:
    """The modalities of a study, in order, or nothing."""
    return (
        "coalesce((select string_agg(distinct substr(x, 13), ' ') from current as i,"
        f" unnest(i.terms) as x where i.type = 'ImagingStudy' and i.id = substr({study}, 14)"
        f" and starts_with(x, 'IS.modality=') and strpos(x, '|') = 0), '')"
    )
