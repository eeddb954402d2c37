"""References: where an object names instances together with the study that they are of.

A structured report, a key object selection, a presentation state, a segmentation or a structure
set names instances by study and series. Where an instance was re-parented since, the study that is
named is not there any more. What was named is written anew then: an item whose instances are now
of two studies becomes two items.

References
----------
* PS3.3 Table C.17-3 (Hierarchical SOP Instance Reference), C.17.6.2 (Key Object Document),
  C.12.2 (Common Instance Reference), C.11.14 (Presentation State Blending), C.8.8.5 (RT structure
  set, which names the study as a SOP Instance)
"""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

import orjson
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

Pair = tuple[str, str]
"""Study and SOP Instance UID."""
Moved = Mapping[Pair, str]
"""Pair -> the study that the instance is of now. The pair of a study and no instance is that study
itself, as an object of it names it."""

NAMED_BY: Final = {"RTReferencedStudySequence": "ReferencedSOPInstanceUID"}
"""Sequence -> the attribute of its items that names the study; else it is Study Instance UID."""
STUDY: Final = "StudyInstanceUID"
SOP: Final = "ReferencedSOPInstanceUID"
ORIGINAL: Final = "OriginalAttributesSequence"
"""What was, which stays."""

_STUDY: Final = re.compile(rb'"0020000D":\{"Value":\["([0-9.]+)"')
_STUDY_OR_SOP: Final = re.compile(rb'"(?:0020000D|00081155)":\{"Value":\["([0-9.]+)"')
_STRUCTURE_SET: Final = b'"30060012"'
_ORIGINAL: Final = "04000561"


def studies(json: bytes) -> set[str]:
    """Every study that an object may name, itself among them, by its DICOM JSON as we write it.

    Examples
    --------
    >>> studies(b'{"0020000D":{"Value":["1.2"],"vr":"UI"}}')
    {'1.2'}
    """
    if _ORIGINAL.encode() in json:
        json = orjson.dumps({
            tag: element for tag, element in orjson.loads(json).items() if tag != _ORIGINAL
        })  # fmt: skip
    pattern = _STUDY_OR_SOP if _STRUCTURE_SET in json else _STUDY
    return {uid.decode() for uid in pattern.findall(json)}


def pairs(ds: Dataset) -> Iterator[Pair]:
    """The instances that an object names with their study."""
    for keyword, items in _sequences(ds):
        yield from _pairs(keyword, items)


def follow(ds: Dataset, moved: Moved) -> dict[str, DataElement]:
    """Name the study that instances are of now; what is not about them stays octet by octet.

    Returns
    -------
    :
        The elements of the data set that were changed, by keyword, as they were.
    """
    before: dict[str, DataElement] = {}
    uids = {study.encode() for study, _ in moved}
    for tag in list(ds.keys()):
        raw = ds.get_item(tag)
        if isinstance(raw, RawDataElement) and not _says(raw, uids):
            continue
        element = ds[tag]
        if element.VR != "SQ" or not element.keyword or element.keyword == ORIGINAL:
            continue
        if not _is_about(element.keyword, element.value, moved):
            continue
        before[element.keyword] = deepcopy(element)
        element.value = Sequence(_followed(element.keyword, element.value, moved))
    return before


def _sequences(ds: Dataset) -> Iterator[tuple[str, Any]]:
    """The sequences of a data set that have a name, and their items."""
    for tag in list(ds.keys()):
        raw = ds.get_item(tag)
        if isinstance(raw, RawDataElement) and not _is_sequence(raw):
            continue
        element = ds[tag]
        if element.VR == "SQ" and element.keyword and element.keyword != ORIGINAL:
            yield element.keyword, element.value


def _is_sequence(raw: RawDataElement) -> bool:
    return _vr(raw.tag) == "SQ" if raw.VR is None else raw.VR in ("SQ", "UN")


def _says(raw: RawDataElement, uids: set[bytes]) -> bool:
    return _is_sequence(raw) and any(uid in (raw.value or b"") for uid in uids)


def _vr(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _pairs(keyword: str, items: Any) -> Iterator[Pair]:
    for item in items:
        if study := _study(keyword, item):
            yield from ((study, sop) for sop in _instances(item))
        else:
            for inner, below in _sequences(item):
                yield from _pairs(inner, below)


def _study(keyword: str, item: Dataset) -> str:
    return str(item.get(NAMED_BY.get(keyword, STUDY)) or "")


def _instances(item: Dataset) -> Iterator[str]:
    """The instances that an item names below itself."""
    for _, below in _sequences(item):
        for one in below:
            if SOP in one:
                yield str(one[SOP].value)
            yield from _instances(one)


def _is_about(keyword: str, items: Any, moved: Moved) -> bool:
    for item in items:
        study = _study(keyword, item)
        if not study:
            if any(_is_about(inner, below, moved) for inner, below in _sequences(item)):
                return True
            continue
        named = set(_instances(item)) or {""}
        if any((study, sop) in moved for sop in named):
            return True
    return False


def _followed(keyword: str, items: Any, moved: Moved) -> Iterator[Dataset]:
    for item in items:
        study = _study(keyword, item)
        if not study:
            for inner, below in _sequences(item):
                if _is_about(inner, below, moved):
                    setattr(item, inner, Sequence(_followed(inner, below, moved)))
            yield item
            continue
        now = {sop: moved.get((study, sop), study) for sop in set(_instances(item)) or {""}}
        for there in sorted(set(now.values())):
            part = item if len(set(now.values())) == 1 else _only(item, now, there)
            setattr(part, NAMED_BY.get(keyword, STUDY), there)
            yield part


def _only(item: Dataset, now: Mapping[str, str], there: str) -> Dataset:
    """An item with those of its instances alone that are of one study."""
    part = Dataset()
    part.update({tag: deepcopy(item.get_item(tag)) for tag in item.keys()})  # noqa: SIM118
    for keyword, below in list(_sequences(part)):
        kept = []
        for one in below:
            if SOP in one:
                kept += [one] if now.get(str(one[SOP].value)) == there else []
            elif not (named := set(_instances(one))):
                kept.append(one)
            elif any(now[sop] == there for sop in named):
                kept.append(_only(one, now, there))
        setattr(part, keyword, Sequence(kept))
    return part
