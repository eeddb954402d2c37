"""DICOM JSON: the rows of a QIDO-RS answer from headers, whole data sets from blobs.

References
----------
* PS3.18 Annex F (DICOM JSON Model); Tables 10.6.3-3 to 10.6.3-5 (attributes of an answer)
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_bridge import bulk, frames, layouts
from dicom_bridge.instance import Pixels, read_data_set
from dicom_bridge.mapping import plain_json, tags
from dicom_bridge.storage import DEFLATED
from resources.errors import Refusal

BULK_BYTES: Final = 1024
"""A binary value larger than this becomes a BulkDataURI."""
MOST_LAYOUT: Final = 1 << 20
"""A layout that takes more octets is found again when it is asked for."""
AVAILABLE: Final = "00083002"
"""Available Transfer Syntax UID: how the frames leave if they are not to be transcoded."""
_log = logging.getLogger(__name__)
_NUMBERS: Final = frozenset({"DS", "IS", "US"})


class Stored(NamedTuple):
    """Where a data set is, for `metadata`."""

    sop_uid: str
    path: Path
    dataset_offset: int
    transfer_syntax: str


def element(keyword: str, value: Any) -> tuple[str, dict[str, Any]]:
    """One attribute as a member of a DICOM JSON object.

    Examples
    --------
    >>> element("PatientName", "Adams^John")
    ('00100010', {'vr': 'PN', 'Value': [{'Alphabetic': 'Adams^John'}]})
    >>> element("NumberOfStudyRelatedInstances", 3)
    ('00201208', {'vr': 'IS', 'Value': [3]})
    """
    tag = f"{tag_for_keyword(keyword) or 0:08X}"
    vr = tags.VR.get(keyword) or _VRS.get(keyword, "LO")
    values = [_value(vr, one) for one in _values(vr, value)]
    return tag, {"vr": vr, "Value": values} if values else {"vr": vr}


def row(
    header: Mapping[str, Any], levels: Iterable[str], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The QIDO-RS attributes of some levels, and counts or the like, in order of tags."""
    wanted = frozenset(levels)
    held = dict(
        element(tag.keyword, header.get(tag.keyword, ""))
        for tag in tags.TAGS
        if tag.qido and tag.level in wanted
        if header.get(tag.keyword) or tag.level != tags.INSTANCE
    )
    held.update(element(keyword, value) for keyword, value in extra.items())
    return dict(sorted(held.items()))


class Made(NamedTuple):
    """What is made of an instance before somebody asks for it."""

    sop_uid: str
    json: bytes
    layout: bytes | None
    """As `layouts` writes it; None for what has no frames that are runs of the blob."""


def metadata(stored: list[Stored]) -> list[Made]:
    """Whole data sets as DICOM JSON, their bulk data left where it is, and where the frames are.

    About a millisecond an instance: run it in another process. What cannot be read is left out;
    whoever asks for it is told then.
    """
    made = []
    for one in stored:
        try:
            ds, pixels = read_data_set(one.path, one.dataset_offset, one.transfer_syntax)
            made.append(Made(one.sop_uid, _json(one, ds, pixels), _layout(one, ds, pixels)))
        except Exception:
            continue
    return made


def data_set_json(stored: Stored) -> bytes:
    """One data set as a DICOM JSON object.

    Bulk data has the BulkDataURI ``bulk/PLACE`` (see `bulk`), relative to the instance, for the one
    who serves it to resolve.
    """
    found = read_data_set(stored.path, stored.dataset_offset, stored.transfer_syntax)
    return _json(stored, *found)


def _json(stored: Stored, ds: Dataset, pixels: Pixels | None) -> bytes:
    held = _members(ds)
    for referring, place in bulk.places(held):
        referring["BulkDataURI"] = f"bulk/{place}"
    held[AVAILABLE] = {"vr": "UI", "Value": [stored.transfer_syntax]}
    if pixels is not None:
        tag = f"{pixels.tag:08X}"
        held[tag] = {"vr": pixels.vr, "BulkDataURI": f"bulk/{tag}"}
    return orjson.dumps(held, option=orjson.OPT_SORT_KEYS)


def _members(ds: Dataset) -> dict[str, Any]:
    """Each element as pydicom writes it; one whose value is none of its VR is left out."""
    held: dict[str, Any] = {}
    plain = plain_json.is_plain(ds)
    with config.strict_reading():
        for tag in ds.keys():  # noqa: SIM118 - iterating a Dataset would convert its elements
            try:
                held[f"{tag:08X}"] = plain_json.written(ds.get_item(tag), plain=plain) or ds[
                    tag
                ].to_json_dict(_bulk_uri, BULK_BYTES)
            except Exception as error:  # whatever a parser makes of hostile values
                _log.info("element %08X is left out: %s", tag, type(error).__name__)
    return held


def _layout(stored: Stored, ds: Dataset, pixels: Pixels | None) -> bytes | None:
    if pixels is None or stored.transfer_syntax in DEFLATED:
        return None
    try:
        with stored.path.open("rb") as stream:
            where = frames.laid_out(stream, ds, pixels.tag, pixels.start, pixels.length)
    except Refusal:  # whoever asks for a frame is told
        return None
    kept = layouts.packed(where, stored.path.name)
    return kept if len(kept) <= MOST_LAYOUT else None


def _bulk_uri(value: DataElement) -> str:
    return f"bulk/{int(value.tag):08X}"


_VRS: Final = {
    "ModalitiesInStudy": "CS",
    "SOPClassesInStudy": "UI",
    "InstanceAvailability": "CS",
    "NumberOfStudyRelatedSeries": "IS",
    "NumberOfStudyRelatedInstances": "IS",
    "NumberOfSeriesRelatedInstances": "IS",
    "CodeValue": "SH",
    "CodingSchemeDesignator": "SH",
    "LocalNamespaceEntityID": "UT",
    "UniversalEntityID": "UT",
    "UniversalEntityIDType": "CS",
    "TypeOfPatientID": "CS",
    "RequestedProcedureID": "SH",
    "ScheduledProcedureStepID": "SH",
    "LongCodeValue": "UC",
    "URNCodeValue": "UR",
}


def _values(vr: str, value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if value in ("", None):
        return []
    if isinstance(value, str) and vr not in ("LT", "ST", "UT"):
        return value.split("\\")
    return [value]


def _value(vr: str, value: Any) -> Any:
    if vr == "PN":
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), str(value).split("="), strict=False)
        return {name: text for name, text in groups if text}
    if vr == "SQ":
        return dict(sorted(element(keyword, inner) for keyword, inner in value.items()))
    if vr in _NUMBERS:
        try:
            return int(value)
        except ValueError:
            return value
    return value
