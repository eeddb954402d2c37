"""history of one resource, of a type, or of all: versions, the newest first (FHIR http, "history").

A deletion is an entry without a resource. `_since` and `_at` cut it by time; what cannot be cut as
asked is not answered whole.
"""

from typing import Final

from fhir_server.rest import bundles, summary
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.search import date
from fhir_server.store.history import Cut
from resources.errors import Invalid, Unsupported

DEFAULT_COUNT: Final = 50
MAX_COUNT: Final = 1000

CURSOR: Final = "_cursor"
"""Where a next link keeps its place; opaque to clients."""

PRESENTATION: Final = frozenset({"_format", "_pretty", "_summary", "_elements"})
"""Parameters about the answer, not about what is answered."""


async def history(server: Server, request: Request) -> Answer:
    """Answer a page of a history.

    Raises
    ------
    Unsupported
        `_list`, or a parameter that a history does not have.
    """
    pairs = request.pairs()
    cut, parts = _cut(pairs), summary.read(pairs)

    request.handed_over = True
    if request.id:
        page = await server.store.history(request.context, request.type, request.id, cut)
    else:
        page = await server.store.history_of_types(request.context, request.type or None, cut)

    address = "/".join(filter(None, (server.base_url, request.type, request.id, "_history")))
    kept = [pair for pair in pairs if pair[0] != CURSOR]
    links = [("self", bundles.address(address, kept))]
    if page.next:
        links.append(("next", bundles.address(address, [*kept, (CURSOR, page.next)])))
    shown = [] if parts.kind == "count" else map(parts.cut, page.matches)
    entries = [bundles.past(server.base_url.encode(), row) for row in shown]
    return Answer(200, bundles.bundle(b"history", entries, total=page.total, links=links))


def _cut(pairs: list[tuple[str, str]]) -> Cut:
    cut = Cut(DEFAULT_COUNT)
    for name, value in pairs:
        if name == "_count":
            cut = cut._replace(size=page_size(value))
        elif name == CURSOR:
            cut = cut._replace(cursor=value)
        elif name == "_since":
            cut = cut._replace(since=_period(name, value)[0])
        elif name == "_at":
            low, high = _period(name, value)
            cut = cut._replace(low=low, high=high)
        elif name not in PRESENTATION:
            raise Unsupported(f"History is not cut by {name}.", name)
    return cut


def _period(name: str, value: str) -> tuple[int, int]:
    """Read an instant or a date: the period that it covers, in microseconds since 1970 UTC."""
    try:
        low, high = date.period(value)
    except ValueError:
        raise Invalid(f"{name} takes a date or an instant.", name, code="value") from None
    return max(low, 0), max(high, 0)


def page_size(text: str) -> int:
    """Read `_count`: a whole number from 1; more than `MAX_COUNT` gets `MAX_COUNT`.

    Examples
    --------
    >>> page_size("7"), page_size("999999")
    (7, 1000)
    """
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) < 1:
        raise Invalid("_count takes a whole number from 1.", "_count", code="value")
    return min(int(text), MAX_COUNT)
