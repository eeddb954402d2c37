"""The authorisation endpoint: from a client's request, by way of a person, to a code.

Each step is looked at afresh from the request itself and what the browser has done so far: sign in,
choose a role, choose a patient, allow. A step that is settled is passed over; nothing is kept of a
request that is not finished.

RFC 6749 Section 3.1; SMART App Launch 2.2, "App Launch: Launch and Authorization"; OpenID Connect
Core 1.0 Section 3.1.2.1 (prompt, max_age, id_token_hint).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response

from fhir_server.access import emergency
from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.emergencies import Wish
from fhir_server.store.store import Store
from resources.errors import Invalid
from smart_apps import users
from smart_apps.authorization import (
    asking,
    authorizations,
    emergency_desk,
    launches,
    pages,
    picking,
    prompts,
    sign_ins,
)
from smart_apps.authorization.consenting import Consenting
from smart_apps.authorization.emergency_desk import EmergencyDesk
from smart_apps.authorization.exchange import Asked
from smart_apps.authorization.pages import Form
from smart_apps.authorization.server import SmartServer
from smart_apps.authorization.sign_ins import SignIn
from smart_apps.clients import Client
from smart_apps.users import User

NOT_THERE: Final = "There is no such launch, or it is too old: open the application once more."
NOT_YOURS: Final = "Somebody else has opened this application: sign out, or open it yourself."
ANOTHER_ROLE: Final = "You act in another role now than when this page was shown. Look again."
ACTING: Final = "acting"
"""Field of a form: the PractitionerRole that the person acted in when it was shown."""


@dataclass(frozen=True)
class Page:
    """A page to show instead of sending the person back."""

    body: bytes
    status: int = 200


@dataclass(frozen=True)
class Step:
    """How far a person has come with a request.

    Parameters
    ----------
    cookie
        Of the browser.
    patient
        Id of the Patient chosen in this step or the one before; empty if none is.
    decision
        ``allow`` or ``deny``, when the person has just said so.
    fields
        Of the form that was sent, if one was.
    problem
        What is to be told at the head of the next page.
    """

    cookie: str
    patient: str = ""
    decision: str = ""
    fields: Mapping[str, str] | None = None
    problem: str = ""


class Chosen(NamedTuple):
    """What a person has chosen: a context, in an emergency or not, and the fields that keep it."""

    context: dict[str, Any]
    wish: Wish | None
    kept: dict[str, str]


class Authorize:
    """The steps, with what they need.

    Parameters
    ----------
    upstream
        What another provider is called where people may sign in; empty if there is none.
    """

    def __init__(
        self, server: SmartServer, store: Store, ledger: Ledger, upstream: str = ""
    ) -> None:
        self._upstream = upstream
        self._server = server
        self._database = server.database
        self._store = store
        self._consenting = Consenting(store, ledger)
        self._desk = EmergencyDesk(server.database, store, ledger)

    async def next(self, asked: Asked, step: Step) -> Page | Response:
        """Give the next page, or send the person back to the client.

        Raises
        ------
        OAuth2Error
            The request cannot be granted.
        """
        grant = await self._server.validated(asked)
        prompts.check(asked, grant, self._server.issuer)
        form = Form(urlencode(asked.form), sign_ins.form_token(step.cookie))
        client: Client = asked.client.client
        signed_in = await sign_ins.find(self._database, step.cookie, asked.instant)
        if signed_in is None or not prompts.is_met(asked, signed_in):
            prompts.require_page(asked, grant, "login_required")
            page = pages.sign_in(form, client.id, step.problem, self._upstream)
            return Page(page, 401 if step.problem else 200)
        launch = await self._launch(asked, grant, signed_in)
        acting = await users.acting(self._database, signed_in.login)
        several = launch is None and len(acting) > 1
        user = await self._user(step.cookie, signed_in, launch)
        asks_again = several and prompts.has(asked, "select_account") and step.fields is None
        if user is None or asks_again:
            prompts.require_page(asked, grant, "interaction_required")
            return Page(pages.choose_role(form, await asking.roles(self._store, acting)))
        if prompts.means_somebody(asked):
            practitioner = await asking.practitioner(self._store, user)
            prompts.require_meant(asked, grant, self._server.issuer, practitioner)
        if several:
            form = form._replace(acting=await self._consenting.role_of(user))
        chosen = await self._chosen(asked, grant, form, user, step, launch)
        if isinstance(chosen, Page):
            return chosen
        context, wish, kept = chosen
        kept |= {ACTING: user.practitioner_role}
        acted = (step.fields or {}).get(ACTING, user.practitioner_role)
        if acted != user.practitioner_role:
            step = replace(step, decision="", problem=ANOTHER_ROLE)  # said of another role
        granted = await self._consenting.granted(asked, client, user, signed_in, context)
        if step.decision == "deny":
            await self._consenting.note(granted, asked, "denied", ledger.MINOR_FAILURE)
            return await self._server.authorize(asked, grant, None)
        if step.decision != "allow":
            asks = prompts.has(asked, "consent") or wish is not None or bool(step.problem)
            asks = asks or (several and not prompts.has(asked, "none"))
            if asks or not await authorizations.is_remembered(self._database, granted.authorized):
                prompts.require_page(asked, grant, "consent_required")
                if wish is not None:
                    kept = emergency_desk.kept(step.fields or {}) | {ACTING: user.practitioner_role}
                return Page(await self._consenting.page(form, granted, asked, kept, step.problem))
        if wish is not None:
            granted = await self._desk.opened(granted, asked, wish)
        answer = await self._server.authorize(asked, grant, granted)
        if await authorizations.find(self._database, granted.authorized.id) is None:
            await self._consenting.note(granted, asked, "not authorised", ledger.MINOR_FAILURE)
            return answer
        await sign_ins.serve(self._database, step.cookie)
        await self._consenting.note(granted, asked, "authorised", ledger.SUCCESS)
        return answer

    async def _launch(self, asked: Asked, grant: Any, signed_in: SignIn) -> launches.Launch | None:
        """The launch that a request names; the scope ``launch`` needs one."""
        if "launch" not in asked.scope.split():
            return None
        handle = asked.form.get("launch", "")
        found = await launches.find(self._database, handle, asked.instant)
        if found is None:
            raise prompts.error("invalid_request", NOT_THERE, grant)
        if found.login != signed_in.login:
            raise prompts.error("access_denied", NOT_YOURS, grant)
        return found

    async def _user(
        self, cookie: str, signed_in: SignIn, launch: launches.Launch | None
    ) -> User | None:
        """Give the person in the role of the launch, or the one chosen, or the only one."""
        role = launch.practitioner_role if launch else signed_in.practitioner_role
        acting = await users.acting(self._database, signed_in.login, role)
        if len(acting) != 1:
            return None
        if acting[0].practitioner_role != signed_in.practitioner_role:
            await sign_ins.choose(self._database, cookie, acting[0].practitioner_role)
        return acting[0]

    async def _chosen(
        self,
        asked: Asked,
        grant: Any,
        form: Form,
        user: User,
        step: Step,
        launch: launches.Launch | None,
    ) -> Chosen | Page:
        """Give the context that the tokens are for, or the page on which more of it is chosen."""
        fields = step.fields or {}
        context: dict[str, Any] = dict(launch.context) if launch else {}
        wish: Wish | None = None
        if "patient" not in context and _wants_patient(asked.scope):
            if emergency_desk.is_asked_for(user, fields):
                wished = await self._desk.wish(form, user, fields, asked)
                if isinstance(wished, emergency_desk.Page):
                    return Page(*wished)
                wish = wished
                context["patient"] = wish.patient
            elif not await self._may_choose(user, step.patient, asked.origin):
                prompts.require_page(asked, grant, "interaction_required")
                return await self._patients(form, user, step, asked.origin)
            else:
                context["patient"] = step.patient
        kept = {"patient": str(context.get("patient", "")), **picking.kept(asked.scope, fields)}
        if wish is not None:
            return Chosen(context, wish, kept)
        picked = await picking.pick(self._store, user, asked.scope, context, fields, asked.origin)
        if isinstance(picked, picking.Question):
            prompts.require_page(asked, grant, "interaction_required")
            return Page(_choice(form, picked, kept))
        return Chosen(picked, None, kept)

    async def _may_choose(self, user: User, patient: str, origin: str) -> bool:
        return bool(patient) and await asking.sees(
            self._store, user, [f"Patient/{patient}"], origin
        )

    async def _patients(self, form: Form, user: User, step: Step, origin: str) -> Page:
        fields, offers = step.fields or {}, user.role in emergency.ROLES
        if not {"nhs", "family", "born"} & set(fields):
            return Page(pages.choose_patient(form, None, offers_emergency=offers))
        try:
            limits = self._server.checker.limits
            found = await asking.patients(self._store, limits, user, fields, origin)
        except Invalid as refusal:
            return Page(
                pages.choose_patient(form, None, refusal.reason, offers_emergency=offers), 400
            )
        return Page(pages.choose_patient(form, found, offers_emergency=offers))


def _wants_patient(scope: str) -> bool:
    words = scope.split()
    of_patient = any(word.startswith("patient/") for word in words)
    return "launch/patient" in words or of_patient or picking.needs_patient(scope)


def _choice(form: Form, question: picking.Question, kept: Mapping[str, str]) -> bytes:
    """The page on which somebody chooses something of the patient."""
    (field, kind, _), rows = question
    return pages.choose(form, kind.asked, field, rows, picking.NONE, kept)
