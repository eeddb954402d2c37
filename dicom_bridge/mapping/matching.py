"""Attribute matching: whether a value matches a key of a query.

One function for every kind of matching but sequence and universal matching, which are above it.
Values and keys are strings as DICOM writes them.

References
----------
* PS3.4 Section C.2.2.2 (Attribute Matching), K.2.2 (Basic Worklist: the same rules)
* PS3.18 Section 8.3.4.1.1 (the same rules for QIDO-RS)
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from fhir_server.search.string import fold
from resources.errors import Invalid

WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""PS3.4 Section C.2.2.2.4: ``*`` and ``?`` mean something in these; not in dates, UIDs, numbers."""
RANGE_VRS: Final = frozenset({"DA", "TM", "DT"})

MOST_VALUES: Final = 100
"""Values of one key; as many as a search parameter may have."""

NOT_MATCHED: Final = frozenset({"SpecificCharacterSet", "TimezoneOffsetFromUTC"})
"""They say how the query is written; they are never matched (PS3.4 Section C.2.2.2)."""


class Span(NamedTuple):
    """A range of dates or times, both ends included; an empty end is open."""

    low: str
    high: str


def value_matches(vr: str, key: str, values: Sequence[str]) -> bool:
    r"""Tell whether one of the values matches the key.

    An absent or empty value matches nothing but the universal key. Names are compared without
    regard to case, as PS3.4 Section C.2.2.2.1 allows.

    Examples
    --------
    >>> value_matches("PN", "adams^j*", ["Adams^John"]), value_matches("LO", "A?1", ["A01"])
    (True, True)
    >>> value_matches("DA", "20260101-", ["20260314"]), value_matches("UI", r"1.2\1.3", ["1.3"])
    (True, True)
    """
    if not key or (vr in WILDCARD_VRS and not key.strip("*")):
        return True
    present = [value for value in values if value]
    if vr in RANGE_VRS:
        span = span_of(vr, key)
        return any(_within(span, value) for value in present)
    keys = key.split("\\")
    if len(keys) > MOST_VALUES:
        raise Invalid(f"A key has {MOST_VALUES} values at most", vr)
    if vr == "PN":
        return any(_name_matches(one, value) for one in keys for value in present)
    if vr in WILDCARD_VRS:
        return any(is_like(one.strip(), value.strip()) for one in keys for value in present)
    return any(one.strip() == value.strip() for one in keys for value in present)


def name_resembles(key: str, values: Sequence[str]) -> bool:
    """Tell whether every word of the key begins a word of one of the names.

    Case, accents and order do not matter (fuzzy semantic matching, PS3.4 Section C.2.2.2.1.1,
    which leaves the rules to the SCP).

    Examples
    --------
    >>> name_resembles("zoe mull", ["Müller-Lang^Zoë"]), name_resembles("zo x", ["Müller^Zoë"])
    (True, False)
    """
    words = name_words(key)
    return any(
        all(any(one.startswith(word) for one in name_words(value)) for word in words)
        for value in values
        if value
    )


def name_words(name: str) -> list[str]:
    """Take a name apart into folded words; wildcards say nothing where every end is open."""
    return [word for word in _WORDS.split(fold(name)) if word]


def dataset_matches(keys: Dataset, item: Dataset) -> bool:
    """Tell whether a worklist item matches an identifier, sequences included.

    A date and a time that are both given as ranges are one span from moment to moment where
    they belong together (PS3.4 Section C.2.2.2.5.1 and Table K.6-1 for the scheduled start).
    """
    joined = _joined_start(keys)
    if joined is not None and not _start_within(joined, item):
        return False
    for element in keys:
        keyword = element.keyword
        if keyword in NOT_MATCHED or (joined is not None and keyword in _START):
            continue
        if element.VR == "SQ":
            if not _sequence_matches(element.value, item.get(keyword)):
                return False
        elif not value_matches(element.VR, text(element.value), _texts(item, element.tag)):
            return False
    return True


def span_of(vr: str, key: str) -> Span:
    """Read a single value or a range of dates, times or both.

    Raises
    ------
    Invalid
        It is neither.

    Examples
    --------
    >>> span_of("DA", "20260101-20260131")
    Span(low='20260101', high='20260131')
    >>> span_of("TM", "-1030")
    Span(low='', high='103059.999999')
    """
    low, dash, high = key.strip().partition("-")
    if not dash:
        high = low
    pattern = _FORMS[vr]
    low, high = low.strip().replace(":", ""), high.strip().replace(":", "")
    if vr == "DA":
        low, high = low.replace(".", ""), high.replace(".", "")
    if not (low or high) or any(end and not pattern.fullmatch(end) for end in (low, high)):
        raise Invalid("A date or time to be matched is malformed", vr)
    return Span(low and _filled(vr, low, "0"), high and _filled(vr, high, "9"))


def is_like(pattern: str, value: str) -> bool:
    """Tell whether a value is as a pattern says: ``*`` any number of characters, ``?`` any one.

    Examples
    --------
    >>> is_like("a*c?", "abbcd"), is_like("a*c?", "abc")
    (True, False)
    """
    if len(pattern) - pattern.count("*") > len(value):
        return False
    return _compiled(pattern).fullmatch(value) is not None


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern so that no value, however chosen, is tried in more than one way.

    What stands between two asterisks is as long as what it stands for, so that the first place
    where it is found is as good as any later one: it is not looked for again (atomic groups).
    """
    ordered = re.sub(r"[*?]*\*[*?]*", lambda run: "?" * run[0].count("?") + "*", pattern)
    first, *rest = ("".join(map(_character, piece)) for piece in ordered.split("*"))
    if not rest:
        return re.compile(first, re.DOTALL)
    middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    return re.compile(f"{first}{middle}.*{rest[-1]}", re.DOTALL)


def _character(one: str) -> str:
    return "." if one == "?" else re.escape(one)


def text(value: object) -> str:
    """Write an element's value as the key it is."""
    if value is None:
        return ""
    if isinstance(value, MultiValue | list | tuple):
        return "\\".join(str(one) for one in value)
    return str(value)


_WORDS: Final = re.compile(r"[\s^=,.*?\\-]+")
_START: Final = frozenset({"ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"})

_FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    "DA": re.compile(r"\d{8}"),
    "TM": re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"),
    "DT": re.compile(r"\d{4}(\d{2}){0,5}(\.\d{1,6})?"),
}
_EARLIEST: Final = {"DA": "00000000", "TM": "000000.000000", "DT": "00000101000000.000000"}
_LATEST: Final = {"DA": "99999999", "TM": "235959.999999", "DT": "99991231235959.999999"}


def _filled(vr: str, value: str, digit: str) -> str:
    form = _EARLIEST[vr] if digit == "0" else _LATEST[vr]
    return value + form[len(value) :]


def _within(span: Span, value: str) -> bool:
    plain = value.replace(":", "")
    return (not span.low or _padded(plain, span.low) >= span.low) and (
        not span.high or plain <= span.high
    )


def _padded(value: str, like: str) -> str:
    """Write a time as exactly as the bound it is compared with."""
    return value if len(value) >= len(like) else value + "000000.000000"[len(value) :]


def _name_matches(key: str, value: str) -> bool:
    pattern = _name(key)
    return any(is_like(pattern, _name(group)) for group in value.split("="))


def _name(group: str) -> str:
    """Drop the empty components at the end, which say nothing (PS3.5 Section 6.2.1.2)."""
    return "^".join(part.strip() for part in group.split("^")).rstrip("^").casefold()


def _texts(item: Dataset, tag: BaseTag) -> list[str]:
    element = item.get(tag)
    if element is None or element.value is None:
        return []
    value = element.value
    return [str(one) for one in value] if isinstance(value, MultiValue | list) else [str(value)]


def _sequence_matches(keys: Sequence[Dataset] | None, items: Sequence[Dataset] | None) -> bool:
    if not keys or not any(text(element.value) for element in keys[0]):
        return True
    return any(dataset_matches(keys[0], item) for item in items or ())


def _joined_start(keys: Dataset) -> Span | None:
    date = text(keys.get("ScheduledProcedureStepStartDate"))
    time = text(keys.get("ScheduledProcedureStepStartTime"))
    if "-" not in date or "-" not in time:
        return None
    days, times = span_of("DA", date), span_of("TM", time)
    return Span(
        days.low and days.low + (times.low or _EARLIEST["TM"]),
        days.high and days.high + (times.high or _LATEST["TM"]),
    )


def _start_within(span: Span, item: Dataset) -> bool:
    date = text(item.get("ScheduledProcedureStepStartDate"))
    time = text(item.get("ScheduledProcedureStepStartTime"))
    if not date:
        return False
    moment = date + _filled("TM", time or "00", "0")
    return (not span.low or moment >= span.low) and (not span.high or moment <= span.high)


def vr_of(keyword: str) -> str:
    """Give the VR of a standard attribute; the first where the dictionary allows several."""
    return dictionary_VR(keyword).split(" ")[0]
