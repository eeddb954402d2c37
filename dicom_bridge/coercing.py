"""Coercing: an object as it is given out once identifiers in it were corrected.

What came stays as it came, under its digest. Beside it goes an object that says the corrected
values and, in Original Attributes Sequence, what it said before, who changed it, when and why.
Every element that is not corrected, and everything from the pixels on, is taken over octet by
octet; so whoever retrieves it reads a file like any other, and nothing is computed for them.

References
----------
* PS3.3 Section C.12.1.1.9 (Original Attributes Sequence); PS3.4 Section B.4.1.3 (coercion)
* docs/adr, "An object of a second study is re-parented"
"""

import zlib
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from dicom_bridge import frames, instance, references, storage
from dicom_bridge.blobs import Blobs
from dicom_bridge.instance import PIXELS, Instance
from dicom_bridge.references import Moved
from dicom_bridge.spool import Spool
from resources.errors import NotDicom

CHUNK: Final = 1 << 20
SYSTEM: Final = "ISOCENTRE"
COERCE: Final = "COERCE"
"""PS3.3 Table C.12-1, Reason for the Attribute Modification: made to agree with the order."""
MOST_LO: Final = 64


class Change(NamedTuple):
    """What is corrected in an object: identifiers, and the studies that it names others of."""

    values: Mapping[str, str]
    """Keyword to value; an empty one removes the element."""
    moved: Moved
    source: str
    """Who gave the previous values."""
    instant: int
    """When it is corrected, in microseconds since 1970 UTC."""


def coerced(blobs: Blobs, one: tuple[Path, int, str], change: Change) -> Instance:
    """Keep the corrected object as a blob of its own; computes and waits: call it in a thread.

    Parameters
    ----------
    one
        File of the object as it is, where the data set begins in it, and its transfer syntax.

    Raises
    ------
    NotDicom
        It cannot be read as far as it takes to correct it; it stays as it came.
    Exhausted
        The disk is full.
    """
    place, offset, transfer_syntax = one
    spool = blobs.spool()
    try:
        with place.open("rb") as file:
            spool.write(file.read(offset))
            _write(spool, file, transfer_syntax, change)
        made = instance.read(spool)
        blobs.put(spool)
        return made
    except (ArithmeticError, AttributeError, EOFError, LookupError, TypeError, ValueError) as error:
        raise NotDicom("the data set cannot be corrected") from error
    finally:
        spool.discard()


def _write(spool: Spool, file: BinaryIO, transfer_syntax: str, change: Change) -> None:
    if transfer_syntax in storage.DEFLATED:
        offset = file.tell()
        plain = frames.inflated(file, offset)
        plain.seek(offset)
        head, rest = _head(plain, transfer_syntax, change), plain.read()
        squeezed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = squeezed.compress(head + rest) + squeezed.flush()
        spool.write(data + bytes(len(data) % 2))
        return
    spool.write(_head(file, transfer_syntax, change))
    while piece := file.read(CHUNK):
        spool.write(piece)


def _head(file: BinaryIO, transfer_syntax: str, change: Change) -> bytes:
    """The corrected data set up to its pixels; the file is left where they begin."""
    ds = read_dataset(
        file,
        transfer_syntax in storage.IMPLICIT_VR,
        transfer_syntax not in storage.BIG_ENDIAN,
        stop_when=lambda tag, _vr, _length: tag in PIXELS,
    )
    correct(ds, change)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax in storage.IMPLICIT_VR
    buffer.is_little_endian = transfer_syntax not in storage.BIG_ENDIAN
    write_dataset(buffer, ds)
    return buffer.getvalue()


def correct(ds: Dataset, change: Change) -> None:
    """Set values in a data set, name instances by their studies, and say in it what was there."""
    before = Dataset()
    for keyword, element in references.follow(ds, change.moved).items():
        before[keyword] = element
    for keyword, value in change.values.items():
        if keyword in ds:
            before[keyword] = deepcopy(ds[keyword])
            del ds[keyword]
        else:
            setattr(before, keyword, None)
        if value:
            setattr(ds, keyword, value)
    item = Dataset()
    item.ModifiedAttributesSequence = Sequence([before])
    when = datetime.fromtimestamp(change.instant / 1_000_000, UTC)
    item.AttributeModificationDateTime = f"{when:%Y%m%d%H%M%S.%f}+0000"
    item.ModifyingSystem = SYSTEM
    item.SourceOfPreviousValues = change.source.encode("ascii", "replace").decode()[:MOST_LO]
    item.ReasonForTheAttributeModification = COERCE
    held = list(ds.get("OriginalAttributesSequence") or ())
    ds.OriginalAttributesSequence = Sequence([*held, item])
