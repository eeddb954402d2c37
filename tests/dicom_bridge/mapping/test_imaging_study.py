"""Folding instances into an ImagingStudy: pure, and twice is the same as once."""

from typing import Any

from dicom_bridge.mapping import imaging_study
from dicom_bridge.mapping.imaging_study import Arrived
from resources import codes
from resources import imaging_study as rules
from resources.validate import check

CT = "1.2.840.10008.5.1.4.1.1.2"
SYSTEM = f"{codes.ACCESSION}/ZZ901"


def arrived(number: int, series: int = 1, **header: Any) -> Arrived:
    known = {
        "StudyDate": "20260314",
        "StudyTime": "101530",
        "TimezoneOffsetFromUTC": "+0000",
        "StudyDescription": "CT Head",
        "AccessionNumber": "A1",
        "BodyPartExamined": "HEAD",
    }
    uid = f"1.2.{series}.{number}"
    return Arrived(uid, f"1.2.{series}", CT, "CT", series, number, 1, "lead", {**known, **header})


def study(*rows: Arrived) -> dict[str, Any]:
    found = imaging_study.found("1.2", list(rows), SYSTEM)
    return rules.merged(None, {**found, "subject": {"reference": "Patient/p1"}})


def test_what_is_made_is_a_valid_imagingstudy() -> None:
    assert check(study(arrived(1), arrived(2), arrived(1, series=2))) == []


def test_series_and_instances_are_counted_and_in_order() -> None:
    made = study(arrived(2, series=2), arrived(2), arrived(1))

    assert (made["numberOfSeries"], made["numberOfInstances"]) == (2, 3)
    assert [one["number"] for one in made["series"]] == [1, 2]
    assert [one["number"] for one in made["series"][0]["instance"]] == [1, 2]


def test_folding_twice_is_folding_once() -> None:
    rows = [arrived(1), arrived(2)]
    once = study(*rows)

    assert rules.merged(once, imaging_study.found("1.2", rows, SYSTEM)) == once


def test_study_attributes_are_mapped() -> None:
    made = study(arrived(1))

    assert made["started"] == "2026-03-14T10:15:30+00:00"
    assert made["description"] == "CT Head"
    assert made["identifier"][0]["value"] == "urn:oid:1.2"
    assert made["identifier"][1]["system"] == SYSTEM
    assert made["series"][0]["bodySite"]["code"] == "69536005"
    assert made["series"][0]["performer"] == [{"actor": {"reference": "Organization/lead"}}]


def test_a_time_without_offset_is_noted() -> None:
    made = study(arrived(1, TimezoneOffsetFromUTC=""))

    assert "Europe/London" in made["note"][0]["text"]


def test_a_multi_frame_object_is_many_images() -> None:
    made = study(arrived(1)._replace(frames=25))

    counts = {one["url"]: one.get("valueUnsignedInt") for one in made["extension"]}
    assert counts[codes.NUMBER_OF_IMAGES] == 25


def test_numbers_that_fhir_does_not_allow_are_left_out() -> None:
    made = study(arrived(-1)._replace(series_number=-5))

    assert "number" not in made["series"][0]
    assert "number" not in made["series"][0]["instance"][0]
    assert check(made) == []
