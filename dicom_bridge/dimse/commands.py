"""Commands: the command sets of hot messages encoded without a Dataset, and P-DATA-TF framing.

References
----------
* PS3.7 Section 6.3.1 (Command Set: Implicit VR Little Endian), Annex E.1 (Command Dictionary)
* PS3.8 Section 9.3.5 (P-DATA-TF PDU), Annex E.2
"""

import functools
import re
import struct
from typing import Any, Final, NamedTuple

from pydicom.datadict import tag_for_keyword
from pynetdicom import dimse_messages

COMMAND: Final = 1
"""Message Control Header of a command fragment; 0 is a data fragment."""
LAST: Final = 2

FIELDS: Final = {
    "C_STORE_RQ": 0x0001,
    "C_STORE_RSP": 0x8001,
    "C_GET_RSP": 0x8010,
    "C_FIND_RSP": 0x8020,
    "C_MOVE_RSP": 0x8021,
    "C_ECHO_RSP": 0x8030,
}
"""Messages encoded here, and their Command Field (0000,0100)."""

# PS3.7 Table E.1-1: value representations of the elements that those messages use.
UI: Final = frozenset({0x0002, 0x0003, 0x1000, 0x1001})
US: Final = frozenset({0x0110, 0x0120, 0x0700, 0x0900, 0x1020, 0x1021, 0x1022, 0x1023, 0x1031})
AE: Final = frozenset({0x1030})
MADE_HERE: Final = frozenset({0x0000, 0x0100, 0x0800})
COMMAND_DATA_SET_TYPE: Final = 0x0800
NO_DATA_SET: Final = 0x0101

STORE_REQUEST: Final = frozenset({
    0x0000, 0x0002, 0x0100, 0x0110, 0x0700, 0x0800, 0x1000, 0x1030, 0x1031,
})  # fmt: skip
"""Elements of a C-STORE request (PS3.7 Table 9.3-1)."""
UID: Final = re.compile(rb"[0-9]+(\.[0-9]+)*")
MOST_UID: Final = 64

ELEMENT: Final = struct.Struct("<HHL")
PDU_AND_PDV: Final = struct.Struct(">BBLLBB")


class StoreRequest(NamedTuple):
    """What a C-STORE request says, under the keywords of PS3.7 Annex E."""

    MessageID: int
    Priority: int
    AffectedSOPClassUID: str
    AffectedSOPInstanceUID: str


def store_request(command: bytes) -> StoreRequest | None:
    """Read the command set of a C-STORE request with a data set; None if it is not just that."""
    values: dict[int, bytes] = {}
    at, before, end = 0, -1, len(command)
    while at < end:
        if at + ELEMENT.size > end:
            return None
        group, element, length = ELEMENT.unpack_from(command, at)
        value = at + ELEMENT.size
        at = value + length
        if group or element <= before or at > end or element not in STORE_REQUEST:
            return None
        before = element
        values[element] = command[value:at]
    uids = [values.get(element, b"").rstrip(b"\0") for element in (0x0002, 0x1000)]
    numbers = [values.get(element, b"") for element in (0x0100, 0x0110, 0x0700, 0x0800)]
    if any(len(uid) > MOST_UID or not UID.fullmatch(uid) for uid in uids):
        return None
    if any(len(number) != 2 for number in numbers):
        return None
    field, message, priority, data_set = (int.from_bytes(number, "little") for number in numbers)
    if field != FIELDS["C_STORE_RQ"] or data_set == NO_DATA_SET or priority > 2:
        return None
    return StoreRequest(message, priority, uids[0].decode(), uids[1].decode())


def store_response(request: StoreRequest, status: int, comment: str = "") -> bytes:
    """The command set that answers a C-STORE request (PS3.7 Table 9.3-2)."""
    values = {
        0x0002: _value(0x0002, request.AffectedSOPClassUID) or b"",
        0x0100: struct.pack("<H", FIELDS["C_STORE_RSP"]),
        0x0120: struct.pack("<H", request.MessageID),
        0x0800: struct.pack("<H", NO_DATA_SET),
        0x0900: struct.pack("<H", status),
        0x1000: _value(0x1000, request.AffectedSOPInstanceUID) or b"",
    }
    if comment:
        text = comment.encode("ascii", "replace")
        values[0x0902] = text + b" " * (len(text) % 2)
    return _joined(values)


def encoded(primitive: Any, message: str, *, has_data_set: bool) -> bytes | None:
    """The command set of a primitive; None if it uses an element that is not known here."""
    values: dict[int, bytes] = {
        0x0100: struct.pack("<H", FIELDS[message]),
        COMMAND_DATA_SET_TYPE: struct.pack("<H", 1 if has_data_set else NO_DATA_SET),
    }
    for element, keyword in _elements(message):
        value = getattr(primitive, keyword, None)
        if value is None:
            continue
        encoded_value = _value(element, value)
        if encoded_value is None:
            return None
        values[element] = encoded_value
    return _joined(values)


def framed(
    context_id: int, control: int, content: bytes | memoryview, most: int
) -> list[bytes | memoryview]:
    """Content as P-DATA-TF PDUs of one PDV each, none longer than the peer takes; no copies.

    Parameters
    ----------
    control
        `COMMAND`, or 0 for data.
    most
        The peer's maximum length, 0 for none.
    """
    total = len(content)
    step = most - 6 if most else total
    buffers: list[bytes | memoryview] = []
    for at in range(0, total, step):
        count = min(step, total - at)
        last = LAST if at + count == total else 0
        buffers.append(PDU_AND_PDV.pack(4, 0, count + 6, count + 2, context_id, control | last))
        buffers.append(content[at : at + count])
    return buffers


def _joined(values: dict[int, bytes]) -> bytes:
    """A command set of elements, its group length first (PS3.7 Section 6.3.1)."""
    rest = b"".join(
        ELEMENT.pack(0, element, len(value)) + value for element, value in sorted(values.items())
    )
    return ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(rest)) + rest


@functools.cache
def _elements(message: str) -> tuple[tuple[int, str], ...]:
    """Elements of a message's command set, from pynetdicom's own table."""
    keywords = dimse_messages._COMMAND_SET_KEYWORDS[message.replace("_", "-")]
    pairs = ((tag_for_keyword(keyword), keyword) for keyword in keywords)
    return tuple((int(tag), word) for tag, word in pairs if tag and tag not in MADE_HERE)


def _value(element: int, value: Any) -> bytes | None:
    if element in US:
        return struct.pack("<H", value)
    if element in UI or element in AE:
        text = str(value).encode("ascii")
        return text + (b"\0" if element in UI else b" ") * (len(text) % 2)
    return None
