"""What had arrived before a crash is settled when the port is opened again."""

import asyncio

import pytest

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import scp
from dicom_bridge.quiet import Quiet
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import found, take_in


@pytest.mark.requirement("R014.1")
async def test_what_was_left_unsettled_is_settled_without_new_images(bridge: Bridge) -> None:
    bridge.quiet = Quiet(seconds=3600)
    await take_in(bridge, an_instance())
    bridge.quiet = Quiet()  # as after a crash: nothing is known of what had arrived
    opened = asyncio.get_running_loop().create_future()

    serving = asyncio.ensure_future(scp.run_dicom(bridge, "127.0.0.1", 0, ready=opened.set_result))
    await opened
    async with asyncio.timeout(10):
        while not await found(bridge, "ImagingStudy"):
            await asyncio.sleep(0.02)

    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
