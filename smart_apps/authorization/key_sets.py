"""Key sets: the public keys of clients that publish them at an address, read when they are needed.

A client says where its keys are and the server asks there, from inside the network that it stands
in: only at addresses that `Addresses` allows, over TLS, without following anybody elsewhere, for a
few seconds and a few octets. What was read is kept as long as its Cache-Control says and read anew
for a key that is not in it, so that a client rolls its keys over by publishing the next one.

References
----------
* SMART App Launch 2.2, "Client Authentication: Asymmetric (public key)", "Signature Verification":
  "The FHIR authorization server SHALL NOT cache a JWKS for longer than the client's cache-control
  header indicates"
* RFC 7517 Section 5 (JWK Set); RFC 9111 Section 5.2.2 (Cache-Control); CWE-918
"""

import asyncio
import logging
import re
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import httpx
from anyio import to_thread

from resources.errors import Invalid, Unprocessable
from smart_apps.authorization import usable_keys
from smart_apps.authorization.usable_keys import Key
from smart_apps.clients import Client
from subscriptions.addresses import Addresses, Endpoint, literal

PATIENCE_SECONDS: Final = 5.0
"""For name, connection and answer together."""
LONGEST: Final = 65_536
"""Octets of a set."""
MOST_SETS: Final = 1000

FRESH_SECONDS: Final = 300.0
"""How long a set is kept that does not say how long it may be."""
LONGEST_FRESH_SECONDS: Final = 3600.0
AGAIN_SECONDS: Final = 10.0
"""Nobody is asked again earlier who did not answer, or for a key that was not there."""

_MAX_AGE: Final = re.compile(r"max-age=\"?([0-9]{1,9})\"?")

_log = logging.getLogger(__name__)


class _Kept:
    """What was read at one address."""

    def __init__(self) -> None:
        self.keys: tuple[Key, ...] = ()
        self.lock = asyncio.Lock()
        self.until = 0.0
        self.begun = self.asked = float("-inf")
        self.answered = True

    def is_fresh(self, at: float, arrived: float) -> bool:
        """Say whether it may be used: it is kept, or was read after who needs it had come."""
        return at < self.until or (self.answered and self.begun >= arrived)

    def must_ask(self, kid: str, at: float, arrived: float) -> bool:
        """Say whether the address is to be asked now, for want of something fresh or of a key."""
        if self.is_fresh(at, arrived):
            is_known = any(key["kid"] == kid for key in self.keys)
            return not is_known and at - self.asked >= AGAIN_SECONDS
        return self.answered or at - self.asked >= AGAIN_SECONDS


class KeySets:
    """The key sets that one process has read.

    Parameters
    ----------
    addresses
        Where it may ask.
    trust
        Whose certificates are believed; those that the system trusts, unless told.
    patience
        Seconds for all of one reading.
    clock
        Gives seconds from somewhere on.
    """

    def __init__(
        self,
        addresses: Addresses,
        *,
        trust: ssl.SSLContext | None = None,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses = addresses
        self._tls = trust or ssl.create_default_context()
        self._patience = patience
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    def check(self, uri: str, organization: str) -> None:
        """Refuse at once an address that is never asked.

        Raises
        ------
        Invalid
            It is such a one.
        """
        try:
            self._addresses.check(uri, organization)
        except Unprocessable as refusal:
            said = refusal.reason.replace("The endpoint", "The address of the keys")
            raise Invalid(said, at="jwks_uri") from None

    async def of(self, client: Client, kid: str) -> tuple[Key, ...]:
        """Give the keys of a client that publishes them; none if they cannot be had.

        Parameters
        ----------
        kid
            The one that is needed.
        """
        assert client.jwks_uri is not None
        kept = self._at(client.organization, client.jwks_uri)
        arrived = self._clock()
        async with kept.lock:
            if kept.must_ask(kid, self._clock(), arrived):
                await self._ask(kept, client)
            return kept.keys if kept.is_fresh(self._clock(), arrived) else ()

    def _at(self, organization: str, uri: str) -> _Kept:
        kept = self._kept.setdefault((organization, uri), _Kept())
        self._kept.move_to_end((organization, uri))
        if len(self._kept) > MOST_SETS:
            self._kept.popitem(last=False)
        return kept

    async def _ask(self, kept: _Kept, client: Client) -> None:
        """Read the set anew. What cannot be read leaves what is there, as long as it is fresh."""
        kept.begun = self._clock()
        try:
            async with asyncio.timeout(self._patience):
                text, seconds = await self._read(client)
            kept.keys, kept.answered = await to_thread.run_sync(usable_keys.read, text), True
            kept.until = self._clock() + seconds
        except (httpx.HTTPError, httpx.InvalidURL, OSError, Invalid, Unprocessable) as error:
            kept.answered = False
            if self._clock() >= kept.until:
                kept.keys = ()
            said = getattr(error, "reason", type(error).__name__)
            _log.warning("keys of client %s cannot be read: %s", client.id, said)
        kept.asked = self._clock()

    async def _read(self, client: Client) -> tuple[bytes, float]:
        """Read what is at the address, and for how many seconds it may be kept."""
        endpoint, addresses = await self._addresses.reach(str(client.jwks_uri), client.organization)
        transport = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False)
        async with httpx.AsyncClient(
            transport=transport, trust_env=False, follow_redirects=False, timeout=self._patience
        ) as http:
            for address in addresses[:-1]:
                try:
                    return await _get(http, endpoint, address)
                except httpx.ConnectError:
                    continue
            return await _get(http, endpoint, addresses[-1])


async def _get(http: httpx.AsyncClient, endpoint: Endpoint, address: str) -> tuple[bytes, float]:
    """Read it at one of the addresses of the host; the certificate is that of its name."""
    parts = urlsplit(endpoint.url)
    place = f"[{address}]" if ":" in address else address
    query = f"?{parts.query}" if parts.query else ""
    named = literal(endpoint.host) is None
    async with http.stream(
        "GET",
        f"{endpoint.scheme}://{place}:{endpoint.port}{parts.path or '/'}{query}",
        headers={
            "Host": parts.netloc,
            "Accept": "application/jwk-set+json, application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "Isocentre",
        },
        extensions={"sni_hostname": endpoint.host} if named else None,
    ) as response:
        if response.status_code != httpx.codes.OK:
            raise Invalid(f"the answer is {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Invalid("the answer is encoded")
        octets = bytearray()
        async for part in response.aiter_raw():
            octets += part
            if len(octets) > LONGEST:
                raise Invalid(f"the answer has more than {LONGEST} octets")
        return bytes(octets), lifetime(response.headers.get("cache-control", ""))


def lifetime(said: str) -> float:
    """Give the seconds that an answer with this Cache-Control is kept.

    Examples
    --------
    >>> lifetime("public, max-age=60"), lifetime("no-store"), lifetime(""), lifetime("max-age=x")
    (60.0, 0.0, 300.0, 300.0)
    """
    words = [word.strip() for word in said.lower().split(",")]
    if "no-store" in words or any(word.partition("=")[0] == "no-cache" for word in words):
        return 0.0
    ages = [float(found[1]) for word in words if (found := _MAX_AGE.fullmatch(word))]
    return min([*ages, LONGEST_FRESH_SECONDS]) if ages else FRESH_SECONDS
