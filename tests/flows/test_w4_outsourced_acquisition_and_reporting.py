"""Outsourced acquisition and reporting over real sockets (figure 4-4)."""

import itertools
from typing import Any

import pytest

from resources import codes
from tests.flows.clinic import Clinic
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
