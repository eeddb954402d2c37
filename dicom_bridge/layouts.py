"""Layouts: where the frames of an instance are, found once and kept with its row.

A kept layout names the blob that it is of. An instance that is corrected gets another blob, and
what was kept of the first is then nothing. Numbers are big endian.
"""

import struct
from typing import Final

from dicom_bridge.frames import Even, Layout, Run

HEAD: Final = struct.Struct(">8sBQQ")
"""The first octets of the blob's name, the kind, the number of frames, the bits of one."""
RUN: Final = struct.Struct(">QQ")
COUNT: Final = struct.Struct(">I")
LIKE: Final = 0
"""Frames of one size, one behind the other: the first is enough."""
EACH: Final = 1
"""Each frame's runs, behind their number."""


def packed(where: Layout, blob: str) -> bytes:
    """Write a layout down.

    Parameters
    ----------
    blob
        The name of the blob it is of.
    """
    kind = LIKE if where.bits or _is_regular(where) else EACH
    head = HEAD.pack(_mark(blob), kind, where.number, where.bits)
    if kind == LIKE:
        return head + RUN.pack(*where.frames[0][0])
    pieces = [head]
    for runs in where.frames:
        pieces.append(COUNT.pack(len(runs)))
        pieces += [RUN.pack(*run) for run in runs]
    return b"".join(pieces)


def unpacked(kept: bytes | None, blob: str, length: int) -> Layout | None:
    """Read a layout; None if there is none of this blob.

    Parameters
    ----------
    length
        Octets of the blob: what reaches beyond them (pixels that are cut off) is no layout.
    """
    if not kept or not kept.startswith(_mark(blob)):
        return None
    where = _read(kept)
    return where if _reach(where) <= length else None


def _read(kept: bytes) -> Layout:
    _, kind, number, bits = HEAD.unpack_from(kept)
    at = HEAD.size
    if kind == LIKE:
        start, length = RUN.unpack_from(kept, at)
        if bits:
            return Layout([(Run(start, length),)], number, bits)
        return Layout(Even(start, length, number), number)
    each: list[tuple[Run, ...]] = []
    for _ in range(number):
        (count,) = COUNT.unpack_from(kept, at)
        at += COUNT.size
        each.append(tuple(Run(*RUN.unpack_from(kept, at + i * RUN.size)) for i in range(count)))
        at += count * RUN.size
    return Layout(each, number)


def _reach(where: Layout) -> int:
    """Where the last octet of all frames ends."""
    if where.bits:
        return where.frames[0][0].start + (where.bits * where.number + 7) // 8
    if isinstance(where.frames, Even):
        return where.frames.start + where.frames.size * where.number
    return max((run.start + run.length for runs in where.frames for run in runs), default=0)


def _mark(blob: str) -> bytes:
    return bytes.fromhex(blob[:16])


def _is_regular(where: Layout) -> bool:
    if isinstance(where.frames, Even):
        return True
    first, *others = where.frames
    if len(first) != 1:
        return False
    start, length = first[0]
    return all(
        frame == (Run(start + index * length, length),) for index, frame in enumerate(others, 1)
    )
