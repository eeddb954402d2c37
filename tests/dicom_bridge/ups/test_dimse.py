"""Unified Procedure Steps over DIMSE: given, found, taken, done and called off."""

import asyncio
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from resources import codes, validate
from tests.dicom_bridge.conftest import Archive, found
from tests.dicom_bridge.ups.build import (
    PULL,
    PUSH,
    QUERY,
    WATCH,
    Station,
    a_code,
    a_ups,
    done,
    post_process,
    to,
)  # fmt: skip

pytestmark = pytest.mark.anyio


async def one(bridge: Bridge, type_: str, **criteria: str) -> dict[str, Any]:
    (resource,) = await found(bridge, type_, **criteria)
    return resource


@pytest.mark.standard("PS3.4 CC.2.5.3")
@pytest.mark.requirement("R005.2")
async def test_a_step_that_is_pushed_is_a_task_of_who_pushed_it(archive: Archive) -> None:
    assert await Station(archive).create(a_ups()) == 0x0000

    task = await one(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.1")
    patient = await one(archive.bridge, "Patient", identifier=f"{codes.MRN}/ZZ901|L77")
    assert task["status"] == "ready"
    assert task["for"] == {"reference": f"Patient/{patient['id']}"}
    assert task["owner"] == task["requester"] == {"reference": "Organization/lead"}
    assert task["code"]["text"] == "Make thin slices"
    assert task["code"]["coding"][0]["code"] == "110001"
    assert task["meta"]["source"] == f"{codes.AE_TITLE}/CT1"


@pytest.mark.standard("PS3.4 CC.2.7.3")
async def test_a_step_is_read_as_it_was_pushed_without_the_transaction_uid(
    archive: Archive,
) -> None:
    station = Station(archive)
    await station.create(a_ups())
    await station.move(to("IN PROGRESS"))

    status, ds = await station.get()

    assert status == 0x0000
    assert ds is not None
    assert (ds.SOPClassUID, ds.SOPInstanceUID) == (PUSH, "1.2.9.1")
    assert (ds.ProcedureStepState, ds.WorklistLabel) == ("IN PROGRESS", "RECONSTRUCTION")
    assert (str(ds.PatientName), ds.PatientID) == ("Rowe^Wanda", "L77")
    assert ds.ScheduledWorkitemCodeSequence[0].CodeValue == "110001"
    assert "TransactionUID" not in ds


@pytest.mark.standard("PS3.4 CC.2.7.2")
async def test_only_what_is_asked_for_is_read(archive: Archive) -> None:
    station = Station(archive)
    await station.create(a_ups())

    status, ds = await station.get("1.2.9.1", 0x00741000, 0x00081195, 0x00404011)

    assert status == 0x0000
    assert ds is not None
    assert [element.keyword for element in ds] == [
        "ExpectedCompletionDateTime", "ProcedureStepState",
    ]  # fmt: skip


@pytest.mark.standard("PS3.4 CC.2.1.3")
async def test_a_step_is_taken_done_and_ended_by_who_has_its_transaction_uid(
    archive: Archive,
) -> None:
    station = Station(archive)
    await station.create(a_ups())
    progress = Dataset()
    progress.ProcedureStepProgress, progress.ProcedureStepProgressDescription = "40", "reading"
    under_way = Dataset()
    under_way.TransactionUID = "1.2.77.1"
    under_way.ProcedureStepProgressInformationSequence = [progress]

    said = [
        await station.move(to("IN PROGRESS")),
        await station.set(under_way),
        await station.set(done()),
        await station.move(to("COMPLETED")),
    ]

    assert said == [0x0000] * 4
    task = await one(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.1")
    assert task["status"] == "completed"
    assert task["executionPeriod"] == {
        "start": "2026-11-25T09:01:00+00:00", "end": "2026-11-25T09:15:00+00:00",
    }  # fmt: skip
    device = await one(archive.bridge, "Device", identifier=f"{codes.AE_TITLE}|CT1")
    assert task["owner"] == {"reference": f"Device/{device['id']}"}
    _, ds = await station.get()
    assert ds is not None
    assert ds.ProcedureStepProgressInformationSequence[0].ProcedureStepProgress == "40"


REFUSED: dict[str, list[tuple[Dataset, int]]] = {
    "SCHEDULED": [
        (to("SCHEDULED"), 0xC303),
        (to("COMPLETED"), 0xC310),
        (to("CANCELED"), 0xC310),
        (to("FINISHED"), 0x0115),
        (to("IN PROGRESS", None), 0xC301),
        (to("COMPLETED", None), 0xC301),
        (to("CANCELED", None), 0xC301),
    ],
    "IN PROGRESS": [
        (to("SCHEDULED"), 0xC303),
        (to("IN PROGRESS"), 0xC302),
        (to("IN PROGRESS", "1.2.77.2"), 0xC301),
        (to("IN PROGRESS", None), 0xC301),
        (to("COMPLETED", "1.2.77.2"), 0xC301),
        (to("COMPLETED", None), 0xC301),
        (to("CANCELED", "1.2.77.2"), 0xC301),
        (to("CANCELED", None), 0xC301),
        (to("COMPLETED"), 0xC304),
    ],
    "COMPLETED": [
        (to("SCHEDULED"), 0xC303),
        (to("SCHEDULED", "1.2.77.2"), 0xC303),
        (to("IN PROGRESS"), 0xC300),
        (to("IN PROGRESS", "1.2.77.2"), 0xC301),
        (to("COMPLETED"), 0xB306),
        (to("COMPLETED", "1.2.77.2"), 0xC301),
        (to("COMPLETED", None), 0xC301),
        (to("CANCELED"), 0xC300),
        (to("CANCELED", "1.2.77.2"), 0xC301),
    ],
    "CANCELED": [
        (to("SCHEDULED"), 0xC303),
        (to("IN PROGRESS"), 0xC300),
        (to("IN PROGRESS", None), 0xC301),
        (to("COMPLETED"), 0xC300),
        (to("COMPLETED", "1.2.77.2"), 0xC301),
        (to("CANCELED"), 0xB304),
        (to("CANCELED", "1.2.77.2"), 0xC301),
        (to("CANCELED", None), 0xC301),
    ],
}
"""State, what is asked then, and what is said (Tables CC.1.1-2 and CC.2.1-2)."""


@pytest.mark.standard("PS3.4 Table CC.1.1-2")
async def test_a_state_follows_from_the_one_before_or_is_refused(archive: Archive) -> None:
    station = Station(archive)
    for number, (state, refusals) in enumerate(REFUSED.items()):
        uid = f"1.2.9.{number}"
        await station.create(a_ups(), uid)
        if state != "SCHEDULED":
            assert await station.move(to("IN PROGRESS"), uid) == 0x0000
        if state == "COMPLETED":
            await station.set(done(), uid)
        if state in ("COMPLETED", "CANCELED"):
            assert await station.move(to(state), uid) == 0x0000

        for asked, status in refusals:
            assert await station.move(asked, uid) == status, (state, asked)
        _, ds = await station.get(uid)
        assert ds is not None
        assert ds.ProcedureStepState == state


BEGINNINGS: list[tuple[dict[str, Any], int]] = [
    ({"ProcedureStepState": "IN PROGRESS"}, 0xC309),
    ({"ProcedureStepState": None}, 0xC309),
    ({"ScheduledProcedureStepPriority": None}, 0x0120),
    ({"ProcedureStepLabel": ""}, 0x0121),
    ({"ScheduledProcedureStepStartDateTime": ""}, 0x0121),
    ({"InputReadinessState": "SOON"}, 0x0106),
    ({"ScheduledProcedureStepPriority": "STAT"}, 0x0106),
    ({"TransactionUID": "1.2.3"}, 0x0106),
    ({"UnifiedProcedureStepPerformedProcedureSequence": [Dataset()]}, 0x0106),
    ({"WorklistLabel": ""}, 0xB300),
]


@pytest.mark.standard("PS3.4 Table CC.2.5-3")
async def test_a_step_that_does_not_begin_as_one_is_refused(archive: Archive) -> None:
    for number, (changes, status) in enumerate(BEGINNINGS):
        uid = f"1.2.9.{number}"
        assert await Station(archive).create(a_ups(**changes), uid) == status, changes

        tasks = await found(archive.bridge, "Task", identifier=f"urn:dicom:uid|urn:oid:{uid}")
        assert len(tasks) == (1 if status == 0xB300 else 0)


FINAL = (
    "PerformedStationNameCodeSequence", "PerformedWorkitemCodeSequence",
    "PerformedProcedureStepStartDateTime", "PerformedProcedureStepEndDateTime",
    "OutputInformationSequence",
)  # fmt: skip


@pytest.mark.standard("PS3.4 Table CC.2.5-3, Final State")
async def test_a_step_is_not_completed_before_it_is_said_what_was_done(archive: Archive) -> None:
    station = Station(archive)
    await station.create(a_ups())
    await station.move(to("IN PROGRESS"))
    for missing in FINAL:
        await station.set(done(without=missing))
        assert await station.move(to("COMPLETED")) == 0xC304, missing

    await station.set(done())
    assert await station.move(to("COMPLETED")) == 0x0000


@pytest.mark.standard("PS3.4 CC.2.6.3")
async def test_who_does_not_hold_a_step_does_not_change_it(archive: Archive) -> None:
    station, other = Station(archive), Station(archive, "CT3")
    label = Dataset()
    label.ProcedureStepLabel = "Make thick slices"
    early = Dataset()
    early.ProcedureStepLabel, early.TransactionUID = "x", "1.2.77.1"
    state = Dataset()
    state.ProcedureStepState = "COMPLETED"
    scheduled = Dataset()
    scheduled.ProcedureStepState = "SCHEDULED"
    name = Dataset()
    name.PatientName = "Else^Somebody"

    await station.create(a_ups())
    said = [
        await other.set(label),
        await station.set(early),
        await station.set(state),
        await station.set(scheduled),
        await station.set(name),
        await station.move(to("IN PROGRESS")),
        await other.set(label),
        await other.set(done("1.2.77.2")),
        await other.move(to("CANCELED", "1.2.77.2")),
        await station.move(to("CANCELED")),
        await station.set(done()),
        await station.set(label, "1.2.9.99"),
    ]

    assert said == [
        0x0000, 0xC310, 0x0106, 0xC303, 0x0106, 0x0000,
        0xC301, 0xC301, 0xC301, 0x0000, 0xC300, 0xC307,
    ]  # fmt: skip
    task = await one(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.1")
    assert (task["code"]["text"], task["status"]) == ("Make thick slices", "failed")


@pytest.mark.standard("PS3.4 CC.2.2.3")
async def test_a_step_that_nobody_has_begun_is_canceled_when_that_is_asked_for(
    archive: Archive,
) -> None:
    station, information = Station(archive), Dataset()
    information.ReasonForCancellation = "Made twice"
    information.ProcedureStepDiscontinuationReasonCodeSequence = [a_code("110510", "Duplicate")]
    await station.create(a_ups())

    said = [
        await station.act(information, 2, "1.2.9.1", PUSH),
        await station.act(information, 2, "1.2.9.1", WATCH),
        await station.act(None, 2, "1.2.9.2", PUSH),
    ]

    assert said == [0x0000, 0xB304, 0xC307]
    task = await one(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.1")
    assert task["status"] == "cancelled"
    _, ds = await station.get()
    assert ds is not None
    (progress,) = ds.ProcedureStepProgressInformationSequence
    assert progress.ReasonForCancellation == "Made twice"
    assert progress.ProcedureStepCancellationDateTime
    assert progress.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110510"


@pytest.mark.standard("PS3.4 CC.2.2.3")
async def test_the_performer_of_a_step_under_way_is_asked_to_cancel_it(archive: Archive) -> None:
    station, other, information = Station(archive), Station(archive, "CT3"), Dataset()
    information.ReasonForCancellation, information.ContactDisplayName = "Not needed", "Ward 7"
    await station.create(a_ups())
    await station.move(to("IN PROGRESS"))

    assert await other.act(information, 2, "1.2.9.1", PUSH) == 0x0000

    task = await one(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.1")
    assert task["status"] == "in-progress"
    assert "CT3 asks for this to be cancelled: Not needed" in task["note"][-1]["text"]
    assert await station.set(done()) == 0x0000, "it is held by its performer still"
    assert await station.move(to("COMPLETED")) == 0x0000
    assert await other.act(information, 2, "1.2.9.1", PUSH) == 0xC311


@pytest.mark.standard("PS3.4 CC.2.8")
async def test_steps_are_found_by_what_they_are(archive: Archive) -> None:
    station, code = Station(archive), Dataset()
    code.CodeValue = "110001"
    await station.create(a_ups(), "1.2.9.1")
    await station.create(a_ups(ProcedureStepLabel="Register"), "1.2.9.2")
    await station.move(to("IN PROGRESS"), "1.2.9.2")
    await post_process(archive.bridge)

    async def uids(under: str = QUERY, **keys: Any) -> set[str]:
        return {ds.SOPInstanceUID for ds in await station.find(under, **keys)}

    for under in (PULL, WATCH):
        assert await uids(under, ProcedureStepState="IN PROGRESS") == {"1.2.9.2"}
    assert {"1.2.9.1", "1.2.9.2"} < await uids()
    assert await uids(ProcedureStepState="IN PROGRESS") == {"1.2.9.2"}
    assert await uids(ProcedureStepLabel="Regis*") == {"1.2.9.2"}
    assert await uids(SOPInstanceUID="1.2.9.1") == {"1.2.9.1"}
    assert await uids(PatientName="rowe^*", ProcedureStepState="SCHEDULED") == {"1.2.9.1"}
    assert await uids(ScheduledProcedureStepStartDateTime="20261125-20261126") >= {"1.2.9.1"}
    assert await uids(ScheduledProcedureStepStartDateTime="20271125-") == set()
    assert len(await uids(ScheduledWorkitemCodeSequence=[code])) == 3
    assert await uids(ProcedureStepState="FINISHED") == set()


@pytest.mark.requirement("R005.2")
async def test_a_step_of_the_house_is_a_ups_with_its_request_and_its_images(
    archive: Archive,
) -> None:
    await post_process(archive.bridge)
    (row,) = [
        ds
        for ds in await Station(archive).find(
            ProcedureStepState="SCHEDULED", ScheduledWorkitemCodeSequence=[]
        )
        if ds.ScheduledWorkitemCodeSequence[0].CodeValue == "110001"
    ]

    status, ds = await Station(archive).get(row.SOPInstanceUID)

    assert status == 0x0000
    assert ds is not None
    assert str(ds.PatientName) == "Testcase^Robin"
    assert ds.StudyInstanceUID == "1.2.3.4"
    assert len(ds.InputInformationSequence[0].ReferencedSOPSequence) == 2
    assert ds.ReferencedRequestSequence[0].RequestedProcedureDescription == "CT of head"
    assert ds.ScheduledWorkitemCodeSequence[0].CodeValue == "110001"
    assert await Station(archive).move(to("IN PROGRESS"), row.SOPInstanceUID) == 0x0000
    assert (await one(archive.bridge, "Task", _id="t1"))["status"] == "in-progress"


@pytest.mark.standard("threats T1")
async def test_the_steps_of_others_are_not_there(archive: Archive) -> None:
    mine, theirs = Station(archive), Station(archive, "CT2")
    await mine.create(a_ups())

    said = [
        (await theirs.get())[0],
        await theirs.set(done()),
        await theirs.move(to("IN PROGRESS")),
        await theirs.act(None, 2, "1.2.9.1", PUSH),
        await theirs.create(a_ups()),
    ]

    assert said == [0xC307, 0xC307, 0xC307, 0xC307, 0x0111]
    assert await theirs.find() == []


@pytest.mark.standard("threats T16")
async def test_nobody_gives_work_about_a_patient_they_have_nothing_to_do_with(
    archive: Archive,
) -> None:
    await Station(archive).create(a_ups())
    nhs = a_ups(PatientID="9990000107", IssuerOfPatientID="NHS")
    assert await Station(archive).create(nhs, "1.2.9.2") == 0x0000

    assert await Station(archive, "CT2").create(nhs, "1.2.9.3") == 0x0124
    assert not await found(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.3")


@pytest.mark.standard("PS3.4 CC.2.1")
async def test_of_many_that_take_a_step_at_once_one_holds_it(archive: Archive) -> None:
    stations = [Station(archive, calling) for calling in ("CT1", "CT3") * 3]
    await stations[0].create(a_ups())

    said = await asyncio.gather(
        *(each.move(to("IN PROGRESS", f"1.2.78.{n}")) for n, each in enumerate(stations))
    )

    assert sorted(said) == [0x0000] + [0xC301] * 5
    ended = [await each.move(to("CANCELED", f"1.2.78.{n}")) for n, each in enumerate(stations)]
    assert [status for status, took in zip(ended, said, strict=True) if took == 0x0000] == [0x0000]


@pytest.mark.standard("PS3.4 Tables CC.2-1 to CC.2-5")
async def test_what_a_sop_class_does_not_have_is_not_done_under_it(archive: Archive) -> None:
    station = Station(archive)
    await station.create(a_ups())

    assert await station.act(to("IN PROGRESS"), 1, "1.2.9.1", WATCH) == 0x0211
    assert await station.act(to("IN PROGRESS"), 9, "1.2.9.1", WATCH) == 0x0123
    assert (await one(archive.bridge, "Task"))["status"] == "ready"


@pytest.mark.standard("PS3.4 CC.2.5")
async def test_more_than_a_step_may_be_is_not_kept(archive: Archive) -> None:
    huge = Dataset()
    huge.CommentsOnTheScheduledProcedureStep = "x" * (1 << 21)
    station = Station(archive)
    await station.create(a_ups())

    assert await station.set(huge) == 0x0213
    assert (await station.get())[0] == 0x0000


@pytest.mark.standard("threats T11")
async def test_what_no_text_can_hold_is_left_out_and_never_a_fault(archive: Archive) -> None:
    station = Station(archive)
    odd = a_code("1\0", "Nothing\0ness")
    odd.CodingSchemeDesignator = "99\0X"
    reason = Dataset()
    reason.ReasonForCancellation, reason.ContactURI = "a\0b\x07c", "\0"

    said = [
        await station.create(
            a_ups(ProcedureStepLabel="La\0bel", ScheduledWorkitemCodeSequence=[odd])
        ),
        await station.create(
            a_ups(PatientID="L\0", PatientName="\0", IssuerOfPatientID="\0"), "1.2.8"
        ),
        await station.move(to("IN PROGRESS", "one\0")),
        await station.move(to("IN PROGRESS")),
        await station.act(reason, 2, "1.2.9.1"),
        await station.set(done(), "1.2.9\0.1"),
        (await station.get("x"))[0],
    ]

    assert said[0] == 0x0000
    assert said[1] in (0x0000, 0xB300)
    assert said[2:] == [0x0115, 0x0000, 0x0000, 0xC307, 0xC307]
    task = await one(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.1")
    assert task["code"]["text"] == "Label"
    assert task["note"][-1]["text"].endswith("abc")
    assert await station.find(PatientID="L\0x") == []
    assert await station.find(SOPInstanceUID="1.2.9\0.1") == []
    assert [ds.SOPInstanceUID for ds in await station.find(ProcedureStepLabel="Lab*")]


@pytest.mark.standard("PS3.4 CC.2.5")
async def test_of_many_that_push_one_uid_at_once_one_makes_it(archive: Archive) -> None:
    stations = [Station(archive, calling) for calling in ("CT1", "CT2", "CT3") * 2]

    said = await asyncio.gather(*(each.create(a_ups()) for each in stations))

    assert sorted(said) == [0x0000] + [0x0111] * 5
    await one(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.1")


@pytest.mark.standard("PS3.4 CC.2.5")
async def test_times_that_contradict_each_other_make_no_period(archive: Archive) -> None:
    late = a_ups(
        ScheduledProcedureStepStartDateTime="20261125090000+0100",
        ExpectedCompletionDateTime="20261125083000+0000",
    )
    wrong = a_ups(ExpectedCompletionDateTime="20261124")
    station = Station(archive)

    assert await station.create(late) == 0x0000
    assert await station.create(wrong, "1.2.9.2") == 0x0000

    in_order = await one(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.1")
    contradicting = await one(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.2")
    assert in_order["restriction"]["period"] == {
        "start": "2026-11-25T09:00:00+01:00", "end": "2026-11-25T08:30:00+00:00",
    }  # fmt: skip
    assert "restriction" not in contradicting


@pytest.mark.standard("FHIR R4 Task")
async def test_what_is_made_and_changed_over_dicom_is_valid_fhir(archive: Archive) -> None:
    station, information, progress = Station(archive), Dataset(), Dataset()
    progress.ProcedureStepProgress, progress.ProcedureStepProgressDescription = "7.5", "begun"
    information.TransactionUID = "1.2.77.1"
    information.ProcedureStepProgressInformationSequence = [progress]
    output = Dataset()
    output.StudyInstanceUID, output.TypeOfInstances = "1.2.3.9", "DICOM"
    final = done()
    final.UnifiedProcedureStepPerformedProcedureSequence[0].OutputInformationSequence = [output]
    await station.create(a_ups(ExpectedCompletionDateTime="20261125170000"))
    await station.move(to("IN PROGRESS"))
    await station.set(information)
    await station.act(None, 2, "1.2.9.1")
    await station.set(final)
    await station.move(to("COMPLETED"))

    task = await one(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.1")
    device = await one(archive.bridge, "Device")

    for resource in (task, device):
        assert validate.check(resource) == []
    assert task["output"][0]["valueReference"]["identifier"]["value"] == "urn:oid:1.2.3.9"


@pytest.mark.requirement("R014.1")
async def test_who_gave_took_read_and_was_refused_a_step_stands_in_the_audit(
    archive: Archive,
) -> None:
    station = Station(archive)
    await station.create(a_ups())
    await station.move(to("IN PROGRESS"))
    await station.find()
    await Station(archive, "CT2").get()

    task = await one(archive.bridge, "Task", identifier="urn:dicom:uid|urn:oid:1.2.9.1")
    events = await found(archive.bridge, "AuditEvent", type="110111", entity=f"Task/{task['id']}")
    queries = await found(archive.bridge, "AuditEvent", type="110112", agent="Peer/CT1")
    refused = await found(archive.bridge, "AuditEvent", type="110111", outcome="4")

    assert "CT1" in str(events)
    assert len(events) >= 2
    assert queries
    assert "CT2" in str(refused)
