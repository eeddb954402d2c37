"""Structured reports and PDFs that came, read as DiagnosticReports.

Only what calls itself a report is one: measurements, dose, CAD and key images are objects of their
study and no more. An object is believed as far as its flags go: complete and verified is final,
anything less is not issued by us.

References
----------
* PS3.3 Sections C.17.2 (SR Document General), C.17.3 (content tree), C.24.2 (Encapsulated Document)
* PS3.16 TID 2000, CID 7000; docs/representation.md, "Reports that arrive"
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from html import escape
from typing import Any, Final, NamedTuple

from pydicom.dataset import Dataset

from dicom_bridge.mapping import convert, matching
from resources import codes, imaging_study
from resources.report import XHTML

TEXTS: Final = (
    "1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR
    "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
    "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
)
PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
CLASSES: Final = (*TEXTS, PDF)

MOST_ITEMS: Final = 5000
MOST_DEPTH: Final = 32
MOST_TEXT: Final = 1 << 20
MOST_DOCUMENT: Final = 8 << 20
"""Octets of a PDF that goes into the report; a larger one stays with its study alone."""
PDF_HEADER: Final = b"%PDF-"
MOST_BEFORE: Final = 1024
"""Octets within which the header of a PDF begins (ISO 32000-1 Annex H, note 13)."""
PDF_TYPES: Final = frozenset({"", "application/pdf"})
UNNAMED: Final = "Not named in the document"
CONCLUSIONS: Final = frozenset({"19005-8", "55110-1", "55112-7", "121072", "121073", "121076",
                                "121077"})  # fmt: skip
"""Headings and elements of CID 7001 and 7002 whose text concludes the report."""


_CONTROL: Final = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no string of FHIR may have (R4, string), nor a narrative (XML 1.0 Section 2.2)."""
_LOINC: Final = re.compile(r"[0-9]{1,7}-[0-9]")


class Item(NamedTuple):
    """A line of a content tree: how deep, the heading or name, its code, and the text."""

    depth: int
    name: str
    code: str
    text: str


class Found(NamedTuple):
    """A report that came: the resource, and the documents that it follows."""

    resource: dict[str, Any]
    predecessors: list[str]
    accession: str


def is_report(ds: Dataset) -> bool:
    """Whether a document calls itself a report: by a LOINC title, or in words."""
    title = _first(ds, "ConceptNameCodeSequence")
    scheme = text(title.get("CodingSchemeDesignator")).strip()
    words = f"{text(title.get('CodeMeaning'))} {text(ds.get('DocumentTitle'))}".lower()
    return scheme == "LN" or (scheme != "DCM" and "report" in words)


def read(ds: Dataset, organization: str) -> Found:
    """Read a document as a report, without subject, study and request.

    Parameters
    ----------
    organization
        Id of the Organization that created it, or that answers for it.
    """
    items = list(_items(ds))
    status = status_of(ds)
    resource: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "identifier": [
            {"system": codes.DICOM_UID, "value": f"urn:oid:{text(ds.get('SOPInstanceUID'))}"}
        ],
        "status": status,
        "category": [codes.RADIOLOGY.concept],
        "code": _code(ds),
        "performer": [{"reference": f"Organization/{organization}"}],
    }
    names = _names(ds) or ([UNNAMED] if status in imaging_study.ISSUED else [])
    if names:
        resource["resultsInterpreter"] = [{"display": name} for name in names]
    if issued := _issued(ds):
        resource["issued"] = issued
    if items:
        resource["text"] = {"status": "additional", "div": _narrative(items)}
        resource["conclusion"] = conclusion(items)
    if form := _form(ds):
        resource["presentedForm"] = [form]
    return Found(resource, list(_predecessors(ds)), _accession(ds))


def status_of(ds: Dataset) -> str:
    """Say what the flags make it (PS3.3 Section C.17.2).

    Examples
    --------
    >>> ds = Dataset()
    >>> ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "VERIFIED"
    >>> status_of(ds)
    'final'
    >>> ds.VerificationFlag = "UNVERIFIED"
    >>> status_of(ds)
    'preliminary'
    """
    flags = {
        keyword: text(ds.get(keyword)).strip()
        for keyword in ("CompletionFlag", "VerificationFlag", "PreliminaryFlag")
    }
    if flags["CompletionFlag"] == "PARTIAL":
        return "partial"
    is_verified = flags["VerificationFlag"] == "VERIFIED"
    return "final" if is_verified and flags["PreliminaryFlag"] != "PRELIMINARY" else "preliminary"


def conclusion(items: list[Item]) -> str:
    """Take the text that concludes a report; all of it where nothing says that it does."""
    chosen: list[str] = []
    within: int | None = None
    for item in items:
        if within is not None and item.depth <= within:
            within = None
        if within is None and item.code in CONCLUSIONS:
            within = item.depth
        if within is not None and item.text:
            chosen.append(item.text)
    return "\n".join(chosen or [_line(item) for item in items])


def is_addendum(found: Found) -> bool:
    """Whether a report that follows another one adds to it, rather than replacing it."""
    return codes.has(found.resource["code"], codes.ADDENDUM_DOCUMENT)


def _items(ds: Dataset) -> Iterator[Item]:
    """Walk a content tree; what we do not show (references, coordinates) is passed over."""
    count = size = 0
    waiting: list[tuple[int, Dataset]] = [(0, one) for one in reversed(_sequence(ds))]
    while waiting:
        depth, item = waiting.pop()
        count += 1
        if count > MOST_ITEMS or depth > MOST_DEPTH:
            raise ValueError("the content tree is too large")
        if text(item.get("RelationshipType")).strip() not in ("HAS CONCEPT MOD", "HAS OBS CONTEXT"):
            name = _first(item, "ConceptNameCodeSequence")
            value, heading = _value(item), text(name.get("CodeMeaning"))
            size += len(value) + len(heading)
            if size > MOST_TEXT:
                raise ValueError("the content tree is too large")
            if value or text(item.get("ValueType")).strip() == "CONTAINER":
                yield Item(depth, heading, text(name.get("CodeValue")), value)
        waiting += [(depth + 1, one) for one in reversed(_sequence(item))]


def _value(item: Dataset) -> str:
    kind = text(item.get("ValueType")).strip()
    if kind == "TEXT":
        return text(item.get("TextValue")).strip()
    if kind == "CODE":
        return text(_first(item, "ConceptCodeSequence").get("CodeMeaning"))
    if kind == "NUM":
        measured = _first(item, "MeasuredValueSequence")
        unit = text(_first(measured, "MeasurementUnitsCodeSequence").get("CodeValue"))
        return f"{text(measured.get('NumericValue'))} {unit}".strip()
    if kind == "PNAME":
        return _spoken(text(item.get("PersonName")))
    return text(item.get({"DATE": "Date", "TIME": "Time", "DATETIME": "DateTime"}.get(kind, "")))


def _narrative(items: list[Item]) -> str:
    shown = [
        f"<h2>{escape(item.name)}</h2>" if not item.text else f"<p>{escape(_line(item))}</p>"
        for item in items
        if item.text or item.name
    ]
    return f'<div xmlns="{XHTML}">{"".join(shown)}</div>'


def text(value: object) -> str:
    """Write an element's value without the characters that no string of FHIR may have."""
    return _CONTROL.sub("", matching.text(value))


def _line(item: Item) -> str:
    return f"{item.name}: {item.text}" if item.name and item.text else item.text or item.name


def _code(ds: Dataset) -> dict[str, Any]:
    title = _first(ds, "ConceptNameCodeSequence")
    words = text(title.get("CodeMeaning")).strip() or text(ds.get("DocumentTitle")).strip()
    value = text(title.get("CodeValue")).strip()
    is_loinc = text(title.get("CodingSchemeDesignator")).strip() == "LN"
    if is_loinc and _LOINC.fullmatch(value):
        coding = {"system": codes.LOINC, "code": value, **({"display": words} if words else {})}
        return {"coding": [coding], **({"text": words} if words else {})}
    return {"coding": [codes.DIAGNOSTIC_IMAGING_REPORT.json], "text": words or "Report"}


def _names(ds: Dataset) -> list[str]:
    """Who verified it, else who wrote it."""
    verified = [
        text(item.get("VerifyingObserverName"))
        for item in ds.get("VerifyingObserverSequence") or ()
    ]
    wrote = [text(item.get("PersonName")) for item in ds.get("AuthorObserverSequence") or ()]
    observed = [
        text(item.get("PersonName"))
        for item in _sequence(ds)
        if text(_first(item, "ConceptNameCodeSequence").get("CodeValue")) == "121008"
    ]
    names = next((one for one in (verified, wrote, observed) if any(one)), [])
    return list(dict.fromkeys(name for name in map(_spoken, names) if name))


def _spoken(name: str) -> str:
    human = convert.as_human_name(name)
    parts = [*human.get("prefix", ()), *human.get("given", ()), human.get("family", "")]
    return " ".join(part for part in parts if part)


def _issued(ds: Dataset) -> str:
    """When it was verified, else when it was written, as an instant; empty if that is not said."""
    offset = text(ds.get("TimezoneOffsetFromUTC"))
    for item in ds.get("VerifyingObserverSequence") or ():
        verified = text(item.get("VerificationDateTime")).partition("&")[0]
        own = verified[-5:] if verified[-5:-4] in ("+", "-") else ""
        digits = verified.removesuffix(own)
        found = convert.as_datetime(digits[:8], digits[8:], own or offset)
        if "T" in found:
            return found
    found = convert.as_datetime(text(ds.get("ContentDate")), text(ds.get("ContentTime")), offset)
    return found if "T" in found else ""


def _form(ds: Dataset) -> dict[str, Any] | None:
    if text(ds.get("SOPClassUID")) != PDF:
        return None
    document = ds.get("EncapsulatedDocument")
    said = text(ds.get("MIMETypeOfEncapsulatedDocument")).strip().lower()
    is_pdf = isinstance(document, bytes) and PDF_HEADER in document[:MOST_BEFORE]
    if not is_pdf or said not in PDF_TYPES:
        raise ValueError("the document is no PDF")
    if len(document) > MOST_DOCUMENT:
        return None
    length = ds.get("EncapsulatedDocumentLength")
    if isinstance(length, int) and 0 < length <= len(document):
        document = document[:length]
    return {
        "contentType": "application/pdf",
        "data": base64.b64encode(document).decode(),
        "size": len(document),
        "hash": base64.b64encode(hashlib.sha1(document, usedforsecurity=False).digest()).decode(),
        "title": text(ds.get("DocumentTitle")).strip() or "Report",
    }


def _predecessors(ds: Dataset) -> Iterator[str]:
    for study in ds.get("PredecessorDocumentsSequence") or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            for one in series.get("ReferencedSOPSequence") or ():
                yield text(one.get("ReferencedSOPInstanceUID"))


def _accession(ds: Dataset) -> str:
    """The accession number that it answers: of the request it names, else its own."""
    named = text(_first(ds, "ReferencedRequestSequence").get("AccessionNumber")).strip()
    return named or text(ds.get("AccessionNumber")).strip()


def _sequence(ds: Dataset) -> list[Dataset]:
    return list(ds.get("ContentSequence") or ())


def _first(ds: Dataset, keyword: str) -> Dataset:
    items = ds.get(keyword) or ()
    return items[0] if items else Dataset()
