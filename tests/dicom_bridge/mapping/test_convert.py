"""DICOM values become FHIR values, or nothing: never something else."""

from typing import Any

import pytest

from dicom_bridge.mapping import convert
from resources import codes


@pytest.mark.standard("PS3.5 6.2 DA, TM")
@pytest.mark.parametrize(
    ("date", "time", "offset", "expected"),
    [
        ("20260314", "101530", "+0000", "2026-03-14T10:15:30+00:00"),
        ("20260314", "10", "-0330", "2026-03-14T10:00:00-03:30"),
        ("2026.03.14", "10:15:30", "+0100", "2026-03-14T10:15:30+01:00"),
        ("20260314", "101530", "", "2026-03-14T10:15:30+00:00"),
        ("20260714", "101530", "", "2026-07-14T10:15:30+01:00"),
        ("20260714", "101530", "BST", "2026-07-14T10:15:30+01:00"),
        ("20260314", "", "+0100", "2026-03-14"),
        ("20260314", "251530", "", "2026-03-14"),
        ("20260314", "10153", "", "2026-03-14"),
        ("", "101530", "", ""),
        ("20260230", "101530", "", ""),
        ("14032026", "", "", ""),
        ("20260314-20260315", "", "", ""),
        ("18000101", "101530", "", "1800-01-01T10:15:30+00:00"),
        ("00010101", "101530", "", "0001-01-01T10:15:30+00:00"),
        ("20260314", "101530", "+9999", "2026-03-14T10:15:30+00:00"),
        ("20260314", "101530", "+1400", "2026-03-14T10:15:30+14:00"),
        ("20260314", "101530", "-1430", "2026-03-14T10:15:30+00:00"),
        ("２０２６０３１４", "101530", "", ""),
        ("20260314", "１０", "", "2026-03-14"),
    ],
)
def test_a_date_and_time_make_a_datetime(date: str, time: str, offset: str, expected: str) -> None:
    assert convert.as_datetime(date, time, offset) == expected


@pytest.mark.parametrize(
    ("header", "lacks"),
    [
        ({"StudyTime": "10"}, True),
        ({"StudyTime": "10", "TimezoneOffsetFromUTC": "+0100"}, False),
        ({}, False),
    ],
)
def test_a_time_without_offset_is_told_apart(header: dict[str, str], lacks: bool) -> None:
    assert convert.lacks_offset(header) is lacks


@pytest.mark.standard("PS3.5 6.2.1")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Adams^John", {"family": "Adams", "given": ["John"]}),
        (
            "Morrison-Jones^Susan^^^Ph.D.",
            {"family": "Morrison-Jones", "given": ["Susan"], "suffix": ["Ph.D."]},
        ),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", {"family": "Yamada", "given": ["Tarou"]}),
        ("^^^^", {}),
        ("", {}),
    ],
)
def test_a_person_name_is_taken_apart(name: str, expected: dict[str, Any]) -> None:
    assert convert.as_human_name(name) == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"CodeValue": "1", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Thing"},
            {"system": codes.SNOMED, "code": "1", "display": "Thing"},
        ),
        ({"CodeValue": "X1", "CodingSchemeDesignator": "99LOCAL"}, {"code": "X1"}),
        ({"LongCodeValue": "L" * 40}, {"code": "L" * 40}),
        ({"CodeMeaning": "words only"}, None),
    ],
)
def test_a_code_sequence_item_is_a_coding(item: dict[str, str], expected: Any) -> None:
    assert convert.as_coding(item) == expected


def test_body_sites_that_are_not_known_keep_their_word() -> None:
    assert convert.as_body_site("HEAD") == {
        "system": codes.SNOMED,
        "code": "69536005",
        "display": "Head",
    }
    assert convert.as_body_site("leftover") == {"display": "LEFTOVER"}
    assert convert.as_body_site("") is None
    assert convert.as_laterality("U") is None
