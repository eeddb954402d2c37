"""The way in: signing in, saying in which role, signing out; and who is at a page.

A browser has a cookie before anybody signs in, as at ``/auth`` (`sign_ins`); this one goes to
``/admin`` alone, and to no page that another site leads to.

OWASP ASVS 5.0 V3.3 (cookies), V3.5 (CSRF), V6.3 (signing in).
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fhir_server.audit.ledger import Ledger
from fhir_server.context import now
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources.errors import Forbidden
from smart_apps import users
from smart_apps.admin import answers, markup, overview
from smart_apps.admin.desk import EVERYBODY, Page, Visit
from smart_apps.admin.markup import joined
from smart_apps.authorization import asking, exchange, secret, sign_ins, signing_out
from smart_apps.authorization.signing_in import SignInDesk
from smart_apps.users import User

COOKIE: Final = "isocentre_admin"
SIGN_IN: Final = "/admin/sign-in"
ROLE: Final = "/admin/role"
SIGN_OUT: Final = "/admin/sign-out"

NOBODY: Final = "None of your roles is one that these pages are for."
NOT_FROM_HERE: Final = "This form is not from here, or too old. Open the page again."


class ElsewhereError(Exception):
    """A browser has to go somewhere else first."""

    def __init__(self, address: str) -> None:
        self.address = address


class Entrance:
    """The way in to the pages.

    Parameters
    ----------
    secure
        The server is reached by https alone: the cookie goes no other way.
    """

    def __init__(self, database: Database, store: Store, ledger: Ledger, *, secure: bool) -> None:
        self._database = database
        self._store = store
        self._ledger = ledger
        self._door = SignInDesk(database, ledger)
        self._secure = secure

    async def sign_in(self, request: Request) -> Response:
        """Ask for login and password, and take them."""
        cookie = _cookie(request) or secret.new()
        problem = ""
        if request.method == "POST":
            fields = await self._form(request)
            new, problem = await self._door.sign_in(
                fields.get("login", ""), fields.get("password", ""), exchange.origin(request), now()
            )
            if new is not None:
                await sign_ins.close(self._database, cookie)
                answer: Response = RedirectResponse(overview.ADDRESS, 303, answers.HEADERS)
                self._give(answer, new)
                return answer
        token = sign_ins.form_token(cookie)
        body = markup.form(
            SIGN_IN,
            token,
            markup.field("Login", "login", autocomplete="username", autocapitalize="none",
                         spellcheck="false", required=True),
            markup.field("Password", "password", kind="password", autocomplete="current-password",
                         required=True),
            markup.button("Sign in"),
        )  # fmt: skip
        answer = answers.answer(Page("Sign in", body, problem, 401 if problem else 200))
        self._give(answer, cookie)
        return answer

    async def role(self, request: Request) -> Response:
        """Ask in which role the person acts, and take it."""
        cookie, roles = await self._roles(request)
        if request.method == "POST":
            chosen = (await self._form(request)).get("practitioner_role", "")
            if chosen in {one.practitioner_role for one in roles}:
                await sign_ins.choose(self._database, cookie, chosen)
                return RedirectResponse(overview.ADDRESS, 303, answers.HEADERS)
        rows = await asking.roles(self._store, roles)
        buttons = [
            markup.button(
                joined(markup.element("strong", role), organization),
                "practitioner_role", id, class_="row",
            )
            for id, role, organization in rows
        ]  # fmt: skip
        body = markup.form(ROLE, sign_ins.form_token(cookie), *buttons)
        return answers.answer(Page("Who are you acting as?", body))

    async def sign_out(self, request: Request) -> Response:
        """Sign out of these pages."""
        await self._form(request)
        cookie, instant = _cookie(request), now()
        signed_in = await sign_ins.find(self._database, cookie, instant)
        await sign_ins.close(self._database, cookie)
        if signed_in is not None:
            origin = exchange.origin(request)
            await signing_out.note(self._database, self._ledger, signed_in, origin, instant)
        body = markup.element("p", markup.link(SIGN_IN, "Sign in again"))
        answer = answers.answer(Page("Signed out", body))
        answer.delete_cookie(COOKIE, path="/admin")
        return answer

    async def visit(self, request: Request) -> Visit:
        """Say who is there, and in which role.

        Raises
        ------
        ElsewhereError
            Nobody is, or they have to choose a role first.
        """
        cookie, roles = await self._roles(request)
        if len(roles) != 1:
            signed_in = await sign_ins.find(self._database, cookie, now())
            chosen = signed_in.practitioner_role if signed_in else ""
            roles = [one for one in roles if one.practitioner_role == chosen]
            if not roles:
                raise ElsewhereError(ROLE)
        if request.method == "POST":
            fields = await self._form(request)
        else:
            fields = dict(exchange.once(exchange.query(request)))
        token, origin = sign_ins.form_token(cookie), exchange.origin(request)
        return Visit(roles[0], fields, request.path_params, token, origin)

    async def _roles(self, request: Request) -> tuple[str, list[User]]:
        """Give the cookie, and the roles of who has signed in that these pages are for."""
        cookie = _cookie(request)
        signed_in = await sign_ins.find(self._database, cookie, now())
        if signed_in is None:
            raise ElsewhereError(SIGN_IN)
        acting = await users.acting(self._database, signed_in.login)
        roles = [one for one in acting if one.role in EVERYBODY]
        if not roles:
            await sign_ins.close(self._database, cookie)
            raise Forbidden(NOBODY)
        return cookie, roles

    async def _form(self, request: Request) -> dict[str, str]:
        """Read a form of ours.

        Raises
        ------
        Forbidden
            It did not come from a page that this browser was given.
        """
        fields = dict(exchange.once(await exchange.form(request)))
        if not sign_ins.is_ours(_cookie(request), fields.pop("token", "")):
            raise Forbidden(NOT_FROM_HERE)
        return fields

    def _give(self, answer: Response, cookie: str) -> None:
        answer.set_cookie(
            COOKIE, cookie, path="/admin", httponly=True, samesite="strict", secure=self._secure
        )


def _cookie(request: Request) -> str:
    return request.cookies.get(COOKIE, "")[:128]
