"""PS3.4 Annex B, Storage Service Class, over real associations."""

import asyncio
import subprocess
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_bridge import holdings
from dicom_bridge.dimse import reactor
from tests.dicom_bridge import conftest
from tests.dicom_bridge.build import a_series, a_uid, an_instance, data_set_of, part10, written
from tests.dicom_bridge.conftest import Archive, found

archive, bridge, dcmtk = conftest.archive, conftest.bridge, conftest.dcmtk
pytestmark = pytest.mark.anyio


async def held_bytes(archive: Archive, study_uid: str) -> list[bytes]:
    """Data sets that are held of a study, in the order of their numbers."""
    await archive.bridge.quiet.drained()
    return [
        (await archive.bridge.blobs.own(one.blob)).read_bytes()[one.dataset_offset :]
        for one in await holdings.instances(archive.bridge.database, study_uid)
    ]


@pytest.mark.standard("PS3.4 B.2.3")
@pytest.mark.parametrize("archive", [reactor.AUTO, reactor.OFF], indirect=True)
async def test_a_stored_instance_is_success_and_its_study_follows(archive: Archive) -> None:
    series = a_series(3)

    statuses = await archive.call(archive.send, *series)
    await archive.bridge.quiet.drained()

    assert [status.Status for status in statuses] == [0x0000] * 3
    (study,) = await found(archive.bridge, "ImagingStudy")
    assert study["numberOfInstances"] == 3
    assert study["meta"]["versionId"] == "1"
    assert study["status"] == "available"


@pytest.mark.standard("PS3.4 B.4.1")
@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "JPEG2000.dcm",
        "JPEG-LL.dcm",
        "image_dfl.dcm",
        "examples_ybr_color.dcm",
        "reportsi.dcm",
    ],
)
async def test_a_data_set_is_kept_byte_for_byte(
    archive: Archive, name: str, tmp_path: Path
) -> None:
    path = get_testdata_file(name, download=False)
    assert path is not None, "pydicom-data is among the packages that tests need"
    file = Path(str(path)).read_bytes()
    ds = pydicom.dcmread(path, stop_before_pixels=True)

    status = await archive.call(send_file, archive, Path(str(path)), ds)

    assert status == 0x0000
    assert await held_bytes(archive, ds.StudyInstanceUID) == [data_set_of(file)]


def send_file(archive: Archive, path: Path, ds: Dataset) -> int:
    """Send the data set of a file without decoding it."""
    from pynetdicom import _config

    association = archive.associate((ds.SOPClassUID, ds.file_meta.TransferSyntaxUID))
    _config.STORE_SEND_CHUNKED_DATASET = True
    try:
        return int(association.send_c_store(path).Status)
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = False
        association.release()


@pytest.mark.peer
@pytest.mark.standard("PS3.4 B.4.1")
async def test_dcmtk_stores_byte_for_byte(archive: Archive, dcmtk: str, tmp_path: Path) -> None:
    series = a_series(5)
    paths = [str(written(ds, tmp_path)) for ds in series]
    command = [f"{dcmtk}/storescu", "-aec", "ISOCENTRE", "-aet", "CT1", "127.0.0.1"]

    done = await archive.call(
        subprocess.run, [*command, str(archive.port), *paths], capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr
    held = await held_bytes(archive, series[0].StudyInstanceUID)
    assert held == [data_set_of(Path(path).read_bytes()) for path in paths]


@pytest.mark.standard("PS3.4 B.2.3")
@pytest.mark.requirement("R001.1")
async def test_the_same_instance_twice_is_success_and_one_instance(archive: Archive) -> None:
    ds = an_instance()

    statuses = await archive.call(archive.send, ds, ds)
    again = await archive.call(archive.send, ds)
    await archive.bridge.quiet.drained()

    assert [status.Status for status in (*statuses, *again)] == [0x0000] * 3
    (study,) = await found(archive.bridge, "ImagingStudy")
    assert (study["numberOfInstances"], study["meta"]["versionId"]) == (1, "1")


@pytest.mark.standard("PS3.7 C.5.6")
async def test_another_object_under_a_stored_uid_is_a_duplicate_sop_instance(
    archive: Archive,
) -> None:
    ds = an_instance()
    other = an_instance(sop_uid=ds.SOPInstanceUID, study_uid=ds.StudyInstanceUID, pixel=7)

    first, second = await archive.call(archive.send, ds, other)

    assert (first.Status, second.Status) == (0x0000, 0x0111)
    assert second.ErrorComment == "another object is held under this SOP Instance UID"
    assert await held_bytes(archive, ds.StudyInstanceUID) == [data_set_of(part10(ds))]
    ((kept, reason),) = await archive.bridge.database.run(
        "select blob, reason from instance_conflict"
    )
    assert (await archive.bridge.blobs.own(kept)).read_bytes().endswith(data_set_of(part10(other)))
    audited = await archive.bridge.database.run(
        "select outcome, detail from audit where interaction = 'C-STORE' order by n"
    )
    assert audited == [(0, None), (4, reason)]


@pytest.mark.standard("PS3.4 B.2.3")
async def test_an_instance_of_another_patient_under_the_same_study_is_refused(
    archive: Archive,
) -> None:
    ds = an_instance()
    other = an_instance(study_uid=ds.StudyInstanceUID, number=2, patient_id="X2", issuer="")

    statuses = await archive.call(archive.send, ds, other)

    assert [status.Status for status in statuses] == [0x0000, 0x0111]
    assert len(await held_bytes(archive, ds.StudyInstanceUID)) == 1


@pytest.mark.standard("PS3.4 B.2.3")
async def test_a_data_set_without_a_study_does_not_match_its_sop_class(archive: Archive) -> None:
    ds = an_instance()
    del ds.StudyInstanceUID

    (status,) = await archive.call(archive.send, ds)

    assert status.Status == 0xA900
    assert status.ErrorComment == "StudyInstanceUID is not a UID"
    assert await archive.call(archive.echo) == 0x0000


@pytest.mark.standard("PS3.4 B.5")
async def test_retired_and_new_storage_sop_classes_are_taken(archive: Archive) -> None:
    study_uid = a_uid()
    instances = []
    for number, sop_class in enumerate(
        ("1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.5", "1.2.840.10008.5.1.4.1.1.601.1"),
        start=1,
    ):
        ds = an_instance(study_uid=study_uid, number=number)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
        instances.append(ds)

    statuses = await archive.call(archive.send, *instances)

    assert [status.Status for status in statuses] == [0x0000] * 3


@pytest.mark.requirement("R001.1")
async def test_a_burst_over_four_associations_is_one_version(archive: Archive) -> None:
    series = a_series(40)

    await asyncio.gather(
        *(archive.call(archive.send, *series[part::4]) for part in range(4)),
        archive.call(archive.send, *series[:4]),
    )
    await archive.bridge.quiet.drained()

    (study,) = await found(archive.bridge, "ImagingStudy")
    assert (study["numberOfInstances"], study["meta"]["versionId"]) == (40, "1")
    assert await archive.bridge.database.run("select * from unsettled") == []
