"""private_key_jwt: a client shows who it is by signing a statement with its key.

RFC 7523 Section 3; SMART App Launch 2.2, "Authenticate using an asymmetric client assertion":
RS384 or ES384, ``iss`` and ``sub`` the client id, ``aud`` the token URL, at most five minutes to
live, and a ``jti`` that is taken once. The keys are those registered: a header that brings or
names others is refused.
"""

import json
from typing import Any, Final

from anyio import from_thread
from authlib.oauth2.rfc6749 import InvalidClientError
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from fhir_server.context import now
from fhir_server.postgres.database import Database
from smart_apps.authorization.registered import PRIVATE_KEY_JWT, Registered

ALGORITHMS: Final = ("RS384", "ES384")
HEADER: Final = frozenset({"alg", "kid", "typ"})
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

    def extract_assertion(self, assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read header and claims without belief in them, and refuse headers that say too much."""
        if len(assertion) > LONGEST:
            raise _refused()
        try:
            header, claims = super().extract_assertion(assertion)
        except (ValueError, RecursionError) as error:
            raise _refused() from error
        named = isinstance(header.get("kid"), str) and header.get("alg") in ALGORITHMS
        if not named or not set(header) <= HEADER:
            raise _refused()
        return header, claims

    def resolve_client_public_key(self, client: Registered) -> KeySet:
        """Give the keys that the client registered."""
        if client.client.jwks is None:
            raise _refused()
        return KeySet.import_key_set(json.loads(client.client.jwks))

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


def _refused() -> InvalidClientError:
    return InvalidClientError(description="The client assertion is not one of this client.")
