"""What a token response says: the access token, its context, the id token, the next refresh token.

RFC 6749 Section 5.1; SMART App Launch 2.2, "Obtain access token", "Scopes and Launch Context" and
"Scopes for requesting identity data"; OpenID Connect Core 1.0 Section 2 (ID Token).
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from fhir_server.access import emergency, token
from fhir_server.access.emergency import Emergency
from fhir_server.access.token import Keys
from fhir_server.context import now
from resources.content import written_instant
from smart_apps.authorization.authorizations import Authorized
from smart_apps.clients import Client
from smart_apps.users import User

USER_SECONDS: Final = 600
SYSTEM_SECONDS: Final = 300
"""SMART App Launch 2.2, "Backend Services": expires_in is at most 300."""
ID_TOKEN_SECONDS: Final = 300

ID_TOKEN: Final = "JWT"
"""The type of an id token; an access token has another."""

HIDDEN: Final = "_"
"""The member of a context that stays here."""


class Granted(NamedTuple):
    """To whom a token is given: a person who authorised a client, in one of their roles.

    `epoch` is that of the client when the person was asked.
    """

    user: User
    authorized: Authorized
    epoch: str = ""

    @property
    def emergency(self) -> Emergency | None:
        """The emergency access that it is for, if it is for one."""
        claim = self.authorized.context.get(HIDDEN, {}).get("emergency")
        return None if claim is None else Emergency.read(claim)

    @property
    def seconds(self) -> int:
        """How long an access token lives from now on; one of an emergency as long as that."""
        opened = self.emergency
        return USER_SECONDS if opened is None else max((opened.until - now()) // 1_000_000, 0)


class Issuer(NamedTuple):
    """Who signs, and where it is reached."""

    keys: Keys
    public_url: str

    @property
    def fhir_base(self) -> str:
        """The audience of access tokens."""
        return f"{self.public_url}/fhir"

    def for_client(self, client: Client, scope: str) -> dict[str, Any]:
        """Give the token response of a client that asks for itself."""
        access = token.mint(
            self.keys,
            self.public_url,
            subject=f"Client/{client.id}",
            client=client.id,
            scope=scope,
            organization=client.organization,
            role="application",
            epoch=client.epoch,
            lifetime=SYSTEM_SECONDS,
        )
        return _response(access, scope, SYSTEM_SECONDS)

    def for_user(self, client: Client, granted: Granted, scope: str) -> dict[str, Any]:
        """Give the token response of a client that a person has authorised."""
        user, authorized, _ = granted
        context = {name: value for name, value in authorized.context.items() if name != HIDDEN}
        hidden: Mapping[str, Any] = authorized.context.get(HIDDEN, {})
        fhir_user = f"{self.fhir_base}/{hidden['practitioner']}"
        seconds, opened = granted.seconds, granted.emergency
        access = token.mint(
            self.keys,
            self.public_url,
            subject=user.subject,
            client=authorized.client,
            scope=scope,
            organization=user.organization,
            role=user.role,
            patient=context.get("patient"),
            fhir_user=fhir_user,
            authorized=authorized.id,
            epoch=client.epoch,
            emergency=opened,
            lifetime=seconds,
        )
        answer = _response(access, scope, seconds) | context
        if opened is not None:
            answer["emergency"] = _banner(opened)
        if "patient" in context:
            answer["need_patient_banner"] = True
            answer["smart_style_url"] = f"{self.public_url}/auth/style.json"
        if "openid" in scope.split():
            answer["id_token"] = self._id_token(granted, scope, hidden, fhir_user)
        return answer

    def _id_token(
        self, granted: Granted, scope: str, hidden: Mapping[str, Any], fhir_user: str
    ) -> str:
        user, authorized, _ = granted
        issued = now() // 1_000_000
        claims: dict[str, Any] = {
            "iss": self.public_url,
            "sub": str(hidden["practitioner"]),
            "aud": authorized.client,
            "iat": issued,
            "exp": issued + ID_TOKEN_SECONDS,
            "auth_time": authorized.signed_in // 1_000_000,
            "practitioner_role": user.subject,
            "organization": f"Organization/{user.organization}",
            "role": user.role,
        }
        if "nonce" in hidden:
            claims["nonce"] = hidden["nonce"]
        if {"fhirUser", "profile"} & set(scope.split()):
            claims["fhirUser"] = fhir_user
        return self.keys.sign(claims, type=ID_TOKEN)

    def subject_of(self, id_token: str) -> str | None:
        """Give whom an id token of ours is about, however old it is; None if it is none."""
        try:
            read = jwt.decode(id_token, self._key_of(id_token), algorithms=[token.ALGORITHM])
        except (JoseError, ValueError, RecursionError):
            return None
        if read.header.get("typ") != ID_TOKEN or read.claims.get("iss") != self.public_url:
            return None
        return str(read.claims.get("sub", ""))

    def _key_of(self, id_token: str) -> RSAKey:
        key = self.keys.ever(jws.extract_compact(id_token.encode()).headers().get("kid"))
        if key is None:
            raise ValueError("no key of this server")
        return key


def _banner(opened: Emergency) -> dict[str, Any]:
    """What an application shows as long as it looks at somebody in an emergency."""
    return {
        "until": written_instant(opened.until),
        "reason": emergency.REASONS[opened.reason].json,
        "review": f"Task/{opened.id}",
    }


def _response(access: str, scope: str, seconds: int) -> dict[str, Any]:
    return {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": seconds,
        "scope": scope,
    }
