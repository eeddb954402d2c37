"""Which parameters an interaction on one resource has in its address; any other is refused.

What a search ignores it tells of in its Bundle. A resource has no such place, so a parameter that
means nothing here, as search criteria do at a create, is refused and never passed over.

References
----------
* FHIR http, "General parameters"; "conditional create" (the criteria stand in If-None-Exist)
"""

from collections.abc import Mapping
from typing import Final

from fhir_server.rest import summary
from fhir_server.rest.exchange import Request
from resources.errors import Invalid

PRESENTATION: Final = frozenset({"_format", "_pretty"})
"""Parameters of an address that are about the answer."""

NAMES: Final[Mapping[str, frozenset[str]]] = {
    "read": PRESENTATION | summary.NAMES,
    "vread": PRESENTATION | summary.NAMES,
    "create": PRESENTATION,
    "update": PRESENTATION,
    "patch": PRESENTATION,
    "delete": PRESENTATION,
    "batch": PRESENTATION,
}
"""By interaction. Those that are not here read their parameters by themselves."""

_CONDITIONAL: Final = frozenset({"update", "patch", "delete"})
"""Without an id in the address, all parameters are a condition."""


def check(request: Request) -> None:
    """Refuse a parameter that the interaction does not have.

    Raises
    ------
    Invalid
        There is one; it is named.
    """
    if not request.query:
        return
    name = request.context.interaction
    names = NAMES.get(name)
    if names is None or (name in _CONDITIONAL and not request.id):
        return
    for key, _ in request.pairs():
        if key not in names:
            at = request.place_of("url") if request.at else key
            raise Invalid(_WHY.get(name, "There is no such parameter here."), at, "not-supported")


_WHY: Final = {
    "create": "A create takes no criteria in its address; they stand in If-None-Exist.",
}
