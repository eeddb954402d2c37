"""Which passwords are taken: long ones that nobody tries first; no rules of composition.

NIST SP 800-63B-4 Section 3.1.1.2 (length, blocklist, no composition rules, no change by the
calendar); NCSC, "Password policy: updating your approach" (three random words).
"""

import re
import unicodedata
from typing import Final

from resources.errors import Invalid

LEAST: Final = 12
MOST: Final = 256

COMMON: Final = frozenset({
    "abcdef", "abcdefgh", "access", "account", "admin", "adminadmin", "administrator", "autumn",
    "backup", "baseball", "batman", "birthday", "changeit", "changeme", "charlie", "chelsea",
    "computer", "consultant", "default", "demo", "doctor", "dragon", "england", "everton",
    "football", "freedom", "guest", "hello", "hospital", "iloveyou", "imaging", "isocentre",
    "jordan", "letmein", "letmeinplease", "liverpool", "login", "london", "manager", "manchester",
    "master", "medical", "michael", "monday", "monkey", "mustang", "newpassword", "nhs", "nurse",
    "pacs", "pass", "passphrase", "password", "patient", "princess", "pussycat", "qwerty",
    "qwertyuiop", "radiographer", "radiologist", "radiology", "reporter", "root", "secret",
    "server", "shadow", "somerset", "spring", "starwars", "summer", "sunshine", "superman",
    "system", "temporary", "test", "testing", "thisisapassword", "trustno", "user", "username",
    "welcome", "whatever", "winter",
})  # fmt: skip
"""Words that passwords are made of when somebody does not want to think of one."""
ROWS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiopasdfghjklzxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
)
FEWEST_LETTERS: Final = 5
"""Different characters."""
LEFT: Final = 8
"""Characters that are neither the login nor a common word nor a run along the keyboard."""

_LEET: Final = str.maketrans("013457@$!", "oieastasi")
_RUN: Final = 4


def require_good(password: str, login: str) -> None:
    """Refuse a password that is short, or among the first that would be tried.

    Raises
    ------
    Invalid
        It is not taken; the reason says why, and not what it was.

    Examples
    --------
    >>> require_good("radial kettle umbrella", "r.rad")
    >>> require_good("Password123456", "r.rad")
    Traceback (most recent call last):
    resources.errors.Invalid: a password is none of the common ones, nor made of the login: ...
    """
    said = unicodedata.normalize("NFKC", password)
    if not LEAST <= len(said) <= MOST:
        raise Invalid(f"a password has {LEAST} to {MOST} characters: three random words will do")
    if len(set(said.casefold())) < FEWEST_LETTERS or _left(said, login) < LEFT:
        raise Invalid(
            "a password is none of the common ones, nor made of the login: "
            "three random words will do"
        )


def _left(password: str, login: str) -> int:
    """Count what is not easily thought of: less the login, common words and runs of keys."""
    least = len(password)
    for spelled in (password.casefold(), password.casefold().translate(_LEET)):
        words = [word for word in re.split(r"[._@-]", login.casefold()) if len(word) > 2]
        rest = spelled
        for word in sorted({login.casefold(), *words, *COMMON}, key=len, reverse=True):
            rest = rest.replace(word, "\0")
        for row in (*ROWS, *(row[::-1] for row in ROWS)):
            for length in range(len(row), _RUN - 1, -1):
                for start in range(len(row) - length + 1):
                    rest = rest.replace(row[start : start + length], "\0")
        rest = re.sub(r"\0[\d\W_]*$", "", rest)
        least = min(least, len(rest.replace("\0", "")))
    return least
