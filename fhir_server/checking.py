"""Checking: a request that may be placed, told as FHIR tells it; for whoever asks, in any way.

References
----------
* `fhir_server.repeating`; FHIR R4 DetectedIssue
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fhir_server import repeating
from fhir_server.context import RequestContext
from fhir_server.repeating import Policy
from fhir_server.search.query import Query
from fhir_server.search.stored import Stored
from fhir_server.store.store import Store
from resources import elements, repeats
from resources.content import written_instant
from resources.repeats import Repeat

Json = Mapping[str, Any]


class Checked(NamedTuple):
    """One repeat: what it is, the DetectedIssue that says so, and where that was or will be."""

    repeat: Repeat
    issue: Json
    place: str


async def check(
    store: Store, context: RequestContext, request: Json, policy: Policy, base: str
) -> list[Checked]:
    """Tell what a request repeats, as far as the asker may see it, the gravest first."""

    async def search(query: Query) -> Sequence[Stored]:
        return (await store.search(context, query)).matches

    found = await repeating.found(search, request, context.instant, policy, base)
    named = [name for one in found for name in _places(one.about)]
    known = await store.many(context, list(dict.fromkeys(named)))
    instant = written_instant(context.instant)
    checked: list[Checked] = []
    for one in found:
        place = "".join(
            str(known[name].json.get("name", "")) for name in _places(one.about) if name in known
        )
        link = f"{base}/{one.about['resourceType']}/{one.about['id']}"
        issue = repeats.detected_issue(one, request, instant, place, link)
        checked.append(Checked(one, issue, place))
    return checked


def _places(resource: Json) -> list[str]:
    """The organisation that made the first series of a study, or that a request asks."""
    performers = [
        performer.get("actor")
        for series in resource.get("series", ())
        for performer in series.get("performer", ())
    ]
    named = elements.references(performers) or elements.references(resource.get("performer"))
    return [one for one in named if one.startswith("Organization/")][:1]
