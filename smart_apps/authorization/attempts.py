"""Attempts: how often it was tried to sign in, and when that is often enough.

OWASP ASVS 5.0 V6.3.1 (controls against credential stuffing and password brute force). Slowed down
are the login and the address that failed; nobody is locked out for good.
"""

from typing import Final

from fhir_server.postgres.database import Database

WITHIN_SECONDS: Final = 600
OF_A_LOGIN: Final = 10
OF_AN_ADDRESS: Final = 100
"""Many people may sit behind one address."""

COUNT: Final = "SELECT count(*) FROM attempt WHERE subject = $1 AND instant > $2"
NOTE: Final = "INSERT INTO attempt (subject, instant) VALUES ($1, $3), ($2, $3)"
FORGET: Final = """
DELETE FROM attempt WHERE subject = $1 OR (subject = $2 AND instant = $3)
"""
SWEEP: Final = "DELETE FROM attempt WHERE instant <= $1"


async def are_too_many(database: Database, login: str, address: str, instant: int) -> bool:
    """Say whether this login, or this address, has failed too often to be asked again now."""
    return await _are_more(database, login, address, instant, than=-1)


async def note(database: Database, login: str, address: str, instant: int) -> bool:
    """Note an attempt, before its password is looked at; say whether it is one too many.

    Of attempts made at the same time each sees at least those noted before it, so that no more are
    looked at than of attempts one after the other; perhaps fewer.
    """
    await database.run(NOTE, (_login(login), _address(address), instant))
    return await _are_more(database, login, address, instant, than=0)


async def forget(database: Database, login: str, address: str, instant: int) -> None:
    """Forget those of a login, whose person has signed in, and this one of the address."""
    await database.run(FORGET, (_login(login), _address(address), instant))


async def _are_more(
    database: Database, login: str, address: str, instant: int, *, than: int
) -> bool:
    """Say whether there were more than the most, or as many with -1, of this login or address."""
    since = instant - WITHIN_SECONDS * 1_000_000
    for subject, most in ((_login(login), OF_A_LOGIN), (_address(address), OF_AN_ADDRESS)):
        ((count,),) = await database.run(COUNT, (subject, since))
        if count > most + than:
            return True
    return False


def _login(login: str) -> str:
    return f"login {login[:64]}"


def _address(address: str) -> str:
    return f"address {address}"
