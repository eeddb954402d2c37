"""Upstream: people sign in at another OpenID Connect provider, such as a national one.

We are then a relying party: the provider says who somebody is, and a login here of that name says
in which roles they act. OpenID Connect Core 1.0 Section 3.1 (code flow), Discovery 1.0 Section 4;
RFC 7636 (PKCE); RFC 9207 (``iss`` in the answer); RFC 9700 Section 4.4 (mix-up).
"""

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from fhir_server.context import now
from fhir_server.postgres.database import Database
from fhir_server.settings import Settings
from resources.errors import Exhausted, Forbidden
from smart_apps.authorization import prompts, secret
from smart_apps.authorization.exchange import Asked

CALLBACK: Final = "/auth/upstream/callback"
UNDER_WAY_SECONDS: Final = 600
FRESH_SECONDS: Final = 3600.0
"""How long what the provider publishes is taken as it was."""
KEYS_AGAIN_SECONDS: Final = 30.0
"""A key that nobody knows makes us look again, but not more often."""
PATIENCE_SECONDS: Final = 10.0
LEEWAY_SECONDS: Final = 60
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "RS384", "ES384")

BEGIN: Final = """
INSERT INTO upstream_sign_in (digest, browser, request, nonce, verifier, expires)
VALUES ($1, $2, $3, $4, $5, $6)
"""
FINISH: Final = """
DELETE FROM upstream_sign_in WHERE digest = $1
RETURNING browser, request, nonce, verifier, expires
"""
SWEEP: Final = "DELETE FROM upstream_sign_in WHERE expires <= $1"

_log = logging.getLogger(__name__)


class Begun(NamedTuple):
    """A sign-in that the provider has answered.

    `proved` is when the person proved who they are, in microseconds since 1970 UTC, if it says so.
    """

    request: str
    login: str
    proved: int | None


class Upstream:
    """The other provider, as the settings name it."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._issuer = settings.oidc_issuer
        self._client = settings.oidc_client_id
        self._secret = settings.oidc_client_secret.get_secret_value()
        self._claim = settings.oidc_claim
        self._redirect = f"{settings.url}{CALLBACK}"
        self.name = settings.oidc_name
        self._known: Mapping[str, Any] = {}
        self._keys: KeySet | None = None
        self._read = float("-inf")
        self._lock = asyncio.Lock()

    async def begin(self, asked: Asked, cookie: str) -> str:
        """Give the address at the provider to send this browser to.

        Who is to sign in anew here is to do so there: a session that they have there would let
        them through without a word.
        """
        known = await self._configuration()
        state, nonce, verifier = secret.new(), secret.new(), secret.new()
        expires = now() + UNDER_WAY_SECONDS * 1_000_000
        request = urlencode(asked.form)
        params = (secret.digest(state), secret.digest(cookie), request, nonce, verifier, expires)
        await self._database.run(BEGIN, params)
        wanted = {
            "response_type": "code",
            "client_id": self._client,
            "redirect_uri": self._redirect,
            "scope": "openid profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        if prompts.has(asked, "login"):
            wanted["prompt"] = "login"
        if (age := _most(asked)) is not None:
            wanted["max_age"] = str(age)
        return f"{known['authorization_endpoint']}?{urlencode(wanted)}"

    async def finish(self, answer: Mapping[str, str], cookie: str) -> Begun:
        """Take the provider's answer, as the browser brings it.

        Raises
        ------
        Forbidden
            It is not for this browser, not from this provider, or says no.
        Exhausted
            The provider does not answer us.
        """
        rows = await self._database.run(FINISH, (secret.digest(answer.get("state", "")),))
        if not rows:
            raise _refused("no sign-in is under way")
        browser, request, nonce, verifier, expires = rows[0]
        if bytes(browser) != secret.digest(cookie) or expires <= now():
            raise _refused("another browser, or too late")
        if answer.get("iss", self._issuer) != self._issuer or not answer.get("code"):
            raise _refused("no code, or another issuer")
        token = await self._redeem(answer["code"], verifier)
        claims = await self._claims(token, nonce)
        asked = Asked("GET", parse_qsl(request), {}, "")
        begun = expires - UNDER_WAY_SECONDS * 1_000_000
        proved = _proved(claims, _most(asked), begun)
        login = claims.get(self._claim)
        if not isinstance(login, str) or not login:
            raise _refused("the claim that names the login is not there")
        return Begun(request, login, proved)

    async def _redeem(self, code: str, verifier: str) -> str:
        """Swap the code for an ID token."""
        known = await self._configuration()
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "code_verifier": verifier,
        }
        try:
            async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
                answer = await client.post(
                    known["token_endpoint"], data=fields, auth=(self._client, self._secret)
                )
        except httpx.HTTPError as error:
            raise _away() from error
        if answer.status_code != httpx.codes.OK:
            raise _refused("the provider did not take its code back")
        token = answer.json().get("id_token")
        if not isinstance(token, str):
            raise _refused("no ID token")
        return token

    async def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        """Verify an ID token (OpenID Connect Core 1.0 Section 3.1.3.7)."""
        try:
            claims = await self._verified(token)
            jwt.JWTClaimsRegistry(
                leeway=LEEWAY_SECONDS,
                iss={"essential": True, "value": self._issuer},
                aud={"essential": True, "value": self._client},
                nonce={"essential": True, "value": nonce},
                exp={"essential": True},
                iat={"essential": True},
            ).validate(claims)
        except (JoseError, ValueError) as error:
            raise _refused("the ID token does not hold") from error
        if claims.get("azp", self._client) != self._client:
            raise _refused("the ID token is for another party")
        return claims

    async def _verified(self, token: str) -> dict[str, Any]:
        await self._configuration()
        assert self._keys is not None
        try:
            return jwt.decode(token, self._keys, algorithms=list(ALGORITHMS)).claims
        except (JoseError, ValueError):
            if time.monotonic() - self._read < KEYS_AGAIN_SECONDS:
                raise
        self._read = float("-inf")
        await self._configuration()
        return jwt.decode(token, self._keys, algorithms=list(ALGORITHMS)).claims

    async def _configuration(self) -> Mapping[str, Any]:
        """Read what the provider publishes, if we have not of late."""
        async with self._lock:
            if time.monotonic() - self._read < FRESH_SECONDS:
                return self._known
            address = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
            try:
                async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
                    known = (await client.get(address)).raise_for_status().json()
                    keys = (await client.get(known["jwks_uri"])).raise_for_status().json()
            except (httpx.HTTPError, ValueError, KeyError) as error:
                raise _away() from error
            if known.get("issuer") != self._issuer:
                raise _refused("the provider names itself differently")
            self._known, self._keys = known, KeySet.import_key_set(keys)
            self._read = time.monotonic()
            return self._known


def _most(asked: Asked) -> int | None:
    """Give how long ago the person may have proved to the provider who they are, in seconds.

    ``max_age`` of 0 is ``prompt=login`` in other words, and makes it say when that was.
    """
    return 0 if prompts.has(asked, "login") else prompts.max_age(asked)


def _proved(claims: Mapping[str, Any], most: int | None, begun: int) -> int | None:
    """Read when a person proved who they are, which may be `most` seconds before we sent them.

    OpenID Connect Core 1.0 Section 2: ``auth_time`` is required where max_age was asked for;
    Section 3.1.3.7 has the client look at it.
    """
    at = claims.get("auth_time")
    if at is None and most is None:
        return None
    if not isinstance(at, int | float) or not math.isfinite(at):
        raise _refused("it is not said when the person signed in")
    proved = int(at * 1_000_000)
    if most is not None and proved < begun - (most + LEEWAY_SECONDS) * 1_000_000:
        raise _refused("the person has signed in too long ago")
    return proved


def _refused(why: str) -> Forbidden:
    _log.warning("upstream sign-in refused: %s", why)
    return Forbidden("Signing in there did not work. Try again from the application.")


def _away() -> Exhausted:
    _log.error("upstream sign-in: the provider does not answer")
    return Exhausted("The place to sign in does not answer now. Try again later.")
