"""Outsourced acquisition and reporting over real sockets (figure 4-4)."""

import itertools
from typing import Any

import pytest

from resources import codes
from tests.dicom_bridge.build import a_series
from tests.dicom_bridge.reports.test_coming import a_structured_report
from tests.flows.clinic import Clinic
from tests.flows.pacs import Pacs, person, uids
from tests.flows.partners import (
    ACQUISITION,
    BOTH,
    BY_ITSELF,
    DELEGATED,
    DIRECT,
    EARLY,
    REPORTING,
    Partner,
    accept,
    acquired,
    an_onward_request,
    asked,
    hand_over,
    monitor,
    refused,
    reported,
)

Json = dict[str, Any]

pytestmark = pytest.mark.requirement("W4")

TERMS = [
    terms
    for size in range(5)
    for terms in itertools.combinations((DELEGATED, EARLY, DIRECT, BY_ITSELF), size)
]


def is_seen(clinic: Clinic, login: str, reference: str) -> bool:
    return clinic.as_(login).get(reference).status_code == 200


@pytest.mark.parametrize("terms", TERMS, ids="+".join)
def test_the_terms_say_who_sees_what_and_when(clinic: Clinic, terms: tuple[str, ...]) -> None:
    partner = Partner(clinic, "acquires-for", "reports-for", terms=terms)
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, BOTH)
    assert bool(partner.worklist("justify")) == (DELEGATED not in terms)

    study = acquired(clinic, partner, request, onward)
    images = f"ImagingStudy/{study['id']}"
    assert is_seen(clinic, "reporter", images) == bool({EARLY, DIRECT} & set(terms))
    assert is_seen(clinic, "gp", images) == (DIRECT in terms)
    assert partner.read(images) == 200

    report = f"DiagnosticReport/{reported(partner, onward, study)['id']}"
    assert is_seen(clinic, "reporter", images)
    assert is_seen(clinic, "reporter", report)
    released = bool({DIRECT, BY_ITSELF} & set(terms))
    assert is_seen(clinic, "gp", images) == released
    assert is_seen(clinic, "gp", report) == released
    assert bool(clinic.tasks(request, "acknowledge")) == released

    if BY_ITSELF not in terms:
        accept(clinic, onward)
    assert is_seen(clinic, "gp", images)
    assert is_seen(clinic, "gp", report)
    clinic.acknowledge(request)
    assert clinic.get("coordinator", f"ServiceRequest/{request['id']}")["status"] == "completed"


@pytest.mark.anyio
@pytest.mark.peer
@pytest.mark.requirement("R003.2")
@pytest.mark.requirement("R005.1")
async def test_images_and_report_come_from_the_pacs_of_the_partner(
    clinic: Clinic, pacs: Pacs
) -> None:
    partner, older = pacs.port.partner, a_series(1, study_date="20200101", **person(clinic))
    await pacs.port.send(*older, calling="CT1")
    (request,) = clinic.refer({"extension": WHY})
    clinic.authorise(request)
    onward = hand_over(clinic, request, partner, BOTH)
    partner.authorise()
    partner.book(onward)
    (step,) = partner.worklist("acquire")
    await pacs.prefetched(step)
    assert await pacs.holds() >= uids(older)

    (item,) = await pacs.worklist()
    images = await pacs.scan(item)
    await pacs.send(images)

    (study,) = partner.search(f"ImagingStudy?basedon=ServiceRequest/{onward['id']}")
    assert study["numberOfInstances"] == len(images)
    assert not is_seen(clinic, "reporter", f"ImagingStudy/{study['id']}")
    (step,) = partner.worklist("report")
    said = person(clinic) | {"accession": str(item.AccessionNumber)}
    await pacs.store(a_structured_report(images[0], **said))
    await pacs.send(images)

    assert partner.worklist("report") == []
    seen = monitor(clinic, onward)
    assert seen["status"] == "ready"
    (told,) = partner.search(f"DiagnosticReport?based-on=ServiceRequest/{onward['id']}")
    assert partner.reference in {one["reference"] for one in told["performer"]}
    assert not is_seen(clinic, "gp", f"DiagnosticReport/{told['id']}")
    accept(clinic, onward)
    assert is_seen(clinic, "gp", f"DiagnosticReport/{told['id']}")
    assert is_seen(clinic, "gp", f"ImagingStudy/{study['id']}")
    clinic.acknowledge(request)
    assert clinic.get("coordinator", f"ServiceRequest/{request['id']}")["status"] == "completed"


WHY = [{"url": codes.OVERRIDE_REASON, "valueCodeableConcept": {"text": "Worse since"}}]


def test_one_agreement_for_half_of_the_work_is_not_enough(clinic: Clinic) -> None:
    partner = Partner(clinic, "acquires-for")
    status, words = refused(clinic, an_onward_request(asked(clinic), partner, BOTH))
    assert (status, "reporting" in words) == (422, True)


def test_acquisition_and_reporting_may_be_with_two_organisations(clinic: Clinic) -> None:
    acquirer, reader = Partner(clinic, "acquires-for"), Partner(clinic, "reports-for")
    request = asked(clinic)
    first = hand_over(clinic, request, acquirer, ACQUISITION)
    second = hand_over(clinic, request, reader, REPORTING)
    assert refused(clinic, an_onward_request(request, reader, REPORTING))[0] == 409

    study = acquired(clinic, acquirer, request, first)
    report = reported(reader, second, study)
    accept(clinic, second)

    assert is_seen(clinic, "gp", f"DiagnosticReport/{report['id']}")
    assert is_seen(clinic, "gp", f"ImagingStudy/{study['id']}")
    clinic.acknowledge(request)
    assert clinic.get("coordinator", f"ServiceRequest/{request['id']}")["status"] == "completed"


def test_what_was_acquired_is_reported_by_the_lead_when_the_partner_gives_up(
    clinic: Clinic,
) -> None:
    partner = Partner(clinic, "acquires-for", "reports-for")
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, BOTH)
    study = acquired(clinic, partner, request, onward)
    partner.decline("report", "The reporter is ill")

    assert clinic.task(request, "acquire")["status"] == "completed"
    assert clinic.task(request, "report")["status"] == "ready"
    assert codes.has(monitor(clinic, onward)["businessStatus"], codes.DECLINED)
    assert is_seen(clinic, "reporter", f"ImagingStudy/{study['id']}")
    clinic.report(request, study)
    clinic.acknowledge(request)
