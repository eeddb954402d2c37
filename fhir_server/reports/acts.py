"""Acts, counted in the Provenance of the record: each counts once, when it was first done.

What an organisation did itself is what it counts; the system counts everything.

References
----------
* R014.2, R014.4 of the requirements; docs/governance.md, "Counting"
* FHIR R4 Provenance: target, activity, agent
"""

from collections.abc import Iterable, Sequence
from typing import Any

from fhir_server.access.gate import Reach
from fhir_server.postgres.database import Integers, Texts
from fhir_server.reports import parts
from fhir_server.reports.measures import Act, Asked
from fhir_server.reports.parts import Parameters


def statement(rows: Iterable[Act], reach: Reach, asked: Asked, params: Parameters) -> str:
    """Write the statement that counts some acts, as far as somebody sees."""
    low, high = parts.place(asked.low, params), parts.place(asked.high, params)
    seen = ["true"]
    if not reach.everything:
        seen.append(f"{parts.OWNER} = {parts.place(reach.organization, params)}::text")
    if reach.patient is not None:
        seen.append(f"r.patient = {parts.place(reach.patient, params)}::text")
    starts = parts.place(Integers(asked.starts), params) if "period" in asked.by else ""
    columns = {
        "organization": parts.OWNER,
        "creator": parts.OWNER,
        "person": parts.of_terms("r", "P.agent="),
        "role": "''",
        "purpose": "''",
        "modality": parts.modality("s.study"),
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
            parts.summed(row.measure, "count(*)", f"first{n} where {row.measure}", asked)
            for row in alike
        ]
    return f"with {', '.join(firsts)} {' union all '.join(counted)}"


def _firsts(alike: Sequence[Act], dimensions: str, seen: Iterable[str], params: Parameters) -> str:
    """Find where the same was first done to each resource, and which of some acts that was.

    An earlier one is looked up by the resource alone: a second term would have PostgreSQL walk
    all that were ever done for each. ``offset 0`` keeps the two apart.
    """
    row = alike[0]
    activities = Texts(f"P.activity={each.token}" for each in row.activities)
    done = f"{parts.place(activities, params)}::text[]"
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
    return parts.of_terms("t", row.study, "ImagingStudy/") if row.study else "''"
