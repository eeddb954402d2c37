"""Signing in: login and password, looked at slowly and not too often, and audited either way.

OWASP ASVS 5.0 V6.3. Whether a login exists is not told: an unknown one takes as long as a wrong
password, and hears the same.
"""

from functools import cache
from typing import Final

from anyio import CapacityLimiter, to_thread

from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from smart_apps import passwords, users
from smart_apps.authorization import attempts, sign_ins

WRONG: Final = "That login and password do not belong together."
TOO_OFTEN: Final = "That was tried too often. Wait ten minutes and try again."

AT_ONCE: Final = 1
"""Passwords looked at at the same time in one process: each takes a core and 64 MB."""


class SignInDesk:
    """Where people sign in."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger
        self._limiter = CapacityLimiter(AT_ONCE)

    async def sign_in(
        self, login: str, password: str, origin: str, instant: int, request: bytes | None = None
    ) -> tuple[str | None, str]:
        """Give the new cookie of the browser, or None and the reason to show.

        Parameters
        ----------
        request
            Digest of the authorisation request that it is for (`prompts`), if it is for one.
        """
        acting, reason = await self.proved(login, password, origin, instant)
        return (await self._opened(acting, instant, request) if acting else None), reason

    async def proved(
        self, login: str, password: str, origin: str, instant: int
    ) -> tuple[list[users.User], str]:
        """Give who it is, once for each role, or nobody and the reason to show."""
        whose = login, origin, instant
        too_often = await attempts.are_too_many(self._database, *whose)
        if too_often or await attempts.note(self._database, *whose):
            known = await users.acting(self._database, login)
            await self._note(known[0] if known else None, origin, instant, "too many attempts")
            return [], TOO_OFTEN
        acting = await users.acting(self._database, login)
        kept = acting[0].password if acting else _nobody()
        fits = await to_thread.run_sync(passwords.matches, password, kept, limiter=self._limiter)
        if not acting or not fits:
            await self._note(acting[0] if acting else None, origin, instant, "wrong password")
            return [], WRONG
        await attempts.forget(self._database, login, origin, instant)
        await self._note(acting[0], origin, instant, "")
        return acting, ""

    async def vouched_for(
        self, login: str, origin: str, instant: int, request: bytes, proved: int | None
    ) -> str | None:
        """Give the new cookie for somebody another provider vouches for, if they log in here.

        Parameters
        ----------
        proved
            When they proved to it who they are, in microseconds since 1970 UTC, if it says so.
        """
        acting = await users.acting(self._database, login)
        if not acting:
            await self._note(None, origin, instant, "nobody here by that name")
            return None
        await self._note(acting[0], origin, instant, "")
        return await self._opened(acting, instant, request, proved)

    async def act_as(self, cookie: str, login: str, chosen: str, origin: str, instant: int) -> None:
        """Take the choice of a role, if it is one of the person's."""
        for user in await users.acting(self._database, login, chosen):
            await sign_ins.choose(self._database, cookie, user.practitioner_role)
            context = RequestContext(user.principal(""), "login", origin, instant=instant)
            row = ledger.entry(context, outcome=ledger.SUCCESS, detail="acts in this role")
            await self._ledger.append(row)

    async def _opened(
        self,
        acting: list[users.User],
        instant: int,
        request: bytes | None,
        proved: int | None = None,
    ) -> str:
        role = acting[0].practitioner_role if len(acting) == 1 else ""
        login = acting[0].login
        return await sign_ins.open(self._database, login, role, instant, request, proved)

    async def _note(self, user: users.User | None, origin: str, instant: int, failure: str) -> None:
        """Audit an attempt. What was typed as a login is not kept: it may be a password."""
        principal = user.principal("") if user else sign_ins.NOBODY
        context = RequestContext(principal, "login", origin, instant=instant)
        outcome = ledger.MINOR_FAILURE if failure else ledger.SUCCESS
        await self._ledger.append(
            ledger.entry(context, outcome=outcome, detail=failure or "signed in")
        )


@cache
def _nobody() -> str:
    """What is kept of a password that nobody has."""
    return passwords.derive("")
