"""R014.4: what was done is counted, so that it can be governed and charged for."""

import base64
import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from fhir_server.access.token import Keys
from resources import codes, validate
from tests.conftest import renamed
from tests.flows.clinic import Clinic
from tests.server import running

pytestmark = pytest.mark.requirement("R014.4")

REPORT = "AuditEvent/$audit-report"
REST = "rest"
NORTHMOOR, HARBOUR, WESTVALE = (f"Organization/{id}" for id in ("northmoor", "harbour", "westvale"))


@pytest.fixture(scope="module")
def busy(cluster: str, template: str, keys: Keys) -> Iterator[Clinic]:
    """A clinic with two reported requests, one of them acknowledged, and a third only asked for."""
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"create database analysis template {template} strategy file_copy")
    url = renamed(cluster, "analysis")
    with running(url, keys) as server:
        clinic = Clinic(server, url)
        clinic.welcome()
        request, study, report = clinic.reported()
        clinic.acknowledge(request)
        clinic.images_arrive(request, images=5)
        corrected = clinic.get("reporter", f"DiagnosticReport/{report['id']}")
        clinic.change("reporter", corrected, status="corrected", conclusion="Left, not right.")
        clinic.welcome()
        clinic.reported()
        clinic.refer()
        for _ in range(3):
            clinic.get("gp", f"DiagnosticReport/{report['id']}")
        clinic.get("reporter", f"ImagingStudy/{study['id']}")
        yield clinic


def counted(clinic: Clinic, login: str, query: str = "") -> dict[Any, int]:
    """Measure -> the total, and measure, values -> the count."""
    found: dict[Any, int] = {}
    for group in clinic.get(login, f"{REPORT}?{query}")["group"]:
        measure = group["code"]["coding"][0]["code"]
        found[measure] = group["population"][0]["count"]
        for stratifier in group.get("stratifier", ()):
            for stratum in stratifier["stratum"]:
                parts = stratum.get("component") or [stratum]
                values = [part["value"]["coding"][0]["code"] for part in parts]
                found[(measure, *values)] = stratum["population"][0]["count"]
    return found


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_each_organisation_counts_what_it_requested_acquired_and_reported(busy: Clinic) -> None:
    hospital = counted(busy, "auditor")
    practice = counted_as(busy, "harbour")

    assert (hospital["acquired"], hospital["reported"]) == (2, 2)
    assert hospital["requested"] == 0
    assert practice["requested"] == 3
    assert practice["acknowledged"] == 1
    assert (practice["acquired"], practice["reported"]) == (0, 0)


def counted_as(clinic: Clinic, organization: str, query: str = "") -> dict[Any, int]:
    client = clinic.server.client("auditor", organization, scope="user/AuditEvent.rs")
    answer = client.get(f"{REPORT}?{query}")
    assert answer.status_code == 200, answer.text
    found: dict[Any, int] = {}
    for group in answer.json()["group"]:
        found[group["code"]["coding"][0]["code"]] = group["population"][0]["count"]
    return found


def test_images_that_come_again_and_a_corrected_report_are_not_charged_for_twice(
    busy: Clinic,
) -> None:
    """The clinic of these tests had late images, and corrected one of its two reports."""
    found = counted(busy, "auditor", "measure=acquired,reported&by=modality")

    assert found == {
        "acquired": 2, "reported": 2, ("acquired", "CT"): 2, ("reported", "CT"): 2,
    }  # fmt: skip


def test_an_addendum_is_counted_as_one(clinic: Clinic) -> None:
    request, study, report = clinic.reported()
    before = counted(clinic, "auditor", "measure=reported,addended")

    added = {
        "url": codes.ADDENDUM_OF,
        "valueReference": {"reference": f"DiagnosticReport/{report['id']}"},
    }
    clinic.report(request, study, extension=[added])

    after = counted(clinic, "auditor", "measure=reported,addended")
    assert after["reported"] == before["reported"]
    assert after["addended"] == before["addended"] + 1


SHOWN = {
    (REST, "read"), (REST, "vread"), (REST, "history-instance"), (REST, "operation"),
    ("110103", ""), ("110104", ""), ("110106", ""),
}  # fmt: skip
"""FHIR restful-interaction, DICOM PS3.16 CID 400: instances accessed, transferred; export."""


def is_an_access(event: dict[str, Any]) -> bool:
    """Whether somebody was shown what is about a patient: not who looked at the log about them."""
    (subtype,) = [one["code"] for one in event.get("subtype", ())] or [""]
    type = REST if event["type"]["code"] == "rest" else event["type"]["code"]
    about = [one.get("what", {}).get("reference", "") for one in event["entity"]]
    came_in = type == "110104" and event["action"] != "R"
    return (
        (type, subtype) in SHOWN
        and not came_in
        and any(reference.startswith("Patient/") for reference in about)
    )


def test_accesses_are_those_that_a_search_of_the_audit_finds(busy: Clinic) -> None:
    """Of rows about patients, by one's own organisation; of others' only those to one's own."""
    busy.get("reporter", f"{busy.patient}/$everything?_count=1")
    client = busy.server.client("auditor", "northmoor", scope="user/AuditEvent.rs")
    assert client.get(f"AuditEvent?patient={busy.patient}&_count=1").status_code == 200
    found: Counter[str] = Counter()
    address = "AuditEvent?outcome=0&organization=northmoor&_count=1000"
    bundle = client.get(address).json()
    assert not [link for link in bundle["link"] if link["relation"] == "next"]
    for entry in bundle["entry"]:
        event = entry["resource"]
        who = next(one for one in event["agent"] if one.get("requestor"))
        if is_an_access(event):
            found[who["who"]["reference"]] += 1

    report = counted(busy, "auditor", "measure=accessed&by=person&by=organization")

    own = {key[1]: number for key, number in report.items() if key[2:] == (NORTHMOOR,)}
    assert own == dict(found)


def test_who_opened_what_another_organisation_had_created(busy: Clinic) -> None:
    found = counted(busy, "auditor", "measure=crossed&by=organization&by=creator")

    assert found["crossed", HARBOUR, NORTHMOOR] >= 3
    assert not [key for key in found if key[1:] and key[1] == key[2]]


def test_the_business_of_others_is_not_counted(busy: Clinic) -> None:
    """Harbour's accesses to its own requests concern Northmoor's patients, and are Harbour's."""
    for _ in range(4):
        busy.get("gp", busy.patient)
    request = busy.search("gp", "ServiceRequest?_count=1")[0]
    before = counted(busy, "auditor", "measure=accessed&by=organization")
    busy.get("gp", f"ServiceRequest/{request['id']}")
    after = counted(busy, "auditor", "measure=accessed&by=organization")

    assert before["accessed", HARBOUR] == after["accessed", HARBOUR]
    assert counted_as(busy, "westvale", "measure=accessed")["accessed"] == 0
    assert counted_as(busy, "westvale", "measure=crossed")["crossed"] == 0


def test_periods_are_days_weeks_and_months(busy: Clinic) -> None:
    for kind, length in (("day", 10), ("week", 8), ("month", 7)):
        found = counted(busy, "auditor", f"measure=reported&by=period&period={kind}")
        ((key, number),) = [(key, number) for key, number in found.items() if len(key) == 2]
        assert (len(key[1]), number) == (length, 2)
    assert counted(busy, "auditor", "start=2020-01-01&end=2020-12-31")["accessed"] == 0


def test_the_report_is_a_valid_measure_report(busy: Clinic) -> None:
    report = busy.get("auditor", f"{REPORT}?by=organization&by=modality&by=period&by=purpose")

    assert validate.check(report) == []
    assert report["reporter"] == {"reference": NORTHMOOR}
    assert {group["code"]["coding"][0]["code"] for group in report["group"]} >= {
        "requested", "acquired", "reported", "reviewed", "transferred", "accessed", "emergency",
    }  # fmt: skip


def test_parameters_may_be_sent_as_a_resource(busy: Clinic) -> None:
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "measure", "valueCode": "reported"},
            {"name": "by", "valueCode": "person"},
            {"name": "start", "valueDate": "2026-01-01"},
        ],
    }

    answer = busy.as_("auditor").post(REPORT, content=json.dumps(body))

    (group,) = answer.json()["group"]
    (stratum,) = group["stratifier"][0]["stratum"]
    assert stratum["value"]["coding"] == [{"code": "PractitionerRole/reporter"}]


@pytest.mark.parametrize(
    ("query", "accept"), [("_format=csv", None), ("_format=text/csv", None), ("", "text/csv")]
)
def test_the_same_counts_are_had_as_csv(busy: Clinic, query: str, accept: str | None) -> None:
    headers = {"Accept": accept} if accept else {}
    answer = busy.as_("auditor").get(f"{REPORT}?measure=reported&{query}", headers=headers)

    (row,) = rows(answer)

    assert row["measure"] == "reported"
    assert row["organization"] == NORTHMOOR
    assert row["organization-name"].startswith("Northmoor")
    assert row["count"] == "2"


@pytest.mark.standard("OWASP CSV Injection")
def test_a_name_that_a_spreadsheet_would_run_is_text(clinic: Clinic) -> None:
    place = clinic.get("admin", "Organization/northmoor")
    renamed_ = clinic.change("admin", place, name='=HYPERLINK("http://evil.example")')
    clinic.reported()
    answer = clinic.as_("auditor").get(f"{REPORT}?measure=reported&_format=csv")
    clinic.change("admin", renamed_, name=place["name"])

    (row,) = rows(answer)

    assert row["organization-name"] == '\'=HYPERLINK("http://evil.example")'


@pytest.mark.parametrize("login", ["gp", "reporter", "coordinator", "operator"])
def test_clinicians_count_nothing(busy: Clinic, login: str) -> None:
    assert busy.as_(login).get(REPORT).status_code == 403


@pytest.mark.parametrize("login", ["auditor", "safety", "admin"])
def test_those_who_watch_over_access_count(busy: Clinic, login: str) -> None:
    assert counted(busy, login)["reported"] == 2


def test_a_system_counts_with_a_scope_for_audit_events_alone(busy: Clinic) -> None:
    for scope, status in (
        ("system/AuditEvent.rs", 200),
        ("system/Task.rs", 403),
        ("system/AuditEvent.rs?_id=1", 403),
    ):
        client = busy.server.client("application", "northmoor", scope=scope)
        assert client.get(REPORT).status_code == status, scope


@pytest.mark.parametrize(
    "query",
    [
        "measure=stolen", "by=colour", "period=fortnight", "start=yesterday", "end=2026-13-01",
        "start=2026-02-01&end=2026-01-01", "by=period&period=day&start=1900-01-01",
        "organization=northmoor", "_format=xml",
    ],
)  # fmt: skip
def test_what_cannot_be_counted_is_refused(busy: Clinic, query: str) -> None:
    answer = busy.as_("auditor").get(f"{REPORT}?{query}")

    assert answer.status_code in (400, 406)
    assert answer.json()["resourceType"] == "OperationOutcome"


@pytest.mark.standard("PS3.15 A.5.3.2")
def test_to_count_is_to_use_the_audit_log_and_is_audited_as_that(busy: Clinic) -> None:
    counted(busy, "safety", "measure=reported")

    address = "AuditEvent?agent=PractitionerRole/safety&type=110101&_count=1"
    (event,) = busy.search("auditor", address)

    asked = [base64.b64decode(one["query"]) for one in event["entity"] if "query" in one]
    assert asked == [b"$audit-report"]
    assert (event["type"]["code"], event["action"], event["outcome"]) == ("110101", "R", "0")


def test_the_names_in_a_report_are_read_and_no_use_of_the_log(busy: Clinic) -> None:
    counted(busy, "safety", "measure=requested")

    address = "AuditEvent?agent=PractitionerRole/safety&entity=Organization/harbour&_count=1"
    (event,) = busy.search("auditor", address)

    assert event["subtype"][0]["code"] == "read"


def test_json_of_a_person_never_lists_patients(busy: Clinic) -> None:
    text = json.dumps(busy.get("auditor", f"{REPORT}?by=person&by=creator"))

    assert "Patient/" not in text
