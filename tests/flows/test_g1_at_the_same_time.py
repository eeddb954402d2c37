"""G1 under contention: what happens at the same time ends as if it had happened in turn."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from resources import codes
from tests.flows.clinic import Clinic

pytestmark = pytest.mark.requirement("G1")


@pytest.mark.parametrize("_", range(5))
def test_events_at_the_same_time_leave_one_consistent_end(clinic: Clinic, _: int) -> None:
    (request,) = clinic.refer()
    acts: list[Callable[[], object]] = [
        lambda: clinic.authorise(request),
        lambda: clinic.book(request),
        lambda: clinic.images_arrive(request),
    ]

    with ThreadPoolExecutor(len(acts)) as pool:
        for done in [pool.submit(act) for act in acts]:
            done.result()

    assert clinic.task(request, "justify")["status"] == "completed"
    assert clinic.task(request, "acquire")["status"] == "completed"
    assert clinic.task(request, "report")["status"] == "ready"
    after = clinic.get("gp", f"ServiceRequest/{request['id']}")
    assert len(after["identifier"]) == 1


@pytest.mark.standard("FHIR http, Managing Resource Contention")
def test_of_two_who_claim_a_step_at_the_same_time_one_gets_it(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    task = clinic.task(request, "justify", "practitioner")
    decisions = [
        {"status": "completed", "businessStatus": codes.AUTHORISED.concept},
        {"status": "rejected", "statusReason": {"text": "no"}},
    ]

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda one: clinic.put("practitioner", {**task, **one}), decisions))

    assert sorted(one.status_code for one in answers) == [200, 412]
    status = clinic.get("gp", f"ServiceRequest/{request['id']}")["status"]
    acquires = clinic.tasks(request, "acquire")
    assert (status, len(acquires)) in {("active", 1), ("revoked", 0)}


def test_reports_and_images_at_the_same_time_lock_nobody_out(clinic: Clinic) -> None:
    (request,) = clinic.refer()
    clinic.authorise(request)
    study = clinic.images_arrive(request)
    acts: list[Callable[[], object]] = [
        lambda: clinic.images_arrive(request),
        lambda: clinic.report(request, study),
        lambda: clinic.images_arrive(request),
        lambda: clinic.report(request, study, conclusion="Another word."),
    ]

    with ThreadPoolExecutor(len(acts)) as pool:
        for done in [pool.submit(act) for act in acts]:
            done.result()

    assert clinic.task(request, "report")["status"] == "completed"
    assert len(clinic.tasks(request, "acknowledge")) == 2
    (after,) = clinic.search("gp", f"ImagingStudy?basedon=ServiceRequest/{request['id']}")
    assert after["numberOfInstances"] == 9
