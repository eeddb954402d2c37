"""Prompts: whether a person is to be asked once more, or must not be asked at all.

A client may want the person to sign in anew (``prompt=login``), or if they have not of late
(``max_age``). Either is met by a sign-in that was made for this very request, and by no other: the
session that a browser has had before does not do, whatever steps are taken in it. A client may
also say whom it means (``id_token_hint``): nobody else is let through.

OpenID Connect Core 1.0 Section 3.1.2.1 (prompt, max_age, id_token_hint), 3.1.2.6 (login_required
and the like).
"""

import hashlib
from typing import Any, Final
from urllib.parse import urlencode

from authlib.oauth2 import OAuth2Error

from smart_apps.authorization.exchange import Asked
from smart_apps.authorization.sign_ins import SignIn
from smart_apps.authorization.tokens import Issuer

VALUES: Final = ("none", "login", "consent", "select_account")
SECOND: Final = 1_000_000
SERVED_SECONDS: Final = 600
"""How long a sign-in is one for the request that it was made for."""
LONGEST_AGE: Final = 9
"""Digits of a max_age."""

ALONE: Final = "prompt=none stands alone."
NO_AGE: Final = "max_age is a number of seconds."
NO_HINT: Final = "id_token_hint is no id token of this server."
NOT_MEANT: Final = "Somebody else has signed in than id_token_hint says."
HINT: Final = "id_token_hint"
WITHOUT: Final = "This cannot be done without the person."


def has(asked: Asked, what: str) -> bool:
    """Say whether the request has a word in its ``prompt``; words that nobody knows are nothing."""
    return what in _words(asked)


def check(asked: Asked, grant: Any, issuer: Issuer) -> None:
    """Refuse a prompt, a max_age or an id_token_hint that says nothing that can be done."""
    words = _words(asked)
    if "none" in words and len(set(words)) > 1:
        raise error("invalid_request", ALONE, grant)
    age = asked.form.get("max_age", "0")
    if not (age.isascii() and age.isdigit() and len(age) <= LONGEST_AGE):
        raise error("invalid_request", NO_AGE, grant)
    if means_somebody(asked) and issuer.subject_of(asked.form[HINT]) is None:
        raise error("invalid_request", NO_HINT, grant)


def means_somebody(asked: Asked) -> bool:
    """Say whether the client says whom it means."""
    return HINT in asked.form


def require_meant(asked: Asked, grant: Any, issuer: Issuer, practitioner: str) -> None:
    """Refuse who has signed in where the client means somebody else."""
    if issuer.subject_of(asked.form[HINT]) != practitioner:
        raise error("login_required", NOT_MEANT, grant)


def max_age(asked: Asked) -> int | None:
    """Give the seconds that the client lets go by since the person has signed in."""
    return int(asked.form["max_age"]) if "max_age" in asked.form else None


def is_met(asked: Asked, signed_in: SignIn) -> bool:
    """Say whether who has signed in need not do so anew for this request."""
    age = asked.instant - signed_in.instant
    if signed_in.request == digest(asked) and age <= SERVED_SECONDS * SECOND:
        return True
    most = max_age(asked)
    return not has(asked, "login") and (most is None or (most > 0 and age <= most * SECOND))


def digest(asked: Asked) -> bytes:
    """Tell one request from another; a prompt that has been met is left out of it."""
    said = sorted((name, value) for name, value in asked.form.items() if name != "prompt")
    return hashlib.sha256(urlencode(said).encode()).digest()


def require_page(asked: Asked, grant: Any, why: str) -> None:
    """Refuse a request that wants no page to be shown where one is needed."""
    if has(asked, "none"):
        raise error(why, WITHOUT, grant)


def error(code: str, text: str, grant: Any) -> OAuth2Error:
    """Make an error that the client is told (RFC 6749 Section 4.1.2.1)."""
    return OAuth2Error(
        error=code,
        description=text,
        redirect_uri=grant.redirect_uri,
        state=grant.request.payload.state,
    )


def _words(asked: Asked) -> list[str]:
    return str(asked.form.get("prompt", "")).split()
