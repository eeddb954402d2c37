"""Images that do not fit come by C-STORE: each ends where a person finds it.

The clinic's server answers over HTTP; beside it, on the same record, is an open DICOM port with a
peer of the lead and one of the organisation that acquires for it.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resources import codes
from tests.dicom_bridge.build import a_series, a_uid, an_instance
from tests.flows import ports
from tests.flows.clinic import Clinic
from tests.flows.partners import ACQUISITION, Partner, asked, hand_over, monitor
from tests.flows.ports import Port, a_number

Json = dict[str, Any]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("W2")]


@pytest.fixture(autouse=True)
def numbered(clinic: Clinic) -> None:
    """The patient has a number that nobody of the demonstration has."""
    ports.numbered(clinic)


def header(clinic: Clinic, **more: Any) -> dict[str, Any]:
    """What the images say of the patient of the test."""
    (number,) = clinic.get("gp", clinic.patient)["identifier"]
    return {"patient_id": number["value"], "birth_date": "19700101", **more}


def accession(onward: Json, ods: str) -> str:
    (number,) = [
        one["value"]
        for one in onward["identifier"]
        if one.get("system") == f"{codes.ACCESSION}/{ods}"
    ]
    return str(number)


def planned(clinic: Clinic, request: Json) -> str:
    """The Study Instance UID that was put on the worklist of the modality."""
    (study,) = studies(clinic, request)
    return next(
        str(one["value"]).removeprefix("urn:oid:")
        for one in study["identifier"]
        if one["system"] == codes.DICOM_UID
    )


def studies(clinic: Clinic, request: Json | None = None) -> list[Json]:
    """The studies of the patient, or of a request, as the lead sees them."""
    of = f"&basedon=ServiceRequest/{request['id']}" if request else ""
    return clinic.search("coordinator", f"ImagingStudy?patient={clinic.patient}{of}")


def questions(clinic: Clinic, who: Partner | None = None) -> list[Json]:
    """What is on the worklist `reconcile` of an organisation, about the patient."""
    client = who.as_("operator") if who else clinic.as_("operator")
    (row,) = client.get("List/$worklists?name=reconcile").json()["parameter"]
    search = next(part["valueUrl"] for part in row["part"] if part["name"] == "search")
    found = client.get(f"{search}&patient={clinic.patient}").json().get("entry", [])
    return [one["resource"] for one in found if one["search"]["mode"] == "match"]


def authorised(clinic: Clinic, partner: Partner) -> tuple[Json, Json]:
    """A request, and the onward request that the partner has justified and booked."""
    request = asked(clinic)
    onward = hand_over(clinic, request, partner, ACQUISITION)
    partner.authorise()
    partner.book(onward)
    return request, clinic.get("coordinator", f"ServiceRequest/{onward['id']}")


async def test_the_images_of_the_partner_come_home(clinic: Clinic, port: Port) -> None:
    request, onward = authorised(clinic, port.partner)
    number = accession(onward, port.partner.ods)
    series = a_series(2, study_uid=planned(clinic, request), **header(clinic, accession=number))

    assert await port.send(*series) == [0, 0]

    (study,) = studies(clinic, request)
    assert (study["status"], study["numberOfInstances"]) == ("available", 2)
    assert clinic.task(request, "report")["status"] == "ready"
    assert codes.has(monitor(clinic, onward)["businessStatus"], codes.ACCEPTED)
    assert questions(clinic) == questions(clinic, port.partner) == []


async def test_images_of_work_that_was_taken_back_are_kept_and_asked_about(
    clinic: Clinic, port: Port
) -> None:
    request, onward = authorised(clinic, port.partner)
    number = accession(onward, port.partner.ods)
    clinic.change("coordinator", onward, status="revoked")

    assert await port.send(an_instance(**header(clinic, accession=number))) == [0]

    (question,) = questions(clinic, port.partner)
    assert question["description"] == "The request of this accession number is not active."
    (kept,) = [one for one in studies(clinic) if one["status"] == "available"]
    assert question["focus"] == {"reference": f"ImagingStudy/{kept['id']}"}
    assert "basedOn" not in kept
    assert clinic.task(request, "acquire")["status"] not in ("completed", "cancelled")


async def test_images_of_a_request_that_was_withdrawn_are_kept_and_asked_about(
    clinic: Clinic, port: Port
) -> None:
    request, onward = authorised(clinic, port.partner)
    number = accession(onward, port.partner.ods)
    clinic.change("gp", clinic.get("gp", f"ServiceRequest/{request['id']}"), status="revoked")

    assert await port.send(an_instance(**header(clinic, accession=number))) == [0]

    (question,) = questions(clinic, port.partner)
    assert "not active" in question["description"]
    assert clinic.tasks(request, "report") == []


async def test_what_two_send_is_there_once_and_asks_nobody(clinic: Clinic, port: Port) -> None:
    request, onward = authorised(clinic, port.partner)
    number = accession(onward, port.partner.ods)
    series = a_series(2, study_uid=planned(clinic, request), **header(clinic, accession=number))

    assert await port.send(*series) == [0, 0]
    assert await port.send(*series, calling="CT1") == [0, 0]

    (study,) = studies(clinic)
    assert study["numberOfInstances"] == 2
    assert len(clinic.tasks(request, "report")) == 1
    assert questions(clinic) == questions(clinic, port.partner) == []


async def test_two_who_send_at_once_make_one_study(clinic: Clinic, port: Port) -> None:
    request, onward = authorised(clinic, port.partner)
    number = accession(onward, port.partner.ods)
    series = a_series(6, study_uid=planned(clinic, request), **header(clinic, accession=number))

    said = await asyncio.gather(port.send(*series), port.send(*reversed(series), calling="CT1"))

    assert list(said) == [[0] * 6] * 2
    (study,) = studies(clinic)
    assert study["numberOfInstances"] == 6
    assert len(clinic.tasks(request, "report")) == 1


@pytest.mark.standard("PS3.7 9.1.1.1.9")
@pytest.mark.requirement("R012.3")
async def test_what_contradicts_what_is_held_is_refused_and_asked_about_once(
    clinic: Clinic, port: Port
) -> None:
    request, onward = authorised(clinic, port.partner)
    number = accession(onward, port.partner.ods)
    about = header(clinic, accession=number, study_uid=planned(clinic, request))
    uids = [a_uid(), a_uid()]
    await port.send(*(an_instance(sop_uid=uid, **about) for uid in uids))

    others = [an_instance(sop_uid=uid, pixel=7, **about) for uid in uids]
    assert await port.send(*others, calling="CT1") == [0x0111, 0x0111]

    (question,) = questions(clinic, port.partner)
    (study,) = studies(clinic)
    assert question["focus"] == {"reference": f"ImagingStudy/{study['id']}"}
    assert "contradict" in question["description"]
    assert study["numberOfInstances"] == 2
    ended = port.partner.put(question, "operator", status="completed")
    assert ended.status_code == 200, ended.text
    assert questions(clinic, port.partner) == []

    await port.send(an_instance(sop_uid=uids[0], pixel=9, **about), calling="CT1")
    assert len(questions(clinic, port.partner)) == 1


SINCE = f"{datetime.now(UTC) + timedelta(days=1):%Y%m%d}"
"""A study date that is after whatever was asked for here, should the day end meanwhile."""


@pytest.mark.parametrize("number", ["", "RIS-77"], ids=["no number", "a number of their own"])
async def test_awaited_images_without_the_number_of_their_request_are_asked_about(
    clinic: Clinic, port: Port, number: str
) -> None:
    request, _ = authorised(clinic, port.partner)
    about = header(clinic, accession=number, study_date=SINCE)

    assert await port.send(an_instance(**about)) == [0]

    (question,) = questions(clinic, port.partner)
    (kept,) = [one for one in studies(clinic) if one["status"] == "available"]
    assert question["focus"] == {"reference": f"ImagingStudy/{kept['id']}"}
    assert "awaited" in question["description"]
    assert "basedOn" not in kept
    assert clinic.tasks(request, "report") == []


async def test_the_uid_of_the_worklist_brings_images_home_without_a_number(
    clinic: Clinic, port: Port
) -> None:
    request, onward = authorised(clinic, port.partner)
    about = header(clinic, accession="RIS-78", study_date=SINCE, study_uid=planned(clinic, request))

    assert await port.send(an_instance(**about)) == [0]

    assert clinic.task(request, "report")["status"] == "ready"
    assert codes.has(monitor(clinic, onward)["businessStatus"], codes.ACCEPTED)
    assert questions(clinic, port.partner) == []


async def test_older_images_of_the_patient_are_nothing_to_ask_about(
    clinic: Clinic, port: Port
) -> None:
    authorised(clinic, port.partner)

    assert await port.send(an_instance(**header(clinic, accession=""))) == [0]

    assert questions(clinic, port.partner) == []


async def test_images_that_come_before_their_request_are_linked_to_it_by_a_person(
    clinic: Clinic, port: Port
) -> None:
    assert await port.send(an_instance(**header(clinic, accession="")), calling="CT1") == [0]
    (study,) = studies(clinic)
    assert "basedOn" not in study
    (request,) = clinic.refer()
    clinic.authorise(request)
    clinic.book(request)
    assert clinic.tasks(request, "report") == []

    asked_for = [{"reference": f"ServiceRequest/{request['id']}"}]
    clinic.change("operator", study, basedOn=asked_for)

    assert clinic.task(request, "acquire")["status"] == "completed"
    report = clinic.task(request, "report")
    assert report["status"] == "ready"
    assert report["focus"] == {"reference": f"ImagingStudy/{study['id']}"}


async def test_images_of_another_patient_join_nothing_and_are_asked_about(
    clinic: Clinic, port: Port
) -> None:
    request, onward = authorised(clinic, port.partner)
    number = accession(onward, port.partner.ods)
    other = an_instance(patient_id=a_number(), accession=number, study_uid=planned(clinic, request))

    assert await port.send(other) == [0]

    client = port.partner.as_("operator")
    (row,) = client.get("List/$worklists?name=reconcile").json()["parameter"]
    search = next(part["valueUrl"] for part in row["part"] if part["name"] == "search")
    (question,) = [
        one["resource"]
        for one in client.get(search).json()["entry"]
        if one["search"]["mode"] == "match"
    ]
    assert question["description"] == "The patient in the images is not the patient of the request."
    assert question["for"] != {"reference": clinic.patient}
    (still,) = studies(clinic, request)
    assert still["status"] == "registered"
    assert clinic.tasks(request, "report") == []


async def test_images_before_the_partner_has_justified_leave_that_to_be_done(
    clinic: Clinic, port: Port
) -> None:
    request = asked(clinic)
    made = hand_over(clinic, request, port.partner, ACQUISITION)
    onward = clinic.get("coordinator", f"ServiceRequest/{made['id']}")
    assert not any(
        one.get("system") == f"{codes.ACCESSION}/{port.partner.ods}"
        for one in onward.get("identifier", ())
    )

    about = header(clinic, accession="", study_uid=planned(clinic, request))
    assert await port.send(an_instance(**about)) == [0]

    (study,) = studies(clinic, request)
    assert study["numberOfInstances"] == 1
    (waiting,) = port.partner.worklist("justify")
    assert waiting["status"] == "requested"
