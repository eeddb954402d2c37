"""DICOMweb: a path for each transaction of the route table.

DICOM PS3.18 Sections 10.4 (WADO-RS), 10.5 (STOW-RS), 10.6 (QIDO-RS).
"""

import re
from typing import Any, Final

from dicom_bridge.dicomweb.problems import PROBLEM_JSON
from dicom_bridge.dicomweb.router import ROOT, TRANSACTIONS
from openapi.document import Json, answers, body, framed, in_path, in_query

DICOM_JSON: Final = "application/dicom+json"
MULTIPART: Final = "multipart/related"
UID: Final[Json] = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)*$", "maxLength": 64}
DATASET: Final[Json] = {"type": "object", "propertyNames": {"pattern": "^[0-9A-F]{8}$"}}
DATASETS: Final[Json] = {"type": "array", "items": DATASET}
BYTES: Final[Json] = {"type": "string", "contentMediaType": "application/octet-stream"}
PROBLEM: Final[Json] = {
    "type": "object",
    "properties": {"status": {"type": "integer"}, "detail": {"type": "string"}},
    "required": ["status"],
}
COUNT: Final[Json] = {"type": "integer", "minimum": 0}

PLACES: Final[dict[str, Json]] = {
    "study": UID,
    "series": UID,
    "instance": UID,
    "frames": {"type": "string", "pattern": "^[0-9]+(,[0-9]+)*$"},
    "tag": {"type": "string"},
    "place": {"type": "string"},
    "workitem": UID,
    "aetitle": {"type": "string", "maxLength": 16},
}
QIDO: Final = (
    in_query("limit", COUNT, "Most results"),
    in_query("offset", COUNT, "Results to pass over"),
    in_query("includefield", {"type": "string"}, "Attributes, or all"),
    in_query("fuzzymatching", {"enum": ["true", "false"]}, "Match names loosely"),
    in_query("PatientID", {"type": "string"}, "One of many attributes to match"),
    in_query("StudyDate", {"type": "string"}, "A date or a range of dates"),
)

WADO_URI: Final = (
    in_query("requestType", {"const": "WADO"}, "WADO"),
    in_query("studyUID", UID, "The study"),
    in_query("seriesUID", UID, "The series"),
    in_query("objectUID", UID, "The instance"),
    in_query("contentType", {"type": "string"}, "Media types, as in Accept"),
    in_query("transferSyntax", UID, "Of an object that is asked for as application/dicom"),
    in_query("frameNumber", {"type": "integer", "minimum": 1}, "The frame that is shown"),
    in_query("rows", {"type": "integer", "minimum": 1}, "Most rows of a picture"),
    in_query("columns", {"type": "integer", "minimum": 1}, "Most columns of a picture"),
    in_query("region", {"type": "string"}, "xmin,ymin,xmax,ymax in fractions of the image"),
    in_query("windowCenter", {"type": "number"}, "Centre of the window"),
    in_query("windowWidth", {"type": "number"}, "Width of the window"),
    in_query("imageQuality", {"type": "integer", "minimum": 1, "maximum": 100}, "Of a JPEG"),
    in_query("presentationSeriesUID", UID, "Series of the presentation state"),
    in_query("presentationUID", UID, "The presentation state to be applied"),
)
RENDERED: Final = (
    in_query("accept", {"type": "string"}, "Media types, in place of the header"),
    in_query("quality", {"type": "integer", "minimum": 1, "maximum": 100}, "Of a JPEG"),
    in_query("window", {"type": "string"}, "centre,width or centre,width,function"),
    in_query("viewport", {"type": "string"}, "width,height or width,height,x,y,columns,rows"),
)

KINDS: Final[dict[str, tuple[str, Json, dict[str, str]]]] = {
    "QIDO-RS": (DICOM_JSON, DATASETS, {"200": "Found", "204": "Nothing found"}),
    "STOW-RS": (DICOM_JSON, DATASET, {"200": "Stored", "202": "Stored with warnings or in part"}),
    "UPS-RS": (
        DICOM_JSON,
        DATASETS,
        {"200": "Done", "201": "Made", "202": "Accepted", "204": "Nothing found"},
    ),
    "WADO-RS": (MULTIPART, BYTES, {"200": "The objects"}),
}
"""Transaction -> media type, schema and statuses of what it answers."""


def document() -> Json:
    """Write the document."""
    paths: dict[str, Json] = {}
    for row in TRANSACTIONS:
        there = re.findall(r"{(\w+)}", row.address)
        known = paths.setdefault(row.address, {})
        if there:
            known["parameters"] = [in_path(name, PLACES[name]) for name in there]
        known[row.method.lower()] = _transaction(row.method, row.address, row.interaction)
    return framed(
        "Isocentre: DICOMweb",
        "Search, retrieve and store imaging objects; the same token and rules as the record.",
        ROOT,
        paths,
    )


def _transaction(method: str, address: str, name: str) -> Json:
    media, schema, statuses = KINDS[name]
    if address.endswith("/metadata"):
        media, schema = DICOM_JSON, DATASETS
    shown = address.endswith(("/rendered", "/thumbnail"))
    if shown:
        media = "image/jpeg"
    written: dict[str, Any] = {
        "operationId": f"{method.lower()} {name} {address}",
        "summary": name,
        "responses": answers(media, schema, statuses, (PROBLEM_JSON, PROBLEM)),
    }
    if name == "QIDO-RS":
        written["parameters"] = list(QIDO)
    if shown or address == "/wado":
        written["parameters"] = list(RENDERED if shown else WADO_URI)
    if name == "UPS-RS" and method in ("POST", "PUT"):
        written["requestBody"] = body(DICOM_JSON, DATASETS)
    if name == "STOW-RS":
        written["requestBody"] = body(MULTIPART, BYTES)
        content = written["requestBody"]["content"]
        content |= {"application/dicom": {"schema": BYTES}, DICOM_JSON: {"schema": DATASETS}}
    return written
