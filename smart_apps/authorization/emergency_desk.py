"""Where a clinician asks for emergency access: for whom, why, and what comes of it.

The patient is named by NHS number and date of birth, and nothing more is told of them before the
access is opened. How often it may be tried is limited as signing in is.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from fhir_server import emergencies
from fhir_server.access import emergency
from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.emergencies import Wish
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources.errors import Invalid
from smart_apps.authorization import attempts, pages
from smart_apps.authorization.exchange import Asked
from smart_apps.authorization.pages import Form
from smart_apps.authorization.tokens import HIDDEN, Granted
from smart_apps.users import User

NOBODY: Final = "Nobody is known by that NHS number and date of birth."
TOO_OFTEN: Final = "That was tried too often. Wait ten minutes and try again."

FIELD: Final = "emergency"
FIELDS: Final = ("nhs", "born", "reason", "said")


class Page(NamedTuple):
    """A page that asks, or asks again."""

    body: bytes
    status: int = 200


def is_asked_for(user: User, fields: Mapping[str, str]) -> bool:
    """Whether somebody who may ask for emergency access does."""
    return user.role in emergency.ROLES and FIELD in fields


def kept(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields that go on to the decision, where all is looked at again."""
    return {name: fields.get(name, "") for name in (FIELD, *FIELDS)}


def told(fields: Mapping[str, str]) -> dict[str, str]:
    """What the decision is about, in words: what the person has said, and nothing else."""
    reason = emergency.REASONS[fields["reason"]].display
    return {
        "Patient": f"NHS number {fields['nhs']}, born {fields['born']}",
        "Emergency access": reason,
    }


class EmergencyDesk:
    """The steps of an emergency within a sign-in."""

    def __init__(self, database: Database, store: Store, ledger: Ledger) -> None:
        self._database = database
        self._store = store
        self._ledger = ledger

    async def wish(
        self, form: Form, user: User, fields: Mapping[str, str], asked: Asked
    ) -> Wish | Page:
        """Read for whom it is asked and why, or give the page that asks."""
        if not fields.keys() & set(FIELDS):
            return _page(form, fields)
        nhs, born = fields.get("nhs", "").replace(" ", ""), fields.get("born", "")
        try:
            said = emergency.check(fields.get("reason", ""), fields.get("said", ""))
        except Invalid as refusal:
            return _page(form, fields, refusal.reason)
        whose = f"emergency {user.login}", asked.origin, asked.instant
        too_often = await attempts.are_too_many(self._database, *whose)
        if too_often or await attempts.note(self._database, *whose):
            return _page(form, fields, TOO_OFTEN)
        found = await emergencies.identified(self._store, nhs, born) if nhs and born else None
        if found is None:
            await self._note_nobody(user, asked)
            return _page(form, fields, NOBODY)
        await attempts.forget(self._database, *whose)
        return Wish(found, fields["reason"], said)

    async def opened(self, granted: Granted, asked: Asked, wish: Wish) -> Granted:
        """Open it, before there is a code for it."""
        user, authorized, _ = granted
        principal = user.principal(authorized.scope, authorized.client)
        context = RequestContext(principal, "login", asked.origin, instant=asked.instant)
        opened = await emergencies.open_access(self._store, context, wish, authorized.id)
        hidden = {**authorized.context[HIDDEN], "emergency": opened.claim}
        context_of = {**authorized.context, HIDDEN: hidden}
        return granted._replace(authorized=authorized._replace(context=context_of))

    async def _note_nobody(self, user: User, asked: Asked) -> None:
        """Audit an attempt that named nobody; what was typed is not kept."""
        context = RequestContext(user.principal(""), "login", asked.origin, instant=asked.instant)
        detail = "emergency access: nobody identified"
        await self._ledger.append(
            ledger.entry(context, outcome=ledger.MINOR_FAILURE, detail=detail)
        )


def _page(form: Form, fields: Mapping[str, str], problem: str = "") -> Page:
    reasons = ((reason.code, reason.display) for reason in emergency.REASONS.values())
    body = pages.ask_for_emergency(form, reasons, fields, problem)
    return Page(body, 400 if problem else 200)
