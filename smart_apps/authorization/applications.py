"""What applications ask of the authorisation server: tokens, what one is worth, a launch.

RFC 6749 Section 3.2, RFC 7662, RFC 7009; SMART App Launch 2.2, "Launch App: EHR Launch".
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from fhir_server.access import bearer
from fhir_server.audit import ledger
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext, now
from fhir_server.store.store import Store
from resources.errors import (
    Exhausted,
    Invalid,
    NotFound,
    Refusal,
    Throttled,
    TooLarge,
    Unauthenticated,
)
from smart_apps import clients, users
from smart_apps.authorization import asking, exchange, launches, registration, sign_ins
from smart_apps.authorization.exchange import Asked
from smart_apps.authorization.server import SmartServer


class Applications:
    """The addresses that applications ask."""

    def __init__(self, server: SmartServer, store: Store, ledger: Ledger) -> None:
        self._server = server
        self._database = server.database
        self._store = store
        self._ledger = ledger
        self._url = server.issuer.public_url

    async def token(self, request: Request) -> Response:
        """Answer the token endpoint; what it gave, and to whom, is audited before it is given."""
        answer = await self._answered(request, "token", self._server.token)
        if answer.status_code == 200:
            given = json.loads(bytes(answer.body))["access_token"]
            try:
                principal = self._server.checker.check(given)
            except Unauthenticated:  # somebody used the same code or refresh token meanwhile
                await self._note(exchange.origin(request), "token refused")
                return exchange.refused("invalid_grant", "What was authorised has been withdrawn.")
            context = RequestContext(principal, "login", exchange.origin(request))
            detail = f"token issued {principal.scopes.text}"
            row = ledger.entry(context, patient=principal.patient, detail=detail)
            try:
                await self._ledger.append(row)
            except Exhausted as refusal:
                return exchange.away(refusal)
        return answer

    async def introspect(self, request: Request) -> Response:
        """Answer the introspection endpoint."""
        return await self._answered(
            request, "introspection", lambda a: self._server.endpoint("introspection", a)
        )

    async def revoke(self, request: Request) -> Response:
        """Answer the revocation endpoint."""
        return await self._answered(
            request, "revocation", lambda a: self._server.endpoint("revocation", a)
        )

    async def register(self, request: Request) -> Response:
        """Take what an application asks to be registered with (RFC 7591 Section 3)."""
        origin = exchange.origin(request)
        try:
            self._server.checker.limits.admit_address("registration", origin)
            metadata = json.loads(await exchange.read(request))
            if not isinstance(metadata, dict):
                raise Invalid("client metadata is a JSON object", code="invalid_client_metadata")
            told = await registration.register(self._database, metadata)
        except Throttled as refusal:
            return await self._throttled(request, refusal)
        except TooLarge as refusal:
            return exchange.refused("invalid_client_metadata", refusal.reason, 413)
        except Exhausted as refusal:
            return exchange.away(refusal)
        except (Invalid, ValueError, RecursionError) as problem:
            await self._note(origin, "registration refused")
            said = problem if isinstance(problem, Invalid) else Invalid("the body is no JSON")
            return exchange.refused(said.code or "invalid_client_metadata", said.reason)
        await self._note(origin, f"registration asked for {told['client_id']}", ledger.SUCCESS)
        return exchange.answer(201, told, {})

    async def _answered(
        self, request: Request, name: str, endpoint: Callable[[Asked], Awaitable[Response]]
    ) -> Response:
        try:
            self._server.checker.limits.admit_address(name, exchange.origin(request))
            asked = await exchange.asked(request)
            answer = await endpoint(asked)
        except Throttled as refusal:
            return await self._throttled(request, refusal)
        except TooLarge as refusal:
            return exchange.refused("invalid_request", refusal.reason, 413)
        except Invalid as refusal:
            return exchange.refused("invalid_request", refusal.reason)
        if answer.status_code >= 400:
            await self._note(asked.origin, "token refused")
        return answer

    async def _throttled(self, request: Request, refusal: Throttled) -> Response:
        """Say when to ask again (RFC 6585 Section 4); it is audited when it begins."""
        if refusal.begins:
            await self._note(exchange.origin(request), "asked too often")
        return exchange.throttled(refusal)

    async def _note(self, origin: str, detail: str, outcome: int = ledger.MINOR_FAILURE) -> None:
        """Audit a request of an application, most of all one that was refused."""
        context = RequestContext(sign_ins.NOBODY, "login", origin)
        row = ledger.entry(context, outcome=outcome, detail=detail)
        await self._ledger.append(row)

    async def launch(self, request: Request) -> Response:
        """Keep a launch context for an app that is about to be opened (EHR launch).

        The body is JSON: ``client``, and of the context ``patient``, ``encounter``,
        ``fhirContext`` and ``intent``. The answer has the address to open.
        """
        try:
            context = bearer.context_of(request.scope, self._server.checker, "read")
            self._server.checker.limits.admit(context.principal)
            body = json.loads(await exchange.read(request))
            if not isinstance(body, dict):
                raise Invalid("the body is a JSON object")
            client = await clients.enabled(self._database, str(body.pop("client", "")))
            launched = launches.checked(body)
            handle = await self._keep_launch(context, launched)
        except Unauthenticated as refusal:
            return exchange.refused("invalid_token", refusal.reason, 401)
        except Throttled as refusal:
            return await self._throttled(request, refusal)
        except TooLarge as refusal:
            return exchange.refused("invalid_request", refusal.reason, 413)
        except Exhausted as refusal:
            return exchange.away(refusal)
        except (Refusal, ValueError) as refusal:
            reason = refusal.reason if isinstance(refusal, Refusal) else "the body is no JSON"
            return exchange.refused("invalid_request", reason)
        if client.launch_url is None:
            return exchange.refused("invalid_request", "the client has no launch URL")
        joint = "&" if urlsplit(client.launch_url).query else "?"
        asked = urlencode({"iss": f"{self._url}/fhir", "launch": handle})
        answer = {"launch": handle, "url": f"{client.launch_url}{joint}{asked}"}
        return exchange.answer(200, answer, {})

    async def _keep_launch(self, context: RequestContext, launched: dict[str, Any]) -> str:
        """Keep a context that the launching application may itself read.

        An application that a person lets see one patient must not get a token for another one by
        launching itself. An emergency access is passed on to no other application.
        """
        subject = context.principal.subject
        role = subject.removeprefix("PractitionerRole/")
        found = await users.by_role(self._database, role) if role != subject else None
        if found is None:
            raise Invalid("only a person launches an app")
        asker = replace(context, principal=replace(context.principal, emergency=None))
        if not await asking.can_read(self._store, asker, launches.references(launched)):
            raise NotFound("the context names what there is not")
        kept = launches.Launch(found.login, found.practitioner_role, launched)
        return await launches.keep(self._database, kept, now())
