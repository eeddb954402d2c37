"""What the user agent will take: Accept fields and DICOM media types.

References
----------
* RFC 9110 Section 12.5.1 (Accept) and 8.3.1 (media types)
* PS3.18 Section 8.7.5 (Acceptable Media Types) and 8.3.3.1 (``accept`` query parameter)
* PS3.18 Tables 8.7.3-2 and 8.7.3-5 (media types of instances, metadata and frames)
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from dicom_bridge.pixels import syntaxes
from resources.errors import Invalid

DEFLATED: Final = syntaxes.DEFLATED
EXPLICIT_LITTLE: Final = syntaxes.EXPLICIT_LITTLE
IMPLICIT_LITTLE: Final = syntaxes.IMPLICIT_LITTLE

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
OCTETS: Final = "application/octet-stream"
RELATED: Final = "multipart/related"

# PS3.18 Table 8.7.3-5: media type of a frame by the transfer syntax it is stored in.
FRAME_TYPES: Final[Mapping[str, str]] = {
    "1.2.840.10008.1.2.4.50":  "image/jpeg",
    "1.2.840.10008.1.2.4.51":  "image/jpeg",
    "1.2.840.10008.1.2.4.57":  "image/jpeg",
    "1.2.840.10008.1.2.4.70":  "image/jpeg",
    "1.2.840.10008.1.2.4.80":  "image/jls",
    "1.2.840.10008.1.2.4.81":  "image/jls",
    "1.2.840.10008.1.2.4.90":  "image/jp2",
    "1.2.840.10008.1.2.4.91":  "image/jp2",
    "1.2.840.10008.1.2.4.92":  "image/jpx",
    "1.2.840.10008.1.2.4.93":  "image/jpx",
    "1.2.840.10008.1.2.4.110": "image/jxl",
    "1.2.840.10008.1.2.4.111": "image/jxl",
    "1.2.840.10008.1.2.4.112": "image/jxl",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5":     "image/dicom-rle",
    "1.2.840.10008.1.2.4.100": "video/mpeg2",
    "1.2.840.10008.1.2.4.101": "video/mpeg2",
    "1.2.840.10008.1.2.4.102": "video/mp4",
    "1.2.840.10008.1.2.4.103": "video/mp4",
    "1.2.840.10008.1.2.4.104": "video/mp4",
    "1.2.840.10008.1.2.4.105": "video/mp4",
    "1.2.840.10008.1.2.4.106": "video/mp4",
}  # fmt: skip

# The same table, column "default": what a media type without transfer-syntax means.
DEFAULT_SYNTAX: Final[Mapping[str, str]] = {
    OCTETS:            EXPLICIT_LITTLE,
    "image/jpeg":      "1.2.840.10008.1.2.4.70",
    "image/jls":       "1.2.840.10008.1.2.4.80",
    "image/jp2":       "1.2.840.10008.1.2.4.90",
    "image/jpx":       "1.2.840.10008.1.2.4.92",
    "image/jxl":       "1.2.840.10008.1.2.4.110",
    "image/jphc":      "1.2.840.10008.1.2.4.201",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "video/mpeg2":     "1.2.840.10008.1.2.4.100",
    "video/mp4":       "1.2.840.10008.1.2.4.102",
}  # fmt: skip

NATIVE: Final = frozenset({EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED})
"""Transfer syntaxes whose pixels are little endian octets: as octet-stream they are the same."""


class MediaRange(NamedTuple):
    """One alternative of an Accept field; parameter names are lower case, q is apart."""

    type: str
    parameters: Mapping[str, str]
    quality: float = 1.0

    @property
    def part(self) -> str:
        """The media type of the parts, for multipart/related; else empty."""
        return self.parameters.get("type", "").lower() if self.type == RELATED else ""

    @property
    def syntax(self) -> str:
        """The transfer-syntax parameter; empty if there is none."""
        return self.parameters.get("transfer-syntax", "")


def media_type(text: str) -> MediaRange:
    """Read one media type with its parameters.

    Examples
    --------
    >>> media_type('multipart/related; type="application/dicom"; boundary=x').part
    'application/dicom'
    """
    name, *rest = _split(text, ";")
    kind = name.strip().lower()
    if _MEDIA.fullmatch(kind) is None:
        raise Invalid("A media type is malformed")
    parameters: dict[str, str] = {}
    for item in rest:
        key, equals, value = item.partition("=")
        if equals:
            parameters[key.strip().lower()] = _unquoted(value.strip())
    return MediaRange(kind, parameters, _quality(parameters.pop("q", "1")))


def acceptable(field: str) -> list[MediaRange]:
    """Read an Accept field, best first; an absent or empty one means anything.

    Examples
    --------
    >>> [one.type for one in acceptable("text/html;q=0.5, application/dicom+json")]
    ['application/dicom+json', 'text/html']
    """
    if len(field) > 4096:
        raise Invalid("The Accept field is too long", "Accept")
    ranges = [media_type(item) for item in _split(field, ",") if item.strip()]
    ranges = ranges or [MediaRange("*/*", {})]
    return sorted((one for one in ranges if one.quality > 0), key=lambda one: -one.quality)


def wants(ranges: list[MediaRange], *types: str) -> bool:
    """Whether one of these plain media types is acceptable."""
    return any(
        one.type == "*/*" or one.type in types or _any_subtype(one.type, types) for one in ranges
    )


class Chosen(NamedTuple):
    """The representation picked: media type of the parts, and whether they are wrapped."""

    type: str
    multipart: bool
    syntax: str = ""
    """The transfer syntax to be made; empty: as stored."""


def choose_instances(ranges: list[MediaRange], stored: frozenset[str]) -> Chosen | None:
    """Pick how instances stored in these transfer syntaxes are sent; None: none acceptable.

    A range without transfer-syntax means Explicit VR Little Endian by PS3.18 Table 8.7.3-2; it is
    read as "as stored" here, since the part says which transfer syntax it has, and a study
    refused helps nobody. A transfer syntax that is asked for is made where that loses nothing.
    """
    return _best((one, _instances(one, stored)) for one in ranges)


def choose_frames(ranges: list[MediaRange], stored: str) -> Chosen | None:
    """Pick how frames stored in a transfer syntax are sent; None: none acceptable.

    Here the default of PS3.18 Table 8.7.3-5 holds: octet-stream without transfer-syntax is
    uncompressed pixels.
    """
    return _best((one, _frames(one, stored)) for one in ranges)


def _best(choices: Iterable[tuple[MediaRange, Chosen | None]]) -> Chosen | None:
    """Pick by quality, and among equals what is stored before what is to be made."""
    found = [(one.quality, chosen) for one, chosen in choices if chosen is not None]
    if not found:
        return None
    return max(found, key=lambda each: (each[0], not each[1].syntax))[1]


def _instances(one: MediaRange, stored: frozenset[str]) -> Chosen | None:
    if one.type == "*/*" or one.part == DICOM or (one.type == RELATED and not one.part):
        multipart = True
    elif one.type in {DICOM, "application/*"}:
        multipart = False
    else:
        return None
    if one.syntax in {"", "*"} or stored == {one.syntax}:
        return Chosen(DICOM, multipart)
    if all(syntaxes.convertible(each, one.syntax) for each in stored):
        return Chosen(DICOM, multipart, one.syntax)
    return None


def _frames(one: MediaRange, stored: str) -> Chosen | None:
    wrapped = one.type == RELATED
    kind = one.part if wrapped else one.type
    own = FRAME_TYPES.get(stored, OCTETS)
    asked = one.syntax
    if kind in {"", "*/*"}:
        if asked in {"", "*", stored}:
            return Chosen(own, multipart=True)
        kind, wrapped = FRAME_TYPES.get(asked, OCTETS), True
    if kind in {OCTETS, own}:
        meant = asked or DEFAULT_SYNTAX.get(kind, "")
        native = meant == EXPLICIT_LITTLE and stored in NATIVE
        if meant in {"*", stored} or native:
            return Chosen(kind, wrapped)
    wanted = asked if asked not in {"", "*"} else DEFAULT_SYNTAX.get(kind, "")
    fits = kind in {OCTETS, FRAME_TYPES.get(wanted, OCTETS)} and wanted != IMPLICIT_LITTLE
    return Chosen(kind, wrapped, wanted) if fits and syntaxes.convertible(stored, wanted) else None


_MEDIA: Final = re.compile(r"[a-z0-9!#$&^_.+*-]{1,64}/[a-z0-9!#$&^_.+*-]{1,64}")


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator that does not stand in a quoted string."""
    items, start, quoted, skip = [], 0, False, False
    for at, character in enumerate(text):
        if skip:
            skip = False
        elif quoted and character == "\\":
            skip = True
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            items.append(text[start:at])
            start = at + 1
    items.append(text[start:])
    return items


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _quality(text: str) -> float:
    if re.fullmatch(r"0(\.\d{0,3})?|1(\.0{0,3})?", text) is None:
        raise Invalid("A quality value of the Accept field is malformed", "Accept")
    return float(text)


def _any_subtype(pattern: str, types: tuple[str, ...]) -> bool:
    return pattern.endswith("/*") and any(one.startswith(pattern[:-1]) for one in types)
