"""Byte ranges of instances and bulk data, as RFC 9110 says."""

import email
import email.policy

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_bridge.dicomweb import ranges
from tests.dicom_bridge.build import an_instance, part10
from tests.dicom_bridge.dicomweb.conftest import Service

pytestmark = pytest.mark.anyio

ALONE = {"Accept": "application/dicom"}
OCTETS = {"Accept": "application/octet-stream"}


def path_of(ds: Dataset) -> str:
    return (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


def parts(answer: httpx.Response) -> list[tuple[str, str, bytes]]:
    """The parts of a multipart answer: Content-Range, Content-Type and octets of each."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.content, policy=email.policy.HTTP)
    found = []
    for part in message.iter_parts():
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        found.append((part["Content-Range"], part["Content-Type"], payload))
    return found


@pytest.mark.standard("RFC 9110 14.1.2")
@pytest.mark.parametrize(
    ("field", "chosen"),
    [
        ("bytes=0-499", [(0, 500)]),
        ("bytes=500-999", [(500, 1000)]),
        ("bytes=-500", [(9500, 10000)]),
        ("bytes=9500-", [(9500, 10000)]),
        ("bytes=0-0,-1", [(0, 1), (9999, 10000)]),
        ("bytes= 0-999, 4500-5499, -1000", [(0, 1000), (4500, 5500), (9000, 10000)]),
        ("bytes=500-700,601-999", [(500, 701), (601, 1000)]),
        ("bytes=0-99999", [(0, 10000)]),
        ("bytes=-99999", [(0, 10000)]),
        ("bytes=10000-", []),
        ("bytes=-0", []),
    ],
)
def test_the_ranges_of_the_rfc(field: str, chosen: list[tuple[int, int]]) -> None:
    assert ranges.spans(field, 10_000) == chosen


@pytest.mark.standard("threats T19")
@pytest.mark.parametrize(
    "field",
    ["", "bytes=", "bytes=a-b", "bytes=-", "bytes=5-2", "lines=1-2", "bytes=0-1;2", "bytes=--1",
     "bytes=" + ",".join(["0-"] * 17), "bytes=0-,0-", "bytes=" + "0" * 600 + "-",
     "bytes=" + ",".join(["0-0"] * 200)],
)  # fmt: skip
def test_what_is_no_range_or_too_much_is_as_if_it_was_not_there(field: str) -> None:
    assert ranges.spans(field, 10_000) is None


@given(st.text("bytes=0123456789-, ", max_size=60), st.integers(0, 50))
def test_whatever_is_asked_for_no_more_is_sent_than_there_is(field: str, length: int) -> None:
    found = ranges.spans("bytes=" + field, length) or []

    assert all(0 <= one.start < one.end <= length for one in found)
    assert sum(one.length for one in found) <= length


@pytest.mark.standard("RFC 9110 14.2")
async def test_a_part_of_an_instance_is_the_octets_of_the_instance(service: Service) -> None:
    ds = an_instance()
    await service.hold(ds)
    client, file = service.client(), part10(ds)

    whole = await client.get(path_of(ds), headers=ALONE)
    one = await client.get(path_of(ds), headers={**ALONE, "Range": "bytes=128-131"})
    rest = await client.get(path_of(ds), headers={**ALONE, "Range": "bytes=132-"})

    assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
    assert (one.status_code, one.content) == (206, b"DICM")
    assert one.headers["content-range"] == f"bytes 128-131/{len(whole.content)}"
    assert one.headers["content-type"] == whole.headers["content-type"]
    assert rest.content == whole.content[132:]
    assert file[128:132] == b"DICM"


@pytest.mark.standard("RFC 9110 14.6")
async def test_several_parts_come_with_what_each_is(service: Service) -> None:
    ds = an_instance(rows=64, columns=64)
    ds.PixelData = bytes(range(256)) * 32
    await service.hold(ds)
    pixels = f"/studies/{ds.StudyInstanceUID}/bulk/{ds.SOPInstanceUID}/7FE00010"

    answer = await service.client().get(
        pixels, headers={**OCTETS, "Range": "bytes=0-15,512-527,-1"}
    )

    assert answer.status_code == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert parts(answer) == [
        ("bytes 0-15/8192", "application/octet-stream", bytes(range(16))),
        ("bytes 512-527/8192", "application/octet-stream", bytes(range(16))),
        ("bytes 8191-8191/8192", "application/octet-stream", b"\xff"),
    ]


@pytest.mark.standard("RFC 9110 13.1.5")
async def test_a_range_is_of_the_representation_that_is_known(service: Service) -> None:
    ds, other = an_instance(), an_instance(pixel=5)
    await service.hold(ds, other)
    client = service.client()
    tag = (await client.get(path_of(ds), headers=ALONE)).headers["etag"]
    another = (await client.get(path_of(other), headers=ALONE)).headers["etag"]

    async def status(field: str) -> int:
        wanted = {**ALONE, "Range": "bytes=0-9", "If-Range": field}
        return (await client.get(path_of(ds), headers=wanted)).status_code

    assert tag != another
    assert await status(tag) == 206
    assert await status(another) == 200
    assert await status(f"W/{tag}") == 200, "a weak tag does not do"
    assert await status("Sat, 14 Mar 2026 10:15:30 GMT") == 200


@pytest.mark.standard("RFC 9110 13.1.2")
async def test_what_is_known_already_is_not_sent_again(service: Service) -> None:
    ds = an_instance()
    await service.hold(ds)
    client = service.client()
    tag = (await client.get(path_of(ds), headers=ALONE)).headers["etag"]

    again = await client.get(path_of(ds), headers={**ALONE, "If-None-Match": f'"x", {tag}'})
    stranger = await service.client("nobody").get(
        path_of(ds), headers={**ALONE, "If-None-Match": tag}
    )

    assert (again.status_code, again.content) == (304, b"")
    assert stranger.status_code == 404, "who may not read is not told that it is known"


@pytest.mark.standard("RFC 9110 15.5.17")
async def test_a_range_behind_the_end_cannot_be_satisfied(service: Service) -> None:
    ds = an_instance()
    await service.hold(ds)
    client = service.client()
    length = len((await client.get(path_of(ds), headers=ALONE)).content)

    answer = await client.get(path_of(ds), headers={**ALONE, "Range": f"bytes={length}-"})

    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{length}"
