"""UPS-RS: workitems made, read, changed, taken, ended and asked to be cancelled.

References
----------
* PS3.18 Sections 11.4 (Create), 11.5 (Retrieve), 11.6 (Update), 11.7 (Change State),
  11.8 (Request Cancellation), 11.9 (Search)
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import generate_uid
from starlette.responses import Response

from dicom_bridge.dicomweb import accept, problems
from dicom_bridge.dicomweb.exchange import Call
from dicom_bridge.dicomweb.problems import NotAcceptable, UnsupportedMedia
from dicom_bridge.dicomweb.qido import PERSON, plain
from dicom_bridge.instance import require_uid
from dicom_bridge.mapping import attributes
from dicom_bridge.mapping.matching import text, vr_of
from dicom_bridge.ups import creating, keeping, performing, reading, statuses
from dicom_bridge.ups.statuses import Refused, Warned
from resources.errors import Invalid, TooLarge

MOST_LIMIT: Final = 1000
MOST_OFFSET: Final = 100_000
MOST_PARAMETERS: Final = 100
DEEPEST: Final = 32
"""Sequences within sequences of a payload."""
MOST_PARTS: Final = 60_000
"""Objects of a payload and commas in it: more than a megabyte of references to instances has. What
is all parts takes seconds to read, in which nobody else is answered."""

PRIVATE: Final = {"Cache-Control": "private, no-cache"}
MORE: Final = "There are additional results that can be requested"
FLAGS: Final = frozenset({"fuzzymatching", "emptyvaluematching", "multiplevaluematching"})
NOT_KEYS: Final = frozenset({"accept", "charset", "includefield", *FLAGS})
UID_NAMES: Final = ("AffectedSOPInstanceUID", "workitem")
TRANSACTION_NAMES: Final = ("transaction-uid", "transaction", "TransactionUID")

_UID: Final = re.compile(r"[0-9.]{1,64}")


async def create(call: Call) -> Response:
    """Answer ``POST /workitems``."""
    ds = await _payload(call)
    said = _in_query(call, UID_NAMES) or text(ds.get("SOPInstanceUID")) or generate_uid(None)
    uid = require_uid(str(said), "SOPInstanceUID")
    call.handed_over = True
    try:
        warned = await creating.create(call.web.bridge, call.context, uid, ds)
    except Refused as refusal:
        return told(call, refusal)
    place = f"{call.web.base_url}/workitems/{uid}"
    headers = {"Location": place, "Content-Location": place, **_warning(call, warned)}
    return Response(status_code=201, headers=headers)


async def retrieve(call: Call) -> Response:
    """Answer ``GET /workitems/{workitem}``."""
    _require_json(call)
    uid = _workitem(call)
    call.handed_over = True
    ds = await reading.retrieve(call.web.bridge, call.context, uid)
    return _written([ds])


async def update(call: Call) -> Response:
    """Answer ``POST /workitems/{workitem}``."""
    ds, uid = await _payload(call), _workitem(call)
    if (transaction_uid := _in_query(call, TRANSACTION_NAMES)) is not None:
        ds.TransactionUID = transaction_uid
    call.handed_over = True
    try:
        warned = await performing.change(call.web.bridge, call.context, uid, ds)
    except Refused as refusal:
        return told(call, refusal)
    return Response(headers=_located(call, uid) | _warning(call, warned))


async def change_state(call: Call) -> Response:
    """Answer ``PUT /workitems/{workitem}/state``."""
    ds, uid = await _payload(call), _workitem(call)
    call.handed_over = True
    try:
        warned = await performing.move(call.web.bridge, call.context, uid, ds)
    except Refused as refusal:
        return told(call, refusal)
    return Response(headers=_located(call, uid) | _warning(call, warned))


async def request_cancellation(call: Call) -> Response:
    """Answer ``POST /workitems/{workitem}/cancelrequest``; accepted is not yet cancelled."""
    ds, uid = await _payload(call, or_nothing=True), _workitem(call)
    call.handed_over = True
    try:
        warned = await performing.cancel(call.web.bridge, call.context, uid, ds)
    except Refused as refusal:
        return told(call, refusal)
    return Response(status_code=202, headers=_located(call, uid) | _warning(call, warned))


async def search(call: Call) -> Response:
    """Answer ``GET /workitems``."""
    _require_json(call)
    pairs = call.request.query_params.multi_items()
    if len(pairs) > MOST_PARAMETERS:
        raise TooLarge(f"More than {MOST_PARAMETERS} query parameters")
    numbers = {"limit": MOST_LIMIT, "offset": 0}
    keys: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in pairs:
        if "\0" in value:
            raise Invalid("A query parameter contains a NUL character")
        if name in numbers:
            numbers[name] = _number(name, value)
        elif name not in NOT_KEYS:
            keyword = attributes.keyword_of(name)
            if keyword is None:
                unknown.append(name)
            elif value:
                keys[keyword] = value
    limits, principal = call.web.checker.limits, call.context.principal
    asks_for_somebody = bool(PERSON & keys.keys())
    if asks_for_somebody:
        limits.check_lookup(principal)
    limit, offset = min(numbers["limit"], MOST_LIMIT), min(numbers["offset"], MOST_OFFSET)
    call.handed_over = True
    found = await reading.search(call.web.bridge, call.context, identifier(keys))
    told = found[offset : offset + limit]
    warnings = [f"The parameter {name} is not supported." for name in plain(unknown)]
    if len(found) > offset + limit:
        warnings.append(MORE)
    headers = _warnings(call, warnings)
    if asks_for_somebody and not found:
        limits.found_nobody(principal)
    if not told:
        return Response(status_code=204, headers={**PRIVATE, **headers})
    return _written(told, headers)


def _workitem(call: Call) -> str:
    return require_uid(call.request.path_params["workitem"], "SOPInstanceUID")


def _in_query(call: Call, names: Iterable[str]) -> str | None:
    """Read a UID that stands in the query: under its name, or alone as the standard writes it."""
    parameters = call.request.query_params
    for name in names:
        if name in parameters:
            return parameters[name].strip()
    alone = [name for name, value in parameters.multi_items() if not value]
    return next((name for name in alone if _UID.fullmatch(name)), None)


async def _payload(call: Call, *, or_nothing: bool = False) -> Dataset:
    """Read one data set of DICOM JSON.

    Raises
    ------
    UnsupportedMedia
        It is something else.
    TooLarge
        It has more octets than are kept of a UPS.
    Invalid
        It is malformed, or is several data sets.
    """
    body = b""
    async for chunk in call.request.stream():
        body += chunk
        if len(body) > keeping.MOST_KEPT:
            raise TooLarge(f"A request may have {keeping.MOST_KEPT} octets")
    if not body and or_nothing:
        return Dataset()
    media = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in (accept.DICOM_JSON, "application/json"):
        raise UnsupportedMedia("The payload is application/dicom+json", "Content-Type")
    return data_set(body)


def data_set(body: bytes) -> Dataset:
    """Read one data set of DICOM JSON (PS3.18 Annex F).

    Raises
    ------
    Invalid
        It is none, or nested deeper than any use is.
    TooLarge
        It has more parts than any use has.
    """
    if body.count(b"{") + body.count(b",") > MOST_PARTS:
        raise TooLarge(f"A workitem may have {MOST_PARTS} parts")
    try:
        json = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Invalid("The payload is no JSON") from None
    if isinstance(json, list) and len(json) == 1:
        json = json[0]
    if not isinstance(json, dict):
        raise Invalid("The payload is one data set")
    _check(json, DEEPEST)
    try:
        with config.disable_value_validation():
            ds = Dataset.from_json(json)
            str(ds.to_json_dict())  # what cannot be written again is not taken
    except Exception:  # pydicom fails in many ways at what is no DICOM JSON
        raise Invalid("The payload is no DICOM JSON") from None
    return ds


def _check(json: dict[str, Any], depth: int) -> None:
    """Look that each attribute is one before pydicom does."""
    if not depth:
        raise Invalid("Sequences are nested too deep")
    for tag, attribute in json.items():
        if re.fullmatch(r"[0-9A-Fa-f]{8}", tag) is None or not isinstance(attribute, dict):
            raise Invalid("An attribute is no attribute of DICOM JSON")
        if "BulkDataURI" in attribute:
            raise Invalid("A workitem has no bulk data")
        values = attribute.get("Value", [])
        if not isinstance(attribute.get("vr"), str) or not isinstance(values, list):
            raise Invalid("An attribute is no attribute of DICOM JSON", str(Tag(tag)))
        if attribute["vr"] == "SQ":
            for item in values:
                if not isinstance(item, dict):
                    raise Invalid("An item of a sequence is no data set", str(Tag(tag)))
                _check(item, depth - 1)
        elif attribute["vr"] != "PN" and any(isinstance(one, dict | list) for one in values):
            raise Invalid("A value is an object", str(Tag(tag)))


def identifier(keys: dict[str, str]) -> Dataset:
    """Make the identifier that C-FIND would be asked with; commas part UIDs."""
    ds = Dataset()
    with config.disable_value_validation():
        for keyword, value in keys.items():
            *sequences, last = keyword.split(".")
            if len(sequences) > DEEPEST:
                raise Invalid("Sequences are nested too deep")
            within = ds
            for sequence in sequences:
                if vr_of(sequence) != "SQ":
                    raise Invalid("Only sequences have attributes", sequence)
                if sequence not in within:
                    setattr(within, sequence, [Dataset()])
                within = within[sequence].value[0]
            vr = vr_of(last)
            if vr == "SQ":
                raise Invalid("A sequence is matched by its attributes", last)
            said = value.replace(",", "\\") if vr == "UI" else value
            try:
                within.add_new(last, vr, said)
            except (ValueError, TypeError, OverflowError):
                raise Invalid("A key has no value of its attribute", last) from None
    return ds


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdecimal() or len(value) > 9:
        raise Invalid(f"{name} is a number", name)
    return int(value)


def _require_json(call: Call) -> None:
    if not accept.wants(call.acceptable(), accept.DICOM_JSON, "application/json"):
        raise NotAcceptable("The results are application/dicom+json", "Accept")


def _written(found: Sequence[Dataset], headers: dict[str, str] | None = None) -> Response:
    with config.disable_value_validation():
        body = b"[" + b",".join(map(keeping.as_json, found)) + b"]"
    return Response(body, headers={**PRIVATE, **(headers or {})}, media_type=accept.DICOM_JSON)


def _located(call: Call, uid: str) -> dict[str, str]:
    return {"Content-Location": f"{call.web.base_url}/workitems/{uid}", **PRIVATE}


def _warning(call: Call, warned: Warned) -> dict[str, str]:
    return _warnings(call, [warned.sentence] if warned is not statuses.SUCCESS else [])


def _warnings(call: Call, sentences: Sequence[str]) -> dict[str, str]:
    if not sentences:
        return {}
    said = ", ".join(f"299 {call.web.base_url}: {one}" for one in sentences)
    return {"Warning": said}


def told(call: Call, refusal: Refused) -> Response:
    """Answer a refusal that the standard has a sentence for; the store has audited it."""
    response = problems.answer(refusal, call.context.request_id)
    response.headers.update(_warnings(call, [f"{refusal.failure.sentence}."]))
    return response
