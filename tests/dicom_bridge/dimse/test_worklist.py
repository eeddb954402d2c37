"""The Modality Worklist: who is on it, who is not, and who sees it."""

import subprocess
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_bridge.bridge import Bridge
from resources import codes
from tests import build
from tests.dicom_bridge.conftest import Archive, write

pytestmark = pytest.mark.anyio

MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"
IMPLICIT = "1.2.840.10008.1.2"


async def book(bridge: Bridge, number: int = 1, **changes: Any) -> None:
    """A request of patient `p{number}` that is justified, booked and to be acquired."""
    request, patient = f"sr{number}", f"p{number}"
    about: dict[str, Any] = {
        "basedOn": [{"reference": f"ServiceRequest/{request}"}],
        "focus": {"reference": f"ServiceRequest/{request}"},
        "for": {"reference": f"Patient/{patient}"},
        "requester": {"reference": "PractitionerRole/gp"},
    }
    accession = {
        "type": {"coding": [{"system": codes.V2_0203, "code": "ACSN"}]},
        "system": f"{codes.ACCESSION}/ZZ901",
        "value": f"ACC{number}",
    }
    subject = {"reference": f"Patient/{patient}"}
    resources = {
        "patient": build.a_patient(
            patient, name=[{"family": f"Testcase{number}", "given": ["Robin"]}]
        ),
        "request": build.a_request(request, subject=subject, identifier=[accession]),
        "justify": build.a_step(
            "justify", f"j{number}", status="completed",
            businessStatus=codes.AUTHORISED.concept, **about,
        ),
        "acquire": build.a_step("acquire", f"t{number}", status="ready", **about),
        "appointment": build.an_appointment(
            f"a{number}", request,
            participant=[{"actor": subject, "status": "accepted"}],
        ),
        "study": build.a_study(
            f"is{number}", images=0, uid=f"1.2.3.{number}", request=request, subject=subject,
            status="registered",
        ),
    }  # fmt: skip
    for name, members in changes.items():
        if members is None:
            del resources[name]
        else:
            resources[name].update(members)
    await write(
        bridge,
        build.a_practitioner("dr"),
        build.a_role("gp", organization="lead"),
        *resources.values(),
    )


def keys(**step: str) -> Dataset:
    ds, item = Dataset(), Dataset()
    ds.PatientName = ds.PatientID = ds.AccessionNumber = ds.StudyInstanceUID = ""
    ds.RequestedProcedureID = ""
    wanted = {"Modality": "", "ScheduledProcedureStepStartDate": "", **step}
    for keyword, key in wanted.items():
        setattr(item, keyword, key)
    ds.ScheduledProcedureStepSequence = [item]
    return ds


def ask(archive: Archive, identifier: Dataset, calling: str = "CT1") -> list[Dataset]:
    association = archive.associate((MODALITY_WORKLIST, IMPLICIT), calling=calling)
    assert association.is_established
    try:
        answers = list(association.send_c_find(identifier, MODALITY_WORKLIST))
    finally:
        association.release()
    assert answers[-1][0].Status == 0x0000
    return [row for status, row in answers if status.Status == 0xFF00 and row is not None]


@pytest.mark.standard("PS3.4 K.6.1")
@pytest.mark.requirement("R004.1")
async def test_a_justified_and_booked_step_is_on_the_worklist(archive: Archive) -> None:
    await book(archive.bridge)

    (item,) = await archive.call(ask, archive, keys())

    assert str(item.PatientName) == "Testcase1^Robin"
    assert (item.AccessionNumber, item.StudyInstanceUID) == ("ACC1", "1.2.3.1")
    assert item.ScheduledProcedureStepSequence[0].Modality == "CT"


@pytest.mark.requirement("R008.3")
async def test_a_formal_review_is_on_no_worklist_of_a_modality(archive: Archive) -> None:
    """Its study has images, somebody booked it, and its step is ready: nobody is to be exposed."""
    review: dict[str, Any] = {
        "basedOn": [{"reference": "ServiceRequest/sr2"}],
        "focus": {"reference": "ImagingStudy/is1"},
        "for": {"reference": "Patient/p1"},
        "requester": {"reference": "PractitionerRole/gp"},
    }
    await book(archive.bridge)
    subject = {"reference": "Patient/p1"}
    await write(
        archive.bridge,
        build.a_request(
            "sr2",
            subject=subject,
            category=[codes.KIND_REVIEW_FORMAL.concept],
            supportingInfo=[{"reference": "ImagingStudy/is1"}],
        ),
        build.a_step("report", "t2", status="ready", **review),
        build.an_appointment("a2", "sr2", participant=[{"actor": subject, "status": "accepted"}]),
    )

    items = await archive.call(ask, archive, keys())

    assert [item.AccessionNumber for item in items] == ["ACC1"]


async def outsource(bridge: Bridge, *, justified: bool) -> None:
    """A request of another lead, whose images this organisation acquires and may look at."""
    subject = {"reference": "Patient/p1"}
    onward: dict[str, Any] = {
        "basedOn": [{"reference": "ServiceRequest/sr1"}],
        "intent": "filler-order",
        "category": [codes.KIND_OUTSOURCED_ACQUISITION.concept],
        "requester": {"reference": "Organization/other"},
        "reasonCode": None,
    }
    about: dict[str, Any] = {
        "basedOn": [{"reference": "ServiceRequest/sr1a"}],
        "focus": {"reference": "ServiceRequest/sr1a"},
        "for": subject,
        "intent": "filler-order",
        "requester": {"reference": "Organization/other"},
    }
    own = {
        "type": {"coding": [{"system": codes.V2_0203, "code": "ACSN"}]},
        "system": f"{codes.ACCESSION}/ZZ901",
        "value": "OURS1",
    }
    theirs = {**own, "system": f"{codes.ACCESSION}/ZZ909", "value": "LEAD1"}
    other = [{"reference": "Organization/other"}]
    read = ["Patient/p1", "ServiceRequest/sr1", "Task/j1", "ImagingStudy/is1", "Appointment/a1"]
    done = {"status": "completed", "businessStatus": codes.AUTHORISED.concept}
    step = {"requester": other[0], "owner": other[0], "for": subject}
    await write(
        bridge,
        build.an_organization("other", "ZZ909"),
        build.a_practitioner("dr"),
        build.a_role("gp", organization="other"),
        build.a_patient("p1"),
        build.a_request("sr1", subject=subject, performer=other, identifier=[theirs]),
        build.a_request("sr1a", subject=subject, identifier=[own], **onward),
        build.a_step("justify", "j1", **done, **step),
        *([build.a_step("justify", "j1a", **done, **about)] if justified else []),
        build.a_step("acquire", "t1a", status="ready", **about),
        build.an_appointment(
            "a1", "sr1a", participant=[{"actor": subject, "status": "accepted"}]
        ),
        build.a_study(
            "is1", images=0, uid="1.2.3.1", request="sr1", subject=subject, status="registered"
        ),
        {
            "resourceType": "Consent",
            "id": "granted",
            "status": "active",
            "scope": codes.Coding(codes.CONSENT_SCOPE, "patient-privacy").concept,
            "category": [{"coding": [{"system": codes.CONSENT_SCOPE, "code": "idscl"}]}],
            "patient": subject,
            "policyRule": {"text": "Agreed"},
            "provision": {
                "type": "permit",
                "actor": [{
                    "role": codes.INFORMATION_RECIPIENT.concept,
                    "reference": {"reference": "Organization/lead"},
                }],
                "data": [
                    {"meaning": "instance", "reference": {"reference": one}} for one in read
                ],
            },
        },
    )  # fmt: skip


@pytest.mark.requirement("W2")
@pytest.mark.parametrize("justified", [True, False])
async def test_what_is_acquired_for_another_lead_is_of_its_study(
    archive: Archive, justified: bool
) -> None:
    """The number is ours, the study and the words are those of the request that is served."""
    await outsource(archive.bridge, justified=justified)

    wanted = keys()
    wanted.ReasonForTheRequestedProcedure = wanted.ReferringPhysicianName = ""

    (item,) = await archive.call(ask, archive, wanted)

    assert (item.AccessionNumber, item.StudyInstanceUID) == ("OURS1", "1.2.3.1")
    assert "Headache" in str(item.ReasonForTheRequestedProcedure)
    assert str(item.ReferringPhysicianName).startswith("Example")


@pytest.mark.requirement("R004.1")
@pytest.mark.parametrize(
    "changes",
    [
        {"justify": None},
        {"justify": {"status": "rejected"}},
        {"justify": {"businessStatus": {"coding": [{"code": "more-info"}]}}},
        {"justify": {"status": "in-progress"}},
        {"appointment": None},
        {"appointment": {"status": "cancelled"}},
        {"appointment": {"status": "proposed", "start": None}},
        {"acquire": {"status": "requested"}},
        {"acquire": {"status": "completed"}},
        {"acquire": {"status": "cancelled"}},
        {"acquire": {"owner": {"reference": "Organization/other"}}},
    ],
)
async def test_what_is_not_justified_booked_open_and_ours_is_not_on_the_worklist(
    archive: Archive, changes: dict[str, Any]
) -> None:
    for members in changes.values():
        if members and "start" in members:
            members.pop("start")
    await book(archive.bridge, **changes)

    assert await archive.call(ask, archive, keys()) == []


@pytest.mark.standard("threats T1")
async def test_a_peer_of_another_organisation_sees_nothing(archive: Archive) -> None:
    await book(archive.bridge)

    assert await archive.call(ask, archive, keys(), "CT2") == []


async def test_a_step_under_way_stays_on_the_worklist_as_started(archive: Archive) -> None:
    await book(archive.bridge, acquire={"status": "in-progress"})

    (item,) = await archive.call(ask, archive, keys(ScheduledProcedureStepStatus=""))

    assert item.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus == "STARTED"


@pytest.mark.standard("PS3.4 K.6.1.2.2")
async def test_the_matching_keys_of_the_standard_match(archive: Archive) -> None:
    await book(archive.bridge, 1)
    await book(
        archive.bridge,
        2,
        request={
            "code": {
                "coding": [
                    {"system": codes.SNOMED, "code": "1", "display": "Magnetic resonance of knee"}
                ]
            }
        },
        appointment={"start": "2026-11-26T14:00:00Z", "end": "2026-11-26T14:20:00Z"},
    )
    by_name, by_accession, by_id = keys(), keys(), keys()
    by_name.PatientName = "testcase2*"
    by_accession.AccessionNumber = "ACC1"
    (second,) = await archive.call(ask, archive, by_name)
    by_id.PatientID = second.PatientID

    found = {
        "name": [second],
        "accession": await archive.call(ask, archive, by_accession),
        "id": await archive.call(ask, archive, by_id),
        "modality": await archive.call(ask, archive, keys(Modality="MR")),
        "date": await archive.call(ask, archive, keys(ScheduledProcedureStepStartDate="20261125")),
        "range": await archive.call(
            ask,
            archive,
            keys(
                ScheduledProcedureStepStartDate="20261125-20261126",
                ScheduledProcedureStepStartTime="100000-150000",
            ),
        ),
        "station": await archive.call(ask, archive, keys(ScheduledStationAETitle="CT1")),
        "other station": await archive.call(ask, archive, keys(ScheduledStationAETitle="MR9")),
        "all": await archive.call(ask, archive, keys()),
    }

    assert {what: [row.AccessionNumber for row in rows] for what, rows in found.items()} == {
        "name": ["ACC2"],
        "accession": ["ACC1"],
        "id": ["ACC2"],
        "modality": ["ACC2"],
        "date": ["ACC1"],
        "range": ["ACC2"],
        "station": ["ACC1", "ACC2"],
        "other station": [],
        "all": ["ACC1", "ACC2"],
    }


async def test_a_malformed_date_is_refused(archive: Archive) -> None:
    await book(archive.bridge)
    identifier = keys(ScheduledProcedureStepStartDate="-")
    association = await archive.call(archive.associate, (MODALITY_WORKLIST, IMPLICIT))

    def status() -> int:
        return int(next(iter(association.send_c_find(identifier, MODALITY_WORKLIST)))[0].Status)

    assert await archive.call(status) == 0xA900
    await archive.call(association.release)


@pytest.mark.peer
async def test_dcmtk_reads_the_worklist(archive: Archive, dcmtk: str) -> None:
    await book(archive.bridge)
    command = [
        f"{dcmtk}/findscu", "-W", "-v", "-aet", "CT1", "-aec", "ISOCENTRE",
        "-k", "PatientName", "-k", "AccessionNumber", "-k", "StudyInstanceUID",
        "-k", "ScheduledProcedureStepSequence[0].Modality=CT",
        "127.0.0.1", str(archive.port),
    ]  # fmt: skip

    ran = await archive.call(subprocess.run, command, capture_output=True, text=True, timeout=30)

    assert ran.returncode == 0
    assert "ACC1" in ran.stdout + ran.stderr
