"""WADO-RS: retrieve instances, metadata, frames and bulk data.

Instances leave byte for byte as they are stored, unless another transfer syntax is asked for. All
files are looked up before the first byte is sent and the length is stated, so that a study is
complete or visibly not (no success is ever partial). Of what is transcoded on its way, the length
cannot be stated: if that fails after the first instance, the connection breaks off.

References
----------
* PS3.18 Section 10.4 (Retrieve Transaction), 8.6.1.2 and 8.7.3 (payloads and media types)
* PS3.18 Annex F (DICOM JSON Model)
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Final

from starlette.responses import Response

from dicom_bridge import bulk, frames, layouts, retrieval
from dicom_bridge.dicomweb import accept, payload, ranges, transcoded
from dicom_bridge.dicomweb.accept import Chosen
from dicom_bridge.dicomweb.exchange import Call
from dicom_bridge.dicomweb.problems import NotAcceptable
from dicom_bridge.frames import Layout, Run
from dicom_bridge.holdings import Held, Metadata
from dicom_bridge.mapping import dicom_json
from fhir_server.access.gate import Permit
from resources.errors import Invalid, NotFound, Unsupported

MOST_FRAMES: Final = 1000
AT_HAND: Final = 32 << 20
"""Octets of frames that are read before they are sent; more are sent as they are read."""
REMEMBERED: Final = 256
"""Blobs whose layout is kept at hand."""
PIXEL_PLACES: Final = frozenset(f"{tag:08X}" for tag in frames.PIXEL_DATA)


async def instances(call: Call) -> Response:
    """Answer a study, a series or an instance."""
    return await answer(call, await call.retrieved(), call.acceptable())


async def answer(
    call: Call, found: retrieval.Retrieved, wanted: list[accept.MediaRange]
) -> Response:
    """Answer instances in what of them is wanted.

    Raises
    ------
    NotAcceptable
        They cannot be had so.
    """
    syntaxes = frozenset(one.transfer_syntax for one in found.instances)
    chosen = accept.choose_instances(wanted, syntaxes)
    if chosen is None or (not chosen.multipart and len(found.instances) > 1):
        raise NotAcceptable("The instances cannot be had in this transfer syntax", "Accept")
    if chosen.syntax:
        return await transcoded.instances(call, found, chosen)
    blobs = [(one.blob, one.length) for one in found.instances]
    paths = await call.web.bridge.blobs.paths(blobs, found.permit)
    pieces = [_whole(call, *each) for each in zip(found.instances, paths, strict=True)]
    if chosen.multipart:
        return payload.related(pieces, accept.DICOM)
    held = found.instances[0]
    return _single(call, pieces[0], f"{held.blob}.{held.dataset_offset}")


async def metadata(call: Call) -> Response:
    """Answer the metadata of a study, a series or an instance as DICOM JSON."""
    if not accept.wants(call.acceptable(), accept.DICOM_JSON, "application/json"):
        raise NotAcceptable("Metadata is application/dicom+json", "Accept")
    uids = call.uids
    call.handed_over = True
    rows, permit = await retrieval.metadata(
        call.web.bridge,
        call.context,
        uids["StudyInstanceUID"],
        uids.get("SeriesInstanceUID"),
        uids.get("SOPInstanceUID"),
    )
    texts = [row.json or await made(call, row, permit) for row in rows]
    study = f"{call.web.base_url}/studies/{uids['StudyInstanceUID']}"
    body = b",".join(
        [
            json.replace(RELATIVE, f'"BulkDataURI":"{study}/bulk/{row.sop_uid}/'.encode())
            for json, row in zip(texts, rows, strict=True)
        ]
    )
    return Response(b"[" + body + b"]", headers=payload.PRIVATE, media_type=accept.DICOM_JSON)


async def frame_list(call: Call) -> Response:
    """Answer frames of an instance, in the order asked for."""
    numbers = _numbers(call.request.path_params["frames"])
    found = await call.retrieved()
    held = found.instances[0]
    chosen = accept.choose_frames(call.acceptable(), held.transfer_syntax)
    if chosen is None or (not chosen.multipart and len(numbers) > 1):
        raise NotAcceptable("The frames cannot be had in this transfer syntax", "Accept")
    if chosen.syntax:
        return await transcoded.frame_list(call, found, chosen, numbers)
    return await _frame_answer(call, found, chosen, numbers)


async def bulk_data(call: Call) -> Response:
    """Answer one bulk data value that the metadata refers to."""
    place = call.request.path_params["place"]
    if bulk.PLACE.fullmatch(place) is None:
        raise NotFound("There is no such bulk data")
    found = await call.retrieved()
    held = found.instances[0]
    is_pixels = place in PIXEL_PLACES
    if is_pixels and held.transfer_syntax in accept.FRAME_TYPES:
        chosen = Chosen(accept.FRAME_TYPES[held.transfer_syntax], multipart=True)
        return await _frame_answer(call, found, chosen, range(1, max(held.frames, 1) + 1))
    path = await call.web.bridge.blobs.path(held.blob, found.permit, held.length)
    wrapped = any(one.type in {accept.RELATED, "*/*"} for one in call.acceptable())
    where = str(call.request.url.path)
    loop = asyncio.get_running_loop()
    if is_pixels and held.transfer_syntax != accept.DEFLATED:
        run = await loop.run_in_executor(None, _pixel_run, path, held)
        piece = payload.Piece(accept.OCTETS, where, path, *run)
        if wrapped:
            return payload.related([piece], accept.OCTETS)
        return _single(call, piece, f"{held.blob}.{place}")
    value = await loop.run_in_executor(None, _value, path, held, place)
    if wrapped:
        return payload.related_bytes([(accept.OCTETS, where, value)])

    async def read(start: int, length: int) -> AsyncIterator[payload.Octets]:
        yield value[start : start + length]

    tag = f"{held.blob}.{place}"
    return ranges.answer(call.request.headers, tag, accept.OCTETS, len(value), read)


def _single(call: Call, piece: payload.Piece, tag: str) -> Response:
    """Answer one run of a file by itself, or parts of it."""

    def read(start: int, length: int) -> AsyncIterator[payload.Octets]:
        return retrieval.stream(piece.path, piece.start + start, length)

    return ranges.answer(call.request.headers, tag, piece.type, piece.length, read)


RELATIVE: Final = b'"BulkDataURI":"bulk/'
"""How stored DICOM JSON refers to bulk data; it cannot occur within a value."""

_layouts: OrderedDict[tuple[str, int], Layout] = OrderedDict()


def _whole(call: Call, held: Held, path: Path) -> payload.Piece:
    type = f"{accept.DICOM}; transfer-syntax={held.transfer_syntax}"
    return payload.Piece(type, call.location(held), path, 0, held.length)


async def _frame_answer(
    call: Call, found: retrieval.Retrieved, chosen: Chosen, numbers: Sequence[int]
) -> Response:
    held = found.instances[0]
    path = await call.web.bridge.blobs.path(held.blob, found.permit, held.length)
    loop = asyncio.get_running_loop()
    syntax = held.transfer_syntax
    if chosen.type == accept.OCTETS and syntax in accept.NATIVE:
        syntax = accept.EXPLICIT_LITTLE
    type, where = f"{chosen.type}; transfer-syntax={syntax}", call.location(held)
    taken: Sequence[payload.Octets]
    if held.transfer_syntax == accept.DEFLATED:
        taken = await loop.run_in_executor(None, _inflated_frames, path, held, numbers)
    elif (layout := await _laid_out(held, path)).bits:
        taken = await loop.run_in_executor(None, partial(_bit_frames, path, layout, numbers))
    else:
        runs = [frames.runs(layout, number) for number in numbers]
        if chosen.multipart and sum(run.length for each in runs for run in each) > AT_HAND:
            pieces = [
                payload.Piece(type, f"{where}/frames/{number}", path, *run)
                for number, each in zip(numbers, runs, strict=True)
                for run in each
            ]
            return payload.related(pieces, chosen.type)
        taken = await _taken(path, runs)
    if not chosen.multipart:
        return payload.Pieces(taken[:1], len(taken[0]), type)
    parts = [
        (type, f"{where}/frames/{number}", content)
        for number, content in zip(numbers, taken, strict=True)
    ]
    return payload.related_bytes(parts)


async def _laid_out(held: Held, path: Path) -> Layout:
    key = (held.blob, held.dataset_offset)
    where = _layouts.get(key) or layouts.unpacked(held.layout, held.blob, held.length)
    if where is None:
        where = await asyncio.get_running_loop().run_in_executor(None, _layout, path, held)
        _layouts[key] = where
        if len(_layouts) > REMEMBERED:
            _layouts.popitem(last=False)
    return where


async def _taken(path: Path, runs: Sequence[Sequence[Run]]) -> Sequence[payload.Octets]:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return [await _frame(file, each) for each in runs]
    finally:
        os.close(file)


async def _frame(file: int, runs: Sequence[Run]) -> payload.Octets:
    taken = [await retrieval.take(file, *run) for run in runs]
    return taken[0] if len(taken) == 1 else b"".join(taken)


def _layout(path: Path, held: Held) -> Layout:
    with path.open("rb") as stream:
        return frames.layout(stream, held.dataset_offset, held.transfer_syntax)


def _pixel_run(path: Path, held: Held) -> Run:
    with path.open("rb") as stream:
        return frames.pixel_run(stream, held.dataset_offset, held.transfer_syntax)


def _value(path: Path, held: Held, place: str) -> bytes:
    with path.open("rb") as stream:
        if held.transfer_syntax != accept.DEFLATED:
            return bulk.value(stream, held.dataset_offset, held.transfer_syntax, place)
        plain = frames.inflated(stream, held.dataset_offset)
    if place in PIXEL_PLACES:
        run = frames.pixel_run(plain, held.dataset_offset, held.transfer_syntax)
        return plain.getvalue()[run.start : run.start + run.length]
    return bulk.value(plain, held.dataset_offset, held.transfer_syntax, place)


def _bit_frames(path: Path, where: Layout, numbers: Sequence[int]) -> list[bytes]:
    with path.open("rb") as stream:
        return [frames.frame(stream, where, number) for number in numbers]


def _inflated_frames(path: Path, held: Held, numbers: Sequence[int]) -> list[bytes]:
    with path.open("rb") as stream:
        plain: BytesIO = frames.inflated(stream, held.dataset_offset)
    where = frames.layout(plain, held.dataset_offset, held.transfer_syntax)
    return [frames.frame(plain, where, number) for number in numbers]


def _numbers(text: str) -> list[int]:
    items = text.split(",")
    if len(items) > MOST_FRAMES or not all(
        i.isascii() and i.isdigit() and len(i) < 9 for i in items
    ):
        raise Invalid(f"A frame list has up to {MOST_FRAMES} numbers with commas between", "frames")
    numbers = [int(item) for item in items]
    if min(numbers) < 1:
        raise NotFound("Frames are numbered from 1", "frames")
    if len(set(numbers)) < len(numbers):
        raise Invalid("A frame is named once in a frame list", "frames")
    return numbers


async def made(call: Call, row: Metadata, permit: Permit) -> bytes:
    """Make the DICOM JSON of an instance that settling has not come to yet."""
    path = await call.web.bridge.blobs.path(row.blob, permit)
    stored = dicom_json.Stored(row.sop_uid, path, row.dataset_offset, row.transfer_syntax)
    try:
        return await asyncio.get_running_loop().run_in_executor(
            call.web.bridge.executor, dicom_json.data_set_json, stored
        )
    except Exception as error:  # whatever a parser makes of hostile bytes, which are kept
        raise Unsupported("An instance cannot be read as a data set") from error
