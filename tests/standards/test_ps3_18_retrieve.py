"""PS3.18 Section 10.4, Retrieve Transaction: a second reading of its tables."""

import pytest

from dicom_bridge.dicomweb import problems, router
from dicom_bridge.dicomweb.accept import acceptable, choose_frames
from resources import errors

# Table 8.7.3-5: media type, default transfer syntax, the others; of single and multi frame images
# and video.
FRAMES = (
    ("image/jpeg", "1.2.840.10008.1.2.4.70",
     "1.2.840.10008.1.2.4.50 1.2.840.10008.1.2.4.51 1.2.840.10008.1.2.4.57"),
    ("image/dicom-rle", "1.2.840.10008.1.2.5", ""),
    ("image/jls", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),
    ("image/jp2", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),
    ("image/jpx", "1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.93"),
    ("video/mpeg2", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101"),
    ("video/mp4", "1.2.840.10008.1.2.4.102",
     "1.2.840.10008.1.2.4.103 1.2.840.10008.1.2.4.104 1.2.840.10008.1.2.4.105"
     " 1.2.840.10008.1.2.4.106"),
)  # fmt: skip


@pytest.mark.standard("PS3.18 8.7.3.3")
@pytest.mark.parametrize(("media", "default", "others"), FRAMES)
def test_a_media_type_means_its_default_transfer_syntax(
    media: str, default: str, others: str
) -> None:
    plain = acceptable(f'multipart/related; type="{media}"')

    assert choose_frames(plain, default) == (media, True, "")
    for other in others.split():
        named = acceptable(f'multipart/related; type="{media}"; transfer-syntax={other}')
        assert choose_frames(plain, other) in {None, (media, True, default)}
        assert choose_frames(named, other) == (media, True, "")


@pytest.mark.standard("PS3.18 10.4.1.1")
@pytest.mark.parametrize(
    "address",
    [
        "/studies/{study}",
        "/studies/{study}/metadata",
        "/studies/{study}/series/{series}",
        "/studies/{study}/series/{series}/metadata",
        "/studies/{study}/series/{series}/instances/{instance}",
        "/studies/{study}/series/{series}/instances/{instance}/metadata",
        "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}",
    ],
)
def test_every_resource_can_be_retrieved(address: str) -> None:
    assert ("GET", address, "WADO-RS") in [row[:3] for row in router.TRANSACTIONS]


# Table 8.5-1 and house rules.
@pytest.mark.standard("PS3.18 8.5")
@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (errors.Invalid, 400),
        (errors.NotDicom, 400),
        (errors.Unauthenticated, 401),
        (errors.Forbidden, 403),
        (errors.NotFound, 404),
        (problems.NotAcceptable, 406),
        (errors.Conflict, 409),
        (errors.Gone, 410),
        (errors.Stale, 412),
        (errors.TooLarge, 413),
        (problems.UnsupportedMedia, 415),
        (errors.Exhausted, 503),
    ],
)
def test_each_refusal_has_its_status(refusal: type[errors.Refusal], status: int) -> None:
    assert problems.status_of(refusal("why")) == status
    answer = problems.answer(refusal("why"))
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_bug_is_told_without_detail(caplog: pytest.LogCaptureFixture) -> None:
    answer = problems.answer(RuntimeError("secret of a patient"))

    assert answer.status_code == 500
    assert b"secret" not in bytes(answer.body)
    assert caplog.records
