"""The reader of multipart bodies: RFC 2046 Section 5.1.1, and what it refuses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_bridge.dicomweb.multipart import Begin, End, Limits, Reader, closing, opening
from resources.errors import Invalid, Refusal, TooLarge

Parts = list[tuple[dict[str, str], bytes]]


def read(chunks: list[bytes], boundary: str = "x", limits: Limits | None = None) -> Parts:
    reader = Reader(boundary, limits)
    parts: Parts = []
    headers: dict[str, str] = {}
    body = bytearray()
    for chunk in chunks:
        for event in reader.feed(chunk):
            if isinstance(event, Begin):
                headers, body = event.headers, bytearray()
            elif isinstance(event, End):
                parts.append((headers, bytes(body)))
            else:
                body += event
    reader.close()
    return parts


def cut(body: bytes, at: list[int]) -> list[bytes]:
    places = sorted({place % (len(body) + 1) for place in at})
    return [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]


BODY = (
    b"preamble\r\n--x \t\r\nA: b\r\n\r\nhello\r\n-\r\n--\r\n"
    b"\r\n--x\r\n\r\n\r\n--x\r\nQ:1\r\n\r\n\r\n--x--\r\nepilogue"
)


@pytest.mark.standard("RFC 2046 5.1.1")
def test_preamble_and_epilogue_are_no_parts_and_a_part_may_have_no_header() -> None:
    assert read([BODY]) == [({"a": "b"}, b"hello\r\n-\r\n--\r\n"), ({}, b""), ({"q": "1"}, b"")]


@given(st.lists(st.integers(0, 200), max_size=20))
def test_it_does_not_matter_how_the_body_is_cut(at: list[int]) -> None:
    assert read(cut(BODY, at)) == read([BODY])


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.lists(st.integers(0, 1500)))
@settings(max_examples=60)
def test_what_is_written_is_read_again(bodies: list[bytes], at: list[int]) -> None:
    boundary = "5d1f0c2b9a"
    written = b"".join(
        opening(boundary, "application/dicom", first=not number) + body
        for number, body in enumerate(bodies)
    ) + closing(boundary)

    parts = read(cut(written, at), boundary)

    assert [body for _, body in parts] == bodies
    assert all(headers == {"content-type": "application/dicom"} for headers, _ in parts)


NEARLY = (
    b"\r\n",
    b"\r",
    b"\n",
    b"-",
    b"--",
    b"b-",
    b"b-1",
    b"--b-1",
    b"\r\n--b-",
    b"--\r\n",
    b"\0",
)


@pytest.mark.standard("threats T19, RFC 2046 5.1.1")
@given(
    st.lists(st.lists(st.sampled_from(NEARLY), max_size=12).map(b"".join), min_size=1, max_size=4),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_pixels_that_are_nearly_a_boundary_are_pixels(bodies: list[bytes], at: list[int]) -> None:
    """Whatever is no line of its own that begins with the boundary belongs to the part."""
    bodies = [body for body in bodies if b"\r\n--b-1" not in b"\r\n" + body] or [b""]
    written = b"".join(
        opening("b-1", "application/dicom", first=not number) + body
        for number, body in enumerate(bodies)
    ) + closing("b-1")

    assert [body for _, body in read(cut(written, at), "b-1")] == bodies


@given(st.binary(max_size=400))
def test_junk_is_refused_and_nothing_else_happens(junk: bytes) -> None:
    with pytest.raises(Refusal):
        read([junk])


@given(st.integers(0, len(BODY) - 20))
def test_a_body_that_ends_early_is_refused(length: int) -> None:
    with pytest.raises(Invalid):
        read([BODY[:length]])


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"--x\r\n" + b"A" * 9000 + b": b\r\n\r\nhello\r\n--x--", TooLarge),
        (b"--x\r\n" + b"A: b\r\n" * 40 + b"\r\nhello\r\n--x--", TooLarge),
        (b"--x\r\nno colon\r\n\r\nhello\r\n--x--", Invalid),
        (b"--xy\r\nA: b\r\n\r\nhello\r\n--x--", Invalid),
        (b"--x-\r\nA: b\r\n\r\nhello\r\n--x--", Invalid),
        (b"--x--", Invalid),
        (b"p" * 70_000, Invalid),
    ],
)
def test_what_breaks_the_grammar_or_the_limits_is_refused(
    body: bytes, refusal: type[Refusal]
) -> None:
    with pytest.raises(refusal):
        read([body])


def test_more_parts_than_allowed_are_refused() -> None:
    body = b"--x\r\n\r\na\r\n" * 4 + b"--x--"

    with pytest.raises(TooLarge):
        read([body], limits=Limits(parts=3))


@pytest.mark.parametrize("boundary", ["", "a" * 101, "ends with space ", "a\r\nb", "ü"])
def test_a_malformed_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(Invalid):
        Reader(boundary)
