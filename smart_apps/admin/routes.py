"""The addresses below ``/admin``, and what holds for every page.

A page is given when its row of the ledger is durable; what it may show is asked in the name of who
is there. A new page is a module with its `PLACES`, and a line in the table here.

R014.1, R014.4 of the requirements; OWASP ASVS 5.0 V3.4, V3.5.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from fhir_server.audit.ledger import MINOR_FAILURE, SUCCESS, Ledger
from fhir_server.postgres.database import Database
from fhir_server.store.store import Store
from resources.errors import Forbidden, Refusal
from smart_apps.admin import (
    acknowledgements,
    analysis,
    answers,
    audit,
    clients,
    emergencies,
    markup,
    overview,
    queue,
    requests,
    subscriptions,
)
from smart_apps.admin.desk import Answer, Desk, Onward, Page, Place, Visit
from smart_apps.admin.entrance import ROLE, SIGN_IN, SIGN_OUT, ElsewhereError, Entrance
from smart_apps.admin.markup import Markup, joined
from smart_apps.authorization import asking
from smart_apps.authorization.key_sets import KeySets

STYLE: Final = "/admin/style.css"

PLACES: Final[tuple[Place, ...]] = (
    *overview.PLACES,
    *audit.PLACES,
    *analysis.PLACES,
    *acknowledgements.PLACES,
    *emergencies.PLACES,
    *clients.PLACES,
    *requests.PLACES,
    *subscriptions.PLACES,
    *queue.PLACES,
)
"""All pages, in the order of the menu."""

NOT_YOURS: Final = "This page is not for the role that you act in."

Endpoint = Callable[[Request], Awaitable[Response]]


class Admin:
    """The pages.

    Parameters
    ----------
    base_url
        Our FHIR base.
    key_sets
        Knows where clients may publish their keys.
    secure
        As `Entrance` takes it.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        ledger: Ledger,
        base_url: str,
        key_sets: KeySets,
        *,
        secure: bool,
    ) -> None:
        self._desk = Desk(database, store, ledger, base_url, key_sets)
        self._entrance = Entrance(database, store, ledger, secure=secure)

    def routes(self) -> list[Route]:
        """Give all addresses."""
        entrance = self._entrance
        return [
            Route(SIGN_IN, told(entrance.sign_in), methods=["GET", "POST"]),
            Route(ROLE, told(entrance.role), methods=["GET", "POST"]),
            Route(SIGN_OUT, told(entrance.sign_out), methods=["POST"]),
            Route(STYLE, _style),
            *(
                Route(
                    place.address,
                    told(self._at(place)),
                    methods=["GET", "POST"] if place.act else ["GET"],
                )
                for place in PLACES
            ),
        ]

    def _at(self, place: Place) -> Endpoint:
        async def answer(request: Request) -> Response:
            visit = await self._entrance.visit(request)
            address = str(request.scope["path"])
            if visit.user.role not in place.roles:
                await self._desk.note(
                    visit, address, detail="Forbidden role", outcome=MINOR_FAILURE
                )
                return answers.answer(answers.refused(Forbidden(NOT_YOURS)), _menu(visit, place))
            act = place.act if request.method == "POST" else None
            outcome, detail = SUCCESS, ""
            try:
                shown = await (act or place.show)(self._desk, visit)
            except Refusal as refusal:
                outcome, detail = MINOR_FAILURE, type(refusal).__name__
                shown = answers.refused(refusal)
            await self._desk.note(visit, address, detail=detail, outcome=outcome)
            return self._answer(shown, visit, place)

        return answer

    def _answer(self, shown: Answer, visit: Visit, place: Place) -> Response:
        if isinstance(shown, Onward):
            return RedirectResponse(shown.address, 303, answers.HEADERS)
        if isinstance(shown, Page):
            return answers.answer(shown, _menu(visit, place))
        shown.headers.update(answers.HEADERS)
        return shown


def told(endpoint: Endpoint) -> Endpoint:
    """Tell on a page what went wrong; lead to signing in whoever has not."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ElsewhereError as elsewhere:
            return RedirectResponse(elsewhere.address, 303, answers.HEADERS)
        except Refusal as refusal:
            return answers.answer(answers.refused(refusal))

    return answer


def _menu(visit: Visit, here: Place) -> Markup:
    """Write the pages of a role, and who is there."""
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


async def _style(request: Request) -> Response:
    headers = {"cache-control": "public, max-age=3600", "x-content-type-options": "nosniff"}
    return Response(markup.STYLE, media_type="text/css; charset=utf-8", headers=headers)
