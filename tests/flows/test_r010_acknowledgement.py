"""R010: a referrer's unacknowledged reports, and how one leaves the list."""

import pytest

from resources import codes
from tests.flows.clinic import Clinic, Json


def unread(clinic: Clinic, login: str) -> list[Json]:
    return clinic.search(
        login,
        f"Task?code={codes.IMAGING_STEP}|acknowledge&status=requested,received,accepted"
        f"&owner=PractitionerRole/{login}&patient={clinic.patient}",
    )


@pytest.mark.requirement("R010.1")
def test_a_referrer_sees_the_reports_they_have_not_acknowledged(clinic: Clinic) -> None:
    _, _, first = clinic.reported()
    _, _, second = clinic.reported()

    listed = {one["focus"]["reference"].split("/")[1] for one in unread(clinic, "gp")}

    assert listed == {first["id"], second["id"]}
    assert unread(clinic, "gp2") == []


@pytest.mark.requirement("R010.2")
def test_acknowledging_takes_a_report_off_the_list(clinic: Clinic) -> None:
    request, _, _ = clinic.reported()
    _, _, other = clinic.reported()

    clinic.acknowledge(request)

    (left,) = unread(clinic, "gp")
    assert left["focus"]["reference"] == f"DiagnosticReport/{other['id']}/_history/1"


@pytest.mark.requirement("R010.1")
def test_somebody_of_the_same_practice_may_acknowledge_for_them(clinic: Clinic) -> None:
    request, _, _ = clinic.reported()

    done = clinic.acknowledge(request, login="gp2")

    assert done["status"] == "completed"
    assert unread(clinic, "gp") == []


@pytest.mark.requirement("R010.2")
def test_nobody_else_acknowledges_for_the_referrer(clinic: Clinic) -> None:
    request, _, _ = clinic.reported()
    task = clinic.task(request, "acknowledge")

    for login in ("reporter", "practitioner", "westvale-practitioner"):
        answer = clinic.put(login, {**task, "status": "completed"})
        assert answer.status_code in (403, 404, 412), login
    assert len(unread(clinic, "gp")) == 1


@pytest.mark.requirement("R009.3")
def test_an_amended_report_is_to_be_acknowledged_again(clinic: Clinic) -> None:
    _, _, report = clinic.reported()

    clinic.change("reporter", report, status="amended", conclusion="Small infarct after all.")

    (left,) = unread(clinic, "gp")
    assert left["focus"]["reference"] == f"DiagnosticReport/{report['id']}/_history/2"
