"""Rendered resources and thumbnails: what a browser can show without knowing DICOM.

One picture of one instance: all frames of it as a moving GIF, or one frame as JPEG or PNG. Those
of a series or a study come in parts. Their thumbnail is that of the instance in the middle of the
largest series.

References
----------
* PS3.18 Section 10.4.1.1.3 (rendered resources), 10.4.1.1.4 (thumbnails), 8.3.5 (query parameters
  of rendered resources), Table 8.7.4-1 (media types)
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

import orjson
from pydicom.dataset import Dataset
from starlette.responses import Response

from dicom_bridge import retrieval
from dicom_bridge.dicomweb import looks, payload, wado
from dicom_bridge.dicomweb.exchange import Call
from dicom_bridge.dicomweb.looks import Look
from dicom_bridge.dicomweb.problems import NotAcceptable
from dicom_bridge.holdings import Held
from dicom_bridge.pixels import presentation
from dicom_bridge.pixels.tasks import Picture
from dicom_bridge.pixels.wanted import Viewport
from resources.errors import Invalid, NotFound, Unsupported

REFERENCED_SERIES: Final = "00081115"
THUMBNAIL: Final = Viewport(128, 128)
MOST_PICTURES: Final = 200
"""Images of a study or a series that are shown at once."""
MOST_OCTETS: Final = 128 << 20
"""Octets of all their pictures, which are in memory until they are sent."""
PRESENTATION_STATES: Final = "1.2.840.10008.5.1.4.1.1.11."


async def instance(call: Call) -> Response:
    """Answer an instance, or one frame of it, as a picture; a presentation state applied."""
    numbers = looks.numbers(call)
    found = await call.retrieved()
    if found.instances[0].sop_class.startswith(PRESENTATION_STATES):
        return await _presentation_state(call, found, numbers)
    held = _shown(found.instances)
    return await picture(call, found, held, numbers, looks.look(call, moving=_moves(held, numbers)))


async def several(call: Call) -> Response:
    """Answer each image of a study or a series as a picture, in parts (PS3.18 Section 10.4.3).

    All are made before the answer begins: one that cannot be shown is no success.

    Raises
    ------
    NotAcceptable
        There are more than are shown at once.
    """
    looks.require_done(call)
    found = await call.retrieved()
    images = [one for one in found.instances if one.frames]
    if not images:
        raise NotFound("There are no pixels to be shown")
    if len(images) > MOST_PICTURES:
        raise NotAcceptable(f"More than {MOST_PICTURES} images are not shown at once")
    look = looks.look(call, moving=False)
    parts: list[tuple[str, str, payload.Octets]] = []
    for held in images:
        shown = await call.web.bridge.crew.render(await _task(call, found, held, [], look))
        parts.append((look.type, f"{call.location(held)}/rendered", shown.content))
        if sum(len(content) for _, _, content in parts) > MOST_OCTETS:
            raise NotAcceptable("So many images are not shown at once in this size", "viewport")
    return payload.related_bytes(parts)


async def thumbnail(call: Call) -> Response:
    """Answer a small picture of a study, a series, an instance or a frame."""
    numbers = looks.numbers(call)
    found = await call.retrieved()
    held = _shown(found.instances)
    look = looks.look(call, moving=False)
    return await picture(
        call, found, held, numbers, look._replace(viewport=look.viewport or THUMBNAIL)
    )


async def _presentation_state(
    call: Call, found: retrieval.Retrieved, numbers: list[int]
) -> Response:
    """Show the first of the images that a presentation state is of (PS3.18 Section 10.4.1.1.3).

    Raises
    ------
    NotFound
        None of them is in its study.
    """
    state = found.instances[0]
    bridge, context = call.web.bridge, call.context
    (row,), permit = await retrieval.metadata(
        bridge, context, state.study_uid, state.series_uid, state.sop_uid
    )
    json = row.json or await wado.made(call, row, permit)
    uids = await asyncio.to_thread(_images_of, json)
    held = {one.sop_uid: one for one in (
        await retrieval.instances(bridge, context, state.study_uid)
    ).instances}  # fmt: skip
    images = [held[uid] for uid in uids if uid in held]
    if not images:
        raise NotFound("The images of this presentation state are not here")
    look = looks.look(call, moving=_moves(images[0], numbers))
    more = [f"1 of {len(uids)} images is shown"] if len(uids) > 1 else []
    return await picture(call, found, images[0], numbers, look, state, more)


def _images_of(json: bytes) -> list[str]:
    """Read of a presentation state no more than which images it is of."""
    said = {tag: one for tag, one in orjson.loads(json).items() if tag == REFERENCED_SERIES}
    try:
        return presentation.referenced(Dataset.from_json(said, lambda *_: b""))
    except Exception as error:  # whatever a parser makes of hostile values, which are kept
        raise Unsupported("The presentation state cannot be read") from error


def _shown(instances: Sequence[Held]) -> Held:
    """Choose the instance that stands for all: an image, in the middle of the largest series."""
    images = [one for one in instances if one.frames]
    if not images:
        raise NotFound("There are no pixels to be shown")
    (series, _), *_ = Counter(one.series_uid for one in images).most_common(1)
    own = [one for one in images if one.series_uid == series]
    return own[len(own) // 2]


def _moves(held: Held, numbers: list[int]) -> bool:
    return held.frames > 1 and not numbers


async def picture(
    call: Call,
    found: retrieval.Retrieved,
    held: Held,
    numbers: list[int],
    look: Look,
    state: Held | None = None,
    lacking: Sequence[str] = (),
) -> Response:
    """Answer an instance as a picture.

    Parameters
    ----------
    numbers
        The frames; none: all, or the one in the middle.
    state
        The presentation state to be applied.
    lacking
        What is to be warned of, beside what of the presentation state is not shown.
    """
    bridge = call.web.bridge
    if state is not None and look.window is not None:
        raise Invalid("The window is the one of the presentation state", "window")
    task = await _task(call, found, held, numbers, look)
    if state is not None:
        task = task._replace(
            presentation=await bridge.blobs.path(state.blob, found.permit, state.length)
        )
    shown = await bridge.crew.render(task)
    warnings = [*lacking]
    if shown.missing:
        warnings.append(f"Not applied of the presentation state: {', '.join(shown.missing)}")
    headers = dict(payload.PRIVATE)
    if warnings:
        headers["Warning"] = ", ".join(f"299 {call.web.base_url}: {one}" for one in warnings)
    return Response(shown.content, headers=headers, media_type=look.type)


async def _task(
    call: Call, found: retrieval.Retrieved, held: Held, numbers: list[int], look: Look
) -> Picture:
    return Picture(
        await call.web.bridge.blobs.path(held.blob, found.permit, held.length),
        numbers,
        look.type,
        look.quality,
        list(look.window) if look.window else None,
        list(look.viewport) if look.viewport else None,
    )
