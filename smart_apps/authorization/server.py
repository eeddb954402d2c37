"""The authorisation server as authlib knows it: its clients, grants and tokens.

RFC 6749; SMART App Launch 2.2. What it is asked is in `exchange`, what it asks the database runs
on the event loop while authlib waits in a thread.
"""

from typing import Any, Final

from anyio import from_thread, to_thread
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidScopeError
from starlette.responses import Response

from fhir_server.access import scopes
from fhir_server.access.token import TokenChecker
from fhir_server.postgres.database import Database
from resources.errors import Invalid, NotFound
from smart_apps import clients
from smart_apps.authorization import assertion, authorizations, exchange, grants, sign_ins
from smart_apps.authorization.assertion import ClientAssertion
from smart_apps.authorization.endpoints import Introspection, Revocation
from smart_apps.authorization.exchange import Asked
from smart_apps.authorization.key_sets import KeySets
from smart_apps.authorization.registered import PRIVATE_KEY_JWT, Registered
from smart_apps.authorization.tokens import Granted, Issuer

ONLINE_SECONDS: Final = sign_ins.HOURS * 3600
"""A refresh token for as long as the person is there, as ``online_access`` asks for."""


class SmartServer(AuthorizationServer):  # type: ignore[misc] # authlib has no types
    """Everything between a request to ``/auth`` and its answer that is not a page.

    Parameters
    ----------
    checker
        Reads access tokens, for introspection and revocation.
    key_sets
        Reads the keys that clients publish.
    """

    def __init__(
        self, database: Database, issuer: Issuer, checker: TokenChecker, key_sets: KeySets
    ) -> None:
        super().__init__()
        self.key_sets = key_sets
        self.database = database
        self.issuer = issuer
        self.checker = checker
        here = grants.AskedForHere(issuer.fhir_base)
        self.register_grant(
            grants.AuthorizationCodeGrant,
            [grants.S256(), here, grants.InPlainParameters(), grants.OfAPerson()],
        )
        self.register_grant(grants.RefreshTokenGrant)
        self.register_grant(grants.ClientCredentialsGrant)
        self.register_client_auth_method(
            PRIVATE_KEY_JWT, ClientAssertion(database, f"{issuer.public_url}/auth/token")
        )
        self.register_endpoint(Introspection)
        self.register_endpoint(Revocation)
        self.register_token_generator("default", self._token)

    async def token(self, asked: Asked) -> Response:
        """Answer the token endpoint (RFC 6749 Section 3.2)."""
        await self._find_keys(asked)
        answer: Response = await to_thread.run_sync(self.create_token_response, asked)
        return answer

    async def endpoint(self, name: str, asked: Asked) -> Response:
        """Answer the introspection or the revocation endpoint."""
        await self._find_keys(asked)
        answer: Response = await to_thread.run_sync(self.create_endpoint_response, name, asked)
        return answer

    async def _find_keys(self, asked: Asked) -> None:
        """Have the keys at hand of a client that publishes them, before a thread waits for them."""
        if not (made := asked.form.get("client_assertion")):
            return
        try:
            header, claims = assertion.read(made)
            client = await clients.enabled(self.database, str(claims.get("sub")))
        except (OAuth2Error, NotFound):
            return  # it is refused when it is looked at
        if client.jwks_uri is not None:
            asked.keys = await self.key_sets.of(client, header["kid"])

    async def validated(self, asked: Asked) -> Any:
        """Check an authorisation request; give authlib's grant for it.

        Raises
        ------
        OAuth2Error
            It cannot be granted. If the client and where it is reached are known, the error has a
            ``redirect_uri``, and the client is told.
        """
        return await to_thread.run_sync(self.get_consent_grant, asked)

    async def authorize(self, asked: Asked, grant: Any, granted: Granted | None) -> Response:
        """Send the person back to the client: with a code, or with a refusal if None."""

        def respond() -> Response:
            answer: Response = self.create_authorization_response(asked, granted, grant)
            return answer

        return await to_thread.run_sync(respond)

    def authenticate_client(
        self, request: Asked, methods: Any, endpoint: str = "token"
    ) -> Registered:
        """Say which client asks, and count it (called in a thread).

        Who says to be a public client may be anybody: it is counted by where it asks from too.

        Raises
        ------
        Throttled
            It asks too often.
        """
        found: Registered = super().authenticate_client(request, methods, endpoint)
        is_public = found.client.kind == "public"
        who = f"{found.client.id} {request.origin}" if is_public else found.client.id
        self.checker.limits.admit_client(endpoint, who)
        return found

    def query_client(self, client_id: str) -> Registered | None:
        """Look a client up that may do something (called in a thread)."""
        try:
            return Registered(from_thread.run(clients.enabled, self.database, client_id))
        except NotFound:
            return None

    def validate_requested_scope(self, scope: str | None) -> None:
        """Refuse a word that is no scope at all; what goes too far is left out later."""
        try:
            scopes.parse(scope or "")
        except Invalid:
            raise InvalidScopeError() from None

    def save_token(self, token: dict[str, Any], request: Asked) -> None:
        """Do nothing: an access token carries all there is to know of it."""

    def create_oauth2_request(self, request: Asked) -> Asked:
        """Give the request back: it is authlib's already."""
        return request

    def handle_response(self, status: int, body: object, headers: Any) -> Response:
        """Make the HTTP answer."""
        return exchange.answer(status, body, headers)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Do nothing: what is worth telling is audited."""

    def _token(
        self,
        grant_type: str,
        client: Registered,
        user: Granted | None = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        """Make a token response (called in a thread)."""
        if user is None:
            return self.issuer.for_client(client.client, scope or "")
        granted = scope or user.authorized.scope
        answer = self.issuer.for_user(client.client, user, granted)
        lasting = set(user.authorized.scope.split()) & {"offline_access", "online_access"}
        if include_refresh_token and lasting:
            offline = "offline_access" in lasting
            seconds = authorizations.REFRESH_SECONDS if offline else ONLINE_SECONDS
            answer["refresh_token"] = from_thread.run(
                authorizations.keep_refresh, self.database, user.authorized, seconds
            )
        return answer


__all__ = ["OAuth2Error", "SmartServer"]
