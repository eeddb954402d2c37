"""Access tokens: signed with the server's own keys, and read back into a Principal.

An access token is a JWT as RFC 9068 shapes it. What is accepted is narrow on purpose: three
segments in their only spelling, a header of exactly ``alg`` RS256, ``typ`` at+jwt and the ``kid``
of one of our keys. A header that brings or names a key of its own (``jwk``, ``jku``, ``x5u``,
``x5c``), or demands an extension (``crit``), is refused before any key is touched.

RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (JWT best current practices), RFC 9068.
"""

import base64
import binascii
import hashlib
import json
import secrets
import time
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError

from fhir_server.access import purposes, roles, scopes
from fhir_server.access.emergency import Emergency
from fhir_server.access.keys import ALGORITHM, TYPE, Keys
from fhir_server.access.limits import Limits
from fhir_server.access.principal import Principal
from fhir_server.access.withdrawn import Withdrawn, of_client
from resources.errors import Invalid, Unauthenticated

LONGEST: Final = 16_384
"""Characters of a token."""
CLOCK_SKEW_SECONDS: Final = 5
"""How far ahead the clock of the machine that minted a token may run."""
REMEMBERED: Final = 10_000
"""Tokens whose check is remembered, in one process."""
LOOK_SECONDS: Final = 1.0
"""How often it is looked whether the keys have changed, of which a remembered token has one."""

__all__ = ["ALGORITHM", "TYPE", "Keys", "TokenChecker", "mint"]


def mint(
    keys: Keys,
    public_url: str,
    *,
    subject: str,
    client: str,
    scope: str,
    organization: str | None,
    role: str,
    patient: str | None = None,
    fhir_user: str | None = None,
    authorized: str | None = None,
    epoch: str = "",
    emergency: Emergency | None = None,
    purpose: str = "",
    lifetime: int = 300,
    at: int | None = None,
) -> str:
    """Make an access token for a principal.

    Parameters
    ----------
    public_url
        Where the server is reached: the issuer, and with ``/fhir`` the audience.
    subject
        ``PractitionerRole/x`` for a user, ``Client/x`` for a client of its own.
    authorized
        Id of the authorisation that it comes from, with which it can be withdrawn.
    epoch
        That of the client, with which all its tokens can be withdrawn.
    emergency
        The emergency access to `patient` that it gives.
    purpose
        What it is for, if not for what the role is for; see `purposes`.
    lifetime
        Seconds.
    at
        Seconds since 1970 UTC; now, unless told.
    """
    issued = int(time.time()) if at is None else at
    claims = {
        "iss": public_url,
        "aud": f"{public_url}/fhir",
        "sub": subject,
        "client_id": client,
        "scope": scope,
        "iat": issued,
        "nbf": issued,
        "exp": issued + lifetime,
        "jti": secrets.token_urlsafe(16),
        "organization": organization,
        "role": role,
        "patient": patient,
        "fhirUser": fhir_user,
        "authorized": authorized,
        "client_epoch": epoch or None,
        "emergency": None if emergency is None else emergency.claim,
        "extensions": purposes.claim(purpose) if purpose else None,
    }
    return keys.sign({name: value for name, value in claims.items() if value is not None})


class TokenChecker:
    """Read tokens of one issuer, and remember those read until they expire.

    Parameters
    ----------
    public_url
        As in `mint`.
    withdrawn
        Which tokens count no more.
    limits
        How much their holders may ask.
    """

    def __init__(
        self,
        keys: Keys,
        public_url: str,
        withdrawn: Withdrawn | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._keys = keys
        self._issuer = public_url
        self._audience = f"{public_url}/fhir"
        self._withdrawn = withdrawn or Withdrawn()
        self._remembered: dict[bytes, Principal] = {}
        self._generation = 0
        self._look_at = 0.0

    def check(self, token: str) -> Principal:
        """Say whose token this is.

        Raises
        ------
        Unauthenticated
            It is not one of ours, or not valid now. The reason does not say more than a holder
            of the token knows already.
        """
        at = time.time()
        if at >= self._look_at:
            self._look(at)
        digest = hashlib.sha256(token.encode()).digest()
        principal = self._remembered.get(digest)
        if principal is None:
            principal = self._principal(self._claims(token))
            if len(self._remembered) >= REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[digest] = principal
        if principal.expires <= at:
            del self._remembered[digest]
            raise Unauthenticated("the access token has expired", code="expired")
        if self._withdrawn.has(*principal.withdrawable):
            raise _refused()
        return principal

    def claims(self, token: str) -> tuple[dict[str, Any], Principal]:
        """Give what a token says, and whose it is; nothing is remembered, so any thread may ask.

        Raises
        ------
        Unauthenticated
            As `check`.
        """
        claims = self._claims(token)
        principal = self._principal(claims)
        if principal.expires <= time.time() or self._withdrawn.has(*principal.withdrawable):
            raise _refused()
        return claims, principal

    def _look(self, at: float) -> None:
        """Forget what was checked by keys that may have ended since."""
        self._look_at = at + LOOK_SECONDS
        generation = self._keys.look()
        if generation != self._generation:
            self._remembered.clear()
            self._generation = generation

    def _claims(self, token: str) -> dict[str, Any]:
        """Verify header and signature, then issuer, audience and times."""
        header = _header(token)
        key = self._keys.find(header.get("kid"))
        if set(header) != {"alg", "typ", "kid"} or key is None:
            raise _refused()
        if header["alg"] != ALGORITHM or header["typ"] != TYPE:
            raise _refused()
        try:
            claims = jwt.decode(token, key, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError) as error:
            raise _refused() from error
        if claims.get("iss") != self._issuer or claims.get("aud") != self._audience:
            raise _refused()
        times = [claims.get(name) for name in ("exp", "nbf", "iat")]
        if not all(type(seconds) is int for seconds in times):
            raise _refused()
        if max(claims["nbf"], claims["iat"]) > time.time() + CLOCK_SKEW_SECONDS:
            raise Unauthenticated("the access token is not valid yet", code="login")
        return claims

    def _principal(self, claims: dict[str, Any]) -> Principal:
        """Read the claims that say who is asking."""
        words = {name: claims.get(name) for name in ("sub", "client_id", "scope", "role", "jti")}
        names = ("organization", "patient", "authorized", "client_epoch")
        optional = {name: claims.get(name) for name in names}
        if not all(isinstance(value, str) and value for value in words.values()):
            raise _refused()
        if not all(value is None or isinstance(value, str) for value in optional.values()):
            raise _refused()
        if words["role"] not in roles.ROLES or words["role"] == "system":
            raise _refused()
        try:
            granted = scopes.parse(str(words["scope"]))
            claim = claims.get("emergency")
            emergency = None if claim is None else Emergency.read(claim)
            purpose = purposes.read(claims.get("extensions"))
        except Invalid as error:
            raise _refused() from error
        if emergency is not None and optional["patient"] is None:
            raise _refused()
        return Principal(
            subject=str(words["sub"]),
            organization=optional["organization"],
            role=str(words["role"]),
            scopes=granted,
            patient=optional["patient"],
            client=str(words["client_id"]),
            expires=claims["exp"],
            withdrawable=(
                str(words["jti"]),
                of_client(str(words["client_id"]), optional["client_epoch"] or ""),
                *filter(None, [optional["authorized"]]),
            ),
            authorized=optional["authorized"] or "",
            emergency=emergency,
            purpose=purpose,
        )


def _refused() -> Unauthenticated:
    return Unauthenticated("the access token is not one of this server", code="login")


def _header(token: str) -> dict[str, Any]:
    """Read the header of a token whose three segments are spelled in the one way allowed.

    Base64url has several spellings of the same bytes: other values of the unused bits. RFC 4648
    Section 3.5 lets a decoder refuse them, and then a token has no second form.
    """
    segments = token.split(".")
    if len(token) > LONGEST or len(segments) != 3:
        raise _refused()
    try:
        decoded = [base64.urlsafe_b64decode(each + "=" * (-len(each) % 4)) for each in segments]
        header = json.loads(decoded[0])
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _refused() from error
    spelled = [base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in decoded]
    if spelled != segments or not isinstance(header, dict):
        raise _refused()
    return header
