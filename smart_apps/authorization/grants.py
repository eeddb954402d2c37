"""The grants: authorisation code with PKCE, refresh token, client credentials.

RFC 6749 Sections 4.1, 4.4 and 6; RFC 7636 (PKCE, S256 alone); RFC 9700 (best current practice);
SMART App Launch 2.2, "Obtain authorization code", "Refresh access token", "Backend Services".
"""

from typing import Any, ClassVar, Final

from anyio import from_thread
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import (
    InvalidRequestError,
    InvalidScopeError,
    UnauthorizedClientError,
    grants,
)
from authlib.oauth2.rfc7636 import CodeChallenge

from smart_apps import users
from smart_apps.authorization import authorizations
from smart_apps.authorization.authorizations import Authorized, Code
from smart_apps.authorization.registered import PRIVATE_KEY_JWT
from smart_apps.authorization.tokens import Granted

METHODS: Final = ["none", "client_secret_basic", "client_secret_post", PRIVATE_KEY_JWT]
"""RFC 7591 Section 2: how clients authenticate at the token endpoint."""

OTHER_FORMS: Final = ("request", "request_uri", "registration")
"""OpenID Connect Core 1.0 Section 3.1.2.6: parameters, each with an error where it is not taken."""


class S256(CodeChallenge):  # type: ignore[misc] # authlib has no types
    """PKCE, for every client, and never by the plain method."""

    SUPPORTED_CODE_CHALLENGE_METHOD: ClassVar = ["S256"]
    DEFAULT_CODE_CHALLENGE_METHOD = "S256"

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Refuse a request without a challenge, or with one by another method."""
        given = grant.request.payload.data
        if not given.get("code_challenge") or given.get("code_challenge_method") != "S256":
            raise InvalidRequestError("A code_challenge by the method S256 is needed.")
        super().validate_code_challenge(grant, redirect_uri)

    def get_authorization_code_challenge_method(self, authorization_code: Any) -> str:
        """S256: no other is kept."""
        return "S256"


class AskedForHere:
    """Extension of the authorisation request: it is meant for this server.

    Parameters
    ----------
    fhir_base
        What ``aud`` has to be (SMART App Launch 2.2, "Obtain authorization code").
    """

    def __init__(self, fhir_base: str) -> None:
        self._base = fhir_base

    def __call__(self, grant: Any) -> None:
        """Hook it in."""
        grant.register_hook("after_validate_authorization_request_payload", self._check)

    def _check(self, grant: Any, redirect_uri: str) -> None:
        given = grant.request.payload.data
        if given.get("aud", "").rstrip("/") != self._base:
            raise InvalidRequestError("aud is not the FHIR base of this server.")
        if not given.get("state"):
            raise InvalidRequestError("A state is needed.")


class InPlainParameters:
    """Extension of the authorisation request: it says in parameters what it asks for.

    A request in another form is refused: who heeds the parameters beside it may do what the client
    has not asked for. OpenID Connect Core 1.0 Sections 3.1.2.6, 6 and 7.2.1.
    """

    def __call__(self, grant: Any) -> None:
        """Hook it in."""
        grant.register_hook("after_validate_authorization_request_payload", self._check)

    def _check(self, grant: Any, redirect_uri: str) -> None:
        for name in OTHER_FORMS:
            if grant.request.payload.data.get(name):
                raise OAuth2Error(error=f"{name}_not_supported")


class OfAPerson:
    """Extension of the authorisation request: what only a client alone may ask for is left out.

    SMART App Launch 2.2, "Scopes for requesting FHIR Resources": ``system/`` scopes are for
    clients that ask without a person.
    """

    def __call__(self, grant: Any) -> None:
        """Hook it in."""
        grant.register_hook("after_validate_authorization_request_payload", self._narrow)

    def _narrow(self, grant: Any, redirect_uri: str) -> None:
        asked = str(grant.request.scope or "").split()
        words = [word for word in asked if not word.startswith("system/")]
        if not words:
            raise InvalidScopeError()
        grant.request.scope = " ".join(words)


class UsedCode:
    """An authorisation code that is being used, as authlib asks about it."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self.code_challenge = code.challenge
        self.authorized = code.authorized

    def get_redirect_uri(self) -> str:
        """Where it was sent to."""
        return self._code.redirect_uri

    def get_scope(self) -> str:
        """What was granted."""
        return self._code.authorized.scope


class AuthorizationCodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
    """A person lets a client act; the client swaps the code for tokens."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def create_authorization_response(self, redirect_uri: str, grant_user: Any) -> Any:
        """Send the person back to the client with a code, or with their refusal."""
        self.redirect_uri = redirect_uri
        return super().create_authorization_response(redirect_uri, grant_user)

    def generate_authorization_code(self) -> str:
        """Keep the authorisation, and give its code.

        Raises
        ------
        UnauthorizedClientError
            The client was changed or disabled meanwhile.
        """
        granted: Granted = self.request.user
        challenge = self.request.payload.data["code_challenge"]
        code: str | None = from_thread.run(
            authorizations.keep,
            self.server.database,
            granted.authorized,
            granted.epoch,
            self.redirect_uri,
            challenge,
        )
        if code is None:
            raise UnauthorizedClientError(redirect_uri=self.redirect_uri)
        return code

    def save_authorization_code(self, code: str, request: Any) -> None:
        """Do nothing more: it was kept when it was made."""

    def query_authorization_code(self, code: str, client: Any) -> UsedCode | None:
        """Use a code up, whatever comes of the request."""
        database, id = self.server.database, client.get_client_id()
        used = from_thread.run(authorizations.use_code, database, code, id)
        return None if used is None else UsedCode(used)

    def delete_authorization_code(self, authorization_code: UsedCode) -> None:
        """Do nothing: it stays, as used, so that a second use is noticed."""

    def authenticate_user(self, authorization_code: UsedCode) -> Granted | None:
        """Give who authorised it, if they still have that login and role."""
        return still_there(self.server, authorization_code.authorized)


class KeptRefresh:
    """A refresh token that is being used, as authlib asks about it."""

    def __init__(self, authorized: Authorized) -> None:
        self.authorized = authorized

    def check_client(self, client: Any) -> bool:
        """It was looked up for the client that asks."""
        return bool(self.authorized.client == client.get_client_id())

    def get_scope(self) -> str:
        """What was granted."""
        return self.authorized.scope


class RefreshTokenGrant(grants.RefreshTokenGrant):  # type: ignore[misc]
    """A client swaps its refresh token for the next one and an access token."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> KeptRefresh | None:
        """Use a refresh token up."""
        database, id = self.server.database, self.request.client.get_client_id()
        used = from_thread.run(authorizations.use_refresh, database, refresh_token, id)
        return None if used is None else KeptRefresh(used)

    def authenticate_user(self, refresh_token: KeptRefresh) -> Granted | None:
        """Give who authorised it, if they still have that login and role."""
        return still_there(self.server, refresh_token.authorized)

    def revoke_old_credential(self, refresh_token: KeptRefresh) -> None:
        """Do nothing: it was used up when it was looked up."""


class ClientCredentialsGrant(grants.ClientCredentialsGrant):  # type: ignore[misc]
    """A client with a key asks for itself (SMART Backend Services)."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = [PRIVATE_KEY_JWT]

    def validate_requested_scope(self) -> None:
        """Refuse what is nothing for a client alone: it has no person and no patient."""
        asked = self.request.client.get_allowed_scope(self.request.payload.scope)
        words = [word for word in (asked or "").split() if word.startswith("system/")]
        if not words:
            raise InvalidScopeError()
        self.request.payload.datalist["scope"] = [" ".join(words)]


def still_there(server: Any, authorized: Authorized) -> Granted | None:
    """Give the person of an authorisation, if they still act in the role they gave it in."""
    found = from_thread.run(
        users.acting, server.database, authorized.login, authorized.practitioner_role
    )
    granted = Granted(found[0], authorized) if found else None
    # An emergency access that has ended is not begun again with a refresh token.
    return granted if granted is not None and granted.seconds > 0 else None
