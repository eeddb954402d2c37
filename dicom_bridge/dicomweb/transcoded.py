"""What is sent in another transfer syntax than it is stored in, made by the crew of `pixels`.

A whole instance is made into a file that has no name by the time it is sent. The first one of a
request is made before the answer begins, so that what cannot be done is refused. What breaks off
after that is no success for the client, and a failure in the ledger.

References
----------
* PS3.18 Sections 8.7.3.5.2 (transfer syntax parameter) and 10.4.3 (Retrieve Transaction, response)
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from starlette.responses import Response, StreamingResponse

from dicom_bridge import retrieval
from dicom_bridge.dicomweb import accept, multipart, payload
from dicom_bridge.dicomweb.accept import Chosen
from dicom_bridge.dicomweb.exchange import Call
from dicom_bridge.holdings import Held
from dicom_bridge.pixels.tasks import Frames, Whole
from dicom_bridge.spool import MOST_META, read_meta
from fhir_server.audit import ledger
from resources.errors import Exhausted, Refusal

_log = logging.getLogger(__name__)

NO_ROOM: Final = "There is no room to transcode the instance"


async def frame_list(
    call: Call, found: retrieval.Retrieved, chosen: Chosen, numbers: Sequence[int]
) -> Response:
    """Answer frames in the transfer syntax that was chosen."""
    bridge, held = call.web.bridge, found.instances[0]
    path = await bridge.blobs.path(held.blob, found.permit, held.length)
    taken = await bridge.crew.frames(Frames(path, held.dataset_offset, numbers, chosen.syntax))
    type = f"{chosen.type}; transfer-syntax={chosen.syntax}"
    if not chosen.multipart:
        return payload.Pieces(taken, len(taken[0]), type)
    where = call.location(held)
    return payload.related_bytes(
        [
            (type, f"{where}/frames/{number}", content)
            for number, content in zip(numbers, taken, strict=True)
        ]
    )


async def instances(call: Call, found: retrieval.Retrieved, chosen: Chosen) -> Response:
    """Answer instances in the transfer syntax that was chosen."""
    first = await _made(call, found, found.instances[0], chosen.syntax)
    if not chosen.multipart:
        length = os.fstat(first.file.fileno()).st_size
        return payload.Pieces(_read(first.file), length, first.type)
    boundary = multipart.new_boundary()

    async def body() -> AsyncIterator[bytes]:
        at = 0
        try:
            for at, held in enumerate(found.instances):
                made = first if not at else await _made(call, found, held, chosen.syntax)
                yield multipart.opening(boundary, made.type, call.location(held), first=not at)
                async for piece in _read(made.file):
                    yield piece
        except Exception as error:
            await _broke_off(call, found, at, error)
            raise
        yield multipart.closing(boundary)

    type = f'{accept.RELATED}; type="{accept.DICOM}"; boundary={boundary}'
    return StreamingResponse(body(), headers={**payload.PRIVATE, "Content-Type": type})


async def _broke_off(call: Call, found: retrieval.Retrieved, at: int, error: Exception) -> None:
    """Keep in the ledger that what was begun is not complete: that it was permitted is there."""
    entry = ledger.entry(
        call.context,
        outcome=ledger.SERIOUS_FAILURE,
        type="ImagingStudy",
        id=found.instances[0].imaging_study,
        patient=found.patient,
        detail=f"{type(error).__name__} after {at} of {len(found.instances)} instances",
    )
    try:
        await call.web.bridge.ledger.append(entry)
    except Refusal:
        _log.error("a broken off answer not audited", extra={"request": call.context.request_id})


class _Made(NamedTuple):
    file: BinaryIO
    type: str


async def _made(call: Call, found: retrieval.Retrieved, held: Held, syntax: str) -> _Made:
    """Make one instance; one that is stored so already is opened as it is."""
    bridge = call.web.bridge
    path = await bridge.blobs.path(held.blob, found.permit, held.length)
    if held.transfer_syntax == syntax:
        return _Made(path.open("rb"), _type(syntax))
    with _passing(bridge.blobs.spool().path) as into:
        await bridge.crew.transcode(Whole(path, held.dataset_offset, syntax, into))
        file = into.open("rb")
    meta = read_meta(file.read(MOST_META))
    file.seek(0)
    return _Made(file, _type(meta.transfer_syntax if meta else syntax))


def _type(syntax: str) -> str:
    return f"{accept.DICOM}; transfer-syntax={syntax}"


@contextlib.contextmanager
def _passing(into: Path) -> Iterator[Path]:
    """Make an empty file that is gone when the block ends, but for whoever has it open."""
    try:
        into.touch(0o640, exist_ok=False)
    except OSError as error:
        raise Exhausted(NO_ROOM) from error
    try:
        yield into
    finally:
        into.unlink(missing_ok=True)


async def _read(file: BinaryIO) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    with file:
        while piece := await loop.run_in_executor(None, partial(file.read, retrieval.CHUNK)):
            yield piece
