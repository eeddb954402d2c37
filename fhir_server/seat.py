"""Seat: the place of one process in the server - its role, its number, and who watches over it.

A supervisor holds the other end of a socket. Through it the process says that it is ready; and
when the supervisor is gone, however it went, the process reads the end of the file and goes too:
what it had acknowledged is durable, and its ports are free for the next server at once.
"""

import os
import socket
import threading
from dataclasses import dataclass
from typing import Self

from fhir_server.settings import Address


@dataclass(frozen=True)
class Seat:
    """One process's place.

    Parameters
    ----------
    number
        0, 1, ... among the processes of its role.
    leash
        Socket to the supervisor; None for a process that runs alone.
    """

    number: int = 0
    leash: socket.socket | None = None

    @classmethod
    def taken(cls, number: int, leash: int | None) -> Self:
        """Take the seat whose descriptor a supervisor handed over."""
        return cls(number, _socket(leash))

    def watch(self) -> None:
        """End this process when its supervisor is gone."""
        if self.leash is not None:
            threading.Thread(target=_end_with, args=(self.leash,), daemon=True).start()

    def ready(self) -> None:
        """Tell the supervisor that this process does its work now."""
        if self.leash is not None:
            self.leash.send(b"ready")


def share(address: Address) -> socket.socket:
    """Bind to a port that processes of this server share; each of them listens by itself.

    The kernel deals connections out evenly among those that listen, and gives none to a process
    that has died: socket(7), SO_REUSEPORT.
    """
    shared = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.bind(address)
    return shared


def _socket(descriptor: int | None) -> socket.socket | None:
    """Adopt a descriptor; no process that this one starts shall inherit it."""
    if descriptor is None:
        return None
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


def _end_with(leash: socket.socket) -> None:
    while True:
        try:
            heard = leash.recv(64)
        except OSError:
            heard = b""
        if not heard:
            os._exit(1)
