"""A light DICOM association for load on loopback: asks, and counts what is answered.

pynetdicom's own requestor looks at its socket once a millisecond, which would be most of what is
measured; two hundred of them would keep a core busy.

References
----------
* PS3.8 Section 9.3 (PDU structure), PS3.7 Section 9.3.2 (C-FIND messages)
"""

import socket
import struct
from typing import Final

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

IMPLEMENTATION: Final = "1.2.826.0.1.3680043.10.1618.2"
ACCEPTED: Final = 0x02
RELEASE: Final = struct.pack(">BBLL", 5, 0, 4, 0)
PDU: Final = struct.Struct(">BxL")
PDV: Final = struct.Struct(">LBB")
ELEMENT: Final = struct.Struct("<HHL")
STATUS: Final = 0x0900
PENDING: Final = frozenset({0xFF00, 0xFF01})


class Association:
    """One association with one presentation context, from request to release."""

    def __init__(self, port: int, called: str, calling: str, sop_class: str) -> None:
        self._sop_class = sop_class
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._socket.sendall(_request(called, calling, sop_class))
        kind, _ = self._pdu()
        if kind != ACCEPTED:
            raise SystemExit(f"{called} refused the association")

    def close(self) -> None:
        """Release, and hang up."""
        self._socket.sendall(RELEASE)
        self._pdu()
        self._file.close()
        self._socket.close()

    def find(self, message: int, identifier: bytes) -> int:
        """Send a C-FIND request, its identifier in Implicit VR Little Endian; rows answered."""
        command = _command(self._sop_class, message)
        self._socket.sendall(_p_data(3, command) + _p_data(2, identifier))
        rows = 0
        while True:
            for control, content in self._fragments():
                if not control & 1:
                    continue
                status = _status(content)
                if status not in PENDING:
                    if status:
                        raise SystemExit(f"C-FIND failed with status {status:04X}")
                    return rows
                rows += 1

    def _pdu(self) -> tuple[int, bytes]:
        kind, length = PDU.unpack(self._file.read(PDU.size))
        return kind, self._file.read(length)

    def _fragments(self) -> list[tuple[int, bytes]]:
        _, content = self._pdu()
        found, at = [], 0
        while at < len(content):
            length, _, control = PDV.unpack_from(content, at)
            found.append((control, content[at + PDV.size : at + 4 + length]))
            at += 4 + length
        return found


def _request(called: str, calling: str, sop_class: str) -> bytes:
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, called
    context = build_context(sop_class, ImplicitVRLittleEndian)
    context.context_id = 1
    request.presentation_context_definition_list = [context]
    most, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    most.maximum_length_received = 0
    implementation.implementation_class_uid = IMPLEMENTATION
    request.user_information = [most, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()


def _command(sop_class: str, message: int) -> bytes:
    uid = sop_class.encode()
    uid += b"\0" * (len(uid) % 2)
    values = ((0x0002, uid), *((at, struct.pack("<H", value)) for at, value in (
        (0x0100, 0x0020), (0x0110, message), (0x0700, 0), (0x0800, 1),
    )))  # fmt: skip
    rest = b"".join(ELEMENT.pack(0, at, len(value)) + value for at, value in values)
    return ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(rest)) + rest


def _p_data(control: int, content: bytes) -> bytes:
    head = struct.pack(">BBL", 4, 0, len(content) + PDV.size)
    return head + PDV.pack(len(content) + 2, 1, control) + content


def _status(command: bytes) -> int:
    at = 0
    while at < len(command):
        _, element, length = ELEMENT.unpack_from(command, at)
        if element == STATUS:
            return int.from_bytes(command[at + ELEMENT.size :][:2], "little")
        at += ELEMENT.size + length
    raise SystemExit("an answer has no status")
