"""The addresses below ``/admin``, signing in to them, and what holds for every page.

A browser has a cookie before anybody signs in, as at ``/auth`` (`sign_ins`); this one goes to
``/admin`` alone, and to no page that another site leads to. A page is given when its row of the
ledger is durable.

OWASP ASVS 5.0 V3.3 (cookies), V3.4 (headers), V3.5 (CSRF), V6.3 (signing in).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from fhir_server.audit.ledger import MINOR_FAILURE, SUCCESS, Ledger
from fhir_server.context import now
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources.errors import Conflict, Exhausted, Forbidden, Gone, Invalid, NotFound, Refusal
from smart_apps import users
from smart_apps.admin import analysis, audit, clients, emergencies, markup, overview
from smart_apps.admin.desk import EVERYBODY, Answer, Desk, Onward, Page, Place, Visit
from smart_apps.admin.markup import Markup, joined
from smart_apps.authorization import asking, exchange, secret, sign_ins
from smart_apps.authorization.signing_in import SignInDesk
from smart_apps.users import User

COOKIE: Final = "isocentre_admin"
SIGN_IN: Final = "/admin/sign-in"
ROLE: Final = "/admin/role"
SIGN_OUT: Final = "/admin/sign-out"
STYLE: Final = "/admin/style.css"

PLACES: Final[tuple[Place, ...]] = (
    *overview.PLACES,
    *audit.PLACES,
    *analysis.PLACES,
    *emergencies.PLACES,
    *clients.PLACES,
)
"""All pages, in the order of the menu. A new page is a module and a line here."""

HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

STATUS: Final[Mapping[type[Refusal], int]] = {
    Forbidden: 403, NotFound: 404, Gone: 404, Invalid: 400, Conflict: 409, Exhausted: 503,
    Refusal: 400,
}  # fmt: skip
"""Refusal -> status of the page that tells it."""

_Endpoint = Callable[[Request], Awaitable[Response]]

NOBODY: Final = "None of your roles is one that these pages are for."
NOT_YOURS: Final = "This page is not for the role that you act in."
NOT_FROM_HERE: Final = "This form is not from here, or too old. Open the page again."


class Admin:
    """The pages, and the way in to them.

    Parameters
    ----------
    secure
        The server is reached by https alone: the cookie goes no other way.
    """

    def __init__(self, database: Database, store: Store, ledger: Ledger, *, secure: bool) -> None:
        self._desk = Desk(database, store, ledger)
        self._door = SignInDesk(database, ledger)
        self._secure = secure

    def routes(self) -> list[Route]:
        """Give all addresses."""
        return [
            Route(SIGN_IN, self._told(self.sign_in), methods=["GET", "POST"]),
            Route(ROLE, self._told(self.role), methods=["GET", "POST"]),
            Route(SIGN_OUT, self._told(self.sign_out), methods=["POST"]),
            Route(STYLE, _style),
            *(
                Route(
                    place.address,
                    self._told(self._at(place)),
                    methods=["GET", "POST"] if place.act else ["GET"],
                )
                for place in PLACES
            ),
        ]

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
                await sign_ins.close(self._desk.database, cookie)
                answer: Response = RedirectResponse(overview.ADDRESS, 303, HEADERS)
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
        answer = _page(Page("Sign in", body, problem, 401 if problem else 200))
        self._give(answer, cookie)
        return answer

    async def role(self, request: Request) -> Response:
        """Ask in which role the person acts, and take it."""
        cookie, roles = await self._roles(request)
        if request.method == "POST":
            chosen = (await self._form(request)).get("practitioner_role", "")
            if chosen in {one.practitioner_role for one in roles}:
                await sign_ins.choose(self._desk.database, cookie, chosen)
                return RedirectResponse(overview.ADDRESS, 303, HEADERS)
        rows = await asking.roles(self._desk.store, roles)
        buttons = [
            markup.button(
                joined(markup.element("strong", role), organization),
                "practitioner_role", id, class_="row",
            )
            for id, role, organization in rows
        ]  # fmt: skip
        body = markup.form(ROLE, sign_ins.form_token(cookie), *buttons)
        return _page(Page("Who are you acting as?", body))

    async def sign_out(self, request: Request) -> Response:
        """Sign out of these pages."""
        await self._form(request)
        await sign_ins.close(self._desk.database, _cookie(request))
        body = markup.element("p", markup.link(SIGN_IN, "Sign in again"))
        answer = _page(Page("Signed out", body))
        answer.delete_cookie(COOKIE, path="/admin")
        return answer

    def _at(self, place: Place) -> _Endpoint:
        async def answer(request: Request) -> Response:
            visit = await self._visit(request)
            if visit.user.role not in place.roles:
                await self._desk.note(
                    visit, place.address, detail="Forbidden role", outcome=MINOR_FAILURE
                )
                return _page(self._refused(Forbidden(NOT_YOURS)), self._menu(visit, place))
            act = place.act if request.method == "POST" else None
            outcome, detail = SUCCESS, ""
            try:
                shown = await (act or place.show)(self._desk, visit)
            except Refusal as refusal:
                outcome, detail = MINOR_FAILURE, type(refusal).__name__
                shown = self._refused(refusal)
            await self._desk.note(visit, place.address, detail=detail, outcome=outcome)
            return self._answer(shown, visit, place)

        return answer

    def _answer(self, shown: Answer, visit: Visit, place: Place) -> Response:
        if isinstance(shown, Onward):
            return RedirectResponse(shown.address, 303, HEADERS)
        if isinstance(shown, Page):
            return _page(shown, self._menu(visit, place))
        shown.headers.update(HEADERS)
        return shown

    async def _visit(self, request: Request) -> Visit:
        """Say who is there, and in which role.

        Raises
        ------
        _ElsewhereError
            Nobody is, or they have to choose a role first.
        """
        cookie, roles = await self._roles(request)
        if len(roles) != 1:
            signed_in = await sign_ins.find(self._desk.database, cookie, now())
            chosen = signed_in.practitioner_role if signed_in else ""
            roles = [one for one in roles if one.practitioner_role == chosen]
            if not roles:
                raise _ElsewhereError(ROLE)
        if request.method == "POST":
            fields = await self._form(request)
        else:
            fields = dict(exchange.once(exchange.query(request)))
        token, origin = sign_ins.form_token(cookie), exchange.origin(request)
        return Visit(roles[0], fields, request.path_params, token, origin)

    async def _roles(self, request: Request) -> tuple[str, list[User]]:
        """Give the cookie, and the roles of who has signed in that these pages are for."""
        cookie = _cookie(request)
        signed_in = await sign_ins.find(self._desk.database, cookie, now())
        if signed_in is None:
            raise _ElsewhereError(SIGN_IN)
        acting = await users.acting(self._desk.database, signed_in.login)
        roles = [one for one in acting if one.role in EVERYBODY]
        if not roles:
            await sign_ins.close(self._desk.database, cookie)
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

    def _menu(self, visit: Visit, here: Place) -> Markup:
        items = [
            markup.element(
                "li",
                markup.element(
                    "a", place.title, href=place.address,
                    aria_current="page" if place.address == here.address else None,
                ),
            )
            for place in PLACES
            if place.title and visit.user.role in place.roles
        ]  # fmt: skip
        role = asking.ROLES.get(visit.user.role, visit.user.role)
        who = f"{visit.user.login}, {role}, {visit.user.organization}"
        out = markup.form(SIGN_OUT, visit.token, markup.button("Sign out", class_="other"))
        return joined(
            markup.element("nav", markup.element("ul", joined(*items)), aria_label="Pages"),
            markup.element("div", joined(markup.element("span", who), out), class_="who"),
        )

    def _refused(self, refusal: Refusal) -> Page:
        status = next(STATUS[kind] for kind in type(refusal).__mro__ if kind in STATUS)
        title = {403: "Not allowed", 404: "Not found", 503: "Not now"}
        return Page(title.get(status, "This does not work"), Markup(), refusal.reason, status)

    def _told(self, endpoint: _Endpoint) -> _Endpoint:
        """Tell on a page what went wrong; lead to signing in whoever has not."""

        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except _ElsewhereError as elsewhere:
                return RedirectResponse(elsewhere.address, 303, HEADERS)
            except Refusal as refusal:
                return _page(self._refused(refusal))

        return answer

    def _give(self, answer: Response, cookie: str) -> None:
        answer.set_cookie(
            COOKIE, cookie, path="/admin", httponly=True, samesite="strict", secure=self._secure
        )


class _ElsewhereError(Exception):
    """A browser has to go somewhere else first."""

    def __init__(self, address: str) -> None:
        self.address = address


def _cookie(request: Request) -> str:
    return request.cookies.get(COOKIE, "")[:128]


def _page(shown: Page, menu: Markup = markup.NOTHING) -> Response:
    body = markup.page(shown.title, shown.body, menu=menu, problem=shown.problem)
    return Response(body, shown.status, HEADERS, media_type="text/html; charset=utf-8")


async def _style(request: Request) -> Response:
    headers = {"cache-control": "public, max-age=3600", "x-content-type-options": "nosniff"}
    return Response(markup.STYLE, media_type="text/css; charset=utf-8", headers=headers)
