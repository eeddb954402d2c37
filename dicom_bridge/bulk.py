"""Bulk data that is no pixels: where metadata says that a value is, and how it is taken out.

An element of the data set itself is named by its tag, ``00420011``; one in a sequence by the way
there, ``54000100.2.54001010``: tag, number of the item from 1, tag.

References
----------
* PS3.18 Section 8.7.3.3 (BulkDataURI), Annex F.2.6; PS3.5 Section 7.5 (nesting of data sets)
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from dicom_bridge.frames import PIXEL_DATA, as_unreadable
from resources.errors import NotFound

PLACE: Final = re.compile(r"[0-9A-F]{8}(\.[1-9][0-9]{0,5}\.[0-9A-F]{8}){0,16}")
NOTHING: Final = "This instance has no such bulk data"


def places(json: Mapping[str, Any], way: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """The elements of a DICOM JSON object that refer to bulk data, and the place of each."""
    for tag, element in json.items():
        if "BulkDataURI" in element:
            yield element, way + tag
        elif element.get("vr") == "SQ":
            for at, item in enumerate(element.get("Value", ()), start=1):
                yield from places(item, f"{way}{tag}.{at}.")


def value(stream: BinaryIO, dataset_offset: int, transfer_syntax: str, place: str) -> bytes:
    """Take the value of a binary element out of a data set.

    A tag alone also finds an element within a sequence, if there is but one.

    Raises
    ------
    NotFound
        There is none at that place.
    Unsupported
        The data set cannot be read.
    """
    stream.seek(dataset_offset)
    syntax = UID(transfer_syntax)
    with as_unreadable():
        ds = read_dataset(
            stream,
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=lambda tag, vr, length: tag in PIXEL_DATA,
        )
        found = _at(ds, place)
    if not isinstance(found, bytes):
        raise NotFound(NOTHING)
    return found


def _at(ds: Dataset, place: str) -> Any:
    *way, last = place.split(".")
    tag = int(last, 16)
    if not way and tag not in ds:
        nested = [element for element in ds.iterall() if element.tag == tag]
        return nested[0].value if len(nested) == 1 else None
    for sequence, number in zip(way[::2], way[1::2], strict=True):
        items = ds[int(sequence, 16)].value if int(sequence, 16) in ds else ()
        if isinstance(items, bytes) or len(items) < int(number):
            return None
        ds = items[int(number) - 1]
    return ds[tag].value if tag in ds else None
