"""PS3.7 Annex D and PS3.4 Annex A: negotiation and verification."""

import subprocess

import pytest
from pydicom.uid import JPEG2000Lossless

from dicom_bridge.dimse import scp
from dicom_bridge.storage import SOP_CLASSES
from tests.dicom_bridge import conftest
from tests.dicom_bridge.conftest import Archive

archive, bridge, dcmtk = conftest.archive, conftest.bridge, conftest.dcmtk
pytestmark = pytest.mark.anyio


@pytest.mark.standard("PS3.4 A.4")
async def test_c_echo_succeeds(archive: Archive) -> None:
    assert await archive.call(archive.echo) == 0x0000


@pytest.mark.peer
@pytest.mark.standard("PS3.4 A.4")
async def test_dcmtk_is_answered(archive: Archive, dcmtk: str) -> None:
    command = [f"{dcmtk}/echoscu", "-aec", "ISOCENTRE", "-aet", "CT1", "127.0.0.1"]

    done = await archive.call(subprocess.run, [*command, str(archive.port)], check=False)

    assert done.returncode == 0


@pytest.mark.standard("PS3.7 D.3.3.2")
async def test_what_is_not_served_is_not_accepted(archive: Archive) -> None:
    print_management = "1.2.840.10008.5.1.1.9"

    association = await archive.call(
        archive.associate, (print_management, scp.PLAIN[0]), (scp.VERIFICATION, scp.PLAIN[0])
    )

    assert [one.abstract_syntax for one in association.accepted_contexts] == [scp.VERIFICATION]
    await archive.call(association.release)


@pytest.mark.standard("PS3.7 D.3.3.2")
async def test_each_context_keeps_the_transfer_syntax_that_was_offered(archive: Archive) -> None:
    ct = "1.2.840.10008.5.1.4.1.1.2"

    association = await archive.call(archive.associate, (ct, JPEG2000Lossless))

    (accepted,) = association.accepted_contexts
    assert accepted.transfer_syntax == [JPEG2000Lossless]
    await archive.call(association.release)


@pytest.mark.standard("PS3.4 B.5")
def test_all_standard_storage_sop_classes_are_served() -> None:
    of_each_kind = {
        "1.2.840.10008.5.1.4.1.1.1",
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.5.1.4.1.1.2.1",
        "1.2.840.10008.5.1.4.1.1.4",
        "1.2.840.10008.5.1.4.1.1.7",
        "1.2.840.10008.5.1.4.1.1.9.1.1",
        "1.2.840.10008.5.1.4.1.1.11.1",
        "1.2.840.10008.5.1.4.1.1.13.1.3",
        "1.2.840.10008.5.1.4.1.1.20",
        "1.2.840.10008.5.1.4.1.1.66.4",
        "1.2.840.10008.5.1.4.1.1.77.1.6",
        "1.2.840.10008.5.1.4.1.1.88.33",
        "1.2.840.10008.5.1.4.1.1.88.59",
        "1.2.840.10008.5.1.4.1.1.104.1",
        "1.2.840.10008.5.1.4.1.1.128",
        "1.2.840.10008.5.1.4.1.1.481.3",
    }

    assert of_each_kind <= SOP_CLASSES
    assert "1.2.840.10008.1.3.10" not in SOP_CLASSES
