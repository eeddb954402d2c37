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


@dataclass(frozen=True)
class Seat:
    """One process's place.

    Parameters
    ----------
    number
        0, 1, ... among the processes of its role.
    leash
        Socket to the supervisor; None for a process that runs alone.
    listener
        The port that the supervisor opened for this role; None: it opens its own.
    """

    number: int = 0
    leash: socket.socket | None = None
    listener: socket.socket | None = None

    @classmethod
    def taken(cls, number: int, leash: int | None, listener: int | None) -> Self:
        """Take the seat whose descriptors a supervisor handed over."""
        return cls(number, _socket(leash), _socket(listener))

    def watch(self) -> None:
        """End this process when its supervisor is gone."""
        if self.leash is not None:
            threading.Thread(target=_end_with, args=(self.leash,), daemon=True).start()

    def ready(self) -> None:
        """Tell the supervisor that this process does its work now."""
        if self.leash is not None:
            self.leash.send(b"ready")


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
