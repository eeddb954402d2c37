"""Transport: buffered sockets, and the server that takes connections.

References
----------
* PS3.8 Section 9.1.2 (Transport connection), 9.3.1 (PDU structure)
* RFC 896 (Nagle): its delay costs 40 ms a message, so TCP_NODELAY is set
"""

import contextlib
import logging
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from pynetdicom.transport import (
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from dicom_bridge.dimse.secured import SecuredSocket

BUFFER: Final = 1 << 18
"""Receive buffer of an association, in bytes; only touched pages cost memory."""
MOST_BUFFERS: Final = 512
"""Buffers in one sendmsg call (IOV_MAX is 1024)."""
MOST_PDU: Final = 1 << 20
"""Longest PDU we take, in bytes; we announce less."""
PDU_HEADER: Final = struct.Struct(">BxL")
REQUEST_SECONDS: Final = 30.0
"""How long a peer may take to say that it wants an association, however slowly it speaks: the
ARTIM timer (PS3.8 Section 9.1.4) sees only whole PDUs."""
EVICTION_SECONDS: Final = 0.2
"""How long one who calls may have to wait for the place of one who has not said a word."""

_log = logging.getLogger(__name__)


class BufferedSocket(AssociationSocket):
    """The socket of an association: large reads, one write a message, limited patience.

    Also refuses PDUs whose announced length is beyond all reason before any of it is read.
    """

    def __init__(self, assoc: Any, client_socket: socket.socket) -> None:
        self._buffer: bytearray | None = None
        self._view = memoryview(b"")
        self._read = self._filled = 0
        self._until: float | None = time.monotonic() + REQUEST_SECONDS
        super().__init__(assoc, client_socket)
        client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client_socket.settimeout(assoc.acse_timeout)

    def certificate(self) -> bytes:
        """The certificate that the peer showed, DER; empty if it showed none."""
        shown = getattr(self.socket, "getpeercert", None)
        certificate: bytes | None = shown(True) if shown is not None else None
        return certificate or b""

    def be_patient(self, seconds: float | None) -> None:
        """Set how long a peer may stall inside a PDU, or not read what we send."""
        self._until = None
        if self.socket is not None:
            self.socket.settimeout(seconds)

    @property
    def has_buffered(self) -> bool:
        """Whether bytes were received that nobody read yet."""
        return self._filled > self._read or getattr(self.socket, "pending", int)() > 0

    @property
    def ready(self) -> bool:
        """Whether there is something to read; a broken socket is an event."""
        connection = self.socket
        if connection is None or not self._is_connected:
            return False
        if self.has_buffered:
            return True
        try:
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            found = poll.poll(0)
        except (OSError, ValueError):
            found = [(-1, select.POLLNVAL)]
        if found and found[0][1] & select.POLLNVAL:
            self.event_queue.put("Evt17")
            return False
        return bool(found)

    def peek(self, count: int) -> memoryview | None:
        """The next `count` bytes, at most `BUFFER`; valid until the next call. None at the end."""
        while self._filled - self._read < count:
            if self._read + count > BUFFER:
                self._move_to_front()
            if not self._fill():
                return None
        return self._view[self._read : self._read + count]

    def skip(self, count: int) -> None:
        """Go on after bytes that were peeked at."""
        self._read += count

    def lose_place(self) -> None:
        """Drop what is buffered: what follows cannot be understood."""
        self._read = self._filled

    def recv(self, nr_bytes: int) -> bytearray:
        """Receive so many bytes; fewer at the end of the stream.

        The header of a PDU is read as six bytes: here a length beyond `MOST_PDU` ends the
        connection, as does one that only asks for memory.
        """
        if nr_bytes > MOST_PDU:
            raise OSError("the announced length of the PDU is beyond the limit")
        received = bytearray()
        while len(received) < nr_bytes:
            if self._filled == self._read and not self._fill():
                break
            count = min(nr_bytes - len(received), self._filled - self._read)
            received += self._view[self._read : self._read + count]
            self._read += count
        return received

    def send_all(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Send all buffers in as few system calls as possible."""
        connection = self.socket
        if connection is None:
            raise OSError("the connection is closed")
        if hasattr(connection, "pending"):  # TLS has no sendmsg
            connection.sendall(b"".join(buffers))
            return
        for at in range(0, len(buffers), MOST_BUFFERS):
            part = buffers[at : at + MOST_BUFFERS]
            sent = connection.sendmsg(part)
            if sent < sum(map(len, part)):
                connection.sendall(memoryview(b"".join(part))[sent:])

    def hang_up(self) -> None:
        """End both directions, so that a thread that reads finds the end of the stream."""
        connection = self.socket
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                _log.debug("the peer was gone already")

    def _shutdown_socket(self) -> None:
        """Close the socket, also where the peer has closed it before."""
        self.hang_up()
        if self.socket is not None:
            self.socket.close()

    def _fill(self) -> bool:
        if self._buffer is None:
            self._buffer = bytearray(BUFFER)
            self._view = memoryview(self._buffer)
        if self._read == self._filled:
            self._read = self._filled = 0
        elif self._filled == BUFFER:
            self._move_to_front()
        connection = self.socket
        if connection is None:
            return False
        if self._until is not None and time.monotonic() > self._until:
            raise TimeoutError("the peer takes too long to request an association")
        count = connection.recv_into(self._view[self._filled :])
        self._filled += count
        return count > 0

    def _move_to_front(self) -> None:
        kept = bytes(self._view[self._read : self._filled])
        self._view[: len(kept)] = kept
        self._read, self._filled = 0, len(kept)


class ConnectionHandler(RequestHandler):
    """Makes an association of a connection, of the classes its server names."""

    server: "AssociationServer"

    def _create_association(self) -> Any:
        server = self.server
        made = server.association_class(server.ae)
        made.accept(server, BufferedSocket(made, self.request), self.local, self.remote)
        server.strangers.append(made)
        return made


class AssociationServer(ThreadedAssociationServer):
    """Takes connections on a port that other processes may share.

    Parameters
    ----------
    association_class
        What a connection becomes; `most_connections` of them at once. When all places are taken,
        whoever has kept one longest without an association gives way; if there is none, who calls
        is hung up on.
    """

    request_queue_size = 64
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        ae: Any,
        address: Any,
        ae_title: str,
        contexts: Any,
        ssl_context: Any = None,
        evt_handlers: Any = None,
        *,
        association_class: Any,
        most_connections: int,
    ) -> None:
        self.association_class = association_class
        self.strangers: deque[Any] = deque()
        """Connections in the order they came; those that are no strangers any more stay a while."""
        self._places = threading.Semaphore(most_connections)
        if ssl_context is not None:
            ssl_context.sslsocket_class = SecuredSocket
        super().__init__(
            ae, address, ae_title, contexts, ssl_context, evt_handlers, ConnectionHandler
        )

    def server_bind(self) -> None:
        """Bind to a port that the other DICOM processes share (SO_REUSEPORT)."""
        if self.socket is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; a TLS handshake is left to the thread that reads from it."""
        accepted, address = self.socket.accept()  # type: ignore[union-attr]
        if self.ssl_context is not None:
            accepted = self.ssl_context.wrap_socket(
                accepted, server_side=True, do_handshake_on_connect=False
            )
        return accepted, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take a place for the connection; without one it is closed at once."""
        free = self._places.acquire(blocking=False)
        if not free and self._evict():
            free = self._places.acquire(timeout=EVICTION_SECONDS)
        if not free:
            _log.warning("too many connections: one from %s is refused", client_address[0])
        return free

    def leave(self, association: Any) -> None:
        """Give back the place of a connection that has ended."""
        with contextlib.suppress(ValueError):
            self.strangers.remove(association)
        self._places.release()

    def _evict(self) -> bool:
        """Hang up on the connection that has been longest without an association, if any."""
        while self.strangers:
            association = self.strangers.popleft()
            transport = association.dul.socket
            if not association.is_established and transport is not None:
                transport.hang_up()
                return True
        return False
