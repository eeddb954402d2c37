"""WADO-URI: one object, named by the query parameters of one address.

References
----------
* PS3.18 Chapter 9 (URI Service): 9.1.2 (query parameters), 9.4 and 9.5 (retrieve a DICOM or a
  rendered instance), Table 9.1.2-1
"""

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from dicom_bridge import instance, retrieval
from dicom_bridge.dicomweb import accept, looks, rendered, wado
from dicom_bridge.dicomweb.accept import MediaRange
from dicom_bridge.dicomweb.exchange import Call
from dicom_bridge.dicomweb.looks import Look, number
from dicom_bridge.dicomweb.problems import NotAcceptable
from dicom_bridge.holdings import Held
from dicom_bridge.pixels.wanted import FORMATS, MOST_SIDE, Viewport, Window
from resources.errors import Invalid

UIDS: Final = ("studyUID", "seriesUID", "objectUID")
RENDERING: Final = frozenset({
    "annotation", "rows", "columns", "region", "windowCenter", "windowWidth", "imageQuality",
    "frameNumber", "presentationUID", "presentationSeriesUID",
})  # fmt: skip
"""PS3.18 Section 9.1.2.2: not with application/dicom."""
DICOM_ONLY: Final = frozenset({"anonymize", "transferSyntax"})
KNOWN: Final = RENDERING | DICOM_ONLY | {*UIDS, "requestType", "contentType", "charset"}
CHARSETS: Final = frozenset({"utf-8", "us-ascii", "iso-8859-1"})
"""What the text of an answer may be asked for in: there is none but in DICOM objects, which say
their own."""


async def retrieve(call: Call) -> Response:
    """Answer a WADO-URI request.

    Raises
    ------
    Invalid
        A parameter is missing, malformed, or does not go with the others.
    NotAcceptable
        The object cannot be had in the media type or transfer syntax asked for.
    """
    asked = _asked(call)
    study, series, sop = (instance.require_uid(asked[name], name) for name in UIDS)
    call.handed_over = True
    found = await retrieval.instances(call.web.bridge, call.context, study, series, sop)
    held = found.instances[0]
    type = _media_type(asked, held)
    if type == accept.DICOM:
        return await _dicom(call, asked, found)
    if not held.frames:
        raise NotAcceptable("The object has no pixels to be shown", "contentType")
    for name in sorted(DICOM_ONLY & asked.keys()):
        raise Invalid(f"{name} goes with application/dicom only", name)
    look = Look(type, _quality(asked), _window(asked), _viewport(asked))
    state = await _state(call, asked, study)
    return await rendered.picture(call, found, held, _frame(asked), look, state)


async def _dicom(call: Call, asked: Mapping[str, str], found: retrieval.Retrieved) -> Response:
    for name in sorted(RENDERING & asked.keys()):
        raise Invalid(f"{name} does not go with application/dicom", name)
    if "anonymize" in asked:
        raise Invalid("Objects are not de-identified here", "anonymize")
    syntax = asked.get("transferSyntax", "")
    wanted = MediaRange(accept.DICOM, {"transfer-syntax": syntax} if syntax else {})
    return await wado.answer(call, found, [wanted])


def _asked(call: Call) -> dict[str, str]:
    pairs = call.request.query_params.multi_items()
    asked = dict(pairs)
    if len(asked) < len(pairs):
        raise Invalid("A parameter is given twice")
    if asked.get("requestType") != "WADO":
        raise Invalid("requestType is WADO", "requestType")
    for name in UIDS:
        if name not in asked:
            raise Invalid(f"{name} is missing", name)
    for name in sorted(asked.keys() - KNOWN):
        raise Invalid("There is no such parameter", name[:64])
    for one in asked.get("charset", "utf-8").split(","):
        if one.partition(";")[0].strip().lower() not in CHARSETS:
            raise NotAcceptable("The character set is none of those there are", "charset")
    if "annotation" in asked:
        raise Invalid("Nothing is burned into pictures here", "annotation")
    return asked


def _media_type(asked: Mapping[str, str], held: Held) -> str:
    """PS3.18 Section 9.1.2.1.3: the default of one frame is JPEG, of anything else DICOM."""
    if "contentType" not in asked:
        single = held.frames == 1 or "frameNumber" in asked
        return "image/jpeg" if single and held.frames else accept.DICOM
    for one in accept.acceptable(asked["contentType"]):
        for type in (accept.DICOM, *FORMATS):
            if accept.wants([one], type):
                return type
    raise NotAcceptable(f"An object is {accept.DICOM}, {', '.join(FORMATS)}", "contentType")


async def _state(call: Call, asked: Mapping[str, str], study: str) -> Held | None:
    """PS3.18 Section 9.1.2.2.8: both parameters, or none, and then no window."""
    given = [name in asked for name in ("presentationSeriesUID", "presentationUID")]
    if not any(given):
        return None
    if not all(given) or asked.keys() & {"windowCenter", "windowWidth", "region"}:
        raise Invalid(
            "A presentation state has presentationSeriesUID and presentationUID, and says window "
            "and region itself",
            "presentationUID",
        )
    series, sop = (
        instance.require_uid(asked[name], name)
        for name in ("presentationSeriesUID", "presentationUID")
    )
    found = await retrieval.instances(call.web.bridge, call.context, study, series, sop)
    return found.instances[0]


def _frame(asked: Mapping[str, str]) -> list[int]:
    return [_whole(asked, "frameNumber", 99_999_999)] if "frameNumber" in asked else []


def _quality(asked: Mapping[str, str]) -> int:
    return _whole(asked, "imageQuality", 100) if "imageQuality" in asked else looks.QUALITY


def _window(asked: Mapping[str, str]) -> Window | None:
    given = [name in asked for name in ("windowCenter", "windowWidth")]
    if not any(given):
        return None
    if not all(given):
        raise Invalid("A window has windowCenter and windowWidth", "windowCenter")
    width = number(asked["windowWidth"], "windowWidth")
    if width < 1:
        raise Invalid("The width of a window is 1 or more", "windowWidth")
    return Window(number(asked["windowCenter"], "windowCenter"), width)


def _viewport(asked: Mapping[str, str]) -> Viewport | None:
    """PS3.18 Sections 9.1.2.2.2 to 9.1.2.2.4: rows, columns, and a region in fractions."""
    wide, high = (
        _whole(asked, name, MOST_SIDE) if name in asked else None for name in ("columns", "rows")
    )
    if "region" not in asked:
        return Viewport(wide, high) if wide or high else None
    parts = asked["region"].split(",")
    if len(parts) != 4:
        raise Invalid("region is xmin,ymin,xmax,ymax", "region")
    left, top, right, bottom = (number(part, "region") for part in parts)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise Invalid("region is xmin,ymin,xmax,ymax from 0 to 1", "region")
    return Viewport(wide, high, left, top, right - left, bottom - top, relative=True)


def _whole(asked: Mapping[str, str], name: str, most: int) -> int:
    text = asked[name]
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
        raise Invalid(f"{name} is a number from 1 to {most}", name)
    return int(text)
