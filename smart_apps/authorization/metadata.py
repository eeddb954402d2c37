"""Client metadata: what an application says of itself when it asks to be registered.

RFC 7591 Section 2 (the members), Section 3.2 (the answer, and its errors).
"""

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fhir_server.context import now
from resources.errors import Invalid
from smart_apps import clients, passwords
from smart_apps.authorization.registered import METHODS
from smart_apps.clients import Client, Kind

LONGEST_NAME: Final = 200
MOST_URIS: Final = 20
DEFAULT_METHOD: Final = "client_secret_basic"
"""RFC 7591 Section 2, token_endpoint_auth_method."""
KINDS: Final[Mapping[str, Kind]] = {
    "none": "public",
    "client_secret_basic": "secret",
    "client_secret_post": "secret",
    "private_key_jwt": "jwks",
}
GRANTS: Final = frozenset({"authorization_code", "refresh_token", "client_credentials"})


class Registration(NamedTuple):
    """What an application has asked for.

    Parameters
    ----------
    id
        The client id that it will have.
    name
        What it calls itself.
    instant
        When, in microseconds since 1970 UTC.
    """

    id: str
    name: str
    kind: Kind
    scope: str
    redirect_uris: tuple[str, ...]
    jwks: str | None
    jwks_uri: str | None
    secret: str | None
    instant: int

    def client(self, organization: str, scope: str = "", launch_url: str | None = None) -> Client:
        """Give the client that it becomes."""
        return Client(
            self.id,
            self.kind,
            scope or self.scope,
            organization,
            self.redirect_uris,
            self.jwks,
            self.secret,
            launch_url,
            self.jwks_uri,
        )


def read(metadata: Mapping[str, Any]) -> tuple[Registration, str | None]:
    """Read client metadata (RFC 7591 Section 2), and make a secret if the client is to have one.

    Raises
    ------
    Invalid
        See `register`.
    """
    if "software_statement" in metadata:
        raise Invalid("no software statement is trusted here", code="unapproved_software_statement")
    method = metadata.get("token_endpoint_auth_method", DEFAULT_METHOD)
    kind = KINDS.get(method) if isinstance(method, str) else None
    if kind is None:
        raise _wrong(f"token_endpoint_auth_method is one of {', '.join(sorted(KINDS))}")
    assert method in METHODS[kind]
    name, scope = metadata.get("client_name", ""), metadata.get("scope", "")
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
        raise _wrong(f"client_name is a text of at most {LONGEST_NAME} characters")
    if not isinstance(scope, str) or not scope.split():
        raise _wrong("scope names what the client will ever ask for")
    grants = _grants(metadata, kind)
    uris = _uris(metadata)
    if ("authorization_code" in grants) != bool(uris):
        raise Invalid(
            "redirect_uris belong to the grant authorization_code, and it to them",
            code="invalid_redirect_uri",
        )
    jwks, uri = metadata.get("jwks"), metadata.get("jwks_uri")
    if (kind == "jwks") != (jwks is not None or uri is not None):
        raise _wrong("jwks or jwks_uri belongs to private_key_jwt, and it to one of them")
    if uri is not None and (jwks is not None or not isinstance(uri, str)):
        raise _wrong("jwks_uri is an address, and there is no jwks beside it")
    secret = secrets.token_urlsafe(32) if kind == "secret" else None
    asked = Registration(
        secrets.token_urlsafe(16),
        name,
        kind,
        " ".join(scope.split()),
        uris,
        None if jwks is None else json.dumps(jwks),
        uri,
        None if secret is None else passwords.derive(secret),
        now(),
    )
    _check(asked)
    return asked, secret


def answer(asked: Registration, secret: str | None, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Give the answer to an application (RFC 7591 Section 3.2.1); its secret is told this once."""
    told: dict[str, Any] = {
        "client_id": asked.id,
        "client_id_issued_at": asked.instant // 1_000_000,
        "client_name": asked.name,
        "token_endpoint_auth_method": metadata.get("token_endpoint_auth_method", DEFAULT_METHOD),
        "grant_types": _grants(metadata, asked.kind),
        "response_types": ["code"] if asked.redirect_uris else [],
        "redirect_uris": list(asked.redirect_uris),
        "scope": asked.scope,
    }
    if secret is not None:
        told |= {"client_secret": secret, "client_secret_expires_at": 0}
    if asked.jwks is not None:
        told["jwks"] = json.loads(asked.jwks)
    if asked.jwks_uri is not None:
        told["jwks_uri"] = asked.jwks_uri
    return told


def _grants(metadata: Mapping[str, Any], kind: Kind) -> list[str]:
    grants = metadata.get("grant_types", ["authorization_code"])
    if not isinstance(grants, list) or not grants or not set(map(str, grants)) <= GRANTS:
        raise _wrong(f"grant_types are of {', '.join(sorted(GRANTS))}")
    if "client_credentials" in grants and kind != "jwks":
        raise _wrong("client_credentials is for clients with a key")
    if metadata.get("response_types", ["code"]) not in (["code"], []):
        raise _wrong("the only response type is code")
    return [str(grant) for grant in grants]


def _uris(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    uris = metadata.get("redirect_uris", [])
    of_text = isinstance(uris, list) and all(isinstance(uri, str) for uri in uris)
    if not of_text or len(uris) > MOST_URIS:
        raise Invalid(
            f"redirect_uris are at most {MOST_URIS} addresses", code="invalid_redirect_uri"
        )
    return tuple(uris)


def _check(asked: Registration) -> None:
    """Hold it to what holds for every client."""
    for uris, code in (
        ((), "invalid_client_metadata"),
        (asked.redirect_uris, "invalid_redirect_uri"),
    ):
        try:
            clients.check(asked._replace(redirect_uris=uris).client("later"))
        except Invalid as refusal:
            raise Invalid(refusal.reason, code=code) from None


def _wrong(reason: str) -> Invalid:
    return Invalid(reason, code="invalid_client_metadata")
