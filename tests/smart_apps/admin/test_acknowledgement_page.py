"""The page that says whether reports are acknowledged: counts, plots, and each that waits."""

import csv
import io
import re
from html import unescape
from typing import Any

import pytest

from fhir_server.context import now
from fhir_server.core import Core
from resources import codes, elements
from resources.content import written_instant
from tests.smart_apps.admin.conftest import Office

pytestmark = pytest.mark.requirement("R010.3")

ADDRESS = "/admin/acknowledgement"
HOUR = 3600 * 1_000_000
DAY = 24 * HOUR


def asked(
    ago: int,
    due: int,
    *,
    place: str = "lead",
    of: str = "Organization/other",
    category: str = "",
    taken: int | None = None,
) -> dict[str, Any]:
    """An acknowledgement of a report that was issued so long ago, and is due so long after."""
    issued = now() - ago
    task: dict[str, Any] = {
        "resourceType": "Task",
        "status": "requested" if taken is None else "completed",
        "intent": "order",
        "priority": "routine",
        "code": codes.ACKNOWLEDGE.concept,
        "for": {"reference": "Patient/p1"},
        "authoredOn": written_instant(issued),
        "requester": {"reference": f"Organization/{place}"},
        "owner": {"reference": of},
        "restriction": {
            "period": {"end": written_instant(issued + due)},
            "recipient": [{"reference": of}],
        },
    }  # fmt: skip
    if category:
        task["reasonCode"] = elements.concept(codes.REPORT_URGENCY, category)
    if taken is not None:
        end = written_instant(issued + taken)
        task["executionPeriod"] = {"start": end, "end": end}
    return task


TASKS: tuple[tuple[int, int, dict[str, Any]], ...] = (
    (2 * HOUR, 7 * DAY, {}),
    (2 * DAY, DAY, {"category": "cancer"}),
    (9 * DAY, 7 * DAY, {"of": "PractitionerRole/gp"}),
    (20 * DAY, 7 * DAY, {"of": "PractitionerRole/gp", "taken": 3 * HOUR}),
    (20 * DAY, 7 * DAY, {"taken": 50 * HOUR}),
    (200 * DAY, 7 * DAY, {}),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def tasks(office: Office) -> None:
    async def written(core: Core) -> None:
        for ago, due, more in TASKS:
            await office.write(core, asked(ago, due, **more))

    office.run(written)


def cells(page: str, caption: str) -> list[list[str]]:
    """The words of the cells of a table, row by row."""
    table = page.split(f"<caption>{caption}</caption>")[1].split("</table>")[0]
    return [
        [unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in re.findall(r"<tr>.*?</tr>", table)[1:]
    ]


def test_it_is_counted_how_many_wait_how_long_and_where(office: Office) -> None:
    page = office.browser("safe").get(ADDRESS).text

    assert cells(page, "All reports") == [["All", "5", "3", "2", "2", "0", "3 h 0 min", "2 d 2 h"]]
    by_category = {row[0]: row[1:4] for row in cells(page, "By category")}
    assert by_category == {"Not flagged": ["4", "2", "1"], "cancer": ["1", "1", "1"]}
    ages = page.split('aria-label="Age of the reports that are open"')[2]
    assert re.findall(r">(\d+)</text>", ages.split("</svg>")[0]) == ["1", "1", "0", "1", "0", "0"]
    assert page.count("<svg") >= 1 + 2 * 4 - 1


def test_each_number_leads_to_what_it_counts(office: Office) -> None:
    browser = office.browser("eye")
    page = browser.get(ADDRESS).text
    links = re.findall(r'<a href="([^"]+/tasks[^"]+)">([\d,]+)</a>', page)
    assert len(links) > 10

    for address, number in links:
        listed = browser.get(unescape(address))
        assert listed.status_code == 200
        assert len(cells(listed.text, "Acknowledgements of reports")) == int(number), address


def test_the_same_is_given_as_a_table(office: Office) -> None:
    answer = office.browser("eye").get(f"{ADDRESS}.csv")

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"].startswith("text/csv")
    assert [rows[0][name] for name in ("by", "issued", "open", "overdue")] == [
        "total", "5", "3", "2",
    ]  # fmt: skip
    assert {row["by"] for row in rows} == {
        "total", "issuer", "organization", "referrer", "category",
    }  # fmt: skip


def test_a_period_is_asked_for_and_one_that_is_none_is_refused(office: Office) -> None:
    browser = office.browser("safe")
    first = written_instant(now() - 250 * DAY)[:10]

    assert cells(browser.get(f"{ADDRESS}?from={first}").text, "All reports")[0][1] == "6"
    for wrong in ("from=soon", "from=2026-02-01&to=2026-01-01"):
        for address in (ADDRESS, f"{ADDRESS}/tasks", f"{ADDRESS}.csv"):
            assert browser.get(f"{address}?{wrong}").status_code == 400


def test_of_patients_nothing_is_shown(office: Office) -> None:
    browser = office.browser("safe")
    pages = browser.get(ADDRESS).text + browser.get(f"{ADDRESS}/tasks").text

    assert "Patient/" not in pages
