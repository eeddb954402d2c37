"""How far a principal sees, as a condition on rows of `current`.

The gate says it (`access.gate.Reach`); here it becomes SQL, part of the very statement that
searches, so that matches, totals, pages and includes are right by construction.

References
----------
* FHIR R4 search, "Search and access control"; FHIR Security, "Access Control"
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from fhir_server.access import granted, sharing, withheld
from fhir_server.access.gate import Reach
from fhir_server.search import reference, token
from fhir_server.search.escaping import split
from fhir_server.search.terms import initials
from resources.search_parameters import parameter

Place: TypeAlias = Callable[[str], str]
"""The name of a value -> its placeholder."""


class Extent(NamedTuple):
    """A reach without its values: all that the text of a statement depends on.

    `only` counts the demands of each alternative.
    """

    everything: bool
    organization: bool
    patient: bool
    open: bool
    only: tuple[int, ...]
    emergency: bool


def predicate(reach: Reach, alias: str, params: list[Any], *, type: str, instant: int) -> str:
    """Write the condition, and append what it needs to the parameters of a statement.

    Parameters
    ----------
    alias
        Of the row of `current`.
    params
        The parameters so far; ``$1`` is the first.
    instant
        Now, in microseconds since 1970 UTC: relations that have ended do not count.
    """
    values = bind(reach, type, instant, "")
    places: dict[str, str] = {}

    def place(name: str) -> str:
        if name not in places:
            params.append(values[name])
            places[name] = f"${len(params)}"
        return places[name]

    return text(extent(reach), alias, "", place)


def extent(reach: Reach) -> Extent:
    """What kind of reach it is."""
    return Extent(
        reach.everything,
        reach.organization is not None,
        reach.patient is not None,
        reach.open,
        tuple(len(alternative) for alternative in reach.only),
        reach.emergency,
    )


def bind(reach: Reach, type: str, instant: int, name: str) -> dict[str, Any]:
    """The values of a reach, by the names that `text` gives them."""
    values: dict[str, Any] = {
        f"{name}organization": reach.organization,
        f"{name}patient": reach.patient,
        f"{name}instant": instant,
    }
    for n, alternative in enumerate(reach.only):
        for m, (code, value) in enumerate(alternative):
            values[f"{name}only{n}.{m}"] = _terms(type, code, value)
    return values


def text(extent: Extent, alias: str, name: str, place: Place, about: str | None = None) -> str:
    """Write the condition for a kind of reach.

    Parameters
    ----------
    name
        Begins the names of its values.
    about
        SQL of the one patient whom all rows are about, if it is known: the relation is then looked
        up once and not once a row.
    """
    conditions = []
    if not extent.everything and not extent.emergency:
        conditions.append(_related(extent, alias, name, place, about))
        if extent.organization:
            organization, instant = place(name + "organization"), place(name + "instant")
            conditions.append(withheld.seen(alias, f"{organization}::text", f"{instant}::bigint"))
    if extent.patient:
        same = f"{alias}.patient = {place(name + 'patient')}"
        conditions.append(f"({same} or {alias}.patient is null)" if extent.open else same)
    if extent.only:
        conditions.append(_only(extent, alias, name, place))
    return " and ".join(conditions) or "true"


def _related(extent: Extent, alias: str, name: str, place: Place, about: str | None) -> str:
    ways = []
    if extent.organization:
        organization = f"{place(name + 'organization')}::text"
        ways.append(f"{organization} = any({alias}.organizations)")
        ways.append(
            f"exists (select from relation r where r.organization = {organization}"
            f" and r.patient = {about or alias + '.patient'}"
            f" and r.until > {place(name + 'instant')}::bigint and not r.limited)"
        )
        ways.append(sharing.seen(alias, organization, f"{place(name + 'instant')}::bigint"))
        ways.append(granted.seen(alias, organization, f"{place(name + 'instant')}::bigint"))
    if extent.open:
        ways.append(f"{alias}.patient is null")
    return f"({' or '.join(ways)})" if ways else "false"


def _only(extent: Extent, alias: str, name: str, place: Place) -> str:
    alternatives = (
        " and ".join(f"{alias}.terms && {place(f'{name}only{n}.{m}')}::text[]" for m in range(size))
        for n, size in enumerate(extent.only)
    )
    return f"({' or '.join(each or 'true' for each in alternatives)})"


def _terms(type: str, code: str, value: str) -> list[str]:
    """The terms that a search-scoped scope demands one of; what is not indexed matches nothing."""
    prefix = f"{initials(type)}.{code}"
    found = parameter(type, code)
    if found is not None and found.kind == "token":
        return [
            term for each in split(value, ",") for term in token.sought(prefix, token.read(each))
        ]
    return reference.sought(prefix, split(value, ","))
