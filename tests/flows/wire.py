"""PS3.8 and PS3.7 octet by octet, so that what no toolkit would send can be sent.

References
----------
* PS3.8 Section 9.3 (PDU structure), PS3.7 Section 6.3.1 and Annex E (command sets)
"""

import contextlib
import socket
import struct
from collections.abc import Iterable
from typing import Final

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
COMMAND, LAST = 1, 2
VERIFICATION: Final = b"1.2.840.10008.1.1"
CT: Final = b"1.2.840.10008.5.1.4.1.1.2"
FIND: Final = b"1.2.840.10008.5.1.4.1.2.2.1"
GET: Final = b"1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT: Final = b"1.2.840.10008.1.2"
EXPLICIT: Final = b"1.2.840.10008.1.2.1"
DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
SECONDS: Final = 10.0


def pdu(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BxL", kind, len(content) if length is None else length) + content


def item(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BxH", kind, len(content) if length is None else length) + content


def context(number: int, abstract: bytes = VERIFICATION, *transfer: bytes) -> bytes:
    syntaxes = b"".join(item(0x40, uid) for uid in transfer or (IMPLICIT,))
    return item(0x20, struct.pack(">B3x", number) + item(0x30, abstract) + syntaxes)


def association(
    contexts: bytes = b"",
    *,
    called: bytes = b"ISOCENTRE",
    calling: bytes = b"CT1",
    user: bytes | None = None,
) -> bytes:
    """An A-ASSOCIATE-RQ; one verification context unless told otherwise."""
    user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3") if user is None else user
    return pdu(
        ASSOCIATE_RQ,
        struct.pack(">H2x16s16s32x", 1, called.ljust(16), calling.ljust(16))
        + item(0x10, b"1.2.840.10008.3.1.1.1")
        + (contexts or context(1))
        + item(0x50, user),
    )


def pdv(content: bytes, control: int = COMMAND | LAST, number: int = 1) -> bytes:
    return struct.pack(">LBB", len(content) + 2, number, control) + content


def data(content: bytes, control: int = COMMAND | LAST, number: int = 1) -> bytes:
    """A P-DATA-TF PDU with one PDV."""
    return pdu(P_DATA, pdv(content, control, number))


def pieces(content: bytes, number: int = 1, size: int = 16000) -> bytes:
    """A data set in as many PDUs as it takes."""
    parts = [content[at : at + size] for at in range(0, len(content), size)] or [b""]
    return b"".join(data(part, 0, number) for part in parts[:-1]) + data(parts[-1], LAST, number)


def element(number: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0, number, len(value) if length is None else length) + value


def command(elements: Iterable[tuple[int, bytes]], *, group_length: int | None = None) -> bytes:
    """A command set; its group length is right unless one is given, and absent if that is -1."""
    rest = b"".join(element(number, value + b"\0" * (len(value) % 2)) for number, value in elements)
    if group_length == -1:
        return rest
    return element(0, struct.pack("<L", len(rest) if group_length is None else group_length)) + rest


def us(value: int) -> bytes:
    return struct.pack("<H", value)


def echo(message: int = 1) -> list[tuple[int, bytes]]:
    return [(0x0002, VERIFICATION), (0x0100, us(0x30)), (0x0110, us(message)), (0x0800, us(0x101))]


def store(uid: bytes, sop_class: bytes = CT) -> list[tuple[int, bytes]]:
    return [
        (0x0002, sop_class), (0x0100, us(1)), (0x0110, us(1)), (0x0700, us(0)), (0x0800, us(1)),
        (0x1000, uid),
    ]  # fmt: skip


class Line:
    """A connection to the port, and what comes back on it."""

    def __init__(self, port: int, *sent: bytes) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.say(*sent)

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *gone: object) -> None:
        self.connection.close()

    def say(self, *sent: bytes) -> None:
        """Send; a peer that has hung up already is no surprise here."""
        try:
            for content in sent:
                self.connection.sendall(content)
        except OSError:
            return

    def finish(self) -> None:
        """Say that nothing more comes, to a peer that may have hung up already."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def hear(self) -> tuple[int, bytes]:
        """The next PDU; (0, b"") when the peer has hung up.

        Raises
        ------
        TimeoutError
            Nothing comes.
        """
        head = self._take(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", head)
        return kind, self._take(length)

    def status(self) -> int | None:
        """The status (0000,0900) of the next response; None if the association ended instead."""
        kind, content = self.hear()
        if kind != P_DATA:
            return None
        at = content.find(element(0x0900, b"", 2))
        return int(struct.unpack_from("<H", content, at + 8)[0])

    def associate(self, contexts: bytes = b"", **members: bytes) -> int:
        """Ask for an association; the kind of the PDU that answers."""
        self.say(association(contexts, **members))
        return self.hear()[0]

    def _take(self, count: int) -> bytes:
        taken = b""
        try:
            while len(taken) < count and (more := self.connection.recv(count - len(taken))):
                taken += more
        except ConnectionResetError:
            return b""
        return taken


def answers(port: int) -> int | None:
    """The status of a C-ECHO on an association of its own."""
    with Line(port) as line:
        if line.associate() != ASSOCIATE_AC:
            return None
        line.say(data(command(echo())))
        status = line.status()
        line.say(pdu(RELEASE_RQ, bytes(4)))
        line.hear()
        return status
