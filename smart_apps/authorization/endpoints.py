"""Introspection and revocation: what a token is worth, and that it shall be worth nothing.

RFC 7662 (introspection), RFC 7009 (revocation); SMART App Launch 2.2, "Token Introspection".
"""

from typing import Any, Final

from anyio import from_thread
from authlib.oauth2.rfc6749 import InvalidClientError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from fhir_server.access.principal import Principal
from resources.errors import Unauthenticated
from smart_apps.authorization import authorizations
from smart_apps.authorization.authorizations import Authorized
from smart_apps.authorization.grants import METHODS
from smart_apps.authorization.tokens import HIDDEN

BEARER: Final = "bearer "


class AccessToken:
    """An access token that is valid now, as authlib asks about it."""

    def __init__(self, claims: dict[str, Any], principal: Principal) -> None:
        self.claims = claims
        self.principal = principal

    def check_client(self, client: Any) -> bool:
        """Say whether it was given to this client."""
        return bool(self.principal.client == client.get_client_id())

    def is_expired(self) -> bool:
        """No: one that is does not come this far."""
        return False

    def is_revoked(self) -> bool:
        """No: one that is does not come this far."""
        return False


class RefreshToken:
    """A refresh token that is still good, as authlib asks about it."""

    def __init__(self, authorized: Authorized, expires: int) -> None:
        self.authorized = authorized
        self.expires = expires

    def check_client(self, client: Any) -> bool:
        """Say whether it was given to this client."""
        return bool(self.authorized.client == client.get_client_id())

    def is_expired(self) -> bool:
        """No: one that is does not come this far."""
        return False

    def is_revoked(self) -> bool:
        """No: one that is does not come this far."""
        return False


class _Looking:
    """What both endpoints do: find the token that they are asked about."""

    server: Any

    def query_token(self, token: str, hint: str | None) -> AccessToken | RefreshToken | None:
        """Find a token; a hint that is wrong does no harm (RFC 7009 Section 2.1)."""
        try:
            claims, principal = self.server.checker.claims(token)
            return AccessToken(claims, principal)
        except Unauthenticated:
            found = from_thread.run(authorizations.peek_refresh, self.server.database, token)
            return None if found is None else RefreshToken(*found)


class Introspection(_Looking, IntrospectionEndpoint):  # type: ignore[misc]
    """Tell a client about its own token; a confidential one also of others of its organisation."""

    CLIENT_AUTH_METHODS = METHODS

    def authenticate_endpoint_client(self, request: Any) -> Any:
        """Authenticate as at the token endpoint, or by an access token of one's own."""
        given = request.headers.get("Authorization", "")
        if not given.lower().startswith(BEARER):
            return super().authenticate_endpoint_client(request)
        try:
            _, principal = self.server.checker.claims(given[len(BEARER) :].strip())
        except Unauthenticated:
            raise InvalidClientError(status_code=401) from None
        client = self.server.query_client(principal.client)
        if client is None:
            raise InvalidClientError(status_code=401)
        self.server.checker.limits.admit_client(self.ENDPOINT_NAME, principal.client)
        request.client = client
        return client

    def check_permission(
        self, token: AccessToken | RefreshToken, client: Any, request: Any
    ) -> bool:
        """Say whether this client may know."""
        if token.check_client(client):
            return True
        return (
            isinstance(token, AccessToken)
            and client.client.kind != "public"
            and client.client.organization == token.principal.organization
        )

    def introspect_token(self, token: AccessToken | RefreshToken) -> dict[str, Any]:
        """Say what a token is worth."""
        if isinstance(token, RefreshToken):
            return {
                "client_id": token.authorized.client,
                "scope": token.authorized.scope,
                "exp": token.expires // 1_000_000,
            }
        names = ("scope", "client_id", "exp", "iat", "iss", "sub", "aud", "patient", "fhirUser")
        told = {name: token.claims[name] for name in names if name in token.claims}
        return told | self._context(token.claims) | {"token_type": "Bearer"}

    def _context(self, claims: dict[str, Any]) -> dict[str, Any]:
        """Give the launch context it was given with, and the subject that its id token has."""
        id = claims.get("authorized")
        found = id and from_thread.run(authorizations.find, self.server.database, id)
        if not found:
            return {}
        context = {name: value for name, value in found.context.items() if name != HIDDEN}
        if "openid" in found.scope.split():
            context["sub"] = found.context[HIDDEN]["practitioner"]
        return context


class Revocation(_Looking, RevocationEndpoint):  # type: ignore[misc]
    """Let a client give a token back. With a refresh token falls all of its authorisation."""

    CLIENT_AUTH_METHODS = METHODS

    def revoke_token(self, token: AccessToken | RefreshToken, request: Any) -> None:
        """Withdraw it."""
        if isinstance(token, RefreshToken):
            from_thread.run(authorizations.withdraw, self.server.database, token.authorized.id)
        else:
            id = token.claims["jti"]
            from_thread.run(authorizations.withdraw_token, self.server.database, id)
