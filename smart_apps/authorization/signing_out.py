"""Signing out: of this browser, at the wish of the person or of an application.

OpenID Connect RP-Initiated Logout 1.0: an application sends the browser here, the person is asked,
and goes back only to a redirect URI that the application has registered. What was authorised for as
long as the person is there (``online_access``) ends with it. OWASP ASVS 5.0 V7.4.
"""

import base64
import json
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from resources.errors import Forbidden, NotFound
from smart_apps import clients, users
from smart_apps.authorization import authorizations, exchange, pages, sign_ins
from smart_apps.authorization.exchange import Asked
from smart_apps.authorization.pages import Form
from smart_apps.authorization.people import COOKIE, PAGE_HEADERS, page_of
from smart_apps.authorization.sign_ins import SignIn

KNOWN = ("client_id", "id_token_hint", "post_logout_redirect_uri", "state")


class SigningOut:
    """The page that asks, and what its form does."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    async def ask(self, request: Request) -> Response:
        """Ask whether to sign out, or say that nobody is signed in."""
        asked = await exchange.asked(request)
        cookie = request.cookies.get(COOKIE, "")
        signed_in = await sign_ins.find(self._database, cookie, asked.instant)
        onward = await self._onward(asked.form)
        if signed_in is None:
            return self._gone(onward)
        kept = {name: value for name, value in asked.form.items() if name in KNOWN}
        form = Form(urlencode(kept), sign_ins.form_token(cookie))
        parts = urlsplit(onward)
        client = f"{parts.scheme}://{parts.netloc}" if onward else ""
        return page_of(pages.sign_out(form, signed_in.login), 200, client)

    async def sign_out(self, request: Request) -> Response:
        """Take the form."""
        fields = dict(exchange.once(await exchange.form(request)))
        cookie = request.cookies.get(COOKIE, "")
        if not sign_ins.is_ours(cookie, fields.get("token", "")):
            raise Forbidden("this form is not from here")
        pairs = exchange.checked(parse_qsl(fields.get("request", "")))
        asked = Asked("GET", pairs, {}, exchange.origin(request))
        signed_in = await sign_ins.find(self._database, cookie, asked.instant)
        if signed_in is not None:
            await sign_ins.close(self._database, cookie)
            await authorizations.withdraw_online(self._database, signed_in.login, signed_in.instant)
            await note(self._database, self._ledger, signed_in, asked.origin, asked.instant)
        return self._gone(await self._onward(asked.form))

    def _gone(self, onward: str) -> Response:
        """Leave no cookie; go back to the application, or say that it is done."""
        answer: Response
        if onward:
            answer = RedirectResponse(onward, 303, PAGE_HEADERS)
        else:
            answer = page_of(pages.problem("Signed out", "You may close this window."), 200)
        answer.delete_cookie(COOKIE, path="/auth")
        return answer

    async def _onward(self, asked: Mapping[str, str]) -> str:
        """Where the client wants the browser to go, if the client has registered that."""
        uri = asked.get("post_logout_redirect_uri", "")
        try:
            client = await clients.enabled(self._database, _client_id(asked))
        except NotFound:
            return ""
        if uri not in client.redirect_uris:
            return ""
        if "state" not in asked:
            return uri
        joint = "&" if urlsplit(uri).query else "?"
        return f"{uri}{joint}{urlencode({'state': asked['state']})}"


async def note(
    database: Database, ledger_: Ledger, signed_in: SignIn, origin: str, instant: int
) -> None:
    """Tell the ledger that somebody signed out (DICOM PS3.15 Section A.5.3.12, Logout)."""
    acting = await users.acting(database, signed_in.login, signed_in.practitioner_role)
    principal = acting[0].principal("") if acting else sign_ins.NOBODY
    context = RequestContext(principal, "logout", origin, instant=instant)
    await ledger_.append(ledger.entry(context, detail="signed out"))


def _client_id(asked: Mapping[str, str]) -> str:
    """The client that asks: as it says, or as its id token does. Nothing is believed of it."""
    if "client_id" in asked:
        return asked["client_id"]
    _, _, rest = asked.get("id_token_hint", "").partition(".")
    claims = rest.partition(".")[0]
    try:
        read = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    except (ValueError, RecursionError):
        return ""
    return str(read.get("aud", "")) if isinstance(read, dict) else ""
