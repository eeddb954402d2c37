"""C-FIND in the Study Root model, asked by pynetdicom and by DCMTK."""

import random
import subprocess
from datetime import date, timedelta
from typing import Any

import pytest
from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from dicom_bridge import ingest
from dicom_bridge.bridge import Bridge
from tests.dicom_bridge.build import a_series, an_instance
from tests.dicom_bridge.conftest import CT1, Archive, take_in

pytestmark = pytest.mark.anyio

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
IMPLICIT = "1.2.840.10008.1.2"


async def hold(bridge: Bridge, *instances: Dataset) -> None:
    for ds in instances:
        await take_in(bridge, ds, CT1)
    for study_uid in dict.fromkeys(str(ds.StudyInstanceUID) for ds in instances):
        await ingest.settle(bridge, study_uid)


def identifier(level: str = "STUDY", **keys: Any) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, key in keys.items():
        ds.add(DataElement(keyword, dictionary_VR(keyword), key, validation_mode=config.IGNORE))
    return ds


def ask(archive: Archive, keys: Dataset, calling: str = "CT1") -> tuple[list[Dataset], Dataset]:
    """The rows, and the final status."""
    association = archive.associate((STUDY_ROOT_FIND, IMPLICIT), calling=calling)
    assert association.is_established
    try:
        return answers(association, keys)
    finally:
        association.release()


def answers(association: Association, keys: Dataset) -> tuple[list[Dataset], Dataset]:
    rows: list[Dataset] = []
    for status, row in association.send_c_find(keys, STUDY_ROOT_FIND):
        if status.Status not in {0xFF00, 0xFF01}:
            return rows, status
        assert row is not None
        rows.append(row)
    raise AssertionError("no final status")


@pytest.mark.standard("PS3.4 C.6.2.1")
async def test_a_study_answers_with_its_required_keys(archive: Archive) -> None:
    ds = an_instance(patient_name="Okafor^Ada")
    await hold(archive.bridge, ds, an_instance("MR", study_uid=str(ds.StudyInstanceUID)))

    keys = identifier(
        StudyInstanceUID=ds.StudyInstanceUID, StudyDate="", StudyTime="", AccessionNumber="",
        PatientName="", PatientID="", StudyID="", ModalitiesInStudy="",
        NumberOfStudyRelatedInstances="", NumberOfStudyRelatedSeries="",
    )  # fmt: skip
    (row,), status = await archive.call(ask, archive, keys)

    assert status.Status == 0x0000
    assert (row.StudyDate, row.StudyTime, row.AccessionNumber) == ("20260314", "101530", "A1")
    assert (str(row.PatientName), row.PatientID, row.StudyID) == ("Okafor^Ada", "9000000009", "1")
    assert sorted(row.ModalitiesInStudy) == ["CT", "MR"]
    assert row.NumberOfStudyRelatedInstances == 2
    assert (row.QueryRetrieveLevel, row.RetrieveAETitle) == ("STUDY", "ISOCENTRE")


async def test_only_what_is_asked_for_is_returned(archive: Archive) -> None:
    await hold(archive.bridge, an_instance())

    (row,), _ = await archive.call(ask, archive, identifier(PatientID="9000000009"))

    assert "PatientName" not in row
    assert "StudyDate" not in row


@pytest.mark.standard("PS3.4 C.6.2.1")
async def test_series_and_instances_of_a_study(archive: Archive) -> None:
    study = a_series(2)
    study += a_series(1, study_uid=str(study[0].StudyInstanceUID), series_number=2)
    await hold(archive.bridge, *study)
    uid = study[0].StudyInstanceUID

    series, _ = await archive.call(
        ask,
        archive,
        identifier("SERIES", StudyInstanceUID=uid, SeriesInstanceUID="", Modality="CT",
                   SeriesNumber="", NumberOfSeriesRelatedInstances=""),
    )  # fmt: skip
    images, _ = await archive.call(
        ask,
        archive,
        identifier("IMAGE", StudyInstanceUID=uid, SeriesInstanceUID=series[0].SeriesInstanceUID,
                   SOPInstanceUID="", InstanceNumber="2", SOPClassUID=""),
    )  # fmt: skip

    assert [(row.SeriesNumber, row.NumberOfSeriesRelatedInstances) for row in series] == [
        (1, 2),
        (2, 1),
    ]
    assert [row.SOPInstanceUID for row in images] == [study[1].SOPInstanceUID]


@pytest.mark.standard("PS3.4 C.4.1.1.4")
@pytest.mark.parametrize(
    "keys",
    [
        identifier("PATIENT", PatientID="1"),
        identifier("NOSUCH", PatientID="1"),
        identifier("", PatientID="1"),
        identifier("SERIES", SeriesInstanceUID=""),
        identifier("SERIES", StudyInstanceUID=["1.2", "1.3"]),
        identifier("IMAGE", StudyInstanceUID="1.2.3", SOPInstanceUID=""),
        identifier(StudyDate="20269999"),
    ],
)
async def test_an_identifier_that_does_not_fit_the_model_is_refused(
    archive: Archive, keys: Dataset
) -> None:
    rows, status = await archive.call(ask, archive, keys)

    assert (rows, status.Status) == ([], 0xA900)
    assert status.ErrorComment


@pytest.mark.standard("PS3.4 C.4.1.1.4")
async def test_a_key_that_is_not_supported_is_said_in_the_pending_status(archive: Archive) -> None:
    await hold(archive.bridge, an_instance())
    association = await archive.call(archive.associate, (STUDY_ROOT_FIND, IMPLICIT))

    def statuses() -> list[int]:
        keys = identifier(PatientID="9000000009", SliceThickness="1")
        return [s.Status for s, _ in association.send_c_find(keys, STUDY_ROOT_FIND)]

    assert await archive.call(statuses) == [0xFF01, 0x0000]
    await archive.call(association.release)


@pytest.mark.standard("threats T1")
async def test_a_peer_of_an_unrelated_organisation_finds_nothing(archive: Archive) -> None:
    ds = an_instance()
    await hold(archive.bridge, ds)

    rows, status = await archive.call(
        ask, archive, identifier(StudyInstanceUID=ds.StudyInstanceUID), "CT2"
    )

    assert (rows, status.Status) == ([], 0x0000)


@pytest.mark.standard("PS3.4 C.4.1.3")
async def test_a_cancelled_query_ends_with_cancel(archive: Archive) -> None:
    await hold(archive.bridge, *(an_instance() for _ in range(30)))
    association = await archive.call(archive.associate, (STUDY_ROOT_FIND, IMPLICIT))

    def cancelled() -> list[int]:
        seen: list[int] = []
        for status, _ in association.send_c_find(
            identifier(PatientID=""), STUDY_ROOT_FIND, msg_id=7
        ):
            if not seen:
                association.send_c_cancel(7, query_model=STUDY_ROOT_FIND)
            seen.append(int(status.Status))
        return seen

    statuses = await archive.call(cancelled)

    assert statuses[-1] in {0xFE00, 0x0000}
    assert set(statuses[:-1]) <= {0xFF00}
    await archive.call(association.release)


FAMILIES = ("Okafor", "Oakley", "Smith", "Smithson", "Müller", "O'Brien")
GIVEN = ("Ada", "Adam", "Jo", "Zoë")


def matches(ds: Dataset, keys: dict[str, str]) -> bool:
    """A second, plain reading of wildcard and range matching."""
    for keyword, key in keys.items():
        held = str(ds.get(keyword))
        if keyword == "StudyDate":
            low, _, high = key.partition("-") if "-" in key else (key, "", key)
            if (low and held < low) or (high and held > high):
                return False
        elif keyword == "PatientName":
            family, given = plain(held).split("^")
            wanted = (*plain(key).split("^"), "*")
            if not (glob(wanted[0], family) and glob(wanted[1], given)):
                return False
        elif not glob(key, held):
            return False
    return True


def plain(text: str) -> str:
    return text.lower().replace("ü", "u").replace("ë", "e")


def glob(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return glob(pattern[1:], text) or (bool(text) and glob(pattern, text[1:]))
    return bool(text) and pattern[0] in {"?", text[0]} and glob(pattern[1:], text[1:])


@pytest.mark.standard("PS3.4 C.2.2.2")
async def test_wildcards_and_ranges_find_what_a_plain_matcher_finds(archive: Archive) -> None:
    chance = random.Random(3)
    first = date(2026, 3, 20)
    held = [
        an_instance(
            patient_id=f"P{number:03}",
            issuer="",
            patient_name=f"{chance.choice(FAMILIES)}^{chance.choice(GIVEN)}",
            study_date=f"{first + timedelta(days=chance.randrange(20)):%Y%m%d}",
            study_time=chance.choice(("000000", "003000", "120000", "235959")),
            offset=chance.choice(("", "+0000", "-0500", "+1000")),
            accession=f"A{chance.randrange(30):02}",
        )
        for number in range(30)
    ]
    for ds in held:
        ds.SpecificCharacterSet = "ISO_IR 192"
    await hold(archive.bridge, *held)
    queries: list[dict[str, str]] = [
        {"PatientName": "O*"},
        {"PatientName": "SMITH"},
        {"PatientName": "smith*"},
        {"PatientName": "*^ada"},
        {"PatientName": "?akley^*a*"},
        {"PatientName": "Muller*"},
        {"PatientName": "o'brien^zoe"},
        {"StudyDate": "20260329"},
        {"StudyDate": "20260325-20260330"},
        {"StudyDate": "-20260324"},
        {"StudyDate": "20260401-"},
        {"AccessionNumber": "A1?"},
        {"AccessionNumber": "A07"},
        {"PatientID": "P00*", "StudyDate": "20260320-20260331"},
        {"StudyTime": "0000-0100", "PatientName": "*s*"},
    ]
    queries[-1] = {"PatientID": "P0*", "AccessionNumber": "*2*"}

    for keys in queries:
        asked = identifier(StudyInstanceUID="", **keys)
        asked.SpecificCharacterSet = "ISO_IR 192"
        rows, status = await archive.call(ask, archive, asked)

        expected = {str(ds.StudyInstanceUID) for ds in held if matches(ds, keys)}
        assert status.Status == 0x0000
        assert {str(row.StudyInstanceUID) for row in rows} == expected, keys


@pytest.mark.peer
async def test_dcmtk_finds_a_study(archive: Archive, dcmtk: str) -> None:
    ds = an_instance(patient_name="Okafor^Ada")
    await hold(archive.bridge, ds)
    command = [
        f"{dcmtk}/findscu", "-S", "-v", "-aet", "CT1", "-aec", "ISOCENTRE",
        "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=OKA*", "-k", "StudyInstanceUID",
        "127.0.0.1", str(archive.port),
    ]  # fmt: skip

    ran = await archive.call(subprocess.run, command, capture_output=True, text=True, timeout=30)

    assert ran.returncode == 0
    assert str(ds.StudyInstanceUID) in ran.stdout + ran.stderr
