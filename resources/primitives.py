"""The primitive datatypes: what a JSON value must look like to be one.

Each check is a callable that answers true for a good value; it may raise TypeError for a value of
another JSON type, which also means no. Patterns are R4's own, save that dates must exist in the
calendar (R4: "Dates SHALL be valid dates") and strings hold no control characters (R4: "Strings
SHALL NOT contain Unicode character points below 32, except for 9, 10 and 13").

References
----------
* FHIR Datatypes, "Primitive Types"; FHIR JSON, "JSON representation of primitive elements"
"""

import re
from collections.abc import Callable
from typing import Any, Final

Check = Callable[[Any], Any]

LONGEST_STRING: Final = 1024 * 1024  # R4: "SHALL NOT exceed 1MB (1024*1024 characters) in size"

_YEAR: Final = "(?!0000)[0-9]{4}"
_LEAP: Final = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
_DAY: Final = (
    f"(?:{_YEAR}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    f"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)|(?!0000){_LEAP})"
)
_MONTH: Final = f"{_YEAR}(?:-(?:0[1-9]|1[0-2]))?"
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE: Final = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
# Where a pattern has two arms, the first is the plain ASCII case: the usual, and the faster.
_TEXT: Final = rf"[ -~]{{1,{LONGEST_STRING}}}|[^\x00-\x08\x0b\x0c\x0e-\x1f]{{1,{LONGEST_STRING}}}"
_SEEN: Final = r"[^\s\x00-\x1f]+"
_BASE64: Final = re.compile(r"[0-9A-Za-z+/]+={0,2}")


def _matches(pattern: str) -> Check:
    return re.compile(pattern).fullmatch


def _is_boolean(value: Any) -> bool:
    return value is True or value is False


def _is_decimal(value: Any) -> bool:
    return value.__class__ is float or value.__class__ is int


def _between(low: int, high: int) -> Check:
    def is_between(value: Any) -> bool:
        return value.__class__ is int and low <= value <= high

    return is_between


def _is_base64(value: Any) -> bool:
    packed = "".join(str.split(value))
    return len(packed) % 4 == 0 and _BASE64.fullmatch(packed) is not None


CHECKS: Final[dict[str, Check]] = {
    "base64Binary": _is_base64,
    "boolean":      _is_boolean,
    "canonical":    _matches(f"[!-~]+|{_SEEN}"),
    "code":         _matches(rf"[!-~]+|{_SEEN}(?:\s{_SEEN})*"),
    "date":         _matches(f"{_DAY}|{_MONTH}"),
    "dateTime":     _matches(f"{_DAY}(?:T{_TIME}{_ZONE})?|{_MONTH}"),
    "decimal":      _is_decimal,
    "id":           _matches(r"[A-Za-z0-9\-.]{1,64}"),
    "instant":      _matches(f"{_DAY}T{_TIME}{_ZONE}"),
    "integer":      _between(-(2**31), 2**31 - 1),
    "markdown":     _matches(_TEXT),
    "oid":          _matches(r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+"),
    "positiveInt":  _between(1, 2**31 - 1),
    "string":       _matches(_TEXT),
    "time":         _matches(_TIME),
    "unsignedInt":  _between(0, 2**31 - 1),
    "uri":          _matches(f"[!-~]+|{_SEEN}"),
    "url":          _matches(f"[!-~]+|{_SEEN}"),
    "uuid":         _matches("urn:uuid:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"),
}  # fmt: skip
"""By datatype; ``xhtml`` is the narrative's own affair, see `resources.narrative`."""

JSON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "boolean": (bool,),
    "decimal": (int, float),
    "integer": (int,),
    "positiveInt": (int,),
    "unsignedInt": (int,),
}
"""The JSON types of those that are not strings."""


def is_of_json_type(value: Any, datatype: str) -> bool:
    """Tell whether a value has the JSON type of the datatype, be its content good or not."""
    return value.__class__ in JSON_TYPES.get(datatype, (str,))
