"""UPS-RS: who hears of which workitems, and the connection over which they are told.

A title that is a peer's is told over DIMSE (`dimse.ups_events`), another over the WebSocket that
its user agent opens. What happened since it was last told something comes first; nothing is
acknowledged.

References
----------
* PS3.18 Sections 11.10 (Subscribe), 11.11 (Unsubscribe), 11.12 (Suspend), 11.13 (Event Reports)
* PS3.18 Section 8.10 (Notifications); RFC 6455; RFC 9110 Section 15.5.22
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from pydicom import config
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dicom_bridge.bridge import Bridge
from dicom_bridge.dicomweb import ups
from dicom_bridge.dicomweb.exchange import Call
from dicom_bridge.instance import require_uid
from dicom_bridge.mapping import attributes
from dicom_bridge.ups import events, subscribing
from dicom_bridge.ups.events import Report
from dicom_bridge.ups.statuses import Refused
from fhir_server.access import bearer
from fhir_server.access.token import TokenChecker
from fhir_server.context import now
from fhir_server.postgres.database import Texts
from fhir_server.search import query
from resources.errors import Invalid, Refusal, Unauthenticated
from subscriptions import events as happened

PATH: Final = "/subscribers"
"""Below the root of the service; an AE title follows."""
EVENT: Final = "1.2.840.10008.5.1.4.34.6.4"
POLL_SECONDS: Final = 0.25
AT_ONCE: Final = 50
MOST_OF_AN_ORGANIZATION: Final = 100
NORMAL, POLICY, AGAIN_LATER, TOKEN_ENDED = 1000, 1008, 1013, 4401
"""RFC 6455 Section 7.4; 4401 is ours, as HTTP's 401."""

TAKEN: Final = """
update subscription set delivered = greatest(delivered, $2), last_sent = $3
where id = any($1::text[])
"""

_log = logging.getLogger(__name__)


async def subscribe(call: Call) -> Response:
    """Answer ``POST /workitems/{workitem}/subscribers/{aetitle}``."""
    uid, ae = _places(call)
    keys: dict[str, str] = {}
    for name, value in call.request.query_params.multi_items():
        if name == "deletionlock":
            if value not in ("true", "false"):
                raise Invalid("deletionlock is true or false", "deletionlock")
        elif name == "filter":
            keys |= _filter(parse_qsl(value, keep_blank_values=True))
        else:
            keys |= _filter([(name, value)])
    call.handed_over = True
    bridge, context = call.web.bridge, call.context
    try:
        is_peer = await subscribing.is_peer(bridge, context, ae)
        await subscribing.subscribe(bridge, context, uid, ae, ups.identifier(keys))
    except Refused as refusal:
        return ups.told(call, refusal)
    headers = {} if is_peer else {"Content-Location": _socket(call.web.base_url, ae)}
    return Response(status_code=201, headers=headers)


async def unsubscribe(call: Call) -> Response:
    """Answer ``DELETE /workitems/{workitem}/subscribers/{aetitle}``."""
    uid, ae = _places(call)
    call.handed_over = True
    try:
        await subscribing.is_peer(call.web.bridge, call.context, ae)
        await subscribing.unsubscribe(call.web.bridge, call.context, uid, ae)
    except Refused as refusal:
        return ups.told(call, refusal)
    return Response()


async def suspend(call: Call) -> Response:
    """Answer ``POST /workitems/{workitem}/subscribers/{aetitle}/suspend``."""
    uid, ae = _places(call)
    call.handed_over = True
    try:
        await subscribing.is_peer(call.web.bridge, call.context, ae)
        await subscribing.suspend(call.web.bridge, call.context, uid, ae)
    except Refused as refusal:
        return ups.told(call, refusal)
    return Response()


async def connect(call: Call) -> Response:
    """Answer ``GET /subscribers/{aetitle}`` that does not ask for a WebSocket."""
    return _upgrade()


class Notifications:
    """The connections of one process: the ASGI application behind `PATH`."""

    def __init__(self, bridge: Bridge, checker: TokenChecker) -> None:
        self._bridge = bridge
        self._checker = checker
        self._open: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until it ends."""
        if scope["type"] != "websocket":
            await _upgrade()(scope, receive, send)
            return
        await receive()
        ae = scope["path"].rpartition("/")[2]
        try:
            context = bearer.context_of(scope, self._checker, "UPS-RS")
            self._checker.limits.admit(context.principal)
            subscribing.require_title(ae)
            is_peer = await subscribing.is_peer(self._bridge, context, ae)
            asked = query.parse("Task", [("_count", "0")], strict=True)
            await self._bridge.store.search(context, asked)  # the gate, and the audit
        except Refusal:
            await send({"type": "websocket.close"})
            return
        organization = context.principal.organization or ""
        await send({"type": "websocket.accept"})
        if is_peer or self._open.get(organization, 0) >= MOST_OF_AN_ORGANIZATION:
            await send({"type": "websocket.close", "code": POLICY if is_peer else AGAIN_LATER})
            return
        self._open[organization] = self._open.get(organization, 0) + 1
        hearing = asyncio.create_task(_hear(receive))
        telling = asyncio.create_task(
            self._tell(scope, send, subscribing.outbox(ae, context.principal))
        )
        try:
            await asyncio.wait({hearing, telling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open[organization] -= 1
            for task in (hearing, telling):
                task.cancel()
            for outcome in await asyncio.gather(hearing, telling, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                    _log.error("a connection for workitems failed", exc_info=outcome)

    async def _tell(self, scope: Scope, send: Send, id: str) -> None:
        """Tell what happens as long as the token lasts."""
        number, sent, since = 0, 0, 0
        while True:
            try:
                bearer.context_of(scope, self._checker, "UPS-RS")
                subscriber = await happened.subscriber(self._bridge.database, id)
                if subscriber is not None and subscriber.started != since:
                    # Who subscribes anew begins anew.
                    sent, since = subscriber.delivered, subscriber.started
                if subscriber is not None and subscriber.events > sent:
                    for event in await happened.after(self._bridge.database, id, sent, AT_ONCE):
                        for report in await events.reports(self._bridge, subscriber, event):
                            number += 1
                            text = written(report, number).decode()
                            await send({"type": "websocket.send", "text": text})
                        sent = event.number
                    if sent > subscriber.delivered:
                        await self._bridge.database.run(TAKEN, (Texts([id]), sent, now()))
            except Unauthenticated:
                await send({"type": "websocket.close", "code": TOKEN_ENDED})
                return
            except Refusal as refusal:
                _log.warning("workitems wait to be told of: %s", type(refusal).__name__)
            await asyncio.sleep(POLL_SECONDS)


def written(report: Report, number: int) -> bytes:
    """Write an event report as a message (PS3.18 Section 11.13)."""
    with config.disable_value_validation():
        information: dict[str, Any] = report.information.to_json_dict(suppress_invalid_tags=True)
    head: Mapping[str, Any] = {
        "00000002": {"vr": "UI", "Value": [EVENT]},
        "00000110": {"vr": "US", "Value": [number % 65536]},
        "00001000": {"vr": "UI", "Value": [report.uid]},
        "00001002": {"vr": "US", "Value": [report.kind]},
    }
    return orjson.dumps({**head, **information})


def _upgrade() -> Response:
    return Response(status_code=426, headers={"Upgrade": "websocket"})


async def _hear(receive: Receive) -> None:
    """Wait until the other side has gone; it has nothing to say."""
    while (await receive())["type"] != "websocket.disconnect":
        pass


def _places(call: Call) -> tuple[str, str]:
    places = call.request.path_params
    uid = require_uid(places["workitem"], "SOPInstanceUID")
    return uid, subscribing.require_title(places["aetitle"])


def _filter(pairs: list[tuple[str, str]]) -> dict[str, str]:
    keys = {}
    for name, value in pairs:
        keyword = attributes.keyword_of(name)
        if keyword is None or "\0" in value:
            raise Invalid("There is no such attribute to filter by", "filter")
        if value:
            keys[keyword] = value
    return keys


def _socket(base_url: str, ae: str) -> str:
    return f"{base_url.replace('http', 'ws', 1)}{PATH}/{ae}"
