"""Parts of the statements that count: rows summed up, and what search terms say.

References
----------
* PostgreSQL documentation: GROUPING SETS; arrays
"""

from typing import Any, Final

from fhir_server.reports.measures import Asked

Parameters = list[Any]

OWNER: Final = "coalesce(nullif(r.organizations[1], ''), r.organizations[2], '')"
"""Who created a row of `current`; of what the server made, the first that it names as a party."""


def place(value: Any, params: Parameters) -> str:
    """Add a parameter, and give its place."""
    params.append(value)
    return f"${len(params)}"


def summed(measure: str, number: str, source: str, asked: Asked) -> str:
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


def of_terms(alias: str, prefix: str, begins: str = "") -> str:
    """The first value among the search terms of a row that have this prefix, or nothing."""
    return (
        f"coalesce((select min(substr(x, {len(prefix) + 1})) from unnest({alias}.terms) as x"
        f" where starts_with(x, '{prefix}{begins}') and strpos(x, '/_history/') = 0), '')"
    )


def modality(study: str) -> str:
    """The modalities of a study, in order, or nothing."""
    return (
        f"coalesce((select {_MODALITIES} from current as i, unnest(i.terms) as x"
        f" where i.type = 'ImagingStudy' and i.id = substr({study}, 14) and {_IS_MODALITY}), '')"
    )


def own_modality() -> str:
    """The modalities of a study `r` itself, in order, or nothing."""
    return f"coalesce((select {_MODALITIES} from unnest(r.terms) as x where {_IS_MODALITY}), '')"


_MODALITIES: Final = "string_agg(distinct substr(x, 13), ' ')"
_IS_MODALITY: Final = "starts_with(x, 'IS.modality=') and strpos(x, '|') = 0"
