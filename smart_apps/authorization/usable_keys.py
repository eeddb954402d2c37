"""Usable keys: which keys of a set a client may sign its assertions with, and by which algorithm.

A set that a client publishes may hold keys for other ends; they are left out. One that gives away
what nobody else may know is refused as a whole: whoever reads it can sign.

References
----------
* RFC 7517 Sections 4 and 5 (JWK, JWK Set), RFC 7518 Section 6 (their members)
* SMART App Launch 2.2, "Client Authentication: Asymmetric (public key)": RS384 and ES384
* RFC 8725 Section 3.1 (an algorithm is used with the keys that are for it)
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import import_key
from joserfc.util import base64_to_int

from resources.errors import Invalid
from smart_apps import clients

Key = Mapping[str, Any]

MOST_KEYS: Final = 50
RSA_BITS: Final = range(2048, 8192 + 1)
"""Shorter ones are guessed, longer ones take long to verify with."""
KINDS: Final = {"RS384": {"kty": "RSA"}, "ES384": {"kty": "EC", "crv": "P-384"}}
"""Algorithm -> what a key is like that may be used by it (RFC 7518 Section 3.1)."""


def read(text: bytes) -> tuple[Key, ...]:
    """Give those keys of a set that a client may sign with; what else is in it is left out.

    Raises
    ------
    Invalid
        It is no JSON Web Key Set, there is no such key in it, or it gives away a key that nobody
        else may know.
    """
    try:
        keys = json.loads(text)["keys"]
        stray = [key for key in keys if clients.SECRET_MEMBERS & set(key)]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise Invalid("it is no JSON Web Key Set (RFC 7517 Section 5)") from error
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise Invalid(f"a set is a list of at most {MOST_KEYS} keys")
    if stray:
        raise Invalid("it gives away a private or symmetric key")
    found = tuple(key for key in keys if isinstance(key, dict) and _is_usable(key))
    if not found:
        raise Invalid("there is no key in it to sign by RS384 or ES384 with")
    return found


def _is_usable(key: Key) -> bool:
    algorithm = next((name for name in KINDS if fits(key, name)), None)
    is_named = isinstance(key.get("kid"), str) and key.get("use", "sig") == "sig"
    if algorithm is None or not is_named or key.get("alg", algorithm) != algorithm:
        return False
    try:
        if algorithm == "RS384" and base64_to_int(key["n"]).bit_length() not in RSA_BITS:
            return False
        import_key(dict(key))
    except (JoseError, ValueError, LookupError, TypeError, AttributeError):
        return False
    return True


def fits(key: Key, algorithm: str) -> bool:
    """Say whether a key is of the kind that an algorithm needs."""
    return KINDS[algorithm].items() <= key.items()
