"""How counts are cut into periods, and written so that nothing is run by whoever opens them."""

import csv
import io
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.reports import periods, written
from fhir_server.reports.measures import Line
from fhir_server.reports.written import Report
from resources.errors import Invalid

pytestmark = pytest.mark.requirement("R014.4")

DAY = 86_400_000_000
INSTANTS = st.integers(0, 4_000_000_000_000_000)
SPANS = st.integers(1, 700 * DAY)


@given(INSTANTS, SPANS, st.sampled_from(["day", "week", "month"]))
def test_periods_cover_the_time_asked_for_and_no_two_overlap(
    low: int, length: int, kind: str
) -> None:
    found = periods.starts(kind, low, low + length)

    assert found[0] <= low
    assert found[-1] < low + length
    assert list(found) == sorted(set(found))
    names = [periods.named(kind, start) for start in found]
    assert len(set(names)) == len(names)
    longest = {"day": 1, "week": 7, "month": 31}[kind] * DAY
    assert all(b - a <= longest for a, b in pairwise(found))
    assert low - found[0] < longest
    assert low + length - found[-1] <= longest


@given(INSTANTS)
def test_weeks_begin_on_monday_and_months_on_the_first_at_midnight_utc(instant: int) -> None:
    (week,), (month,) = (periods.starts(kind, instant, instant + 1) for kind in ("week", "month"))
    on_monday = datetime.fromtimestamp(week / 1e6, UTC)
    on_first = datetime.fromtimestamp(month / 1e6, UTC)

    assert (on_monday.weekday(), on_monday.hour) == (0, 0)
    assert (on_first.day, on_first.hour, on_first.minute) == (1, 0, 0)


def test_a_century_of_days_is_too_much() -> None:
    with pytest.raises(Invalid):
        periods.starts("day", 0, 36_500 * DAY)


@pytest.mark.standard("OWASP CSV Injection")
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_no_cell_begins_as_a_formula_and_none_loses_what_it_said(name: str) -> None:
    report = Report(0, DAY, ("person",), [Line("accessed", ("Device/1",), 3)], {"Device/1": name})

    text = written.table(report).decode()
    head, row = csv.reader(io.StringIO(text, newline=""))

    cell = dict(zip(head, row, strict=True))["person-name"]
    assert not cell.strip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.removeprefix("'") == name or cell == name
