"""One request and its answer, as the interactions see them: no sockets, no ASGI.

An HTTP request and an entry of a batch become the same `Request`, so that both are answered by
the same function (FHIR http, "batch/transaction": "the result of processing each entry is the
same as if the interaction had been sent by itself").
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl

from fhir_server.access.token import TokenChecker
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.export.exports import Exports
from fhir_server.repeating import Policy
from fhir_server.store.store import Store
from resources.content import Content
from resources.errors import Invalid
from subscriptions.subscriptions import Subscriptions

FHIR_JSON = b"application/fhir+json; fhirVersion=4.0"
"""FHIR http, "FHIR version parameter": every answer says which release it speaks."""

MAX_PAIRS = 1000
"""Search parameters in one request; more is not a search a person or an app would write."""

Header = tuple[bytes, bytes]


class Answer(NamedTuple):
    """Status, body (empty: none), headers without those that every answer has.

    `instant` is when the version that is answered was written, if one is; `media` is what the body
    is.
    """

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    instant: int | None = None
    media: bytes = FHIR_JSON

    def header(self, name: bytes) -> str:
        """Give the value of one header, or an empty string."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name), "")


@dataclass(slots=True)
class Request:
    """What one interaction is asked.

    Parameters
    ----------
    method
        HTTP method in capitals.
    context
        Who asks, what for, when.
    type, id, version
        From the address; empty where it has none. The type is one that is stored here.
    compartment
        Whose compartment is searched, such as ``Patient/1``; the type is then the one searched.
    query
        The query part of the address, still percent-encoded.
    headers
        By lower-case name; several of one name are joined with a comma (RFC 9110 Section 5.3).
    body
        As received, inflated.
    content
        The body as a parsed resource, where it was cut out of a Bundle.
    at
        Where that resource stands in the Bundle; empty outside one.
    handed_over
        True once the store has the request: from there on the store audits a refusal itself.
    """

    method: str
    context: RequestContext
    type: str = ""
    id: str = ""
    version: str = ""
    compartment: str = ""
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content: Content | None = None
    at: str = ""
    handed_over: bool = False

    def pairs(self) -> list[tuple[str, str]]:
        """Split the query into decoded pairs, in order.

        Raises
        ------
        Invalid
            More pairs than `MAX_PAIRS`, octets that are not UTF-8, or a NUL character.
        """
        return decoded(self.query)

    def place_of(self, header: str) -> str:
        """Say where a condition stands: in a Bundle it is an element of the entry's request."""
        if not self.at:
            return header
        first, *rest = header.split("-")
        return f"{self.at.removesuffix('resource')}request.{first.lower()}{''.join(rest)}"


def decoded(form: str) -> list[tuple[str, str]]:
    """Decode ``application/x-www-form-urlencoded`` text into pairs.

    Examples
    --------
    >>> decoded("code=a%7Cb&_sort=-date&empty=")
    [('code', 'a|b'), ('_sort', '-date'), ('empty', '')]
    """
    if not form:
        return []
    try:
        pairs = parse_qsl(form, keep_blank_values=True, errors="strict", max_num_fields=MAX_PAIRS)
    except UnicodeDecodeError:
        raise Invalid("The query is not UTF-8.", code="invalid") from None
    except ValueError:
        raise Invalid(f"More than {MAX_PAIRS} parameters.", code="too-costly") from None
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise Invalid("A parameter contains a NUL character.", code="invalid")
    return pairs


class Interaction(NamedTuple):
    """One row of the route table: how it is asked for, its name in the audit, who answers.

    `formats` are names of media types that it also answers in, beside FHIR JSON.
    """

    method: str
    address: str
    name: str
    answer: "Callable[[Server, Request], Awaitable[Answer]]"
    formats: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Server:
    """What every interaction needs, wired once.

    Parameters
    ----------
    store
        The only way to resources.
    checker
        Checks access tokens.
    ledger
        Takes what is refused before the store has it.
    base_url
        The public address of the FHIR base, without a slash at its end.
    body_limit
        Octets that one request may have, after inflating.
    interactions
        The route table.
    route
        Find the interaction for the method of a request and an address relative to the base, and
        put what the address says into the request.
    dispatch
        Answer such a request as if it had come by itself; nothing is raised.
    exports
        The way to bulk exports.
    subscriptions
        The way to subscriptions and their events.
    repeats
        What counts as repeated where a request is checked.
    """

    store: Store
    checker: TokenChecker
    ledger: Ledger
    base_url: str
    body_limit: int
    interactions: tuple[Interaction, ...]
    route: Callable[[Request, str], Interaction]
    dispatch: Callable[["Server", Request, str], Awaitable[Answer]]
    exports: Exports
    subscriptions: Subscriptions
    repeats: Policy
