"""Content: one resource as it came, the bytes beside their parse.

What a client sent is what others are served: members keep their order, decimals their digits and
strings their escapes. A change of ours replaces whole top-level members and leaves the bytes of
every other alone.

References
----------
* RFC 8259 Section 4 (duplicate names), Section 8.1 (UTF-8, byte order mark), Section 8.2
  (lone surrogates); I-JSON, RFC 7493, forbids all of them
* FHIR JSON, "JSON representation of resources"; FHIR Datatypes, decimal ("the precision of the
  decimal value has significance")
"""

import json as standard_json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import orjson

from resources.errors import Unreadable
from resources.models import TYPES

DEEPEST: Final = 64
LONGEST_NUMBER: Final = 100

Members = dict[str, msgspec.Raw]

_members: Final = msgspec.json.Decoder(Members)
_written: Final = msgspec.json.Encoder()
_OPENING: Final = re.compile(rb'\s*\{\s*("resourceType"\s*:\s*"\w+")?')
# Numbers become runs of zeros, all else a space: a long number is a long run.
_NUMBERS: Final = bytes(0x30 if chr(c) in "0123456789.eE+-" else 0x20 for c in range(256))
_TOO_LONG: Final = b"0" * (LONGEST_NUMBER + 1)
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Content:
    """A resource: its type, its parse and its text. `json` is never changed in place."""

    type: str
    json: dict[str, Any]
    text: bytes


def read(raw: bytes) -> Content:
    """Take in a resource as it came, or refuse what is not exactly one.

    Nothing is repaired: two members of one name, a number of more than 100 characters, more than
    64 levels, a byte order mark or half a surrogate pair mean that sender and receiver could
    read different things in the same bytes.

    Raises
    ------
    Unreadable
        Not such JSON, or not a resource of a type this server stores.
    """
    json = parsed(raw)
    if not isinstance(json, dict):
        raise Unreadable("A resource is a JSON object.", code="structure")
    name = json.get("resourceType")
    if not isinstance(name, str):
        raise Unreadable("The resource does not say its resourceType.", code="structure")
    if name not in TYPES:
        raise Unreadable("There is no such resource type here.", "resourceType", "not-supported")
    return Content(name, json, raw)


def parsed(raw: bytes) -> Any:
    """Parse JSON that can be read in one way only.

    Raises
    ------
    Unreadable
        Malformed, ambiguous, or beyond the limits of `read`.
    """
    try:
        json = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"Not JSON: {error.msg}.", code="structure") from None
    if raw.count(b"{") + raw.count(b"[") > DEEPEST and _depth(json) > DEEPEST:
        raise Unreadable(f"Nested deeper than {DEEPEST} levels.", code="too-costly")
    if _quotes(raw) != _quotes(orjson.dumps(json)):
        raise Unreadable(f"The member {_twice(raw)} is there twice.", code="structure")
    if _TOO_LONG in raw.translate(_NUMBERS) and _has_long_number(raw):
        raise Unreadable(f"A number has more than {LONGEST_NUMBER} characters.", code="too-long")
    return json


def made(json: dict[str, Any]) -> Content:
    """Make the content of a resource that the server itself wrote."""
    return Content(json["resourceType"], json, orjson.dumps(json))


def replaced(content: Content, members: Mapping[str, Any]) -> Content:
    """Replace or add top-level members; ``None`` takes one away.

    Every other member keeps its place and its bytes.
    """
    raws = _members.decode(content.text)
    json = dict(content.json)
    for name, value in members.items():
        if value is None:
            raws.pop(name, None)
            json.pop(name, None)
        else:
            raws[name] = msgspec.Raw(orjson.dumps(value))
            json[name] = value
    return Content(content.type, json, _written.encode(raws))


def stamped(content: Content, id: str, version: int, instant: int) -> bytes:
    """Write the text to store: the client's, with id, versionId and lastUpdated of ours.

    Parameters
    ----------
    instant
        Microseconds since 1970 UTC.

    Examples
    --------
    >>> sent = read(b'{"resourceType": "Basic", "created": "2026"}')
    >>> stamped(sent, "b1", 1, 0).decode().split("meta")[0]
    '{"resourceType": "Basic","id":"b1","'
    >>> stamped(sent, "b1", 1, 0).decode().split("meta")[1]
    '":{"versionId":"1","lastUpdated":"1970-01-01T00:00:00.000Z"}, "created": "2026"}'
    """
    if "id" in content.json or "meta" in content.json:
        return _restamped(content, id, version, instant)
    opening = _OPENING.match(content.text)
    if opening is None:
        raise ValueError("not the text of a resource")
    ours = b'"id":"%b","meta":%b' % (id.encode(), _meta(version, instant))
    ours = b"," + ours if opening[1] else ours + b","
    return content.text[: opening.end()] + ours + content.text[opening.end() :]


def written_instant(instant: int) -> str:
    """Write an instant for the wire: UTC, milliseconds.

    Parameters
    ----------
    instant
        Microseconds since 1970 UTC.

    Examples
    --------
    >>> written_instant(1_795_489_200_123_000)
    '2026-11-24T03:00:00.123Z'
    """
    at = datetime.fromtimestamp(instant // 1_000_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{instant % 1_000_000 // 1000:03}Z"


def _restamped(content: Content, id: str, version: int, instant: int) -> bytes:
    """Stamp a resource whose sender gave it an id or meta: these are replaced where they stand."""
    raws = _members.decode(content.text)
    sent = content.json.get("meta")
    meta = _members.decode(raws["meta"]) if isinstance(sent, dict) else {}
    for name in ("_versionId", "_lastUpdated"):
        meta.pop(name, None)
    stamp = _members.decode(_meta(version, instant))
    raw_meta = msgspec.Raw(_written.encode(_updated(meta, stamp)))
    raw_id = msgspec.Raw(b'"%b"' % id.encode())
    return _written.encode(_updated(raws, {"id": raw_id, "meta": raw_meta}))


def _updated(members: Members, ours: Members) -> Members:
    """Put our members where the sender had them, else at the front, behind the resourceType."""
    front = {name: raw for name, raw in ours.items() if name not in members}
    if next(iter(members), None) == "resourceType":
        front = {"resourceType": members["resourceType"], **front}
    return front | members | ours


def _meta(version: int, instant: int) -> bytes:
    return f'{{"versionId":"{version}","lastUpdated":"{written_instant(instant)}"}}'.encode()


def _quotes(text: bytes) -> int:
    """Count the quotation marks that open or close a string.

    A parse keeps every string of its text but those of members overwritten by a later member of
    the same name. So a text and the text of its parse differ in this number exactly when a name
    occurs twice in one object, and no member need be looked at.
    """
    if b"\\" not in text or b'\\"' not in text:
        return text.count(b'"')
    alone = text.replace(rb"\\", b"")
    return alone.count(b'"') - alone.count(rb"\"")


def _twice(raw: bytes) -> str:
    """Name a member that is there twice, in a text known to have one."""
    found: list[str] = []

    def seen(pairs: list[tuple[str, Any]]) -> None:
        names = Counter(name for name, _ in pairs)
        if len(names) < len(pairs):
            found.append(names.most_common(1)[0][0])

    standard_json.loads(raw, object_pairs_hook=seen)
    return found[0]


def _has_long_number(raw: bytes) -> bool:
    return _TOO_LONG in _STRING.sub(b'""', raw).translate(_NUMBERS)


def _depth(json: Any) -> int:
    """Count levels; an object without members is one."""
    depth, level = 0, [json]
    while level:
        depth += 1
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    return depth
