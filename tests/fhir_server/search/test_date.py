from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search import date
from fhir_server.search.date import BEGINNING, FOREVER, Range
from resources.errors import Invalid


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[arg-type,misc]


@pytest.mark.standard("FHIR search date")
@pytest.mark.parametrize(
    ("text", "first", "after_last"),
    [
        ("2026", at(2026, 1, 1), at(2027, 1, 1)),
        ("2026-12", at(2026, 12, 1), at(2027, 1, 1)),
        ("2024-02", at(2024, 2, 1), at(2024, 3, 1)),
        ("2024-02-29", at(2024, 2, 29), at(2024, 3, 1)),
        ("2026-11-24T10:30", at(2026, 11, 24, 10, 30), at(2026, 11, 24, 10, 31)),
        ("2026-11-24T10:30Z", at(2026, 11, 24, 10, 30), at(2026, 11, 24, 10, 31)),
        ("2026-11-24T10:30:59+01:00", at(2026, 11, 24, 9, 30, 59), at(2026, 11, 24, 9, 31)),
        ("2026-11-24T23:30:00-05:00", at(2026, 11, 25, 4, 30), at(2026, 11, 25, 4, 30, 1)),
        ("1970-01-01T00:00:00.5Z", 500_000, 600_000),
        ("1970-01-01T00:00:00.123Z", 123_000, 124_000),
        ("1970-01-01T00:00:00.123456789Z", 123_456, 123_457),
        ("2016-12-31T23:59:60Z", at(2016, 12, 31, 23, 59, 59), at(2017, 1, 1)),
    ],
)
def test_a_date_is_as_long_as_it_is_imprecise(text: str, first: int, after_last: int) -> None:
    assert date.period(text) == (first, after_last - 1)


@pytest.mark.parametrize("text", ["0001", "9999", "9999-12", "9999-12-31", "9999-12-31T23:59:60Z"])
def test_the_ends_of_the_calendar_are_dates(text: str) -> None:
    low, high = date.period(text)

    assert BEGINNING < low < high < FOREVER


@pytest.mark.parametrize(
    "text",
    ["", "x", "26", "2026-13", "2026-02-30", "2026-11-24T25:00", "2026-11-24T10", "2026-W01",
     "0000", "2026-11-24T10:30:00+99:00", "20261124", "2026-11-24 10:30", "２０２６",
     "2026-11-24T10:30:61Z"],
)  # fmt: skip
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        date.read(text, "date")


@pytest.mark.standard("FHIR search prefixes")
@pytest.mark.parametrize("prefix", ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"])
def test_the_nine_prefixes(prefix: str) -> None:
    assert date.read(f"{prefix}2026") == Range(prefix, at(2026, 1, 1), at(2027, 1, 1) - 1)


def test_no_prefix_means_equal() -> None:
    assert date.read("2026").prefix == "eq"


@pytest.mark.parametrize(
    ("element", "periods"),
    [
        ("2026", [(at(2026, 1, 1), at(2027, 1, 1) - 1)]),
        ({"start": "2026", "end": "2027"}, [(at(2026, 1, 1), at(2028, 1, 1) - 1)]),
        ({"start": "2026"}, [(at(2026, 1, 1), FOREVER)]),
        ({"end": "2026"}, [(BEGINNING, at(2027, 1, 1) - 1)]),
        ({"event": ["2027", "2025"]}, [(at(2025, 1, 1), at(2028, 1, 1) - 1)]),
        ({"repeat": {"boundsPeriod": {"start": "2026"}}}, [(at(2026, 1, 1), FOREVER)]),
        ({"repeat": {"frequency": 1}}, []),
        ("last summer", []),
        (17, []),
    ],
)
def test_an_element_covers_a_period(element: Any, periods: list[tuple[int, int]]) -> None:
    assert list(date.periods(element)) == periods


def test_approximately_is_within_a_tenth_of_the_distance_from_now() -> None:
    asked = date.read("ap2026-01-01")

    low, high = asked.bounds(at(2026, 1, 11))

    assert low == at(2025, 12, 31)
    assert high == at(2026, 1, 3) - 1


@given(st.text(alphabet="0123456789-T:.Z+gel", max_size=30))
def test_reading_a_date_raises_nothing_but_a_refusal(text: str) -> None:
    try:
        date.read(text)
    except Invalid:
        return
