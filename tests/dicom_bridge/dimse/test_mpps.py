"""MPPS: what a modality says that it does is a Procedure, and moves the step it was chosen from."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from resources import codes
from tests.dicom_bridge.build import a_series
from tests.dicom_bridge.conftest import Archive, found
from tests.dicom_bridge.dimse.test_find import hold
from tests.dicom_bridge.dimse.test_worklist import ask, book, keys

pytestmark = pytest.mark.anyio

MPPS = "1.2.840.10008.3.1.2.3.3"
IMPLICIT = "1.2.840.10008.1.2"


def begun(item: Dataset | None = None, **changes: Any) -> Dataset:
    """A step as the modality begins it, from a worklist item or from none."""
    ds, scheduled = Dataset(), Dataset()
    if item is not None:
        for keyword in ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate"):
            setattr(ds, keyword, item.get(keyword))
        for keyword in ("AccessionNumber", "RequestedProcedureID", "StudyInstanceUID"):
            setattr(scheduled, keyword, item.get(keyword))
    else:
        ds.PatientID, ds.PatientName, ds.PatientBirthDate = "L77", "Rowe^Wanda", "19600203"
    ds.ScheduledStepAttributesSequence = [scheduled]
    ds.PerformedProcedureStepStatus = "IN PROGRESS"
    ds.PerformedProcedureStepID, ds.PerformedStationAETitle = "1", "CT1"
    ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepStartTime = "20261125", "091500"
    ds.Modality = "CT"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def ended(status: str, reason: str = "") -> Dataset:
    ds, series = Dataset(), Dataset()
    ds.PerformedProcedureStepStatus = status
    ds.PerformedProcedureStepEndDate, ds.PerformedProcedureStepEndTime = "20261125", "093000"
    series.OperatorsName, series.SeriesInstanceUID = "Ray^Xenia", "1.2.3"
    ds.PerformedSeriesSequence = [series]
    if reason:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = reason, "DCM", "a reason"
        ds.PerformedProcedureStepDiscontinuationReasonCodeSequence = [code]
    return ds


def tell(archive: Archive, *steps: tuple[str, Dataset], calling: str = "CT1") -> list[int]:
    """The statuses of N-CREATE for what begins, N-SET for what does not."""
    association = archive.associate((MPPS, IMPLICIT), calling=calling)
    assert association.is_established
    statuses = []
    for uid, ds in steps:
        if "ScheduledStepAttributesSequence" in ds:
            status, _ = association.send_n_create(ds, MPPS, uid)
        else:
            status, _ = association.send_n_set(ds, MPPS, uid)
        statuses.append(int(status.Status))
    association.release()
    return statuses


async def booked(archive: Archive) -> Dataset:
    await book(archive.bridge)
    wanted = keys()
    wanted.IssuerOfPatientID = wanted.PatientBirthDate = ""
    (item,) = await archive.call(ask, archive, wanted)
    return item


async def one(bridge: Bridge, type_: str, **criteria: str) -> dict[str, Any]:
    (resource,) = await found(bridge, type_, **criteria)
    return resource


@pytest.mark.standard("PS3.4 F.7.2.1")
@pytest.mark.requirement("R004.1")
async def test_a_step_that_begins_is_a_procedure_and_its_task_is_under_way(
    archive: Archive,
) -> None:
    item = await booked(archive)

    statuses = await archive.call(tell, archive, ("1.2.9.1", begun(item)))

    assert statuses == [0x0000]
    procedure = await one(archive.bridge, "Procedure", identifier="urn:dicom:uid|urn:oid:1.2.9.1")
    assert procedure["status"] == "in-progress"
    assert procedure["subject"] == {"reference": "Patient/p1"}
    assert procedure["basedOn"] == [{"reference": "ServiceRequest/sr1"}]
    assert procedure["performedPeriod"] == {"start": "2026-11-25T09:15:00+00:00"}
    task = await one(archive.bridge, "Task", _id="t1")
    assert task["status"] == "in-progress"
    (again,) = await archive.call(ask, archive, keys(ScheduledProcedureStepStatus=""))
    assert again.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus == "STARTED"


@pytest.mark.standard("PS3.4 F.7.2.2")
async def test_a_step_that_is_completed_names_its_end_and_its_operator_and_stays_so(
    archive: Archive,
) -> None:
    item = await booked(archive)

    statuses = await archive.call(
        tell, archive,
        ("1.2.9.2", begun(item)), ("1.2.9.2", ended("COMPLETED")), ("1.2.9.2", ended("COMPLETED")),
    )  # fmt: skip

    assert statuses == [0x0000, 0x0000, 0x0110]
    procedure = await one(archive.bridge, "Procedure", identifier="urn:dicom:uid|urn:oid:1.2.9.2")
    assert procedure["status"] == "completed"
    assert procedure["performedPeriod"]["end"] == "2026-11-25T09:30:00+00:00"
    (performer,) = procedure["performer"]
    assert performer["actor"]["display"] == "Xenia Ray"
    assert performer["onBehalfOf"] == {"reference": "Organization/lead"}
    task = await one(archive.bridge, "Task", _id="t1")
    assert task["status"] == "in-progress", "it is the images that end it"


@pytest.mark.standard("PS3.16 CID 9300")
@pytest.mark.parametrize(("reason", "asked"), [("110513", 0), ("110514", 1)])
async def test_a_step_that_is_discontinued_fails_and_a_wrong_choice_is_somebodys_to_correct(
    archive: Archive, reason: str, asked: int
) -> None:
    item = await booked(archive)

    await archive.call(
        tell, archive, ("1.2.9.3", begun(item)), ("1.2.9.3", ended("DISCONTINUED", reason))
    )

    procedure = await one(archive.bridge, "Procedure", identifier="urn:dicom:uid|urn:oid:1.2.9.3")
    assert procedure["status"] == "stopped"
    assert procedure["statusReason"]["coding"][0]["code"] == reason
    task = await one(archive.bridge, "Task", _id="t1")
    assert task["status"] == "failed"
    assert task["statusReason"]["coding"][0]["code"] == reason
    reconcile = await found(archive.bridge, "Task", code=codes.RECONCILE.token)
    assert len(reconcile) == asked


@pytest.mark.standard("PS3.4 F.7.2.1")
async def test_a_step_that_nobody_asked_for_is_kept_and_somebody_is_asked_about_it(
    archive: Archive,
) -> None:
    statuses = await archive.call(tell, archive, ("1.2.9.4", begun()))

    assert statuses == [0x0000]
    procedure = await one(archive.bridge, "Procedure", identifier="urn:dicom:uid|urn:oid:1.2.9.4")
    assert "basedOn" not in procedure
    task = await one(archive.bridge, "Task", code=codes.RECONCILE.token)
    assert task["focus"] == {"reference": f"Procedure/{procedure['id']}"}
    assert task["owner"] == {"reference": "Organization/lead"}


@pytest.mark.standard("threats T16")
async def test_a_step_of_another_patient_under_a_request_is_not_linked_to_it(
    archive: Archive,
) -> None:
    item = await booked(archive)
    other = begun(item, PatientID="L1", PatientName="Else^Somebody", PatientBirthDate="19200101")

    await archive.call(tell, archive, ("1.2.9.5", other))

    procedure = await one(archive.bridge, "Procedure", identifier="urn:dicom:uid|urn:oid:1.2.9.5")
    assert "basedOn" not in procedure
    assert procedure["subject"] != {"reference": "Patient/p1"}
    assert (await one(archive.bridge, "Task", _id="t1"))["status"] == "ready"
    assert await found(archive.bridge, "Task", code=codes.RECONCILE.token)


@pytest.mark.standard("PS3.7 10.1.5")
@pytest.mark.standard("threats T1")
async def test_what_begins_wrongly_or_twice_or_is_of_another_peer_is_refused(
    archive: Archive,
) -> None:
    item = await booked(archive)

    mine = await archive.call(
        tell, archive,
        ("1.2.9.6", begun(item, PerformedProcedureStepStatus="COMPLETED")),
        ("1.2.9.6", begun(item)),
        ("1.2.9.6", begun(item)),
        ("1.2.9.7", ended("COMPLETED")),
        ("1.2.9.6", ended("FINISHED")),
    )  # fmt: skip
    theirs = await archive.call(tell, archive, ("1.2.9.6", ended("COMPLETED")), calling="CT2")

    assert mine == [0x0106, 0x0000, 0x0111, 0x0112, 0x0106]
    assert theirs == [0x0112]


@pytest.mark.requirement("R014.1")
async def test_the_peer_stands_in_the_audit_beside_the_procedure(archive: Archive) -> None:
    item = await booked(archive)
    await archive.call(tell, archive, ("1.2.9.8", begun(item)))

    procedure = await one(archive.bridge, "Procedure", identifier="urn:dicom:uid|urn:oid:1.2.9.8")
    events = await found(archive.bridge, "AuditEvent", type="110111", patient="Patient/p1")

    assert f"Procedure/{procedure['id']}" in str(events)
    assert "CT1" in str(events)


@pytest.mark.standard("PS3.4 F.7.2.2")
async def test_images_that_are_there_are_not_undone_when_the_step_is_discontinued(
    archive: Archive,
) -> None:
    item = await booked(archive)
    await archive.call(tell, archive, ("1.2.9.9", begun(item)))
    images = a_series(
        2, study_uid=str(item.StudyInstanceUID), patient_id=str(item.PatientID),
        issuer=str(item.IssuerOfPatientID), patient_name=str(item.PatientName),
        birth_date=str(item.PatientBirthDate), accession=str(item.AccessionNumber),
    )  # fmt: skip
    await hold(archive.bridge, *images)

    statuses = await archive.call(tell, archive, ("1.2.9.9", ended("DISCONTINUED", "110513")))

    assert statuses == [0x0000]
    study = await one(archive.bridge, "ImagingStudy", _id="is1")
    assert study["numberOfInstances"] == 2


@pytest.mark.standard("PS3.7 C.5.11")
@pytest.mark.parametrize("keyword", ["ScheduledStepAttributesSequence", "PerformedSeriesSequence"])
async def test_a_sequence_that_is_none_is_an_invalid_value(archive: Archive, keyword: str) -> None:
    item = await booked(archive)
    ds = begun(item)
    if keyword in ds:
        del ds[keyword]
    ds.add_new(keyword, "LO", "a series")

    def work() -> int:
        association = archive.associate((MPPS, "1.2.840.10008.1.2.1"))
        status, _ = association.send_n_create(ds, MPPS, "1.2.9.1")
        association.release()
        return int(status.Status)

    assert await archive.call(work) == 0x0106
