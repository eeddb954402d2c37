"""A request to the authorisation server, as authlib takes it, and an answer as it gives it.

authlib's flows are plain functions that ask for what they need while they run. They run in a
thread of their own; what they ask of the database is done by the event loop.

RFC 6749 Sections 3.1 and 3.2: parameters without a value count as absent, none is given twice.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import OAuth2Payload, OAuth2Request
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fhir_server.context import now
from resources.errors import Exhausted, Invalid, Throttled, TooLarge

LONGEST_FORM: Final = 65_536
"""Octets; an assertion with a chain of certificates would not be taken anyway."""
MOST_FIELDS: Final = 64
AWAY_SECONDS: Final = 2
"""After so long an application may ask again what could not be done."""

Pairs = Sequence[tuple[str, str]]


class Payload(OAuth2Payload):  # type: ignore[misc] # authlib has no types
    """The parameters of a request."""

    def __init__(self, pairs: Pairs) -> None:
        self._all: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in pairs:
            if value:
                self._all[name].append(value)

    @property
    def data(self) -> dict[str, str]:
        """Each parameter once."""
        return {name: values[0] for name, values in self._all.items()}

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        """Each parameter as often as it was given."""
        return self._all


class Asked(OAuth2Request):  # type: ignore[misc] # authlib has no types
    """One request: its parameters, headers and the address it came from.

    `keys` are those of the client, where it publishes them.
    """

    def __init__(self, method: str, pairs: Pairs, headers: Mapping[str, str], origin: str) -> None:
        # The address that authlib would look at is what a caller claims. Whether the transport is
        # a secure one is settled by how the server is set up, not by the request.
        super().__init__(method, "https://here/", headers=headers)
        self.payload = Payload(pairs)
        self.keys: Sequence[Mapping[str, Any]] = ()
        self.origin = origin
        self.instant = now()

    @property
    def form(self) -> dict[str, str]:
        """The parameters, as authlib looks for them in a token request."""
        parameters: dict[str, str] = self.payload.data
        return parameters

    @property
    def args(self) -> dict[str, str]:
        """The parameters, as authlib looks for them in an authorisation request."""
        return self.form


async def asked(request: Request) -> Asked:
    """Read a request: the form of a POST, the query of a GET.

    Raises
    ------
    Invalid
        A parameter of OAuth given twice, or characters that no parameter has.
    TooLarge
        The form is longer than any that is meant.
    """
    pairs = await form(request) if request.method == "POST" else query(request)
    return Asked(request.method, checked(pairs), _titled(request.headers), origin(request))


def origin(request: Request) -> str:
    """The address that a request came from."""
    return request.client.host if request.client else ""


def query(request: Request) -> Pairs:
    """The parameters in the address."""
    return _parsed(request.scope["query_string"])


async def form(request: Request) -> Pairs:
    """The fields of an HTML form (application/x-www-form-urlencoded)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Invalid("a form is application/x-www-form-urlencoded")
    return _parsed(await read(request))


async def read(request: Request) -> bytes:
    """Read a body, which is never long here.

    Raises
    ------
    TooLarge
        It is longer than any that is meant.
    """
    octets = bytearray()
    async for part in request.stream():
        octets += part
        if len(octets) > LONGEST_FORM:
            raise TooLarge(f"a body here has at most {LONGEST_FORM} octets")
    return bytes(octets)


def checked(pairs: Pairs) -> Pairs:
    """Take parameters that are each given once, in the characters that answers may repeat."""
    if not all(_plain(value) for _, value in pairs):
        raise Invalid("a parameter has characters that none may have")
    return once(pairs)


def once(pairs: Pairs) -> Pairs:
    """Take fields that are each given once."""
    names = [name for name, value in pairs if value]
    if len(set(names)) != len(names):
        raise Invalid("a parameter is given twice")
    return pairs


def answer(
    status: int, body: object, headers: Sequence[tuple[str, str]] | Mapping[str, str]
) -> Response:
    """Give authlib's answer to whoever asked."""
    told = dict(headers) | {"Cache-Control": "no-store", "Pragma": "no-cache"}
    told.pop("Content-Type", None)
    if isinstance(body, dict):
        return JSONResponse(body, status, told)
    return Response(str(body), status, told)


def refused(error: str, description: str, status: int = 400) -> Response:
    """Answer an error in the form of RFC 6749 Section 5.2."""
    body: dict[str, Any] = {"error": error, "error_description": description}
    return answer(status, body, {})


def throttled(refusal: Throttled) -> Response:
    """Answer who asks too often (RFC 6585 Section 4).

    RFC 6749 has no word for it at the token endpoint; this one of its Section 4.1.2.1 is nearest.
    """
    answered = refused("temporarily_unavailable", refusal.reason, 429)
    answered.headers["Retry-After"] = str(refusal.seconds)
    return answered


def away(refusal: Exhausted) -> Response:
    """Ask to come back, as RFC 6749 Section 4.1.2.1 names it (RFC 9110 Section 10.2.3)."""
    answered = refused("temporarily_unavailable", refusal.reason, 503)
    answered.headers["Retry-After"] = str(AWAY_SECONDS)
    return answered


def _parsed(octets: bytes) -> Pairs:
    try:
        pairs = parse_qsl(
            octets.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MOST_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise Invalid("these are no form fields") from None
    if any("\0" in value for _, value in pairs):  # which PostgreSQL keeps in no text
        raise Invalid("these are no form fields")
    return pairs


def _plain(value: str) -> bool:
    """RFC 6749 Section 4.1.2.1: error descriptions hold no quotes and no backslash."""
    return all(" " <= character <= "~" and character not in '"\\' for character in value)


def _titled(headers: Headers) -> dict[str, str]:
    """Authlib looks for ``Authorization`` in that spelling."""
    return {name.title(): value for name, value in headers.items()}
