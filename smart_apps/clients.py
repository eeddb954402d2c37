"""Clients: the applications that may ask for access tokens, and for which organisation they act.

RFC 6749 Section 2; SMART App Launch 2.2, "Registering a SMART App" and "Client Authentication".
"""

import json
import re
import secrets
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from fhir_server.access import scopes
from fhir_server.access.principal import Principal
from fhir_server.access.withdrawn import of_client
from fhir_server.context import now
from fhir_server.postgres.database import Database, Row, Texts, Transaction
from resources.errors import Invalid, NotFound, Unprocessable
from subscriptions import addresses

Kind = Literal["public", "jwks", "secret"]

_COLUMNS: Final = (
    "id, kind, scope, organization, redirect_uris, jwks, secret, launch_url, jwks_uri, disabled,"
    " epoch"
)
FIND: Final = f"SELECT {_COLUMNS} FROM client WHERE id = $1"
ALL: Final = f"SELECT {_COLUMNS} FROM client ORDER BY id"
ADD: Final = f"""
INSERT INTO client ({_COLUMNS}, created)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, scope = excluded.scope,
    organization = excluded.organization, redirect_uris = excluded.redirect_uris,
    jwks = excluded.jwks, secret = excluded.secret, launch_url = excluded.launch_url,
    jwks_uri = excluded.jwks_uri
"""
"""Whether it is disabled, and its epoch, stay as they are (see `registry`)."""
EPOCH_OCTETS: Final = 8
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PLAIN: Final = re.compile(r"[!$-;=?-\[\]_a-z~]{1,2000}")
"""A URI in the characters of RFC 3986 Section 2, without ``#``."""
SHORTEST_RSA: Final = 342
"""Base64url characters of a modulus of 2048 bits."""
SECRET_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""RFC 7518 Section 6: the members of a JSON Web Key that nobody else may know."""


class Client(NamedTuple):
    """One registered client.

    Parameters
    ----------
    scope
        All that it may ever ask for.
    organization
        Id of the Organization that it acts for.
    jwks
        Its public keys as JSON text, if `kind` is ``jwks``.
    secret
        What `passwords.derive` made of its secret, if `kind` is ``secret``.
    launch_url
        Where an EHR launch of it begins, if it can be launched.
    jwks_uri
        Where its public keys are, if `kind` is ``jwks`` and they are not in `jwks`.
    disabled
        Since when it may do nothing, in microseconds since 1970 UTC.
    epoch
        Stands in its tokens, and changes when those that it has are to count no more; made when
        the client is added.
    """

    id: str
    kind: Kind
    scope: str
    organization: str
    redirect_uris: tuple[str, ...] = ()
    jwks: str | None = None
    secret: str | None = None
    launch_url: str | None = None
    jwks_uri: str | None = None
    disabled: int | None = None
    epoch: str = ""

    @property
    def withdrawable(self) -> str:
        """The id by which all its tokens of this epoch are withdrawn."""
        return of_client(self.id, self.epoch)

    def principal(self, scope: str) -> Principal:
        """Give who the client is to the gate when it asks for itself, without a person."""
        granted = scopes.parse(scope)
        return Principal(
            f"Client/{self.id}", self.organization, "application", granted, client=self.id
        )


async def find(database: Database | Transaction, id: str) -> Client:
    """Give the client of this id.

    Raises
    ------
    NotFound
        None is registered.
    """
    rows = await database.run(FIND, (id,)) if _ID.fullmatch(id) else []
    if not rows:
        raise NotFound(f"no client is registered as {id[:64]!r}")
    return _client(rows[0])


async def enabled(database: Database, id: str) -> Client:
    """Give the client of this id, if it may do anything.

    Raises
    ------
    NotFound
        None is registered, or it is disabled.
    """
    found = await find(database, id)
    if found.disabled is not None:
        raise NotFound(f"the client {found.id} is disabled")
    return found


async def every(database: Database) -> list[Client]:
    """Give all clients, by id."""
    return [_client(row) for row in await database.run(ALL)]


def _client(row: Row) -> Client:
    id, kind, scope, organization, redirect_uris, *more = row
    return Client(id, kind, scope, organization, tuple(redirect_uris), *more)


async def add(database: Database | Transaction, client: Client) -> None:
    """Register a client, or change its registration; that does not enable one that is disabled.

    Raises
    ------
    Invalid
        Its id, scopes, redirect URIs or keys are not what the standards allow.
    """
    check(client)
    kept = client._replace(epoch=client.epoch or secrets.token_hex(EPOCH_OCTETS))
    await database.run(ADD, (*kept[:4], Texts(kept.redirect_uris), *kept[5:], now()))


def check(client: Client) -> None:
    """Refuse a registration that breaks a rule (see `add`)."""
    if not _ID.fullmatch(client.id):
        raise Invalid("a client id is 1 to 64 letters, digits, dots, hyphens or underscores")
    scopes.parse(client.scope)
    for uri in (*client.redirect_uris, *filter(None, [client.launch_url])):
        _check_redirect(uri)
    if client.jwks_uri is not None:
        _check_address(client)
    elif client.kind == "jwks":
        _check_keys(client.jwks or "")
    if (client.kind == "secret") != (client.secret is not None):
        raise Invalid("a secret belongs to a client of kind secret, and to no other")


def _check_redirect(uri: str) -> None:
    """Refuse a redirect URI that is not absolute, has a fragment, or is plain HTTP to elsewhere.

    RFC 6749 Section 3.1.2; RFC 8252 Section 7.3 allows plain HTTP to this machine, and Section 7.1
    schemes of an application's own that are made of a domain name; ``javascript`` is none.
    """
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        raise Invalid("not a redirect URI that can be registered") from None
    near = host in ("127.0.0.1", "::1", "localhost")
    if parts.scheme in ("http", "https"):
        good = bool(host) and parts.username is None and (parts.scheme == "https" or near)
    else:
        good = "." in parts.scheme
    if not good or not _PLAIN.fullmatch(uri):
        raise Invalid(f"not a redirect URI that can be registered: {uri[:200]!r}")


def _check_address(client: Client) -> None:
    """Refuse an address of keys that is none, or that comes with keys or with another kind.

    RFC 7591 Section 2: "The jwks_uri and jwks parameters MUST NOT both be present". Whether this
    installation asks there is not known here (see `key_sets`).
    """
    if client.kind != "jwks" or client.jwks is not None:
        raise Invalid("an address of keys belongs to a client of kind jwks without other keys")
    try:
        addresses.endpoint(client.jwks_uri or "")
    except Unprocessable as refusal:
        raise Invalid(refusal.reason.replace("The endpoint", "The address of the keys")) from None


def _check_keys(text: str) -> None:
    """Refuse what is no JSON Web Key Set of public keys."""
    try:
        keys = json.loads(text)["keys"]
        kinds = {key["kty"] for key in keys}
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid("the keys are no JSON Web Key Set (RFC 7517 Section 5)") from error
    if not keys or not kinds <= {"RSA", "EC"} or any(SECRET_MEMBERS & set(key) for key in keys):
        raise Invalid("a client registers public RSA or EC keys, and at least one")
    if any(key["kty"] == "RSA" and len(str(key.get("n", ""))) < SHORTEST_RSA for key in keys):
        raise Invalid("an RSA key has at least 2048 bits (RFC 7518 Section 3.3)")
    try:
        KeySet.import_key_set({"keys": keys})
    except (JoseError, ValueError, LookupError, TypeError) as error:
        raise Invalid("one of the keys is none (RFC 7518 Section 6)") from error
