"""STOW-RS: store instances.

The payload is read as it comes: each part goes to disk while it is hashed, and is taken in by
`ingest.receive` like an instance of any other origin. Metadata with bulk data beside it is made
into instances first (`metadata`). When the request ends, the studies it touched are settled, so
that whoever reads the answer can read the ImagingStudy.

References
----------
* PS3.18 Section 10.5 (Store Transaction)
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from dicom_bridge import failures, ingest
from dicom_bridge.dicomweb import accept, metadata, multipart, stored
from dicom_bridge.dicomweb.accept import MediaRange
from dicom_bridge.dicomweb.exchange import Call
from dicom_bridge.dicomweb.metadata import Pieces
from dicom_bridge.dicomweb.multipart import Begin, End
from dicom_bridge.dicomweb.problems import NotAcceptable, UnsupportedMedia
from dicom_bridge.dicomweb.stored import Named, Report
from dicom_bridge.spool import Spool
from fhir_server.access import gate
from resources.errors import Conflict, Invalid, Refusal, TooLarge, Unsupported

AT_ONCE: Final = 8
"""Instances of one request that are taken in while the next ones are read."""

NAMELESS: Final = Named()


@dataclass(slots=True)
class Part:
    """One instance on its way in."""

    spool: Spool
    refusal: Refusal | None = None
    """What is wrong with it already."""
    name: Named = NAMELESS
    """What it says it is, where there is no file that could."""

    def write(self, chunk: bytes) -> None:
        """Write on, unless it is known to be of no use."""
        if self.refusal is None:
            try:
                self.spool.write(chunk)
            except Refusal as refusal:
                self.refusal = refusal

    def refused(self) -> Refusal | None:
        """Why it cannot be an instance, now that it is complete."""
        if self.refusal is None:
            try:
                self.spool.require_whole()
            except Refusal as refusal:
                return refusal
        return self.refusal

    @property
    def named(self) -> Named:
        """What the file meta information says it is."""
        meta = self.spool.meta
        return Named(meta.sop_class, meta.sop_uid) if meta else self.name


async def store(call: Call) -> Response:
    """Answer a POST to ``/studies`` or ``/studies/{study}``."""
    if not accept.wants(call.acceptable(), accept.DICOM_JSON, "application/json"):
        raise NotAcceptable("The answer is application/dicom+json", "Accept")
    media = _payload_type(call.request.headers.get("content-type", ""))
    if call.request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMedia("The payload may not be compressed", "Content-Encoding")
    study_uid = call.uids.get("StudyInstanceUID")
    gate.reach(call.context, "c", "ImagingStudy")
    intake = _Intake(call, study_uid)
    try:
        if accept.DICOM_JSON in {media.type, media.part}:
            await _read_pieces(call, media, intake)
        elif media.type == accept.RELATED:
            await _read_parts(call, media, intake)
        else:
            await _read_one(call, intake)
    finally:
        report = await intake.done()
    if not report.stored and not report.failed:
        raise Invalid("The payload has no instance")
    return stored.answer(call.web.base_url, report, study_uid)


class _Intake:
    """Takes parts in while the next ones are being read, a few at a time."""

    def __init__(self, call: Call, study_uid: str | None) -> None:
        self._call = call
        self._study_uid = study_uid
        self._report = Report()
        self._under_way: deque[asyncio.Task[None]] = deque()

    @property
    def stored(self) -> bool:
        return bool(self._report.stored)

    async def begin(self, part: Part) -> None:
        """Take a complete part in; waits when too many are under way.

        What is nothing is refused here, many of them at no cost.
        """
        if (refusal := part.refused()) is not None:
            self.fail(part.named, refusal)
            part.spool.discard()
            return
        self._under_way.append(asyncio.create_task(self._take_in(part)))
        while len(self._under_way) > AT_ONCE:
            await self._under_way.popleft()

    def fail(self, named: Named, refusal: Refusal) -> None:
        """Note what could not be stored."""
        self._report.failed.append((named, failures.failure_reason(refusal)))

    async def drain(self) -> None:
        """Wait for all that is under way; a bug in one is raised when all are done."""
        answers = await asyncio.gather(*self._under_way, return_exceptions=True)
        self._under_way.clear()
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def done(self) -> Report:
        """Wait for all, and settle the studies."""
        try:
            await self.drain()
        finally:
            for study in self._report.studies:
                await ingest.settle_quietly(self._call.web.bridge, study)
        return self._report

    async def _take_in(self, part: Part) -> None:
        """Keep and receive one part; a refusal concerns this instance alone."""
        bridge, named = self._call.web.bridge, part.named
        try:
            loop = asyncio.get_running_loop()
            one = await loop.run_in_executor(None, ingest.keep, bridge.blobs, part.spool)
            if self._study_uid not in {None, one.study_uid}:
                raise Conflict("The instance belongs to another study", "StudyInstanceUID")
            await ingest.receive(bridge, one, self._call.context)
        except Refusal as refusal:
            self.fail(named, refusal)
        else:
            self._report.stored.append(one)
        finally:
            part.spool.discard()


async def _read_parts(call: Call, media: MediaRange, intake: _Intake) -> None:
    """Read the parts one after the other; whatever goes wrong, what was stored stays.

    A body that breaks off is refused as a whole only if nothing of it was stored: else the
    sender must hear what is held.
    """
    reader = multipart.Reader(media.parameters.get("boundary", ""))
    part: Part | None = None
    try:
        async for chunk in _body(call):
            for event in reader.feed(chunk):
                if isinstance(event, Begin):
                    part = _begin(call, event)
                elif isinstance(event, End):
                    complete, part = part, None
                    if complete is not None:
                        await intake.begin(complete)
                elif part is not None:
                    part.write(event)
        reader.close()
    except Refusal as refusal:
        await intake.drain()
        if not intake.stored:
            raise
        intake.fail(Named(), refusal)
    finally:
        if part is not None:
            part.spool.discard()


async def _read_pieces(call: Call, media: MediaRange, intake: _Intake) -> None:
    """Read metadata and bulk data, then make of them the instances that they are."""
    blobs = call.web.bridge.blobs
    pieces = Pieces(blobs.spool().path.parent)
    try:
        if media.type == accept.RELATED:
            await _sort_parts(call, media, pieces)
        else:
            pieces.begin(media, "")
            async for chunk in _body(call):
                pieces.write(chunk)
        loop = asyncio.get_running_loop()
        for json in await loop.run_in_executor(None, pieces.objects):
            part = Part(blobs.spool())
            try:
                await loop.run_in_executor(None, pieces.compose, json, part.spool)
            except Refusal as refusal:
                part.refusal = refusal
                part.name = metadata.named(json)
            await intake.begin(part)
    finally:
        pieces.close()


async def _sort_parts(call: Call, media: MediaRange, pieces: Pieces) -> None:
    reader = multipart.Reader(media.parameters.get("boundary", ""))
    async for chunk in _body(call):
        for event in reader.feed(chunk):
            if isinstance(event, Begin):
                kind = event.headers.get("content-type", accept.OCTETS)
                pieces.begin(accept.media_type(kind), event.headers.get("content-location", ""))
            elif isinstance(event, End):
                pieces.end()
            else:
                pieces.write(event)
    reader.close()


async def _read_one(call: Call, intake: _Intake) -> None:
    part = Part(call.web.bridge.blobs.spool())
    try:
        async for chunk in _body(call):
            part.write(chunk)
    except BaseException:
        part.spool.discard()
        raise
    await intake.begin(part)


def _begin(call: Call, event: Begin) -> Part:
    """Make room for a part; the content of one that is not DICOM is passed over."""
    kind = accept.media_type(event.headers.get("content-type", accept.DICOM)).type
    refusal = None if kind == accept.DICOM else Unsupported("A part is not application/dicom")
    return Part(call.web.bridge.blobs.spool(), refusal)


async def _body(call: Call) -> AsyncIterator[bytes]:
    limit = call.web.body_limit
    length = call.request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise TooLarge(f"A request may have {limit} octets")
    received = 0
    async for chunk in call.request.stream():
        received += len(chunk)
        if received > limit:
            raise TooLarge(f"A request may have {limit} octets")
        if chunk:
            yield chunk


def _payload_type(field: str) -> MediaRange:
    """PS3.18 Table 10.5.1-2: the media type of the payload.

    Raises
    ------
    UnsupportedMedia
        Neither application/dicom nor application/dicom+json, alone or in multipart/related.
    """
    try:
        media = accept.media_type(field)
    except Invalid:
        raise UnsupportedMedia("The payload has no media type", "Content-Type") from None
    if not {media.type, media.part} & {accept.DICOM, accept.DICOM_JSON}:
        raise UnsupportedMedia(
            "The payload is application/dicom or application/dicom+json, or parts of them",
            "Content-Type",
        )
    return media
