"""Labels: which profiles, tags and security labels there are on what an asker sees.

The index says it: each resource has a term for every label. All resources of the types are looked
at, so it is broken off like a search that takes too long.

References
----------
* FHIR R4 Resource, operation $meta, at the levels of type and system
* `search.reach`: the gate's answer as a condition on rows
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Texts
from fhir_server.search import find
from fhir_server.search.reach import predicate
from fhir_server.store.walking import groups

ELEMENTS: Final = {"_profile": "profile", "_security": "security", "_tag": "tag"}
"""Search parameter of all resources -> element of Meta."""

LABELS: Final = r"""
select distinct substring(x from '\.([^=]+)='), substring(x from '=(.*)$')
from current as c, unnest(c.terms) as x
where c.type = any($1::text[]) and not c.deleted and {}
  and x ~ '^[^.=]+\.(_profile|_security|_tag)='
order by 1, 2
"""


class Label(NamedTuple):
    """One label: which element of Meta it is of, and its term: a URI, or ``system|code``."""

    element: str
    term: str


async def labels(database: Database, context: RequestContext, types: Sequence[str]) -> list[Label]:
    """List the labels on all resources of some types, each once; types not granted are left out.

    Raises
    ------
    Exhausted
        There is too much to look at.
    """
    found: dict[Label, None] = {}
    async with find.in_time():
        for reach, listed in groups(context, types):
            params: list[Any] = [Texts(listed)]
            seen = predicate(reach, "c", params, type=listed[0], instant=context.instant)
            rows = await database.run(LABELS.format(seen), params)
            found |= {Label(ELEMENTS[code], term): None for code, term in rows}
    return list(found)
