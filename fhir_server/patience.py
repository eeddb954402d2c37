"""Patience: how long, and how much, a client may take to say what it wants over HTTP.

uvicorn waits for ever for the rest of a request, and takes a head of any size. Here a head has a
time and a size, a body has a pace, and whoever does not keep to them is told so and hung up on.
Nothing is timed by request: once a second all connections of the process are looked at.

References
----------
* RFC 9110 Sections 15.5.9 (408), 15.5.15 (414); RFC 6585 Section 5 (431)
* RFC 9112 Section 9.5 (Failures and Timeouts); tcp(7), TCP_USER_TIMEOUT
"""

import socket
import time
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS: Final = 15.0
"""From the first octet, or from the connection, to the end of the head."""
HEAD_BYTES: Final = 64 * 1024
"""Octets of a request line and its header fields."""
BODY_SECONDS: Final = 20.0
BODY_BYTES: Final = 20 * 1024
"""A body brings so many octets in so many seconds, or it ends before."""
UNREAD_SECONDS: Final = 60
"""How long what we sent may lie unread before the system ends the connection."""
TOO_LONG: Final = HTTPStatus.REQUEST_URI_TOO_LONG
TICKS_A_SECOND: Final = 10
"""`uvicorn.Server.on_tick` is called so often."""

HEAD, BODY, ANSWER = "head", "body", "answer"
"""What a connection waits for: the first two from the client."""


class PatientProtocol(HttpToolsProtocol):
    """One connection, that knows what it waits for and since when."""

    awaited: str
    since: float
    received: int

    def connection_made(self, transport: Any) -> None:
        """Wait for the head of the first request."""
        super().connection_made(transport)
        self._wait_for(HEAD)

    def data_received(self, data: bytes) -> None:
        """Take octets; those that come while we answer begin another request."""
        if self.awaited is ANSWER:
            self._wait_for(HEAD)
        self.received += len(data)
        super().data_received(data)
        if self.awaited is HEAD and self.received > HEAD_BYTES:
            is_line = len(getattr(self, "url", b"")) > HEAD_BYTES // 2
            self.hang_up(TOO_LONG if is_line else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Wait for the body, whose end may come with the same octets."""
        self._wait_for(BODY)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for nothing more: it is our turn."""
        self._wait_for(ANSWER)
        super().on_message_complete()

    def look(self) -> None:
        """Hang up on a client that takes too long."""
        waited = time.monotonic() - self.since
        if self.awaited is HEAD:
            if waited > HEAD_SECONDS:
                self.hang_up(HTTPStatus.REQUEST_TIMEOUT if self.received else None)
        elif self.awaited is BODY:
            if self.flow.read_paused:
                self._wait_for(BODY)  # it is we who do not read
            elif waited > BODY_SECONDS:
                if self.received < BODY_BYTES:
                    self.hang_up(HTTPStatus.REQUEST_TIMEOUT)
                else:
                    self._wait_for(BODY)

    def hang_up(self, status: HTTPStatus | None) -> None:
        """Say why, unless an answer has begun or nothing was asked, and close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        is_answering = cycle and cycle.response_started and not cycle.response_complete
        if status is not None and not is_answering:
            line = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            self.transport.write(f"{line}content-length: 0\r\nconnection: close\r\n\r\n".encode())
        self.transport.close()

    def _wait_for(self, what: str) -> None:
        self.awaited, self.since, self.received = what, time.monotonic(), 0


class PatientServer(uvicorn.Server):
    """A server that looks at its connections once a second."""

    async def on_tick(self, counter: int) -> bool:
        """Look at them, and say whether to stop."""
        if counter % TICKS_A_SECOND == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, PatientProtocol):
                    connection.look()
        return await super().on_tick(counter)


def prepare(listener: socket.socket) -> socket.socket:
    """Let the system end connections whose client does not read what we sent."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
    return listener
