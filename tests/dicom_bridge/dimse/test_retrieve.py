"""C-GET in the Study Root model: bytes as stored, counted, named when they cannot be sent."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pynetdicom import AE, build_role, evt

from tests.dicom_bridge.build import a_series, an_instance, data_set_of, part10
from tests.dicom_bridge.conftest import Archive
from tests.dicom_bridge.dimse.test_find import hold, identifier

pytestmark = pytest.mark.anyio

STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_LS = "1.2.840.10008.1.2.4.80"
CT = "1.2.840.10008.5.1.4.1.1.2"


class Outcome:
    """What a C-GET brought: data sets as they came by instance, and the last response."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}
        self.statuses: list[Dataset] = []
        self.identifier: Dataset | None = None

    @property
    def final(self) -> Dataset:
        return self.statuses[-1]

    def keep(self, event: Any) -> int:
        self.received[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return 0x0000


def get(
    archive: Archive,
    keys: Dataset,
    *syntaxes: str,
    calling: str = "CT1",
    cancel_after: int | None = None,
) -> Outcome:
    outcome = Outcome()
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = 10
    ae.add_requested_context(STUDY_ROOT_GET, IMPLICIT)
    for syntax in syntaxes or (EXPLICIT,):
        ae.add_requested_context(CT, syntax)
    association = ae.associate(
        "127.0.0.1",
        archive.port,
        ae_title="ISOCENTRE",
        ext_neg=[build_role(CT, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, outcome.keep)],
    )
    assert association.is_established
    try:
        for status, found in association.send_c_get(keys, STUDY_ROOT_GET, msg_id=9):
            outcome.statuses.append(status)
            outcome.identifier = found
            if cancel_after is not None and len(outcome.statuses) == cancel_after:
                association.send_c_cancel(9, query_model=STUDY_ROOT_GET)
    finally:
        association.release()
    return outcome


def compressed(study_uid: str, number: int) -> Dataset:
    ds = an_instance(study_uid=study_uid, number=number, transfer_syntax=JPEG_LS)
    ds.PixelData = encapsulate([b"\xff\xd8a compressed frame"])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


@pytest.mark.standard("PS3.4 C.4.3.1")
async def test_a_study_comes_back_byte_for_byte_in_every_transfer_syntax(archive: Archive) -> None:
    first = an_instance()
    uid = str(first.StudyInstanceUID)
    study = [
        first,
        an_instance(study_uid=uid, number=2, transfer_syntax=IMPLICIT),
        an_instance(study_uid=uid, number=3, transfer_syntax=BIG_ENDIAN),
        compressed(uid, 4),
    ]
    await hold(archive.bridge, *study)

    outcome = await archive.call(
        get, archive, identifier(StudyInstanceUID=uid), EXPLICIT, IMPLICIT, BIG_ENDIAN, JPEG_LS
    )

    assert outcome.final.Status == 0x0000
    assert outcome.final.NumberOfCompletedSuboperations == 4
    assert outcome.received == {str(ds.SOPInstanceUID): data_set_of(part10(ds)) for ds in study}


@pytest.mark.standard("PS3.4 C.6.2.1")
async def test_one_series_and_some_instances(archive: Archive) -> None:
    study = a_series(3)
    uid = str(study[0].StudyInstanceUID)
    study += a_series(2, study_uid=uid, series_number=2)
    await hold(archive.bridge, *study)
    wanted = [str(study[0].SOPInstanceUID), str(study[2].SOPInstanceUID)]

    series = await archive.call(
        get, archive,
        identifier("SERIES", StudyInstanceUID=uid, SeriesInstanceUID=study[3].SeriesInstanceUID),
    )  # fmt: skip
    images = await archive.call(
        get, archive,
        identifier("IMAGE", StudyInstanceUID=uid, SeriesInstanceUID=study[0].SeriesInstanceUID,
                   SOPInstanceUID=wanted),
    )  # fmt: skip

    assert len(series.received) == 2
    assert sorted(images.received) == sorted(wanted)


@pytest.mark.standard("PS3.4 C.4.3.1.4")
async def test_what_cannot_be_sent_is_a_failed_suboperation_and_is_named(archive: Archive) -> None:
    first = an_instance()
    other = compressed(str(first.StudyInstanceUID), 2)
    await hold(archive.bridge, first, other)

    outcome = await archive.call(
        get, archive, identifier(StudyInstanceUID=first.StudyInstanceUID), EXPLICIT
    )

    assert outcome.final.Status == 0xB000
    assert outcome.final.NumberOfCompletedSuboperations == 1
    assert outcome.final.NumberOfFailedSuboperations == 1
    assert outcome.identifier is not None
    assert outcome.identifier.FailedSOPInstanceUIDList == other.SOPInstanceUID


@pytest.mark.standard("PS3.4 C.4.3.3.1")
async def test_a_cancelled_retrieval_says_what_was_done(archive: Archive) -> None:
    study = a_series(60)
    await hold(archive.bridge, *study)

    outcome = await archive.call(
        get, archive, identifier(StudyInstanceUID=study[0].StudyInstanceUID), cancel_after=2
    )

    assert outcome.final.Status == 0xFE00
    done = outcome.final.NumberOfCompletedSuboperations
    assert done == len(outcome.received) < 60
    assert outcome.final.NumberOfRemainingSuboperations == 60 - done


@pytest.mark.parametrize(
    "keys",
    [
        identifier("PATIENT", PatientID="1"),
        identifier("STUDY"),
        identifier("SERIES", SeriesInstanceUID="1.2"),
        identifier("STUDY", StudyInstanceUID="../.."),
    ],
)
async def test_an_identifier_without_its_unique_keys_is_refused(
    archive: Archive, keys: Dataset
) -> None:
    outcome = await archive.call(get, archive, keys)

    assert outcome.final.Status == 0xA900
    assert outcome.received == {}


@pytest.mark.standard("threats T1")
async def test_a_peer_of_an_unrelated_organisation_gets_nothing(archive: Archive) -> None:
    ds = an_instance()
    await hold(archive.bridge, ds)

    outcome = await archive.call(
        get, archive, identifier(StudyInstanceUID=ds.StudyInstanceUID), calling="CT2"
    )

    assert outcome.final.Status == 0x0000
    assert outcome.final.NumberOfCompletedSuboperations == 0
    assert outcome.received == {}
    rows = await archive.bridge.database.run(
        "SELECT organization, outcome FROM audit WHERE interaction = 'C-GET'"
    )
    assert rows == [("other", 4)]


@pytest.mark.peer
async def test_dcmtk_retrieves_a_study(archive: Archive, dcmtk: str, tmp_path: Path) -> None:
    study = a_series(3)
    await hold(archive.bridge, *study)
    place = tmp_path / "got"
    place.mkdir()
    command = [
        f"{dcmtk}/getscu", "-S", "-aet", "CT1", "-aec", "ISOCENTRE", "-od", str(place),
        "-k", "QueryRetrieveLevel=STUDY",
        "-k", f"StudyInstanceUID={study[0].StudyInstanceUID}",
        "127.0.0.1", str(archive.port),
    ]  # fmt: skip

    ran = await archive.call(subprocess.run, command, capture_output=True, text=True, timeout=30)

    assert ran.returncode == 0, ran.stderr
    got = {str(ds.SOPInstanceUID): ds.PixelData for ds in map(dcmread, place.iterdir())}
    assert got == {str(ds.SOPInstanceUID): ds.PixelData for ds in study}
