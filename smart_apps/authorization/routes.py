"""The addresses below ``/auth``, discovery, and what every answer of theirs carries.

RFC 6749 Section 3; SMART App Launch 2.2; RFC 9700 Section 4.12 (303 after a form); OWASP ASVS 5.0
V3.4 (browser security headers).
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.oauth2 import OAuth2Error
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from fhir_server.access import bearer
from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext, now
from fhir_server.store.store import Store
from resources.errors import Forbidden, Invalid, NotFound, Refusal, TooLarge, Unauthenticated
from smart_apps import clients, users
from smart_apps.authorization import (
    asking,
    discovery,
    exchange,
    launches,
    pages,
    secret,
    sign_ins,
)
from smart_apps.authorization.authorize import Authorize, Step
from smart_apps.authorization.exchange import Asked
from smart_apps.authorization.server import SmartServer
from smart_apps.authorization.signing_in import SignInDesk

SMART_CONFIGURATION: Final = "/fhir/.well-known/smart-configuration"
OPENID_CONFIGURATION: Final = "/.well-known/openid-configuration"

COOKIE: Final = "isocentre_session"

PAGE_HEADERS: Final = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
POLICY: Final = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action "
)

Endpoint = Callable[[Request], Awaitable[Response]]


class Authorization:
    """The authorisation server over HTTP.

    Parameters
    ----------
    public_url
        Where it is reached; cookies are for HTTPS alone if this is.
    """

    def __init__(self, server: SmartServer, store: Store, ledger: Ledger) -> None:
        self._server = server
        self._database = server.database
        self._store = store
        self._ledger = ledger
        self._url = server.issuer.public_url
        self._steps = Authorize(server, store, ledger)
        self._desk = SignInDesk(server.database, ledger)

    def routes(self) -> list[Route]:
        """Give all addresses."""
        return [
            Route("/auth/authorize", _told(self.authorize), methods=["GET", "POST"]),
            Route("/auth/login", _told(self.login), methods=["POST"]),
            Route("/auth/role", _told(self.role), methods=["POST"]),
            Route("/auth/patient", _told(self.step), methods=["POST"]),
            Route("/auth/consent", _told(self.step), methods=["POST"]),
            Route("/auth/logout", _told(self.logout), methods=["POST"]),
            Route("/auth/launch", self.launch, methods=["POST"]),
            Route("/auth/token", self.token, methods=["POST"]),
            Route("/auth/introspect", self.introspect, methods=["POST"]),
            Route("/auth/revoke", self.revoke, methods=["POST"]),
            Route("/auth/jwks", _public(self._server.issuer.keys.public())),
            Route("/auth/style.json", _public(discovery.STYLE)),
            Route("/auth/style.css", _stylesheet),
            Route(SMART_CONFIGURATION, _public(discovery.smart(self._url))),
            Route(OPENID_CONFIGURATION, _public(discovery.openid(self._url))),
        ]

    # --- what a person sees ------------------------------------------------------------------

    async def authorize(self, request: Request) -> Response:
        """Begin with a client's request (SMART: by GET or by POST)."""
        return await self._show(request, await exchange.asked(request), Step(self._cookie(request)))

    async def login(self, request: Request) -> Response:
        """Take login and password."""
        asked, fields, cookie = await self._form(request)
        new, problem = await self._desk.sign_in(
            fields.get("login", ""), fields.get("password", ""), asked.origin, asked.instant
        )
        if new is None:
            step = Step(cookie, fields=fields, problem=problem)
            return await self._show(request, asked, step)
        await sign_ins.close(self._database, cookie)
        return self._on(asked, new)

    async def role(self, request: Request) -> Response:
        """Take the choice of a role."""
        asked, fields, cookie = await self._form(request)
        signed_in = await sign_ins.find(self._database, cookie, asked.instant)
        chosen = fields.get("practitioner_role", "")
        if signed_in and chosen and await users.acting(self._database, signed_in.login, chosen):
            await sign_ins.choose(self._database, cookie, chosen)
        return self._on(asked, cookie)

    async def step(self, request: Request) -> Response:
        """Take the choice of a patient, or the decision."""
        asked, fields, cookie = await self._form(request)
        step = Step(cookie, fields.get("patient", ""), fields.get("decision", ""), fields)
        return await self._show(request, asked, step)

    async def logout(self, request: Request) -> Response:
        """Sign out of this browser."""
        fields = dict(await exchange.form(request))
        cookie = self._cookie(request)
        if not sign_ins.is_ours(cookie, fields.get("token", "")):
            raise Forbidden("this form is not from here")
        await sign_ins.close(self._database, cookie)
        answer = _page(pages.problem("Signed out", "You may close this window."), 200)
        answer.delete_cookie(COOKIE, path="/auth")
        return answer

    async def launch(self, request: Request) -> Response:
        """Keep a launch context for an app that is about to be opened (EHR launch).

        The body is JSON: ``client``, and of the context ``patient``, ``encounter``,
        ``fhirContext`` and ``intent``. The answer has the address to open.
        """
        try:
            context = bearer.context_of(request.scope, self._server.checker, "read")
            body = json.loads(await request.body())
            if not isinstance(body, dict):
                raise Invalid("the body is a JSON object")
            client = await clients.find(self._database, str(body.pop("client", "")))
            launched = launches.checked(body)
            who = context.principal
            handle = await self._keep_launch(who.subject, launched, exchange.origin(request))
        except Unauthenticated as refusal:
            return exchange.refused("invalid_token", refusal.reason, 401)
        except (Refusal, ValueError) as refusal:
            reason = refusal.reason if isinstance(refusal, Refusal) else "the body is no JSON"
            return exchange.refused("invalid_request", reason)
        if client.launch_url is None:
            return exchange.refused("invalid_request", "the client has no launch URL")
        joint = "&" if urlsplit(client.launch_url).query else "?"
        asked = urlencode({"iss": f"{self._url}/fhir", "launch": handle})
        answer = {"launch": handle, "url": f"{client.launch_url}{joint}{asked}"}
        return exchange.answer(200, answer, {})

    # --- what a client asks ------------------------------------------------------------------

    async def token(self, request: Request) -> Response:
        """Answer the token endpoint."""
        return await self._answered(request, self._server.token)

    async def introspect(self, request: Request) -> Response:
        """Answer the introspection endpoint."""
        return await self._answered(request, lambda a: self._server.endpoint("introspection", a))

    async def revoke(self, request: Request) -> Response:
        """Answer the revocation endpoint."""
        return await self._answered(request, lambda a: self._server.endpoint("revocation", a))

    async def _answered(
        self, request: Request, endpoint: Callable[[Asked], Awaitable[Response]]
    ) -> Response:
        try:
            asked = await exchange.asked(request)
        except TooLarge as refusal:
            return exchange.refused("invalid_request", refusal.reason, 413)
        except Invalid as refusal:
            return exchange.refused("invalid_request", refusal.reason)
        answer = await endpoint(asked)
        if answer.status_code >= 400:
            await self._note_refusal(asked)
        return answer

    async def _note_refusal(self, asked: Asked) -> None:
        """Audit a request for tokens that was refused."""
        principal = sign_ins.NOBODY
        context = RequestContext(principal, "login", asked.origin, instant=asked.instant)
        row = ledger.entry(context, outcome=ledger.MINOR_FAILURE, detail="token refused")
        await self._ledger.append(row)

    # --- what they share ---------------------------------------------------------------------

    async def _show(self, request: Request, asked: Asked, step: Step) -> Response:
        """Show the next step, in a browser that has a cookie from now on."""
        cookie = step.cookie or secret.new()
        shown = await self._steps.next(asked, Step(cookie, *_rest(step)))
        if isinstance(shown, Response):
            return _sent_on(shown)
        answer = _page(shown.body, shown.status, asked.form.get("redirect_uri", ""))
        if not step.cookie:
            self._give(answer, cookie)
        return answer

    def _on(self, asked: Asked, cookie: str) -> Response:
        """Go on with the request from the start, as a new GET."""
        address = f"/auth/authorize?{urlencode(_without_prompt(asked.form))}"
        answer = RedirectResponse(address, 303, PAGE_HEADERS)
        self._give(answer, cookie)
        return answer

    async def _form(self, request: Request) -> tuple[Asked, dict[str, str], str]:
        """Read a form of ours, and the authorisation request it serves."""
        fields = dict(exchange.once(await exchange.form(request)))
        cookie = self._cookie(request)
        if not sign_ins.is_ours(cookie, fields.pop("token", "")):
            raise Forbidden("this form is not from here")
        try:
            pairs = parse_qsl(fields.pop("request", ""), strict_parsing=True)
        except ValueError:
            raise Invalid("this form serves no request") from None
        headers = dict(request.headers)
        asked = Asked("GET", exchange.checked(pairs), headers, exchange.origin(request))
        return asked, fields, cookie

    async def _keep_launch(self, subject: str, context: dict[str, Any], origin: str) -> str:
        role = subject.removeprefix("PractitionerRole/")
        found = await users.by_role(self._database, role) if role != subject else None
        if found is None:
            raise Invalid("only a person launches an app")
        if not await asking.sees(self._store, found, launches.references(context), origin):
            raise NotFound("the context names what there is not")
        kept = launches.Launch(found.login, found.practitioner_role, context)
        return await launches.keep(self._database, kept, now())

    def _cookie(self, request: Request) -> str:
        return request.cookies.get(COOKIE, "")[:128]

    def _give(self, answer: Response, cookie: str) -> None:
        answer.set_cookie(
            COOKIE,
            cookie,
            path="/auth",
            httponly=True,
            samesite="lax",
            secure=self._url.startswith("https:"),
        )


def _told(endpoint: Endpoint) -> Endpoint:
    """Tell a person what went wrong on a page, and a client by way of its redirect URI."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except OAuth2Error as error:
            if error.redirect_uri:
                status, body, headers = error()
                return _sent_on(Response(body, status, dict(headers)))
            return _page(pages.problem("This cannot be authorised", error.description or ""), 400)
        except Forbidden as refusal:
            return _page(pages.problem("Not allowed", refusal.reason), 403)
        except Refusal as refusal:
            return _page(pages.problem("This does not work", refusal.reason), 400)

    return answer


def _page(body: bytes, status: int, redirect_uri: str = "") -> Response:
    """Give a page that may send a form to us, and be sent on to where the client is reached."""
    parts = urlsplit(redirect_uri)
    onward = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    headers = PAGE_HEADERS | {"content-security-policy": f"{POLICY}'self'{onward}"}
    return Response(body, status, headers, media_type="text/html; charset=utf-8")


def _sent_on(answer: Response) -> Response:
    """Send a browser on by GET, and leave no trace of where it was."""
    headers = MutableHeaders(raw=answer.raw_headers)
    headers.update(PAGE_HEADERS)
    answer.status_code = 303
    return answer


def _rest(step: Step) -> tuple[str, str, Mapping[str, str] | None, str]:
    return step.patient, step.decision, step.fields, step.problem


def _without_prompt(parameters: Mapping[str, str]) -> dict[str, str]:
    """The request after the person has signed in: ``prompt=login`` is done."""
    return {
        name: value
        for name, value in parameters.items()
        if not (name == "prompt" and value == "login")
    }


def _public(content: Mapping[str, Any]) -> Endpoint:
    async def answer(request: Request) -> Response:
        return JSONResponse(content, headers={"cache-control": "public, max-age=60"})

    return answer


async def _stylesheet(request: Request) -> Response:
    headers = {"cache-control": "public, max-age=3600", "x-content-type-options": "nosniff"}
    return Response(pages.STYLE, media_type="text/css; charset=utf-8", headers=headers)
