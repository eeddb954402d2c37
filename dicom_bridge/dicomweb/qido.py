"""QIDO-RS: search for studies, series and instances.

An answer without results is 204 (No Content), as PS3.18 Section 8.3.4.4.1 demands in the
editions up to 2026b; CP-2473, which would make it 200, is not final.

References
----------
* PS3.18 Sections 10.6 (Search Transaction) and 8.3.4 (Search Query Parameters)
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import orjson
from starlette.responses import Response

from dicom_bridge import query
from dicom_bridge.dicomweb import accept
from dicom_bridge.dicomweb.exchange import Call
from dicom_bridge.dicomweb.problems import NotAcceptable
from dicom_bridge.mapping import attributes
from dicom_bridge.query import Found, Page, Row
from resources.errors import Invalid, TooLarge

MOST_LIMIT: Final = 1000
MOST_OFFSET: Final = 100_000
MOST_PARAMETERS: Final = 100
FLAGS: Final = {
    "emptyvaluematching": "The emptyvaluematching parameter is not supported. "
    "Empty Value Matching has not been performed.",
    "multiplevaluematching": "The multiplevaluematching parameter is not supported. "
    "Multiple Value Matching has not been performed.",
}
"""PS3.18 Sections 8.3.4.5 and 8.3.4.6: what is warned of when one is true."""
PERSON: Final = frozenset({"PatientID", "PatientName", "PatientBirthDate"})
"""By what somebody is looked for; how often in vain is limited (`access.limits`)."""
COUNTED: Final = "count=exact"
"""A preference (RFC 7240): count all results, though only some are returned."""
MORE: Final = "There are additional results that can be requested"

OWN_SERIES: Final = attributes.SERIES - {"StudyInstanceUID"}
OWN_INSTANCE: Final = (attributes.INSTANCE | {"Modality", "SeriesNumber"}) - {"StudyInstanceUID"}


class Parameters(NamedTuple):
    """The query parameters of a search, read."""

    keys: Mapping[str, str]
    """Keyword to value; sequences dotted."""
    page: Page
    warnings: Sequence[str]


async def studies(call: Call) -> Response:
    """Answer ``/studies``."""
    asked = read(call)
    keys, unused = _split(asked.keys, attributes.STUDY)
    found = await query.studies(call.web.bridge, call.context, keys, asked.page)
    return _answer(call, asked, found, b"00100010", unused)


async def series(call: Call) -> Response:
    """Answer ``/studies/{study}/series`` and ``/series``."""
    asked, uids = read(call), call.uids
    own, rest = _part(asked.keys, OWN_SERIES)
    keys, unused = _split(rest, attributes.STUDY)
    found = await query.series(
        call.web.bridge,
        call.context,
        {**keys, **uids},
        own,
        asked.page,
        with_study=not uids,
    )
    return _answer(call, asked, found, b"" if uids else b"00100010", unused)


async def instances(call: Call) -> Response:
    """Answer ``/instances`` below a study or a series, or of all studies."""
    asked, uids = read(call), dict(call.uids)
    own, rest = _part(asked.keys, OWN_INSTANCE)
    if "SeriesInstanceUID" in uids:
        own = {**own, "SeriesInstanceUID": uids.pop("SeriesInstanceUID")}
    keys, unused = _split(rest, attributes.STUDY)
    found = await query.instances(
        call.web.bridge,
        call.context,
        {**keys, **uids},
        own,
        asked.page,
        with_study=not call.uids,
        with_series="SeriesInstanceUID" not in call.uids,
    )
    return _answer(call, asked, found, b"", unused)


def read(call: Call) -> Parameters:
    """Read and check the query parameters.

    Raises
    ------
    Invalid
        A limit, offset or flag that is none.
    NotAcceptable
        The user agent takes neither DICOM JSON nor JSON.
    """
    if not accept.wants(call.acceptable(), accept.DICOM_JSON, "application/json"):
        raise NotAcceptable("The results are application/dicom+json", "Accept")
    pairs = call.request.query_params.multi_items()
    if len(pairs) > MOST_PARAMETERS:
        raise TooLarge(f"More than {MOST_PARAMETERS} query parameters")
    keys: dict[str, str] = {}
    include: list[str] = []
    numbers = {"limit": MOST_LIMIT, "offset": 0}
    fuzzy = False
    warnings: list[str] = []
    unknown: list[str] = []
    for name, value in pairs:
        if "\0" in value:
            raise Invalid("A query parameter contains a NUL character")
        if name in numbers:
            numbers[name] = _number(name, value)
        elif name == "fuzzymatching":
            fuzzy = _flag(name, value)
        elif name in FLAGS:
            warnings += [FLAGS[name]] if _flag(name, value) else []
        elif name == "includefield":
            include += [word for word in map(_keyword, value.split(",")) if word]
        elif name not in {"accept", "charset"}:
            keyword = attributes.keyword_of(name)
            if keyword is None:
                unknown.append(name)
            elif value:
                keys[keyword] = _uid_list(keyword, value)
    if numbers["offset"] > MOST_OFFSET:
        raise Invalid(f"An offset may be {MOST_OFFSET} at most", "offset")
    warnings += _ignored(unknown)
    if PERSON & keys.keys():
        call.web.checker.limits.check_lookup(call.context.principal)
    exact = COUNTED in call.request.headers.get("prefer", "").replace(" ", "").lower().split(",")
    page = Page(min(numbers["limit"], MOST_LIMIT), numbers["offset"], include, fuzzy, exact)
    return Parameters(keys, page, warnings)


def with_url(row: Row, base: str, before: bytes) -> bytes:
    """Put the Retrieve URL into a row, in its place: attributes are in order of their tags.

    `before` is the tag of an attribute that every row has and that comes next. Its name as a
    member cannot occur in a value, where quotes are escaped.
    """
    url = f'"00081190":{{"vr":"UR","Value":["{base}{row.path}"]}},'.encode()
    head, member, tail = row.json.partition(b'"' + before + b'":{')
    return head + url + member + tail


def with_url_sorted(row: Row, base: str, _before: bytes) -> bytes:
    """Put the Retrieve URL into a row that may have any attributes."""
    members = {**orjson.loads(row.json), "00081190": {"vr": "UR", "Value": [base + row.path]}}
    return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)


def _answer(
    call: Call, asked: Parameters, found: Found, before: bytes, unused: Sequence[str]
) -> Response:
    base = call.web.base_url
    warnings = [*asked.warnings, *_ignored(unused), *([MORE] if found.more else [])]
    headers = {"Warning": ", ".join(f"299 {base}: {text}" for text in warnings)}
    headers = {"Cache-Control": "private, no-cache", **(headers if warnings else {})}
    if found.total is not None:
        headers["X-Total-Count"] = str(found.total)
        headers |= {"Preference-Applied": COUNTED} if asked.page.exact else {}
    if not found.rows:
        if PERSON & asked.keys.keys():
            call.web.checker.limits.found_nobody(call.context.principal)
        return Response(status_code=204, headers=headers)
    written = with_url if before and not asked.page.include else with_url_sorted
    rows = b",".join([written(row, base, before) for row in found.rows])
    return Response(b"[" + rows + b"]", headers=headers, media_type=accept.DICOM_JSON)


def _split(keys: Mapping[str, str], level: frozenset[str]) -> tuple[dict[str, str], list[str]]:
    """Take the keys that a level has; name those that nothing is done with."""
    own, rest = _part(keys, level)
    return own, list(rest)


def _part(keys: Mapping[str, str], level: frozenset[str]) -> tuple[dict[str, str], dict[str, str]]:
    own = {name: key for name, key in keys.items() if name.split(".")[0] in level}
    return own, {name: key for name, key in keys.items() if name not in own}


def _ignored(names: Sequence[str]) -> list[str]:
    """Warn of attributes that are not matched; their names may come from anywhere."""
    shown = plain(names)
    return [f"Matching is not supported and was ignored for {' '.join(shown)}"] if shown else []


def plain(names: Sequence[str]) -> list[str]:
    """Write names that came from anywhere so that they may stand in a header; the first of them.

    Examples
    --------
    >>> plain(["NoSuchKey", "x" + chr(10) + "Set-Cookie: a"])
    ['NoSuchKey', 'x?Set?Cookie??a']
    """
    return [re.sub(r"[^0-9A-Za-z.]", "?", name[:64]) for name in names[:20]]


def _number(name: str, value: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", value) is None:
        raise Invalid(f"{name} is a number of results, 0 or more", name)
    return int(value)


def _flag(name: str, value: str) -> bool:
    if value not in {"true", "false"}:
        raise Invalid(f"{name} is true or false", name)
    return value == "true"


def _keyword(attribute: str) -> str:
    word = attribute.strip()
    return word if word == "all" else (attributes.keyword_of(word) or "")


def _uid_list(keyword: str, value: str) -> str:
    """PS3.18 Section 8.3.4.1 separates UIDs by commas, PS3.4 by backslashes."""
    return value.replace(",", "\\") if keyword.endswith("UID") else value
