"""Folding instances into an ImagingStudy: pure, and twice is the same as once."""

from typing import Any

import pytest

from dicom_bridge.mapping import imaging_study
from dicom_bridge.mapping.imaging_study import Arrived
from dicom_bridge.mapping.origin import Claim, Source, claim_of, institution
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


# --- who created it, and when (R015.2) ----------------------------------------------------------


def extensions(element: dict[str, Any]) -> dict[str, Any]:
    """Name of each extension -> its value."""
    found = {}
    for one in element.get("extension", ()):
        (value,) = [one[member] for member in one if member.startswith("value")]
        found[one["url"].rpartition("/")[2]] = value
    return found


@pytest.mark.requirement("R015.2")
def test_a_series_names_the_organisation_that_created_it_and_when() -> None:
    made = extensions(study(arrived(1, ContentDate="20260314", ContentTime="1020"))["series"][0])

    assert made["source-organization"] == {"reference": "Organization/lead"}
    assert made["source-basis"] == "sender"
    assert made["source-instant"] == "2026-03-14T10:20:00+00:00"


@pytest.mark.requirement("R015.2")
def test_an_institution_that_is_known_is_the_source_and_the_sender_stays_the_performer() -> None:
    row = arrived(1, InstitutionName="Westvale General")
    known = {Claim("lead", "", "Westvale General"): Source("westvale", "Westvale", "x")}

    (series,) = imaging_study.found("1.2", [row], SYSTEM, known)["series"]

    said = extensions(series)["source-organization"]
    assert said == {"reference": "Organization/westvale", "display": "Westvale"}
    assert series["performer"] == [{"actor": {"reference": "Organization/lead"}}]


@pytest.mark.requirement("R015.2")
def test_an_institution_that_is_not_known_is_called_as_the_object_calls_it() -> None:
    (series,) = study(arrived(1, InstitutionName="Elsewhere"))["series"]

    said = extensions(series)["source-organization"]
    assert said == {"reference": "Organization/lead", "display": "Elsewhere"}


@pytest.mark.requirement("R015.2")
def test_an_object_of_another_maker_or_another_day_says_so_itself() -> None:
    first: dict[str, Any] = {"InstanceCreationDate": "20260314", "InstanceCreationTime": "101600"}
    rows = [
        arrived(1, **first),
        arrived(2, **{**first, "InstanceCreationTime": "103000"}),
        arrived(3, **{**first, "InstanceCreationDate": "20260402"}),
        arrived(4, **first, InstitutionName="Elsewhere"),
    ]

    one, soon, later, elsewhere = study(*rows)["series"][0]["instance"]

    assert extensions(one) == extensions(soon) == {}
    assert extensions(later) == {"source-instant": "2026-04-02T10:16:00+00:00"}
    assert extensions(elsewhere)["source-organization"]["display"] == "Elsewhere"
    assert check(study(*rows)) == []


def test_a_code_counts_under_a_scheme_for_ods_codes_alone() -> None:
    coded = {"CodeValue": "RX9", "CodingSchemeDesignator": "99ODS"}
    other = {"CodeValue": "RX9", "CodingSchemeDesignator": "99LOCAL"}

    assert claim_of("lead", {"InstitutionCodeSequence": [coded]}).code == "RX9"
    assert claim_of("lead", {"InstitutionCodeSequence": [other]}).code == ""


@pytest.mark.standard("PS3.5 6.2")
def test_an_institution_name_has_one_value_of_sixty_four_characters() -> None:
    names = ["A\\B" + "x" * 80, "C", "D"]

    assert len(institution(names)) == 64
    assert institution(names).startswith("A/Bx")
    assert institution(names).endswith(" and 2 others")
