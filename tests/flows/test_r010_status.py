"""R010.2, R010.3: several reports at once, and whether all are acknowledged in time."""

import csv
import io
from typing import Any

import pytest

from fhir_server.context import now
from resources import codes
from resources.content import written_instant
from tests.flows.clinic import Clinic, Json
from tests.flows.test_r010_acknowledgement import DAY, escalate, issued, unread


def acknowledge(clinic: Clinic, login: str, *tasks: Json, **more: str) -> Any:
    named: list[Json] = [
        {"name": "task", "valueReference": {"reference": f"Task/{one['id']}"}} for one in tasks
    ]
    named += [{"name": name, "valueString": value} for name, value in more.items()]
    body = {"resourceType": "Parameters", "parameter": named}
    return clinic.as_(login).post("Task/$acknowledge", json=body)


def status(clinic: Clinic, login: str, query: str = "") -> dict[str, dict[str, int]]:
    """The counts of the report, by what it counts and the value of that."""
    report = clinic.get(login, f"Task/$acknowledgement-status{query}")
    group = report["group"][0]
    counts = {
        f"{row['code'][0]['coding'][0]['code']}={one['value']['text']}": one["population"]
        for row in group.get("stratifier", ())
        for one in row["stratum"]
    }
    counts["total="] = group["population"]
    return {
        key: {one["code"]["coding"][0]["code"]: one["count"] for one in population}
        for key, population in counts.items()
    }


def drill_downs(clinic: Clinic, login: str) -> dict[str, str]:
    report = clinic.get(login, "Task/$acknowledgement-status")
    return {
        f"{row['code'][0]['coding'][0]['code']}={one['value']['text']}": one["extension"][0][
            "valueUrl"
        ]
        for row in report["group"][0]["stratifier"]
        for one in row["stratum"]
    }


@pytest.mark.requirement("R010.2")
def test_several_routine_reports_are_acknowledged_at_once(clinic: Clinic) -> None:
    _, first = issued(clinic)
    _, second = issued(clinic)

    answer = acknowledge(clinic, "gp", first, second, note="Both seen")

    assert answer.status_code == 200, answer.text
    assert unread(clinic, "gp") == []
    done = clinic.get("gp", f"Task/{first['id']}")
    assert codes.has(done["businessStatus"], codes.ACKNOWLEDGED)
    assert done["note"][0]["text"] == "Both seen"
    assert done["executionPeriod"]["end"] == done["meta"]["lastUpdated"]


@pytest.mark.requirement("R010.2")
@pytest.mark.parametrize("category", ["critical", "urgent", "significant", "cancer"])
def test_an_urgent_report_among_several_is_refused_with_all_of_them(
    clinic: Clinic, category: str
) -> None:
    _, routine = issued(clinic)
    _, flagged = issued(clinic, category)

    assert acknowledge(clinic, "gp", routine, flagged).status_code == 422

    assert {one["id"] for one in unread(clinic, "gp")} == {routine["id"], flagged["id"]}
    assert acknowledge(clinic, "gp", flagged).status_code == 200, "by itself it is not"


@pytest.mark.requirement("R010.2")
def test_acknowledging_again_changes_nothing(clinic: Clinic) -> None:
    _, task = issued(clinic)
    first = acknowledge(clinic, "gp", task)

    again = acknowledge(clinic, "gp", task)

    assert again.json() == first.json()
    assert clinic.get("gp", f"Task/{task['id']}")["meta"]["versionId"] == "2"


@pytest.mark.requirement("R009.3")
def test_a_superseded_report_is_not_acknowledged(clinic: Clinic) -> None:
    _, _, report = clinic.reported()
    (task,) = unread(clinic, "gp")
    clinic.change("reporter", report, status="corrected", conclusion="Corrected.")

    assert acknowledge(clinic, "gp", task).status_code == 409


@pytest.mark.requirement("R010.2")
@pytest.mark.parametrize("login", ["reporter", "practitioner", "reviewer", "westvale-coordinator"])
def test_only_who_answers_for_a_report_acknowledges_it(clinic: Clinic, login: str) -> None:
    _, task = issued(clinic)

    assert acknowledge(clinic, login, task).status_code in (403, 404)

    assert len(unread(clinic, "gp")) == 1


@pytest.mark.requirement("R010.2")
def test_what_changes_something_is_not_asked_for_with_get(clinic: Clinic) -> None:
    _, task = issued(clinic)

    answer = clinic.as_("gp").get(f"Task/$acknowledge?task={task['id']}")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.requirement("R010.3")
def test_a_provider_sees_how_many_reports_wait_and_how_many_are_overdue(clinic: Clinic) -> None:
    before = status(clinic, "coordinator")["total="]
    _, waiting = issued(clinic)
    _, flagged = issued(clinic, "critical")
    request, _ = issued(clinic)
    clinic.acknowledge(request)

    after = status(clinic, "coordinator")

    added = {name: count - before[name] for name, count in after["total="].items()}
    assert added == {"issued": 3, "open": 2, "overdue": 0, "acknowledged": 1, "superseded": 0}
    assert after["category=critical"]["open"] >= 1
    assert after["issuer=Organization/northmoor"]["issued"] >= 3
    assert after["organization=Organization/harbour"]["acknowledged"] >= 1
    assert after["referrer=PractitionerRole/gp"]["open"] >= 2
    assert waiting["id"] != flagged["id"]


@pytest.mark.standard("FHIR dateTime")
def test_an_acknowledgement_that_was_asked_for_in_a_month_is_counted(clinic: Clinic) -> None:
    before = status(clinic, "gp")["total="]["issued"]
    month = written_instant(now())[:7]

    recipient = [{"reference": "PractitionerRole/gp"}]
    clinic.post("gp", by_hand(clinic, period={"end": month}, recipient=recipient))

    assert status(clinic, "gp")["total="]["issued"] == before + 1


@pytest.mark.requirement("R010.3")
def test_what_is_for_nobody_is_not_counted(clinic: Clinic) -> None:
    before = status(clinic, "gp")["total="]["issued"]

    clinic.post("gp", by_hand(clinic))

    assert status(clinic, "gp")["total="]["issued"] == before


def by_hand(clinic: Clinic, **restriction: Any) -> Json:
    """An acknowledgement that somebody asks for without a request, in this month."""
    return {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "code": codes.ACKNOWLEDGE.concept,
        "for": {"reference": clinic.patient},
        "authoredOn": written_instant(now())[:7],
        "requester": {"reference": "PractitionerRole/gp"},
        "owner": {"reference": "PractitionerRole/gp"},
        **({"restriction": restriction} if restriction else {}),
    }


@pytest.mark.requirement("R010.3")
def test_each_count_leads_to_what_it_counts(clinic: Clinic) -> None:
    issued(clinic, "cancer")
    issued(clinic)
    counts = status(clinic, "coordinator")

    for key, address in drill_downs(clinic, "coordinator").items():
        search = address.removeprefix(f"{clinic.server.base}/")
        found = clinic.get("coordinator", f"{search}&_summary=count")
        assert found["total"] == counts[key]["issued"], address


@pytest.mark.requirement("R010.3")
def test_the_times_are_the_median_and_the_95th_percentile(clinic: Clinic) -> None:
    request, _ = issued(clinic)
    clinic.acknowledge(request)

    report = clinic.get("coordinator", "Task/$acknowledgement-status")

    median, high = report["group"][1]["measureScore"], report["group"][2]["measureScore"]
    assert (median["code"], high["code"]) == ("min", "min")
    assert 0 <= median["value"] <= high["value"]


@pytest.mark.requirement("R010.3")
def test_the_status_is_also_a_table(clinic: Clinic) -> None:
    issued(clinic)

    answer = clinic.as_("coordinator").get("Task/$acknowledgement-status?_format=text/csv")

    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    total = status(clinic, "coordinator")["total="]
    assert int(rows[0]["open"]) == total["open"]
    assert {"issuer", "organization", "referrer", "category"} <= {row["by"] for row in rows}


@pytest.mark.requirement("R010.3")
def test_an_organisation_counts_its_own_side_alone(clinic: Clinic) -> None:
    theirs = status(clinic, "clearscan-practitioner")["total="]
    ours = status(clinic, "gp")["total="]
    issued(clinic)

    assert status(clinic, "clearscan-practitioner")["total="] == theirs
    assert status(clinic, "gp")["total="]["issued"] == ours["issued"] + 1


@pytest.mark.requirement("R010.3")
def test_what_was_escalated_stays_on_the_list_of_the_fail_safe_officer(clinic: Clinic) -> None:
    _, task = issued(clinic)
    escalate(clinic, now() + 15 * DAY)

    search = (
        f"Task?code={codes.IMAGING_STEP}|acknowledge&requester=Organization/northmoor"
        f"&business-status=escalated&patient={clinic.patient}"
    )
    assert [one["id"] for one in clinic.search("coordinator", search)] == [task["id"]]


@pytest.mark.parametrize("query", ["?start=nonsense", "?start=2026-02-01&end=2026-01-01", "?by=x"])
def test_a_period_that_is_none_is_refused(clinic: Clinic, query: str) -> None:
    assert clinic.as_("gp").get(f"Task/$acknowledgement-status{query}").status_code == 400
