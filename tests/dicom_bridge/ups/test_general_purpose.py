"""The General Purpose Worklist of older workstations: listed, claimed, performed and ended."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_bridge import general_purpose
from dicom_bridge.bridge import Bridge
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse
from fhir_server.context import RequestContext
from resources import codes, content
from resources.errors import Conflict, Forbidden, Refusal, Stale
from tests import build
from tests.dicom_bridge.conftest import CT1, Archive, found, write
from tests.dicom_bridge.ups import build as ups_build

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R005.2")]

IMPLICIT = "1.2.840.10008.1.2"
META, GPWL = "1.2.840.10008.5.1.4.32", "1.2.840.10008.5.1.4.32.1"
SPS, PPS = "1.2.840.10008.5.1.4.32.2", "1.2.840.10008.5.1.4.32.3"
UID = "1.2.77.100"
REPORTER, OTHER = "C1234567", "C7654321"
CLAIM, RIVAL = "1.2.66.1", "1.2.66.2"


def a_performer(value: str = REPORTER, scheme: str = "GMC") -> Dataset:
    code, item = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, "Sam Example"
    item.HumanPerformerCodeSequence, item.HumanPerformerName = [code], "Example^Sam"
    item.HumanPerformerOrganization = "Test Organisation"
    return item


def to(status: str, transaction_uid: str = CLAIM, performer: Dataset | None = None) -> Dataset:
    ds = Dataset()
    ds.GeneralPurposeScheduledProcedureStepStatus = status
    ds.TransactionUID = transaction_uid
    if performer is not None:
        ds.ActualHumanPerformersSequence = [performer]
    return ds


def a_performed_step(transaction_uid: str = CLAIM, **changes: Any) -> Dataset:
    ds, scheduled = Dataset(), Dataset()
    scheduled.ReferencedSOPClassUID, scheduled.ReferencedSOPInstanceUID = SPS, UID
    scheduled.ReferencedGeneralPurposeScheduledProcedureStepTransactionUID = transaction_uid
    ds.ReferencedGeneralPurposeScheduledProcedureStepSequence = [scheduled]
    ds.GeneralPurposePerformedProcedureStepStatus = "IN PROGRESS"
    ds.PerformedProcedureStepID = "P1"
    ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepStartTime = "20261125", "090000"
    ds.ActualHumanPerformersSequence = [a_performer()]
    ds.PatientName, ds.PatientID = "Testcase^Robin", "1"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def performed(status: str = "COMPLETED") -> Dataset:
    ds = Dataset()
    ds.GeneralPurposePerformedProcedureStepStatus = status
    ds.PerformedProcedureStepEndDate, ds.PerformedProcedureStepEndTime = "20261125", "091500"
    ds.PerformedStationNameCodeSequence = [ups_build.a_code("WS1", "Workstation")]
    ds.PerformedWorkitemCodeSequence = [ups_build.a_code("110005", "Interpretation")]
    ds.OutputInformationSequence = []
    return ds


class Workstation:
    """A workstation, with an association for each thing that it says."""

    def __init__(self, archive: Archive, calling: str = "CT1", under: str = META) -> None:
        self.archive, self.calling, self.under = archive, calling, under

    async def _say(self, sop_class: str, what: str, *args: Any, **more: Any) -> Any:
        under = sop_class if self.under != META else META

        def work() -> Any:
            association = self.archive.associate((under, IMPLICIT), calling=self.calling)
            assert association.is_established
            asked = getattr(association, what)(*args, **more)
            answer = list(asked) if what == "send_c_find" else asked
            association.release()
            return answer

        return await self.archive.call(work)

    async def act(self, ds: Dataset, uid: str = UID, kind: int = 1) -> int:
        status, _ = await self._say(SPS, "send_n_action", ds, kind, SPS, uid, **self._meta)
        return int(status.Status)

    async def begin(self, ds: Dataset, uid: str = "1.2.88.1") -> int:
        status, _ = await self._say(PPS, "send_n_create", ds, PPS, uid, **self._meta)
        return int(status.Status)

    async def tell(self, ds: Dataset, uid: str = "1.2.88.1") -> int:
        status, _ = await self._say(PPS, "send_n_set", ds, PPS, uid, **self._meta)
        return int(status.Status)

    async def get(self, sop_class: str, uid: str) -> tuple[int, Dataset | None]:
        status, ds = await self._say(sop_class, "send_n_get", [], sop_class, uid, **self._meta)
        return int(status.Status), ds

    async def find(self, **keys: Any) -> list[Dataset]:
        identifier = Dataset()
        identifier.SOPInstanceUID = identifier.GeneralPurposeScheduledProcedureStepStatus = ""
        identifier.GeneralPurposeScheduledProcedureStepPriority = identifier.PatientName = ""
        identifier.InputAvailabilityFlag = identifier.MultipleCopiesFlag = ""
        identifier.ScheduledWorkitemCodeSequence = identifier.InputInformationSequence = []
        identifier.ActualHumanPerformersSequence = []
        identifier.ResultingGeneralPurposePerformedProcedureStepsSequence = []
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)

        def work() -> list[Dataset]:
            association = self.archive.associate((GPWL, IMPLICIT), calling=self.calling)
            answers = list(association.send_c_find(identifier, GPWL))
            association.release()
            assert answers[-1][0].Status == 0x0000
            return [ds for status, ds in answers if status.Status == 0xFF00 and ds is not None]

        return await self.archive.call(work)

    @property
    def _meta(self) -> dict[str, str]:
        return {"meta_uid": META} if self.under == META else {}


@pytest.fixture
async def bridge(bridge: Bridge) -> Bridge:
    """A report to be written at `lead`, where two reporters work."""

    def a_reporter(id: str, number: str, organization: str = "lead") -> list[dict[str, Any]]:
        gmc = {"system": "https://fhir.hl7.org.uk/Id/gmc-number", "value": number}
        role = {"coding": [{"system": codes.ROLE, "code": "reporter"}]}
        return [
            build.a_practitioner(id, identifier=[gmc]),
            build.a_role(f"{id}-role", organization, id, code=[role]),
        ]

    await write(
        bridge,
        *a_reporter("sam", REPORTER),
        *a_reporter("alex", OTHER),
        *a_reporter("far", "C9", "other"),
        build.a_practitioner("dr"),
        build.a_role("gp", organization="lead"),
        build.a_role("radiographer", organization="lead"),
        build.a_patient("p1", name=[{"family": "Testcase", "given": ["Robin"]}]),
        build.a_study("is1", uid="1.2.3.4"),
        build.a_request(
            "sr1", status="active", category=[codes.KIND_REVIEW_FORMAL.concept],
            supportingInfo=[{"reference": "ImagingStudy/is1"}],
        ),
        build.a_step(
            "report", "t1", status="ready", focus={"reference": "ImagingStudy/is1"},
            identifier=[{"system": codes.DICOM_UID, "value": f"urn:oid:{UID}"}],
            requester={"reference": "Organization/lead"},
            owner={"reference": "Organization/lead"},
        ),
    )  # fmt: skip
    return bridge


async def task_of(bridge: Bridge) -> dict[str, Any]:
    (task,) = await found(bridge, "Task", _id="t1")
    return task


@pytest.mark.standard("PS3.4-2009 K.6.2")
async def test_a_report_to_be_written_is_on_the_worklist_of_its_organisation(
    archive: Archive,
) -> None:
    (ds,) = await Workstation(archive).find()

    assert ds.SOPInstanceUID == UID
    assert ds.GeneralPurposeScheduledProcedureStepStatus == "SCHEDULED"
    assert ds.GeneralPurposeScheduledProcedureStepPriority in ("HIGH", "MEDIUM")
    assert ds.PatientName == "Testcase^Robin"
    assert (ds.InputAvailabilityFlag, ds.MultipleCopiesFlag) == ("COMPLETE", "N")
    assert ds.ScheduledWorkitemCodeSequence[0].CodeValue == "110005"
    assert ds.InputInformationSequence[0].StudyInstanceUID == "1.2.3.4"
    assert not ds.ResultingGeneralPurposePerformedProcedureStepsSequence
    assert await Workstation(archive, "CT2").find() == []


@pytest.mark.standard("PS3.4-2009 F.10, F.11, F.12")
@pytest.mark.parametrize("under", [META, ""])
async def test_a_workstation_claims_a_report_performs_and_completes_it(
    archive: Archive, under: str
) -> None:
    station = Workstation(archive, under=under)

    assert await station.act(to("IN PROGRESS", performer=a_performer())) == 0x0000
    claimed = await task_of(archive.bridge)
    assert claimed["status"] == "in-progress"
    assert claimed["owner"] == {"reference": "PractitionerRole/sam-role"}
    (item,) = await station.find(GeneralPurposeScheduledProcedureStepStatus="IN PROGRESS")
    who = item.ActualHumanPerformersSequence[0].HumanPerformerCodeSequence[0]
    assert who.CodeValue == REPORTER

    assert await station.begin(a_performed_step()) == 0x0000
    assert await station.act(to("COMPLETED")) == 0x0110  # not yet said what was done
    assert await station.tell(performed()) == 0x0000
    assert await station.act(to("COMPLETED")) == 0x0000

    assert (await task_of(archive.bridge))["status"] == "completed"
    (item,) = await station.find(GeneralPurposeScheduledProcedureStepStatus="COMPLETED")
    came = item.ResultingGeneralPurposePerformedProcedureStepsSequence
    assert [one.ReferencedSOPInstanceUID for one in came] == ["1.2.88.1"]
    status, step = await station.get(PPS, "1.2.88.1")
    assert status == 0x0000
    assert step is not None
    assert step.GeneralPurposePerformedProcedureStepStatus == "COMPLETED"
    assert CLAIM not in str(step)
    status, scheduled = await station.get(SPS, UID)
    assert status == 0x0000
    assert scheduled is not None
    assert scheduled.GeneralPurposeScheduledProcedureStepStatus == "COMPLETED"
    events = await found(archive.bridge, "AuditEvent", entity="Task/t1")
    assert any("Peer/CT1" in str(event) or "CT1" in str(event) for event in events)


WAITING = """
select count(*) from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock'
"""


async def _at_once(bridge: Bridge, *doing: Coroutine[Any, Any, Any]) -> list[Any]:
    """Do these when all have looked at the Task and are about to change it."""
    tasks = []
    async with bridge.database.transaction() as gate:
        await gate.run("select 1 from current where type = 'Task' and id = 't1' for update")
        for number, one in enumerate(doing, start=1):
            tasks.append(asyncio.ensure_future(one))
            async with asyncio.timeout(60):
                while (await bridge.database.run(WAITING))[0][0] < number:
                    await asyncio.sleep(0.01)
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.requirement("R005.2")
@pytest.mark.parametrize("is_first", [True, False])
async def test_what_is_said_of_a_step_at_once_is_all_kept(archive: Archive, is_first: bool) -> None:
    station = Workstation(archive)
    assert await station.act(to("IN PROGRESS", performer=a_performer())) == 0x0000
    assert await station.begin(a_performed_step()) == 0x0000
    both = [station.tell(performed()), station.act(to("SUSPENDED"))]

    said = await _at_once(archive.bridge, *(both if is_first else reversed(both)))

    assert said == [0x0000, 0x0000]
    assert (await task_of(archive.bridge))["status"] == "on-hold"
    assert await station.act(to("IN PROGRESS")) == 0x0000
    assert await station.act(to("COMPLETED")) == 0x0000


@pytest.mark.requirement("R005.2")
@pytest.mark.parametrize("is_first", [True, False])
async def test_of_a_step_that_is_performed_and_given_to_another_at_once_one_thing_happens(
    archive: Archive, is_first: bool
) -> None:
    station, bridge = Workstation(archive), archive.bridge
    assert await station.act(to("IN PROGRESS", performer=a_performer())) == 0x0000
    assert await station.begin(a_performed_step()) == 0x0000
    task = await task_of(bridge)
    version = int(task["meta"]["versionId"])

    async def reassign() -> int:
        given = {name: value for name, value in task.items() if name != "meta"}
        given["owner"] = {"reference": "PractitionerRole/alex-role"}
        async with bridge.store.begin(RequestContext(Principal.system("test"), "update")) as work:
            await work.update("Task", "t1", content.made(given), if_match=version)
        return 0x0000

    both = [station.tell(performed()), reassign()]
    said = await _at_once(bridge, *(both if is_first else reversed(both)))
    told, given = said if is_first else reversed(said)

    assert (told, given) in ((0x0000, None), (0xA505, 0x0000)) or isinstance(given, Stale)
    is_given = (await task_of(bridge))["owner"] == {"reference": "PractitionerRole/alex-role"}
    assert is_given is (given == 0x0000)
    assert (told == 0x0000) is not is_given
    ((status,),) = await bridge.database.run("select status from performed_step")
    assert (status == "COMPLETED") is not is_given


@pytest.mark.standard("PS3.3 8.1")
async def test_people_whose_ids_begin_alike_are_told_apart_by_their_codes(
    archive: Archive,
) -> None:
    """A Code Value has sixteen characters; ids that are made at one moment begin with as many."""
    first, second = (f"019a0000-0000-7000-8000-00000000000{n}" for n in (1, 2))
    role = {"coding": [{"system": codes.ROLE, "code": "reporter"}]}
    for id in (first, second):
        await write(archive.bridge, build.a_role(id, "lead", "dr", code=[role]))
    station = Workstation(archive)

    performer = a_performer("", "99ISOCENTRE")
    code = performer.HumanPerformerCodeSequence[0]
    del code.CodeValue
    code.LongCodeValue = second
    assert await station.act(to("IN PROGRESS", performer=performer)) == 0x0000

    owner = (await task_of(archive.bridge))["owner"]
    assert owner == {"reference": f"PractitionerRole/{second}"}
    (step,) = await ups_build.Station(archive).find(
        SOPInstanceUID=UID, ScheduledHumanPerformersSequence=[]
    )
    told = step.ScheduledHumanPerformersSequence[0].HumanPerformerCodeSequence[0]
    assert told.LongCodeValue == second
    assert "CodeValue" not in told


@pytest.mark.standard("PS3.4-2009 Table F.10.2-3")
async def test_each_way_to_fail_has_the_status_of_the_standard(archive: Archive) -> None:
    station, rival = Workstation(archive), Workstation(archive, "CT3")

    assert await station.begin(a_performed_step()) == 0xA504
    assert await station.act(to("IN PROGRESS", performer=a_performer("nobody"))) == 0x0115
    assert await station.act(to("IN PROGRESS", performer=a_performer("C9"))) == 0x0115
    assert await station.act(to("IN PROGRESS")) == 0x0124  # a device writes no report
    assert await station.act(to("NONSENSE")) == 0x0115
    assert await station.act(to("COMPLETED")) == 0x0115
    assert await station.act(to("IN PROGRESS"), "1.2.3.4.5") == 0x0112
    assert await station.act(to("IN PROGRESS"), kind=2) == 0x0123
    assert await station.act(to("IN PROGRESS", performer=a_performer())) == 0x0000

    assert await rival.act(to("IN PROGRESS", RIVAL, a_performer(OTHER))) == 0xA503
    assert await rival.act(to("COMPLETED", RIVAL)) == 0xA502
    assert await rival.act(to("SUSPENDED", RIVAL)) == 0xA502
    assert await rival.begin(a_performed_step(RIVAL)) == 0xA505
    assert await station.begin(a_performed_step()) == 0x0000
    assert await station.begin(a_performed_step()) == 0x0111
    wrong = performed()
    wrong.PatientID = "2"
    assert await station.tell(wrong) == 0x0106
    assert await station.tell(performed(), "1.2.88.9") == 0x0112
    assert await Workstation(archive, "CT2").tell(performed()) == 0x0112
    assert await station.tell(performed()) == 0x0000
    assert await station.tell(performed()) == 0x0110
    assert await station.act(to("COMPLETED")) == 0x0000
    assert await station.act(to("IN PROGRESS")) == 0xA501
    assert await station.act(to("SUSPENDED")) == 0xA501
    assert await station.act(to("COMPLETED")) == 0xA501


@pytest.mark.standard("PS3.4-2009 F.10.1")
async def test_a_step_is_put_aside_taken_up_again_and_given_back(archive: Archive) -> None:
    station = Workstation(archive)
    assert await station.act(to("IN PROGRESS", performer=a_performer())) == 0x0000

    assert await station.act(to("SUSPENDED")) == 0x0000
    (item,) = await station.find()
    assert item.GeneralPurposeScheduledProcedureStepStatus == "SUSPENDED"
    assert (await task_of(archive.bridge))["status"] == "on-hold"
    assert await station.act(to("IN PROGRESS")) == 0x0000
    assert await station.act(to("SCHEDULED")) == 0x0000

    task = await task_of(archive.bridge)
    assert (task["status"], task["owner"]) == ("ready", {"reference": "Organization/lead"})
    assert await station.act(to("COMPLETED")) == 0x0115
    rival = Workstation(archive, "CT3")
    assert await rival.act(to("IN PROGRESS", RIVAL, a_performer(OTHER))) == 0x0000


@pytest.mark.standard("PS3.4-2009 F.10.2.1")
async def test_of_many_who_claim_one_report_at_the_same_time_one_holds_it(
    archive: Archive,
) -> None:
    """By the general purpose worklist, as a Unified Procedure Step, and over FHIR."""
    bridge = archive.bridge
    before = (await found(bridge, "Task", _id="t1"))[0]

    async def by_fhir() -> bool:
        alex = Principal("PractitionerRole/alex-role", "lead", "reporter", parse("user/*.cruds"))
        after = {**before, "status": "in-progress",
                 "owner": {"reference": "PractitionerRole/alex-role"}}  # fmt: skip
        try:
            async with bridge.store.begin(RequestContext(alex, "update")) as work:
                version = int(before["meta"]["versionId"])
                await work.update("Task", "t1", content.made(after), if_match=version)
        except (Stale, Conflict, Forbidden):
            return False
        return True

    async def by_worklist(number: int) -> bool:
        station = Workstation(archive, ("CT1", "CT3")[number % 2])
        claim = to("IN PROGRESS", f"1.2.77.{number}", a_performer((REPORTER, OTHER)[number % 2]))
        return await station.act(claim) == 0x0000

    won = await asyncio.gather(by_fhir(), *(by_worklist(number) for number in range(6)))

    assert sum(won) == 1
    assert (await task_of(bridge))["status"] == "in-progress"


async def test_who_takes_a_step_by_fhir_keeps_it_from_workstations(archive: Archive) -> None:
    sam = Principal("PractitionerRole/sam-role", "lead", "reporter", parse("user/*.cruds"))
    async with archive.bridge.store.begin(RequestContext(sam, "update")) as work:
        task = await work.read("Task", "t1")
        after = {**task.json, "status": "in-progress",
                 "owner": {"reference": "PractitionerRole/sam-role"}}  # fmt: skip
        await work.update("Task", "t1", content.made(after), if_match=task.version)

    station = Workstation(archive)
    assert await station.act(to("IN PROGRESS", performer=a_performer())) == 0xA503
    assert await station.act(to("COMPLETED")) == 0xA502


async def test_a_performed_step_that_is_told_of_by_many_at_once_begins_once(
    archive: Archive,
) -> None:
    station = Workstation(archive)
    assert await station.act(to("IN PROGRESS", performer=a_performer())) == 0x0000

    told = await asyncio.gather(*(station.begin(a_performed_step()) for _ in range(5)))

    assert sorted(told) == [0x0000, *[0x0111] * 4]


async def test_a_message_of_another_class_than_its_context_is_not_served(
    archive: Archive,
) -> None:
    def ask() -> bool:
        association = archive.associate((SPS, IMPLICIT))
        status, _ = association.send_n_action(to("IN PROGRESS"), 1, PPS, UID, meta_uid=SPS)
        return "Status" not in status

    assert await archive.call(ask)
    assert (await task_of(archive.bridge))["status"] == "ready"


@pytest.mark.standard("PS3.7 10.1.3.1.9")
async def test_a_sequence_that_is_none_says_nothing_of_what_was_done(archive: Archive) -> None:
    station = Workstation(archive)
    assert await station.act(to("IN PROGRESS", performer=a_performer())) == 0x0000
    assert await station.begin(a_performed_step()) == 0x0000
    said = performed()
    del said.PerformedStationNameCodeSequence
    said.add_new("PerformedStationNameCodeSequence", "LO", "a station")
    context = RequestContext(CT1.principal, "GPWL", "127.0.0.1")

    with pytest.raises(Refusal) as told:
        await general_purpose.performed.change(archive.bridge, context, "1.2.88.1", said)

    assert general_purpose.statuses.code_of(told.value) == 0x0106
    assert await station.act(to("COMPLETED")) == 0x0110, "what was done has not been said"
