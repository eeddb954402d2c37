"""Addresses: where a subscription may have something sent, and where never.

A subscriber names an address and the server calls it, from inside the network that it stands in;
so does a client that publishes its keys (`smart_apps.authorization.key_sets`).
So the host is resolved by ourselves, every address that it has is looked at, and the connection
goes to one of those very addresses: what the name means a moment later changes nothing. Whoever
answers with a redirect is not followed.

References
----------
* OWASP Server-Side Request Forgery Prevention Cheat Sheet; CWE-918
* RFC 6890 (special-purpose addresses); RFC 4291 Section 2.5.5 (IPv4-mapped), RFC 6052 (NAT64)
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from resources.errors import Invalid, Unprocessable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[list[str]]]

LONGEST: Final = 2000
"""Characters of an endpoint."""
RESOLVE_SECONDS: Final = 5.0
PORTS: Final = {"https": 443, "http": 80}

NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
COMPATIBLE: Final = ipaddress.ip_network("::/96")

_NAME: Final = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*"
                          r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # fmt: skip
_ENDS_IN_A_NUMBER: Final = re.compile(r"(^|\.)(0x[0-9a-f]*|[0-9]+)\.?$")
"""WHATWG URL, "ends in a number checker": such a host is an IPv4 address, however it is spelled."""
_PLAIN: Final = re.compile(r"[!-~]+")


class Endpoint(NamedTuple):
    """An endpoint, taken apart: `host` in small letters and without brackets."""

    url: str
    scheme: str
    host: str
    port: int


class Listed(NamedTuple):
    """One entry of the list of hosts that are allowed besides public ones.

    An empty `organization` is any, a `port` of 0 is any. Of `host` and `network` one is there.
    """

    organization: str
    host: str
    port: int
    network: Network | None


def listed(text: str) -> tuple[Listed, ...]:
    """Read the setting: ``[organisation@]host[:port]`` or ``[organisation@]network``, by commas.

    Raises
    ------
    Invalid
        An entry is neither.

    Examples
    --------
    >>> [entry[:3] for entry in listed("127.0.0.1:8090, lead@hooks.example")]
    [('', '127.0.0.1', 8090), ('lead', 'hooks.example', 0)]
    >>> listed("10.0.0.0/8")[0].network
    IPv4Network('10.0.0.0/8')
    """
    return tuple(_entry(part.strip()) for part in text.split(",") if part.strip())


def _entry(text: str) -> Listed:
    organization, _, place = text.rpartition("@")
    try:
        if "/" in place:
            return Listed(organization, "", 0, ipaddress.ip_network(place))
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname or "", parts.port or 0
    except ValueError as error:
        raise Invalid(f"{text}: give host, host:port or a network.") from error
    if not host or parts.path or parts.username is not None:
        raise Invalid(f"{text}: give host, host:port or a network.")
    return Listed(organization, host, port, None)


def endpoint(text: str) -> Endpoint:
    """Take an endpoint apart.

    Raises
    ------
    Unprocessable
        It is no web address that can be called: another scheme, a name and password in it, a
        fragment, a host that is none, or an address that is spelled so as not to look like one.

    Examples
    --------
    >>> endpoint("https://Hooks.Example:8443/fhir")
    Endpoint(url='https://Hooks.Example:8443/fhir', scheme='https', host='hooks.example', port=8443)
    """
    if len(text) > LONGEST or not _PLAIN.fullmatch(text) or "\\" in text:
        raise _refused("is no web address")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _refused("is no web address") from None
    if parts.scheme not in PORTS:
        raise _refused("does not begin with https://")
    if "@" in parts.netloc:
        raise _refused("has a name or a password in it; use channel.header")
    if "#" in text:
        raise _refused("has a fragment")
    host = parts.hostname or ""
    if port == 0 or not _is_host(host):
        raise _refused("names no host")
    return Endpoint(text, parts.scheme, host, port or PORTS[parts.scheme])


def _is_host(host: str) -> bool:
    if ":" in host:
        return "%" not in host and literal(host) is not None
    if _ENDS_IN_A_NUMBER.search(host):
        return literal(host) is not None
    return _NAME.fullmatch(host) is not None


def literal(host: str) -> Address | None:
    """Read an address in its usual spelling; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Say whether an address is one that anybody on the Internet may have.

    Examples
    --------
    >>> [is_public(ipaddress.ip_address(a)) for a in ("1.1.1.1", "::ffff:127.0.0.1", "fe80::1")]
    [True, False, False]
    """
    if isinstance(address, ipaddress.IPv6Address):
        return address.is_global and not address.is_multicast and all(
            is_public(within) for within in _within(address)
        )  # fmt: skip
    return address.is_global and not address.is_multicast


def _within(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """Give the IPv4 addresses that an IPv6 address leads to."""
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in NAT64 or address in COMPATIBLE:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


class Addresses:
    """Which endpoints this installation calls.

    Parameters
    ----------
    hosts
        As `listed` reads it: what may be called besides public addresses.
    public
        Whether public addresses may be called that are not listed.
    resolver
        Gives the addresses of a name.
    """

    def __init__(
        self, hosts: str = "", *, public: bool = True, resolver: Resolve = resolve
    ) -> None:
        self._listed = listed(hosts)
        self._public = public
        self._resolve = resolver

    def check(self, text: str, organization: str) -> Endpoint:
        """Refuse at once what can be refused without asking anybody for the host's addresses.

        Raises
        ------
        Unprocessable
            The endpoint is never called.
        """
        found = endpoint(text)
        address = literal(found.host)
        is_here = found.host == "localhost" or found.host.endswith(".localhost")
        is_refused = (is_here and not self._lists(found, organization)) or (
            address is not None and not self._allows(found, address, organization)
        )
        if is_refused:
            raise _refused("is at an address that this server does not call")
        if found.scheme == "http" and not self._is_loopback(found, address, organization):
            raise _refused("does not begin with https://")
        if address is None and not self._public and not self._lists(found, organization):
            raise _refused("is not among the hosts that this server calls")
        return found

    async def reach(self, text: str, organization: str) -> tuple[Endpoint, list[str]]:
        """Give the addresses to connect to: all that the host has, if each of them is allowed.

        Raises
        ------
        Unprocessable
            The endpoint is never called.
        OSError
            The host has no address now.
        """
        found = self.check(text, organization)
        if literal(found.host) is not None:
            return found, [found.host]
        async with asyncio.timeout(RESOLVE_SECONDS):
            given = await self._resolve(found.host, found.port)
        if not given:
            raise OSError("the host has no address")
        for each in given:
            address = ipaddress.ip_address(each)
            if not self._allows(found, address, organization):
                raise _refused("is at an address that this server does not call")
            if found.scheme == "http" and not address.is_loopback:
                raise _refused("does not begin with https://")
        return found, given

    def _allows(self, found: Endpoint, address: Address, organization: str) -> bool:
        return (self._public and is_public(address)) or self._lists(found, organization, address)

    def _lists(self, found: Endpoint, organization: str, address: Address | None = None) -> bool:
        """Say whether an entry is for this host, or for the network of this address."""
        return any(
            (entry.network is not None and address is not None and address in entry.network)
            or (entry.network is None and entry.host == found.host
                and entry.port in (0, found.port))
            for entry in self._listed
            if entry.organization in ("", organization)
        )  # fmt: skip

    def _is_loopback(self, found: Endpoint, address: Address | None, organization: str) -> bool:
        """Say whether plain HTTP will do: on this machine, where an operator has allowed it."""
        is_here = found.host == "localhost" if address is None else address.is_loopback
        return is_here and self._lists(found, organization, address)


def _refused(what: str) -> Unprocessable:
    return Unprocessable(f"The endpoint {what}.", "Subscription.channel.endpoint", "value")
