"""Query string -> Query: an immutable tree of criteria.

A parameter that this server does not know or cannot use is listed in `Query.ignored` with the
reason, or refused if the client asked for strict handling.

References
----------
* FHIR R4 search, "Handling Errors", "Search Contexts"
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final, NamedTuple

from fhir_server.access.gate import Reach
from fhir_server.search import chains, page, parameters, returned
from fhir_server.search.criterion import Chain as Chain
from fhir_server.search.criterion import Criterion as Criterion
from fhir_server.search.criterion import Unusable, compartment
from fhir_server.search.criterion import Value as Value
from fhir_server.search.criterion import like as like
from fhir_server.search.page import Key, Position, Sort
from fhir_server.search.returned import DEFAULT_COUNT, Include, Wanted, included_types
from resources.compartments import pins_patient
from resources.errors import Invalid

MOST_CRITERIA: Final = 50

MOST_VALUES: Final = parameters.MOST_VALUES

COMMON: Final = "Resource"
"""The type whose parameters every type has."""


_NONE: Final[frozenset[str]] = frozenset()


class Ignored(NamedTuple):
    """A parameter that was not used, and why."""

    name: str
    value: str
    why: str
    code: str = "not-supported"


class Group(NamedTuple):
    """Types of which a principal sees equally far."""

    types: tuple[str, ...]
    reach: Reach


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of one resource type, or of several: all `criteria` must be met.

    Parameters
    ----------
    type
        The type; empty if it is asked of several, which are `types`.
    count
        Matches on a page; 0 asks for the number alone.
    total
        ``none``, ``estimate``, ``accurate``, or None if the client does not say.
    cursor
        The sort values of the row after which the page begins; None for the first page.
    reach
        What the principal may see, fastened by `access.gate.narrow`.
    ignored
        Parameters that were not used; they stay out of the ``self`` link.
    groups
        The same for several types, fastened by `find.narrow`.
    """

    type: str
    criteria: tuple[Criterion, ...] = ()
    sort: tuple[Sort, ...] = ()
    count: int = DEFAULT_COUNT
    total: str | None = None
    includes: tuple[Include, ...] = ()
    revincludes: tuple[Include, ...] = ()
    cursor: Position | None = None
    reach: Reach | None = None
    ignored: tuple[Ignored, ...] = ()
    types: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()

    @property
    def touches(self) -> frozenset[str]:
        """The other resource types that the answer may depend on: chains and includes."""
        if not (self.includes or self.revincludes):
            return self.led_to
        brought_in = (included_types(include) for include in self.includes)
        return self.led_to.union((each.source for each in self.revincludes), *brought_in)

    @property
    def led_to(self) -> frozenset[str]:
        """The types that its chains lead to."""
        leading = [each.ends for each in self.criteria if each.chain is not None or each.either]
        return frozenset(chain.from_iterable(leading)) if leading else _NONE

    @property
    def keys(self) -> tuple[Key, ...]:
        """The order of the matches."""
        return page.keys(self.type, self.sort, self.pinned is not None)

    @property
    def pinned(self) -> int | None:
        """Which criterion says "about this one patient", if one does."""
        for index, each in enumerate(self.criteria):
            if each.kind == "reference" and not each.modifier and len(each.values) == 1:
                (references,) = each.values
                is_one = isinstance(references, tuple) and len(references) == 1
                if is_one and _is_patient(references) and pins_patient(self.type, each.code):
                    return index
        return None


def parse(
    type: str, pairs: Sequence[tuple[str, str]], *, strict: bool = False, own_base: str = ""
) -> Query:
    """Read the parameters of a search on one type.

    Parameters
    ----------
    type
        Empty for a search on several types: then only what all types have can be asked.
    pairs
        Names and values in order, percent-decoded.
    strict
        Refuse what would be ignored (``Prefer: handling=strict``).
    own_base
        Base URL of this server, without a slash at the end.

    Raises
    ------
    Invalid
        A value, modifier or name that the standard does not allow here.
    Unsupported
        A modifier or depth that the standard has and this server has not.
    """
    wanted = Wanted(type or COMMON)
    criteria: list[Criterion] = []
    ignored: list[Ignored] = []
    for name, value in pairs:
        if "\x00" in name or "\x00" in value:
            raise Invalid("a character NUL is in the query", at=name.replace("\x00", ""))
        try:
            if name.partition(":")[0] in returned.PARAMETERS:
                wanted.read(name, value)
            else:
                criteria.append(_criterion(type, name, value, own_base))
        except Unusable as problem:
            if strict:
                raise
            ignored.append(Ignored(name, value, problem.reason, problem.code))
    if len(criteria) > MOST_CRITERIA:
        raise Invalid(f"more than {MOST_CRITERIA} criteria")
    return _query(type, tuple(criteria), wanted, tuple(ignored))


def within(query: Query, reference: str) -> Query:
    """Ask the same, but only of what is in the compartment of a resource.

    Parameters
    ----------
    reference
        Such as ``Patient/1``.
    """
    inside = compartment(reference)
    by_patient = query.type == "AuditEvent" or pins_patient(query.type, "patient")
    if reference.startswith("Patient/") and by_patient:
        inside = Criterion("patient", "reference", "", ((reference,),))
    return replace(query, criteria=(inside, *query.criteria))


def _criterion(type: str, name: str, text: str, own_base: str) -> Criterion:
    if type:
        return chains.criterion(type, name, text, own_base)
    found = chains.criterion(COMMON, name, text, own_base)
    if found.chain is not None or found.modifier == "missing":
        raise Unusable(f"{name} is not asked of several types", at=name, code="not-supported")
    return found


def _query(
    type: str, criteria: tuple[Criterion, ...], wanted: Wanted, ignored: tuple[Ignored, ...]
) -> Query:
    query = Query(
        type,
        criteria,
        wanted.sort,
        wanted.count,
        wanted.total,
        tuple(dict.fromkeys(wanted.includes)),
        tuple(dict.fromkeys(wanted.revincludes)),
        ignored=ignored,
        types=wanted.types,
    )
    if wanted.cursor is None:
        return query
    return replace(query, cursor=page.decode(wanted.cursor, query.keys))


def _is_patient(references: Any) -> bool:
    return str(references[0]).startswith("Patient/") and str(references[0]).count("/") == 1
