"""Addresses of ports: where one is opened or called, ``host:port``.

RFC 3986 Section 3.2.2 (an IPv6 address is in brackets).
"""

import ipaddress
from typing import NamedTuple


class Address(NamedTuple):
    """Where a port is opened: a host and a port number."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read(text: str) -> Address:
    """Read ``host:port``; a port of 0 lets the system choose.

    Examples
    --------
    >>> read("[::1]:8000")
    Address(host='::1', port=8000)
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("give host:port, such as 127.0.0.1:8000")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))
