"""A registered client, as authlib asks about it.

RFC 6749 Sections 2 and 3.1.2; RFC 9700 Section 2.1: a redirect URI is compared as a whole, letter
by letter. SMART App Launch 2.2, "Client Authentication".
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from authlib.oauth2.rfc6749 import ClientMixin

from fhir_server.access import scopes
from resources.errors import Invalid
from smart_apps import passwords
from smart_apps.clients import Client

PRIVATE_KEY_JWT: Final = "private_key_jwt"

METHODS: Final = {
    "public": frozenset({"none"}),
    "secret": frozenset({"client_secret_basic", "client_secret_post"}),
    "jwks": frozenset({PRIVATE_KEY_JWT}),
}
"""Kind of client -> how it authenticates (RFC 7591 Section 2, token_endpoint_auth_method)."""


class Registered(ClientMixin):  # type: ignore[misc] # authlib has no types
    """A client, and the answers that authlib's flows need of it.

    `signs_with` are the keys that may have signed the assertion of a request.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.signs_with: Sequence[Mapping[str, Any]] = ()

    def get_client_id(self) -> str:
        """Its id."""
        return self.client.id

    def get_default_redirect_uri(self) -> None:
        """None: SMART App Launch has every request name it ("Obtain authorization code")."""
        return

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """Of what is asked for, all that the client is registered for; None if that is nothing.

        A version 1 scope stays in the form in which it was asked for.
        """
        registered = scopes.parse(self.client.scope)
        allowed = [word for word in (scope or "").split() if _within(word, registered)]
        return " ".join(dict.fromkeys(allowed)) or None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Say whether it is one of those registered, letter by letter."""
        return redirect_uri in self.client.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """Say whether this is its secret; slow on purpose."""
        kept = self.client.secret
        return kept is not None and passwords.matches(client_secret, kept)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Say whether it authenticates like that; at no endpoint otherwise than at others."""
        return method in METHODS[self.client.kind]

    def check_response_type(self, response_type: str) -> bool:
        """Only the authorisation code flow, for clients that have somewhere to be sent back to."""
        return response_type == "code" and bool(self.client.redirect_uris)

    def check_grant_type(self, grant_type: str) -> bool:
        """For itself only a client with a key may ask (SMART Backend Services)."""
        if grant_type == "client_credentials":
            return self.client.kind == "jwks"
        return bool(self.client.redirect_uris)


def _within(word: str, registered: scopes.Scopes) -> bool:
    try:
        return scopes.parse(word).within(registered)
    except Invalid:
        return False
