"""private_key_jwt: a client shows who it is by signing a statement with its key.

RFC 7523 Section 3; SMART App Launch 2.2, "Authenticate using an asymmetric client assertion":
RS384 or ES384, ``iss`` and ``sub`` the client id, ``aud`` the token URL, at most five minutes to
live, and a ``jti`` that is taken once. The keys are those registered, or those at the address that
is registered: a header that brings or names others is refused. ``jku`` may name that very address.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from anyio import from_thread
from authlib.oauth2.rfc6749 import InvalidClientError
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from fhir_server.context import now
from fhir_server.postgres.database import Database
from smart_apps.authorization import usable_keys
from smart_apps.authorization.exchange import Asked
from smart_apps.authorization.registered import PRIVATE_KEY_JWT, Registered
from smart_apps.authorization.usable_keys import Key
from smart_apps.clients import Client

ALGORITHMS: Final = tuple(usable_keys.KINDS)
HEADER: Final = frozenset({"alg", "kid", "typ", "jku"})
LONGEST_SECONDS: Final = 300
LEEWAY_SECONDS: Final = 60
"""How far the clocks of client and server may be apart."""
LONGEST: Final = 16_384
"""Characters of an assertion."""

TAKE: Final = """
INSERT INTO client_assertion (client, jti, expires) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING RETURNING 1
"""
SWEEP: Final = "DELETE FROM client_assertion WHERE expires <= $1"


class ClientAssertion(JWTBearerClientAssertion):  # type: ignore[misc] # authlib has no types
    """Authenticate a client by its assertion.

    Parameters
    ----------
    token_url
        The audience: where the assertion is to be sent.
    """

    CLIENT_AUTH_METHOD = PRIVATE_KEY_JWT

    def __init__(self, database: Database, token_url: str) -> None:
        super().__init__(leeway=LEEWAY_SECONDS)
        self._database = database
        self._audience = token_url

    def get_audiences(self) -> list[str]:
        """The token URL alone."""
        return [self._audience]

    def __call__(
        self, query_client: Callable[[str], Registered | None], request: Asked
    ) -> Registered | None:
        """Authenticate the client of a request by the keys that were found for it."""

        def with_keys(id: str) -> Registered | None:
            found = query_client(id)
            if found is not None:
                found.signs_with = _keys(found.client, request)
            return found

        authenticated: Registered | None = super().__call__(with_keys, request)
        return authenticated

    def extract_assertion(self, assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read header and claims without belief in them, and refuse headers that say too much."""
        return read(assertion)

    def resolve_client_public_key(self, client: Registered) -> KeySet:
        """Give the keys that the client may have signed with."""
        if not client.signs_with:
            raise _refused()
        return KeySet.import_key_set({"keys": [dict(key) for key in client.signs_with]})

    def process_assertion_claims(self, assertion: str, resolve_key: KeySet) -> dict[str, Any]:
        """Verify the signature, by the algorithms of SMART alone, then the claims."""
        try:
            claims: dict[str, Any] = jwt.decode(
                assertion, resolve_key, algorithms=list(ALGORITHMS)
            ).claims
        except (JoseError, ValueError) as error:
            raise _refused() from error
        times = [claims[name] for name in ("exp", "iat", "nbf") if name in claims]
        if not all(isinstance(seconds, int) for seconds in times):
            raise _refused()
        self.verify_claims(claims)
        if claims["exp"] > now() // 1_000_000 + LONGEST_SECONDS + LEEWAY_SECONDS:
            raise InvalidClientError(description="The assertion lives longer than 5 minutes.")
        return claims

    def validate_jti(self, claims: dict[str, Any], jti: Any) -> bool:
        """Take a jti, once: of two requests with the same one, the second is refused."""
        if not isinstance(jti, str) or not 0 < len(jti) <= 256 or not jti.isprintable():
            return False
        until = (claims["exp"] + LEEWAY_SECONDS) * 1_000_000
        return bool(from_thread.run(self._database.run, TAKE, (claims["sub"], jti, until)))


def read(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read header and claims of an assertion without belief in them.

    Raises
    ------
    InvalidClientError
        It is none, or its header says too much or too little.
    """
    if len(assertion) > LONGEST:
        raise _refused()
    try:
        found = jws.extract_compact(assertion.encode())
        header, claims = found.headers(), json.loads(found.payload)
    except (JoseError, ValueError, RecursionError) as error:
        raise _refused() from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _refused()
    named = isinstance(header.get("kid"), str) and header.get("alg") in ALGORITHMS
    if not named or not set(header) <= HEADER:
        raise _refused()
    return header, claims


def _keys(client: Client, request: Asked) -> Sequence[Key]:
    """Give the keys of a client that are of the kind that the assertion of a request needs."""
    header, _ = read(request.form["client_assertion"])
    if "jku" in header and (client.jwks_uri is None or header["jku"] != client.jwks_uri):
        return ()
    if client.jwks_uri is None:
        keys: Sequence[Key] = json.loads(client.jwks or '{"keys": []}')["keys"]
    else:
        keys = [key for key in request.keys if key["kid"] == header["kid"]]
    return [key for key in keys if usable_keys.fits(key, header["alg"])]


def _refused() -> InvalidClientError:
    return InvalidClientError(description="The client assertion is not one of this client.")
