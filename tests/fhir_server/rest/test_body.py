import gzip
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from fhir_server.rest import body
from fhir_server.rest.negotiate import UnsupportedMedia
from resources.errors import TooLarge, Unreadable

LIMIT = 1000


class Wire:
    """Gives out the parts of a body, and counts how many were asked for."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)
        self.asked = 0

    async def __call__(self) -> MutableMapping[str, Any]:
        self.asked += 1
        if not self.parts:
            return {"type": "http.disconnect"}
        part = self.parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self.parts)}


@pytest.mark.anyio
async def test_parts_are_joined() -> None:
    assert await body.read({}, Wire(b"{", b"}"), LIMIT) == b"{}"


@pytest.mark.anyio
async def test_a_body_of_exactly_the_limit_is_read() -> None:
    assert len(await body.read({}, Wire(b" " * LIMIT), LIMIT)) == LIMIT


@pytest.mark.anyio
async def test_a_promise_of_too_much_is_refused_before_reading() -> None:
    wire = Wire(b"{}")

    with pytest.raises(TooLarge):
        await body.read({"content-length": str(LIMIT + 1)}, wire, LIMIT)

    assert wire.asked == 0


@pytest.mark.anyio
async def test_octets_are_counted_whatever_was_promised() -> None:
    wire = Wire(*[b" " * 300] * 10)

    with pytest.raises(TooLarge):
        await body.read({"content-length": "2"}, wire, LIMIT)

    assert wire.asked == 4


@pytest.mark.anyio
async def test_an_asker_who_leaves_is_not_answered() -> None:
    with pytest.raises(ClientDisconnect):
        await body.read({}, Wire(), LIMIT)


@pytest.mark.anyio
async def test_gzip_is_inflated() -> None:
    wire = Wire(gzip.compress(b'{"a":1}'))

    assert await body.read({"content-encoding": "gzip"}, wire, LIMIT) == b'{"a":1}'


@pytest.mark.anyio
@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zstd", ""])
async def test_other_codings_are_an_unsupported_media_type(coding: str) -> None:
    with pytest.raises(UnsupportedMedia):
        await body.read({"content-encoding": coding}, Wire(b"{}"), LIMIT)


def test_a_gzip_bomb_is_too_large_however_small_it_is() -> None:
    bomb = gzip.compress(b" " * 100_000_000)
    assert len(bomb) < 100_000

    with pytest.raises(TooLarge):
        body.inflate(bomb, 16 * 1024 * 1024)


def test_a_ratio_that_no_json_has_is_too_large_below_the_limit() -> None:
    with pytest.raises(TooLarge):
        body.inflate(gzip.compress(b" " * 10_000_000), 16 * 1024 * 1024)


NOTHING = gzip.compress(b"{}", mtime=0)
"""The same at every run, as the names of tests have to be."""


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", NOTHING[:-4], NOTHING + b"more", b"\x1f\x8b\x08junk"],
)
def test_broken_gzip_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        body.inflate(raw, LIMIT)
