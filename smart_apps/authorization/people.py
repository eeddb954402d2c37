"""What a person sees of the authorisation server: pages, and the forms they send.

RFC 6749 Section 3.1; RFC 9700 Section 4.12 (303 after a form); OWASP ASVS 5.0 V3.4 (headers that
a browser heeds).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.oauth2 import OAuth2Error
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fhir_server.access.limits import Limits
from fhir_server.audit.ledger import MINOR_FAILURE, Ledger, entry
from fhir_server.context import RequestContext
from fhir_server.store.store import Store
from resources.errors import Exhausted, Forbidden, Invalid, Refusal, Throttled, TooLarge
from smart_apps.authorization import exchange, pages, prompts, secret, sign_ins
from smart_apps.authorization.authorize import Authorize, Step
from smart_apps.authorization.exchange import Asked
from smart_apps.authorization.server import SmartServer
from smart_apps.authorization.signing_in import SignInDesk
from smart_apps.authorization.upstream import Upstream

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
ANYWHERE: Final = "https: http:"
"""Where a form of ours may end that leads to another provider: we cannot know where it leads on."""

Endpoint = Callable[[Request], Awaitable[Response]]


class People:
    """The pages, and what their forms do.

    Parameters
    ----------
    upstream
        Another provider where people may sign in, if there is one.
    """

    def __init__(
        self, server: SmartServer, store: Store, ledger: Ledger, upstream: Upstream | None
    ) -> None:
        self._database = server.database
        self._url = server.issuer.public_url
        self._upstream = upstream
        self._steps = Authorize(server, store, ledger, upstream.name if upstream else "")
        self._desk = SignInDesk(server.database, ledger)

    async def authorize(self, request: Request) -> Response:
        """Begin with a client's request (SMART: by GET or by POST)."""
        return await self._show(request, await exchange.asked(request), Step(self._cookie(request)))

    async def login(self, request: Request) -> Response:
        """Take login and password."""
        asked, fields, cookie = await self._form(request)
        new, problem = await self._desk.sign_in(
            fields.get("login", ""),
            fields.get("password", ""),
            asked.origin,
            asked.instant,
            prompts.digest(asked),
        )
        if new is None:
            step = Step(cookie, fields=fields, problem=problem)
            return await self._show(request, asked, step)
        await sign_ins.close(self._database, cookie)
        return self._on(asked, new)

    async def role(self, request: Request) -> Response:
        """Take the choice of a role, or the wish to act in another."""
        asked, fields, cookie = await self._form(request)
        signed_in = await sign_ins.find(self._database, cookie, asked.instant)
        if signed_in is None:
            return self._on(asked, cookie)
        if pages.ANOTHER in fields:
            await sign_ins.choose(self._database, cookie, "")
            return self._on(asked, cookie)
        if chosen := fields.get("practitioner_role", ""):
            await self._desk.act_as(cookie, signed_in.login, chosen, asked.origin, asked.instant)
        return self._on(asked, cookie, "select_account")

    async def step(self, request: Request) -> Response:
        """Take the choice of a patient, or the decision."""
        asked, fields, cookie = await self._form(request)
        step = Step(cookie, fields.get("patient", ""), fields.get("decision", ""), fields)
        return await self._show(request, asked, step)

    async def elsewhere(self, request: Request) -> Response:
        """Send the browser to another provider to sign in."""
        asked, _, cookie = await self._form(request)
        upstream = self._require_upstream()
        return RedirectResponse(await upstream.begin(asked, cookie), 303, PAGE_HEADERS)

    async def back(self, request: Request) -> Response:
        """Take a browser back from the other provider."""
        cookie, origin = self._cookie(request), exchange.origin(request)
        fields = dict(exchange.once(exchange.query(request)))
        begun = await self._require_upstream().finish(fields, cookie)
        asked = Asked("GET", parse_qsl(begun.request), {}, origin)
        new = await self._desk.vouched_for(
            begun.login, origin, asked.instant, prompts.digest(asked), begun.proved
        )
        if new is None:
            raise Forbidden("Nobody is known here by the name that you have signed in with.")
        return self._on(asked, new)

    def _require_upstream(self) -> Upstream:
        if self._upstream is None:
            raise Forbidden("There is no other place to sign in.")
        return self._upstream

    async def _show(self, request: Request, asked: Asked, step: Step) -> Response:
        """Show the next step, in a browser that has a cookie from now on."""
        cookie = step.cookie or secret.new()
        shown = await self._steps.next(asked, Step(cookie, *_rest(step)))
        if isinstance(shown, Response):
            return _sent_on(shown)
        answer = page_of(shown.body, shown.status, self._onward(asked))
        if not step.cookie:
            self._give(answer, cookie)
        return answer

    def _onward(self, asked: Asked) -> str:
        """Where a form of this request may lead in the end, as a source of the policy."""
        parts = urlsplit(asked.form.get("redirect_uri", ""))
        client = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
        return f"{client} {ANYWHERE}" if self._upstream else client

    def _on(self, asked: Asked, cookie: str, done: str = "login") -> Response:
        """Go on with the request from the start, as a new GET, without the prompt that is done."""
        address = f"/auth/authorize?{urlencode(_without_prompt(asked.form, done))}"
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


def told(endpoint: Endpoint, limits: Limits, ledger: Ledger) -> Endpoint:
    """Tell a person what went wrong on a page, and a client by way of its redirect URI."""

    async def answer(request: Request) -> Response:
        try:
            limits.admit_address(request.scope["path"], exchange.origin(request))
            return await endpoint(request)
        except Throttled as refusal:
            if refusal.begins:
                await _note_too_often(ledger, exchange.origin(request))
            page = page_of(pages.problem("Not now", refusal.reason), 429)
            page.headers["Retry-After"] = str(refusal.seconds)
            return page
        except OAuth2Error as error:
            if error.redirect_uri:
                status, body, headers = error()
                return _sent_on(Response(body, status, dict(headers)))
            return page_of(pages.problem("This cannot be authorised", error.description or ""), 400)
        except TooLarge as refusal:
            return page_of(pages.problem("This does not work", refusal.reason), 413)
        except Exhausted as refusal:
            return page_of(pages.problem("Not now", refusal.reason), 503)
        except Forbidden as refusal:
            return page_of(pages.problem("Not allowed", refusal.reason), 403)
        except Refusal as refusal:
            return page_of(pages.problem("This does not work", refusal.reason), 400)

    return answer


async def _note_too_often(ledger: Ledger, origin: str) -> None:
    context = RequestContext(sign_ins.NOBODY, "login", origin)
    await ledger.append(entry(context, outcome=MINOR_FAILURE, detail="asked too often"))


def page_of(body: bytes, status: int, onward: str = "") -> Response:
    """Give a page whose forms come to us, and may lead on from here."""
    headers = PAGE_HEADERS | {"content-security-policy": f"{POLICY}'self' {onward}".rstrip()}
    return Response(body, status, headers, media_type="text/html; charset=utf-8")


def _sent_on(answer: Response) -> Response:
    """Send a browser on by GET, and leave no trace of where it was."""
    headers = MutableHeaders(raw=answer.raw_headers)
    headers.update(PAGE_HEADERS)
    answer.status_code = 303
    return answer


def _rest(step: Step) -> tuple[str, str, Mapping[str, str] | None, str]:
    return step.patient, step.decision, step.fields, step.problem


def _without_prompt(parameters: Mapping[str, str], done: str) -> dict[str, str]:
    """The request after the person has done what a word of its ``prompt`` asks for."""
    left = [word for word in parameters.get("prompt", "").split() if word != done]
    others = {name: value for name, value in parameters.items() if name != "prompt"}
    return others | ({"prompt": " ".join(left)} if left else {})
