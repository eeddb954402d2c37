"""Instance: identity, header and digest of one SOP Instance, read up to its pixels.

Parsing is pure Python, reads no value that `mapping.tags` does not name, and stops at the pixels
or after a limit, whichever comes first. A UID is checked against the grammar of PS3.5 before it
is believed, and is never part of a path.

References
----------
* PS3.5 Section 7 (The Data Set), Section 9.1 (UID encoding rules)
* PS3.3 Section C.12.1 (SOP Common Module)
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, NewType, TypeAlias, cast

from pydicom import charset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from dicom_bridge import plain, storage
from dicom_bridge.deflate import Inflated
from dicom_bridge.mapping import tags
from dicom_bridge.spool import FileMeta, Spool
from resources.errors import Invalid, NotDicom, Unsupported

StudyUid = NewType("StudyUid", str)
SeriesUid = NewType("SeriesUid", str)
SopUid = NewType("SopUid", str)
Header: TypeAlias = Mapping[str, Any]
"""Keyword to its value: text as in the data set (values joined by a backslash, trailing padding
removed), a number for binary VRs, a list of such objects for a sequence."""

UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+")
MOST_UID: Final = 64
MOST_HEADER: Final = 4 << 20
"""Bytes before the pixels that are read for the header; what comes later is kept, not read."""
WANTED: Final[list[BaseTag | int]] = [BaseTag(tag) for tag in tags.HEADER]
PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, Double Float and plain Pixel Data (PS3.3 Section C.7.6.24, C.7.6.25, C.7.6.3)."""


class Pixels(NamedTuple):
    """The pixel data element of a data set: tag and VR, where its value begins, its length.

    Octets are counted in the file; in what a deflated data set becomes, from its beginning.
    """

    tag: int
    vr: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP Instance as it came, durable under `blob`."""

    sop_uid: SopUid
    study_uid: StudyUid
    series_uid: SeriesUid
    sop_class: str
    transfer_syntax: str
    digest: str
    size: int
    dataset_offset: int
    patient_id: str
    issuer: str
    accession: str
    accession_issuer: str
    modality: str
    series_number: int | None
    number: int | None
    frames: int
    header: Header
    was_there: bool = False
    """The blob was kept before, and whole; False: it is as it came now."""


def read(spool: Spool) -> Instance:
    """Read the identity and header of what was spooled.

    Raises
    ------
    NotDicom
        The data set cannot be read, or has no SOP Instance UID.
    Unsupported
        A SOP class or transfer syntax outside our conformance statement.
    Invalid
        A UID that is none, or an identity that is not the one announced.
    Exhausted
        The disk did not take all of it.
    """
    meta = spool.require_whole()
    if meta.transfer_syntax not in storage.TRANSFER_SYNTAXES:
        raise Unsupported("this transfer syntax is not supported", at="TransferSyntaxUID")
    header = _header_of(spool, meta)
    sop_uid = header.get("SOPInstanceUID", "")
    if not sop_uid:
        raise NotDicom("no SOP Instance UID", at="SOPInstanceUID")
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"):
        require_uid(header.get(keyword, ""), keyword)
    _require_agreement(spool.announced, header)
    if header["SOPClassUID"] not in storage.SOP_CLASSES:
        raise Unsupported("this SOP class is not supported", at="SOPClassUID")
    return Instance(
        sop_uid=sop_uid,
        study_uid=header["StudyInstanceUID"],
        series_uid=header["SeriesInstanceUID"],
        sop_class=header["SOPClassUID"],
        transfer_syntax=meta.transfer_syntax,
        digest=spool.digest,
        size=spool.size,
        dataset_offset=meta.offset,
        patient_id=str(header.get("PatientID", "")),
        issuer=str(header.get("IssuerOfPatientID", "")),
        accession=str(header.get("AccessionNumber", "")),
        accession_issuer=_issuer(header.get("IssuerOfAccessionNumberSequence")),
        modality=str(header.get("Modality", "")),
        series_number=_number(header.get("SeriesNumber")),
        number=_number(header.get("InstanceNumber")),
        frames=_frames(header),
        header=header,
    )


def require_uid(uid: Any, keyword: str) -> str:
    """Refuse what is no UID (PS3.5 Section 9.1). Leading zeros in a component are let pass.

    Examples
    --------
    >>> require_uid("1.2.840.10008.1.1", "SOPClassUID")
    '1.2.840.10008.1.1'
    >>> require_uid("../../etc/passwd", "StudyInstanceUID")
    Traceback (most recent call last):
    resources.errors.Invalid: StudyInstanceUID is not a UID
    """
    if not isinstance(uid, str) or len(uid) > MOST_UID or not UID.fullmatch(uid):
        raise Invalid(f"{keyword} is not a UID", at=keyword)
    return uid


def read_data_set(path: Path, offset: int, transfer_syntax: str) -> tuple[Dataset, Pixels | None]:
    """Read a blob's data set up to its pixels, and say what kind of pixels follow."""
    pixels: list[Pixels] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in PIXELS:
            pixels.append(Pixels(int(tag), vr or "OW", source.tell(), length))
        return tag in PIXELS

    with path.open("rb") as file:
        file.seek(offset)
        source = _inflated(file, transfer_syntax)
        ds = read_dataset(
            source,
            transfer_syntax in storage.IMPLICIT_VR,
            transfer_syntax not in storage.BIG_ENDIAN,
            stop_when=at_pixels,
        )
    return ds, pixels[0] if pixels else None


def _header_of(spool: Spool, meta: FileMeta) -> Header:
    """Read the header from what is still in memory, else from the file."""
    is_all = spool.size <= len(spool.beginning)
    found = plain.header(spool.beginning, meta.transfer_syntax, is_all=is_all)
    if found is not None:
        return found
    if meta.transfer_syntax not in storage.DEFLATED:
        try:
            header, is_whole = _parsed(io.BytesIO(spool.beginning), meta.transfer_syntax)
            if is_whole or is_all:
                return header
        except NotDicom:
            if is_all:
                raise
    with spool.path.open("rb") as file:
        file.seek(meta.offset)
        return _parsed(_inflated(file, meta.transfer_syntax), meta.transfer_syntax)[0]


def _parsed(source: BinaryIO, transfer_syntax: str) -> tuple[Header, bool]:
    """Parse up to the pixels; and say whether an element behind the header was seen."""
    start = source.tell()
    ends: list[int] = []

    def at_the_end(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        if tag > plain.LAST_TAG or source.tell() - start > MOST_HEADER:
            ends.append(int(tag))
        return bool(ends)

    try:
        ds = read_dataset(
            source,
            transfer_syntax in storage.IMPLICIT_VR,
            transfer_syntax not in storage.BIG_ENDIAN,
            stop_when=at_the_end,
            specific_tags=WANTED,
        )
        return _header(ds, tags.HEADER.__contains__), bool(ends)
    except (Invalid, NotDicom):
        raise
    except Exception as error:  # whatever a parser makes of hostile bytes
        raise NotDicom("the data set cannot be read") from error


def _inflated(file: BinaryIO, transfer_syntax: str) -> BinaryIO:
    """Undo PS3.5 Section A.5, as far as it is read."""
    return cast(BinaryIO, Inflated(file)) if transfer_syntax in storage.DEFLATED else file


def _header(ds: Dataset, wanted: Any) -> dict[str, Any]:
    encodings = charset.convert_encodings(_charset(ds))
    found: dict[str, Any] = {}
    for tag in ds.keys():  # noqa: SIM118 - iterating a Dataset would convert its elements
        if not wanted(int(tag)):
            continue
        keyword = tags.HEADER.get(int(tag)) or tags.IN_SEQUENCES.get(int(tag), "")
        value = _value(ds, tag, keyword, encodings)
        if value not in ("", None, []):
            found[keyword] = value
    return found


def _charset(ds: Dataset) -> list[str] | str:
    raw = ds.get_item("SpecificCharacterSet") if "SpecificCharacterSet" in ds else None
    value = raw.value if raw is not None else b""
    if isinstance(value, bytes):
        value = plain.character_sets(value)
    return value or ""


def _value(ds: Dataset, tag: BaseTag, keyword: str, encodings: list[str]) -> Any:
    vr = tags.VR.get(keyword, "LO")
    element = ds.get_item(tag)
    if vr == "SQ":
        items = ds[tag].value
        return [
            _header(item, tags.IN_SEQUENCES.__contains__)
            for item in (items if isinstance(items, Sequence) else ())
        ]
    if not isinstance(element, RawDataElement):
        return plain.legible(str(element.value))
    return plain.decoded(
        element.value or b"", keyword, vr, encodings, is_little_endian=element.is_little_endian
    )


def _require_agreement(announced: tuple[str, str] | None, header: Header) -> None:
    """Refuse what is not what a C-STORE request said it was (PS3.4 Section B.2.3, A9xx).

    File meta information that contradicts its data set is common, and the data set counts.
    """
    for said, keyword in zip(announced or (), ("SOPClassUID", "SOPInstanceUID"), strict=False):
        if said != header[keyword]:
            raise Invalid(f"{keyword} is not the one announced", at=keyword)


def _issuer(items: Any) -> str:
    first = items[0] if items else {}
    return str(first.get("LocalNamespaceEntityID") or first.get("UniversalEntityID") or "")


def _number(text: Any) -> int | None:
    """An IS that fits the column; anything else is none (it is kept in the header)."""
    try:
        number = int(str(text).split("\\")[0])
    except ValueError:
        return None
    return number if -(1 << 31) <= number < 1 << 31 else None


def _frames(header: Header) -> int:
    if header["SOPClassUID"].startswith(storage.IMAGELESS):
        return 0
    if not header.get("Rows") and not header.get("NumberOfFrames"):
        return 0
    return max(1, _number(header.get("NumberOfFrames")) or 1)
