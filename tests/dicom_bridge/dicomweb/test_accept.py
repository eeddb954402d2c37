"""Media types: what is acceptable, and what is chosen from it."""

import pytest

from dicom_bridge.dicomweb.accept import (
    acceptable,
    choose_frames,
    choose_instances,
    media_type,
    wants,
)
from resources.errors import Invalid

JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_LS = "1.2.840.10008.1.2.4.80"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
BASELINE = "1.2.840.10008.1.2.4.50"
MPEG4 = "1.2.840.10008.1.2.4.102"
RLE = "1.2.840.10008.1.2.5"
OCTETS = 'multipart/related; type="application/octet-stream"'
DICOM = 'multipart/related; type="application/dicom"'


@pytest.mark.standard("RFC 9110 12.5.1")
def test_ranges_come_by_quality_and_refused_ones_not_at_all() -> None:
    ranges = acceptable("a/b;q=0.1, c/d, e/f;q=0, g/h;q=0.5")

    assert [one.type for one in ranges] == ["c/d", "g/h", "a/b"]


def test_separators_in_quoted_parameters_separate_nothing() -> None:
    (one,) = acceptable('multipart/related; type="application/dicom"; x="a,b;c\\"d"')

    assert one.part == "application/dicom"
    assert one.parameters["x"] == 'a,b;c"d'


@pytest.mark.parametrize("field", ["nonsense", "a/b;q=7", "a b/c", "x" * 5000])
def test_a_malformed_accept_is_refused(field: str) -> None:
    with pytest.raises(Invalid):
        acceptable(field)


def test_an_empty_accept_means_anything() -> None:
    assert wants(acceptable(""), "application/dicom+json")


def test_application_star_takes_dicom_json() -> None:
    assert wants(acceptable("application/*"), "application/dicom+json")
    assert not wants(acceptable("application/dicom+xml"), "application/dicom+json")


# PS3.18 Table 8.7.3-2, with the reading that absence of transfer-syntax means "as stored": what is
# asked for, what is stored, and media type, wrapping and the transfer syntax to be made ("": none).
INSTANCES = [
    (DICOM, {EXPLICIT}, ("application/dicom", True, "")),
    (DICOM + "; transfer-syntax=*", {EXPLICIT, JPEG_LS}, ("application/dicom", True, "")),
    (f"{DICOM}; transfer-syntax={JPEG_LS}", {JPEG_LS}, ("application/dicom", True, "")),
    (f"{DICOM}; transfer-syntax={JPEG_LS}", {JPEG_LS, EXPLICIT},
     ("application/dicom", True, JPEG_LS)),
    (f"{DICOM}; transfer-syntax={IMPLICIT}", {BASELINE}, ("application/dicom", True, IMPLICIT)),
    (f"{DICOM}; transfer-syntax={EXPLICIT}", {BIG_ENDIAN}, ("application/dicom", True, EXPLICIT)),
    ("*/*", {JPEG_LS}, ("application/dicom", True, "")),
    ("application/dicom", {EXPLICIT}, ("application/dicom", False, "")),
    (f"application/dicom; transfer-syntax={EXPLICIT}", {JPEG_LS},
     ("application/dicom", False, EXPLICIT)),
    (f"{DICOM}; transfer-syntax={EXPLICIT}", {MPEG4}, None),
    (f"{DICOM}; transfer-syntax={EXPLICIT}", {JPEG_LS, MPEG4}, None),
    (f"{DICOM}; transfer-syntax={BASELINE}", {EXPLICIT}, None),
    (f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.91", {EXPLICIT}, None),
    (f"{DICOM}; transfer-syntax=1.2.3", {EXPLICIT}, None),
    ("image/png", {EXPLICIT}, None),
    ('multipart/related; type="application/octet-stream"', {EXPLICIT}, None),
]  # fmt: skip


@pytest.mark.standard("PS3.18 8.7.3.5.2")
@pytest.mark.parametrize(("field", "stored", "chosen"), INSTANCES)
def test_instances_leave_as_they_are_stored_unless_something_else_is_asked_for(
    field: str, stored: set[str], chosen: tuple[str, bool, str] | None
) -> None:
    assert choose_instances(acceptable(field), frozenset(stored)) == chosen


# PS3.18 Table 8.7.3-5.
FRAMES = [
    (OCTETS, EXPLICIT, ("application/octet-stream", True, "")),
    (OCTETS, IMPLICIT, ("application/octet-stream", True, "")),
    (OCTETS, BIG_ENDIAN, ("application/octet-stream", True, EXPLICIT)),
    (OCTETS + "; transfer-syntax=*", BIG_ENDIAN, ("application/octet-stream", True, "")),
    (OCTETS, JPEG_2000, ("application/octet-stream", True, EXPLICIT)),
    (OCTETS, BASELINE, ("application/octet-stream", True, EXPLICIT)),
    (OCTETS, MPEG4, None),
    (OCTETS + "; transfer-syntax=*", JPEG_2000, ("application/octet-stream", True, "")),
    (f"{OCTETS}; transfer-syntax={JPEG_2000}", JPEG_2000, ("application/octet-stream", True, "")),
    (f"{OCTETS}; transfer-syntax={IMPLICIT}", JPEG_2000, None),
    ('multipart/related; type="image/jp2"', JPEG_2000, ("image/jp2", True, "")),
    ('multipart/related; type="image/jp2"', JPEG_LS, ("image/jp2", True, JPEG_2000)),
    ('multipart/related; type="image/dicom-rle"', EXPLICIT, ("image/dicom-rle", True, RLE)),
    ('multipart/related; type="image/jpeg"', EXPLICIT, None),
    (f'multipart/related; type="image/jls"; transfer-syntax={JPEG_2000}', EXPLICIT, None),
    (f"*/*; transfer-syntax={JPEG_LS}", EXPLICIT, ("image/jls", True, JPEG_LS)),
    ("*/*", JPEG_LS, ("image/jls", True, "")),
    ("multipart/related", EXPLICIT, ("application/octet-stream", True, "")),
    ("application/octet-stream", EXPLICIT, ("application/octet-stream", False, "")),
    ("image/jls", JPEG_LS, ("image/jls", False, "")),
    ("text/plain", EXPLICIT, None),
]  # fmt: skip


@pytest.mark.standard("PS3.18 8.7.3.5.2")
@pytest.mark.parametrize(("field", "stored", "chosen"), FRAMES)
def test_frames_come_in_the_media_type_asked_for_without_loss_or_not_at_all(
    field: str, stored: str, chosen: tuple[str, bool, str] | None
) -> None:
    assert choose_frames(acceptable(field), stored) == chosen


@pytest.mark.standard("RFC 9110 12.5.1")
def test_the_best_acceptable_range_wins_and_among_equals_what_is_stored() -> None:
    wanted = "multipart/related; type=image/jls"

    assert choose_frames(acceptable(f"{OCTETS};q=0.5, {wanted};q=0.9"), JPEG_LS) == (
        "image/jls", True, "",
    )  # fmt: skip
    assert choose_frames(acceptable(f"{OCTETS};q=0.9, {wanted};q=0.5"), JPEG_LS) == (
        "application/octet-stream", True, EXPLICIT,
    )  # fmt: skip
    assert choose_frames(acceptable(f"{OCTETS}, {wanted}"), JPEG_LS) == ("image/jls", True, "")
    assert media_type("Multipart/Related; TYPE=image/jls").part == "image/jls"
