"""Consenting: what a person is asked to let a client do, and what becomes of the answer.

SMART App Launch 2.2, "Authorization server evaluates the request and asks for end-user input";
R014.1 of the requirements (it is audited, allowed or not).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.store.store import Store
from smart_apps.authorization import asking, emergency_desk, pages, secret
from smart_apps.authorization.authorizations import Authorized
from smart_apps.authorization.exchange import Asked
from smart_apps.authorization.pages import Form
from smart_apps.authorization.sign_ins import SignIn
from smart_apps.authorization.tokens import HIDDEN, Granted
from smart_apps.clients import Client
from smart_apps.users import User


class Consenting:
    """The question, and the row of the ledger that tells of the answer."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    async def granted(
        self, asked: Asked, client: Client, user: User, signed_in: SignIn, context: dict[str, Any]
    ) -> Granted:
        """Give what the client would be let do, and by whom."""
        hidden = {"practitioner": await asking.practitioner(self._store, user)}
        if nonce := asked.form.get("nonce"):
            hidden["nonce"] = nonce
        authorized = Authorized(
            id=secret.new(),
            client=client.id,
            login=user.login,
            practitioner_role=user.practitioner_role,
            scope=asked.scope,
            context=context | {HIDDEN: hidden},
            signed_in=signed_in.instant,
        )
        return Granted(user, authorized, client.epoch)

    async def page(
        self, form: Form, granted: Granted, asked: Asked, kept: Mapping[str, str], problem: str
    ) -> bytes:
        """Give the page that asks."""
        user, authorized, _ = granted
        told = {"Application": authorized.client, "You act as": await self.role_of(user)}
        if emergency_desk.FIELD in kept:
            told |= emergency_desk.told(kept)
        elif patient := kept.get("patient", ""):
            told["Patient"] = await asking.name_of(self._store, user, patient, asked.origin)
        return pages.consent(form, told, authorized.scope, kept, problem)

    async def role_of(self, user: User) -> str:
        """Say a role and its organisation in words."""
        ((_, role, organization),) = await asking.roles(self._store, [user])
        return f"{role}, {organization}"

    async def note(self, granted: Granted, asked: Asked, what: str, outcome: int) -> None:
        """Audit what a person has let a client do, or has not."""
        user, authorized, _ = granted
        principal = replace(
            user.principal(authorized.scope, authorized.client), emergency=granted.emergency
        )
        context = RequestContext(principal, "login", asked.origin, instant=asked.instant)
        patient = authorized.context.get("patient")
        row = ledger.entry(
            context, outcome=outcome, patient=patient, detail=f"{what} {authorized.scope}"
        )
        await self._ledger.append(row)
