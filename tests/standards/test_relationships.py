"""What makes an organisation have to do with a patient, how long it counts, and what does not."""

from typing import Any

import pytest

from fhir_server.access.relationship import DAY
from fhir_server.context import now
from fhir_server.store.store import Store
from resources import codes
from tests import build
from tests.standards.test_governance import (
    a_note,
    by,
    finds,
    house,
    reads,
    system,
    write,
)

__all__ = ["house"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R014.1")]

Json = dict[str, Any]
P1 = {"reference": "Patient/p1"}
FOURTH = {"reference": "Organization/fourth"}
ROLE = {"reference": "PractitionerRole/fourth"}
LONGEST = 400 * DAY


def a_task(**members: Any) -> Json:
    return {"resourceType": "Task", "status": "requested", "intent": "order", "for": P1,
            "code": {"text": "x"}, **members}  # fmt: skip


MAKES: dict[str, tuple[Json, Json]] = {
    "the performer of a request": (
        {**build.a_request(), "performer": [FOURTH], "subject": P1}, {"status": "revoked"}),
    "the requester of a request": (
        {**build.a_request(), "requester": ROLE, "subject": P1}, {"status": "revoked"}),
    "the owner of a step": (a_task(owner=FOURTH), {"status": "cancelled"}),
    "who asked for a step": (a_task(requester=ROLE), {"status": "cancelled"}),
    "who is asked for an opinion": (
        a_task(restriction={"recipient": [FOURTH]}), {"status": "cancelled"}),
    "who is to review at a meeting": (
        a_task(code=codes.MDT_REVIEW.concept, restriction={"recipient": [ROLE]}, focus=P1),
        {"status": "cancelled"}),
    "who takes part in an appointment": (
        build.an_appointment(participant=[{"actor": P1, "status": "accepted"},
                                          {"actor": ROLE, "status": "accepted"}]),
        {"status": "fulfilled"}),
    "who provides an encounter": (
        {"resourceType": "Encounter", "status": "planned", "class": {"code": "AMB"},
         "subject": P1, "serviceProvider": FOURTH}, {"status": "finished"}),
    "who took the images": (
        {"resourceType": "ImagingStudy", "status": "registered", "subject": P1,
         "series": [{"uid": "1.2", "modality": {"code": "CT"},
                     "performer": [{"actor": FOURTH}]}]}, {"status": "cancelled"}),
    "who reports": (
        {"resourceType": "DiagnosticReport", "status": "preliminary", "code": {"text": "x"},
         "subject": P1, "resultsInterpreter": [ROLE]}, {"status": "cancelled"}),
}  # fmt: skip
"""Of an organisation that is in nothing else: what makes it a party, and what ends that."""


def plain(resource: Json) -> Json:
    """Without what refers to things that are not in this house."""
    gone = {"requester", "basedOn", "reasonReference", "supportingInfo", "encounter", "id"}
    kept = {name: value for name, value in resource.items() if name not in gone}
    for name in ("requester",):
        if resource.get(name) == ROLE:
            kept[name] = ROLE
    return {**kept, "id": "it"}


@pytest.mark.parametrize("kind", MAKES)
async def test_a_party_to_the_work_sees_the_patient_while_it_lasts_and_some_days_longer(
    house: Store, kind: str
) -> None:
    resource, ending = MAKES[kind]
    assert not await reads(house, by("fourth"), "Patient", "p1")

    await write(house, system(), plain(resource))

    assert await reads(house, by("fourth"), "Patient", "p1")
    assert await finds(house, by("fourth"), "patient=p1") == ["lead", "other", "third"]
    assert not await reads(house, by("fourth"), "Patient", "p2")
    assert await reads(house, by("fourth", instant=now() + LONGEST), "Patient", "p1")
    await write(house, system(), {**plain(resource), **ending, "_if_match": 1})
    assert await reads(house, by("fourth", instant=now() + DAY), "Patient", "p1")
    assert not await reads(house, by("fourth", instant=now() + LONGEST), "Patient", "p1")


@pytest.mark.parametrize("member", ["generalPractitioner", "managingOrganization"])
async def test_the_practice_and_who_keeps_the_record_see_the_patient(
    house: Store, member: str
) -> None:
    named: Any = [ROLE] if member == "generalPractitioner" else FOURTH

    await write(house, system(), build.a_patient("p3", **{member: named}))

    assert await reads(house, by("fourth"), "Patient", "p3")


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "OrganizationAffiliation", "organization": {
            "reference": "Organization/lead"}, "participatingOrganization": FOURTH},
        {"resourceType": "List", "status": "current", "mode": "working", "source": ROLE,
         "subject": P1},
        {"resourceType": "Flag", "status": "active", "code": {"text": "x"}, "subject": P1,
         "author": FOURTH},
        a_note("it", performer=[FOURTH]),
        a_task(owner=FOURTH, status="entered-in-error"),
    ],
    ids=lambda resource: resource["resourceType"],
)  # fmt: skip
async def test_being_named_beside_the_work_shows_nothing_of_the_patient(
    house: Store, resource: Json
) -> None:
    await write(house, system(), {**resource, "id": "it"})

    assert not await reads(house, by("fourth"), "Patient", "p1")
    assert "lead" not in await finds(house, by("fourth"), "patient=p1")
