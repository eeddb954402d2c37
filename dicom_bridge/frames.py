"""Where the frames of an instance lie in its stored bytes, and how to take them out.

Nothing is decoded: a native frame is a run of octets, an encapsulated one the content of its
fragments. The layout of a blob is found once and remembered, since a blob never changes.

References
----------
* PS3.5 Section 8 and Annex A.4 (encapsulated pixel data, Basic Offset Table, fragments)
* PS3.3 Section C.7.6.3 (Image Pixel), C.7.6.6 (Multi-frame), C.7.6.3.1.8 (Extended Offset Table)
* PS3.18 Section 8.7.3 (Bulkdata media types)
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, Final, NamedTuple

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from resources.errors import Exhausted, NotFound, Refusal, Unsupported

KEYWORDS: Final = [
    "SOPInstanceUID",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
]
PIXEL_DATA: Final = {0x7FE00008: 32, 0x7FE00009: 64, 0x7FE00010: 0}
"""Float, Double Float and Pixel Data, with the bits of a sample where the tag fixes them."""
UNDEFINED: Final = 0xFFFFFFFF
"""The length of encapsulated pixel data (PS3.5 Annex A.4)."""
MOST_FRAGMENTS: Final = 1 << 20
INFLATED_BYTES: Final = 1 << 30
INFLATED_RATIO: Final = 100
"""A deflated data set that grows beyond either is refused (a bomb)."""
CUT_OFF: Final = "The pixel data of this instance is cut off"

_ITEM: Final = 0xFFFEE000
_SEQUENCE_END: Final = 0xFFFEE0DD
_LONG_VRS: Final = frozenset({b"OB", b"OW", b"OF", b"OD", b"UN", b"OL", b"OV"})


class Run(NamedTuple):
    """A run of octets in the blob."""

    start: int
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class Even(Sequence[tuple[Run, ...]]):
    """Frames of one size, one behind the other: as many as there may be, they take no room.

    Examples
    --------
    >>> Even(100, 8, 3)[2], len(Even(100, 8, 3))
    ((Run(start=116, length=8),), 3)
    """

    start: int
    size: int
    number: int

    def __len__(self) -> int:
        """How many frames there are."""
        return self.number

    def __getitem__(self, at: Any) -> Any:
        """Where one of them is, counted from 0."""
        if not 0 <= at < self.number:
            raise IndexError(at)
        return (Run(self.start + at * self.size, self.size),)

    def __eq__(self, other: object) -> bool:
        """Whether the other says the same of each frame."""
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        """What equal ones share."""
        return hash(tuple(self))


class Layout(NamedTuple):
    """Where the frames are: one tuple of runs per frame.

    Frames of one bit a pixel may begin within an octet: `bits` is then the size of a frame in
    bits and `frames` holds the one run of them all.
    """

    frames: Sequence[tuple[Run, ...]]
    number: int
    bits: int = 0


def layout(stream: BinaryIO, dataset_offset: int, transfer_syntax: str) -> Layout:
    """Find the frames of a stored instance.

    Parameters
    ----------
    stream
        The Part 10 file; for a deflated transfer syntax, what `inflated` made of it.
    dataset_offset
        Where the data set begins in it, in bytes.

    Raises
    ------
    NotFound
        The instance has no pixel data.
    Unsupported
        Its pixel data is not laid out as its attributes say.
    """
    stream.seek(dataset_offset)
    syntax = UID(transfer_syntax)
    ds = _attributes(stream, syntax)
    element = _element(stream, syntax)
    if element is None:
        raise NotFound("This instance has no pixel data")
    return laid_out(stream, ds, *element)


def laid_out(stream: BinaryIO, ds: Dataset, tag: int, start: int, length: int) -> Layout:
    """Find the frames of pixel data that is known to be there; see `layout`.

    Parameters
    ----------
    ds
        The attributes before the pixel data.
    tag, start, length
        The pixel data element, where its value begins in the stream, and the length it states.
    """
    with as_unreadable():
        number = int(ds.get("NumberOfFrames") or 1)
        if number < 1 or number > 10_000_000:
            raise Unsupported(
                "The number of frames of this instance is not usable", "NumberOfFrames"
            )
        if length == UNDEFINED:
            return Layout(_encapsulated(stream, start, number, ds), number)
        there = max(0, min(length, stream.seek(0, os.SEEK_END) - start))
        return _native(ds, PIXEL_DATA[tag], Run(start, there), number)


def frame(stream: BinaryIO, where: Layout, index: int) -> bytes:
    """Take one frame out; `index` counts from 1.

    Raises
    ------
    NotFound
        There is no such frame.
    """
    if not 1 <= index <= where.number:
        raise NotFound(f"This instance has {where.number} frames", "NumberOfFrames")
    if where.bits:
        return _bit_frame(stream, where, index)
    pieces = []
    for run in where.frames[index - 1]:
        stream.seek(run.start)
        pieces.append(stream.read(run.length))
    return b"".join(pieces)


def runs(where: Layout, index: int) -> Sequence[Run]:
    """Say where a frame is that begins at an octet; `index` counts from 1.

    Raises
    ------
    NotFound
        There is no such frame.
    """
    if not 1 <= index <= where.number:
        raise NotFound(f"This instance has {where.number} frames", "NumberOfFrames")
    return where.frames[index - 1]


def pixel_run(stream: BinaryIO, dataset_offset: int, transfer_syntax: str) -> Run:
    """Find the value of native pixel data.

    Raises
    ------
    NotFound
        The instance has no native pixel data.
    Unsupported
        It is cut off.
    """
    stream.seek(dataset_offset)
    syntax = UID(transfer_syntax)
    _attributes(stream, syntax)
    element = _element(stream, syntax)
    if element is None or element[2] == UNDEFINED:
        raise NotFound("This instance has no native pixel data")
    _, start, length = element
    if start + length > stream.seek(0, os.SEEK_END):
        raise Unsupported(CUT_OFF, "PixelData")
    return Run(start, length)


def inflated(stream: BinaryIO, dataset_offset: int) -> BytesIO:
    """Undo the deflation of a data set (PS3.5 Annex A.5), keeping the file meta information.

    Raises
    ------
    Exhausted
        It grows beyond the limits.
    """
    stream.seek(0)
    head = stream.read(dataset_offset)
    packed = stream.read()
    most = min(INFLATED_BYTES, max(len(packed), 4096) * INFLATED_RATIO)
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = machine.decompress(packed, most)
    except zlib.error as error:
        raise Unsupported("The deflated data set of this instance is broken") from error
    if machine.unconsumed_tail:
        raise Exhausted("The deflated data set of this instance grows beyond the limit")
    return BytesIO(head + plain)


@contextlib.contextmanager
def as_unreadable() -> Iterator[None]:
    """Refuse what cannot be read: objects are kept as they came, whatever their values are.

    Raises
    ------
    Unsupported
        A parser has failed at the values, in whatever way.
    """
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        raise Unsupported("The data set of this instance cannot be read") from error


def _attributes(stream: BinaryIO, syntax: UID) -> Dataset:
    """Read the pixel description; the stream is left at the pixel data element, or at its end."""
    tags: list[BaseTag | int] = [Tag(keyword) for keyword in KEYWORDS]
    with as_unreadable():
        return read_dataset(
            stream,
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=lambda tag, vr, length: tag in PIXEL_DATA,
            specific_tags=tags,
        )


def _element(stream: BinaryIO, syntax: UID) -> tuple[int, int, int] | None:
    """Read the head of the pixel data element: tag, start of its value, length."""
    head = stream.read(12)
    if len(head) < 8:
        return None
    order = "<" if syntax.is_little_endian else ">"
    group, element = struct.unpack_from(order + "HH", head)
    if syntax.is_implicit_VR:
        (length,) = struct.unpack_from(order + "I", head, 4)
        stream.seek(8 - len(head), 1)
    elif head[4:6] in _LONG_VRS and len(head) == 12:
        (length,) = struct.unpack_from(order + "I", head, 8)
    else:
        raise Unsupported("The pixel data of this instance has a VR it cannot have", "PixelData")
    return group << 16 | element, stream.tell(), length


def _native(ds: Dataset, sample_bits: int, value: Run, number: int) -> Layout:
    """Cut native pixel data into frames of equal size (PS3.5 Section 8.1.1)."""
    samples = int(ds.get("SamplesPerPixel") or 1)
    if ds.get("PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    pixels = int(ds.get("Rows") or 0) * int(ds.get("Columns") or 0)
    bits = pixels * samples * (sample_bits or int(ds.get("BitsAllocated") or 0))
    if bits <= 0 or (bits * number + 7) // 8 > value.length:
        raise Unsupported("The pixel data of this instance is shorter than its frames", "PixelData")
    if bits % 8:
        return Layout([(value,)], number, bits)
    size = bits // 8
    return Layout(Even(value.start, size, number), number)


def _encapsulated(
    stream: BinaryIO, start: int, number: int, ds: Dataset
) -> Sequence[tuple[Run, ...]]:
    """Give each frame its fragments (PS3.5 Annex A.4, Tables A.4-1 and A.4-2)."""
    stream.seek(start)
    offsets = _item(stream)
    if offsets is None:
        raise Unsupported("The pixel data of this instance has no offset table", "PixelData")
    origin = offsets.start + offsets.length
    if origin > stream.seek(0, os.SEEK_END):
        raise Unsupported(CUT_OFF, "PixelData")
    stream.seek(offsets.start)
    count = offsets.length // 4
    table: Sequence[int] = struct.unpack(f"<{count}I", stream.read(count * 4))
    stream.seek(origin)
    fragments = []
    while (run := _item(stream)) is not None:
        fragments.append(run)
        if len(fragments) > MOST_FRAGMENTS:
            raise Unsupported("The pixel data of this instance has too many pieces", "PixelData")
        stream.seek(run.start + run.length)
    if "ExtendedOffsetTable" in ds:
        packed = bytes(ds.ExtendedOffsetTable)
        table = struct.unpack(f"<{len(packed) // 8}Q", packed[: len(packed) // 8 * 8])
    return _assign(fragments, [origin + offset + 8 for offset in table], number)


def _assign(fragments: Sequence[Run], starts: Sequence[int], number: int) -> list[tuple[Run, ...]]:
    """Share the fragments out among the frames.

    `starts` is where the first fragment of each frame begins, if a table says so. Without a
    table a single frame owns all fragments, and as many fragments as frames are one each;
    anything else cannot be told apart without decoding.
    """
    if number == 1:
        return [tuple(fragments)]
    if len(starts) != number and len(fragments) == number:
        return [(fragment,) for fragment in fragments]
    first = {fragment.start: at for at, fragment in enumerate(fragments)}
    if len(starts) != number or any(one not in first for one in starts):
        raise Unsupported("The offset table of this instance does not fit its frames", "PixelData")
    begins = [first[one] for one in starts]
    ends = [*begins[1:], len(fragments)]
    return [tuple(fragments[begin:end]) for begin, end in zip(begins, ends, strict=True)]


def _item(stream: BinaryIO) -> Run | None:
    """Read an item's head; None at the end of the sequence."""
    head = stream.read(8)
    if len(head) < 8:
        raise Unsupported(CUT_OFF, "PixelData")
    group, element, length = struct.unpack("<HHI", head)
    tag = group << 16 | element
    if tag == _SEQUENCE_END:
        return None
    if tag != _ITEM or length == UNDEFINED:
        raise Unsupported("The pixel data of this instance is not well encapsulated", "PixelData")
    return Run(stream.tell(), length)


def _bit_frame(stream: BinaryIO, where: Layout, index: int) -> bytes:
    """Take out a frame that may begin within an octet, first pixel in the lowest bit."""
    first = (index - 1) * where.bits
    begin, shift = divmod(first, 8)
    end = (first + where.bits + 7) // 8
    stream.seek(where.frames[0][0].start + begin)
    packed = int.from_bytes(stream.read(end - begin), "little") >> shift
    return (packed & (1 << where.bits) - 1).to_bytes((where.bits + 7) // 8, "little")
