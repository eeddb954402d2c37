"""PS3.4 Annex B, Storage Service Class, over a real association."""

import pytest

from dicom_bridge.dimse import reactor
from tests.dicom_bridge import conftest
from tests.dicom_bridge.build import a_series
from tests.dicom_bridge.conftest import Archive, found

archive, bridge, dcmtk = conftest.archive, conftest.bridge, conftest.dcmtk
pytestmark = pytest.mark.anyio


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
