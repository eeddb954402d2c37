"""Rest-hook: an HTTP request to the subscriber's endpoint for each notification.

One pool of connections for each endpoint, so that no subscriber waits for another's connections.
Name, redirect and proxy are nobody's way around `addresses`: the connection is made to an address
that has been checked, the certificate is that of the name, a redirect is an answer like others.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "REST-Hook"; FHIR R4 subscription, "Channels"
* RFC 9110 Sections 10.2.3 (Retry-After), 15.5.11 (410)
"""

import asyncio
import contextlib
import email.utils
import re
import ssl
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import httpx

from resources.errors import Unprocessable
from resources.subscription import OURS
from subscriptions.addresses import Addresses, Endpoint, literal
from subscriptions.channels.outcome import SENT, Message, Outcome
from subscriptions.events import Subscriber

MOST_POOLS: Final = 2000
CONNECTIONS: Final = 4
"""Of one pool."""
FRESH_SECONDS: Final = 10.0
"""How long addresses that were checked are used without asking for them again."""
MOST_READ: Final = 64 * 1024
READ_SECONDS: Final = 1.0
"""So much of an answer is read, and no longer, once its status is known."""
LONGEST_WAIT: Final = 3600.0

_LINE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t]*?)[ \t]*")


class Pool:
    """The connections to one endpoint, and its addresses while they are fresh."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        limits = httpx.Limits(
            max_connections=CONNECTIONS, max_keepalive_connections=1, keepalive_expiry=60
        )
        self.client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits),
            trust_env=False,
            follow_redirects=False,
            timeout=None,
            headers={},
        )
        self.found: tuple[Endpoint, list[str]] | None = None
        self.until = 0.0


class RestHook:
    """The channel.

    Parameters
    ----------
    trust
        Whose certificates are believed; those that the system trusts, unless told.
    """

    def __init__(self, addresses: Addresses, *, trust: ssl.SSLContext | None = None) -> None:
        self._addresses = addresses
        self._pools: OrderedDict[tuple[str, str], Pool] = OrderedDict()
        self._tls = trust or ssl.create_default_context()

    async def send(self, subscriber: Subscriber, message: Message) -> Outcome:
        """Send one notification, and say what became of it; nothing is raised."""
        try:
            async with asyncio.timeout(subscriber.timeout):
                status, again = await self._request(subscriber, message)
        except Unprocessable as refusal:
            return Outcome("failed", 0, refusal.reason)
        except TimeoutError:
            return Outcome("later", 0, f"The endpoint took more than {subscriber.timeout} s.")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            return Outcome("later", 0, "The endpoint cannot be reached.")
        return judged(status, again)

    async def close(self) -> None:
        """Close all connections."""
        while self._pools:
            await self._pools.popitem()[1].client.aclose()

    async def _request(self, subscriber: Subscriber, message: Message) -> tuple[int, str]:
        pool = await self._pool(subscriber)
        if pool.found is None or pool.until < time.monotonic():
            pool.found = await self._addresses.reach(subscriber.endpoint, subscriber.organization)
            pool.until = time.monotonic() + FRESH_SECONDS
        endpoint, addresses = pool.found
        for address in addresses[:-1]:
            with contextlib.suppress(httpx.ConnectError):
                return await self._to(pool, endpoint, address, subscriber, message)
        try:
            return await self._to(pool, endpoint, addresses[-1], subscriber, message)
        except httpx.ConnectError:
            pool.until = 0.0
            raise

    async def _to(
        self, pool: Pool, endpoint: Endpoint, address: str, subscriber: Subscriber, message: Message
    ) -> tuple[int, str]:
        """Send it to one address of the endpoint, and give status and Retry-After."""
        parts = urlsplit(endpoint.url)
        place = f"[{address}]" if ":" in address else address
        path = parts.path or "/"
        if message.resource:
            path = f"{path.rstrip('/')}/{message.resource}"
        query = f"?{parts.query}" if parts.query else ""
        named = literal(endpoint.host) is None
        async with pool.client.stream(
            "PUT" if message.resource else "POST",
            f"{endpoint.scheme}://{place}:{endpoint.port}{path}{query}",
            content=message.body,
            headers=[
                ("Host", parts.netloc),
                *([("Content-Type", message.media)] if message.body else ()),
                *lines(subscriber.headers),
            ],
            extensions={"sni_hostname": endpoint.host} if named else None,
        ) as response:
            await _drain(response)
            return response.status_code, response.headers.get("retry-after", "")

    async def _pool(self, subscriber: Subscriber) -> Pool:
        key = (subscriber.organization, subscriber.endpoint)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(self._tls)
            if len(self._pools) > MOST_POOLS:
                await self._pools.popitem(last=False)[1].client.aclose()
        self._pools.move_to_end(key)
        return pool


def lines(headers: Iterable[str]) -> list[tuple[str, str]]:
    r"""Split header lines that may be sent; others are left out.

    Examples
    --------
    >>> lines(["Authorization: Bearer x", "Host: other", "a: b\r\nc: d"])
    [('Authorization', 'Bearer x')]
    """
    found = [match.groups() for line in headers if (match := _LINE.fullmatch(line))]
    return [(name, value) for name, value in found if name.lower() not in OURS]


def judged(status: int, again: str) -> Outcome:
    """Say what a status means for who sent; `again` is the field Retry-After."""
    if 200 <= status < 300:
        return SENT._replace(status=status)
    told = f"The endpoint answered {status}."
    if status == 410:
        return Outcome("over", status, told)
    if status in (401, 403):
        return Outcome("failed", status, told)
    if 300 <= status < 400:
        return Outcome("later", status, f"The endpoint answered {status}: nobody is redirected.")
    wait = _wait(again) if status in (429, 503) else 0.0
    return Outcome("later", status, told, wait)


def _wait(again: str) -> float:
    """Read Retry-After, seconds or a date, into seconds of at most an hour."""
    if again.isascii() and again.isdigit() and len(again) < 10:
        seconds = float(again)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(again).timestamp() - time.time()
        except (ValueError, OverflowError):
            seconds = 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT)


async def _drain(response: httpx.Response) -> None:
    """Read a short answer, so that the connection can be used again; of a long one no more."""
    read = 0
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(READ_SECONDS):
            async for octets in response.aiter_raw():
                read += len(octets)
                if read > MOST_READ:
                    break
