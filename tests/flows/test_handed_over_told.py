"""Of work that is handed over those are told who have to do with it, and the lead keeps its eye."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from fhir_server.audit.ledger import Ledger
from fhir_server.postgres.database import Database
from fhir_server.store.store import Hooks, Store
from fhir_server.store.unit_of_work import Work
from resources import codes
from subscriptions.matcher import Matcher
from subscriptions.registration import Registration
from tests.build import a_step
from tests.dicom_bridge.ups.build import Station, to
from tests.flows.clinic import Clinic
from tests.flows.partners import (
    ACQUISITION,
    REPORTING,
    Partner,
    acquired,
    an_onward_request,
    asked,
    hand_over,
    monitor,
)
from tests.flows.ports import Port
from tests.subscriptions.wanting import TOPICS, somebody, subscribed, subscription, told

Json = dict[str, Any]


@pytest.fixture
async def database(clinic: Clinic) -> AsyncIterator[Database]:
    """That of the clinic's server."""
    opened = Database(clinic._database_url, size=2)
    await opened.open()
    yield opened
    await opened.close()


@pytest.mark.anyio
@pytest.mark.requirement("W2")
async def test_whoever_is_let_look_is_told_of_it_and_nobody_else(
    clinic: Clinic, database: Database
) -> None:
    partner, stranger = Partner(clinic, "acquires-for"), Partner(clinic)
    registration = Registration(clinic.server.base, lambda endpoint, organization: None)

    async def follow(work: Work) -> None:
        registration.follow(work)

    hooks = Hooks(completions={"Subscription": registration.completed}, follow=follow)
    store = Store(database, Ledger(database), hooks, clinic.server.base)
    wanted = subscription(f"{TOPICS}/study-access-granted")
    theirs = await subscribed(store, wanted, somebody(partner.id))
    others = await subscribed(store, wanted, somebody(stranger.id))
    matcher = Matcher(database, clinic.server.base)
    await matcher.catch_up()

    hand_over(clinic, asked(clinic), partner, ACQUISITION)
    await matcher.catch_up()

    (granted,) = partner.search(f"Consent?actor={partner.reference}&status=active")
    assert f"Consent/{granted['id']}/1" in await told(database, theirs)
    assert await told(database, others) == []


def with_own_monitor(
    clinic: Clinic, request: Json, partner: Partner, status: str
) -> httpx.Response:
    """Hand work over, and post the step by which the lead sees to it in the same transaction."""
    name = f"urn:uuid:{uuid.uuid4()}"
    own = a_step(
        "monitor",
        None,
        status=status,
        focus={"reference": name},
        basedOn=[{"reference": name}],
        owner={"reference": "Organization/northmoor"},
        requester={"reference": "Organization/northmoor"},
        **{"for": request["subject"], "groupIdentifier": request["requisition"]},
    )
    onward = an_onward_request(request, partner, ACQUISITION)
    entries = [
        {
            "fullUrl": name if one is onward else f"urn:uuid:{uuid.uuid4()}",
            "resource": one,
            "request": {"method": "POST", "url": one["resourceType"]},
        }
        for one in (onward, own)
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    return clinic.as_("coordinator").post("", content=json.dumps(bundle))


@pytest.mark.requirement("W2")
def test_a_step_by_which_the_lead_itself_sees_to_it_works_as_that_of_the_server(
    clinic: Clinic,
) -> None:
    partner, request = Partner(clinic, "acquires-for"), asked(clinic)

    answer = with_own_monitor(clinic, request, partner, "requested")
    assert answer.status_code == 200, answer.text
    made = answer.json()["entry"][0]["response"]["location"].split("/")[-3]
    onward = clinic.get("coordinator", f"ServiceRequest/{made}")
    own = monitor(clinic, onward)
    assert own["status"] == "in-progress"
    assert codes.has(own["businessStatus"], codes.OUTSOURCED)

    acquired(clinic, partner, request, onward)
    assert codes.has(monitor(clinic, onward)["businessStatus"], codes.ACCEPTED)
    assert clinic.get("coordinator", f"ServiceRequest/{made}")["status"] == "completed"


@pytest.mark.requirement("W2")
@pytest.mark.parametrize(
    ("status", "refused"), [("draft", 409), ("in-progress", 403), ("completed", 422)]
)
def test_no_step_by_which_the_lead_sees_to_it_begins_otherwise(
    clinic: Clinic, status: str, refused: int
) -> None:
    partner, request = Partner(clinic, "acquires-for"), asked(clinic)

    assert with_own_monitor(clinic, request, partner, status).status_code == refused
    assert partner.worklist("justify") == []


@pytest.mark.anyio
@pytest.mark.standard("PS3.4 CC.2.1")
@pytest.mark.requirement("W3")
@pytest.mark.requirement("R005.2")
async def test_a_report_that_is_handed_over_is_a_workitem_of_who_reports(
    clinic: Clinic, port: Port
) -> None:
    request, partner = asked(clinic), port.partner
    clinic.book(request)
    study = await asyncio.to_thread(clinic.images_arrive, request)
    hand_over(clinic, request, partner, REPORTING)
    (step,) = partner.worklist("report")
    lead, theirs = Station(port.archive, "CT1"), Station(port.archive, "CT2")

    (row,) = await theirs.find(ProcedureStepState="SCHEDULED", PatientName="")
    status, ds = await theirs.get(row.SOPInstanceUID)

    assert status == 0x0000
    assert ds is not None
    uid = next(one["value"] for one in study["identifier"] if one["system"] == codes.DICOM_UID)
    assert uid == f"urn:oid:{ds.InputInformationSequence[0].StudyInstanceUID}"
    assert ds.ScheduledWorkitemCodeSequence[0].CodeValue == "110005"
    # It is a person who reports: a station alone takes it no more than the lead does.
    assert await theirs.move(to("IN PROGRESS"), row.SOPInstanceUID) == 0x0124
    assert await lead.move(to("IN PROGRESS", "1.2.77.2"), row.SOPInstanceUID) == 0x0124

    taken = partner.put(
        step, "reporter", status="in-progress", owner={"reference": partner.reporter}
    )

    assert taken.status_code == 200, taken.text
    _, ds = await theirs.get(row.SOPInstanceUID)
    assert ds is not None
    assert ds.ProcedureStepState == "IN PROGRESS"
    assert await theirs.find(ProcedureStepState="SCHEDULED") == []
