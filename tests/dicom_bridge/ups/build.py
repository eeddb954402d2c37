"""Unified Procedure Steps as those who give and do work say them."""

from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_bridge.bridge import Bridge
from resources import codes
from tests import build
from tests.dicom_bridge.conftest import Archive, write

IMPLICIT = "1.2.840.10008.1.2"
PUSH = "1.2.840.10008.5.1.4.34.6.1"
WATCH = "1.2.840.10008.5.1.4.34.6.2"
PULL = "1.2.840.10008.5.1.4.34.6.3"
EVENT = "1.2.840.10008.5.1.4.34.6.4"
QUERY = "1.2.840.10008.5.1.4.34.6.5"
GLOBAL = "1.2.840.10008.5.1.4.34.5"
FILTERED = "1.2.840.10008.5.1.4.34.5.1"


def a_code(value: str = "110001", meaning: str = "Image Processing") -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, "DCM", meaning
    return ds


def a_ups(**changes: Any) -> Dataset:
    """A UPS as it is pushed; None takes an attribute out."""
    ds = Dataset()
    ds.ProcedureStepState = "SCHEDULED"
    ds.TransactionUID = ""
    ds.ScheduledProcedureStepPriority = "MEDIUM"
    ds.ProcedureStepLabel = "Make thin slices"
    ds.WorklistLabel = "RECONSTRUCTION"
    ds.ScheduledProcedureStepStartDateTime = "20261125090000"
    ds.ScheduledWorkitemCodeSequence = [a_code()]
    ds.InputReadinessState = "READY"
    ds.InputInformationSequence = []
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Rowe^Wanda", "L77", "19600203"
    ds.PatientSex, ds.IssuerOfPatientID = "F", ""
    ds.ScheduledProcessingParametersSequence = []
    ds.UnifiedProcedureStepPerformedProcedureSequence = []
    ds.ProcedureStepProgressInformationSequence = []
    for keyword, value in changes.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def to(state: str, transaction_uid: str | None = "1.2.77.1") -> Dataset:
    """The information of a change of state."""
    ds = Dataset()
    ds.ProcedureStepState = state
    if transaction_uid is not None:
        ds.TransactionUID = transaction_uid
    return ds


def done(transaction_uid: str = "1.2.77.1", without: str = "") -> Dataset:
    """All that the final state COMPLETED demands."""
    ds, performed = Dataset(), Dataset()
    performed.PerformedStationNameCodeSequence = [a_code("STATION", "A station")]
    performed.PerformedWorkitemCodeSequence = [a_code()]
    performed.PerformedProcedureStepStartDateTime = "20261125090100"
    performed.PerformedProcedureStepEndDateTime = "20261125091500"
    performed.OutputInformationSequence = []
    if without:
        del performed[without]
    ds.TransactionUID = transaction_uid
    ds.UnifiedProcedureStepPerformedProcedureSequence = [performed]
    return ds


class Station:
    """A station that speaks DIMSE, with an association for each thing that it says."""

    def __init__(self, archive: Archive, calling: str = "CT1") -> None:
        self._archive = archive
        self.calling = calling

    async def create(self, ds: Dataset, uid: str | None = "1.2.9.1") -> int:
        return await self._say(PUSH, "send_n_create", ds, PUSH, uid)

    async def set(self, ds: Dataset, uid: str = "1.2.9.1") -> int:
        return await self._say(PULL, "send_n_set", ds, PUSH, uid, meta_uid=PULL)

    async def move(self, ds: Dataset, uid: str = "1.2.9.1") -> int:
        return await self._say(PULL, "send_n_action", ds, 1, PUSH, uid, meta_uid=PULL)

    async def act(self, ds: Dataset | None, action: int, uid: str, under: str = WATCH) -> int:
        return await self._say(under, "send_n_action", ds, action, PUSH, uid, meta_uid=under)

    async def get(self, uid: str = "1.2.9.1", *tags: int) -> tuple[int, Dataset | None]:
        def work() -> tuple[int, Dataset | None]:
            association = self._archive.associate((WATCH, IMPLICIT), calling=self.calling)
            assert association.is_established
            status, ds = association.send_n_get(
                [Tag(tag) for tag in tags], PUSH, uid, meta_uid=WATCH
            )
            association.release()
            return int(status.Status), ds

        return await self._archive.call(work)

    async def find(self, under: str = QUERY, **keys: Any) -> list[Dataset]:
        def work() -> list[Dataset]:
            identifier = Dataset()
            identifier.SOPInstanceUID = identifier.ProcedureStepState = ""
            identifier.PatientName = identifier.ProcedureStepLabel = ""
            for keyword, value in keys.items():
                setattr(identifier, keyword, value)
            association = self._archive.associate((under, IMPLICIT), calling=self.calling)
            assert association.is_established
            answers = list(association.send_c_find(identifier, under))
            association.release()
            assert answers[-1][0].Status == 0x0000
            return [row for status, row in answers if status.Status == 0xFF00 and row is not None]

        return await self._archive.call(work)

    async def _say(self, under: str, what: str, *args: Any, **more: Any) -> int:
        def work() -> int:
            association = self._archive.associate((under, IMPLICIT), calling=self.calling)
            assert association.is_established
            status, _ = getattr(association, what)(*args, **more)
            association.release()
            return int(status.Status)

        return await self._archive.call(work)


async def post_process(bridge: Bridge, id: str = "t1", **members: Any) -> None:
    """A step of the house, to be done by the organisation `lead`, with its study."""
    await write(
        bridge,
        build.a_practitioner("dr"),
        build.a_role("gp", organization="lead"),
        build.a_role("radiographer", organization="lead"),
        build.a_patient("p1", name=[{"family": "Testcase", "given": ["Robin"]}]),
        build.a_study("is1", uid="1.2.3.4"),
        build.a_request(
            "sr1", status="draft", category=[codes.KIND_REVIEW_FORMAL.concept],
            supportingInfo=[{"reference": "ImagingStudy/is1"}],
        ),
        build.a_step(
            "post-process", id, status="ready", focus={"reference": "ImagingStudy/is1"},
            requester={"reference": "Organization/lead"}, **members,
        ),
    )  # fmt: skip
