"""Sockets: one connection, what it is bound for, and how it is closed.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "Websocket"; RFC 6455 Section 7.4
"""

import asyncio
import hashlib
import time
from typing import Final, NamedTuple

from starlette.types import Send

BIND: Final = "bind-with-token"

NORMAL, POLICY, TOO_LONG, AGAIN_LATER, TOKEN_ENDED = 1000, 1008, 1009, 1013, 4401
"""RFC 6455 Section 7.4; 4401 is ours, as HTTP's 401."""


class Token(NamedTuple):
    """What a binding token stands for. `expires` is in microseconds since 1970 UTC."""

    digest: str
    subscriptions: list[str]
    withdrawable: list[str]
    expires: int
    organization: str = ""


class Binding:
    """One subscription on one socket, and up to which event it was sent."""

    def __init__(self, token: Token, sent: int) -> None:
        self.token = token
        self.sent = sent
        self.last = time.monotonic()
        self.heartbeat: int | None = None

    def is_idle(self) -> bool:
        """Say whether a heartbeat is due."""
        return self.heartbeat is not None and self.last + self.heartbeat <= time.monotonic()


class Socket:
    """One connection."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.bindings: dict[str, Binding] = {}
        self.woken = asyncio.Event()
        self.closed: int | None = None
        self.reason = ""

    def tokens(self) -> set[str]:
        """The digests of the tokens it is bound with."""
        return {binding.token.digest for binding in self.bindings.values()}

    def is_of(self, organization: str) -> bool:
        """Say whether it is bound for an organisation."""
        return any(one.token.organization == organization for one in self.bindings.values())

    def close(self, code: int, reason: str = "") -> None:
        """Have it closed by who sends on it."""
        if self.closed is None:
            self.closed, self.reason = code, reason
            self.woken.set()


def digest_of(token: str) -> str:
    """Give what is kept of a binding token."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_in(text: str) -> str | None:
    """Read what binds, in either of its spellings.

    Examples
    --------
    >>> token_in("bind-with-token abc"), token_in("bind-with-token: abc"), token_in("bind abc")
    ('abc', 'abc', None)
    """
    word, _, token = text.strip().partition(" ")
    token = token.strip()
    return token if word.removesuffix(":") == BIND and token and " " not in token else None
