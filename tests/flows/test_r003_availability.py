"""R003.1: whether images are there in time is measured, and the numbers are those of the record."""

import csv
import io
from typing import Any

import pytest

from resources import codes
from tests.build import a_step
from tests.flows.clinic import Clinic, Json

pytestmark = pytest.mark.requirement("R003.1")

START, END = "2019-03-01", "2019-03-31"
"""A month in which nothing else of the demonstration is."""


def brought(clinic: Clinic, start: str, end: str = "", **members: Any) -> Json:
    """A prefetch that was to be done by `start`, and ended then."""
    step = a_step(
        "prefetch",
        id=None,
        basedOn=None,
        focus={"reference": clinic.patient},
        **{
            "for": {"reference": clinic.patient},
            "authoredOn": "2019-02-01T00:00:00Z",
            "requester": {"reference": "Organization/northmoor"},
            "owner": {"reference": "Organization/northmoor"},
            "restriction": {"period": {"end": start}},
            "status": "completed" if end else "requested",
            **({"executionPeriod": {"end": end}} if end else {}),
            **members,
        },
    )
    return clinic.post("coordinator", step)


def counts(report: Json, group: int = 0) -> dict[str, int]:
    return {
        one["code"]["coding"][0]["code"]: one["count"]
        for one in report["group"][group]["population"]
    }


def strata(report: Json, group: int = 0) -> dict[str, Json]:
    (stratifier,) = report["group"][group]["stratifier"]
    return {one["value"]["coding"][0]["code"]: one for one in stratifier["stratum"]}


def asked(clinic: Clinic, query: str = f"?start={START}&end={END}") -> Json:
    return clinic.get("coordinator", f"Task/$availability-report{query}")


def test_what_was_ready_before_its_start_is_counted_by_organisation(clinic: Clinic) -> None:
    before = counts(asked(clinic))
    brought(clinic, "2019-03-02T09:00:00Z", "2019-03-02T08:59:00Z")
    brought(clinic, "2019-03-03T09:00:00Z", "2019-03-03T09:00:00Z")
    brought(clinic, "2019-03-04T09:00:00Z", "2019-03-04T09:00:01Z")
    brought(clinic, "2019-03-05T09:00:00Z")
    brought(clinic, "2019-03-06T09:00:00Z", status="cancelled")
    brought(clinic, "2019-03-07T09:00:00Z", authoredOn="2019-03-08T00:00:00Z")
    failed = brought(clinic, "2019-03-09T09:00:00Z", status="failed", statusReason={"text": "x"})
    brought(
        clinic, "2019-03-09T09:00:00Z", "2019-03-09T08:00:00Z",
        extension=[{
            "url": codes.TASK_REPLACES,
            "valueReference": {"reference": f"Task/{failed['id']}"},
        }],
    )  # fmt: skip
    brought(clinic, "2019-04-02T09:00:00Z")

    report = asked(clinic)

    found = {name: number - before[name] for name, number in counts(report).items()}
    assert found == {"needed": 5, "ready": 3, "late": 2, "waiting": 0}
    assert report["type"] == "summary"
    own = strata(report)["Organization/northmoor"]
    assert own["value"]["text"].startswith("Northmoor")
    numbers = {one["code"]["coding"][0]["code"]: one["count"] for one in own["population"]}
    share = numbers["ready"] / (numbers["ready"] + numbers["late"])
    assert own["measureScore"]["value"] == round(share, 4)


def test_work_that_needed_several_transfers_is_ready_when_all_were(clinic: Clinic) -> None:
    before = counts(asked(clinic))
    cause: Any = {"reasonReference": {"reference": clinic.patient}}
    start = "2019-03-12T09:00:00Z"
    brought(clinic, start, "2019-03-12T08:00:00Z", **cause)
    brought(clinic, start, "2019-03-12T10:00:00Z", **cause)

    found = {name: number - before[name] for name, number in counts(asked(clinic)).items()}

    assert found == {"needed": 1, "ready": 0, "late": 1, "waiting": 0}


def test_the_time_from_acquisition_to_availability_is_told_by_organisation(
    clinic: Clinic,
) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    clinic.book(request)
    study = clinic.images_arrive(request, started="2019-03-15T10:00:00Z")

    report = asked(clinic)

    own = strata(report, 1)["Organization/northmoor"]
    assert own["measureScore"]["unit"] == "min"
    years = own["measureScore"]["value"] / 60 / 24 / 365
    assert years > 5  # it arrived today
    assert counts(report, 1)["studies"] >= 1
    assert study["started"] == "2019-03-15T10:00:00Z"


def test_it_is_a_table_too(clinic: Clinic) -> None:
    query = f"Task/$availability-report?start={START}&end={END}&_format=csv"
    answer = clinic.as_("coordinator").get(query)

    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows[0]["organization"] == ""
    assert set(rows[0]) >= {"needed", "ready", "late", "share", "median_minutes", "p95_minutes"}


def test_a_period_that_ends_before_it_begins_is_refused(clinic: Clinic) -> None:
    query = f"Task/$availability-report?start={END}&end={START}"

    assert clinic.as_("coordinator").get(query).status_code == 400
