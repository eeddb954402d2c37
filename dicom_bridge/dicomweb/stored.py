"""What STOW-RS answers: the Store Instances Response Module.

References
----------
* PS3.18 Annex I (Store Instances Response Module) and Section 10.5.3 (Response)
"""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
from starlette.responses import Response

from dicom_bridge import failures
from dicom_bridge.dicomweb import accept
from dicom_bridge.instance import Instance

ATTRIBUTE: Final[dict[str, tuple[str, str]]] = {
    "RetrieveURL":              ("00081190", "UR"),
    "FailedSOPSequence":        ("00081198", "SQ"),
    "ReferencedSOPSequence":    ("00081199", "SQ"),
    "OtherFailuresSequence":    ("0008119A", "SQ"),
    "ReferencedSOPClassUID":    ("00081150", "UI"),
    "ReferencedSOPInstanceUID": ("00081155", "UI"),
    "FailureReason":            ("00081197", "US"),
}  # fmt: skip
"""PS3.18 Table I.1-1 and PS3.3 Table 10-11: tag and VR."""

RETRY_AFTER_SECONDS: Final = "5"
"""What a sender is asked to wait when there was no room."""


class Named(NamedTuple):
    """What an instance says it is; empty where it could not be read."""

    sop_class: str = ""
    sop_uid: str = ""


@dataclass(slots=True)
class Report:
    """What became of the instances of one request."""

    stored: list[Instance] = field(default_factory=list)
    failed: list[tuple[Named, int]] = field(default_factory=list)

    @property
    def studies(self) -> list[str]:
        """The studies that instances were stored in."""
        return sorted({one.study_uid for one in self.stored})

    @property
    def status(self) -> int:
        """PS3.18 Table 10.5.3-1: all stored, some, none for want of room, none."""
        if not self.failed:
            return 200
        if self.stored:
            return 202
        return 503 if {reason for _, reason in self.failed} == {failures.OUT_OF_RESOURCES} else 409


def answer(base: str, report: Report, study_uid: str | None) -> Response:
    """Answer a store request.

    Parameters
    ----------
    base
        The public address of DICOMweb.
    study_uid
        The study that the request named.
    """
    module: dict[str, Any] = {}
    studies = [study_uid] if study_uid else report.studies
    if len(studies) == 1:
        _put(module, "RetrieveURL", f"{base}/studies/{studies[0]}")
    for keyword, failures_of in _told(report.failed):
        _put(module, keyword, *(_failed(named, reason) for named, reason in failures_of))
    if report.stored:
        _put(module, "ReferencedSOPSequence", *(_stored(base, one) for one in report.stored))
    headers = {"Cache-Control": "no-store"}
    if report.status == 503:
        headers["Retry-After"] = RETRY_AFTER_SECONDS
    content = orjson.dumps(module, option=orjson.OPT_SORT_KEYS)
    return Response(content, report.status, headers, media_type=accept.DICOM_JSON)


def _stored(base: str, one: Instance) -> dict[str, Any]:
    item = _reference(Named(one.sop_class, one.sop_uid))
    path = f"studies/{one.study_uid}/series/{one.series_uid}/instances/{one.sop_uid}"
    _put(item, "RetrieveURL", f"{base}/{path}")
    return item


Failures = list[tuple[Named, int]]


def _told(failed: Failures) -> list[tuple[str, Failures]]:
    """Share failures out: what could not even be read is of no SOP Instance that has a name."""
    known = [each for each in failed if any(each[0])]
    other = [each for each in failed if not any(each[0])]
    both = (("FailedSOPSequence", known), ("OtherFailuresSequence", other))
    return [(keyword, some) for keyword, some in both if some]


def _failed(named: Named, reason: int) -> dict[str, Any]:
    item = _reference(named)
    _put(item, "FailureReason", reason)
    return item


def _reference(named: Named) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if named.sop_class:
        _put(item, "ReferencedSOPClassUID", named.sop_class)
    if named.sop_uid:
        _put(item, "ReferencedSOPInstanceUID", named.sop_uid)
    return item


def _put(ds: dict[str, Any], keyword: str, *values: Any) -> None:
    tag, vr = ATTRIBUTE[keyword]
    ds[tag] = {"vr": vr, "Value": list(values)}
