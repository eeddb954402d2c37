"""Secured: the TLS connection of an association, which one thread reads while another writes.

OpenSSL lets one thread at a time use a connection, and a thread that waits for the peer inside it
would keep the other from writing. Here nobody waits inside: each operation is tried under a lock,
and where it cannot go on, its thread waits for the socket outside.

References
----------
* PS3.15 Annex B.12, RFC 8446 (TLS 1.3); OpenSSL: SSL_get_error(3) (SSL_ERROR_WANT_READ, _WRITE)
"""

import select
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class SecuredSocket(ssl.SSLSocket):
    """A TLS socket for two threads; its timeout is how long either waits for the peer."""

    _turn: threading.Lock
    _patience: float | None

    def settimeout(self, value: float | None) -> None:
        """Set the patience; the socket itself never blocks. The first call makes the lock."""
        if not hasattr(self, "_turn"):
            self._turn = threading.Lock()
        self._patience = value
        super().settimeout(0.0)

    def gettimeout(self) -> float | None:
        """Give the patience."""
        return self._patience

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Read what has come; the handshake is done on the way."""
        read = super().read
        return self._in_turn(lambda: read(len, buffer))

    def send(self, data: Any, flags: int = 0) -> int:
        """Write as much as goes."""
        send = super().send
        return self._in_turn(lambda: send(data, flags))

    def pending(self) -> int:
        """How many octets are decrypted and not read yet."""
        with self._turn:
            return super().pending()

    def _in_turn(self, act: Callable[[], Answer]) -> Answer:
        until = None if self._patience is None else time.monotonic() + self._patience
        while True:
            with self._turn:
                try:
                    return act()
                except ssl.SSLWantReadError:
                    wanted = select.POLLIN
                except ssl.SSLWantWriteError:
                    wanted = select.POLLOUT
                except ValueError as error:
                    raise OSError("the connection is closed") from error
            self._wait(wanted, until)

    def _wait(self, wanted: int, until: float | None) -> None:
        """Wait for the socket.

        Raises
        ------
        TimeoutError
            The peer takes too long.
        OSError
            It was closed meanwhile.
        """
        poll = select.poll()
        try:
            poll.register(self, wanted)
        except ValueError as error:
            raise OSError("the connection is closed") from error
        left = None if until is None else max(0.0, until - time.monotonic()) * 1000
        if not poll.poll(left):
            raise TimeoutError("the peer takes too long")
