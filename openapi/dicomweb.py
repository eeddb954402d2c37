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
    written: dict[str, Any] = {
        "operationId": f"{method.lower()} {name} {address}",
        "summary": name,
        "responses": answers(media, schema, statuses, (PROBLEM_JSON, PROBLEM)),
    }
    if name == "QIDO-RS":
        written["parameters"] = list(QIDO)
    if name == "UPS-RS" and method in ("POST", "PUT"):
        written["requestBody"] = body(DICOM_JSON, DATASETS)
    if name == "STOW-RS":
        written["requestBody"] = body('multipart/related; type="application/dicom"', BYTES)
    return written
