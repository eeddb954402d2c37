"""Folding studies: nothing is lost, nothing is counted twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources import codes, elements
from resources.imaging_study import (
    instance_uids,
    is_image,
    manifest,
    merged,
    number_of_images,
    reporting_status,
    with_reporting_status,
)
from tests.build import a_study

UIDS = st.lists(st.integers(1, 30), max_size=20)


def found(numbers: list[int]) -> dict[str, object]:
    study = a_study(id=None, images=30)
    series = study["series"][0]
    series["instance"] = [one for one in series["instance"] if one["number"] in numbers]
    if not series["instance"]:
        del study["series"]
    return study


def test_the_first_image_makes_a_registered_study_available() -> None:
    study = merged(a_study(images=0, request="sr1"), a_study(id=None, images=3))

    assert study["id"] == "is1"
    assert study["basedOn"] == [{"reference": "ServiceRequest/sr1"}]
    assert study["status"] == "available"
    assert study["numberOfInstances"] == 3
    assert study["numberOfSeries"] == 1
    assert [one["code"] for one in study["modality"]] == ["CT"]


@pytest.mark.requirement("R012.3")
@given(UIDS, UIDS)
def test_folding_is_a_union_in_any_order(first: list[int], second: list[int]) -> None:
    once = merged(merged(None, found(first)), found(second))
    again = merged(merged(merged(None, found(second)), found(first)), found(first))

    assert instance_uids(once) == instance_uids(again)
    assert once["numberOfInstances"] == len(set(first) | set(second))


def test_a_study_cancelled_is_not_made_available_by_images() -> None:
    study = merged(a_study(images=0, status="cancelled"), a_study(id=None))
    assert study["status"] == "cancelled"


@pytest.mark.requirement("R006.2")
def test_images_are_counted_without_reports_and_with_every_frame() -> None:
    study = a_study(images=2)
    instances = study["series"][0]["instance"]
    instances[0]["extension"] = [{"url": codes.NUMBER_OF_FRAMES, "valueUnsignedInt": 40}]
    report = {"system": codes.URI, "code": "urn:oid:1.2.840.10008.5.1.4.1.1.88.11"}
    instances.append({"uid": "1.2.3.1.9", "number": 9, "sopClass": report})

    assert number_of_images(study) == 41
    assert merged(None, study)["numberOfInstances"] == 3


@pytest.mark.parametrize(
    ("sop_class", "expected"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", True),
        ("1.2.840.10008.5.1.4.1.1.1.1", True),
        ("1.2.840.10008.5.1.4.1.1.88.59", False),
        ("1.2.840.10008.5.1.4.1.1.11.1", False),
        ("1.2.840.10008.5.1.4.1.1.104.1", False),
        ("1.2.840.10008.5.1.4.1.1.481.1", True),
        ("1.2.840.10008.5.1.4.1.1.481.5", False),
    ],
)
def test_sop_classes_that_are_images(sop_class: str, expected: bool) -> None:
    assert is_image(f"urn:oid:{sop_class}") is expected


@pytest.mark.requirement("R006.2")
@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "unreported"),
        (["registered"], "unreported"),
        (["entered-in-error"], "unreported"),
        (["preliminary"], "preliminary"),
        (["preliminary", "final"], "reported"),
        (["appended"], "reported"),
    ],
)
def test_reporting_status_follows_from_the_reports(statuses: list[str], expected: str) -> None:
    assert reporting_status(statuses) == expected
    study = with_reporting_status(merged(None, a_study()), expected)
    assert elements.extension_value(study, codes.REPORTING_STATUS_EXTENSION) == expected


def test_a_fold_keeps_the_reporting_status() -> None:
    study = with_reporting_status(a_study(), "reported")
    study = merged(study, a_study(id=None, images=5))
    assert elements.extension_value(study, codes.REPORTING_STATUS_EXTENSION) == "reported"


@pytest.mark.requirement("R014.3")
def test_a_manifest_is_the_digest_of_the_sorted_uids() -> None:
    one, two = a_study(images=2), a_study(images=2)
    two["series"][0]["instance"].reverse()

    assert manifest(one) == manifest(two)
    assert manifest(one).instances == 2
    # printf '1.2.3.1.1\n1.2.3.1.2' | sha256sum
    assert manifest(one).sha256 == (
        "e68ad8b3f0ccedd4e79e765f03da52940068fd2f63493325d9a38a2729d09561"
    )
