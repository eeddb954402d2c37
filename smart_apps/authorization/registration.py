"""Dynamic registration: an application asks to be a client; an administrator decides.

RFC 7591. What is asked for waits in a table of its own, so that it can do nothing at all until
somebody approves it: says for which organisation it acts, and makes it a client. Where it publishes
its keys is not asked either before that. Nothing that an application says of itself is believed; an
administrator reads it.
"""

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fhir_server.access import scopes
from fhir_server.context import now
from fhir_server.postgres.database import Database, Row, Texts, Transaction
from resources.errors import Exhausted, Invalid, NotFound
from smart_apps import clients, passwords
from smart_apps.authorization.registered import METHODS
from smart_apps.clients import Client, Kind

MOST_WAITING: Final = 200
LONGEST_NAME: Final = 200
MOST_URIS: Final = 20
DAY: Final = 86_400 * 1_000_000
WAITS: Final = 30 * DAY
"""What nobody has approved by then is forgotten."""

DEFAULT_METHOD: Final = "client_secret_basic"
"""RFC 7591 Section 2, token_endpoint_auth_method."""
KINDS: Final[Mapping[str, Kind]] = {
    "none": "public",
    "client_secret_basic": "secret",
    "client_secret_post": "secret",
    "private_key_jwt": "jwks",
}
GRANTS: Final = frozenset({"authorization_code", "refresh_token", "client_credentials"})

_COLUMNS: Final = "id, name, kind, scope, redirect_uris, jwks, jwks_uri, secret, instant"
KEEP: Final = f"""
INSERT INTO registration ({_COLUMNS})
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
WHERE (SELECT count(*) FROM registration WHERE instant > $10) < {MOST_WAITING}
RETURNING id
"""
WAITING: Final = f"SELECT {_COLUMNS} FROM registration WHERE instant > $1 ORDER BY instant, id"
DROP: Final = "DELETE FROM registration WHERE id = $1 RETURNING id"
SWEEP: Final = f"DELETE FROM registration WHERE instant <= $1 - {WAITS}"


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


async def register(database: Database, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what an application asks for; give the answer that it gets (RFC 7591 Section 3.2.1).

    Raises
    ------
    Invalid
        It says what no client can be registered with; `code` is the error of Section 3.2.2.
    Exhausted
        Too many are waiting already.
    """
    asked, secret = read(metadata)
    row = (*asked[:4], Texts(asked.redirect_uris), *asked[5:])
    if not await database.run(KEEP, (*row, asked.instant - WAITS)):
        raise Exhausted("Too many registrations wait for an administrator.")
    answer: dict[str, Any] = {
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
        answer |= {"client_secret": secret, "client_secret_expires_at": 0}
    if asked.jwks is not None:
        answer["jwks"] = json.loads(asked.jwks)
    if asked.jwks_uri is not None:
        answer["jwks_uri"] = asked.jwks_uri
    return answer


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


async def waiting(database: Database | Transaction) -> list[Registration]:
    """List what waits for an administrator, the oldest first."""
    rows = await database.run(WAITING, (now() - WAITS,))
    return [_waiting(row) for row in rows]


def _waiting(row: Row) -> Registration:
    id, name, kind, scope, redirect_uris, *more = row
    return Registration(id, name, kind, scope, tuple(redirect_uris), *more)


async def approve(
    database: Database | Transaction,
    id: str,
    organization: str,
    scope: str = "",
    launch_url: str | None = None,
) -> None:
    """Make a client of it.

    Parameters
    ----------
    organization
        Id of the Organization that it is to act for.
    scope
        What it may ask for, where that is to be less than it wanted.

    Raises
    ------
    Invalid
        The scope is more than it asked for.
    NotFound
        Nothing waits under this id.
    """
    found = next((each for each in await waiting(database) if each.id == id), None)
    if found is None:
        raise NotFound(f"no registration waits under {id}")
    if scope and not scopes.parse(scope).within(scopes.parse(found.scope)):
        raise Invalid(f"{id} has asked for no more than: {found.scope}")
    await clients.add(database, found.client(organization, scope, launch_url))
    await database.run(DROP, (id,))


async def refuse(database: Database | Transaction, id: str) -> None:
    """Forget it.

    Raises
    ------
    NotFound
        Nothing waits under this id.
    """
    if not await database.run(DROP, (id,)):
        raise NotFound(f"no registration waits under {id}")


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
