"""Who counts may not learn what is others', break a spreadsheet or the server, or go unseen."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
import pytest

from fhir_server.access.token import Keys
from fhir_server.reports import written
from fhir_server.reports.measures import Line
from fhir_server.reports.written import Report
from tests.conftest import renamed
from tests.flows.clinic import Clinic
from tests.flows.test_r014_4_analysis import REPORT
from tests.server import running

pytestmark = pytest.mark.requirement("R014.4")

DIMENSIONS = ("organization", "creator", "person", "role", "purpose", "modality", "period")


@pytest.fixture(scope="module")
def ward(cluster: str, template: str, keys: Keys) -> Iterator[Clinic]:
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"create database report_attacks template {template} strategy file_copy")
    url = renamed(cluster, "report_attacks")
    with running(url, keys) as server:
        clinic = Clinic(server, url)
        clinic.welcome()
        clinic.reported()
        yield clinic


@pytest.mark.parametrize("role", ["auditor", "safety-officer", "administrator", "application"])
@pytest.mark.parametrize("by", DIMENSIONS)
def test_who_has_to_do_with_nobody_counts_nothing_by_whatever(
    ward: Clinic, role: str, by: str
) -> None:
    scope = "system/*.cruds" if role == "application" else "user/*.cruds"
    stranger = ward.server.client(role, "quayside", scope=scope, subject=f"Client/{role}")

    answer = stranger.get(f"{REPORT}?by={by}")

    assert answer.status_code == 200
    for group in answer.json()["group"]:
        assert group["population"][0]["count"] == 0, group["code"]
        assert "stratifier" not in group
    for word in ("northmoor", "harbour", "PractitionerRole/", "CT"):
        assert word not in answer.text.replace("AuditEvent", "")


@pytest.mark.parametrize(
    "parameters",
    ["organization=northmoor", "reporter=Organization/northmoor", "start=2020&start=2021"],
)
def test_nobody_asks_for_the_counts_of_another(ward: Clinic, parameters: str) -> None:
    client = ward.server.client("auditor", "quayside", scope="user/AuditEvent.rs")

    assert client.get(f"{REPORT}?{parameters}").status_code == 400


@pytest.mark.parametrize(
    "period",
    [
        "start=0001-01-01&end=9999-12-31", "start=9990-01-01&end=9999-12-31",
        "start=0001-01-01&end=0001-01-02", "start=9999-12-31T23:59:59.999Z&end=9999-12-31",
        "start=1970-01-01", "end=9999",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["", "&by=period&period=day", "&by=period&period=week",
                                  "&by=period&period=month"])  # fmt: skip
def test_no_period_is_too_long_or_too_far_for_an_answer(
    ward: Clinic, period: str, kind: str
) -> None:
    answer = ward.as_("auditor").get(f"{REPORT}?{period}{kind}")

    assert answer.status_code in (200, 400), answer.text


@contextmanager
def without_room_for_the_log(ward: Clinic) -> Iterator[None]:
    """Nothing can be added to the ledger, though all can be read."""
    with psycopg.connect(ward._database_url, autocommit=True) as connection:
        full = "alter table audit add constraint full_up check (n < 0) not valid"
        connection.execute(full)
        try:
            yield
        finally:
            connection.execute("alter table audit drop constraint full_up")


@pytest.mark.requirement("R014.1")
@pytest.mark.parametrize("query", ["", "_format=csv", "by=person&measure=accessed"])
def test_a_report_that_cannot_be_audited_is_not_served(ward: Clinic, query: str) -> None:
    with without_room_for_the_log(ward):
        answer = ward.as_("auditor").get(f"{REPORT}?{query}")

    assert answer.status_code in (500, 503)
    assert "reported" not in answer.text
    # on a connection of its own: the one before is being closed
    again = httpx.get(f"{ward.server.base}/{REPORT}?{query}", headers=ward.as_("auditor").headers)
    assert again.status_code == 200


@pytest.mark.standard("OWASP CSV Injection")
@pytest.mark.parametrize(
    "text",
    ["=1+1", " =1+1", "\t=1", "@SUM(A1)", "+1", "-1", "\uff1d1", "\r=1", "\u00a0=1", "\ufeff=1"],
)
@pytest.mark.parametrize("place", ["organization", "person", "purpose"])
def test_no_cell_of_a_report_is_a_formula(text: str, place: str) -> None:
    """As value and as name, however it came into the ledger."""
    lines = [Line("accessed", (text,), 3)]

    report = Report(0, 1_000_000, (place,), lines, {text: text})

    (row,) = csv.DictReader(io.StringIO(written.table(report).decode(), newline=""))
    for name, value in row.items():
        assert not value.lstrip(" \t\r\n\u00a0\ufeff").startswith(("=", "+", "-", "@", "\uff1d")), (
            name
        )
